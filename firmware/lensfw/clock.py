"""The module's clock: microseconds since its start. They never wrap."""


class Clock:
    """Extend a tick counter that wraps.

    ``ticks()`` returns microseconds modulo ``most`` + 1, a power of two. On a board it wraps after
    17.9 minutes, so now() has to be called more often than that.
    """

    def __init__(self, ticks, most):
        self._ticks = ticks
        self._mask = most
        self._last = ticks()
        self._now = 0

    def now(self):
        """Return the time in microseconds."""
        ticks = self._ticks()
        self._now += (ticks - self._last) & self._mask
        self._last = ticks
        return self._now
