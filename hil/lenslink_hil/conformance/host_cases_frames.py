"""Cases for hosts: frames, Resend, lanes, packings and manifests in every shape (SPEC.md, 6, 7)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np

from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import EndStatus, FrameState, ManifestKey, MessageType, PixelFormat
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    Configure,
    Configured,
    FormatEntry,
    FrameEnd,
    FrameStart,
    GetManifest,
    ManifestPiece,
    ModeEntry,
    Resend,
    Resent,
    SensorEntry,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import FRAME_STALE_MS, MAX_MANIFEST, MAX_RANGES, RESEND_TRIES

from .cases import Cases, check
from .host_cases_camera import Lanes, lose_tile
from .module_peer import (
    HEIGHT,
    MODE,
    PIXELS,
    ROWS,
    STRIDE,
    TILE,
    WIDTH,
    WRONG,
    HostResult,
    Item,
    Script,
    rectangles,
    tile_item,
)
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_LOST = 8
_LAST = HEIGHT - ROWS
_WRONG_TILE = WRONG * (TILE // 2)
_HALF = WIDTH // 2


def cut_tile(x: int, y: int, width: int, height: int, **more: Any) -> Item:
    """Return a tile of the frame that is any rectangle."""
    rows = [PIXELS[row * STRIDE + 2 * x :][: 2 * width] for row in range(y, y + height)]
    return Item(MessageType.TILE, b"".join(rows), (x, y, width, height), **more)


def wrong_tile(x: int, y: int, width: int, height: int, **more: Any) -> Item:
    """Return a tile with wrong pixels."""
    return Item(MessageType.TILE, WRONG * (width * height), (x, y, width, height), **more)


# --- frames that are not complete -------------------------------------------------------------


class _NotWhole(Script):
    """A frame that never becomes complete. The host must not hand it on as a whole one."""

    capabilities = 0
    limit_s = 12.0
    lost_row = _LOST

    def make_items(self) -> list[Item]:
        return [
            replace(item, is_lost=True) if item.place == tile_item(self.lost_row).place else item
            for item in super().make_items()
        ]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame that is not complete is handed on as a whole one")


@CASES.add("H-CAM-1")
class FirstTileLost(_NotWhole):
    """The first tile of a frame is lost."""

    lost_row = 0


@CASES.add("H-CAM-1")
class LastTileLost(_NotWhole):
    """The last tile of a frame is lost: only FrameEnd proves it."""

    lost_row = _LAST


@CASES.add("H-CAM-1")
class SameTileTwice(_NotWhole):
    """A tile is lost, and another comes twice: as many bytes and tiles as a whole frame has."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [*found[:8], tile_item(0), *found[8:]]


@CASES.add("H-CAM-1")
class HalfATile(_NotWhole):
    """Half of a tile comes: its columns on the left, not those on the right."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        halves = [cut_tile(0, row, _HALF, 1) for row in range(_LOST, _LOST + ROWS)]
        return [*found[:4], *halves, *found[4:]]


@CASES.add("H-CAM-1")
class TileOfAnotherFrame(_NotWhole):
    """The lost tile comes under the number of another frame, and on the other stream."""

    def _encode_item(self, item: Item) -> bytes:
        if "other" not in item.more:
            return super()._encode_item(item)
        other = item.more["other"]
        head = {"stream": self._stream, "place": item.place} | other
        number = head.pop("number", self.frame)
        return self.pack(item.kind, item.payload, number, **head)

    def make_items(self) -> list[Item]:
        found = super().make_items()
        others = [
            wrong_tile(0, _LOST, WIDTH, ROWS, more={"other": other})
            for other in ({"number": self.frame + 1}, {"stream": 1 - self._stream})
        ]
        return [*found[:8], *others, *found[8:]]


@CASES.add("H-CAM-1")
class Aborted(Script):
    """All tiles come, and FrameEnd says ABORTED: the frame is not complete."""

    limit_s = 12.0
    status = EndStatus.ABORTED

    def make_end_item(self) -> Item:
        item = super().make_end_item()
        message = replace(FrameEnd.decode(item.payload), status=int(self.status))
        return replace(item, payload=message.encode())

    def judge(self, result: HostResult) -> None:
        said = f"a frame whose end says {self.status.name} is handed on as a whole one"
        check(not result.ok, said)


@CASES.add("H-CAM-1")
class SensorFailed(Aborted):
    """A tile was never read, and FrameEnd says SENSOR."""

    status = EndStatus.SENSOR

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [item for item in found if item.place != tile_item(_LAST).place]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        """What was never read is gone."""
        gone = struct.pack("<4H", *tile_item(_LAST).place)
        self.queue.append(
            Item(MessageType.RESENT, Resent(0, FrameState.ENDED, 1, gone).encode())
        )  # fmt: skip


# --- received pixels stay ---------------------------------------------------------------------


@CASES.add("H-CAM-2")
class OverlappingTile(Script):
    """A tile repeats received rows with other pixels, and brings rows that are missing."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        both = Item(
            MessageType.TILE,
            _WRONG_TILE + tile_item(12).payload,
            (0, _LOST, WIDTH, 2 * ROWS),
        )
        return [*found[:4], both, *found[4:]]


@CASES.add("H-CAM-2")
class NarrowRepeat(Script):
    """Parts of received rows come again with other pixels, some with the flag RESENT."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        parts = [wrong_tile(16, row, 16, 1, flags=row % 2) for row in range(4)]
        return [*found[:6], *parts, *found[6:]]


@CASES.add("H-CAM-2")
class RepeatBehindAll(Script):
    """A tile comes again with other pixels when all tiles are there, before FrameEnd."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = [wrong_tile(0, y, WIDTH, ROWS, flags=1) for y in (0, _LAST)]
        return [*found[:-1], *wrong, found[-1]]


# --- tiles and FrameStarts that do not fit ----------------------------------------------------


@CASES.add("H-CAM-3")
class FarOutside(Script):
    """Tiles whose place overflows 16 bits, and tiles that are longer than their rectangle."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = [
            wrong_tile(0, 65532, WIDTH, ROWS),
            wrong_tile(65472, 0, WIDTH, ROWS),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=_WRONG_TILE + WRONG),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=_WRONG_TILE * 2),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=WRONG),
            replace(wrong_tile(0, 0, WIDTH, HEIGHT + 1), payload=WRONG * (WIDTH * (HEIGHT + 1))),
            replace(wrong_tile(0, _LAST, WIDTH, 2 * ROWS), payload=_WRONG_TILE * 2),
        ]
        return [found[0], *wrong, *found[1:]]


class _BadStart(Script):
    """FrameStarts that break a rule of Table 9, and none that keeps them: there is no frame."""

    capabilities = 0
    limit_s = 12.0
    wrong: tuple[dict[str, Any], ...] = ()

    def make_items(self) -> list[Item]:
        start, *rest = super().make_items()
        message = FrameStart.decode(start.payload)
        bad = [replace(start, payload=replace(message, **each).encode()) for each in self.wrong]
        return [*bad, *rest]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, f"a FrameStart with one of {self.wrong} is taken")


@CASES.add("H-CAM-3")
class OtherGeometry(_BadStart):
    """FrameStart differs from Configured in its mode, size, stride or pixel format."""

    wrong = (
        {"mode": MODE + 1},
        {"width": WIDTH - 2},
        {"height": HEIGHT - 2},
        {"height": HEIGHT + 2},
        {"stride": STRIDE + 2},
        {"pixel_format": PixelFormat.RG14},
        {"pixel_format": PixelFormat.GR12, "cfa": 1},
    )


@CASES.add("H-CAM-3")
class OtherCrop(_BadStart):
    """FrameStart has a crop that is odd, or that is not inside the mode."""

    wrong = ({"crop_x": 1}, {"crop_y": 1}, {"crop_x": 2}, {"crop_y": 2}, {"crop_x": 0xFFFE})


@CASES.add("H-CAM-3")
class OtherPhase(_BadStart):
    """FrameStart has another phase than its pixel format, or no EXIF orientation."""

    wrong = ({"cfa": 1}, {"cfa": 4}, {"orientation": 0}, {"orientation": 9})


@CASES.add("H-CAM-3")
class OtherLevels(_BadStart):
    """FrameStart has more bits than its format, or levels that its bits do not hold."""

    wrong = (
        {"bits": 7},
        {"bits": 13},
        {"white": 0},
        {"white": 4096},
        {"bits": 10},
        {"black_milli": (0, 0, 0, 4_095_000)},
        {"black_milli": (4_095_000, 0, 0, 0)},
    )


@CASES.add("H-CAM-3")
class FewerBits(Script):
    """FrameStart has fewer bits than its pixel format, which Table 9 allows."""

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = FrameStart.decode(item.payload)
        return replace(item, payload=replace(message, bits=12, white=2000, orientation=8).encode())


@CASES.add("H-CAM-4")
class EndForEverLost(Script):
    """FrameEnd is lost, and no Resend is answered: the host has the whole frame in time."""

    needs_resend = True
    _sent = 0.0

    def make_items(self) -> list[Item]:
        self._sent = self.wire.now()
        return super().make_items()[:-1]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        """Answer nothing."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        end = self.end_time if self.end_time is not None else self.wire.now()
        most = FRAME_STALE_MS / 1000 + 1.0
        late = end - self._sent
        check(late <= most, f"the host waits {late:.1f} s for a lost FrameEnd")


# --- asking again -----------------------------------------------------------------------------


class _Asked(Script):
    """Tiles are lost: the host asks for them, and for nothing that it has received."""

    needs_resend = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.missing = np.zeros((HEIGHT, WIDTH), bool)

    def is_lost(self, place: tuple[int, int, int, int]) -> bool:
        """Return True for a tile that is lost at first."""
        raise NotImplementedError

    def make_tiles(self) -> list[Item]:
        """Return the tiles of the frame."""
        return [tile_item(row) for row in range(0, HEIGHT, ROWS)]

    def make_items(self) -> list[Item]:
        tiles = []
        for item in self.make_tiles():
            x, y, width, height = item.place
            lost = self.is_lost(item.place)
            self.missing[y : y + height, x : x + width] = lost
            tiles.append(replace(item, is_lost=lost))
        return [self.make_start_item(), *tiles, self.make_end_item()]

    def make_end_item(self) -> Item:
        count = len(self.make_tiles())
        message = FrameEnd(0, self.used_lanes, count, 1000, (0, 0, 0, 0), 0)
        return Item(MessageType.FRAME_END, message.encode())

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        check(len(asked) <= MAX_RANGES, f"{len(asked)} rectangles in one Resend")
        for x, y, width, height in asked:
            place = (x, y, width, height)
            inside = width and height and x + width <= WIDTH and y + height <= HEIGHT
            check(inside, f"Resend asks for {place}")
            lacks = bool(self.missing[y : y + height, x : x + width].all())
            check(lacks, f"Resend asks for {place}, of which pixels have arrived")
        if message.flags & 1:
            self.queue.append(self.make_start_item())
        for item in self.make_tiles():
            x, y, width, height = item.place
            if any(
                left < x + width and x < left + columns and top < y + height and y < top + rows
                for left, top, columns, rows in asked
            ):
                self.queue.append(replace(item, flags=1))
        self.queue.append(Item(MessageType.RESENT, self.make_resent(message).encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())

    def judge(self, result: HostResult) -> None:
        check(self.find_packets(MessageType.RESEND), "what was lost is not asked for")
        self.check_whole_frame(result)


@CASES.add("H-RESEND-1")
class EndsLost(_Asked):
    """The first tile and the last one are lost."""

    def is_lost(self, place: tuple[int, int, int, int]) -> bool:
        return place[1] in (0, _LAST)


@CASES.add("H-RESEND-1")
class NarrowTileLost(_Asked):
    """Tiles of a part of a row are lost: the other columns of those rows are not asked for."""

    def make_tiles(self) -> list[Item]:
        places = [(x, y) for y in range(HEIGHT) for x in range(0, WIDTH, 16)]
        return [cut_tile(x, y, 16, 1) for x, y in places]

    def is_lost(self, place: tuple[int, int, int, int]) -> bool:
        return place[:2] in ((16, 5), (48, 20), (0, 30))


@CASES.add("H-RESEND-1")
class ManyGaps(NarrowTileLost):
    """Every other part of a row is lost, 96 in all: at most MAX_RANGES in one Resend."""

    limit_s = 12.0

    def is_lost(self, place: tuple[int, int, int, int]) -> bool:
        return (place[0] // 16 + place[1]) % 2 == 1


@CASES.add("H-RESEND-2")
class StartLostTwice(Script):
    """FrameStart is lost, and so is the first one that is sent again."""

    needs_resend = True
    limit_s = 12.0

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=True), *rest]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        super().on_resend(packet, message)
        if len(self.find_packets(MessageType.RESEND)) == 1:
            self.queue = [
                replace(item, is_lost=item.kind == MessageType.FRAME_START) for item in self.queue
            ]


@CASES.add("H-RESEND-2")
class StartDamaged(Script):
    """FrameStart comes damaged: the host asks for it."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_damaged=True), *rest]


@CASES.add("H-RESEND-3")
class UnknownFrame(Script):
    """The module says UNKNOWN: all is gone, and nothing is asked for again."""

    needs_resend = True
    limit_s = 12.0
    _said = 0.0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        again = self._said and packet.at > self._said + 0.2 and message.count
        check(not again, f"after UNKNOWN the host asks for {rectangles(message)}")
        self._said = self._said or packet.at
        self.queue.append(
            Item(MessageType.RESENT, Resent(0, FrameState.UNKNOWN, 0, b"").encode())
        )  # fmt: skip

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class PartlyGone(Script):
    """Two tiles are lost. One is gone; the other is lost again, and alone is asked for."""

    needs_resend = True
    limit_s = 12.0
    _said = 0.0
    _gone = (0, _LOST, WIDTH, ROWS)
    _other = 24

    def make_items(self) -> list[Item]:
        lost = (self._gone, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = any(y < _LOST + ROWS and y + height > _LOST for _, y, _, height in asked)
        again = self._said and packet.at > self._said + 0.1 and meets
        check(not again, f"Resend of what was called gone: {asked}")
        gone = b""
        if meets:
            self._said = self._said or packet.at
            gone = struct.pack("<4H", *self._gone)
        if any(y < self._other + ROWS and self._other < y + height for _, y, _, height in asked):
            tries = len(self.find_packets(MessageType.RESEND))
            self.queue.append(replace(tile_item(self._other), flags=1, is_lost=tries < 3))
        state = Resent(message.flags & 3, FrameState.ENDED, len(gone) // 8, gone)
        if message.flags & 1:
            self.queue.append(self.make_start_item())
        self.queue.append(Item(MessageType.RESENT, state.encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class CountedTries(Script):
    """The last tile is lost, and no Resend is answered: it is sent RESEND_TRIES times at most."""

    needs_resend = True
    limit_s = 12.0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(item, is_lost=item.place == tile_item(_LAST).place) for item in found]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        # Only FrameEnd, the last packet of the frame, proves the loss.
        asked = len(self.find_packets(MessageType.RESEND))
        check(asked <= RESEND_TRIES, f"Resend is sent {asked} times without a packet of the frame")

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


# --- lanes ------------------------------------------------------------------------------------


@CASES.add("H-LANE-2")
class IdleLaneEnds(Lanes):
    """Lane 1 ends before the frame begins: the frame comes by lane 0."""

    def on_capture(self, packet: Packet) -> None:
        self.send_accepted(packet)
        self.wire.end_lane(1)
        self.call_later(0.1, self.start_frame)

    def make_items(self) -> list[Item]:
        return Script.make_items(self)

    def _finish_payload(self, item: Item) -> bytes:
        return Script._finish_payload(self, item)


@CASES.add("H-LANE-1")
class LateLane(Lanes):
    """Two tiles of lane 1 come after FrameEnd, one behind the other: neither is asked for."""

    _second = 24

    def make_items(self) -> list[Item]:
        first = self.take_lane_1_tile()
        second = self.take_lane_1_tile(self._second)
        self.call_later(0.015, lambda: self.wire.send(first, 1))
        self.call_later(0.03, lambda: self.wire.send(second, 1))
        kept = tile_item(self._second).place
        return [item for item in super().make_items() if item.place != kept]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        self.check_not_early(packet, message)
        super().on_resend(packet, message)


# --- packings ---------------------------------------------------------------------------------


class _TenBits(Script):
    """A module of one odd width that sends 10-bit pixels, so that rows end inside a group."""

    width, height, rows = 66, 16, 4
    form = find_layout(PixelFormat.RG10p)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        count = self.width * self.height
        pixels = np.array([(17 * i + 3) & 0x3FF for i in range(count)], "<u2")
        self.pixels = pixels.reshape(self.height, self.width)
        self.stride = self.form.count_bytes(self.width)

    def make_manifest(self) -> bytes:
        size = (self.width, self.height)
        area = (0, 0, self.height, self.width)
        changed = {
            ManifestKey.SENSOR: SensorEntry(*size, 10, 0, 1, 1023, (0, 0, 0, 0)).encode(),
            ManifestKey.MODE: ModeEntry(
                MODE, *size, 1, 3, area, b"odd".ljust(16, b"\0"), 0
            ).encode(),
        }
        data = b""
        for key, value in iterate_entries(super().make_manifest()):
            data += encode_entry(key, changed.get(ManifestKey(key), value))
        return data + encode_entry(ManifestKey.FORMAT, FormatEntry(self.form.code).encode())

    def make_configured(self, message: Configure) -> Configured:
        return replace(
            super().make_configured(message),
            pixel_format=self.form.code,
            width=self.width,
            height=self.height,
            stride=self.stride,
            frame_bytes=self.stride * self.height,
            tile_bytes=self.stride * self.rows,
        )

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = replace(
            FrameStart.decode(item.payload),
            pixel_format=self.form.code,
            width=self.width,
            height=self.height,
            stride=self.stride,
            bits=10,
            white=1023,
        )
        return replace(item, payload=message.encode())

    def cut(self, x: int, y: int, width: int) -> Item:
        """Return a tile of a part of one row."""
        payload = pack(self.pixels[y : y + 1, x : x + width], self.form).tobytes()
        return Item(MessageType.TILE, payload, (x, y, width, 1))

    def make_items(self) -> list[Item]:
        parts = ((0, 32), (32, 32), (64, 2))
        tiles = [self.cut(x, y, width) for y in range(self.height) for x, width in parts]
        count = FrameEnd(0, 1, len(tiles), 1000, (0, 0, 0, 0), 0)
        return [self.make_start_item(), *tiles, Item(MessageType.FRAME_END, count.encode())]

    def check_whole_frame(self, result: HostResult) -> None:
        check(result.ok, f"the host has no whole frame: {result.detail or 'no reason given'}")
        if result.pixels is not None:
            same = result.pixels == self.pixels.tobytes()
            check(same, "the host's frame differs from what was sent")


@CASES.add("H-PACK-1")
class EndOfTheRow(_TenBits):
    """Rows end inside a group, and so do the tiles there: they are taken."""


@CASES.add("H-PACK-1")
class InsideWiderGroups(_TenBits):
    """Tiles of one, two or three pixels, or from the third pixel on, of groups of four."""

    def make_items(self) -> list[Item]:
        start, *rest = super().make_items()
        wrong = [
            Item(MessageType.TILE, b"\xa5" * self.form.count_bytes(width), (x, 0, width, 1))
            for x, width in ((0, 1), (0, 2), (0, 6), (2, 4), (3, 1), (62, 4), (60, 5))
        ]
        return [start, *wrong, *rest]


@CASES.add("H-PACK-2")
class FormatsToChooseFrom(Script):
    """The manifest lists an unpacked format and an unknown one: Configure names no other."""

    codes = (PixelFormat.RG12, 0x0112FFFF)

    def make_manifest(self) -> bytes:
        entries = [encode_entry(ManifestKey.FORMAT, struct.pack("<I", code)) for code in self.codes]
        return super().make_manifest() + b"".join(entries)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = message.pixel_format
        check(asked in (0, *self.codes), f"Configure asks for pixel format {asked:#x}")
        super().on_configure(packet, message)


# --- manifest ---------------------------------------------------------------------------------


@CASES.add("H-MANIFEST-1")
class AnyOrder(Script):
    """Entries stand in another order, with unknown ones that are empty, first and last."""

    def make_manifest(self) -> bytes:
        entries = list(iterate_entries(super().make_manifest()))
        data = encode_entry(0x0003 + 0x7000, b"")
        for key, value in reversed(entries):
            data += encode_entry(key, value)
        return data + encode_entry(0xFFFF, b"\x01\x00") + encode_entry(0x7FFE, b"")


@CASES.add("H-MANIFEST-2", "H-MANIFEST-1")
class LargestManifest(Script):
    """A manifest of exactly MAX_MANIFEST bytes is read."""

    limit_s = 15.0

    def make_manifest(self) -> bytes:
        data = super().make_manifest()
        return data + encode_entry(0x8001, bytes(MAX_MANIFEST - len(data) - 4))


class _WrongPieces(Script):
    """A manifest whose pieces do not fit: the host does not read on in it."""

    limit_s = 3.0
    good_pieces = 1
    """Pieces that fit, before one that does not."""
    piece_bytes = 100
    _wrong_at = 0.0

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        """Return the piece that does not fit."""
        raise NotImplementedError

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[: self.piece_bytes])

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        asked = sorted({p.id for p in self.find_packets(MessageType.GET_MANIFEST)})
        if len(asked) <= self.good_pieces:
            super().on_get_manifest(packet, message)
            return
        more = len(asked) > self.good_pieces + 1
        check(not more, f"the host reads on behind a piece that does not fit ({message})")
        self.send_reply(packet, self.make_wrong(self.make_piece(message)))

    def judge(self, result: HostResult) -> None:
        later = self.find_packets(MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM)
        check(not later, f"the host goes on with {[str(p) for p in later[:2]]}")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-MANIFEST-2")
class OneByteTooMany(_WrongPieces):
    """HelloReply and each piece state a manifest of MAX_MANIFEST + 1 bytes, and it has them."""

    good_pieces = 0
    piece_bytes = 1000

    def make_manifest(self) -> bytes:
        data = super().make_manifest()
        return data + encode_entry(0x8001, bytes(MAX_MANIFEST + 1 - len(data) - 4))

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return piece


@CASES.add("H-MANIFEST-2")
class LongPieces(_WrongPieces):
    """A piece states MAX_MANIFEST + 1 bytes, and HelloReply fewer."""

    good_pieces = 0

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, total=MAX_MANIFEST + 1)


@CASES.add("H-MANIFEST-2")
class PieceFromElsewhere(_WrongPieces):
    """A piece begins at another offset than was asked for."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, offset=piece.offset + 1)


@CASES.add("H-MANIFEST-2")
class OtherTotal(_WrongPieces):
    """A piece states another total than the first one."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, total=piece.total + 1)


@CASES.add("H-MANIFEST-2")
class EmptyPiece(_WrongPieces):
    """A piece is empty: the host does not ask for the same offset for ever."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, piece=b"")


@CASES.add("H-MANIFEST-2")
class PieceBeyondTheEnd(_WrongPieces):
    """The last piece is longer than the manifest."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        data = self.make_manifest()
        return replace(piece, piece=data[piece.offset :] + b"beyond")
