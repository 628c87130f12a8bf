"""Hosts that break a clause on Close, and what is left of a session (SPEC.md, 3.2)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Configure, GetManifest, Heartbeat

from .defects import Defect
from .packets import Packet
from .peer_wire import Tamper


class LeavesSilently(Defect):
    """Sends Close only if it has a whole frame."""

    def __init__(self) -> None:
        self._has_failed = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_failed = self._has_failed or packet.kind == MessageType.ERROR
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if self._has_failed and packet.kind == MessageType.CLOSE else [data]


class ClosesAnotherSession(Defect):
    """Sends Close under another nonce."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_close = packet.kind == MessageType.CLOSE
        return [packet.encode(nonce=packet.header.nonce ^ 1) if is_close else data]


class ClosesAsHeartbeat(Defect):
    """Sends a Heartbeat instead of Close."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CLOSE:
            return [data]
        return [packet.encode(type=MessageType.HEARTBEAT, payload=Heartbeat((0, 0, 0), 0).encode())]


class KeepsAsking(Defect):
    """Sends each Configure and GetManifest after Close, too."""

    def __init__(self) -> None:
        self._is_closed = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._is_closed = self._is_closed or packet.kind == MessageType.CLOSE
        return [] if packet.kind == MessageType.CLOSE else [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._is_closed or packet.kind == MessageType.CLOSE:
            return [data]
        ask = GetManifest(0).encode()
        return [packet.encode(type=MessageType.GET_MANIFEST, frame=9000, payload=ask), data]


class ConfiguresAfterClose(KeepsAsking):
    """Configures a stream of a session that the module has closed."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._is_closed or packet.kind == MessageType.CLOSE:
            return [data]
        again = Configure(1, 0, 1, 0, 0).encode()
        return [packet.encode(type=MessageType.CONFIGURE, frame=9000, payload=again), data]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-CLOSE-1": (LeavesSilently, ClosesAnotherSession, ClosesAsHeartbeat),
    "H-CLOSE-2": (KeepsAsking, ConfiguresAfterClose),
}
"""The defects on the line of the driver, by clause."""
