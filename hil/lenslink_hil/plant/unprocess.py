"""Unprocess: from a finished picture back to the values that a sensor would read out.

The steps in order: sRGB to linear light; XYZ; the sensor's colour matrix to camera RGB; inverse
white balance, so that white gives the sensor's ``neutral``; Lanczos to the mode's size, in linear
light; Bayer mosaic; exposure and gain; photon and read noise; black level; clipping. The steps
follow Brooks et al., "Unprocessing Images for Learned Raw
Denoising", CVPR 2019.

Noise: at x digital numbers (DN) above black, the variance is ``a * x + b`` (DNG's NoiseProfile, in
DN). A Gaussian stands for the Poisson distribution of photons. A saturated pixel holds
``FULL_WELL`` electrons at gain 1, so one electron gives ``k = g * (white - black) / FULL_WELL`` DN
at gain g. Shot noise is ``a = k``, and read noise is ``b = (k * READ_NOISE)**2``. Exposure scales x
only.

The random numbers of a frame come from SFC64, in the order of the pixels. The generator is seeded
with seed, frame number and frame size, so every run gives the same frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lenslink.settings import Settings
from lenslink.srgb import XYZ_FROM_SRGB, decode_srgb

from .binning import Rows, iterate_bands
from .picture import Picture
from .sensor_model import Pair, Sensor

Floats = NDArray[np.float32]

NOMINAL_EXPOSURE_US = 10_000
NOMINAL_GAIN_MILLI = 1000

FULL_WELL = 12_000.0
"""Electrons in a saturated pixel at gain 1. READ_NOISE is in electrons. Both fit a phone."""
READ_NOISE = 3.0

CACHE_PIXELS = 1 << 24
"""Up to this size the noise-free mosaic (4 bytes a pixel) is stored for the next frame."""

LANCZOS_SUPPORT = 3


class PictureSource:
    """A picture as a source of noisy RAW frames."""

    def __init__(self, picture: Picture, sensor: Sensor, seed: int) -> None:
        self._picture, self._sensor, self._seed = picture, sensor, seed
        self._matrix = make_camera_matrix(sensor.color_matrix, sensor.neutral)
        self._linear = make_srgb_table()
        self._clean: dict[tuple[int, int, int], Floats] = {}

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield a frame in bands. For *settings* see :meth:`.scene.Scene.iterate_bands`."""
        sensor = self._sensor
        exposure_us = settings.exposure_us or NOMINAL_EXPOSURE_US
        gain_milli = settings.gain_milli or NOMINAL_GAIN_MILLI
        profile = get_noise_profile(sensor, gain_milli)
        span = sensor.white - sum(sensor.black) / 4
        light = exposure_us / NOMINAL_EXPOSURE_US * (gain_milli / NOMINAL_GAIN_MILLI)
        # A pair of rows of black levels, plus 0.5 so that truncation rounds.
        black = np.tile(np.array(sensor.black, np.float32).reshape(2, 2), (1, width // 2)) + 0.5
        seeds = np.random.SeedSequence([self._seed, frame_number, width, height])
        random = np.random.Generator(np.random.SFC64(seeds))
        for top, bottom in iterate_bands(width, height):
            signal = self._get_clean_band(width, height, top, bottom) * np.float32(light * span)
            noise = random.standard_normal(signal.shape, np.float32)
            yield _expose(signal, noise, profile, black, sensor.white)

    def make_clean_mosaic(self, width: int, height: int) -> Floats:
        """Return the noise-free mosaic at nominal exposure: 0 black, 1 white, shape (H, W)."""
        parts = [
            self._get_clean_band(width, height, *band) for band in iterate_bands(width, height)
        ]
        return np.concatenate(parts)

    def _get_clean_band(self, width: int, height: int, top: int, bottom: int) -> Floats:
        key = (width, height, top)
        band = self._clean.get(key)
        if band is None:
            planes = self._make_camera_planes(width, height, top, bottom)
            band = apply_mosaic(planes, self._sensor.cfa)
            np.maximum(band, 0, out=band)  # Lanczos undershoots, but light is not negative
            if width * height <= CACHE_PIXELS:
                self._clean[key] = band
        return band

    def _make_camera_planes(
        self, width: int, height: int, top: int, bottom: int
    ) -> tuple[Floats, Floats, Floats]:
        """Return the three planes of rows *top* to *bottom*, resized from the picture."""
        left, upper, right, lower = self._picture.crop_box(width / height)
        scale = (lower - upper) / height
        first, last = upper + top * scale, upper + bottom * scale
        # The filter reads beyond the band, so bands join without a seam.
        reach = LANCZOS_SUPPORT * max(scale, 1.0) + 1
        start = max(0, int(first - reach))
        stop = min(self._picture.rgb.shape[0], int(last + reach) + 1)
        part = self._picture.rgb[start:stop]
        red, green, blue = (self._linear[part[..., colour]] for colour in range(3))
        box = (left, first - start, right, min(last - start, stop - start))
        size = (width, bottom - top)
        planes = []
        for row in self._matrix:
            plane = row[0] * red + row[1] * green + row[2] * blue
            image = Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS, box)
            planes.append(np.asarray(image))
        return planes[0], planes[1], planes[2]


def apply_mosaic(planes: tuple[Floats, Floats, Floats], cfa: str) -> Floats:
    """Return a Bayer mosaic of the red, green and blue planes, each of shape (H, W)."""
    out = np.empty_like(planes[0])
    for site, colour in enumerate(cfa):
        y, x = divmod(site, 2)
        out[y::2, x::2] = planes["RGB".index(colour)][y::2, x::2]
    return out


def get_noise_profile(sensor: Sensor, gain_milli: int) -> tuple[float, float]:
    """Return a and b of the noise's variance ``a * x + b`` at DN x above black."""
    span = sensor.white - sum(sensor.black) / 4
    per_electron = gain_milli / NOMINAL_GAIN_MILLI * span / FULL_WELL
    return per_electron, (per_electron * READ_NOISE) ** 2


def make_camera_matrix(color_matrix: tuple[Pair, ...], neutral: tuple[Pair, ...]) -> Floats:
    """Return the 3x3 matrix from linear sRGB to camera RGB that turns white into *neutral*.

    The largest value of *neutral* becomes 1, so a white surface saturates at nominal exposure.
    """
    camera_from_xyz = np.array([num / den for num, den in color_matrix]).reshape(3, 3)
    matrix = camera_from_xyz @ XYZ_FROM_SRGB
    target = np.array([num / den for num, den in neutral])
    balance = target / target.max() / matrix.sum(axis=1)
    return np.asarray(matrix * balance[:, None], np.float32)


def make_srgb_table() -> Floats:
    """Return the sRGB decoding curve as a table of 256 values from 0 to 1."""
    return np.asarray(decode_srgb(np.arange(256) / 255), np.float32)


def _expose(
    signal: Floats, noise: Floats, profile: tuple[float, float], black: Floats, white: int
) -> Rows:
    """Return a band with noise and black level, clipped; overwrite *signal* and *noise*."""
    deviation = signal * np.float32(profile[0])
    deviation += np.float32(profile[1])
    np.sqrt(deviation, out=deviation)
    noise *= deviation
    # Clipping comes last: a saturated pixel reads white, whatever its noise.
    signal += noise
    paired = signal.reshape(-1, 2, signal.shape[1])
    paired += black
    np.clip(signal, 0, white, out=signal)
    return signal.astype(np.uint16)
