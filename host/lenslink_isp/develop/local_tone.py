"""Local tone mapping: make a wide range fit the screen, and keep the contrast of details.

The picture's brightness is split into a base, which is smooth apart from strong edges, and details.
Only the base is compressed (Durand and Dorsey, "Fast bilateral filtering for the display of
high-dynamic-range images", 2002). The base comes from a guided filter (He and Sun, "Fast guided
filter", 2015), whose coefficients are computed on a small picture. All is done on the logarithm of
light, so a factor is a sum.

The result is a gain for each pixel of the mosaic, the same for the four pixels of a cell. So
colours stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

from .color import make_gains

Floats = NDArray[np.float32]

_SMALL_SIDE = 256
"""The coefficients are computed on a picture of about so many pixels on its shorter side."""
_RADIUS = 1 / 12
"""Half the side of the filter's window, as a part of the shorter side."""
_EDGE = 0.6
"""Variance of the logarithm, in square stops, above which an edge stays in the base."""
_GREY = 0.14
"""The light that the middle of the scene gets."""
_WHITE = 0.5
"""The light that the brightest parts get. One colour of them may be twice as bright."""
_MOST_CONTRAST, _LEAST_CONTRAST = 0.9, 0.3
_BAND_ROWS = 64
"""Rows that are worked on at a time, so that they stay in the cache."""
_FLOOR_STOPS = 16.0
"""Light more than this below white counts as black: it is not lifted."""


@dataclass(frozen=True, slots=True)
class ToneCurve:
    """How the base is compressed: a straight line in stops.

    >>> ToneCurve(middle=-8.0, contrast=0.5).blend(ToneCurve(-6.0, 0.7), 0.5)
    ToneCurve(middle=-7.0, contrast=0.6)
    """

    middle: float
    """The logarithm of light, to base 2, that becomes mid-grey."""
    contrast: float
    """What is left of the contrast of the base."""

    def blend(self, other: ToneCurve, share: float) -> ToneCurve:
        """Return a curve between this one (*share* 0) and the *other* (1)."""
        return ToneCurve(
            self.middle + share * (other.middle - self.middle),
            self.contrast + share * (other.contrast - self.contrast),
        )


class LocalTone:
    """The brightness of one picture, split into base and details.

    >>> tone = LocalTone(open_raw("hdr.dng"))  # doctest: +SKIP
    >>> gain = tone.make_gain(tone.find_curve())  # doctest: +SKIP
    """

    def __init__(self, raw: RawImage) -> None:
        self._log = _measure_stops(raw)
        high, wide = self._log.shape
        scale = max(1.0, min(high, wide) / _SMALL_SIDE)
        size = max(1, round(wide / scale)), max(1, round(high / scale))
        small = _as_floats(cv2.resize(self._log, size, interpolation=cv2.INTER_AREA))
        self._small = small
        side = 2 * max(1, round(_RADIUS * min(small.shape))) + 1
        mean = _blur(small, side)
        variance = np.maximum(_blur(np.square(small), side) - mean * mean, 0)
        slope = _as_floats(variance / (variance + np.float32(_EDGE)))
        offset = _as_floats(mean - slope * mean)
        self._slope, self._offset = _blur(slope, side), _blur(offset, side)

    def find_curve(self) -> ToneCurve:
        """Return the curve that suits the picture: its brightest parts just fit."""
        dark, middle, bright = np.percentile(self._small[::2, ::2], (2, 50, 99.5))
        # Between the middle of the range and that of the area: neither alone suits all scenes.
        middle = (middle + (dark + bright) / 2) / 2
        room = np.log2(_WHITE / _GREY)
        contrast = room / max(float(bright - middle), 1e-3)
        return ToneCurve(float(middle), float(np.clip(contrast, _LEAST_CONTRAST, _MOST_CONTRAST)))

    def make_gain(self, curve: ToneCurve) -> Floats:
        """Return the gain of each pixel of the mosaic, (H, W) float32, relative to white at 1."""
        gain = self.make_cell_gain(curve)
        high, wide = gain.shape
        return _as_floats(cv2.resize(gain, (2 * wide, 2 * high), interpolation=cv2.INTER_NEAREST))

    def make_cell_gain(self, curve: ToneCurve) -> Floats:
        """Return the gain of each cell of 2 x 2 pixels, (H / 2, W / 2) float32."""
        high, wide = self._log.shape
        slope, offset = (
            _as_floats(cv2.resize(each, (wide, high), interpolation=cv2.INTER_LINEAR))
            for each in (self._slope, self._offset)
        )
        base = slope * self._log
        base += offset
        # new = grey + contrast * (base - middle); gain = 2 ** (new - base)
        base *= np.float32(curve.contrast - 1)
        base += np.float32(np.log2(_GREY) - curve.contrast * curve.middle)
        return _as_floats(np.exp2(base, out=base))


def _measure_stops(raw: RawImage) -> Floats:
    """Return the logarithm of light of each cell, (H / 2, W / 2): 0 is white."""
    high, wide = raw.mosaic.shape
    gains = make_gains(raw.neutral)
    weights = np.array(
        [
            gains["RGB".index(colour)] / (raw.white - black)
            for colour, black in zip(raw.cfa, raw.black, strict=True)
        ]
    )
    dark = np.float32(weights @ np.array(raw.black) / 4)
    pattern = np.tile(weights.reshape(2, 2), (_BAND_ROWS // 2, wide // 2)).astype(np.float32)
    total = np.empty((high // 2, wide // 2), np.float32)
    for top in range(0, high, _BAND_ROWS):
        rows = raw.mosaic[top : top + _BAND_ROWS]
        part = total[top // 2 : (top + _BAND_ROWS) // 2]
        # Shrinking to half the size is the mean of each cell.
        light = rows * pattern[: len(rows)]
        cv2.resize(light, part.shape[::-1], part, interpolation=cv2.INTER_AREA)
        part -= dark
    np.maximum(total, np.float32(2**-_FLOOR_STOPS), out=total)
    return np.log2(total, out=total)


def _blur(values: Floats, side: int) -> Floats:
    return _as_floats(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT_101))


def _as_floats(array: Any) -> Floats:
    """Return OpenCV's result with its type."""
    return np.asarray(array, np.float32)
