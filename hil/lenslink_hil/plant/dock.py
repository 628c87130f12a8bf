"""The dock: the phone's side of the contacts. It tests them at low current before it gives 5 V.

===========  ================================  ======================================  ===========
state        meaning                           event                                   next state
===========  ================================  ======================================  ===========
EMPTY        nothing touches                   a contact closes                        SETTLING
SETTLING     a contact moved a moment ago      a contact moves                         SETTLING
SETTLING     a contact moved a moment ago      settle_us passed, both are closed       TESTING
SETTLING     a contact moved a moment ago      settle_us passed, one is closed         HALF_SEATED
SETTLING     a contact moved a moment ago      settle_us passed, none is closed        EMPTY
TESTING      it measures at low current        a contact moves                         SETTLING
TESTING      it measures at low current        test_us passed, resistance of a short   SHORTED
TESTING      it measures at low current        test_us passed, resistance of water     WET
TESTING      it measures at low current        test_us passed, resistance of a module  RAMPING
HALF_SEATED  one contact is closed             a contact moves                         SETTLING
WET          there is water, no 5 V            a contact moves                         SETTLING
WET          there is water, no 5 V            retry_us passed                         TESTING
SHORTED      there is a short, no 5 V          a contact moves                         SETTLING
SHORTED      there is a short, no 5 V          retry_us passed                         TESTING
OVERLOADED   the module drew too much, no 5 V  a contact moves                         SETTLING
OVERLOADED   the module drew too much, no 5 V  retry_us passed                         TESTING
RAMPING      5 V rise at the current limit     the input capacitor is charged          POWERED
RAMPING      5 V rise at the current limit     a contact moves                         SETTLING
RAMPING      5 V rise at the current limit     the current limit for short_cut_us      SHORTED
POWERED      the module has 5 V                a contact opens                         HOLDING
POWERED      the module has 5 V                the current limit for short_cut_us      SHORTED or
                                                                                       OVERLOADED
POWERED      the module has 5 V                the module opens its own switch         TESTING
HOLDING      5 V on, and a contact is open     both contacts are closed again          POWERED
HOLDING      5 V on, and a contact is open     power_hold_us or detect_hold_us passed  SETTLING
===========  ================================  ======================================  ===========

The load switch is closed in RAMPING, POWERED and HOLDING. It opens by itself: no part of this
needs the module's firmware or the phone's software.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from .body_constants import BodyConstants
from .spring_contacts import SpringContacts

_log = logging.getLogger(__name__)


class DockState(enum.Enum):
    """What the dock knows of the contacts. The driver's port shows it by name."""

    EMPTY = "empty"
    SETTLING = "settling"
    TESTING = "testing"
    HALF_SEATED = "half-seated"
    WET = "wet"
    SHORTED = "shorted"
    OVERLOADED = "overloaded"
    RAMPING = "ramping"
    POWERED = "powered"
    HOLDING = "holding"


_ON: Final = frozenset({DockState.RAMPING, DockState.POWERED, DockState.HOLDING})


class Dock:
    """The dock's state machine. It reads the contacts and says whether 5 V are on.

    Args:
        constants: of the body.
        contacts: the contacts, which ``body`` moves.
    """

    def __init__(self, constants: BodyConstants, contacts: SpringContacts) -> None:
        self.get_load_ma: Callable[[], float] = lambda: 0.0
        """Returns the current that the module draws. ``body`` sets it: it is the supply's."""
        self.state = DockState.EMPTY
        self.entries: Counter[DockState] = Counter()
        """How often each state was entered since the start."""
        self.last_cut_us: int | None = None
        """When the load switch opened last."""
        self._constants = constants
        self._contacts = contacts
        # The end of the state by itself, and, while 5 V are on, when they are cut.
        self._due_us: int | None = None
        self._fault_us: int | None = None
        # When each contact opened under 5 V, or None while it is closed.
        self._power_open_us: int | None = None
        self._detect_open_us: int | None = None

    @property
    def is_on(self) -> bool:
        """Return True if the load switch is closed."""
        return self.state in _ON

    @property
    def has_ramped(self) -> bool:
        """Return True if the module's input capacitor is charged."""
        return self.state in (DockState.POWERED, DockState.HOLDING)

    def get_next_us(self) -> int | None:
        """Return when poll() has something to do, or None."""
        due = [each for each in (self._due_us, self._fault_us) if each is not None]
        return min(due) if due else None

    def handle_contacts(self, now_us: int) -> None:
        """React to contacts that have just moved."""
        if self.state in (DockState.POWERED, DockState.HOLDING):
            self._hold(now_us)
        elif self.state is DockState.RAMPING and self._contacts.has_power:
            pass  # the current limit tells a short from a capacitor
        else:
            self._enter(DockState.SETTLING, now_us, self._constants.dock.settle_us)
        self.handle_load(now_us)

    def handle_load(self, now_us: int) -> None:
        """React to a changed current: start or stop the timer of the current limit."""
        limit = self._constants.dock.current_limit_ma
        has_fault = self.is_on and (
            (self._contacts.is_shorted and self._contacts.has_power) or self.get_load_ma() > limit
        )
        if not has_fault:
            self._fault_us = None
        elif self._fault_us is None:
            self._fault_us = now_us + self._constants.dock.short_cut_us

    def handle_open_switch(self, now_us: int) -> None:
        """React to a module that has opened its own switch: power off, and test again."""
        if self.is_on:
            self._enter(DockState.TESTING, now_us, self._constants.dock.test_us)

    def poll(self, now_us: int) -> None:
        """Do what is due at this time."""
        if self._fault_us is not None and now_us >= self._fault_us:
            is_short = self._contacts.is_shorted
            state = DockState.SHORTED if is_short else DockState.OVERLOADED
            self._enter(state, now_us, self._constants.dock.retry_us)
        elif self._due_us is not None and now_us >= self._due_us:
            self._end_state(now_us)

    def _end_state(self, now_us: int) -> None:
        match self.state:
            case DockState.SETTLING:
                self._judge(now_us)
            case DockState.TESTING:
                self._test(now_us)
            case DockState.RAMPING:
                self._enter(DockState.POWERED, now_us)
                self._hold(now_us)
            case DockState.HOLDING:
                self._enter(DockState.SETTLING, now_us, self._constants.dock.settle_us)
            case _:  # WET, SHORTED, OVERLOADED
                self._enter(DockState.TESTING, now_us, self._constants.dock.test_us)

    def _judge(self, now_us: int) -> None:
        if self._contacts.has_power and self._contacts.has_detect:
            self._enter(DockState.TESTING, now_us, self._constants.dock.test_us)
        elif self._contacts.has_power or self._contacts.has_detect:
            self._enter(DockState.HALF_SEATED, now_us)
        else:
            self._enter(DockState.EMPTY, now_us)

    def _test(self, now_us: int) -> None:
        dock = self._constants.dock
        ohm = self._contacts.get_supply_ohm()
        if ohm < dock.short_below_ohm:
            self._enter(DockState.SHORTED, now_us, dock.retry_us)
        elif ohm < dock.wet_below_ohm:
            self._enter(DockState.WET, now_us, dock.retry_us)
        else:
            supply = self._constants.supply
            charge_us = supply.input_capacitance_uf * supply.voltage_mv // dock.current_limit_ma
            self._enter(DockState.RAMPING, now_us, charge_us)
            self.handle_load(now_us)

    def _hold(self, now_us: int) -> None:
        """Keep 5 V on over a short interruption of a contact."""
        dock, contacts = self._constants.dock, self._contacts
        self._power_open_us = _note_open(contacts.has_power, self._power_open_us, now_us)
        self._detect_open_us = _note_open(contacts.has_detect, self._detect_open_us, now_us)
        ends = []
        if self._power_open_us is not None:
            ends.append(self._power_open_us + dock.power_hold_us)
        if self._detect_open_us is not None:
            ends.append(self._detect_open_us + dock.detect_hold_us)
        if ends:
            self._enter(DockState.HOLDING, now_us, min(ends) - now_us)
        else:
            self._enter(DockState.POWERED, now_us)

    def _enter(self, state: DockState, now_us: int, after_us: int | None = None) -> None:
        if self.is_on and state not in _ON:
            self.last_cut_us = now_us
        if state not in _ON:
            self._fault_us = self._power_open_us = self._detect_open_us = None
        if state is not self.state:
            _log.debug("dock: %s -> %s", self.state.value, state.value)
            self.entries[state] += 1
        self.state = state
        self._due_us = None if after_us is None else now_us + after_us


def _note_open(is_closed: bool, since_us: int | None, now_us: int) -> int | None:
    if is_closed:
        return None
    return now_us if since_us is None else since_us
