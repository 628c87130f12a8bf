"""Test the ports of real chips on a stand-in for MicroPython's ``machine``."""

from __future__ import annotations

import pytest
from helpers import micropython_process

CHIP = micropython_process.TESTS / "helpers/chip"


@pytest.mark.parametrize("port", ["rp2", "esp32"])
def test_pins_and_recovery(port) -> None:
    script = micropython_process.TESTS / "helpers/board_ports.py"
    assert micropython_process.run(script, port, folders=(CHIP,)) == "ok\n"
