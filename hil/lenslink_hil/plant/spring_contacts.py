"""The spring contacts between phone and module: touch, bounce, resistance, shorts and water.

``body`` moves them and asks for what the dock and the module see of them. The pins have different
lengths. The two supply pins touch first and open last, and count as one contact, which is closed
while both touch. The detect pin is shorter.
"""

from __future__ import annotations

import random

from .body_constants import BodyConstants
from .pin_records import DETECT_PIN, POWER_PINS, RELEASE_BUTTON

SHORT = 3
"""A conductor between the supply pins."""
WATER = 4
MOVABLE = (POWER_PINS, DETECT_PIN, RELEASE_BUTTON, SHORT, WATER)
"""What a test or a command can open and close: three channels of CONTACT, and two accidents."""

Edge = tuple[int, int, int]
"""Delay in microseconds, contact, level after the edge."""


class SpringContacts:
    """The mechanical state of all contacts: which of them are closed."""

    def __init__(self, constants: BodyConstants) -> None:
        self.resistance_mohm = constants.contacts.resistance_mohm
        """Of each of the two supply contacts. Dirt makes it larger."""
        self._constants = constants
        self._closed = dict.fromkeys(MOVABLE, False)

    def set_level(self, contact: int, level: int) -> None:
        """Open or close a contact."""
        self._closed[contact] = bool(level)

    @property
    def has_power(self) -> bool:
        return self._closed[POWER_PINS]

    @property
    def has_detect(self) -> bool:
        return self._closed[DETECT_PIN]

    @property
    def is_released(self) -> bool:
        """The release button is pressed."""
        return self._closed[RELEASE_BUTTON]

    @property
    def is_shorted(self) -> bool:
        return self._closed[SHORT]

    @property
    def is_wet(self) -> bool:
        return self._closed[WATER]

    def get_supply_ohm(self) -> float:
        """Return the resistance between the supply pins that the dock measures before 5 V."""
        contacts = self._constants.contacts
        parts = [self._constants.dock.bleed_resistance_ohm]
        if self.is_wet:
            parts.append(contacts.water_resistance_ohm)
        if self.is_shorted:
            return contacts.short_resistance_mohm / 1000
        return 1 / sum(1 / part for part in parts)

    def get_detect_mv(self, supply_mv: float) -> float:
        """Return the voltage at the detect pin, which water lifts towards the supply's."""
        if not self.is_wet or not self.has_detect:
            return 0.0
        contacts = self._constants.contacts
        total = contacts.detect_pulldown_ohm + contacts.water_resistance_ohm
        return supply_mv * contacts.detect_pulldown_ohm / total


def make_attach_edges(
    seed: int, constants: BodyConstants, speed_mm_s: float | None = None
) -> list[Edge]:
    """Return the edges of both contacts when the module snaps on.

    Each contact closes and opens a few times, then stays closed. The supply pins touch first.

    Args:
        seed: of the bounce.
        constants: of the body.
        speed_mm_s: of the module; by default that of the magnets.
    """
    chance = random.Random(seed)
    contacts = constants.contacts
    lead_us = round(contacts.detect_recess_um * 1000 / (speed_mm_s or contacts.snap_speed_mm_s))
    edges: list[Edge] = []
    for pin, start_us in (
        (POWER_PINS, contacts.first_touch_us),
        (DETECT_PIN, contacts.first_touch_us + lead_us),
    ):
        edges += _bounce(chance, pin, start_us, contacts.bounce_us, 1)
    return sorted(edges)


def make_pull_off_edges(
    seed: int, constants: BodyConstants, speed_mm_s: float | None = None
) -> list[Edge]:
    """Return the edges of both contacts when the module is pulled off: detect opens first.

    The arguments are those of :func:`make_attach_edges`. At 1 m/s the supply follows 0.3 ms later.
    """
    chance = random.Random(seed)
    contacts = constants.contacts
    lead_us = round(contacts.detect_recess_um * 1000 / (speed_mm_s or contacts.snap_speed_mm_s))
    # A contact scrapes open for as long as the springs follow.
    edges = _bounce(chance, DETECT_PIN, 0, max(lead_us // 2, 100), 0)
    edges += _bounce(chance, POWER_PINS, lead_us, max(lead_us // 2, 100), 0)
    return sorted(edges)


def _bounce(
    chance: random.Random, pin: int, start_us: int, length_us: int, last: int
) -> list[Edge]:
    """Return an odd number of edges of one pin; after the last one it has the level *last*."""
    count = 2 * chance.randint(3, 8) + 1
    delays = sorted(chance.sample(range(length_us), count))
    return [(start_us + at, pin, (n + last) % 2) for n, at in enumerate(delays)]
