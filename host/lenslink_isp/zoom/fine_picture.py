"""A tile of the zoomed picture: what frames would see of it, and what they add to it.

The picture's pixels have half the side of the sensor's. A pixel of the sensor sees the mean of the
area that it covers: of 2 x 2 pixels of the picture, or of parts of 3 x 3.

One step predicts each sample and spreads its error over the pixels next to it. The mean error of
all colours moves red, green and blue together, because fine detail is mostly grey. The errors of
one colour alone move that colour, over a larger neighbourhood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.merge.scene_light import as_floats

Floats = NDArray[np.float32]

_FINE_SIGMA, _COLOR_SIGMA = 0.45, 1.6
"""Over which neighbourhood errors are averaged, in pixels of the picture: of all colours together,
and of one colour."""
_LEAST_WEIGHT = 0.05
"""Weight of "no error" beside the samples around a pixel. One frame gives a pixel 0.25."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Pixels of one colour, of all frames. All arrays have the same shape, (N, M)."""

    values: Floats
    """What the sensor read: perceptual, white-balanced, at most 1."""
    columns: Floats
    rows: Floats
    """Where the pixel's centre lies. (0, 0) is the centre of the tile's first pixel."""
    weights: Floats
    """How far the frame agrees with the reference there, 0 to 1."""


class FinePicture:
    """A tile of the picture, as three planes of perceptual values.

    >>> x, y = np.meshgrid(*[np.arange(0.5, 16, 2, dtype=np.float32)] * 2)
    >>> ones = np.ones((8, 8), np.float32)
    >>> samples = [Samples(ones / 2, x, y, ones)] * 3
    >>> picture = FinePicture(np.zeros((3, 16, 16), np.float32), samples)
    >>> picture.refine(8)
    >>> round(float(picture.planes[1, 8, 8]), 2)
    0.5
    """

    def __init__(self, planes: Floats, samples: Sequence[Samples]) -> None:
        """Begin with *planes*, (3, H, W): red, green and blue. *samples* are of these colours."""
        self.planes = planes
        self._samples = samples
        shape = planes.shape[1:]
        self._spreads = [_Spread(each, (shape[0], shape[1])) for each in samples]
        counts = [each.add(part.weights) for each, part in zip(self._spreads, samples, strict=True)]
        self.density = blur(as_floats(sum(counts)), _FINE_SIGMA)
        """(H, W): samples for each pixel, as far as their frames agree."""
        self._color_density = [blur(each, _COLOR_SIGMA) for each in counts]

    def refine(self, steps: int) -> None:
        """Bring the picture nearer to what the frames have seen."""
        for _ in range(steps):
            errors = [
                spread.add(
                    (samples.values - np.minimum(predict(plane, samples), 1)) * samples.weights
                )
                for spread, samples, plane in zip(
                    self._spreads, self._samples, self.planes, strict=True
                )
            ]
            grey = blur(as_floats(sum(errors)), _FINE_SIGMA)
            grey /= self.density + np.float32(_LEAST_WEIGHT)
            smooth = blur(grey, _COLOR_SIGMA)
            for plane, error, density in zip(self.planes, errors, self._color_density, strict=True):
                own = blur(error, _COLOR_SIGMA)
                own /= density + np.float32(_LEAST_WEIGHT)
                own += grey
                own -= smooth
                np.add(plane, own, out=plane)


def predict(plane: Floats, samples: Samples) -> Floats:
    """Return what the sensor's pixels would read of a plane of the picture."""
    # The mean of 2 x 2 pixels stands in their middle: half a pixel to the right and down.
    means = cv2.blur(plane, (2, 2), anchor=(0, 0), borderType=cv2.BORDER_REFLECT_101)
    half = np.float32(0.5)
    return as_floats(
        cv2.remap(means, samples.columns - half, samples.rows - half, cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REFLECT_101)
    )  # fmt: skip


def is_inside(samples: Samples, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which samples see nothing but a picture of this shape, (H, W)."""
    high, wide = shape
    columns, rows = samples.columns, samples.rows
    # A pixel of the sensor reaches one pixel of the picture to each side of its centre.
    across = (columns >= 0.5) & (columns <= wide - 1.5)
    return np.asarray(across & (rows >= 0.5) & (rows <= high - 1.5))


def blur(plane: Floats, sigma: float) -> Floats:
    """Return a plane after a Gaussian filter."""
    return as_floats(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


class _Spread:
    """Adds samples to the four pixels around them, by bilinear weights."""

    def __init__(self, samples: Samples, shape: tuple[int, int]) -> None:
        high, wide = self._shape = shape
        # A border of one pixel takes what lies outside.
        columns = np.clip(samples.columns + 1, 0, wide).ravel()
        rows = np.clip(samples.rows + 1, 0, high).ravel()
        left, top = columns.astype(np.intp), rows.astype(np.intp)
        self._places = top * (wide + 2) + left
        right, down = (columns - left).astype(np.float32), (rows - top).astype(np.float32)
        one = np.float32(1)
        self._corners = [
            (slice(y, y + high + 1), slice(x, x + wide + 1), (down if y else one - down)
             * (right if x else one - right))
            for y in (0, 1) for x in (0, 1)
        ]  # fmt: skip

    def add(self, values: Floats) -> Floats:
        """Return the sum at each pixel, (H, W)."""
        high, wide = self._shape
        flat = values.ravel()
        total = np.zeros((high + 2, wide + 2))
        size = (high + 1) * (wide + 2)
        for rows, columns, weights in self._corners:
            sums = np.bincount(self._places, flat * weights, size)
            total[rows, columns] += sums.reshape(high + 1, wide + 2)[:, : wide + 1]
        return as_floats(total[1:-1, 1:-1])
