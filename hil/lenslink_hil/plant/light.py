"""The light on a scene: how bright, of which colour, and how it flickers.

Lamps radiate as black bodies. The sensor's three bands are given for ``reference_kelvin``. For
another temperature each band changes as Planck's law does at its wavelength, for equal lux.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .constants import LightConstants, SensorConstants

PLANCK_JS = 6.62607015e-34
LIGHT_M_S = 299_792_458.0
_SECOND_RADIATION_NM_K = 1.438776877e7
"""Planck's second radiation constant, h * c / k."""

SWITCH_FRAMES = 30
"""Frames after which the light changes to its next colour."""
DEFAULT_LUX = 800
"""A white surface at f/1.4 and 10 ms is then just below saturation."""


@dataclass(frozen=True)
class Light:
    """The light on a scene.

    Attributes:
        constants: radiance of the bands.
        lux: illuminance of the scene's surfaces.
        kelvins: colour temperatures. The light changes to the next one every SWITCH_FRAMES frames.
        flicker_hz: frequency of the flicker; 0 for none.
    """

    constants: LightConstants
    lux: float = DEFAULT_LUX
    kelvins: tuple[float, ...] = (6504.0,)
    flicker_hz: float = 0.0

    def get_kelvin(self, frame_number: int) -> float:
        """Return the colour temperature in a frame."""
        return self.kelvins[frame_number // SWITCH_FRAMES % len(self.kelvins)]

    def get_radiance(self, kelvin: float, sensor: SensorConstants) -> tuple[float, float, float]:
        """Return the radiance of a white surface in each band, in W/m2/sr."""
        candela = self.lux / math.pi
        reference = self.constants.reference_kelvin
        same_lux = get_black_body_lux(reference) / get_black_body_lux(kelvin)
        bands = [
            candela * band * same_lux * get_planck(nm, kelvin) / get_planck(nm, reference)
            for band, nm in zip(self.constants.radiance, sensor.wavelength_nm, strict=True)
        ]
        return bands[0], bands[1], bands[2]

    def get_flicker(
        self, starts: NDArray[np.float64], exposure_s: float
    ) -> NDArray[np.float64] | None:
        """Return the mean light during each exposure, 1 on average; None without flicker.

        Args:
            starts: when each row's exposure starts, in seconds.
            exposure_s: exposure time in seconds.
        """
        if not self.flicker_hz:
            return None
        # The mean of a cosine over the exposure is a sinc times the cosine in its middle.
        middle = starts + exposure_s / 2
        depth = self.constants.flicker_depth * np.sinc(self.flicker_hz * exposure_s)
        return np.asarray(1 + depth * np.cos(2 * math.pi * self.flicker_hz * middle))


def count_photons(watts_per_m2: float, nm: float, pitch_um: float) -> float:
    """Return the photons a second on a pixel."""
    return watts_per_m2 * (pitch_um * 1e-6) ** 2 * nm * 1e-9 / (PLANCK_JS * LIGHT_M_S)


def get_planck(nm: float, kelvin: float) -> float:
    """Return a black body's radiance at a wavelength, without the constant factor."""
    return 1 / (nm**5 * math.expm1(_SECOND_RADIATION_NM_K / (nm * kelvin)))


def get_black_body_lux(kelvin: float) -> float:
    """Return what the eye sees of a black body, in units of its own.

    The eye's sensitivity is the usual Gaussian around 559 nm.
    """
    return sum(
        get_planck(nm, kelvin) * math.exp(-285.4 * (nm / 1000 - 0.559) ** 2)
        for nm in range(380, 781, 5)
    )
