"""The lens: where light goes, how much of it, and how sharp it is.

Defocus is wave optics. The optical transfer function (OTF) is the autocorrelation of a circular
pupil whose phase is the defocus. With the frequency v in units of the cutoff ``1 / (wavelength *
f-number)`` and the wavefront error W at the pupil's edge::

    OTF(v) = 4/pi * integral from 0 to 1-v of sqrt(1 - (x+v)^2) * cos(8 pi W/wavelength v x) dx

A disc times the OTF in focus is wrong by up to 16 % where both matter. Far out of focus the
integral becomes the OTF of the disc.

The lens is thin: focused at d dioptres, its image distance is ``v = 1 / (1/f - d)``. An object at D
dioptres is blurred to a disc of the diameter ``f / N * v * |d - D|``. Positions are millimetres on
the sensor, from its centre, x to the right and y down. The picture grows with d (breathing), bends
by its distance from the centre (distortion), and darkens towards the corners (vignetting).

:mod:`.camera` calls this module. Constants come from ``constants.toml``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .constants import OpticsConstants, load_constants

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

NEAREST_MDPT = 3300
"""Closest focus: 30 cm."""

_PANEL_NODES = 64
_PANEL_RADIANS = 60.0
"""Gauss-Legendre with 64 nodes integrates a phase of 60 rad to single precision."""
_FINE_CYCLES = 8
"""Up to this product of frequency and blur diameter the OTF is sampled 64 times a cycle."""


class Optics:
    """A lens at any focus and aperture.

    >>> lens = Optics()
    >>> round(lens.get_blur_um(focus_mdpt=0, depth_mdpt=1000, f_number=1.4))
    875
    """

    def __init__(
        self, constants: OpticsConstants | None = None, fixed_mdpt: int | None = None
    ) -> None:
        self.constants = constants or load_constants("optics", OpticsConstants)
        self.fixed_mdpt = fixed_mdpt
        """Where a lens without a motor is focused; None for a lens with a motor."""
        self.nearest_mdpt = NEAREST_MDPT if fixed_mdpt is None else fixed_mdpt
        # Half the diagonal of a 4:3 picture: the radius at which the constants hold.
        self.corner_mm = self.constants.field_width / 2 * 1.25

    def clamp_f_number(self, f_number: float) -> float:
        """Return the f-number that the iris reaches."""
        return min(max(f_number, self.constants.widest), self.constants.smallest)

    def get_image_distance_mm(self, focus_mdpt: float) -> float:
        """Return the distance from lens to sensor."""
        return 1 / (1 / self.constants.focal_length - focus_mdpt / 1e6)

    def get_working_f_number(self, focus_mdpt: float, f_number: float) -> float:
        """Return the f-number that light and diffraction see: larger than *f_number* close up."""
        return f_number * self.get_image_distance_mm(focus_mdpt) / self.constants.focal_length

    def get_blur_um(self, focus_mdpt: float, depth_mdpt: float, f_number: float) -> float:
        """Return the diameter of the blur disc of an object at *depth_mdpt*."""
        pupil = self.constants.focal_length / f_number
        return pupil * self.get_image_distance_mm(focus_mdpt) * abs(focus_mdpt - depth_mdpt) / 1e3

    def get_magnification(self, focus_mdpt: float) -> float:
        """Return the size of the picture; 1 at infinity."""
        return 1 + self.constants.breathing * focus_mdpt / 1000

    def distort(self, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
        """Return where an ideal lens's image positions are, for a focus at infinity."""
        scale = 1 + self.constants.distortion * (x * x + y * y) / self.corner_mm**2
        return x * scale, y * scale

    def undistort(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return the ideal position of each image position; the inverse of :meth:`distort`."""
        k = self.constants.distortion
        if k == 0:
            return x, y
        square = (x * x + y * y) * np.float32(1 / self.corner_mm**2)
        # The series of the inverse. What it leaves out is below 0.1 um in the corner.
        scale = 1 + square * (-k + square * (3 * k * k - 12 * k * k * k * square))
        return np.asarray(x * scale, np.float32), np.asarray(y * scale, np.float32)

    def get_illumination(self, x: Floats, y: Floats, focus_mdpt: float, f_number: float) -> Floats:
        """Return the light at each position of the sensor; 1 in the centre."""
        square = x * x + y * y
        tangent = square * np.float32(1 / self.get_image_distance_mm(focus_mdpt) ** 2)
        barrel = self.constants.vignetting * self.constants.widest / f_number
        light = 1 - square * np.float32(barrel / self.corner_mm**2)
        light /= np.square(1 + tangent)
        return light

    def get_irradiance(self, radiance: float, focus_mdpt: float, f_number: float) -> float:
        """Return W/m2 in the sensor's centre for a *radiance* in W/m2/sr."""
        working = self.get_working_f_number(focus_mdpt, f_number)
        return math.pi / 4 * self.constants.transmission * radiance / working**2

    def make_otf_table(
        self,
        blur_um: float,
        working_f_number: float,
        wavelength_nm: float,
        highest: float,
        entries: int,
    ) -> Floats:
        """Return the OTF at *entries* equal steps from 0 to the frequency *highest*, in cycles/mm.

        Args:
            blur_um: diameter of the blur disc; its sign does not matter.
            working_f_number: see :meth:`get_working_f_number`.
            wavelength_nm: wavelength of the light.
            highest: frequency of the last entry.
            entries: number of entries.
        """
        blur_mm = abs(blur_um) / 1000
        cutoff = 1e6 / (wavelength_nm * working_f_number)
        end = min(highest, cutoff)
        cycles = end * blur_mm
        dense = end * min(1.0, _FINE_CYCLES / cycles) if cycles else end
        nodes = np.linspace(0, dense, 64 * _FINE_CYCLES)
        if dense < end:
            count = math.ceil((cycles - _FINE_CYCLES) * 12) + 2
            nodes = np.concatenate([nodes, np.linspace(dense, end, count)[1:]])
        values = defocused_otf(
            nodes / cutoff, blur_mm * 1e6 / (8 * working_f_number * wavelength_nm)
        )
        frequencies = np.linspace(0, highest, entries)
        return np.interp(frequencies, nodes, values, right=0.0).astype(np.float32)


def make_optics(module: Mapping[str, Any]) -> Optics:
    """Return the lens of a module; *module* is its profile (:mod:`..module_profile`)."""
    optics = module["optics"]
    stops = optics.get("stops_milli", [optics["aperture_milli"]])
    constants = replace(
        load_constants("optics", OpticsConstants),
        focal_length=optics["focal_um"] / 1000,
        widest=stops[0] / 1000,
        smallest=stops[-1] / 1000,
        **module.get("lens", {}),
    )
    return Optics(constants, optics.get("focus_mdpt"))


def defocused_otf(frequency: Doubles, waves: float) -> Doubles:
    """Return the OTF of a circular pupil with defocus.

    Args:
        frequency: in units of the cutoff, 0 to 1.
        waves: wavefront error at the pupil's edge, in wavelengths.
    """
    v = np.clip(frequency, 0, 1)
    speed = (8 * math.pi * abs(waves)) * v
    panels = np.ceil(speed / _PANEL_RADIANS).astype(int)
    values = np.empty_like(v)
    # Frequencies with a similar number of panels are computed together.
    groups = np.where(panels <= 1, 1, (panels + 1) // 2 * 2)
    for count in np.unique(groups):
        chosen = groups == count
        values[chosen] = _integrate_pupil(v[chosen], speed[chosen], int(count))
    return values


def _integrate_pupil(v: Doubles, speed: Doubles, panels: int) -> Doubles:
    """Return the integral of :func:`defocused_otf`; *speed* is the phase at ``x = 1``."""
    nodes, weights = _find_nodes()
    part = ((np.arange(panels)[:, None] + (nodes + 1) / 2).ravel() / panels).astype(np.float32)
    weight = (np.tile(weights / 2, panels) / panels).astype(np.float32)
    # x + v = sin(angle) takes the root out of the integrand.
    start = np.arcsin(v)
    width = math.pi / 2 - start
    angle = width[:, None].astype(np.float32) * part
    angle += start[:, None].astype(np.float32)
    phase = np.sin(angle)
    phase -= v[:, None].astype(np.float32)
    phase *= speed[:, None].astype(np.float32)
    np.cos(angle, out=angle)
    np.square(angle, out=angle)
    np.cos(phase, out=phase)
    angle *= phase
    return np.asarray(4 / math.pi * width * (angle @ weight))


@cache
def _find_nodes() -> tuple[Doubles, Doubles]:
    return np.polynomial.legendre.leggauss(_PANEL_NODES)
