"""When the next frame is due, by the pace of those before it: time to get ready for it.

Between two frames the caches forget the driver: what takes 60 us when it is done again and again
takes five times as long when it is done once in 33 ms, and the first tile would wait for it.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import Final

# Long enough to get ready with cold caches, and for the jitter of a module's clock.
_LEAD_S: Final = 0.0025
# Whoever begins later than that is not ready in time, and keeps the frame waiting.
_LATE_S: Final = 0.001
# Faster, and the caches have no time to forget; slower, and it is no pace.
_FASTEST_S: Final = 0.004
_SLOWEST_S: Final = 0.5
# On a busy machine some frames are seen late: the pace is what most of these say.
_KEPT: Final = 8


class Pace:
    """When something that comes again and again is due; times are seconds of one clock."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_KEPT)
        self._due = math.inf

    def came(self, at: float) -> None:
        """It came at that time; may be said more than once."""
        times = self._times
        interval = at - times[-1] if times else math.inf
        if not interval:
            return
        if not 0 < interval < _SLOWEST_S:
            times.clear()
        times.append(at)
        # Of frames that are fast each microsecond counts.
        self._due = math.inf if interval < _FASTEST_S else self._next()

    def _next(self) -> float:
        """When most of the last ones say that the next is due; infinite if there is no pace."""
        times = self._times
        intervals = sorted(after - before for before, after in pairwise(times))
        interval = _middle(intervals)
        if not _FASTEST_S < interval < _SLOWEST_S:
            return math.inf
        last = times[-1]
        # Whole intervals: some may not have come at all.
        return _middle(sorted(at + interval * (round((last - at) / interval) + 1) for at in times))

    def wait(self, now: float) -> float:
        """Seconds until it is time to get ready; infinite if that is not known, done, or past."""
        if now > self._due - _LATE_S:
            return math.inf
        return max(0.0, self._due - _LEAD_S - now)

    def ready(self) -> None:
        """It has been got ready for."""
        self._due = math.inf


def _middle(values: list[float]) -> float:
    """The median, the lesser one of two: what is late says too much. 0 of none."""
    return values[(len(values) - 1) // 2] if values else 0.0
