"""Hosts that break a clause on captured frames, FrameStart and FrameEnd (SPEC.md, 6)."""

from __future__ import annotations

from typing import Any, ClassVar

from lenslink.receive.assembly import Assembly
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import (
    EndStatus,
    Flag,
    MessageType,
)
from lenslink_protocol.messages import (
    FrameEnd,
    FrameStart,
)
from lenslink_protocol.params import FRAME_STALE_MS

from .broken_steps import Overlay
from .defects import (
    Defect,
    edit_message,
)
from .module_peer import (
    HEIGHT,
    MODE,
    ROWS,
    STRIDE,
    WIDTH,
)
from .packets import (
    Packet,
    parse,
)
from .peer_wire import Tamper
from .virtual_host import VirtualHost


class TakesAborted(Defect):
    """Takes a frame for whole although its end says that it was aborted."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_end = packet.kind == MessageType.FRAME_END
        return [edit_message(packet, status=0) if is_end else data]


class AnyFrameNumber(Defect):
    """Takes each tile for one of the frame that it receives."""

    def __init__(self) -> None:
        self._head: tuple[int, int] | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._head = packet.id, packet.header.stream
        if packet.kind != MessageType.TILE or self._head is None:
            return [data]
        changes = {"payload_crc": packet.header.payload_crc}
        return [packet.encode(frame=self._head[0], stream=self._head[1], **changes)]


class FillsGapsByCount(Defect):
    """Takes a frame for whole when it has as many tiles as FrameEnd says."""

    def __init__(self) -> None:
        self._tile: Packet | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._tile = packet
        if packet.kind != MessageType.FRAME_END or self._tile is None:
            return [data]
        message = packet.message()
        assert isinstance(message, FrameEnd)
        head = self._tile.header
        rows = range(0, HEIGHT, head.height)
        # Whatever is missing is made up from the last tile.
        fakes = [
            self._tile.encode(sequence=head.sequence + 1 + index, y=row)
            for index, row in enumerate(rows)
        ]
        end = packet.encode(sequence=head.sequence + 1 + len(fakes))
        return [*fakes, end]


class NarrowOverwrites(Overlay):
    """Lets tiles that are a part of a row overwrite received pixels."""

    def do_overwrite(self, packet: Packet) -> bool:
        return packet.header.width < WIDTH


class ResentOverwrites(Overlay):
    """Lets tiles with the flag RESENT overwrite received pixels."""

    def do_overwrite(self, packet: Packet) -> bool:
        return bool(packet.header.flags & Flag.RESENT)


class IgnoresMiddles(Defect):
    """Ignores a tile that touches neither side of the frame."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        is_middle = packet.kind == MessageType.TILE and 0 < head.x < WIDTH - head.width
        return [] if is_middle else [data]


class _EditsStart(Defect):
    changes: ClassVar[dict[str, Any]] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_start = packet.kind == MessageType.FRAME_START
        return [edit_message(packet, **self.changes) if is_start else data]


class IgnoresGeometry(_EditsStart):
    """Takes each FrameStart, whatever geometry it states."""

    changes: ClassVar[dict[str, Any]] = {
        "mode": MODE, "width": WIDTH, "height": HEIGHT, "stride": STRIDE,
        "pixel_format": 0x1100011, "cfa": 0,
    }  # fmt: skip


class IgnoresPhase(_EditsStart):
    """Takes each FrameStart, whatever phase or orientation it states."""

    changes: ClassVar[dict[str, Any]] = {"cfa": 0, "orientation": 1}


class IgnoresLevels(_EditsStart):
    """Takes each FrameStart, whatever bits and levels it states."""

    changes: ClassVar[dict[str, Any]] = {"bits": 12, "white": 4095, "black_milli": (0, 0, 0, 0)}


class StrictLevels(Defect):
    """Discards a FrameStart whose white level is not the sensor's."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        is_odd = isinstance(message, FrameStart) and message.white not in (4095, 1023)
        return [] if is_odd else [data]


class TilesFromBelow(Defect):
    """Takes a tile that begins below the frame as one of its last rows."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.y < HEIGHT:
            return [data]
        return [packet.encode(y=HEIGHT - head.height)]


class CutsWideTiles(Defect):
    """Cuts a tile that reaches over the right edge."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.x + head.width <= WIDTH:
            return [data]
        return [packet.encode(x=WIDTH - head.width)]


class NeedsEnd(VirtualHost):
    """Takes a frame without its FrameEnd for an incomplete one."""

    def is_whole(self, frame: Assembly) -> bool:
        return frame.frame_end is not None and super().is_whole(frame)


class SlowWithoutEnd(VirtualHost):
    """Waits for 4 s for a FrameEnd that does not come."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        expire = found.expire_frames
        found.request_missing = lambda now: []  # type: ignore[method-assign]
        found.expire_frames = (  # type: ignore[method-assign]
            lambda now: expire(now) if now > 5.0 else None
        )
        return found


class WaitsForQuiet(VirtualHost):
    """Waits for END_GRACE_MS without a packet of the frame, however long that takes."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        expire = found.expire_frames

        def expire_quiet(now: float) -> None:
            for assembly in found._open.values():
                assembly.timer.last_byte_time = None
            expire(now)

        found.expire_frames = expire_quiet  # type: ignore[method-assign]
        return found


class TakesNewStatus(Defect):
    """Takes a frame for whole although it does not know the status of its end."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        is_new = isinstance(message, FrameEnd) and message.status not in set(EndStatus)
        return [edit_message(packet, status=0) if is_new else data]


class BelievesTheCount(Defect):
    """Takes a frame for whole when as many tiles have come as its end says."""

    def __init__(self) -> None:
        self._tiles: dict[int, Packet] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind == MessageType.TILE and head.width == WIDTH and head.height:
            self._tiles[head.y] = packet
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd) or len(self._tiles) != message.tiles:
            return [data]
        last = max(self._tiles.values(), key=lambda tile: tile.header.sequence)
        rows = [row for row in range(0, HEIGHT, last.header.height) if row not in self._tiles]
        first = head.sequence
        fakes = [last.encode(sequence=first + at, y=row) for at, row in enumerate(rows)]
        return [*fakes, packet.encode(sequence=first + len(fakes))]


class CredulousInAPreview(VirtualHost):
    """Takes every frame of a preview for a whole one."""

    def is_whole(self, frame: Assembly) -> bool:
        return frame.stream == 0 or super().is_whole(frame)


class LowNumbersOnly(Defect):
    """Compares the low 16 bits of frame numbers."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_tile = packet.kind == MessageType.TILE
        return [packet.encode(frame=packet.id & 0xFFFF) if is_tile else data]


class AnyOtherStream(Defect):
    """Takes tiles of stream 2 for those of the still."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(stream=1) if packet.header.stream == 2 else data]


class FirstBlackOnly(_EditsStart):
    """Looks at the first of the four black levels only."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        if not isinstance(message, FrameStart):
            return [data]
        first, *_, last = message.black_milli
        return [edit_message(packet, black_milli=(first, 0, 0, last))]


class NeedsEndsInAPreview(VirtualHost):
    """Takes a frame of a preview without its FrameEnd for an incomplete one."""

    def is_whole(self, frame: Assembly) -> bool:
        has_end = frame.stream == 1 or frame.frame_end is not None
        return has_end and super().is_whole(frame)


class DeliversAtOnce(Defect):
    """Takes a frame for whole once its last byte is there, whatever its end will say."""

    def __init__(self) -> None:
        self._rows: set[int] = set()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._rows.add(packet.header.y)
        is_full = len(self._rows) == HEIGHT // ROWS
        return [] if packet.kind == MessageType.FRAME_END and is_full else [data]


class AsksForGoneOfAPreview(Defect):
    """Asks for what was gone of the first frame once more when the third one comes."""

    def __init__(self) -> None:
        self._asked: Packet | None = None
        self._frame = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._frame = packet.id
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.RESEND:
            return [data]
        self._asked = self._asked or packet
        sequence = packet.header.sequence
        return [data, self._asked.encode(sequence=sequence + 1)] if self._frame == 2 else [data]


class WaitsAsForATile(VirtualHost):
    """Waits for a lost FrameEnd as long as for a lost tile."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        expire = found.expire_frames
        found.expire_frames = (  # type: ignore[method-assign]
            lambda now: expire(now) if now > FRAME_STALE_MS / 1000 else None
        )
        return found


class LastWinsWithoutStart(Defect):
    """Keeps the tiles of a frame by their place until its FrameStart is there."""

    def __init__(self) -> None:
        self._has_start = False
        self._tiles: dict[tuple[int, int], Packet] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind == MessageType.FRAME_START:
            self._has_start = True
        if packet.kind == MessageType.FRAME_END and not self._has_start:
            tiles = sorted(self._tiles.values(), key=lambda tile: tile.header.sequence)
            return [*(tile.encode() for tile in tiles), data]
        if packet.kind != MessageType.TILE or self._has_start:
            return [data]
        self._tiles[head.x, head.y] = packet
        return []


class LastFrameOnly(Defect):
    """Takes every tile for one of the frame that began first."""

    def __init__(self) -> None:
        self._first: int | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in (MessageType.FRAME_START, MessageType.TILE) and self._first is None:
            self._first = packet.id
        is_tile = packet.kind == MessageType.TILE and self._first is not None
        return [packet.encode(frame=self._first) if is_tile else data]


class LastStartCounts(VirtualHost):
    """Gives up a frame when a FrameStart of it that does not fit comes behind the right one."""

    _starts = 0

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        self._starts += packet is not None and packet.kind == MessageType.FRAME_START
        is_tile = packet is not None and packet.kind == MessageType.TILE
        if not (is_tile and self._starts > 2):
            super().send(data, lane)


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-CAM-1": (
        TakesAborted,
        AnyFrameNumber,
        FillsGapsByCount,
        TakesNewStatus,
        BelievesTheCount,
        LowNumbersOnly,
        AnyOtherStream,
        LastFrameOnly,
    ),
    "H-CAM-2": (
        NarrowOverwrites,
        ResentOverwrites,
        IgnoresMiddles,
        LastWinsWithoutStart,
    ),
    "H-CAM-3": (
        IgnoresGeometry,
        IgnoresPhase,
        IgnoresLevels,
        StrictLevels,
        TilesFromBelow,
        CutsWideTiles,
        FirstBlackOnly,
    ),
    "H-RESEND-3": (AsksForGoneOfAPreview,),
    "H-CAM-4": (DeliversAtOnce,),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-CAM-4": (
        NeedsEnd,
        SlowWithoutEnd,
        WaitsForQuiet,
        NeedsEndsInAPreview,
        WaitsAsForATile,
    ),
    "H-CAM-1": (CredulousInAPreview,),
    "H-CAM-3": (LastStartCounts,),
}
"""The hosts that break a clause by themselves."""
