"""Cases for hosts: Resend and Resent (SPEC.md, 6.1)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np

from lenslink_protocol.ids import FrameState, MessageType
from lenslink_protocol.messages import (
    Accepted,
    FrameEnd,
    Resend,
    Resent,
    Stop,
)
from lenslink_protocol.params import MAX_RANGES, RESEND_TRIES

from .cases import Cases, check
from .host_steps import LAST_ROW, LOST_ROW, LosingModule, Preview, cut_tile
from .module_peer import HEIGHT, ROWS, WIDTH, HostResult, Item, Script, rectangles, tile_item
from .packets import Packet

CASES: Cases[type[Script]] = Cases()


@CASES.add("H-RESEND-1")
class LostTile(LosingModule):
    """A tile is lost: the host asks for it, and for nothing that it has."""

    needs_resend = True

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        check(len(asked) <= MAX_RANGES, f"{len(asked)} rectangles in one Resend")
        for x, y, width, height in asked:
            place = (x, y, width, height)
            inside = width and height and x + width <= WIDTH and y + height <= HEIGHT
            check(inside, f"Resend asks for {place}")
            lost = y >= LOST_ROW and y + height <= LOST_ROW + ROWS
            check(
                lost,
                f"Resend asks for {place}; lost are rows {LOST_ROW} to {LOST_ROW + ROWS}",
            )
        super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        check(self.find_packets(MessageType.RESEND), "a lost tile is not asked for")
        self.check_whole_frame(result)


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
        return place[1] in (0, LAST_ROW)


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


@CASES.add("H-RESEND-1")
class LostInAPreview(Preview):
    """A tile of the second frame is lost: it is asked for under its stream and frame."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        lost = tile_item(LOST_ROW).place
        return [
            replace(item, is_lost=self.frame == 1 and item.place == lost)
            for item in super().make_items()
        ]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        got = (packet.header.stream, packet.id)
        known = packet.header.stream == self._stream and packet.id <= self.frame
        check(known, f"Resend names stream and frame {got}, the newest is {self.frame}")
        if packet.id == self.frame:
            super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        asked = [p for p in self.find_packets(MessageType.RESEND) if p.id == 1]
        check(asked, "what was lost of a preview is not asked for")


@CASES.add("H-RESEND-1")
class OneOfTwoComes(Script):
    """Two tiles are lost, one comes again, and Resent does not: only the other is asked for."""

    needs_resend = True
    _other = 32
    _came = float("inf")

    def make_items(self) -> list[Item]:
        lost = (tile_item(LOST_ROW).place, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = [(y, y + height) for _, y, _, height in asked]
        resends = self.find_packets(MessageType.RESEND)
        if len(resends) == 1:
            if any(y < LOST_ROW + ROWS and end > LOST_ROW for y, end in meets):
                self._came = packet.at
                self.queue.append(tile_item(LOST_ROW, flags=1))
            return
        # What was sent before the tile arrived names it rightly.
        is_late = packet.at > self._came + 0.03
        again = is_late and any(y < LOST_ROW + ROWS and end > LOST_ROW for y, end in meets)
        check(not again, f"a tile that has come again is asked for: {asked}")
        super().on_resend(packet, message)


@CASES.add("H-RESEND-2")
class LostStart(Script):
    """FrameStart is lost: the host asks for it."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=True), *rest]


@CASES.add("H-RESEND-2")
class LostStartInAPreview(Preview):
    """FrameStart of the second frame of a preview is lost: the host asks for it."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=self.frame == 1), *rest]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if packet.id == self.frame:
            super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        asked = [p.message() for p in self.find_packets(MessageType.RESEND) if p.id == 1]
        has_start = any(isinstance(each, Resend) and each.flags & 1 for each in asked)
        check(has_start, "a lost FrameStart of a preview is not asked for")


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


@CASES.add("H-RESEND-3")
class GoneTile(LosingModule):
    """A lost tile is no longer held: the host does not ask for it twice, nor has it a frame."""

    needs_resend = True
    _said = 0.0

    def on_resend(self, packet: Packet, message: Resend) -> None:
        again = self._said and packet.at > self._said + 0.2 and message.count
        check(not again, f"Resend of what was called gone: {rectangles(message)}")
        if self._said:
            # It may have been sent before Resent arrived. Without an answer it is repeated.
            return
        self._said = packet.at
        gone = struct.pack("<4H", 0, LOST_ROW, WIDTH, ROWS)
        answer = Resent(message.flags & 3, FrameState.ENDED, 1, gone)
        if message.flags & 1:
            self.queue.append(self.make_start_item())
        self.queue.append(Item(MessageType.RESENT, answer.encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class NeverAnswered(LosingModule):
    """Resend is never answered: it is not repeated for ever."""

    needs_resend = True

    def on_resend(self, packet: Packet, message: Resend) -> None:
        del packet, message
        asked = len(self.find_packets(MessageType.RESEND))
        # The first may have been on its way before the frame's last packet came.
        check(asked <= RESEND_TRIES + 1, f"Resend is sent {asked} times without an answer")

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class UnknownFrame(LosingModule):
    """The module says UNKNOWN: all is gone, and nothing is asked for again."""

    needs_resend = True
    limit_s = 12.0
    _said = 0.0

    def on_resend(self, packet: Packet, message: Resend) -> None:
        again = self._said and packet.at > self._said + 0.2 and message.count
        check(not again, f"after UNKNOWN the host asks for {rectangles(message)}")
        if self._said:
            return
        self._said = packet.at
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
    _gone = (0, LOST_ROW, WIDTH, ROWS)
    _other = 24

    def make_items(self) -> list[Item]:
        lost = (self._gone, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = any(y < LOST_ROW + ROWS and y + height > LOST_ROW for _, y, _, height in asked)
        again = self._said and packet.at > self._said + 0.1 and meets
        check(not again, f"Resend of what was called gone: {asked}")
        if self._said and packet.at <= self._said + 0.1:
            # It may have been sent before Resent arrived. Without an answer it is repeated.
            return
        gone = b""
        if meets:
            self._said = packet.at
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
        return [replace(item, is_lost=item.place == tile_item(LAST_ROW).place) for item in found]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        # Only FrameEnd, the last packet of the frame, proves the loss.
        asked = len(self.find_packets(MessageType.RESEND))
        check(asked <= RESEND_TRIES, f"Resend is sent {asked} times without a packet of the frame")

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class GoneWhileUnderWay(Script):
    """What Resent calls gone of a frame that is under way is not asked for when it has ended."""

    needs_resend = True
    limit_s = 12.0
    _place = (0, LOST_ROW, WIDTH, ROWS)
    _has_answered = False
    _said = 0.0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(item, is_lost=item.place == self._place) for item in found]

    def send_waiting(self) -> None:
        # FrameEnd waits until the loss has been asked for.
        kinds = [item.kind for item in self.queue]
        if self._has_answered or MessageType.FRAME_END not in kinds:
            super().send_waiting()
            return
        at = kinds.index(MessageType.FRAME_END)
        rest, self.queue = self.queue[at:], self.queue[:at]
        super().send_waiting()
        self.queue += rest

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = any(y < LOST_ROW + ROWS and y + height > LOST_ROW for _, y, _, height in asked)
        is_late = packet.at > self._said + 0.1
        check(not (self._said and is_late and meets), f"Resend of what was called gone: {asked}")
        if meets:
            self._said = self._said or packet.at
        gone = struct.pack("<4H", *self._place) if meets else b""
        state = FrameState.ENDED if self._has_answered else FrameState.UNDER_WAY
        flags = message.flags & (3 if self._has_answered else 1)
        items = [self.make_start_item()] if flags & 1 else []
        items.append(Item(MessageType.RESENT, Resent(flags, state, len(gone) // 8, gone).encode()))
        if flags & 2:
            items.append(self.make_end_item())
        self.queue = items + self.queue
        if meets:
            # FrameEnd follows a little later, when Resent has arrived.
            self.call_later(0.2, self._end)

    def _end(self) -> None:
        self._has_answered = True
        self.send_waiting()

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class TwoAreGone(Script):
    """Resent calls two rectangles gone: neither is asked for again."""

    needs_resend = True
    _other = 32

    def make_items(self) -> list[Item]:
        lost = (tile_item(LOST_ROW).place, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        if len(self.find_packets(MessageType.RESEND)) > 1:
            check(not asked, f"what Resent has called gone is asked for: {asked}")
        places = [tile_item(row).place for row in (LOST_ROW, self._other)]
        gone = b"".join(struct.pack("<4H", *place) for place in places)
        resent = Resent(message.flags & 3, FrameState.ENDED, 2, gone)
        self.queue.append(Item(MessageType.RESENT, resent.encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())
        del packet

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without two of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class GoneIsWider(GoneTile):
    """Resent calls more gone than was asked for, in two rectangles: nothing of it is asked for."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: Any) -> bytes:
        if kind == MessageType.RESENT:
            half = WIDTH // 2
            places = [(x, LOST_ROW - ROWS, half, 3 * ROWS) for x in (0, half)]
            gone = b"".join(struct.pack("<4H", *place) for place in places)
            payload = replace(Resent.decode(payload), count=2, gone=gone).encode()
        return super().pack(kind, payload, number, **more)


@CASES.add("H-RESEND-1", "H-RESEND-2")
class StartAndTileLost(LostTile):
    """FrameStart and a tile are lost: both are asked for, and nothing that was received."""

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=True), *rest]

    def judge(self, result: HostResult) -> None:
        asked = [packet.message() for packet in self.find_packets(MessageType.RESEND)]
        has_start = any(isinstance(each, Resend) and each.flags & 1 for each in asked)
        check(has_start, "a lost FrameStart is not asked for")
        super().judge(result)


@CASES.add("H-RESEND-1")
class TailLost(_Asked):
    """The last two tiles and FrameEnd are lost: they are asked for when the frame is quiet."""

    _has_asked = False

    def is_lost(self, place: tuple[int, int, int, int]) -> bool:
        return place[1] >= LAST_ROW - ROWS

    def make_items(self) -> list[Item]:
        return super().make_items()[:-1]


@CASES.add("H-RESEND-2")
class PreviewBehindTheWrap(Preview):
    """Frame numbers wrap at 2^32 in a preview, and FrameStart of frame 0 is lost."""

    needs_resend = True
    interval_s = 0.08

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.frame = 0xFFFFFFFE

    def start_frame(self) -> None:
        self.frame &= 0xFFFFFFFF
        super().start_frame()
        self.begun[self._stream] = min(self.frame + 1, 0xFFFFFFFF)

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=self.frame == 0), *rest]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if packet.id == self.frame:
            super().on_resend(packet, message)

    def on_stop(self, packet: Packet, message: Stop) -> None:
        self.end_frame()
        self.send_reply(packet, Accepted(message.stream, (self.frame + 1) & 0xFFFFFFFF))


@CASES.add("H-RESEND-1")
class LateTiles(Preview):
    """Tiles of the frame before come again in a preview: nothing of that frame is asked for."""

    needs_resend = True
    interval_s = 0.25

    def make_items(self) -> list[Item]:
        found = super().make_items()
        late = [tile_item(row, flags=1, more={"number": self.frame - 1}) for row in (0, LOST_ROW)]
        return [*late, *found] if self.frame else found

    def _encode_item(self, item: Item) -> bytes:
        if "number" not in item.more:
            return super()._encode_item(item)
        more = {"stream": self._stream, "flags": item.flags, "place": item.place}
        return self.pack(item.kind, item.payload, item.more["number"], **more)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        said = f"Resend asks for frame {packet.id}, which was whole, when frame {self.frame} comes"
        check(packet.id == self.frame, said)
        super().on_resend(packet, message)


@CASES.add("H-RESEND-3")
class UselessAnswers(LosingModule):
    """Each Resend is answered with tiles that do not fit, which do not count as packets."""

    needs_resend = True
    limit_s = 12.0

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = len(self.find_packets(MessageType.RESEND))
        said = f"Resend is sent {asked} times, and tiles that do not fit came in between"
        # The first may have been on its way before the frame's last packet came.
        check(asked <= RESEND_TRIES + 1, said)
        outside = replace(tile_item(0), place=(0, HEIGHT, WIDTH, ROWS), flags=1)
        short = replace(tile_item(LOST_ROW), flags=1)
        self.queue += [outside, replace(short, payload=short.payload[:-2])]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")
