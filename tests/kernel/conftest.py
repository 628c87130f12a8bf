"""On a real kernel: boards that are plugged in and pulled, here, and what Linux makes of that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lenslink
from lenslink_hil.kernel import guest_boards
from lenslink_hil.plant.patterns import make_pattern

# The processes of the command line are started as the end-to-end tests start them.
sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))

Shown = Callable[[lenslink.Frame], np.ndarray]


@pytest.fixture
def url(slot: guest_boards.Slot) -> str:
    """A board that shows :data:`bench.SCENE`, plugged in."""
    return slot.plug(guest_boards.SCENE)


@pytest.fixture(scope="session")
def shown() -> Shown:
    """What a frame of that board holds."""

    def expected(frame: lenslink.Frame) -> np.ndarray:
        settings = {"bits": frame.bits, "cfa": frame.cfa, "seed": 0}
        size = (frame.width, frame.height)
        return make_pattern("prbs", *size, frame_number=frame.number, **settings)

    return expected


@pytest.fixture
def over_usb(slot: guest_boards.Slot) -> None:
    """For what only a vendor interface has."""
    if slot.cdc:
        pytest.skip("about the vendor interface, not the serial port")


@pytest.fixture
def over_serial(slot: guest_boards.Slot) -> None:
    """For what only the serial port has."""
    if not slot.cdc:
        pytest.skip("about the serial port, not the vendor interface")
