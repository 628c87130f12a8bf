"""The controls of a module as a user sees them: names, units and ranges.

:attr:`lenslink.Device.controls` returns them. The names are the fields of
:class:`lenslink.Settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lenslink_protocol.controls import CONTROLS
from lenslink_protocol.manifest import Manifest

from .settings import CONTROL_FIELDS


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a module.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     print(module.controls["focus_mdpt"].unit)
    milli-dioptre
    """

    name: str
    """The field of :class:`lenslink.Settings`."""
    unit: str
    minimum: int
    maximum: int
    step: int
    default: int
    """The value of a stream that nobody has set. The focus stays where the lens is."""


def list_controls(manifest: Manifest) -> Mapping[str, Control]:
    """Return the controls that a module has, by their names."""
    units = {each.id: each.unit for each in CONTROLS}
    found = {}
    for name, number in CONTROL_FIELDS.items():
        entry = manifest.find_control(number)
        if entry is not None:
            found[name] = Control(
                name, units[number], entry.minimum, entry.maximum, entry.step, entry.initial
            )
    return found
