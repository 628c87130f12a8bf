"""The USB transport allocates nothing while it streams."""

from __future__ import annotations

from helpers import micropython_process


def test_no_packet_allocates() -> None:
    """The heap is locked, so the first allocation raises MemoryError."""
    done, heard = micropython_process.run(micropython_process.TESTS / "helpers/usb_heap.py").split()
    assert int(done) == 201 * 4 * 2
    assert int(heard) == 74
