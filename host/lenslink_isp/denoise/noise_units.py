"""Light of a RAW picture in units of its own noise, which is what the network sees.

Of light x from 0 (black) to 1 (white), the noise has the variance S * x + O, DNG's NoiseProfile.
The generalised Anscombe transform makes the standard deviation 1 everywhere::

    z = 2 * sqrt(x / S + O / S**2 + 3 / 8)

So one network serves every ISO and every sensor. Source: Foi et al., "Practical Poissonian-Gaussian
noise modeling and fitting for single-image raw-data", IEEE Trans. Image Processing 17(10), 2008.

A mosaic is packed to four planes: red, green beside red, green beside blue, blue. The network gets
12 planes of features (:func:`make_features`) and returns the noise of the four planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FEATURES = 12
"""Planes that the network receives."""
_LEAST_SHOT = 1e-8
"""S below this is taken as this: the transform divides by S."""
_NEIGHBOURS = 9
"""Side of the square, in packed pixels, whose mean is split off."""


@dataclass(frozen=True, slots=True)
class NoiseUnits:
    """The transform of one noise profile.

    >>> units = NoiseUnits(1e-3, 1e-5)
    >>> light = np.array([0, 0.25, 1], np.float32)
    >>> units.to_light(light, units.from_light(light), np.zeros(3, np.float32)).round(6).tolist()
    [0.0, 0.25, 1.0]
    """

    shot: float
    """S of the NoiseProfile."""
    read: float
    """O of the NoiseProfile."""

    def from_light(self, light: Floats) -> Floats:
        """Return *light*, 0 black and 1 white, in standard deviations of its noise."""
        shot, offset = self._find_terms()
        scaled = light * np.float32(1 / shot)
        scaled += np.float32(offset)
        np.maximum(scaled, 0, out=scaled)
        np.sqrt(scaled, out=scaled)
        scaled *= 2
        return scaled

    def to_light(self, light: Floats, units: Floats, noise: Floats) -> Floats:
        """Return *light* without *noise*.

        The inverse of the transform is written as a difference, so that no noise changes nothing.

        Args:
            light: the noisy light.
            units: the same, as :meth:`from_light` returned it.
            noise: what to take away, in the same unit as *units*.
        """
        shot, _ = self._find_terms()
        # (z**2 - (z - n)**2) / 4 = n * (2 * z - n) / 4. A pixel is never taken below z = 0.
        noise = np.minimum(noise, units)
        return np.asarray(light - np.float32(shot / 4) * noise * (2 * units - noise))

    def find_floor(self, light: float) -> float:
        """Return the value of the digital number 0, which is *light* (negative)."""
        return float(self.from_light(np.array([light], np.float32))[0])

    def _find_terms(self) -> tuple[float, float]:
        shot = max(self.shot, _LEAST_SHOT)
        return shot, self.read / shot**2 + 0.375


def pack(mosaic: NDArray[Any]) -> Floats:
    """Return the four planes, (4, H / 2, W / 2), of an RGGB mosaic, (H, W).

    >>> pack(np.arange(4, dtype=np.float32).reshape(2, 2)).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    planes = [mosaic[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    return np.stack(planes).astype(np.float32, copy=False)


def unpack(planes: Floats) -> Floats:
    """Return the mosaic of four planes: the inverse of :func:`pack`."""
    _, height, width = planes.shape
    mosaic = np.empty((2 * height, 2 * width), np.float32)
    for site, plane in enumerate(planes):
        mosaic[site // 2 :: 2, site % 2 :: 2] = plane
    return mosaic


def make_features(units: Floats, floor: float) -> Floats:
    """Return what the network sees of four planes, (12, H, W).

    The first four planes are the difference to the mean of the neighbours. The next four say how
    bright this mean is: the signal-to-noise ratio. The last four say how near it is to the digital
    number 0, which cuts the noise off.

    Args:
        units: (4, H, W), light in units of noise.
        floor: the digital number 0, in the same unit.
    """
    features = np.empty((FEATURES, *units.shape[1:]), np.float32)
    size = (_NEIGHBOURS, _NEIGHBOURS)
    for plane, mean in zip(units, features[4:8], strict=True):
        cv2.blur(plane, size, dst=mean, borderType=cv2.BORDER_REFLECT_101)
    means = features[4:8]
    np.subtract(units, means, out=features[:4])
    features[:4] *= 0.25
    np.exp((floor - means) * 0.5, out=features[8:])
    np.log1p(means, out=means)
    means *= 0.5
    means -= 1
    return features
