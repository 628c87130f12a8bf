"""Hosts that break a clause on growth (SPEC.md, 2.3)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import BY_TYPE, Close, Configured, Resent
from lenslink_protocol.params import MAX_BUSY_MS

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class PadsShortMessages(Defect):
    """Takes a message that is too short, as if zeros followed."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in BY_TYPE or packet.kind == MessageType.TILE:
            return [data]
        size = BY_TYPE[packet.kind].FIXED.size
        if len(packet.payload) >= size:
            return [data]
        padded = size.to_bytes(2, "little") + packet.payload[2:] + bytes(size - len(packet.payload))
        return [packet.encode(payload=padded)]


class StrictFrameStart(Defect):
    """Refuses a FrameStart with appended fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        size = BY_TYPE[MessageType.FRAME_START].FIXED.size
        return (
            [] if packet.kind == MessageType.FRAME_START and len(packet.payload) > size else [data]
        )


class DropsGrownBeats(Defect):
    """Ignores a HeartbeatReply with more fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_reply = packet.kind == MessageType.HEARTBEAT_REPLY
        is_grown = is_reply and packet.payload[:2] != len(packet.message().encode()).to_bytes(
            2, "little"
        )
        return [] if is_grown else [data]


class ReadsGoneAtSix(Defect):
    """Reads the rectangles of Resent at byte 6, whatever its size."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if not isinstance(message, Resent):
            return [data]
        return [edit_message(packet, gone=packet.payload[6:][: 8 * message.count])]


class DropsFlaggedResent(Defect):
    """Ignores a Resent with flags that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        return [] if isinstance(message, Resent) and message.flags & ~3 else [data]


class DropsFlaggedConfigured(Defect):
    """Ignores a Configured with flags that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURED else None
        return [] if isinstance(message, Configured) and message.flags & 0xF0 else [data]


class ReservedMustBeZero(Defect):
    """Discards a FrameStart whose reserved field has a value."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_odd = packet.kind == MessageType.FRAME_START and packet.payload[23]
        return [] if is_odd else [data]


class UnknownEnds(Defect):
    """Takes an unknown type for the end of the session."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in BY_TYPE or packet.kind >= 0xE0 or packet.kind == MessageType.TILE:
            return [data]
        return [packet.encode(type=MessageType.CLOSE, payload=Close(0).encode())]


class DropsUnknownFlags(Defect):
    """Discards packets with flags that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.header.flags & ~1 else [data]


class ReservedIsALease(Defect):
    """Takes the reserved byte of Busy for a part of the lease."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_longer = packet.kind == MessageType.BUSY and packet.payload[3]
        return [edit_message(packet, lease_ms=MAX_BUSY_MS) if is_longer else data]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-GROW-1": (PadsShortMessages, StrictFrameStart, DropsGrownBeats, ReadsGoneAtSix),
    "H-GROW-2": (
        ReservedMustBeZero,
        UnknownEnds,
        DropsUnknownFlags,
        DropsFlaggedResent,
        DropsFlaggedConfigured,
        ReservedIsALease,
    ),
    "H-LIVE-2": (ReservedIsALease,),
    "H-CREDIT-2": (DropsGrownBeats,),
}
"""The defects on the line of the driver, by clause."""
