"""The weighted mean of frames, as far as they agree with the reference frame.

A frame agrees where it differs from the reference by no more than noise. Two means over a small
window tell: that of the squared differences, over the variance that both frames should have, and
that of the differences themselves. The first sees detail that has moved, the second smooth
surfaces of another brightness. If one of them is improbable, the frame's weight falls to 0. So
something that moves appears once, as the reference shows it.

The weight of a pixel is 1 / its variance. A saturated pixel only says that the scene is at least so
bright. It counts where no other frame knows better, and it contradicts a frame that is darker.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene_light import SceneLight, as_floats, list_bands

Floats = NDArray[np.float32]

_WINDOW = 7
"""Side of the window for the agreement, in cells of 2 x 2 pixels."""
_PIXELS = 4 * _WINDOW**2
"""Pixels in a window."""
_DOUBT, _REJECTION = 2.5, 4.5
"""A frame's weight falls from the first to the second, in deviations of a window's mean."""
_FIXED_PATTERN = 0.012
"""What two pixels may differ for the same light, without noise: sensors vary by up to 1 %."""
_EXPOSURE_ERROR = 0.01
"""What two frames may differ for the same light, because an exposure is never quite as reported."""
_MODEL_ERROR = 0.1
"""How much the noise may exceed its profile, which knows nothing of fixed patterns in the dark."""
_LAST_RESORT = 1e-6
"""The weight of saturated pixels, as a part of the weight of others."""


class RobustMerge:
    """A running merge: make it with the reference, add the other frames, then finish.

    The frames must be aligned to the reference.

    >>> rng = np.random.default_rng(1)
    >>> frames = [SceneLight(rng.normal(0.5, 0.1, (64, 64)).astype("f4"), 1, 0, 0.01)
    ...           for _ in range(4)]
    >>> merge = RobustMerge(frames[0])
    >>> for frame in frames[1:]:
    ...     agreement = merge.add(frame)
    >>> light, variance = merge.finish()
    >>> bool(0.0024 < variance.mean() < 0.003 and abs(light.std() - 0.05) < 0.005)
    True
    """

    def __init__(self, reference: SceneLight) -> None:
        self._reference = reference
        shape = reference.light.shape
        # Sums of weight x light, of weights, and of weight^2 x variance.
        self._light, self._weight, self._noise = (np.empty(shape, np.float32) for _ in range(3))
        for rows in list_bands(shape[0]):
            weight = _weigh(reference, reference.light[rows], reference.light[rows])
            np.multiply(weight, reference.light[rows], out=self._light[rows])
            self._weight[rows], self._noise[rows] = weight, weight

    def add(self, frame: SceneLight, noise_gain: float = 1.0) -> Floats:
        """Add a frame; return how far it agrees, 0 to 1, for each cell of 2 x 2 pixels.

        Args:
            frame: of the shape of the reference, aligned to it.
            noise_gain: what the alignment has made of the variance: less than 1 if it interpolates.
        """
        agreement = measure_agreement(self._reference, frame, noise_gain)
        high, wide = frame.light.shape
        longer = frame if frame.exposure > self._reference.exposure else self._reference
        for rows in list_bands(high):
            light = frame.light[rows]
            cells = agreement[rows.start // 2 : rows.stop // 2]
            share = cv2.resize(cells, (wide, len(light)), interpolation=cv2.INTER_NEAREST)
            # The longer frame has less noise, so the variance of both is computed from it. Where it
            # is saturated, the shorter one is brighter.
            weight = _weigh(frame, light, np.maximum(longer.light[rows], light))
            weight *= share
            self._weight[rows] += weight
            self._light[rows] += weight * light
            weight *= share
            self._noise[rows] += weight * np.float32(noise_gain)
        return agreement

    def finish(self) -> tuple[Floats, Floats]:
        """Return the light and its variance, both (H, W). The merge cannot be used afterwards.

        The variance is that of noise. It is huge where all frames are saturated.
        """
        light, weight, noise = self._light, self._weight, self._noise
        for rows in list_bands(len(light)):
            np.divide(light[rows], weight[rows], out=light[rows])
            np.divide(noise[rows], np.square(weight[rows]), out=noise[rows])
        return light, noise


def measure_agreement(reference: SceneLight, frame: SceneLight, noise_gain: float = 1.0) -> Floats:
    """Return how far *frame* agrees with *reference*, 0 to 1, for each cell of 2 x 2 pixels.

    Args:
        reference: (H, W) light.
        frame: of the same shape, aligned to the reference.
        noise_gain: what the alignment has made of the frame's variance.
    """
    longer = frame if frame.exposure > reference.exposure else reference
    # A light beyond the limit is known as "at least the limit" only.
    limit = np.float32(min(reference.limit, frame.limit))
    high, wide = reference.light.shape
    # Means of each cell: squared differences, differences, light, known pixels.
    cells = [np.empty((high // 2, wide // 2), np.float32) for _ in range(4)]
    for rows in list_bands(high):
        here, there = reference.light[rows], frame.light[rows]
        signal = np.maximum(longer.light[rows], 0)
        difference = np.minimum(there, limit)
        difference -= np.minimum(here, limit)
        # Two saturated pixels say nothing.
        known = (np.minimum(here, there) < limit).view(np.uint8).astype(np.float32)
        signal *= known
        for values, part in zip(
            (np.square(difference), difference, signal, known), cells, strict=True
        ):
            _shrink(as_floats(values), part, rows)
    window = (_WINDOW, _WINDOW)
    means = [
        as_floats(cv2.boxFilter(each, -1, window, borderType=cv2.BORDER_REFLECT_101))
        for each in cells
    ]
    slope = reference.slope + noise_gain * frame.slope
    offset = reference.offset + noise_gain * frame.offset
    agreement = cells[0]
    for rows in list_bands(high // 2):
        squares, differences, light, share = (each[rows] for each in means)
        agreement[rows] = _judge((squares, differences, light, share), slope, offset)
    return agreement


def _judge(means: tuple[Floats, Floats, Floats, Floats], slope: float, offset: float) -> Floats:
    """Return the share that a frame gets, 0 to 1.

    Args:
        means: of each window: the squared differences; the differences; the light of known pixels,
            where unknown pixels count as 0; and the share of the pixels that are known.
        slope: of the variance of a difference.
        offset: of the variance of a difference.
    """
    squares, differences, light, known = means
    variance = light * np.float32(slope)
    variance += known * np.float32(offset)
    squared_light = np.square(light)
    variance += np.float32(_FIXED_PATTERN**2) * squared_light
    variance += np.float32(1e-20)
    # The square of a normal variable with the variance 1 has the mean 1 and the variance 2.
    detail = squares / variance - np.float32(1 + _MODEL_ERROR)
    detail *= np.sqrt(known * np.float32(_PIXELS / 2))
    # An error of the exposure is the same for all pixels, so the mean does not make it smaller.
    variance *= np.float32(1 / _PIXELS)
    variance += np.float32(_EXPOSURE_ERROR**2) * squared_light
    level = np.abs(differences) / np.sqrt(variance)
    doubt = np.maximum(detail, level, out=detail)
    doubt -= np.float32(_REJECTION)
    doubt *= np.float32(1 / (_DOUBT - _REJECTION))
    return as_floats(np.clip(doubt, 0, 1, out=doubt))


def _shrink(values: Floats, cells: Floats, rows: slice) -> None:
    """Write the mean of each 2 x 2 of *values*, which are some *rows*, into *cells*."""
    part = cells[rows.start // 2 : rows.stop // 2]
    cv2.resize(values, (part.shape[1], part.shape[0]), part, interpolation=cv2.INTER_AREA)


def _weigh(frame: SceneLight, light: Floats, guide: Floats) -> Floats:
    """Return the weight of each pixel: 1 / variance, nearly nothing if *light* is saturated.

    Args:
        frame: whose noise counts.
        light: of the frame.
        guide: light with less noise, from which the variance is computed.
    """
    weight = np.maximum(guide, 0)
    weight *= np.float32(frame.slope)
    weight += np.float32(frame.offset)
    np.divide(1, weight, out=weight)
    # Among saturated pixels, the least exposed one knows most.
    known = (light < np.float32(frame.limit)).view(np.uint8).astype(np.float32)
    known += np.float32(_LAST_RESORT / frame.exposure**8)
    weight *= known
    return weight
