"""Define what a power switch is, and find the switches: the group ``lenslink.power_switches``.

A package adds a switch with an entry point whose object is a :class:`SwitchKind`. :mod:`.rig_power`
calls the switches, and bounds every call by the switch's deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink.url import suggest

GROUP = "lenslink.power_switches"


class PowerSwitch(Protocol):
    """Switch the power of one board. Every call keeps to the deadline that it is given."""

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        """Switch the power, or raise :exc:`~lenslink.RigError`."""

    def read_power(self, deadline: Deadline) -> bool | None:
        """Return whether the power is on; None if the switch cannot tell."""


class SwitchKind(Protocol):
    """Make the switches of one kind."""

    options: Mapping[str, str]
    """Keys of the switch's table in rig.toml, each with its line of help."""

    def make(self, options: Mapping[str, object]) -> PowerSwitch:
        """Return a switch. Nothing is switched yet.

        Raises :exc:`~lenslink.UsageError` if an option is missing or makes no sense.
        """


@cache
def _find_switches() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def list_switches() -> list[str]:
    """Return the names of all kinds of switches.

    >>> "command" in list_switches()
    True
    """
    return sorted(_find_switches())


def load_switch(kind: str) -> SwitchKind:
    """Return the kind of switch called *kind*.

    Raises :exc:`~lenslink.RigError` if there is none, or if its package cannot be imported.
    """
    known = list_switches()
    if kind not in known:
        raise RigError(
            f"there is no switch '{kind}'{suggest(kind, known)} (known: {', '.join(known)})"
        )
    try:
        return cast(SwitchKind, _find_switches()[kind].load())
    except (ImportError, AttributeError) as error:
        raise RigError(f"the switch '{kind}' cannot be loaded: {error}") from None


def take_text(options: Mapping[str, object], key: str, default: str | None = None) -> str:
    """Return the option *key*, a text.

    Raises :exc:`~lenslink.UsageError` if it is no text, or is missing and has no *default*.
    """
    from lenslink.errors import UsageError

    value = options.get(key, default)
    if not isinstance(value, str) or (not value and default is None):
        raise UsageError(f"{key} is missing" if value is None else f"{key} = {value!r} is no text")
    return value
