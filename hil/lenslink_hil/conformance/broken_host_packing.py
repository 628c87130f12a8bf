"""Hosts that break a clause on pixels in bytes (SPEC.md, 6.3)."""

from __future__ import annotations

from lenslink_protocol.ids import ManifestKey, MessageType, PixelFormat
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import ManifestPiece
from lenslink_protocol.rice import DamagedTile, decode_tile

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class WholeGroupsOnly(Defect):
    """Discards a tile that ends inside a group, at the end of the row too."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_cut = packet.kind == MessageType.TILE and packet.header.width % 4
        return [] if is_cut else [data]


class RoundsToFour(Defect):
    """Widens a tile that begins or ends inside a group of four to whole groups."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        end = head.x + head.width
        if packet.kind != MessageType.TILE or end == 66 or not (head.x % 4 or end % 4):
            return [data]
        left, right = head.x // 4 * 4, min(64, (end + 3) // 4 * 4)
        payload = b"\xa5" * ((right - left) * 5 // 4)
        return [packet.encode(x=left, width=right - left, payload=payload)]


class RoundsEnds(Defect):
    """Widens a tile that ends inside a group to the group's end."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.width % 2 == 0:
            return [data]
        rows = [packet.payload[2 * row : 2 * row + 2] + b"\xa5" for row in range(head.height)]
        return [packet.encode(width=head.width + 1, payload=b"".join(rows))]


class NamesSixteenBits(Defect):
    """Names the 16-bit format, which every module could send."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_configure = packet.kind == MessageType.CONFIGURE
        return [edit_message(packet, pixel_format=0x110002F) if is_configure else data]


class SecondFormat(Defect):
    """Names a format by its bits, whatever the manifest lists."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_configure = packet.kind == MessageType.CONFIGURE
        return [edit_message(packet, pixel_format=0x1100011) if is_configure else data]


class NamesUnpacked(Defect):
    """Names the unpacked format of the sensor where the manifest lists no format."""

    def __init__(self) -> None:
        self._has_formats = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if isinstance(message, ManifestPiece):
            keys = [key for key, _ in iterate_entries(message.piece)]
            self._has_formats = self._has_formats or ManifestKey.FORMAT in keys
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE or self._has_formats:
            return [data]
        return [edit_message(packet, pixel_format=PixelFormat.RG12)]


class UsesDamagedCodes(Defect):
    """Takes the tile of a damaged code for received, with the pixels that it has."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        size = (head.width * 12 + 7) // 8 * head.height
        if packet.kind != MessageType.TILE or not 0 < head.length < size:
            return [data]
        try:
            decode_tile(packet.payload, head.width, head.height, 12)
        except DamagedTile:
            return [packet.encode(payload=b"\xa5" * size)]
        return [data]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-PACK-1": (WholeGroupsOnly, RoundsToFour, RoundsEnds),
    "H-CAM-3": (UsesDamagedCodes,),
    "H-PACK-2": (NamesSixteenBits, SecondFormat, NamesUnpacked),
}
"""The defects on the line of the driver, by clause."""
