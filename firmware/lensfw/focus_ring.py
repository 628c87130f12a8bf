"""The focus ring: quadrature edges to detents."""

# Old and new levels (A and B each) to a quarter of a detent; impossible changes count nothing.
_QUARTERS = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)


class FocusRing:
    """Four quarters make a detent; a bounce goes forth and back and cancels itself."""

    def __init__(self):
        self._levels = 0
        self._quarters = 0

    def add_edge(self, channel, level):
        """A level has changed (channel 0 = A, 1 = B); the detents turned since the last."""
        bit = 2 >> channel
        levels = self._levels | bit if level else self._levels & ~bit
        self._quarters += _QUARTERS[self._levels << 2 | levels]
        self._levels = levels
        if abs(self._quarters) < 4:
            return 0
        detents = 1 if self._quarters > 0 else -1
        self._quarters -= 4 * detents
        return detents
