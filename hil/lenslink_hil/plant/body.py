"""The module's body behind pin records: contacts and dock, supply and heat, motor, focus ring.

The classes here do no input or output. Every method takes the time, in microseconds of any
monotonic clock, so that tests use a clock of their own. :mod:`.plant_process` passes the firmware's
records to :meth:`Body.handle` and sends the records that :meth:`Body.take_due_records` returns.
``lenslink_hil.virtual_body`` does the same within one process, in simulated time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from functools import partial

from .body_constants import BodyConstants, load_body_constants
from .dock import Dock
from .housing import Housing
from .motor import Motor
from .pin_records import (
    DETECT_PIN,
    END_STOP,
    ENERGY,
    FAULT_INPUT,
    LEAKAGE,
    POWER_PINS,
    RELEASE_BUTTON,
    RING_A,
    RING_B,
    TEMPERATURE,
    VBUS,
    Kind,
    Record,
)
from .spring_contacts import SHORT, Edge, SpringContacts, make_attach_edges
from .supply import Supply

ADC_MAX = 4095
ADC_REFERENCE_MV = 3300
VBUS_DIVIDER = 2

# Levels of A and B at each tick of the ring; A leads for a positive turn.
_QUADRATURE = ((0, 0), (1, 0), (1, 1), (0, 1))


class Body:
    """The body behind records: the firmware's actions go in, edges and ADC counts come out.

    Args:
        seed: of the bounce of the first attachment, which begins at once.
        now_us: the time.
        constants: of the body; by default those of ``constants.toml``.
        attach: False leaves the module beside the dock.
    """

    def __init__(
        self,
        seed: int,
        now_us: int,
        constants: BodyConstants | None = None,
        *,
        attach: bool = True,
    ) -> None:
        self.constants = constants or load_body_constants()
        self.motor = Motor(self.constants.motor, now_us)
        self.aperture_milli = 0
        """F-number of the iris in thousandths; 0 before the first move, at the widest stop."""
        self.housing = Housing(self.constants.heat, now_us)
        self.contacts = SpringContacts(self.constants)
        self.dock = Dock(self.constants, self.contacts)
        self.supply = Supply(self.constants, self.contacts, self.dock, self.housing, now_us)
        self.dock.get_load_ma = self.supply.get_load_ma
        self.last_short_us: int | None = None
        """When a short closed last."""
        self.last_switch_us: int | None = None
        """When the firmware opened its power switch last."""
        # The levels of the firmware's inputs, as it was told.
        self._levels = dict.fromkeys(
            (POWER_PINS, DETECT_PIN, RELEASE_BUTTON, FAULT_INPUT, END_STOP), 0
        )
        self.ring_ticks = 0
        """Ticks of the focus ring since the start: its position."""
        self.ring_edges = 0
        """Ticks in either direction since the start."""
        self._ring_end_us = now_us
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[int], list[Record]]]] = []
        self._schedule(now_us, self._update)
        if attach:
            self.plan_contacts(make_attach_edges(seed, self.constants), now_us)

    def plan_contacts(self, edges: Iterable[Edge], now_us: int) -> None:
        """Schedule edges of contacts, each as (delay from now in microseconds, contact, level)."""
        for delay_us, contact, level in edges:
            self._schedule(now_us + delay_us, partial(self._move_contact, contact, level))

    def set_supply_mv(self, millivolts: int, now_us: int) -> list[Record]:
        """Set the phone's open-circuit voltage. Return the records of what that changes."""
        self.supply.set_open_circuit_mv(millivolts, now_us)
        return self._update(now_us)

    def set_contact_mohm(self, milliohms: int, now_us: int) -> list[Record]:
        """Set the resistance of each supply contact. Return the records of what that changes."""
        self.supply.update(now_us)
        self.contacts.resistance_mohm = milliohms
        return self._update(now_us)

    def turn_ring(self, ticks: int, now_us: int, ticks_per_s: int | None = None) -> None:
        """Schedule a turn of the focus ring, after any turn in progress; negative is backwards.

        A tick is one edge of a quadrature signal. The speed is 2,000 ticks a second by default.
        """
        start = max(now_us, self._ring_end_us)
        speed = ticks_per_s or self.constants.ring.speed_ticks_s
        step = 1 if ticks > 0 else -1
        for tick in range(abs(ticks)):
            self._schedule(start + tick * 1_000_000 // speed, partial(self._turn_tick, step))
        self._ring_end_us = start + abs(ticks) * 1_000_000 // speed

    def get_next_event_us(self) -> int | None:
        """Return the time of the next edge, or of what dock and supply do next, or None."""
        due = [self.dock.get_next_us(), self.supply.get_next_us()]
        if self._events:
            due.append(self._events[0][0])
        return min((each for each in due if each is not None), default=None)

    def take_due_records(self, now_us: int) -> list[Record]:
        """Execute everything that is due by now, in order, and return the records of it."""
        records: list[Record] = []
        while (at_us := self.get_next_event_us()) is not None and at_us <= now_us:
            if self._events and self._events[0][0] == at_us:
                _, _, make_records = heapq.heappop(self._events)
                records += make_records(at_us)
            else:
                self.supply.update(at_us)
                self.dock.poll(at_us)
                records += self._update(at_us)
        return records

    def handle(self, record: Record, now_us: int) -> list[Record]:
        """Execute a record from the firmware and return the answers; ignore unknown kinds."""
        if record.kind == Kind.STEP:
            if self.supply.is_up and self.supply.is_switch_closed:
                moved = self.motor.step(record.value, now_us)
                self.supply.add_energy(moved * self.constants.motor.step_energy_uj, now_us)
                return self._update(now_us)
        elif record.kind == Kind.IRIS:
            if self.supply.is_up and self.supply.is_switch_closed:
                self.aperture_milli = record.value
        elif record.kind == Kind.LOAD:
            self.supply.set_load(record.value, now_us)
            self.dock.handle_load(now_us)
            return self._update(now_us)
        elif record.kind == Kind.SWITCH:
            self.supply.set_switch(bool(record.value), now_us)
            if not record.value:
                self.last_switch_us = now_us
                self.dock.handle_open_switch(now_us)
            return self._update(now_us)
        elif record.kind == Kind.SAMPLE:
            return [Record(Kind.ADC, record.channel, self.convert(record.channel, now_us))]
        elif record.kind == Kind.READ:
            return self._list_levels()
        return []

    def convert(self, channel: int, now_us: int) -> int:
        """Return the ADC's counts for a channel; 0 for one that does not exist.

        VBUS comes through a 1:2 divider. The temperature sensor is a TMP36's: 500 mV plus 10 mV for
        each degree. The leakage is the voltage at the detect pin, which is 0 while it is dry. The
        energy is an ideal gauge's register.
        """
        if channel == ENERGY:
            return self.supply.get_gauge_counts(now_us)
        millivolts = 0.0
        if channel == VBUS:
            millivolts = self.supply.get_voltage_mv() / VBUS_DIVIDER
        elif channel == TEMPERATURE:
            millivolts = 500 + 10 * self.housing.get_temperature_c(now_us)
        elif channel == LEAKAGE:
            millivolts = self.contacts.get_detect_mv(self.supply.get_voltage_mv())
        return min(ADC_MAX, round(millivolts / ADC_REFERENCE_MV * ADC_MAX))

    def report(self, now_us: int) -> dict[str, object]:
        """Return the truth of the body as JSON-compatible values: the bench's port to it."""
        self.supply.update(now_us)
        return {
            "now_us": now_us,
            "dock": self.dock.state.value,
            "dock_entries": {state.value: count for state, count in self.dock.entries.items()},
            "last_cut_us": self.dock.last_cut_us,
            "last_short_us": self.last_short_us,
            "last_switch_us": self.last_switch_us,
            "supply_mv": round(self.supply.get_voltage_mv()),
            "load_ma": self.supply.get_load_ma(),
            "is_switch_closed": self.supply.is_switch_closed,
            "energy_uj": round(self.supply.energy_uj),
            "housing_c": self.housing.get_temperature_c(now_us),
            "focus_mdpt": self.get_focus_mdpt(now_us),
            "ring_ticks": self.ring_ticks,
            "ring_edges": self.ring_edges,
        }

    def get_focus_mdpt(self, now_us: int) -> float:
        """Return the distance on which the lens is focused, in milli-dioptres."""
        return self.motor.get_focus_mdpt(now_us, self.housing.get_temperature_c(now_us))

    def _schedule(self, at_us: int, make_records: Callable[[int], list[Record]]) -> None:
        # The running number keeps simultaneous edges in the order of their scheduling.
        heapq.heappush(self._events, (at_us, next(self._order), make_records))

    def _move_contact(self, contact: int, level: int, at_us: int) -> list[Record]:
        self.supply.update(at_us)
        self.contacts.set_level(contact, level)
        if contact == SHORT and level:
            self.last_short_us = at_us
        if contact != RELEASE_BUTTON:
            self.dock.handle_contacts(at_us)
        return self._update(at_us)

    def _update(self, now_us: int) -> list[Record]:
        """Return a record for each of the firmware's inputs that has changed."""
        while self.supply.update(now_us):
            self.dock.handle_load(now_us)
        records = []
        for pin, level in (
            (FAULT_INPUT, self.contacts.is_shorted),
            (POWER_PINS, self.supply.is_up),
            (DETECT_PIN, self.contacts.has_detect),
            (RELEASE_BUTTON, self.contacts.is_released),
            (END_STOP, self.motor.is_at_end_stop),
        ):
            if self._levels[pin] != level:
                self._levels[pin] = int(level)
                records.append(Record(Kind.CONTACT, pin, int(level)))
        return records

    def _list_levels(self) -> list[Record]:
        contacts = [Record(Kind.CONTACT, *each) for each in self._levels.items()]
        ring = enumerate(_QUADRATURE[self.ring_ticks % 4])
        return [*contacts, *(Record(Kind.RING, *each) for each in ring), Record(Kind.LEVELS, 0, 0)]

    def _turn_tick(self, step: int, at_us: int) -> list[Record]:
        del at_us
        before = _QUADRATURE[self.ring_ticks % 4]
        self.ring_ticks += step
        self.ring_edges += 1
        after = _QUADRATURE[self.ring_ticks % 4]
        channel = RING_A if before[0] != after[0] else RING_B
        return [Record(Kind.RING, channel, after[channel])]
