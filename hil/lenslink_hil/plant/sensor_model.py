"""The model of a sensor: its levels, colour filter, colour response and readout modes.

:mod:`.scene` makes a :class:`Sensor`. The bench passes it to the firmware as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lenslink.errors import UsageError
from lenslink_protocol.ids import Cfa, PixelFormat
from lenslink_protocol.packings import find_pixel_format, list_packings

CFA_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
"""Colours of the 2x2 pixels at the top left of the full frame, row by row."""

MODULE_BITS = (10, 12, 14)
"""Bit depths of the simulated module. A RAW file has its own."""
DEFAULT_BITS = 12

Pair = tuple[int, int]
"""A rational number: numerator, denominator."""

MODULE_ROW_TIME_NS = 14_746
"""Of a row of 12288 pixels with 12 bits each at 10 Gbit/s."""

D65_ILLUMINANT = 21
"""EXIF LightSource code of D65; 0 is unknown."""

# An invented matrix, similar to those that Adobe publishes for back-illuminated sensors under D65:
# strong green, weak red, and no negative response within sRGB's gamut.
MODULE_MATRIX: tuple[Pair, ...] = tuple(
    (value, 10000) for value in (7200, -2400, -600, -5000, 13000, 2200, -800, 2000, 6200)
)
# MODULE_MATRIX times the XYZ of D65, scaled to green = 1.
MODULE_NEUTRAL: tuple[Pair, ...] = ((3561, 10000), (10000, 10000), (7508, 10000))

A_ILLUMINANT = 17
"""EXIF LightSource code of standard light A, a lamp of 2,856 K."""
# MODULE_MATRIX in that light. Each band changes as the plant's light does (:mod:`.light`), and XYZ
# is adapted after Bradford. tests/unit/test_plant_calibration.py computes both again.
MODULE_MATRIX_A: tuple[Pair, ...] = tuple(
    (value, 10000) for value in (11735, -6305, 1138, -5824, 14646, 6728, -203, 656, 8832)
)
MODULE_NEUTRAL_A: tuple[Pair, ...] = ((6569, 10000), (10000, 10000), (3360, 10000))

# XYZ (D65) to linear sRGB, IEC 61966-2-1. The levels of a test pattern are sRGB primaries, so that
# any RAW converter shows colour bars as colour bars.
PATTERN_MATRIX: tuple[Pair, ...] = tuple(
    (value, 10000) for value in (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
)
PATTERN_NEUTRAL: tuple[Pair, ...] = ((1, 1), (1, 1), (1, 1))


@dataclass(frozen=True)
class SecondColor:
    """The sensor's colours in a second light; the fields are as in :class:`Sensor`."""

    color_matrix: tuple[Pair, ...]
    neutral: tuple[Pair, ...]
    illuminant: int

    def to_json(self) -> dict[str, Any]:
        """Return the plain dict that configures the firmware; rationals are flattened."""
        return {
            "color_matrix": [number for pair in self.color_matrix for number in pair],
            "neutral": [number for pair in self.neutral for number in pair],
            "illuminant": self.illuminant,
        }


@dataclass(frozen=True)
class Mode:
    """One way to read the sensor out.

    Attributes:
        binning: 1, or 2 for 2x2 same-colour binning of the sensor's full frame.
        active_area: top, left, bottom, right in pixels of this mode. Pixels outside are margins.
        use: subset of ``{"preview", "still"}``: what the firmware uses the mode for.
    """

    id: int
    name: str
    width: int
    height: int
    binning: int
    active_area: tuple[int, int, int, int]
    use: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """Return the plain dict that configures the firmware."""
        return {
            "id": self.id,
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "binning": self.binning,
            "active_area": list(self.active_area),
            "use": sorted(self.use),
        }


@dataclass(frozen=True)
class Sensor:
    """A sensor, or the sensor that a RAW file came from.

    Attributes:
        maker: maker of the RAW file's camera; None lets the board profile name the module.
        model: as ``maker``.
        width: width in pixels, with margins.
        height: height in pixels, with margins.
        bits: bits of a pixel on the link.
        cfa: phase at pixel (0, 0) of the *full frame*. DNG counts from the ActiveArea instead.
        black: levels of the 2x2 pixels at (0, 0) of the full frame, row by row.
        white: the code at which a pixel is saturated.
        orientation: EXIF code; 1 is upright.
        color_matrix: DNG ColorMatrix1, XYZ to camera RGB, 3x3 row by row.
        neutral: DNG AsShotNeutral, the camera RGB of a white surface.
        illuminant: DNG CalibrationIlluminant1, an EXIF LightSource code.
        modes: the readout modes.
        repeat: number of frames that the sensor repeats, with the CRCs of their tiles; 0 for none.
        row_time_ns: time from row to row of the readout; 0 if it is unknown.
        noise: of DNG's NoiseProfile at gain g: S is noise[0] * g in 1e-9, and O is
            noise[1] * g * g + noise[2] in 1e-12; zeros if it is unknown.
        aperture_milli: f-number of the iris after the start, in thousandths; 0 is the widest.
        second_color: the colours in another light, or None.
    """

    maker: str | None
    model: str | None
    width: int
    height: int
    bits: int
    cfa: str
    black: tuple[float, float, float, float]
    white: int
    orientation: int
    color_matrix: tuple[Pair, ...]
    neutral: tuple[Pair, ...]
    illuminant: int
    modes: tuple[Mode, ...]
    repeat: int = 0
    row_time_ns: int = 0
    noise: tuple[int, int, int] = (0, 0, 0)
    aperture_milli: int = 0
    second_color: SecondColor | None = None

    @property
    def formats(self) -> tuple[PixelFormat, ...]:
        """The pixel formats that the sensor can send. The first, 16-bit words, is the default."""
        cfa = Cfa[self.cfa]
        return tuple(find_pixel_format(each, self.bits, cfa) for each in list_packings(self.bits))

    def mode(self, mode_id: int) -> Mode:
        """Return the mode of that number; raise KeyError if there is none."""
        for mode in self.modes:
            if mode.id == mode_id:
                return mode
        raise KeyError(mode_id)

    def to_json(self) -> dict[str, Any]:
        """Return the plain dict that configures the firmware; rationals are flattened."""
        return {
            "maker": self.maker,
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "bits": self.bits,
            "cfa": self.cfa,
            "black": list(self.black),
            "white": self.white,
            "orientation": self.orientation,
            "color_matrix": [number for pair in self.color_matrix for number in pair],
            "neutral": [number for pair in self.neutral for number in pair],
            "illuminant": self.illuminant,
            "modes": [mode.to_json() for mode in self.modes],
            "formats": [int(code) for code in self.formats],
            "crc": self.repeat > 0,
            "row_time_ns": self.row_time_ns,
            "noise": list(self.noise),
            "aperture_milli": self.aperture_milli,
            "second_color": self.second_color.to_json() if self.second_color else None,
        }


def fit_noise_numbers(
    sensor: Sensor, get_profile: Callable[[int], tuple[float, float]]
) -> tuple[int, int, int]:
    """Return :attr:`Sensor.noise`.

    Args:
        sensor: the sensor.
        get_profile: returns the variance's ``a`` and ``b`` in DN at a gain in thousandths.
    """
    span = sensor.white - sum(sensor.black) / 4
    slope, one = get_profile(1000)
    _, two = get_profile(2000)
    with_gain = (two - one) / 3
    return (
        round(1e9 * slope / span),
        round(1e12 * with_gain / span**2),
        round(1e12 * (one - with_gain) / span**2),
    )


def get_levels(bits: int) -> tuple[int, int]:
    """Return black and white level of the simulated module: a sixteenth, and the largest code."""
    return 1 << (bits - 4), (1 << bits) - 1


def make_module_sensor(
    width: int,
    height: int,
    modes: tuple[Mode, ...],
    *,
    bits: int | None,
    cfa: str | None,
    pattern: bool,
) -> Sensor:
    """Return the simulated module's sensor, or with *pattern* its test pattern generator.

    Raises:
        UsageError: the sensor does not have the bit depth or the CFA phase.
    """
    bits = DEFAULT_BITS if bits is None else bits
    if bits not in MODULE_BITS:
        *others, last = (str(each) for each in MODULE_BITS)
        allowed = f"{', '.join(others)} or {last}"
        raise UsageError(f"bits={bits}: the simulated sensor has {allowed} bits")
    cfa = CFA_PHASES[0] if cfa is None else cfa
    if cfa not in CFA_PHASES:
        raise UsageError(f"cfa={cfa}: must be one of {', '.join(CFA_PHASES)}")
    black, white = get_levels(bits)
    return Sensor(
        maker=None,
        model=None,
        width=width,
        height=height,
        bits=bits,
        cfa=cfa,
        black=(float(black), float(black), float(black), float(black)),
        white=white,
        orientation=1,
        color_matrix=PATTERN_MATRIX if pattern else MODULE_MATRIX,
        neutral=PATTERN_NEUTRAL if pattern else MODULE_NEUTRAL,
        illuminant=D65_ILLUMINANT,
        modes=modes,
        row_time_ns=MODULE_ROW_TIME_NS,
        second_color=None
        if pattern
        else SecondColor(MODULE_MATRIX_A, MODULE_NEUTRAL_A, A_ILLUMINANT),
    )
