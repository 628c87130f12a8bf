"""Statistics of a RAW frame: the light in zones, and what is saturated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

ZONES = 32
"""Zones across and down the picture."""
LEVELS = 256
"""Bins of the histogram."""
_SATURATION = 0.98
"""Part of the way from black to white from which a pixel counts as clipped."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What metering needs of a frame. Light is linear: 0 is black, 1 is saturated.

    >>> found = measure(raw)  # doctest: +SKIP
    >>> found.zones.shape  # doctest: +SKIP
    (32, 32, 3)
    """

    zones: NDArray[np.float64]
    """(32, 32, 3): mean of the sensor's red, green and blue, not balanced."""
    clipped: NDArray[np.float64]
    """(32, 32): part of the pixels that are saturated, 0 to 1."""
    histogram: NDArray[np.int64]
    """(256,): number of green pixels by their light, from 0 to 1."""


def measure(raw: RawImage) -> Statistics:
    """Return the statistics of a frame: 1 ms for 1280 x 960 pixels.

    The zones cover all pixels, whatever the size of the frame.
    """
    high, wide = (side // 2 for side in raw.mosaic.shape)
    sums, counts = np.zeros((ZONES, ZONES, 3)), [0, 0, 0]
    clipped = np.zeros((ZONES, ZONES))
    histogram = np.zeros(LEVELS, np.int64)
    for y in (0, 1):
        # Two neighbours in a row are two channels.
        rows = raw.mosaic[y::2].reshape(high, wide, 2)
        means = _shrink(rows)
        limit = [_find_limit(raw, 2 * y + x) for x in (0, 1)]
        over = cv2.inRange(rows, np.array([0.0, 0.0]), np.array(limit))
        clipped += 1 - _shrink(over) / 255
        for x in (0, 1):
            place = 2 * y + x
            channel = "RGB".index(raw.cfa[place])
            span = raw.white - raw.black[place]
            sums[..., channel] += (means[..., x] - raw.black[place]) / span
            counts[channel] += 1
            if channel == 1:
                histogram += _count(rows[..., x], raw.black[place], raw.white)
    return Statistics(sums / np.array(counts), clipped / 2, histogram)


def _shrink(image: Any) -> NDArray[np.float64]:
    """Return the mean of each zone."""
    mean = cv2.resize(image, (ZONES, ZONES), interpolation=cv2.INTER_AREA)
    return np.asarray(mean, np.float64)


def _find_limit(raw: RawImage, place: int) -> float:
    """Return the largest value that is not clipped."""
    return float(raw.black[place] + _SATURATION * (raw.white - raw.black[place]))


def _count(pixels: NDArray[np.generic], black: float, white: float) -> NDArray[np.int64]:
    """Return the histogram of one colour."""
    words = np.ascontiguousarray(pixels)
    if words.dtype == np.uint16:
        # The edge of the last bin is exclusive for OpenCV.
        bins = cv2.calcHist([words], [0], None, [LEVELS], [black, white + 1])
        return np.asarray(bins, np.int64).reshape(LEVELS)
    return np.histogram(words, LEVELS, (black, white))[0].astype(np.int64)
