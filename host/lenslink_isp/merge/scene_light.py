"""Bring RAW frames to one unit: the light of the scene.

A pixel of a frame has the signal x, from 0 (black) to 1 (saturated). The scene's light is x / e.
The exposure e of a frame counts from the frame that is exposed least: its e is 1. So 1 is the light
that saturates that frame, and a frame with e = 8 saturates at 1/8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

Floats = NDArray[np.float32]

MAX_FRAMES = 16
"""As many frames as a bracket of a module has at most."""
BAND_ROWS = 64
"""Rows that are worked on at a time, so that all arrays of a step stay in the cache."""
USABLE = 0.95
"""The signal up to which a pixel counts as not saturated. Its noise may reach beyond."""


@dataclass(frozen=True, slots=True)
class SceneLight:
    """The light of the scene as one frame has measured it."""

    light: Floats
    """(H, W): light of each pixel of the mosaic."""
    exposure: float
    """How much more the frame is exposed than the frame that is exposed least."""
    slope: float
    offset: float
    """The variance of a light y is ``slope * y + offset``."""

    @property
    def limit(self) -> float:
        """The light from which on a pixel counts as saturated."""
        return USABLE / self.exposure


def measure_light(raw: RawImage, exposure: float, *, out: Floats | None = None) -> SceneLight:
    """Return the light of *raw*.

    Args:
        raw: a frame.
        exposure: how many times it is exposed as much as the least exposed frame.
        out: memory for the light, (H, W) float32; None makes it.

    Raises:
        UsageError: the frame has no noise profile.
    """
    if raw.noise_profile is None:
        raise UsageError("a frame has no NoiseProfile: a merge needs to know the noise")
    slope, offset = raw.noise_profile
    if not (0 <= slope < np.inf and 0 < offset < np.inf):
        raise UsageError(f"a frame's NoiseProfile of {slope:g} and {offset:g} makes no sense")
    black = np.array(raw.black, np.float32).reshape(2, 2)
    scale = (1 / ((raw.white - black) * exposure)).astype(np.float32)
    high, wide = raw.mosaic.shape
    tiles = BAND_ROWS // 2, wide // 2
    factors, dark = np.tile(scale, tiles), np.tile(scale * black, tiles)
    light = np.empty((high, wide), np.float32) if out is None else out
    for rows in list_bands(high):
        band = light[rows]
        band[:] = raw.mosaic[rows]
        band *= factors[: len(band)]
        band -= dark[: len(band)]
    return SceneLight(light, exposure, slope / exposure, offset / exposure**2)


def list_bands(high: int) -> list[slice]:
    """Return rows to work on at a time, as slices of a frame that is *high* rows high."""
    return [slice(top, min(top + BAND_ROWS, high)) for top in range(0, high, BAND_ROWS)]


def check_count(frames: int) -> None:
    """Raise UsageError unless so many frames can be merged."""
    if not 2 <= frames <= MAX_FRAMES:
        raise UsageError(f"a merge takes 2 to {MAX_FRAMES} frames, not {frames}")


def check_alike(frames: Sequence[RawImage]) -> None:
    """Raise UsageError unless there are 2 to MAX_FRAMES frames of one sensor and size."""
    check_count(len(frames))
    first = frames[0]
    for number, frame in enumerate(frames[1:], 2):
        if frame.mosaic.shape != first.mosaic.shape or frame.cfa != first.cfa:
            raise UsageError(
                f"frame {number} is {_describe(frame)}, the first one {_describe(first)}: "
                "frames of one size and colour filter can be merged"
            )


def find_exposures(frames: Sequence[RawImage]) -> list[float]:
    """Return how much more each frame is exposed than the least exposed one.

    Raises:
        UsageError: the exposure of a frame is not known.
    """
    found = []
    for number, frame in enumerate(frames, 1):
        if frame.sensitivity is None or not frame.sensitivity > 0:
            raise UsageError(f"frame {number} does not say how long it was exposed")
        found.append(frame.sensitivity)
    return [each / min(found) for each in found]


def _describe(frame: RawImage) -> str:
    high, wide = frame.mosaic.shape
    return f"{wide} x {high} {frame.cfa}"


def as_floats(array: Any) -> Floats:
    """Return the result of OpenCV, or of numpy, with its type."""
    return np.asarray(array, np.float32)
