"""Hosts that break a clause on the module's clock (SPEC.md, 3.4 and 6)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Heartbeat

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class _OtherTime(Defect):
    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        return [edit_message(packet, time_us=self.change(message.time_us))]

    def change(self, time_us: int) -> int:
        raise NotImplementedError


class NoTime(_OtherTime):
    """States no time in its Heartbeats."""

    def change(self, time_us: int) -> int:
        del time_us
        return 0


class TimeInMilliseconds(_OtherTime):
    """States the time of its Heartbeats in milliseconds."""

    def change(self, time_us: int) -> int:
        return time_us // 1000


class TimeThatFalls(_OtherTime):
    """States a time that runs backwards."""

    def change(self, time_us: int) -> int:
        return (1 << 62) - time_us


class TimeOfTheLastByte(_OtherTime):
    """States the time at which the module was last heard of."""

    def __init__(self) -> None:
        self._time_us = 0
        self._has_received = True

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_received = True
        return [data]

    def change(self, time_us: int) -> int:
        if self._has_received:
            self._time_us, self._has_received = time_us, False
        return self._time_us


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-TIME-1": (NoTime, TimeInMilliseconds, TimeThatFalls, TimeOfTheLastByte),
}
"""The defects on the line of the driver, by clause."""
