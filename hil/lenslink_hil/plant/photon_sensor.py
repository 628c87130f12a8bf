"""The sensor after EMVA 1288: from photons to digital numbers.

A pixel of plane c that receives P photons a second for t seconds, at temperature T and gain g::

    electrons = Poisson(QE_c * (1 + PRNU) * P * t + dark current(T) * t) + DSNU + read + row noise
    DN        = round(black + K * g * min(electrons, full well)), clipped to [0, white]

K is the sensor's DN for an electron at gain 1. The sensor's number of bits scales it.

PRNU, DSNU and the hot pixels are fixed patterns: each seed is a sensor of its own. Read noise has a
part that the gain divides, because it arises behind the amplifier. Row noise is one number for each
row and frame. Dark current doubles every ``dark_doubling`` kelvin. Below POISSON_BELOW electrons,
photons and dark electrons are drawn from the Poisson distribution. Above, a Gaussian of the same
variance stands for it.

The model has two steps. :meth:`PhotonSensor.expose` computes what does not change from frame to
frame; callers store it. :meth:`PhotonSensor.read_out` draws the noise of one frame, which takes
about 12 ns a pixel. Every random number depends only on seed, frame number, size and row.

:mod:`.camera` calls both with the photons that :mod:`.optics` delivers. :mod:`.sensor_model` says
how the sensor describes itself to the firmware.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .binning import Rows, iterate_bands
from .constants import SensorConstants, load_constants
from .sensor_model import Sensor

Floats = NDArray[np.float32]

POISSON_BELOW = 50.0
"""Mean electrons. Above, a Poisson distribution has a skewness below 0.15, and a Gaussian 0."""
_FRACTION_STEPS = 128
"""The fraction of a mean is rounded to this part of an electron to find its row in the table."""
_GOLDEN_RATIO = 0.6180339887498949
_DRAWS = 1 << 16
"""Counts in a row of the table. A random number below this chooses one of them."""

DEFAULT_CELSIUS = 25.0

CACHE_PIXELS = 1 << 24
"""Frames up to this size keep their fixed patterns in memory: 12 bytes a pixel."""

_MAX_PARTS = 24
"""The number of parts of patterns that are kept, because a region is usually read out again."""

_PRNU, _DSNU, _HOT, _NOISE = range(4)
"""The purposes of random generators. Each purpose has its own sequence of numbers."""


@dataclass(frozen=True)
class Exposure:
    """What a band of rows collects, before the noise of a frame.

    Attributes:
        level: mean in DN, with black level and half a DN for rounding, shape (H, W). Pixels in
            *dim_pixels* leave out the electrons that are drawn from the Poisson distribution.
        deviation: standard deviation of the Gaussian noise in DN, shape (H, W).
        dim_pixels: flat indices of the N pixels with a mean below POISSON_BELOW electrons.
        whole_rows: index, in :func:`_make_poisson_table`, of the first count of the row for the
            whole number of each dim pixel's mean, shape (N,).
        fraction_rows: the same for the fraction of each dim pixel's mean, shape (N,).
        dn_per_electron: DN for an electron.
        row_deviation: standard deviation of the row noise in DN.
        ceiling: level at which the full well is reached, in DN.
    """

    level: Floats
    deviation: Floats
    dim_pixels: NDArray[np.intp]
    whole_rows: NDArray[np.uint32]
    fraction_rows: NDArray[np.uint32]
    dn_per_electron: float
    row_deviation: float
    ceiling: float


class PhotonSensor:
    """A sensor: constants, levels and the fixed patterns of one seed.

    Args:
        sensor: size, levels and colour filter.
        seed: of the fixed patterns and of the noise.
        constants: None reads ``constants.toml``.
        has_defects: False leaves out the hot pixels.
    """

    def __init__(
        self,
        sensor: Sensor,
        seed: int,
        constants: SensorConstants | None = None,
        *,
        has_defects: bool = True,
    ) -> None:
        self.sensor = sensor
        self.constants = constants or load_constants("sensor", SensorConstants)
        self._seed = seed
        self._has_defects = has_defects
        self._patterns: dict[tuple[int, int, int, int, int], Floats] = {}
        self._parts: dict[tuple[int, tuple[int, int], tuple[int, int, int, int]], Floats] = {}

    def get_dn_per_electron(self, gain_milli: int) -> float:
        """Return K * g: the DN for an electron at this gain."""
        return self.constants.system_gain * gain_milli / 1000 * math.exp2(self.sensor.bits - 12)

    def get_read_noise(self, gain_milli: int) -> float:
        """Return the standard deviation of the read noise in electrons, without row noise."""
        behind = self.constants.read_noise_converter / (gain_milli / 1000)
        return float(np.hypot(self.constants.read_noise_pixel, behind))

    def get_dark_current(self, celsius: float) -> float:
        """Return the dark current in electrons a second."""
        warmth = (celsius - self.constants.dark_reference) / self.constants.dark_doubling
        return self.constants.dark_current * math.exp2(warmth)

    def get_noise_profile(self, gain_milli: int) -> tuple[float, float]:
        """Return a and b of the noise's variance ``a * x + b`` at DN x above black."""
        gain = self.get_dn_per_electron(gain_milli)
        noise = np.hypot(self.get_read_noise(gain_milli), self.constants.row_noise)
        return gain, float(gain * noise) ** 2 + 1 / 12

    def expose(
        self,
        photons: Floats | float,
        size: tuple[int, int],
        band: tuple[int, int],
        *,
        exposure_us: int,
        gain_milli: int,
        celsius: float = DEFAULT_CELSIUS,
        columns: tuple[int, int] | None = None,
    ) -> Exposure:
        """Compute what a band of rows collects.

        Args:
            photons: photons a second on each pixel, shape (H, W) of the band; a number if all are
                equal. Each pixel counts only the light that its colour filter passes.
            size: width and height of the frame. Each size has its own fixed patterns.
            band: first row, and the row after the last one. The first row is even.
            exposure_us: exposure time in microseconds.
            gain_milli: analogue gain in thousandths.
            celsius: temperature of the sensor.
            columns: first column, and the column after the last one, of a part of the rows. The
                first column is even. None is the whole rows.
        """
        top, bottom = band
        left, right = columns or (0, size[0])
        shape = (bottom - top, right - left)
        region = (left, top, *shape)
        seconds = exposure_us / 1e6
        gain = self.get_dn_per_electron(gain_milli)
        electrons = np.empty(shape, np.float32)
        efficiency = self.constants.quantum_efficiency
        light = np.broadcast_to(np.asarray(photons, np.float32), shape)
        for site, colour in enumerate(self.sensor.cfa):
            filtered = np.s_[site // 2 :: 2, site % 2 :: 2]
            electrons[filtered] = light[filtered] * (efficiency["RGB".index(colour)] * seconds)
        electrons *= self._get_pattern(_PRNU, size, region) * np.float32(self.constants.prnu) + 1
        dark_electrons = self.get_dark_current(celsius) * seconds
        electrons += dark_electrons
        if self._has_defects:
            factor = dark_electrons / self.constants.dark_current
            electrons += self._get_pattern(_HOT, size, region) * np.float32(factor)
        np.maximum(electrons, 0, out=electrons)

        read = self.get_read_noise(gain_milli)
        deviation = electrons + np.float32(read**2)
        level = electrons.copy()
        dim_pixels = np.flatnonzero(electrons < POISSON_BELOW)
        whole_rows, fraction_rows, remainder = _split_mean(electrons.ravel()[dim_pixels])
        level.ravel()[dim_pixels] = remainder
        deviation.ravel()[dim_pixels] = read**2
        np.sqrt(deviation, out=deviation)
        deviation *= np.float32(gain)
        level += self._get_pattern(_DSNU, size, region) * np.float32(self.constants.dsnu)
        level *= np.float32(gain)
        black = np.array(self.sensor.black, np.float32).reshape(2, 2) + 0.5
        level += np.tile(black, (shape[0] // 2, shape[1] // 2))
        return Exposure(
            level,
            deviation,
            dim_pixels,
            whole_rows,
            fraction_rows,
            gain,
            gain * self.constants.row_noise,
            float(black.mean()) + gain * self.constants.full_well,
        )

    def read_out(
        self, exposure: Exposure, frame_number: int, size: tuple[int, int], top: int
    ) -> Rows:
        """Draw the noise of one frame.

        Args:
            exposure: a band of rows; see :meth:`expose`.
            frame_number: each number has its own noise.
            size: width and height of the frame; of the region if only a region is read out. It is
                only a part of the key of the random numbers.
            top: first row of the band in that frame or region.

        Returns:
            The rows, shape (H, W).
        """
        random = self._make_generator(_NOISE, frame_number, *size, top)
        height = exposure.level.shape[0]
        signal = random.standard_normal(exposure.level.shape, np.float32)
        signal *= exposure.deviation
        signal += exposure.level
        if exposure.dim_pixels.size:
            counts = _draw_poisson(random, exposure.whole_rows, exposure.fraction_rows).astype(
                np.float32
            )
            counts *= np.float32(exposure.dn_per_electron)
            if exposure.dim_pixels.size == signal.size:
                signal += counts.reshape(signal.shape)
            else:
                signal.ravel()[exposure.dim_pixels] += counts
        rows = random.standard_normal((height, 1), np.float32)
        signal += rows * np.float32(exposure.row_deviation)
        # Adding half a DN and cutting the fraction rounds. Clipping comes last: a saturated pixel
        # reads the same value whatever its noise.
        np.clip(signal, 0, min(self.sensor.white, exposure.ceiling), out=signal)
        return signal.astype(np.uint16)

    def _make_generator(self, purpose: int, *key: int) -> np.random.Generator:
        seeds = np.random.SeedSequence([self._seed, purpose, *key])
        return np.random.Generator(np.random.SFC64(seeds))

    def _get_pattern(
        self, purpose: int, size: tuple[int, int], region: tuple[int, int, int, int]
    ) -> Floats:
        """Return a region of a fixed pattern, shape (H, W).

        The values of _HOT are the dark currents of hot pixels. The values of other purposes are
        drawn from a Gaussian of mean 0 and deviation 1. *region* is left, top, height and width. A
        pattern is made in bands of the whole frame, so that a region has the pattern of the frame.
        """
        left, top, height, width = region
        if width == size[0]:
            return self._get_band(purpose, size, top, (height, width))
        key = (purpose, size, region)
        found = self._parts.get(key)
        if found is None:
            right, bottom = left + width, top + height
            found = np.concatenate(
                [
                    self._get_band(purpose, size, first, (last - first, size[0]))[
                        max(top - first, 0) : bottom - first, left:right
                    ]
                    for first, last in iterate_bands(*size)
                    if first < bottom and last > top
                ]
            )
            if len(self._parts) >= _MAX_PARTS:
                self._parts.pop(next(iter(self._parts)))
            self._parts[key] = found
        return found

    def _get_band(
        self, purpose: int, size: tuple[int, int], top: int, shape: tuple[int, int]
    ) -> Floats:
        """Return whole rows of a fixed pattern, from row *top* on."""
        key = (purpose, *size, top, shape[0])
        pattern = self._patterns.get(key)
        if pattern is None:
            random = self._make_generator(purpose, *size, top)
            if purpose == _HOT:
                pattern = self._make_hot_pixels(random, shape)
            else:
                pattern = random.standard_normal(shape, np.float32)
            if size[0] * size[1] <= CACHE_PIXELS:
                self._patterns[key] = pattern
        return pattern

    def _make_hot_pixels(self, random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        """Return the additional dark current of each pixel at the reference temperature."""
        current = np.zeros(shape, np.float32)
        indices, currents = self._draw_hot_pixels(random, current.size)
        current.ravel()[indices] = currents
        return current

    def _draw_hot_pixels(
        self, random: np.random.Generator, pixels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices of the hot ones among *pixels* pixels, and their dark currents."""
        count = random.binomial(pixels, self.constants.hot_pixel_fraction)
        indices = random.choice(pixels, count, replace=False)
        return indices, random.exponential(self.constants.hot_pixel_current, count)

    def find_hot_pixels(self, size: tuple[int, int], least: float) -> list[tuple[int, int]]:
        """Return column and row of each pixel with a dark current of *least* or more.

        Args:
            size: width and height of the frame.
            least: additional electrons a second at the reference temperature.
        """
        if not self._has_defects:
            return []
        width = size[0]
        found: list[tuple[int, int]] = []
        for top, bottom in iterate_bands(*size):
            random = self._make_generator(_HOT, *size, top)
            indices, currents = self._draw_hot_pixels(random, (bottom - top) * width)
            hot = indices[currents >= least]
            found += zip((hot % width).tolist(), (hot // width + top).tolist(), strict=True)
        return found


def _split_mean(electrons: Floats) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Floats]:
    """Split mean electrons into the rows of the table for a whole number and a fraction.

    The sum of two Poisson variables is a Poisson variable whose mean is the sum of both means. So a
    count is the sum of a count from each row. The third value returned is the remainder of the
    mean, which has no row and is added without noise.
    """
    floor = np.floor(electrons)
    # Dither: round fractions up or down so that the remainders average to 0 over the pixels, and
    # mean and variance are right on average. Multiples of the golden ratio, modulo 1, are evenly
    # spread thresholds.
    threshold = np.arange(len(electrons)) * _GOLDEN_RATIO % 1
    step = np.floor((electrons - floor) * _FRACTION_STEPS + threshold.astype(np.float32))
    remainder = electrons - floor - step / np.float32(_FRACTION_STEPS)
    whole_rows = floor.astype(np.uint32) * np.uint32(_DRAWS)
    fraction_rows = (step.astype(np.uint32) + np.uint32(POISSON_BELOW)) * np.uint32(_DRAWS)
    return whole_rows, fraction_rows, np.asarray(remainder, np.float32)


def _draw_poisson(
    random: np.random.Generator,
    whole_rows: NDArray[np.uint32],
    fraction_rows: NDArray[np.uint32],
) -> NDArray[np.uint8]:
    """Return Poisson counts: three times as fast as numpy's, to 16 bits of probability."""
    table = _make_poisson_table()
    bits = random.integers(0, 1 << 32, len(whole_rows), np.uint32)
    counts = np.take(table, (bits & np.uint32(_DRAWS - 1)) + whole_rows)
    bits >>= np.uint32(16)
    bits += fraction_rows
    counts += np.take(table, bits)
    return np.asarray(counts)


@cache
def _make_poisson_table() -> NDArray[np.uint8]:
    """Return the table of counts, flat. A row has _DRAWS counts, each as often as it is likely.

    The rows are those of the means 0 to POISSON_BELOW - 1, then those of the fractions.
    """
    fractions = (step / _FRACTION_STEPS for step in range(_FRACTION_STEPS + 1))
    means = [*range(int(POISSON_BELOW)), *fractions]
    counts = np.arange(128)
    table = []
    for mean in means:
        logarithm = np.where(counts > 0, counts * math.log(mean or 1e-300), 0.0) - mean
        likely = np.exp(logarithm - np.array([math.lgamma(each + 1) for each in counts]))
        ends = np.rint(np.cumsum(likely) * _DRAWS).astype(int)
        ends[-1] = _DRAWS
        table.append(np.repeat(counts.astype(np.uint8), np.diff(ends, prepend=0)))
    return np.concatenate(table)
