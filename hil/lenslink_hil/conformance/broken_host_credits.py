"""Hosts that break a clause on credits (SPEC.md, 5.4)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    Heartbeat,
    HeartbeatReply,
)
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


class NothingMoreAtTheEnd(Defect):
    """Grants nothing more when it has its frames."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in (MessageType.STOP, MessageType.CLOSE):
            return [data]
        beat = Heartbeat((0, 0, 0), 0).encode()
        return [packet.encode(type=MessageType.HEARTBEAT, frame=0, payload=beat), data]


class LimitsBehindTheManifest(Defect):
    """Sends its first Heartbeat when it has the manifest."""

    def __init__(self) -> None:
        self._has_manifest = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_manifest = self._has_manifest or packet.kind == MessageType.MANIFEST
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_early = packet.kind == MessageType.HEARTBEAT and not self._has_manifest
        return [] if is_early else [data]


class ForgetsLossBesideTiles(Defect):
    """Ignores ``sent`` if a tile has come since the HeartbeatReply before; its window is small."""

    def __init__(self) -> None:
        self._has_tile = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_tile = self._has_tile or packet.kind == MessageType.TILE
        if packet.kind != MessageType.HEARTBEAT_REPLY or not self._has_tile:
            return [data]
        self._has_tile = False
        return [edit_message(packet, sent=(0, 0, 0))]


class ForgetsLossOfAPreview(Defect):
    """Ignores ``sent`` of the preview."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT_REPLY else None
        if not isinstance(message, HeartbeatReply):
            return [data]
        return [edit_message(packet, sent=(0, *message.sent[1:]))]


class BelievesAnySent(Defect):
    """Counts ``sent`` in 64 bits, and adds its window to whatever it says."""

    _sent = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT_REPLY else None
        if isinstance(message, HeartbeatReply):
            self._sent = max(self._sent, message.sent[1])
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        preview, still, roi = message.limit
        limit = (self._sent + (1 << 22)) % (1 << 64) if self._sent >> 63 else still
        return [edit_message(packet, limit=(preview, limit, roi))]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-CREDIT-1": (
        FallsOnce,
        LateFirstLimits,
        NothingMoreAtTheEnd,
        LimitsBehindTheManifest,
        BelievesAnySent,
    ),
    "H-CREDIT-2": (
        GrantsOnce,
        GrantsLittle,
        ForgetsLossBesideTiles,
        ForgetsLossOfAPreview,
        BelievesAnySent,
    ),
}
"""The defects on the line of the driver, by clause."""
