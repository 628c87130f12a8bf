"""Conclude from what each lane has received what it can still bring.

On each lane, tiles arrive in the order of the frame's rows. So missing bytes are lost once every
lane has received a tile behind them. A FrameEnd names the last packet of each lane: when a lane has
received that packet, the lane can bring nothing more of the frame.
:class:`.reassembly.Reassembly` records positions here and asks for conclusions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lenslink_protocol.link import Lane
from lenslink_protocol.messages import FrameEnd

_HALF = 1 << 31


def is_later(number: int, other: int | None) -> bool:
    """Return True if frame *number* comes after frame *other*.

    Numbers wrap at 2**32. None comes before every frame.

    >>> is_later(0, 0xFFFFFFFF), is_later(5, 5), is_later(5, None)
    (True, False, True)
    """
    return other is None or 0 < (number - other) & 0xFFFFFFFF < _HALF


def count_outstanding(lane: Lane, end: FrameEnd) -> int:
    """Return how many packets sent on a lane before a FrameEnd have not arrived yet."""
    if lane.number >= end.lanes:
        return 0
    # A lane's first packet has sequence 0. A lane that has carried nothing stands before it.
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
        """Return True if lane 0 has brought a packet sent after the FrameStart of a frame."""
        position = self._positions.get((0, stream))
        return position is not None and not is_later(frame, position.frame)

    def has_reached_end(self, end: FrameEnd) -> bool:
        """Return True if each lane has delivered or lost all packets sent before a FrameEnd."""
        return all(count_outstanding(lane, end) == 0 for lane in self.lanes if lane.is_alive)

    def find_passed_end(self, stream: int, frame: int, size: int, end: FrameEnd | None) -> int:
        """Return the end of the bytes of a frame that every lane has passed.

        No lane brings a byte before it any more, unless the byte is requested.

        Args:
            stream: The frame's stream.
            frame: The frame's number.
            size: The frame's bytes.
            end: The FrameEnd, if it has arrived.
        """
        passed_end = size
        for lane in self.lanes:
            if not lane.is_alive or (end is not None and count_outstanding(lane, end) == 0):
                continue
            position = self._positions.get((lane.number, stream))
            if position is None or is_later(frame, position.frame):
                return 0
            if position.frame == frame:
                passed_end = min(passed_end, position.first_byte)
        return passed_end

    def snapshot(self) -> tuple[tuple[tuple[int, int], LanePosition], ...]:
        """Return the positions as a hashable value. The lanes stand in the link's snapshot."""
        return tuple(self._positions.items())
