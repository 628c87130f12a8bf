"""Switch the power of a board, with a deadline on every call.

A switch of another package may hang whatever its deadline is. So each call runs in a thread, which
is left behind when the deadline has passed. It is a daemon: it does not keep the process alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError

from .power_switch import load_switch
from .rig_file import PowerEntry

T = TypeVar("T")
OFF_S: Final = 1.0
"""How long a power cycle leaves the power off. Capacitors of a board are empty by then."""
# A switch that keeps to its deadline reports what it waited for. It is given that moment.
_GRACE_S: Final = 0.5


class _Call(threading.Thread, Generic[T]):
    """One call of a switch, which may never end."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(daemon=True, name="power switch")
        self._function = function
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:
            self.error = error


class RigPower:
    """The power of a board.

    >>> power.off()  # doctest: +SKIP
    >>> power.read()  # doctest: +SKIP
    False
    """

    def __init__(self, entry: PowerEntry, notify: Callable[[bool], None] | None = None) -> None:
        self.entry = entry
        self._switch = load_switch(entry.kind).make(entry.options)
        self._notify = notify or _ignore

    def on(self) -> None:
        """Switch the power on. Raises :exc:`~lenslink.RigError`."""
        self._set(True)

    def off(self) -> None:
        """Switch the power off. Raises :exc:`~lenslink.RigError`."""
        self._set(False)

    def cycle(self, off_s: float = OFF_S) -> None:
        """Switch the power off, and on again after *off_s* seconds."""
        self.off()
        time.sleep(off_s)
        self.on()

    def read(self) -> bool | None:
        """Return whether the power is on; None if the switch cannot tell."""
        return self._call("state", self._switch.read_power)

    def rest(self) -> None:
        """Switch to the state in which a job has to leave the power."""
        self._set(self.entry.is_on_at_rest)

    def _set(self, is_on: bool) -> None:
        # Before the call: a call that was cut short may have switched.
        self._notify(is_on)
        self._call("on" if is_on else "off", lambda d: self._switch.set_power(is_on, d))

    def _call(self, what: str, function: Callable[[Deadline], T]) -> T:
        entry = self.entry
        deadline = Deadline(entry.timeout_s, f"power {entry.name}: {what}")
        call = _Call(lambda: function(deadline))
        call.start()
        call.join(entry.timeout_s + _GRACE_S)
        if call.results:
            return call.results[0]
        if call.error is None:
            raise RigError(
                f"power '{entry.name}': '{what}' did not return within {entry.timeout_s:g} s; "
                "check the switch"
            )
        if isinstance(call.error, LensLinkError):
            raise RigError(f"power '{entry.name}': {call.error}") from call.error
        kind = type(call.error).__name__
        raise RigError(f"power '{entry.name}': {kind}: {call.error}") from call.error


def _ignore(_: bool) -> None:
    """Tell nobody."""
