"""Run the firmware's module in front of the plant's body, in one process, in simulated time.

:class:`BodyPorts` are the ports of a :class:`lensfw.module.Module`. They pass records to and from
:class:`.plant.body.Body`, as the pins socket does between two processes. :class:`VirtualBody` owns
the clock and lets module and body take turns. Nothing here sleeps, so an hour takes seconds, and a
run repeats exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from lensfw import module as firmware

from .plant.body import Body
from .plant.body_constants import BodyConstants
from .plant.pin_records import Kind, Record
from .virtual_time import Picture, VirtualClock

READOUT_STEPS = 8
"""In so many pieces the rows of a frame arrive if the readout takes time."""


class BodyPorts:
    """The firmware's ports on a body in the same process.

    Args:
        body: the body.
        clock: simulated time.
        picture: returns the rows of a frame by its number.
        readout_us: the time that the readout of a frame takes.
    """

    CONTACT = int(Kind.CONTACT)
    ADC = int(Kind.ADC)
    RING = int(Kind.RING)

    def __init__(self, body: Body, clock: VirtualClock, picture: Picture, readout_us: int) -> None:
        self.body = body
        self.readouts = 0
        """Frames of which the readout has begun."""
        self.switch_actions: list[tuple[int, bool]] = []
        """When the firmware moved its power switch, and whether it closed it."""
        self._clock = clock
        self._picture = picture
        self._readout_us = readout_us
        self._events: deque[Record] = deque()
        self._rows = memoryview(b"")
        self._began_us = 0
        self._taken = 0

    def advance(self) -> None:
        """Let the body do what is due by now."""
        self._events.extend(self.body.take_due_records(self._clock.us))

    # --- called by the firmware -----------------------------------------------------------

    def take_event(self) -> tuple[int, int, int] | None:
        if not self._events:
            return None
        event = self._events.popleft()
        return event.kind, event.channel, event.value

    def sample(self, channel: int) -> None:
        self._pass(Kind.SAMPLE, channel, 0)

    def step(self, count: int) -> None:
        self._pass(Kind.STEP, 0, count)

    def set_iris(self, milli: int) -> None:
        self._pass(Kind.IRIS, 0, milli)

    def set_load(self, milliamperes: int) -> None:
        self._pass(Kind.LOAD, 0, milliamperes)

    def set_switch(self, closed: bool) -> None:
        self.switch_actions.append((self._clock.us, closed))
        self._pass(Kind.SWITCH, 0, int(closed))

    def request_rows(self, number: int, *_: object) -> None:
        self._rows = memoryview(self._picture(number))
        self._began_us, self._taken = self._clock.us, 0
        self.readouts += 1

    def read_rows(self, view: memoryview) -> int:
        passed = self._clock.us - self._began_us
        ready = len(self._rows)
        if passed < self._readout_us:
            ready = ready * (passed * READOUT_STEPS // self._readout_us) // READOUT_STEPS
        count = min(len(view), ready - self._taken)
        if count <= 0:
            return 0
        view[:count] = self._rows[self._taken : self._taken + count]
        self._taken += count
        return count

    def skip_rows(self, count: int) -> None:
        self._taken += count

    def get_next_us(self) -> int | None:
        """Return when more rows of the frame that is being read will be ready, or None."""
        passed = self._clock.us - self._began_us
        if self._taken >= len(self._rows) or passed >= self._readout_us:
            return None
        done = passed * READOUT_STEPS // self._readout_us + 1
        return self._began_us - (-done * self._readout_us // READOUT_STEPS)

    def _pass(self, kind: Kind, channel: int, value: int) -> None:
        self._events.extend(self.body.handle(Record(kind, channel, value), self._clock.us))


class VirtualBody:
    """A module in front of a body on a clock of their own.

    >>> world = VirtualBody(configuration, seed=3)
    >>> world.run(until=lambda: world.module.is_attached(), limit_us=200_000)
    True

    Args:
        configuration: the module's.
        seed: of the body.
        picture: returns the rows of a frame by its number.
        readout_us: the time that the readout of a frame takes.
        constants: of the body; by default those of ``constants.toml``.
        attach: False leaves the module beside the dock.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        seed: int = 0,
        *,
        picture: Picture = lambda number: b"",
        readout_us: int = 0,
        constants: BodyConstants | None = None,
        attach: bool = True,
    ) -> None:
        self.clock = VirtualClock()
        self.body = Body(seed, 0, constants, attach=attach)
        self.ports = BodyPorts(self.body, self.clock, picture, readout_us)
        self.module: Any = firmware.Module(configuration, self.ports, self.clock)

    def step(self) -> None:
        """Do everything that happens now."""
        self.ports.advance()
        while self.module.step():
            pass

    def get_next_us(self) -> int:
        """Return the next time at which something can happen without a host."""
        idle_ms: int = self.module.get_idle_ms()
        moments = [self.clock.us + 1000 * idle_ms]
        moments += [
            each
            for each in (self.body.get_next_event_us(), self.ports.get_next_us())
            if each is not None
        ]
        return max(self.clock.us + 1, min(moments))

    def run(self, until: Any, limit_us: int) -> bool:
        """Let time pass until *until* returns True. Return False after *limit_us* without that."""
        end_us = self.clock.us + limit_us
        while True:
            self.step()
            if until():
                return True
            if self.clock.us >= end_us:
                return False
            self.clock.us = min(self.get_next_us(), end_us)
