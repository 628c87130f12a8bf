"""Makes frames for the tests of lenslink.image_files, without a module or a link."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lenslink.frame import ColorCalibration, Frame, FrameStatus, Identity
from lenslink_protocol.ids import PixelFormat
from lenslink_protocol.packings import find_layout

# A Canon EOS 550D's colours under D65 (the numbers in colorchart.dng).
MATRIX = (
    ((6461, 10000), (-1164, 10000), (-857, 10000)),
    ((-3825, 10000), (11597, 10000), (2534, 10000)),
    ((-416, 10000), (1540, 10000), (6039, 10000)),
)
NEUTRAL = ((1000, 2477), (1, 1), (1000, 1462))


def make_frame(pixels, **changes) -> Frame:
    """Return a complete 12-bit RGGB frame of *pixels*: black 64, upright, without margins."""
    settings = {
        "packed": np.ascontiguousarray(pixels, "<u2").view(np.uint8),
        "layout": find_layout(PixelFormat.RG16),
        "bits": 12,
        "cfa": "RGGB",
        "black": (64.0, 64.0, 64.0, 64.0),
        "white": 4095,
        "active_area": (0, 0, *pixels.shape),
        "orientation": 1,
        "color": ColorCalibration(tuple(sum(MATRIX, ())), NEUTRAL),
        "identity": Identity("LensLink", "Bench One", "LL-0001", "test"),
        "number": 12,
        "stream": 1,
        "timestamp_us": 123_456,
        "exposure_us": 12_500,
        "gain_milli": 2000,
        "focus_mdpt": 2000,
        "temperature_mc": 31_250,
        "status": FrameStatus.COMPLETE,
        "received_fraction": 1.0,
    }
    return Frame(**(settings | changes))


def noise(height=64, width=96, bits=12, seed=0):
    """Return uniform noise of *bits* bits, shape (height, width), uint16."""
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width), dtype=np.uint16)


def colorchart() -> Path | None:
    """Return a camera's file from $LENSLINK_DATA or ../shared/data; None if there is none."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("LENSLINK_DATA", beside)) / "colorchart.dng"
    return path if path.is_file() else None
