"""The module's clock in terms of the host's: offset, drift and an error bound.

:class:`ModuleClock` is fed with the four times of each heartbeat
(:class:`~lenslink_protocol.link.ClockSample`), and does no input or output. It uses that no packet
arrives before it is sent. With *offset(t)* = module's clock - host's clock, each heartbeat says::

    replied - arrived  <=  offset  <=  received - sent

The two sides differ by the time on the way there and back, queueing included. The offset is taken
for a straight line over the last :data:`WINDOW_S` seconds, whose slope, the drift, is at most
:data:`MAX_DRIFT`. The lines that keep all inequalities are the ones that are possible. Of many
heartbeats only the quickest matter: one for each direction and :data:`SLOT_S`.

Estimate
    The slope at which the highest and the lowest line are farthest apart, and their middle.
    The error is half the difference of the quickest way there and the quickest way back, plus what
    queueing was left in both.

Error bound
    The distance of the farthest possible line, so it covers every possible line, whatever the ways'
    asymmetry. It grows away from the last heartbeat, by the drift that is not known. A drift that
    itself changes, by at most :data:`WANDER_PER_S`, loosens old inequalities.

If no line is possible, the clock has behaved otherwise. Then the older half is forgotten.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.link import ClockSample

WINDOW_S: Final = 60.0
"""Heartbeats that are older say nothing: the line would not be straight any more."""
SLOT_S: Final = 0.1
"""Of all heartbeats in so many seconds, the quickest of each direction is kept."""
MAX_DRIFT: Final = 200e-6
"""Largest drift between two clocks. Quartzes have 100e-6 together, RC oscillators are not used."""
WANDER_PER_S: Final = 0.02e-6
"""Largest change of the drift a second: a quartz of 1e-6 a kelvin at 0.02 K a second."""
RESOLUTION_US: Final = 1.0
"""Times are whole microseconds on either side."""
REFIT_S: Final = 0.5
"""The lines are found anew so often, and at each heartbeat in the first SETTLED_S seconds: that
takes a millisecond."""
SETTLED_S: Final = 2.0
_STEPS: Final = 32
_SLOT_US: Final = 100_000  # SLOT_S


@dataclass(frozen=True, slots=True)
class HostTime:
    """A time of the host's clock, and by how much it may be wrong.

    >>> HostTime(seconds=12.5, error_s=0.0004).error_s
    0.0004
    """

    seconds: float
    """Seconds of the host's monotonic clock."""
    error_s: float
    """The truth is at most this far away. Infinite before the first heartbeat was answered."""


class FrameTime(NamedTuple):
    """The host's time in the middle of the exposure of a frame's row 0, in whole nanoseconds.

    >>> FrameTime(12_500_000_000, 400_000).seconds
    12.5
    """

    time_ns: int = 0
    """0 if the time is unknown."""
    bound_ns: int = 0
    """The truth is at most this far away; 0 if the time is unknown."""

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self.time_ns / 1e9

    @property
    def error_s(self) -> float:
        """The bound in seconds; infinite if the time is unknown."""
        return self.bound_ns / 1e9 if self.bound_ns else math.inf


@dataclass(slots=True)
class _Slot:
    """The tightest inequality of each side in one slot, and its host time. Microseconds."""

    number: int
    upper: float
    upper_us: float
    lower: float
    lower_us: float


@dataclass(frozen=True, slots=True)
class _Lines:
    """The possible lines: middle and half width at ``at_us``, drift and half width of the drift."""

    at_us: float
    middle: float
    half: float
    drift: float
    drift_half: float


class ModuleClock:
    """Estimates the offset and the drift of a module's clock from heartbeats.

    >>> clock = ModuleClock()
    >>> clock.add(ClockSample(1_000_000, 5_000_200, 5_000_300, 1_000_500))
    >>> time = clock.convert(5_000_250)
    >>> round(time.seconds, 6), round(time.error_s, 6)
    (1.00025, 0.000201)
    """

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._lines: _Lines | None = None
        self._is_stale = True

    def add(self, sample: ClockSample) -> None:
        """Take the times of a heartbeat."""
        upper = sample.received_us - sample.sent_us
        lower = sample.replied_us - sample.arrived_us
        number = sample.arrived_us // _SLOT_US
        last = self._slots[-1] if self._slots else None
        if last is None or number > last.number:
            self._slots.append(_Slot(number, upper, sample.sent_us, lower, sample.arrived_us))
            while self._slots[0].number < number - WINDOW_S / SLOT_S:
                self._slots.popleft()
            self._is_stale = True
            return
        if upper < last.upper:
            last.upper, last.upper_us = upper, sample.sent_us
            self._is_stale = True
        if lower > last.lower:
            last.lower, last.lower_us = lower, sample.arrived_us
            self._is_stale = True

    def add_all(self, samples: Iterable[ClockSample]) -> None:
        """Take the times of several heartbeats, the oldest first."""
        for sample in samples:
            self.add(sample)

    @property
    def drift(self) -> float:
        """How much faster the module's clock runs: 100e-6 gains 0.1 ms a second. 0 if unknown."""
        lines = self._find_lines()
        return 0.0 if lines is None else lines.drift

    @property
    def error_s(self) -> float:
        """By how much a time at the last heartbeat may be wrong; infinite before the first."""
        lines = self._find_lines()
        return math.inf if lines is None else (lines.half + RESOLUTION_US) / 1e6

    def convert(self, module_us: float) -> HostTime:
        """Return the host's time at a time of the module's clock, in microseconds."""
        lines = self._find_lines()
        if lines is None:
            return HostTime(module_us / 1e6, math.inf)
        # offset(t) = middle + drift * (t - at), and module = t + offset(t).
        ahead = (module_us - lines.middle - lines.at_us) / (1 + lines.drift)
        wander = WANDER_PER_S / 2 * (ahead / 1e6) ** 2 * 1e6
        error = lines.half + lines.drift_half * abs(ahead) + wander + RESOLUTION_US
        return HostTime((lines.at_us + ahead) / 1e6, error / 1e6)

    def find_frame_time(self, timestamp_us: int, exposure_us: int) -> FrameTime:
        """Return the time of a frame whose readout began at *timestamp_us* of the module's clock.

        >>> ModuleClock().find_frame_time(5_000_250, 1000)
        FrameTime(time_ns=0, bound_ns=0)
        """
        # The readout of a row begins where its exposure ends.
        found = self.convert(timestamp_us - exposure_us / 2)
        if math.isinf(found.error_s):
            return FrameTime()
        # The host's clock is never negative, so 0 is nearer to the truth than what is below it.
        return FrameTime(max(round(found.seconds * 1e9), 0), math.ceil(found.error_s * 1e9))

    def _find_lines(self) -> _Lines | None:
        """Return the possible lines of all that was added, or None before anything was."""
        if not self._is_stale:
            return self._lines
        newest = self._slots[-1].number - self._slots[0].number if self._slots else 0
        if (
            self._lines is not None
            and newest * SLOT_S > SETTLED_S
            and self._slots[-1].lower_us - self._lines.at_us < REFIT_S * 1e6
        ):
            return self._lines
        while self._slots:
            found = _fit(self._slots)
            if found is not None:
                self._lines, self._is_stale = found, False
                return found
            for _ in range((len(self._slots) + 1) // 2):
                self._slots.popleft()
        self._lines, self._is_stale = None, False
        return None


def _fit(slots: deque[_Slot]) -> _Lines | None:
    """Return the lines between the inequalities, or None if there is none.

    For a drift, the highest line is min(upper - drift * t), and the lowest is max(lower -
    drift * t). The first is concave in the drift, the second convex. So the drifts that are
    possible are one range, and bisection finds its ends, starting at the drift with most room.
    """
    rows = np.array([(s.upper, s.upper_us, s.lower, s.lower_us) for s in slots], dtype=np.float64)
    at_us = rows[-1, 3].item()
    base = rows[-1, 0].item()
    upper_t, lower_t = rows[:, 1] - at_us, rows[:, 3] - at_us
    # Old inequalities are looser, because the drift may have been another one.
    upper = rows[:, 0] - base + _loosen(upper_t)
    lower = rows[:, 2] - base - _loosen(lower_t)

    def highest(drift: float) -> float:
        found: float = (upper - drift * upper_t).min().item()
        return found

    def lowest(drift: float) -> float:
        found: float = (lower - drift * lower_t).max().item()
        return found

    def room(drift: float) -> float:
        return highest(drift) - lowest(drift)

    best = _find_most(room, -MAX_DRIFT, MAX_DRIFT)
    if room(best) < -RESOLUTION_US:
        return None
    first, last = _find_zero(room, best, -MAX_DRIFT), _find_zero(room, best, MAX_DRIFT)
    top = highest(_find_most(highest, first, last))
    bottom = lowest(_find_most(lambda drift: -lowest(drift), first, last))
    middle = (highest(best) + lowest(best)) / 2
    half = max(top - middle, middle - bottom, 0.0)
    drift_half = max(last - best, best - first, 0.0)
    return _Lines(at_us, base + middle, half, best, drift_half)


def _loosen(ages_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a line may have bent since, in microseconds."""
    return WANDER_PER_S / 2 * (ages_us / 1e6) ** 2 * 1e6


def _find_most(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a concave function is largest, by ternary search."""
    for _ in range(_STEPS):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            low += third
        else:
            high -= third
    return (low + high) / 2


def _find_zero(function: Callable[[float], float], inside: float, outside: float) -> float:
    """Return where a function falls below 0 between two points, or *outside* if it does not."""
    if function(outside) >= 0:
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if function(middle) >= 0:
            inside = middle
        else:
            outside = middle
    return inside
