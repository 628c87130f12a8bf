"""Hosts that break a clause on credits (SPEC.md, 5.4)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Heartbeat
from lenslink_protocol.params import MAX_PAYLOAD

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class FallsOnce(Defect):
    """Takes back a limit once."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        self._count += 1
        return [edit_message(packet, limit=(0, 0, 0)) if self._count == 3 else data]


class LateFirstLimits(Defect):
    """Grants nothing for a long time: drops its first Heartbeats."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count < 14 else [data]


class GrantsOnce(Defect):
    """Grants its window once, and no more when tiles have arrived."""

    def __init__(self) -> None:
        self._limit: tuple[int, ...] | None = None

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        self._limit = self._limit or tuple(message.limit)
        return [edit_message(packet, limit=self._limit)]


class GrantsLittle(Defect):
    """Never grants more than half of its max_payload."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        most = MAX_PAYLOAD // 2
        return [edit_message(packet, limit=tuple(min(most, each) for each in message.limit))]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-CREDIT-1": (FallsOnce, LateFirstLimits),
    "H-CREDIT-2": (GrantsOnce, GrantsLittle),
}
"""The defects on the line of the driver, by clause."""
