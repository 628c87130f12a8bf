"""How far each frame of a burst agrees with the reference, as seen by the zoomed picture.

A frame agrees where the errors of its prediction are no larger than noise, or than a small shift of
the picture would make them. Both the mean of their squares and that of the errors tell: the first
sees detail that has moved, the second smooth things of another brightness. The picture begins as
one frame alone, whose fine detail is false in parts (aliasing): this looks like a small shift. What
moves makes larger errors. There the weight falls to 0, and the picture stays that of the reference.

:func:`.robust_merge.measure_agreement` allows no shift: it would leave out most of the fine detail,
which is what a zoom is about.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.merge.scene_light import as_floats

Floats = NDArray[np.float32]

_SHIFT = 1.1
"""The shift that is allowed, in pixels of the picture. Half a pixel of the sensor."""
_DOUBT, _REJECTION = 1.5, 3.0
"""A frame's weight falls from the first to the second, in expected squares of errors."""
_INDEPENDENT = 12
"""Errors of a window that count as independent: the mean of so many has so much less variance."""
_WINDOW = 3
"""Side of the window for the mean, in cells of 2 x 2 pixels of the sensor."""
_REACH = 5
"""Side of the square around a cell whose least weight counts: a moving thing's edge may pass."""


def measure_slope(planes: Floats) -> Floats:
    """Return the square of the picture's slope, (H, W), for a step of one pixel: what a shift does.

    Args:
        planes: (3, H, W), perceptual.
    """
    grey = as_floats(cv2.blur(planes.mean(axis=0), (2, 2)))
    across, down = (
        cv2.Sobel(grey, cv2.CV_32F, x, 1 - x, scale=1 / 8, borderType=cv2.BORDER_REFLECT_101)
        for x in (1, 0)
    )
    return as_floats(np.square(across) + np.square(down))


def weigh_cells(errors: Floats, noise: Floats, slopes: Floats) -> Floats:
    """Return the weight of each cell of a frame, 0 to 1, (H, W).

    Args:
        errors: (4, H, W): what the four pixels of a cell read, minus what was predicted.
        noise: (4, H, W): variance of these errors by the noise model.
        slopes: (H, W): of :func:`measure_slope`, at the cell.
    """
    window = (_WINDOW, _WINDOW)
    squares, means, expected = (
        as_floats(cv2.blur(each, window, borderType=cv2.BORDER_REFLECT_101))
        for each in (
            np.square(errors).mean(axis=0),
            errors.mean(axis=0),
            noise.mean(axis=0) + np.float32(_SHIFT**2) * slopes,
        )
    )
    worst = np.maximum(squares, np.float32(_INDEPENDENT) * np.square(means))
    ratio = worst / np.maximum(expected, np.float32(1e-12))
    weights = np.clip((_REJECTION - ratio) / np.float32(_REJECTION - _DOUBT), 0, 1)
    return as_floats(cv2.erode(weights, np.ones((_REACH, _REACH), np.uint8)))
