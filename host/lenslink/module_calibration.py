"""What was measured of a module: noise, shading, distortion, blur and defects, as arrays.

:attr:`lenslink.Device.calibration` returns a :class:`ModuleCalibration`. It reads a calibration
when it is first asked for. :mod:`.image_files.opcodes` writes shading and distortion into a DNG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol import calibration as wire
from lenslink_protocol.ids import CalibrationKind

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoiseProfile:
    """The noise at each gain: of a signal x from 0 (black) to 1 (white) the variance is S x + O."""

    gain: Doubles
    """(n,) analogue gain, 1 is unity; rising."""
    slope: Doubles
    """(n,) S of DNG's NoiseProfile."""
    offset: Doubles
    """(n,) O of DNG's NoiseProfile."""

    def at(self, gain: float) -> tuple[float, float]:
        """Return S and O at a gain. Beyond the measured gains the nearest one holds."""
        slope = np.interp(gain, self.gain, self.slope)
        return float(slope), float(np.interp(gain**2, self.gain**2, self.offset))


@dataclass(frozen=True, eq=False)
class GainMap:
    """The gain that each place of the picture needs, because the lens darkens it."""

    f_number: Doubles
    """(a,) f-numbers, rising."""
    focus_mdpt: Doubles
    """(d,) distances in milli-dioptres, rising."""
    gain: Doubles
    """(a, d, rows, columns) gains. The points lie from edge to edge of the whole mode."""

    def at(self, f_number: float, focus_mdpt: float) -> Doubles:
        """Return the map of an f-number and a distance, shape (rows, columns)."""
        # Light is linear in 1 / N and in dioptres; see SPEC.md, 7.1.
        light = 1 / self.gain
        light = _interpolate(light, -1 / self.f_number, -1 / f_number)
        return np.asarray(1 / _interpolate(light, self.focus_mdpt, focus_mdpt))


@dataclass(frozen=True, eq=False)
class Distortion:
    """Where the lens puts a point, as DNG's opcode WarpRectilinear states it."""

    center: Doubles
    """(2,) the optical axis: x in widths and y in heights of the whole mode."""
    radial: Doubles
    """(4,) kr0 to kr3. Radius 1 is the corner of the whole mode farthest from the axis."""
    tangential: Doubles
    """(2,) kt0 and kt1."""


@dataclass(frozen=True, eq=False)
class Blur:
    """The blur of what is out of focus."""

    focus_mdpt: Doubles
    """(n,) distances that the lens is focused on, in milli-dioptres, rising."""
    pixels: Doubles
    """(n,) diameter of the blur at f/1, one dioptre out of focus, in pixels of the sensor."""

    def at(self, f_number: float, focus_mdpt: float) -> float:
        """Return the diameter of the blur for each dioptre, in pixels of the sensor."""
        return float(np.interp(focus_mdpt, self.focus_mdpt, self.pixels)) / f_number


Loader = Callable[[CalibrationKind], wire.AnyCalibration | None]


class ModuleCalibration:
    """The calibrations of a module. Each is read when it is first asked for; None if it has none.

    >>> with lenslink.open("sim:?scene=flat&width=320") as module:
    ...     gain_map = module.calibration.gain_map
    ...     print(gain_map.at(f_number=1.4, focus_mdpt=0).shape)
    (17, 21)

    Every property raises:
        ProtocolError: The module sends a calibration that is damaged or malformed.
        Disconnected: The module went away meanwhile.
        Timeout: The module did not answer in time.
    """

    def __init__(self, load: Loader) -> None:
        self._load = load

    def read_all(self) -> ModuleCalibration:
        """Read all calibrations now, and return them apart from the module.

        The result can be pickled, for another process.
        """
        return ModuleCalibration({kind: self._load(kind) for kind in CalibrationKind}.get)

    @property
    def noise(self) -> NoiseProfile | None:
        """The noise profile at each gain."""
        found = self._load(CalibrationKind.NOISE)
        if not isinstance(found, wire.Noise):
            return None
        gain, slope, offset = np.array(found.points, np.float64).T
        return NoiseProfile(gain / 1e3, slope / 1e9, offset / 1e12)

    @property
    def gain_map(self) -> GainMap | None:
        """The gain that evens out the light."""
        found = self._load(CalibrationKind.GAIN_MAP)
        if not isinstance(found, wire.GainMap):
            return None
        shape = (len(found.apertures), len(found.focuses), found.rows, found.columns)
        return GainMap(
            np.array(found.apertures) / 1e3,
            np.array(found.focuses, np.float64),
            np.array(found.gains).reshape(shape) / wire.UNIT_GAIN,
        )

    @property
    def distortion(self) -> Distortion | None:
        """The lens' distortion."""
        found = self._load(CalibrationKind.DISTORTION)
        if not isinstance(found, wire.Distortion):
            return None
        return Distortion(
            np.array(found.center) / 1e6,
            np.array(found.radial) / 1e9,
            np.array(found.tangential) / 1e9,
        )

    @property
    def blur(self) -> Blur | None:
        """The blur for each dioptre."""
        found = self._load(CalibrationKind.BLUR)
        if not isinstance(found, wire.Blur):
            return None
        focus, pixels = np.array(found.points, np.float64).T
        return Blur(focus, pixels / 1e3)

    def list_defects(self, mode: int) -> NDArray[np.intp]:
        """Return the pixels of a mode that are not to be used: column and row, shape (n, 2).

        Args:
            mode: The number of a mode of the manifest.
        """
        found = self._load(CalibrationKind.DEFECTS)
        pixels = found.pixels if isinstance(found, wire.Defects) else ()
        places = [(each.x, each.y) for each in pixels if each.mode == mode]
        return np.array(places, np.intp).reshape(-1, 2)


def _interpolate(values: Doubles, places: Doubles, place: float) -> Doubles:
    """Return the values at a place along the first axis. Beyond the ends the nearest hold."""
    last = len(places) - 1
    position = float(np.interp(place, places, np.arange(last + 1)))
    low = min(int(position), max(last - 1, 0))
    high = min(low + 1, last)
    weight = position - low
    return np.asarray(values[low] * (1 - weight) + values[high] * weight)
