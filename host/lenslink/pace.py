"""When the next frame is due, by the pace of those before it: time to get ready for it.

Between two frames the caches forget the driver: what takes 60 us when it is done again and again
takes five times as long when it is done once in 33 ms, and the first tile would wait for it.
"""

from __future__ import annotations

import math
from typing import Final

# Long enough to get ready with cold caches, and for the jitter of a module's clock.
_LEAD_S: Final = 0.0025
# Faster, and the caches have no time to forget; slower, and it is no pace.
_FASTEST_S: Final = 0.004
_SLOWEST_S: Final = 0.5


class Pace:
    """When something that comes again and again is due; times are seconds of one clock."""

    def __init__(self) -> None:
        self._last = 0.0
        self._due = math.inf

    def came(self, at: float) -> None:
        """It came at that time; may be said more than once."""
        if at == self._last:
            return
        interval = at - self._last
        self._last = at
        self._due = at + interval if _FASTEST_S < interval < _SLOWEST_S else math.inf

    def wait(self, now: float) -> float:
        """Seconds until it is time to get ready; infinite if that is not known, or done."""
        return max(0.0, self._due - _LEAD_S - now)

    def ready(self) -> None:
        """It has been got ready for."""
        self._due = math.inf
