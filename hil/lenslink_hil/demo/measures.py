"""How sharp, noisy or clipped a RAW picture is, in a part of it."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp import RawImage

Part = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture: from 0 to 1 across and down."""

_SATURATION: Final = 0.98
"""Part of the way from black to white from which a pixel counts as saturated."""
_NOISE_CELLS: Final = 5
"""Side of the square whose mean is taken from a pixel, in cells of the colour filter."""
# The deviation of a normal distribution is so many times its median distance from the middle.
_MEDIAN_TO_DEVIATION: Final = 1.4826


def measure_sharpness(raw: RawImage, part: Part) -> float:
    """Return the mean strength of edges, as a share of the mean light.

    >>> measure_sharpness(raw, (0, 0, 1, 1))  # doctest: +SKIP
    0.21
    """
    light = _cut_green(raw, part)
    edges = np.hypot(_filter(light, [[-1, 0, 1]]), _filter(light, [[-1], [0], [1]]))
    return float(edges.mean() / light.mean())


def measure_noise(raw: RawImage, part: Part) -> float:
    """Return the deviation of the noise, where 1 is from black to white.

    The part should have no detail: what differs from the mean around it counts as noise.

    >>> measure_noise(raw, (0, 0, 1, 1))  # doctest: +SKIP
    0.018
    """
    light = _cut_green(raw, part)
    rest = light - np.asarray(cv2.blur(light, (_NOISE_CELLS, _NOISE_CELLS)), np.float32)
    return float(np.median(np.abs(rest)) * _MEDIAN_TO_DEVIATION)


def measure_clipped(raw: RawImage) -> float:
    """Return the share of pixels that are saturated, 0 to 1.

    >>> measure_clipped(raw)  # doctest: +SKIP
    0.23
    """
    sites = (raw.mosaic[place // 2 :: 2, place % 2 :: 2] for place in range(4))
    shares = [
        (site > black + _SATURATION * (raw.white - black)).mean()
        for site, black in zip(sites, raw.black, strict=True)
    ]
    return float(np.mean(shares))


def _cut_green(raw: RawImage, part: Part) -> NDArray[np.float32]:
    """Return the first green pixel of each cell in a part, from 0 (black) to 1 (white)."""
    place = raw.cfa.index("G")
    plane = raw.mosaic[place // 2 :: 2, place % 2 :: 2]
    high, wide = plane.shape
    left, top, right, bottom = part
    rows = slice(round(top * high), round(bottom * high))
    cut = plane[rows, round(left * wide) : round(right * wide)].astype(np.float32)
    return (cut - np.float32(raw.black[place])) / np.float32(raw.white - raw.black[place])


def _filter(light: NDArray[np.float32], kernel: Any) -> NDArray[np.float32]:
    """Return *light* filtered by a kernel; the part's border is mirrored."""
    return np.asarray(cv2.filter2D(light, -1, np.array(kernel, np.float32)), np.float32)
