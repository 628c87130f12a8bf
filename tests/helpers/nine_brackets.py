"""Take a bracket of nine frames on any bench whose scene is prbs, and check each frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from lenslink import Device, FrameStatus, Settings
from lenslink_hil.plant.patterns import make_pattern

BRACKET = [
    Settings(500 + 250 * number, 1000 + 125 * (number * 5 % 9), 150 * (number * 4 % 9))
    for number in range(9)
]
"""Exposure, gain and focus differ from frame to frame."""


def check_nine_brackets(device: Device, seed: int) -> None:
    """Check that nine consecutive frames report their own settings and have their own pixels."""
    frames = device.capture(frames=BRACKET)
    first = frames[0].number
    assert [frame.number for frame in frames] == list(range(first, first + 9))
    for frame, wanted in zip(frames, BRACKET, strict=True):
        with frame:
            assert frame.status is FrameStatus.COMPLETE
            assert not frame.is_adjusted and not frame.is_moving
            assert (frame.exposure_us, frame.gain_milli) == (wanted.exposure_us, wanted.gain_milli)
            assert wanted.focus_mdpt is not None
            assert abs(frame.focus_mdpt - wanted.focus_mdpt) <= 3
            options: dict[str, Any] = {"bits": frame.bits, "cfa": frame.cfa, "seed": seed}
            size = frame.width, frame.height
            expected = make_pattern("prbs", *size, frame_number=frame.number, **options)
            assert np.array_equal(frame.pixels, expected)
