"""Ports of real chips, in front of a stand-in for MicroPython's ``machine``."""

from __future__ import annotations

import pytest
from lab import micropython

CHIP = micropython.TESTS / "lab/chip"


@pytest.mark.parametrize("port", ["rp2", "esp32"])
def test_pins_and_recovery(port) -> None:
    script = micropython.TESTS / "lab/boardports.py"
    assert micropython.run(script, port, folders=(CHIP,)) == "ok\n"
