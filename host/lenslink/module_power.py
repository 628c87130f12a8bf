"""What a module draws, has drawn and may draw, as a user sees it.

:attr:`lenslink.Device.power` returns a :class:`Power`. Its needs are of the manifest, and its state
is of the Events that have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lenslink_protocol.ids import EventKind, HeatState
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import Event


@dataclass(frozen=True, slots=True)
class Power:
    """The power, the energy and the heat of a module.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     module.grant_power(1700)
    ...     module.power.budget_mw
    1700
    """

    budget_mw: int | None
    """What the host has granted in this session, in milliwatts; None without a limit."""
    idle_mw: int | None
    """What the module may draw without a frame, its motor included; None if it states nothing."""
    mode_mw: Mapping[str, int]
    """What the module may draw with frames of a mode, its motor included, by the mode's name."""
    supply_mv: int | None
    """The supply at the module, in millivolts; None before it was reported."""
    energy_uj: int | None
    """All energy since the module's start, in microjoules; None before it was reported."""
    energy_time_us: int | None
    """The module's clock at which ``energy_uj`` was so, in microseconds."""
    heat: HeatState | None
    """The heat state; None before it was reported."""


def describe_power(manifest: Manifest, events: Mapping[int, Event], budget_mw: int | None) -> Power:
    """Return what the manifest and the newest Event of each kind say about power."""
    supply, heat, entry = events.get(EventKind.POWER), events.get(EventKind.HEAT), manifest.power
    motor_mw = 0 if entry is None else entry.motor_mw
    needs = {each.name: each.active_mw + motor_mw for each in manifest.modes if each.active_mw}
    is_known = heat is not None and heat.value in set(HeatState)
    return Power(
        budget_mw=budget_mw,
        idle_mw=None if entry is None else entry.idle_mw + motor_mw,
        mode_mw=needs,
        supply_mv=None if supply is None else supply.value,
        energy_uj=None if supply is None else supply.counter | supply.counter_high << 32,
        energy_time_us=None if supply is None else supply.time_us,
        heat=HeatState(heat.value) if heat is not None and is_known else None,
    )
