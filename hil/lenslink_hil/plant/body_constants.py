"""Load the physical constants of the body from ``constants.toml``.

Each constant is a table with a value, its unit, a source and a confidence. The loader accepts
neither a missing nor an unknown constant, and no unit that the code does not expect.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from lenslink.errors import RigError

from .constants import CAMERA_SECTIONS, CONFIDENCES, FILE

_FIELDS: Final = frozenset({"value", "unit", "source", "confidence"})


@dataclass(frozen=True, slots=True)
class ContactConstants:
    """The spring contacts."""

    resistance_mohm: int
    """Of one contact; a current passes two."""
    bounce_us: int
    first_touch_us: int
    detect_recess_um: int
    snap_speed_mm_s: int
    short_resistance_mohm: int
    water_resistance_ohm: int
    detect_pulldown_ohm: int


@dataclass(frozen=True, slots=True)
class DockConstants:
    """The phone's side of the contacts."""

    settle_us: int
    test_us: int
    short_below_ohm: int
    wet_below_ohm: int
    bleed_resistance_ohm: int
    current_limit_ma: int
    short_cut_us: int
    ramp_limit_us: int
    power_hold_us: int
    detect_hold_us: int
    retry_us: int


@dataclass(frozen=True, slots=True)
class SupplyConstants:
    """The supply, from the phone's converter to the module's."""

    voltage_mv: int
    source_resistance_mohm: int
    input_capacitance_uf: int
    brown_out_mv: int
    power_good_mv: int
    restart_us: int


@dataclass(frozen=True, slots=True)
class HeatConstants:
    """The housing: a body of first order."""

    resistance_k_w: float
    time_constant_s: int
    ambient_degc: float


@dataclass(frozen=True, slots=True)
class MotorConstants:
    """The focus motor and what it moves."""

    travel_steps: int
    """From infinity to closest focus."""
    stop_steps: int
    slip_speed_steps_s: int
    slip_burst_steps: int
    curve_mdpt: tuple[int, ...]
    backlash_mdpt: int
    ringing_mdpt: int
    ringing_decay_us: int
    ringing_frequency_hz: int
    drift_mdpt_k: float
    step_energy_uj: int


@dataclass(frozen=True, slots=True)
class RingConstants:
    """The focus ring."""

    speed_ticks_s: int


@dataclass(frozen=True, slots=True)
class BodyConstants:
    """All constants of the body, by section."""

    contacts: ContactConstants
    dock: DockConstants
    supply: SupplyConstants
    heat: HeatConstants
    motor: MotorConstants
    ring: RingConstants


_SECTIONS: Final = {
    "contacts": ContactConstants,
    "dock": DockConstants,
    "supply": SupplyConstants,
    "heat": HeatConstants,
    "motor": MotorConstants,
    "ring": RingConstants,
}


@cache
def load_body_constants() -> BodyConstants:
    """Return the constants of the file that belongs to the package."""
    return parse_body_constants(FILE.read_text(encoding="utf-8"))


def parse_body_constants(text: str) -> BodyConstants:
    """Return the constants in *text*.

    Raises:
        RigError: a constant is missing, unknown, without source, or in another unit.
    """
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RigError(f"{FILE.name}: {error}") from None
    sections = {key: table for key, table in sections.items() if key not in CAMERA_SECTIONS}
    _check_names("", sections, set(_SECTIONS))
    parsed: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        values = {}
        for key, constant in sections[name].items():
            value = constant["value"] if isinstance(constant, dict) else None
            field = _make_field_name(name, key, constant)
            values[field] = tuple(value) if isinstance(value, list) else value
        _check_names(name, values, {each.name for each in fields(kind)})
        parsed[name] = kind(**values)
    return BodyConstants(**parsed)


def _make_field_name(section: str, key: str, constant: Any) -> str:
    """Check a constant. Return the name of its field."""
    where = f"{FILE.name}: {section}.{key}"
    if not isinstance(constant, dict) or set(constant) != _FIELDS:
        raise RigError(f"{where} needs value, unit, source and confidence")
    value, unit = constant["value"], constant["unit"]
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(type(each) in (int, float) for each in numbers):
        raise RigError(f"{where}: the value is no number")
    if not isinstance(unit, str) or not constant["source"]:
        raise RigError(f"{where} has no unit or no source")
    if constant["confidence"] not in CONFIDENCES:
        raise RigError(f"{where}: the confidence is none of {', '.join(CONFIDENCES)}")
    # The unit is the end of the field's name: "resistance" in "mOhm" is resistance_mohm.
    return f"{key}_{unit.lower().replace('/', '_')}"


def _check_names(section: str, present: Any, expected: set[str]) -> None:
    where = f"{FILE.name}: {section or 'sections'}"
    if unknown := sorted(set(present) - expected):
        raise RigError(f"{where}: unknown {', '.join(unknown)}")
    if missing := sorted(expected - set(present)):
        raise RigError(f"{where}: missing {', '.join(missing)}")
