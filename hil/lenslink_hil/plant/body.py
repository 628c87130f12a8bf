"""The module's body: spring contacts, supply and heat, focus motor, focus ring.

The classes here do no input or output. Every method takes the time, in microseconds of any
monotonic clock, so that tests use a clock of their own. :mod:`.plant_process` passes the firmware's
records to :meth:`Body.handle` and sends the records that :meth:`Body.take_due_records` returns.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from .pin_records import (
    DETECT_PIN,
    POWER_PINS,
    RELEASE_BUTTON,
    RING_A,
    RING_B,
    TEMPERATURE,
    VBUS,
    Kind,
    Record,
)

BOUNCE_US = 15_000
"""Time after the first touch at which spring contacts are settled."""
BOUNCE_STARTS_US = 1_000

RING_EDGE_US = 500
"""Time between two edges of the focus ring; 4 edges are a detent."""

ADC_MAX = 4095
ADC_REFERENCE_MV = 3300
VBUS_DIVIDER = 2

NOMINAL_VBUS_MV = 5000
SOURCE_MILLIOHM = 100
"""Resistance of cable and contacts: the supply voltage drops under load."""

AMBIENT_C = 25.0
HEATING_C_PER_W = 15.0
"""Of a small housing without a heat sink; HEATING_SECONDS is its time constant."""
HEATING_SECONDS = 60.0

MOTOR_STEPS = 2000
MOTOR_MDPT = 3300
"""Closest focus (30 cm), at MOTOR_STEPS; step 0 is infinity."""

# Levels of A and B in each quarter of a detent; A leads for a positive turn.
_QUADRATURE = ((0, 0), (1, 0), (1, 1), (0, 1))


class Motor:
    """A stepper motor between two hard stops. It starts at infinity."""

    def __init__(self) -> None:
        self.position = 0

    def step(self, steps: int) -> None:
        """Move by step pulses. Pulses against a stop are lost, as in a real motor."""
        self.position = min(max(self.position + steps, 0), MOTOR_STEPS)

    @property
    def focus_mdpt(self) -> float:
        """The focus in milli-dioptres, linear in the position."""
        return self.position * MOTOR_MDPT / MOTOR_STEPS


class Supply:
    """VBUS and the housing's temperature, as a 12-bit ADC at 3.3 V sees them.

    VBUS comes through a 1:2 divider and drops with the load. The temperature sensor is a TMP36's:
    500 mV plus 10 mV for each degree. The load's power heats it with a first-order lag.
    """

    def __init__(self, now_us: int) -> None:
        self._vbus_mv = NOMINAL_VBUS_MV
        self._connected = False
        self._load_ma = 0
        self._heat_c = 0.0
        self._heat_time_us = now_us

    def set_vbus(self, millivolts: int, now_us: int) -> None:
        """Set the phone's open-circuit voltage."""
        self._update_heat(now_us)
        self._vbus_mv = millivolts

    def set_contact(self, closed: bool, now_us: int) -> None:
        """Close or open the power contact."""
        self._update_heat(now_us)
        self._connected = closed

    def set_load(self, milliamperes: int, now_us: int) -> None:
        """Set the current that the module draws."""
        self._update_heat(now_us)
        self._load_ma = max(0, milliamperes)

    def get_voltage_mv(self) -> float:
        """Return the module's supply voltage; 0 with an open contact."""
        if not self._connected:
            return 0.0
        return max(0.0, self._vbus_mv - self._load_ma * SOURCE_MILLIOHM / 1000)

    def get_temperature_c(self, now_us: int) -> float:
        """Return the housing's temperature in degrees Celsius."""
        self._update_heat(now_us)
        return AMBIENT_C + self._heat_c

    def convert(self, channel: int, now_us: int) -> int:
        """Return the ADC's counts for channel VBUS or TEMPERATURE; 0 for any other channel."""
        millivolts = 0.0
        if channel == VBUS:
            millivolts = self.get_voltage_mv() / VBUS_DIVIDER
        elif channel == TEMPERATURE:
            millivolts = 500 + 10 * self.get_temperature_c(now_us)
        return min(ADC_MAX, round(millivolts / ADC_REFERENCE_MV * ADC_MAX))

    def _update_heat(self, now_us: int) -> None:
        watts = self.get_voltage_mv() * self._load_ma / 1e6
        remaining = math.exp(-(now_us - self._heat_time_us) / 1e6 / HEATING_SECONDS)
        self._heat_c = self._heat_c * remaining + watts * HEATING_C_PER_W * (1 - remaining)
        self._heat_time_us = now_us


def make_bounce_edges(seed: int) -> list[tuple[int, int, int]]:
    """Return the edges of both contacts when the module snaps on, as (delay_us, pin, level).

    Each contact closes and opens a few times within BOUNCE_US, then stays closed.
    """
    chance = np.random.default_rng(seed)
    edges = []
    for pin in (POWER_PINS, DETECT_PIN):
        count = 2 * int(chance.integers(3, 9)) + 1  # odd, so that the last edge closes
        delays = sorted(chance.choice(BOUNCE_US, count, replace=False).tolist())
        edges += [(BOUNCE_STARTS_US + at, pin, (n + 1) % 2) for n, at in enumerate(delays)]
    return sorted(edges)


class Body:
    """The body behind records: the firmware's actions go in, edges and ADC counts come out."""

    def __init__(self, seed: int, now_us: int) -> None:
        self.motor = Motor()
        self.supply = Supply(now_us)
        self._contact_levels = dict.fromkeys((POWER_PINS, DETECT_PIN, RELEASE_BUTTON), 0)
        self._ring_quarters = 0
        self._ring_end_us = now_us
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[int], Record]]] = []
        self.plan_contacts(make_bounce_edges(seed), now_us)

    def plan_contacts(self, edges: Iterable[tuple[int, int, int]], now_us: int) -> None:
        """Schedule contact edges, each as (delay from now in microseconds, pin, level)."""
        for delay_us, pin, level in edges:
            self._schedule(now_us + delay_us, partial(self._switch_contact, pin, level))

    def turn_ring(self, detents: int, now_us: int) -> None:
        """Schedule a turn of the focus ring, after any turn in progress; negative is backwards."""
        start = max(now_us, self._ring_end_us)
        step = 1 if detents > 0 else -1
        for quarter in range(4 * abs(detents)):
            self._schedule(start + quarter * RING_EDGE_US, partial(self._turn_quarter, step))
        self._ring_end_us = start + 4 * abs(detents) * RING_EDGE_US

    def get_next_event_us(self) -> int | None:
        """Return the time of the next scheduled edge, or None."""
        return self._events[0][0] if self._events else None

    def take_due_records(self, now_us: int) -> list[Record]:
        """Execute every edge that is due by now and return its record."""
        records = []
        while self._events and self._events[0][0] <= now_us:
            at_us, _, make_record = heapq.heappop(self._events)
            records.append(make_record(at_us))
        return records

    def handle(self, record: Record, now_us: int) -> list[Record]:
        """Execute a record from the firmware and return the answers; ignore unknown kinds."""
        if record.kind == Kind.STEP:
            self.motor.step(record.value)
        elif record.kind == Kind.LOAD:
            self.supply.set_load(record.value, now_us)
        elif record.kind == Kind.SAMPLE:
            counts = self.supply.convert(record.channel, now_us)
            return [Record(Kind.ADC, record.channel, counts)]
        elif record.kind == Kind.READ:
            return self._list_levels()
        return []

    def _schedule(self, at_us: int, make_record: Callable[[int], Record]) -> None:
        # The running number keeps simultaneous edges in the order of their scheduling.
        heapq.heappush(self._events, (at_us, next(self._order), make_record))

    def _switch_contact(self, pin: int, level: int, at_us: int) -> Record:
        if pin == POWER_PINS:
            self.supply.set_contact(bool(level), at_us)
        self._contact_levels[pin] = level
        return Record(Kind.CONTACT, pin, level)

    def _list_levels(self) -> list[Record]:
        contacts = [Record(Kind.CONTACT, *each) for each in self._contact_levels.items()]
        ring = enumerate(_QUADRATURE[self._ring_quarters % 4])
        return [*contacts, *(Record(Kind.RING, *each) for each in ring), Record(Kind.LEVELS, 0, 0)]

    def _turn_quarter(self, step: int, at_us: int) -> Record:
        before = _QUADRATURE[self._ring_quarters % 4]
        self._ring_quarters += step
        after = _QUADRATURE[self._ring_quarters % 4]
        channel = RING_A if before[0] != after[0] else RING_B
        return Record(Kind.RING, channel, after[channel])
