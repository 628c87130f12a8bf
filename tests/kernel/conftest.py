"""Fixtures for tests on a real kernel: a board that is plugged into the guest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lenslink
from lenslink_hil.kernel import guest_boards
from lenslink_hil.plant.patterns import make_pattern

# The tests start programs with the helpers of the end-to-end tests.
sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))

Choose = Callable[[int, int], int]
Shown = Callable[[lenslink.Frame], np.ndarray]


@pytest.fixture
def url(slot: guest_boards.Slot) -> str:
    """Plug in a board that shows guest_boards.SCENE; its URL."""
    return slot.plug(guest_boards.SCENE)


@pytest.fixture(scope="session")
def choose(pytestconfig: pytest.Config) -> Choose:
    """``choose(30, 100)`` is the count of this run: the second one with ``--all``."""
    has_all = pytestconfig.getoption("all", default=False)
    return lambda ci, nightly: nightly if has_all else ci


@pytest.fixture(scope="session")
def shown() -> Shown:
    """Return a function that computes the pixels of a frame of that board."""

    def expected(frame: lenslink.Frame) -> np.ndarray:
        settings = {"bits": frame.bits, "cfa": frame.cfa, "seed": 0}
        size = (frame.width, frame.height)
        return make_pattern("prbs", *size, frame_number=frame.number, **settings)

    return expected


@pytest.fixture
def over_usb(slot: guest_boards.Slot) -> None:
    """Skip a test about the vendor interface where the board has its serial port only."""
    if slot.cdc:
        pytest.skip("about the vendor interface, not the serial port")


@pytest.fixture
def over_serial(slot: guest_boards.Slot) -> None:
    """Skip a test about the serial port where the board has a vendor interface."""
    if not slot.cdc:
        pytest.skip("about the serial port, not the vendor interface")
