"""Test that the next opening of a module removes what killed processes have left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.frame_rings import SIZE, fresh_name

from lenslink import FrameRing
from lenslink.deadline import Deadline
from lenslink.errors import NotFound
from lenslink.frame_ring import segment
from lenslink.leftovers import remove_leftovers
from lenslink.transports import open_transport, parse


def kill_writer(ring: FrameRing) -> None:
    """Do what the kernel does for a killed writer: release its lock, and leave its file."""
    segment.unlock(ring._descriptor, segment.WRITER)
    ring._end.detach()
    os.close(ring._descriptor)
    ring._is_closed = True


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_opening_a_module_removes_the_leftovers(runtime: Path) -> None:
    ring = FrameRing(fresh_name(), 2, frame_bytes=SIZE)
    kill_writer(ring)
    stale = runtime / "locks" / "stale.lock"
    stale.parent.mkdir()
    stale.touch()
    assert ring.path.exists()
    with pytest.raises(NotFound):
        open_transport(parse(f"unix:{runtime}/missing"), Deadline(1))
    assert not ring.path.exists()
    assert not stale.exists()


def test_a_living_writers_ring_stays() -> None:
    with FrameRing(fresh_name(), 2, frame_bytes=SIZE) as ring:
        remove_leftovers()
        assert ring.path.exists()


def test_a_folder_that_cannot_be_read_is_no_error(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", "/dev/null/x")
    remove_leftovers()
