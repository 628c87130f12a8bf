"""What a simulated sensor is: its levels, colour filter, colour response and readout modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lenslink.errors import UsageError
from lenslink_protocol.ids import Cfa, PixelFormat
from lenslink_protocol.packings import packings, pixel_format

CFA_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
"""Colours of the 2x2 pixels at the top left of the full frame, row by row."""

MODULE_BITS = (10, 12, 14)
"""Bit depths that the simulated module offers; a RAW file brings its own."""
DEFAULT_BITS = 12

Pair = tuple[int, int]
"""A rational number as TIFF holds it: numerator, denominator."""

D65_ILLUMINANT = 21
"""EXIF LightSource code of D65; 0 is unknown."""

# Made up, but shaped like what Adobe publishes for current back-illuminated sensors under D65:
# strong green, weak red, and no colour of sRGB's gamut gives a negative response.
MODULE_MATRIX: tuple[Pair, ...] = tuple(
    (value, 10000) for value in (7200, -2400, -600, -5000, 13000, 2200, -800, 2000, 6200)
)
# That matrix times the XYZ of D65, scaled to green = 1.
MODULE_NEUTRAL: tuple[Pair, ...] = ((3561, 10000), (10000, 10000), (7508, 10000))

# XYZ (D65) to linear sRGB, IEC 61966-2-1: a test pattern's levels are sRGB's own primaries, so
# colour bars come out of any RAW converter as colour bars.
PATTERN_MATRIX: tuple[Pair, ...] = tuple(
    (value, 10000) for value in (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
)
PATTERN_NEUTRAL: tuple[Pair, ...] = ((1, 1), (1, 1), (1, 1))


@dataclass(frozen=True)
class Mode:
    """One way to read the sensor out.

    :ivar binning: 1, or 2 for 2x2 same-colour binning of the sensor's full frame.
    :ivar active_area: top, left, bottom, right in pixels of this mode; outside are margins.
    :ivar use: subset of ``{"preview", "still"}``: what the firmware uses the mode for.
    """

    id: int
    name: str
    width: int
    height: int
    binning: int
    active_area: tuple[int, int, int, int]
    use: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """Give the plain dict that configures the firmware."""
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

    :ivar maker: and ``model``: of the RAW file; None lets the board profile name the module.
    :ivar width: and ``height``: native size in pixels, with margins.
    :ivar bits: bits a pixel on the link.
    :ivar cfa: phase at pixel (0, 0) of the *full frame*. DNG counts from the ActiveArea instead.
    :ivar black: of the 2x2 pixels at (0, 0) of the full frame, row by row.
    :ivar white: the code at which a pixel is saturated.
    :ivar orientation: EXIF code, 1 = upright.
    :ivar color_matrix: DNG ColorMatrix1, XYZ to camera RGB, 3x3 row by row.
    :ivar neutral: DNG AsShotNeutral: camera RGB of a white surface.
    :ivar illuminant: DNG CalibrationIlluminant1, an EXIF LightSource code.
    :ivar repeat: frames that it sends again and again, with their tiles' CRCs; 0 for a real sensor.
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

    @property
    def formats(self) -> tuple[PixelFormat, ...]:
        """What it can send: 16-bit words unless asked otherwise."""
        cfa = Cfa[self.cfa]
        return tuple(pixel_format(each, self.bits, cfa) for each in packings(self.bits))

    def mode(self, mode_id: int) -> Mode:
        """Find a mode by number; raises KeyError."""
        for mode in self.modes:
            if mode.id == mode_id:
                return mode
        raise KeyError(mode_id)

    def to_json(self) -> dict[str, Any]:
        """Give the plain dict that configures the firmware; rationals are flattened."""
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
        }


def get_levels(bits: int) -> tuple[int, int]:
    """Give black and white level of the simulated module: a sixteenth, and the largest code."""
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
    """Build the simulated module's sensor, or the test pattern generator in its place.

    :raises UsageError: for a bit depth or CFA phase it does not have.
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
    )
