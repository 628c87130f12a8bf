"""The focus ring: decode quadrature edges. A tick is one edge."""

# Ticks by old and new levels of A and B. An impossible change counts as 0.
_TICKS = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)
_HALF = 1 << 29
_MASK = (1 << 30) - 1


class FocusRing:
    """Count ticks. A bounce goes forth and back and cancels itself.

    add_edge() may run in an interrupt while take_ticks() runs: it alone writes ``position``, and it
    does not allocate.
    """

    def __init__(self):
        # Ticks since the start, from -2^29 to 2^29 - 1. It wraps.
        self.position = 0
        self._levels = 0
        self._taken = 0

    def set_level(self, channel, level):
        """Take the level of a channel at the start. It is no edge."""
        bit = 2 >> channel
        self._levels = self._levels | bit if level else self._levels & ~bit

    def add_edge(self, channel, level):
        """Take an edge of channel 0 (A) or 1 (B)."""
        bit = 2 >> channel
        levels = self._levels | bit if level else self._levels & ~bit
        ticks = _TICKS[self._levels << 2 | levels]
        self._levels = levels
        self.position = ((self.position + ticks + _HALF) & _MASK) - _HALF

    def take_ticks(self):
        """Return the ticks since the last call."""
        position = self.position
        if position == self._taken:
            return 0
        ticks = ((position - self._taken + _HALF) & _MASK) - _HALF
        self._taken = position
        return ticks
