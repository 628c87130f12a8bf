"""The camera's physical constants, read from ``constants.toml``.

The file holds a table for each constant, with its value, unit, source, confidence and the check
that recovers it from frames. A constant that is missing, unknown or incomplete is an error, so
that the file and the types below cannot drift apart.

>>> load_constants("sensor", SensorConstants).full_well
15000.0
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lenslink.errors import RigError

FILE = Path(__file__).with_name("constants.toml")
CONFIDENCES = ("standard", "specified", "published", "derived", "assumed")
CAMERA_SECTIONS = ("sensor", "optics", "light")
"""The sections of the camera. :mod:`.body_constants` reads the others."""

T = TypeVar("T")


class Constant(NamedTuple):
    """One constant with its origin."""

    value: float
    unit: str
    source: str
    confidence: str
    check: str
    """Name of the test that recovers the value."""


@dataclass(frozen=True)
class SensorConstants:
    """The sensor. Units stand in ``constants.toml``."""

    pitch: float
    qe_red: float
    qe_green: float
    qe_blue: float
    wavelength_red: float
    wavelength_green: float
    wavelength_blue: float
    full_well: float
    system_gain: float
    read_noise_pixel: float
    read_noise_converter: float
    row_noise: float
    dark_current: float
    dark_reference: float
    dark_doubling: float
    dsnu: float
    prnu: float
    hot_pixel_fraction: float
    hot_pixel_current: float
    row_time: float

    @property
    def quantum_efficiency(self) -> tuple[float, float, float]:
        """Electrons per photon of the planes red, green and blue."""
        return self.qe_red, self.qe_green, self.qe_blue

    @property
    def wavelength_nm(self) -> tuple[float, float, float]:
        """Wavelengths of the planes red, green and blue."""
        return self.wavelength_red, self.wavelength_green, self.wavelength_blue


@dataclass(frozen=True)
class OpticsConstants:
    """The lens. Units stand in ``constants.toml``."""

    focal_length: float
    widest: float
    smallest: float
    field_width: float
    transmission: float
    breathing: float
    vignetting: float
    distortion: float


@dataclass(frozen=True)
class LightConstants:
    """The light on the scene. Units stand in ``constants.toml``."""

    radiance_red: float
    radiance_green: float
    radiance_blue: float
    reference_kelvin: float
    flicker_depth: float

    @property
    def radiance(self) -> tuple[float, float, float]:
        """Radiance of the bands red, green and blue in W/m2/sr for each cd/m2."""
        return self.radiance_red, self.radiance_green, self.radiance_blue


@cache
def read_table() -> Mapping[str, Mapping[str, Constant]]:
    """Return every constant of the camera by section and name.

    Raises:
        RigError: a constant is incomplete, or has a key or a confidence that does not exist.
    """
    with FILE.open("rb") as file:
        sections = tomllib.load(file)
    return {
        section: {name: _make_constant(f"{section}.{name}", entry) for name, entry in table.items()}
        for section, table in sections.items()
        if section in CAMERA_SECTIONS
    }


def load_constants(section: str, kind: type[T]) -> T:
    """Return the values of a *section* as the dataclass *kind*, whose fields are all of its names.

    Raises:
        RigError: as for :func:`read_table`, and if a name is missing or unknown.
    """
    table = read_table().get(section, {})
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if wrong := names ^ table.keys():
        raise RigError(
            f"{FILE.name}: [{section}] misses or does not know {', '.join(sorted(wrong))}"
        )
    return kind(**{name: entry.value for name, entry in table.items()})


def _make_constant(name: str, entry: Any) -> Constant:
    if not isinstance(entry, dict) or entry.keys() != set(Constant._fields):
        raise RigError(f"{FILE.name}: {name} must have exactly {', '.join(Constant._fields)}")
    constant = Constant(**entry)
    if isinstance(constant.value, bool) or not isinstance(constant.value, int | float):
        raise RigError(f"{FILE.name}: {name} has the value {constant.value!r}, which is no number")
    texts = constant[1:]
    if not all(isinstance(text, str) and text for text in texts):
        raise RigError(f"{FILE.name}: {name} has an empty text")
    if constant.confidence not in CONFIDENCES:
        raise RigError(f"{FILE.name}: {name} has the confidence {constant.confidence!r}")
    return constant._replace(value=float(constant.value))
