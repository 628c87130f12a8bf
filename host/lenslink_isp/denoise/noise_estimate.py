"""Measure the noise of a RAW picture that does not state it.

In a smooth block of pixels, what varies is noise. So the picture is cut into blocks, the blocks are
sorted by brightness, and among blocks of one brightness the calmest say how large the noise is. A
line through them is S and O of DNG's NoiseProfile. Detail that fills the whole picture, such as
gravel, is taken for noise.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

Floats = NDArray[np.float64]

_BLOCK = 16
"""Side of a block, in pixels of one colour."""
_LEVELS = 24
"""Groups of brightness. Each has as many blocks as the others."""
_CALM = 0.2
"""The share of the blocks of a group that count as smooth."""
_CALM_OFFSET = 1.13
"""The least fifth of many estimates is below their mean. Their spread is 16 %."""
_BRIGHTEST = 0.8
"""Brighter blocks may be saturated in part."""
_STILL = 1e-12
"""Pixels that are all alike have no noise to measure: they are black, or saturated."""
_LEAST = 1e-9


def estimate_profile(raw: RawImage) -> tuple[float, float]:
    """Return S and O of DNG's NoiseProfile, measured in the picture.

    Raises:
        UsageError: the picture is too small, or too little of it is neither black nor saturated.

    >>> estimate_profile(open_raw("photo.dng"))  # doctest: +SKIP
    (0.00081, 2.3e-06)
    """
    parts = [
        _measure_blocks(raw.mosaic[site // 2 :: 2, site % 2 :: 2], raw.black[site], raw.white)
        for site in range(4)
    ]
    means, variances = (np.concatenate(each) for each in zip(*parts, strict=True))
    usable = (means < _BRIGHTEST) & (variances > _STILL)
    means, variances = means[usable], variances[usable]
    if means.size < _LEVELS:
        raise UsageError("the noise cannot be measured in this picture: give it with --noise S,O")
    order = np.argsort(means)
    groups = np.array_split(order, _LEVELS)
    light = np.array([np.median(means[group]) for group in groups])
    noise = np.array([np.quantile(variances[group], _CALM) for group in groups]) * _CALM_OFFSET
    return _fit_line(light, noise)


def _measure_blocks(
    plane: NDArray[np.uint16] | NDArray[np.float32], black: float, white: float
) -> tuple[Floats, Floats]:
    """Return mean and noise variance of the blocks of one colour, in light from 0 to 1."""
    high, wide = (side // _BLOCK for side in plane.shape)
    light = (plane[: high * _BLOCK, : wide * _BLOCK].astype(np.float32) - black) / (white - black)
    # The second difference along both axes: slopes vanish, and noise grows by 6.
    kernel = np.array([1, -2, 1], np.float32) / np.float32(np.sqrt(6))
    detail = cv2.sepFilter2D(light, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    shape = (high, _BLOCK, wide, _BLOCK)
    mean = light.astype(np.float64).reshape(shape).mean(axis=(1, 3))
    variance = np.square(detail.astype(np.float64)).reshape(shape).mean(axis=(1, 3))
    return mean.ravel(), variance.ravel()


def _fit_line(light: Floats, noise: Floats) -> tuple[float, float]:
    """Return slope and offset of the noise, neither negative. Small noise counts as much as large.

    A group without a smooth block has too much noise. Such groups lose their say in each round.
    """
    weights = 1 / noise
    for _ in range(10):
        rows = np.stack([light, np.ones_like(light)], axis=1) * weights[:, None]
        slope, offset = np.linalg.lstsq(rows, noise * weights, rcond=None)[0]
        slope = max(float(slope), _LEAST)
        offset = max(float(offset), _LEAST)
        line = slope * light + offset
        excess = np.maximum(noise / line - 1, 0)
        weights = 1 / (line * (1 + 4 * excess))
    return slope, offset
