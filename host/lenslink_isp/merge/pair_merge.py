"""Merge two frames of different exposures, fast enough for a preview.

The longer frame has less noise. Its light is used where it is far from saturation, the light of the
shorter frame where it is saturated, and a mixture in between. The other frame counts only as far as
it agrees with the reference: a moving object appears once, as the reference shows it.

One shift is found for the whole frame, and one agreement for 4 x 4 pixels. Both use a thinned
mosaic: every second 2 x 2 cell of the colour filter in each direction.
:mod:`.robust_merge` does better and takes several times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .alignment import Aligner
from .robust_merge import measure_agreement
from .scene_light import BAND_ROWS, SceneLight, as_floats, list_bands

Floats = NDArray[np.float32]

_FADE_FROM = 0.8
"""From this part of its limit up to the limit, the longer frame gives way to the shorter one."""
_LEAST_DOUBT = np.float32(1e-6)
_FINEST = 4
"""The shift is found on pictures with at most a quarter of the thinned mosaic's sides."""


def merge_pair(
    reference: SceneLight, other: SceneLight, gains: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> None:
    """Merge *other* into the light of *reference*, in place.

    Args:
        reference: the frame whose geometry is kept. Its light is overwritten where both overlap.
        other: of the same shape, with even sides, and of another exposure.
        gains: of the white balance, for the four pixels of a cell. If the reference is the longer
            frame, and the other one does not agree, a cell with a saturated pixel is clipped to
            white. Without that, clipped highlights would be tinted.

    >>> here = SceneLight(np.full((64, 64), 0.4, np.float32), 1, 0, 1e-4)
    >>> there = SceneLight(np.full((64, 64), 0.41, np.float32), 1.5, 0, 1e-5)
    >>> merge_pair(here, there)
    >>> round(float(here.light.mean()), 2)
    0.41
    """
    right, down = _find_shift(reference, other)
    here = _cut(reference, -right, -down)
    there = _cut(other, right, down)
    agreement = measure_agreement(_thin_out(here), _thin_out(there))
    high, wide = here.light.shape
    agreement = as_floats(cv2.resize(agreement, (wide, high), interpolation=cv2.INTER_LINEAR))
    other_is_longer = other.exposure > reference.exposure
    longer = there if other_is_longer else here
    # How far the longer frame counts: 1 below the fade, 0 from its limit on.
    slope = np.float32(-1 / ((1 - _FADE_FROM) * longer.limit))
    start = np.float32(1 / (1 - _FADE_FROM))
    white_levels = 1 / (longer.exposure * np.array(gains, np.float32).reshape(2, 2))
    white = np.tile(white_levels.astype(np.float32), (BAND_ROWS // 2, wide // 2))
    for rows in list_bands(high):
        weight = longer.light[rows] * slope
        weight += start
        np.clip(weight, 0, 1, out=weight)
        if not other_is_longer:
            np.subtract(1, weight, out=weight)
            doubt = _spread_maximum(weight)
            doubt *= 1 - agreement[rows]
        weight *= agreement[rows]
        weight *= there.light[rows] - here.light[rows]
        here.light[rows] += weight
        if not other_is_longer:
            np.maximum(doubt, _LEAST_DOUBT, out=doubt)
            np.divide(white[: len(doubt)], doubt, out=doubt)
            np.minimum(here.light[rows], doubt, out=here.light[rows])


def _find_shift(reference: SceneLight, other: SceneLight) -> tuple[int, int]:
    """Return how far *other* has moved to the right and down, in even numbers of pixels."""
    shifts = Aligner(_thin_out(reference), finest=_FINEST).find_shifts(_thin_out(other))
    # Every second cell: a pixel of the thinned frame counts for two.
    right, down = 2 * np.round(np.median(shifts, axis=(0, 1)))
    return int(right), int(down)


def _cut(frame: SceneLight, left: int, top: int) -> SceneLight:
    """Return the frame without some of its edges. The light is not copied.

    Args:
        frame: to be cut.
        left: columns to leave out on the left side; if negative, on the right side.
        top: the same for rows, on the upper and the lower side.
    """
    high, wide = frame.light.shape
    rows = slice(max(0, top), high + min(0, top))
    columns = slice(max(0, left), wide + min(0, left))
    return replace(frame, light=frame.light[rows, columns])


def _spread_maximum(values: Floats) -> Floats:
    """Return the largest value of each cell of 2 x 2 pixels, at all its pixels."""
    rows = np.maximum(values[0::2], values[1::2])
    cells = np.maximum(rows[:, 0::2], rows[:, 1::2])
    return cells.repeat(2, axis=0).repeat(2, axis=1)


def _thin_out(frame: SceneLight) -> SceneLight:
    """Return every second cell of the frame, in both directions, as a mosaic."""
    high, wide = ((side // 2 + 1) // 2 * 2 for side in frame.light.shape)
    light = np.empty((high, wide), np.float32)
    for y in (0, 1):
        for x in (0, 1):
            light[y::2, x::2] = frame.light[y::4, x::4]
    return replace(frame, light=light)
