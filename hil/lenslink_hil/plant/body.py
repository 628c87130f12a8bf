"""The module's body: spring contacts, supply and heat, focus motor, focus ring.

Without input or output of its own: every method is told the time (microseconds of any monotonic
clock), so that tests run it on a clock of theirs.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from .pin_records import DETECT_PIN, POWER_PINS, RING_A, RING_B, TEMPERATURE, VBUS, Kind, Record

BOUNCE_US = 15_000
"""Spring contacts have settled this long after they first touch."""
BOUNCE_STARTS_US = 1_000

RING_EDGE_US = 500
"""Between two edges of the ring; 4 edges are a detent."""

ADC_MAX = 4095
ADC_REFERENCE_MV = 3300
VBUS_DIVIDER = 2

NOMINAL_VBUS_MV = 5000
SOURCE_MILLIOHM = 100
"""Cable and contacts: what the supply sags by under load."""

AMBIENT_C = 25.0
HEATING_C_PER_W = 15.0
"""A small housing without a heat sink, and the seconds it takes to warm up."""
HEATING_SECONDS = 60.0

MOTOR_STEPS = 2000
MOTOR_MDPT = 3300
"""Closest focus (30 cm), reached at MOTOR_STEPS; step 0 is infinity."""

# A and B of each quarter of a detent, A leading for a positive turn.
_QUADRATURE = ((0, 0), (1, 0), (1, 1), (0, 1))


class Motor:
    """A stepper between two hard stops; it starts at infinity."""

    def __init__(self) -> None:
        self.position = 0

    def step(self, steps: int) -> None:
        """Follow step pulses; against a stop they are lost, as a real motor loses them."""
        self.position = min(max(self.position + steps, 0), MOTOR_STEPS)

    @property
    def focus_mdpt(self) -> float:
        """Where the lens is focused, in milli-dioptres; linear in the position."""
        return self.position * MOTOR_MDPT / MOTOR_STEPS


class Supply:
    """VBUS and the housing's temperature, as a 12-bit ADC at 3.3 V sees them.

    VBUS comes through a 1:2 divider and sags with the load. The temperature sensor is a TMP36's
    line, 500 mV + 10 mV a degree; the load's power heats it with a first-order lag.
    """

    def __init__(self, now_us: int) -> None:
        self._vbus_mv = NOMINAL_VBUS_MV
        self._connected = False
        self._load_ma = 0
        self._heat_c = 0.0
        self._since_us = now_us

    def set_vbus(self, millivolts: int, now_us: int) -> None:
        """Let the phone supply another open-circuit voltage from now on."""
        self._warm(now_us)
        self._vbus_mv = millivolts

    def set_contact(self, closed: bool, now_us: int) -> None:
        """Close or open the power pins."""
        self._warm(now_us)
        self._connected = closed

    def set_load(self, milliamperes: int, now_us: int) -> None:
        """Draw another current from now on."""
        self._warm(now_us)
        self._load_ma = max(0, milliamperes)

    def get_voltage_mv(self) -> float:
        """Give the module's supply voltage: 0 with open contacts."""
        if not self._connected:
            return 0.0
        return max(0.0, self._vbus_mv - self._load_ma * SOURCE_MILLIOHM / 1000)

    def get_temperature_c(self, now_us: int) -> float:
        """Give the housing's temperature in degrees Celsius."""
        self._warm(now_us)
        return AMBIENT_C + self._heat_c

    def convert(self, channel: int, now_us: int) -> int:
        """Give one conversion of channel VBUS or TEMPERATURE; of any other, 0."""
        millivolts = 0.0
        if channel == VBUS:
            millivolts = self.get_voltage_mv() / VBUS_DIVIDER
        elif channel == TEMPERATURE:
            millivolts = 500 + 10 * self.get_temperature_c(now_us)
        return min(ADC_MAX, round(millivolts / ADC_REFERENCE_MV * ADC_MAX))

    def _warm(self, now_us: int) -> None:
        watts = self.get_voltage_mv() * self._load_ma / 1e6
        kept = math.exp(-(now_us - self._since_us) / 1e6 / HEATING_SECONDS)
        self._heat_c = self._heat_c * kept + watts * HEATING_C_PER_W * (1 - kept)
        self._since_us = now_us


def make_bounce_edges(seed: int) -> list[tuple[int, int, int]]:
    """Give the edges of both contacts as the module snaps on: (delay_us, pin, level).

    Each pin closes and opens a few times within BOUNCE_US of the first touch, then stays closed.
    """
    chance = np.random.default_rng(seed)
    edges = []
    for pin in (POWER_PINS, DETECT_PIN):
        count = 2 * int(chance.integers(3, 9)) + 1  # odd: it ends closed
        delays = sorted(chance.choice(BOUNCE_US, count, replace=False).tolist())
        edges += [(BOUNCE_STARTS_US + at, pin, (n + 1) % 2) for n, at in enumerate(delays)]
    return sorted(edges)


class Body:
    """All of it behind records: what the firmware does goes in, what it feels comes out."""

    def __init__(self, seed: int, now_us: int) -> None:
        self.motor = Motor()
        self.supply = Supply(now_us)
        self._ring_quarters = 0
        self._ring_free_us = now_us
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[int], Record]]] = []
        self.plan_contacts(make_bounce_edges(seed), now_us)

    def plan_contacts(self, edges: Iterable[tuple[int, int, int]], now_us: int) -> None:
        """Plan contact edges: (delay from now in microseconds, pin, level)."""
        for delay_us, pin, level in edges:
            self._plan(now_us + delay_us, partial(self._contact, pin, level))

    def turn_ring(self, detents: int, now_us: int) -> None:
        """Turn the ring, after any turn that is still going on; negative is backwards."""
        start = max(now_us, self._ring_free_us)
        way = 1 if detents > 0 else -1
        for quarter in range(4 * abs(detents)):
            self._plan(start + quarter * RING_EDGE_US, partial(self._ring, way))
        self._ring_free_us = start + 4 * abs(detents) * RING_EDGE_US

    def get_next_event_us(self) -> int | None:
        """Give when the next planned edge is due, None when none is planned."""
        return self._events[0][0] if self._events else None

    def take_due_records(self, now_us: int) -> list[Record]:
        """Let everything happen that is due by now."""
        records = []
        while self._events and self._events[0][0] <= now_us:
            at_us, _, happens = heapq.heappop(self._events)
            records.append(happens(at_us))
        return records

    def handle(self, record: Record, now_us: int) -> list[Record]:
        """Take a record from the firmware; give the answers. Unknown kinds are skipped."""
        if record.kind == Kind.STEP:
            self.motor.step(record.value)
        elif record.kind == Kind.LOAD:
            self.supply.set_load(record.value, now_us)
        elif record.kind == Kind.SAMPLE:
            counts = self.supply.convert(record.channel, now_us)
            return [Record(Kind.ADC, record.channel, counts)]
        return []

    def _plan(self, at_us: int, happens: Callable[[int], Record]) -> None:
        # The running number keeps simultaneous edges in the order they were planned in.
        heapq.heappush(self._events, (at_us, next(self._order), happens))

    def _contact(self, pin: int, level: int, at_us: int) -> Record:
        if pin == POWER_PINS:
            self.supply.set_contact(bool(level), at_us)
        return Record(Kind.CONTACT, pin, level)

    def _ring(self, way: int, at_us: int) -> Record:
        before = _QUADRATURE[self._ring_quarters % 4]
        self._ring_quarters += way
        after = _QUADRATURE[self._ring_quarters % 4]
        channel = RING_A if before[0] != after[0] else RING_B
        return Record(Kind.RING, channel, after[channel])
