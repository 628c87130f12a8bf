"""Keep the set of bytes of a frame that have arrived.

:class:`.assembly.Assembly` adds a range for each good tile, and asks for the gaps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple

ByteRange = tuple[int, int]
"""Half-open: the first byte, and the byte after the last."""


class ReceivedRangesSnapshot(NamedTuple):
    """A :class:`ReceivedRanges` as an immutable value."""

    size: int
    ranges: tuple[ByteRange, ...]
    """In order, with a gap between any two."""


class ReceivedRanges:
    """A set of the bytes 0 to *size*, kept as disjoint ranges in order.

    >>> received = ReceivedRanges(100)
    >>> received.add(0, 30)
    >>> received.add(60, 100)
    >>> received.find_gaps(10, 90)
    [(30, 60)]
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        """The number of bytes in the set."""
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def prefix(self) -> int:
        """The number of bytes before the first gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def is_complete(self) -> bool:
        """True if all bytes are in the set."""
        return self.count == self.size

    def find_gaps(self, start: int, end: int) -> list[ByteRange]:
        """Return the ranges between *start* and *end* that are not in the set."""
        gaps = []
        index = bisect_right(self._ends, start)
        while index < len(self._starts) and self._starts[index] < end:
            if self._starts[index] > start:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
            index += 1
        if start < end:
            gaps.append((start, end))
        return gaps

    def add(self, start: int, end: int) -> None:
        """Add a range. Some or all of it may be in the set already."""
        if self._ends and start == self._ends[-1]:
            # The usual case: tiles in order.
            self._ends[-1] = end
            self.count += end - start
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        self.count += sum(b - a for a, b in self.find_gaps(start, end))
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def snapshot(self) -> ReceivedRangesSnapshot:
        """Return the size and the ranges as a hashable value."""
        return ReceivedRangesSnapshot(self.size, tuple(zip(self._starts, self._ends, strict=True)))
