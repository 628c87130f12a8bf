"""Which bytes of a frame have arrived."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class ReceivedRangesSnapshot(NamedTuple):
    """A :class:`ReceivedRanges` as an immutable value."""

    size: int
    ranges: tuple[tuple[int, int], ...]
    """Half-open, in order, with a gap between any two."""


class ReceivedRanges:
    """A set of bytes below *size*, as disjoint half-open ranges in order."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        """Bytes covered."""
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def prefix(self) -> int:
        """Bytes covered from the first one on, without a gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def complete(self) -> bool:
        return self.count == self.size

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges of [start, end) that are not covered."""
        found = []
        index = bisect_right(self._ends, start)
        while index < len(self._starts) and self._starts[index] < end:
            if self._starts[index] > start:
                found.append((start, self._starts[index]))
            start = self._ends[index]
            index += 1
        if start < end:
            found.append((start, end))
        return found

    def add(self, start: int, end: int) -> None:
        """Cover [start, end); what was covered stays so."""
        if self._ends and start == self._ends[-1]:
            # The usual case: tiles in order.
            self._ends[-1] = end
            self.count += end - start
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        self.count += sum(b - a for a, b in self.gaps(start, end))
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def snapshot(self) -> ReceivedRangesSnapshot:
        """Return the size and the covered ranges as a hashable value."""
        return ReceivedRangesSnapshot(self.size, tuple(zip(self._starts, self._ends, strict=True)))
