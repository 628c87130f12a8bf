"""Cases for hosts: what a host makes of frames (SPEC.md, 6)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from lenslink_protocol.ids import EndStatus, FrameState, MessageType, PixelFormat
from lenslink_protocol.messages import FrameEnd, FrameStart, Resend, Resent
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
)

from .cases import Cases, check
from .host_steps import (
    LAST_ROW,
    LOST_ROW,
    WRONG_TILE,
    LosingModule,
    Preview,
    cut_tile,
    lose_tile,
)
from .module_peer import (
    HEIGHT,
    MODE,
    PIXELS,
    ROWS,
    STRIDE,
    WIDTH,
    WRONG,
    HostResult,
    Item,
    Script,
    tile_item,
)
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

_HALF = WIDTH // 2


@CASES.add("H-CAM-1")
class Incomplete(LosingModule):
    """A tile is lost for ever: the host must not have a whole frame."""

    capabilities = 0

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


class _NotWhole(Script):
    """A frame that never becomes complete. The host must not hand it on as a whole one."""

    capabilities = 0
    limit_s = 4.0
    lost_row = LOST_ROW

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

    lost_row = LAST_ROW


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
        halves = [cut_tile(0, row, _HALF, 1) for row in range(LOST_ROW, LOST_ROW + ROWS)]
        return [*found[:4], *halves, *found[4:]]


def wrong_tile(x: int, y: int, width: int, height: int, **more: Any) -> Item:
    """Return a tile with wrong pixels."""
    return Item(MessageType.TILE, WRONG * (width * height), (x, y, width, height), **more)


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
            wrong_tile(0, LOST_ROW, WIDTH, ROWS, more={"other": other})
            for other in (
                {"number": self.frame + 1},
                {"number": self.frame + (1 << 16)},
                {"number": self.frame + (1 << 31)},
                {"stream": 1 - self._stream},
                {"stream": 2},
            )
        ]
        return [*found[:8], *others, *found[8:]]


@CASES.add("H-CAM-1")
class Aborted(Script):
    """All tiles come, and FrameEnd says ABORTED: the frame is not complete."""

    limit_s = 4.0
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
        return [item for item in found if item.place != tile_item(LAST_ROW).place]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        """What was never read is gone."""
        gone = struct.pack("<4H", *tile_item(LAST_ROW).place)
        self.queue.append(
            Item(MessageType.RESENT, Resent(0, FrameState.ENDED, 1, gone).encode())
        )  # fmt: skip


@CASES.add("H-CAM-2")
class CoveredGround(Script):
    """A tile comes again with other pixels: the first ones stay."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        again = replace(tile_item(0), payload=WRONG_TILE)
        return [*found[:4], again, *found[4:]]


@CASES.add("H-CAM-2")
class OverlappingTile(Script):
    """A tile repeats received rows with other pixels, and brings rows that are missing."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        both = Item(
            MessageType.TILE,
            WRONG_TILE + tile_item(12).payload,
            (0, LOST_ROW, WIDTH, 2 * ROWS),
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
        wrong = [wrong_tile(0, y, WIDTH, ROWS, flags=1) for y in (0, LAST_ROW)]
        return [*found[:-1], *wrong, found[-1]]


@CASES.add("H-CAM-2")
class HolesOnBothSides(Script):
    """Columns in the middle of rows are there when the whole rows come with other pixels there."""

    def make_items(self) -> list[Item]:
        x, width = 20, 24
        rows = [PIXELS[(LOST_ROW + at) * STRIDE :][:STRIDE] for at in range(ROWS)]
        middle = b"".join(row[2 * x : 2 * (x + width)] for row in rows)
        wrong = b"".join(
            row[: 2 * x] + b"\x55\x05" * width + row[2 * (x + width) :] for row in rows
        )
        narrow = Item(MessageType.TILE, middle, (x, LOST_ROW, width, ROWS))
        found = []
        for item in super().make_items():
            if item.place == tile_item(LOST_ROW).place:
                found += [narrow, replace(item, payload=wrong)]
            else:
                found.append(item)
        return found


@CASES.add("H-CAM-3")
class Outside(Script):
    """Tiles beyond the frame, and tiles of another length than their rectangle's."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        far = replace(tile_item(0), payload=WRONG_TILE, place=(0, HEIGHT, WIDTH, ROWS))
        half = replace(tile_item(0), payload=WRONG_TILE[:-4], place=(0, 0, WIDTH, ROWS))
        wide = replace(tile_item(0), payload=WRONG_TILE, place=(WIDTH // 2, 0, WIDTH, ROWS))
        none = replace(tile_item(0), payload=b"", place=(0, 0, 0, ROWS))
        return [found[0], far, half, wide, none, *found[1:]]


@CASES.add("H-CAM-3")
class FarOutside(Script):
    """Tiles whose place overflows 16 bits, and tiles that are longer than their rectangle."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = [
            wrong_tile(0, 65532, WIDTH, ROWS),
            wrong_tile(65472, 0, WIDTH, ROWS),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=WRONG_TILE + WRONG),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=WRONG_TILE * 2),
            replace(wrong_tile(0, 0, WIDTH, ROWS), payload=WRONG),
            replace(wrong_tile(0, 0, WIDTH, HEIGHT + 1), payload=WRONG * (WIDTH * (HEIGHT + 1))),
            replace(wrong_tile(0, LAST_ROW, WIDTH, 2 * ROWS), payload=WRONG_TILE * 2),
        ]
        return [found[0], *wrong, *found[1:]]


class _BadStart(Script):
    """FrameStarts that break a rule of Table 9, and none that keeps them: there is no frame."""

    capabilities = 0
    limit_s = 4.0
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
        {"mode": 0},
        {"width": WIDTH - 2},
        {"width": WIDTH + 2},
        {"height": HEIGHT - 2},
        {"height": HEIGHT + 2},
        {"stride": STRIDE + 2},
        {"stride": STRIDE - 2},
        {"pixel_format": 0},
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
        {"black_milli": (0, 4_095_000, 0, 0)},
        {"bits": 7},
        {"bits": 13},
        {"white": 0},
        {"white": 4096},
        {"white": 4095 + (1 << 16)},
        {"bits": 10},
        {"bits": 0},
        {"black_milli": (0, 0, 0, 4_095_000)},
        {"black_milli": (4_095_000, 0, 0, 0)},
        {"black_milli": (0, 0, 0xFFFFFFFF, 0)},
    )


@CASES.add("H-CAM-3")
class FewerBits(Script):
    """FrameStart has fewer bits than its pixel format, which Table 9 allows."""

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = FrameStart.decode(item.payload)
        return replace(item, payload=replace(message, bits=12, white=2000, orientation=8).encode())


def check_grace(script: Script, since: float) -> None:
    """Check that a whole frame waits for its FrameEnd about END_GRACE_MS from a moment."""
    ends = script.find_packets(MessageType.STOP, MessageType.FLUSH, MessageType.CLOSE)
    over = script.wire.now() if script.end_time is None else script.end_time
    late = min([over, *(packet.at for packet in ends)]) - since
    most = END_GRACE_MS / 1000 + 1.0
    said = f"the host waits {late:.1f} s for a lost FrameEnd, END_GRACE_MS is {END_GRACE_MS} ms"
    check(late <= most, said)


@CASES.add("H-CAM-4")
class LostEnd(Script):
    """FrameEnd is lost, and is not sent again: the host has the whole frame in time."""

    capabilities = 0
    _sent = 0.0

    def make_items(self) -> list[Item]:
        self._sent = self.wire.now()
        return super().make_items()[:-1]

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_grace(self, self._sent)


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
        check_grace(self, self._sent)


@CASES.add("H-CAM-4")
class ResentTileAndNoEnd(Script):
    """The last tile to come is one that was sent again, and FrameEnd never comes."""

    needs_resend = True
    limit_s = 10.0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()[:-1]]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        super().on_resend(packet, message)
        self.queue = [item for item in self.queue if item.kind != MessageType.FRAME_END]

    def make_resent(self, message: Resend) -> Resent:
        return Resent(message.flags & 1, FrameState.UNDER_WAY, 0, b"")


class _RepeatsAndNoEnd(Script):
    """A packet of the frame comes again and again behind its last byte, and FrameEnd never."""

    limit_s = 10.0
    _sent = 0.0

    def make_items(self) -> list[Item]:
        self._sent = self.wire.now()
        self.call_later(0.04, self._repeat)
        return super().make_items()[:-1]

    def make_repeat(self) -> Item:
        """Return the packet that comes again and again."""
        raise NotImplementedError

    def _repeat(self) -> None:
        if self.wire.now() < self._sent + FRAME_STALE_MS / 1000 + 3.0:
            self.queue.append(self.make_repeat())
            self.send_waiting()
            self.call_later(0.04, self._repeat)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        resent = Resent(0, FrameState.UNDER_WAY, 0, b"")
        self.queue.append(Item(MessageType.RESENT, resent.encode()))

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        end = self.end_time if self.end_time is not None else self.wire.now()
        most = FRAME_STALE_MS / 1000 + 1.0
        late = end - self._sent
        check(late <= most, f"the host has the whole frame {late:.1f} s after its last byte")


@CASES.add("H-CAM-4")
class TilesAndNoEnd(_RepeatsAndNoEnd):
    """A received tile comes every 40 ms, and FrameEnd never comes."""

    def make_repeat(self) -> Item:
        return tile_item(0, flags=1)


@CASES.add("H-CAM-4")
class StartsAndNoEnd(_RepeatsAndNoEnd):
    """FrameStart comes every 40 ms, and FrameEnd never comes."""

    def make_repeat(self) -> Item:
        return self.make_start_item()


@CASES.add("H-CAM-1")
class UnknownStatus(Aborted):
    """All tiles come, and FrameEnd has a status that does not exist yet: that is not OK."""

    def make_end_item(self) -> Item:
        item = super().make_end_item()
        return replace(item, payload=replace(FrameEnd.decode(item.payload), status=9).encode())

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame whose end has status 9 is handed on as a whole one")


@CASES.add("H-CAM-1")
class FewerTilesStated(_NotWhole):
    """A tile is lost, and FrameEnd counts one tile less than the frame has."""

    def make_end_item(self) -> Item:
        item = super().make_end_item()
        message = FrameEnd.decode(item.payload)
        return replace(item, payload=replace(message, tiles=message.tiles - 1).encode())


class _NoWholePreview(Preview):
    """No frame of a preview is whole. The host must not claim three whole ones."""

    limit_s = 3.0

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "the host claims three whole frames, and each lacks something")


@CASES.add("H-CAM-1")
class NoWholePreview(_NoWholePreview):
    """Each frame of a preview lacks a tile."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]


@CASES.add("H-CAM-1", "H-RESEND-3")
class GonePreview(_NoWholePreview):
    """Each frame of a preview lacks a tile, which Resent calls gone: it is not asked for again."""

    needs_resend = True
    interval_s = 0.15

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if packet.id != self.frame:
            return
        gone = struct.pack("<4H", *tile_item(LOST_ROW).place)
        resent = Resent(message.flags & 3, FrameState.ENDED, 1, gone)
        items = [self.make_start_item()] if message.flags & 1 else []
        items.append(Item(MessageType.RESENT, resent.encode()))
        self.queue[:0] = [*items, *([self.make_end_item()] if message.flags & 2 else [])]


@CASES.add("H-CAM-4")
class PreviewWithoutEnds(Preview):
    """No FrameEnd of a preview comes: the frames are whole all the same."""

    capabilities = 0
    interval_s = 0.15

    def make_items(self) -> list[Item]:
        return super().make_items()[:-1]


@CASES.add("H-CAM-4", "H-CAM-1")
class AbortedSoon(Script):
    """FrameEnd says ABORTED 40 ms after the last byte, in three runs: the frame is not whole.

    A late host may find END_GRACE_MS over. That does not happen in each run.
    """

    sessions = 3
    capabilities = 0
    has_claimed = False

    def start_frame(self) -> None:
        self.call_later(0.0, self._begin)

    def make_items(self) -> list[Item]:
        self.call_later(0.04, self._abort)
        return super().make_items()[:-1]

    def _begin(self) -> None:
        Script.start_frame(self)

    def _abort(self) -> None:
        end = self.make_end_item()
        aborted = replace(FrameEnd.decode(end.payload), status=int(EndStatus.ABORTED))
        self.queue.append(replace(end, payload=aborted.encode()))
        self.send_waiting()

    def judge(self, result: HostResult) -> None:
        before = self.previous
        claimed = not isinstance(before, AbortedSoon) or before.has_claimed
        self.has_claimed = claimed and result.ok
        is_last = isinstance(before, AbortedSoon) and isinstance(before.previous, AbortedSoon)
        said = "an aborted frame is handed on as a whole one, without a wait for its FrameEnd"
        check(not (is_last and self.has_claimed), said)


@CASES.add("H-CAM-2")
class RepeatBeforeStart(Script):
    """FrameStart comes last. Before it, tiles repeat received pixels with other ones."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        start, *tiles, end = super().make_items()
        wrong = [
            wrong_tile(0, 0, WIDTH, ROWS),
            wrong_tile(0, LOST_ROW, WIDTH, ROWS, flags=1),
            wrong_tile(16, LAST_ROW, 16, 1),
        ]
        return [replace(start, is_lost=True), *tiles, *wrong, end]


@CASES.add("H-CAM-1", "H-CAM-3")
class AnotherFrameBefore(Script):
    """Tiles of another frame come before the frame, and bad FrameStarts behind the good one."""

    frame_of_others = 6

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self.frame = self.frame_of_others + 1

    def _encode_item(self, item: Item) -> bytes:
        if "number" not in item.more:
            return super()._encode_item(item)
        head = {"stream": self._stream, "place": item.place}
        return self.pack(item.kind, item.payload, item.more["number"], **head)

    def make_items(self) -> list[Item]:
        start, *tiles, end = super().make_items()
        message = FrameStart.decode(start.payload)
        others: tuple[dict[str, Any], ...] = (
            {"width": WIDTH // 2}, {"stride": 4}, {"white": 0}, {"orientation": 0},
        )  # fmt: skip
        bad = [replace(start, payload=replace(message, **each).encode()) for each in others]
        more = {"number": self.frame_of_others}
        wrong = [wrong_tile(*tile.place, more=more) for tile in tiles[::2]]
        return [*wrong, start, *bad, *tiles, end]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if packet.id == self.frame:
            super().on_resend(packet, message)
            return
        # Nothing is held of the other frame.
        resent = Resent(0, FrameState.UNKNOWN, 0, b"")
        more = {"number": self.frame_of_others}
        self.queue.append(Item(MessageType.RESENT, resent.encode(), more=more))
