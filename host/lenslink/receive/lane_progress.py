"""Conclude from what each lane has received what it can still bring.

On each lane, tiles arrive in the order of the frame's rows. So a gap is proven once every lane has
received something that lies behind it. A FrameEnd names the last packet of each lane and proves
the rest. :class:`.reassembly.Reassembly` records positions here and asks for proofs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lenslink_protocol.link import Lane
from lenslink_protocol.messages import FrameEnd

_HALF = 1 << 31


def is_later(number: int, other: int | None) -> bool:
    """Frame *number* comes after frame *other*. Numbers wrap at 2**32. None is before all.

    >>> is_later(0, 0xFFFFFFFF), is_later(5, 5), is_later(5, None)
    (True, False, True)
    """
    return other is None or 0 < (number - other) & 0xFFFFFFFF < _HALF


def count_outstanding(lane: Lane, end: FrameEnd) -> int:
    """Return how many packets sent on a lane before a FrameEnd have not arrived yet."""
    if lane.number >= end.lanes:
        return 0
    # Sequences start at 0, so a lane that has carried nothing is at the number before.
    last = 0xFFFFFFFF if lane.last_sequence is None else lane.last_sequence
    outstanding = (end.last_sequence[lane.number] - last) & 0xFFFFFFFF
    return outstanding if outstanding < _HALF else 0


class LanePosition(NamedTuple):
    """Where a lane is in a stream: the last tile that it brought, resent tiles excluded."""

    frame: int
    first_byte: int
    """Where the tile begins in the frame."""


class LaneProgress:
    """The position of each lane in each stream."""

    def __init__(self) -> None:
        self.lanes: Sequence[Lane] = ()
        self._positions: dict[tuple[int, int], LanePosition] = {}

    def record_position(self, lane: int, stream: int, frame: int, first_byte: int) -> None:
        """Record the last tile of a lane and a stream."""
        self._positions[lane, stream] = LanePosition(frame, first_byte)

    def has_passed_start(self, stream: int, frame: int) -> bool:
        """Lane 0 has brought something that was sent after the FrameStart of a frame."""
        position = self._positions.get((0, stream))
        return position is not None and not is_later(frame, position.frame)

    def has_reached_end(self, end: FrameEnd) -> bool:
        """On every lane, all packets sent before a FrameEnd have arrived or are lost."""
        return all(count_outstanding(lane, end) == 0 for lane in self.lanes if lane.is_alive)

    def find_proven_end(self, stream: int, frame: int, size: int, end: FrameEnd | None) -> int:
        """Return up to which byte of a frame no lane can bring anything unasked.

        Args:
            stream: The frame's stream.
            frame: The frame's number.
            size: The frame's bytes.
            end: The FrameEnd, if it has arrived.
        """
        proven_end = size
        for lane in self.lanes:
            if not lane.is_alive or (end is not None and count_outstanding(lane, end) == 0):
                continue
            position = self._positions.get((lane.number, stream))
            if position is None or is_later(frame, position.frame):
                return 0
            if position.frame == frame:
                proven_end = min(proven_end, position.first_byte)
        return proven_end

    def snapshot(self) -> tuple[tuple[tuple[int, int], LanePosition], ...]:
        """Return the positions as a hashable value. The lanes stand in the link's snapshot."""
        return tuple(self._positions.items())
