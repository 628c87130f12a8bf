"""The noise of perceptual values, and detail without noise.

Detail is what a blur takes away. Its mean square in a window tells whether it is more than noise.
If not, it is taken away. If so, it stays, and sharpening makes it stronger (Wiener's gain, from the
known noise).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.srgb import decode_srgb
from lenslink_isp.merge.scene_light import as_floats

from .fine_picture import blur

Floats = NDArray[np.float32]

_LEVELS = 4096
SIGMA = 1.4
"""The blur that separates detail, in pixels of the zoomed picture."""
_WINDOW = 7
"""Side of the window for the mean square of detail, in pixels."""
_MOST_NOISE, _FRAMES_NOISE, _FIRST_FRAMES = 0.7, 1.3, 0.4
"""The variance that noise gives detail, as a part of that of a sample. For N samples a pixel, it is
the second over N plus the third, at most the first: measured on flat pictures."""
_CAUTION = 1.5
"""How many times that variance detail must exceed to stay."""


class PerceptualNoise:
    """The variance of perceptual values.

    >>> noise = PerceptualNoise((1e-3, 1e-6), [2.0])
    >>> dark, bright = noise.find(np.array([[0.1, 0.9]], np.float32))[0]
    >>> bool(dark > bright)
    True
    """

    def __init__(self, profile: tuple[float, float], gains: Sequence[float]) -> None:
        """Make the table.

        Args:
            profile: S and O of the frame's NoiseProfile.
            gains: of the white balance. The variance is the mean over them.
        """
        values = np.arange(_LEVELS) / (_LEVELS - 1)
        light = decode_srgb(values)
        slope = np.gradient(values, light)
        shot, read = profile
        gain, square = np.mean(gains), np.mean(np.square(gains))
        variance = np.square(slope) * (gain * shot * light + square * read)
        self._table = variance.astype(np.float32)

    def find(self, values: Floats) -> Floats:
        """Return the variance of a sample with each of these perceptual values."""
        place = np.clip(values, 0, 1) * np.float32(_LEVELS - 1)
        return as_floats(self._table[place.astype(np.intp)])


def sharpen_detail(plane: Floats, noise: PerceptualNoise, density: Floats, amount: float) -> Floats:
    """Return a plane, (H, W), whose noise is smaller and whose detail is stronger.

    Args:
        plane: perceptual values of one colour.
        noise: of a sample, the mean of all colours: detail is mostly grey, and so is its noise.
        density: samples for each pixel, (H, W).
        amount: how much of the detail is added again, 0 to 4.
    """
    base = blur(plane, SIGMA)
    detail = plane - base
    variance = noise.find(base)
    part = np.float32(_FRAMES_NOISE) / (density + np.float32(_FIRST_FRAMES))
    variance *= np.float32(_CAUTION) * np.minimum(part, np.float32(_MOST_NOISE))
    window = (_WINDOW, _WINDOW)
    energy = as_floats(cv2.blur(np.square(detail), window, borderType=cv2.BORDER_REFLECT_101))
    gain = 1 - variance / np.maximum(energy, np.float32(1e-12))
    np.maximum(gain, 0, out=gain)
    gain *= np.float32(1 + amount)
    return as_floats(base + gain * detail)
