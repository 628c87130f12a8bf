"""Hosts that break a clause on the manifest (SPEC.md, 7)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ManifestKey, MessageType
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import DelayEntry, Error, ManifestPiece

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import VirtualHost


class NeedsOrder(Defect):
    """Refuses a manifest that does not begin with the maker."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if not isinstance(message, ManifestPiece) or message.offset:
            return [data]
        if message.piece[:2] == b"\x01\x00":
            return [data]
        return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]


class RefusesLongManifests(Defect):
    """Refuses a manifest of more than 60,000 bytes."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if getattr(message, "total", 0) <= 60_000:
            return [data]
        return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]


class RefusesGrownValues(Defect):
    """Refuses a manifest whose values are longer than it knows."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.MANIFEST and b"more" in packet.payload:
            return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class RefusesGrownDelays(Defect):
    """Refuses a manifest whose DelayEntry is longer than it knows."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if not isinstance(message, ManifestPiece):
            return [data]
        for key, value in iterate_entries(message.piece):
            if key == ManifestKey.DELAY and len(value) > DelayEntry.FIXED.size:
                return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class StopsAtUnknownKeys(Defect):
    """Reads a manifest up to the first key that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.MANIFEST:
            return [data]
        at = packet.payload.find(b"\xf0\x7f")
        return [packet.encode(payload=packet.payload[:at]) if at >= 0 else data]


class AnyTotal(VirtualHost):
    """Reads a manifest until it has as many bytes as the newest piece says."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(piece, data, piece.total)


class AnyOffset(VirtualHost):
    """Appends each piece, whatever offset it states."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(replace(piece, offset=len(data)), data, total)


class AsksForEver(VirtualHost):
    """Asks again for an offset when it gets an empty piece."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return bool(piece.piece) and super().is_piece_wrong(piece, data, total)


class TakesMore(VirtualHost):
    """Cuts a manifest that is longer than it says."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(
            replace(piece, piece=piece.piece[: total - len(data)]), data, total
        )


class AnySize(VirtualHost):
    """Reads a manifest of any size."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        del total
        return piece.offset != len(data) or not piece.piece


class ReadsTwice(Defect):
    """Asks for the next piece whatever the first one says."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO_REPLY:
            return [edit_message(packet, manifest_bytes=65535)]
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        total = getattr(message, "total", 0)
        return [edit_message(packet, total=65535) if total > 65536 else data]


class AnyFirstOffset(VirtualHost):
    """Takes the first piece, whatever offset it states."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        offset = piece.offset if data else 0
        return super().is_piece_wrong(replace(piece, offset=offset), data, total)


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-MANIFEST-1": (
        NeedsOrder,
        RefusesLongManifests,
        RefusesGrownValues,
        RefusesGrownDelays,
        StopsAtUnknownKeys,
    ),
    "H-MANIFEST-2": (ReadsTwice,),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-MANIFEST-2": (
        AnyTotal,
        AnyOffset,
        AsksForEver,
        TakesMore,
        AnySize,
        AnyFirstOffset,
    ),
}
"""The hosts that break a clause by themselves."""
