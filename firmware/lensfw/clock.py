"""The module's clock: microseconds since its start, which never wrap."""


class Clock:
    """Extends a tick counter that wraps.

    ``ticks()`` gives microseconds modulo ``most`` + 1, a power of two; on a board that is 17.9
    minutes, so now() must be called more often than that.
    """

    def __init__(self, ticks, most):
        self._ticks = ticks
        self._mask = most
        self._last = ticks()
        self._now = 0

    def now(self):
        ticks = self._ticks()
        self._now += (ticks - self._last) & self._mask
        self._last = ticks
        return self._now
