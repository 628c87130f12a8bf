"""A world of physical constants, and what a check recovers of it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from lenslink_hil.plant.constants import (
    LightConstants,
    OpticsConstants,
    SensorConstants,
    load_constants,
    read_table,
)

CFA = "RGGB"


@dataclasses.dataclass(frozen=True)
class World:
    """The constants that frames are rendered with."""

    sensor: SensorConstants = dataclasses.field(
        default_factory=lambda: load_constants("sensor", SensorConstants)
    )
    optics: OpticsConstants = dataclasses.field(
        default_factory=lambda: load_constants("optics", OpticsConstants)
    )
    light: LightConstants = dataclasses.field(
        default_factory=lambda: load_constants("light", LightConstants)
    )

    def shift(self, name: str, value: float) -> World:
        """Return a world in which one constant, as ``section.name``, has another value."""
        section, _, constant = name.partition(".")
        changed = dataclasses.replace(getattr(self, section), **{constant: value})
        return dataclasses.replace(self, **{section: changed})


class Recovery(NamedTuple):
    """A quantity that a check recovered."""

    name: str
    found: float
    expected: float
    tolerance: float
    """Largest absolute difference."""

    def is_within(self) -> bool:
        return abs(self.found - self.expected) <= self.tolerance


def expected(name: str) -> float:
    """Return the value of a constant in ``constants.toml``, as ``section.name``."""
    section, _, constant = name.partition(".")
    return read_table()[section][constant].value


def recover(name: str, found: float, relative: float) -> Recovery:
    """Return the recovery of a constant whose tolerance is relative."""
    value = expected(name)
    return Recovery(name, float(found), value, abs(value) * relative)
