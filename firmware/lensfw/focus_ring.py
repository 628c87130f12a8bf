"""The focus ring: decode quadrature edges to detents."""

# Quarters of a detent, by old and new levels of A and B. An impossible change counts as 0.
_QUARTERS = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)


class FocusRing:
    """Count quarters of a detent. A bounce goes forth and back and cancels itself."""

    def __init__(self):
        self._levels = 0
        self._quarters = 0

    def add_edge(self, channel, level):
        """Take an edge of channel 0 (A) or 1 (B). Return the detents since the last edge."""
        bit = 2 >> channel
        levels = self._levels | bit if level else self._levels & ~bit
        self._quarters += _QUARTERS[self._levels << 2 | levels]
        self._levels = levels
        if abs(self._quarters) < 4:
            return 0
        detents = 1 if self._quarters > 0 else -1
        self._quarters -= 4 * detents
        return detents
