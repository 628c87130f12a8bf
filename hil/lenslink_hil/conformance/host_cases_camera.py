"""Cases for hosts: credits, frames, what is asked for again, manifest (SPEC.md, 5 to 7)."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.ids import FrameState, ManifestKey, MessageType
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    Challenge,
    FrameEnd,
    GetManifest,
    Heartbeat,
    Hello,
    ManifestPiece,
    Resend,
    Resent,
)
from lenslink_protocol.params import (
    FRAME_STALE_MS,
    MAX_RANGES,
    RESEND_RETRY_MS,
    RESEND_TRIES,
    SILENCE_MS,
)

from .cases import Cases, NotClaimed, check
from .module_peer import (
    HEIGHT,
    NO_PACKET,
    ROWS,
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
_WRONG_TILE = WRONG * (TILE // 2)


def _limits(packets: list[Packet]) -> list[tuple[int, int]]:
    found = []
    for packet in packets:
        message = packet.message()
        assert isinstance(message, Heartbeat)
        found.append((message.limit[0], message.limit[1]))
    return found


# --- sessions and credits ---------------------------------------------------------------------


@CASES.add("H-HELLO-2")
class NoCapabilities(Script):
    """The session has no capability, and a tile is lost: it is not asked for again."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        check(False, f"Resend in a session without RESEND: {message}")

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        check(False, f"Challenge in a session without AUTH: {message}")

    def on_other(self, packet: Packet) -> None:
        check(packet.kind != MessageType.TEST, f"a session without TEST gets {packet}")
        super().on_other(packet)

    def judge(self, result: HostResult) -> None:
        """What it makes of the frame is another case's."""


def lose_tile(item: Item) -> Item:
    """Return the item, lost on its way if it is the tile of row ``_LOST``."""
    return replace(item, is_lost=True) if item.place[1] == _LOST and item.place[3] else item


@CASES.add("H-CREDIT-1")
class Limits(Script):
    """The first limits come soon, and none is lower than one before."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        hello = self.find_packets(MessageType.HELLO)[-1].at
        beats = self.find_packets(MessageType.HEARTBEAT)
        check(beats, "the host grants nothing")
        late = beats[0].at - hello
        check(late <= SILENCE_MS / 1000, f"the first limits come {late:.1f} s after HelloReply")
        limits = _limits(beats)
        for before, after in pairwise(limits):
            falls = after[0] < before[0] or after[1] < before[1]
            check(not falls, f"limits {after} follow {before}")

    def start_frame(self) -> None:
        self.call_later(0.5, super().start_frame)


@CASES.add("H-CREDIT-2")
class LostCredits(Script):
    """All that was granted is lost, three times: the host grants as much again."""

    _claims = 0
    _waiting = False

    def start_frame(self) -> None:
        self._waiting = True

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        super().on_heartbeat(packet, message)
        if not self._waiting or self.hello is None:
            return
        most = self.hello.max_payload
        if self._claims < 3:
            if self.limits[self._stream] >= self.sent[self._stream] + most:
                self._claims += 1
                self.sent[self._stream] = self.limits[self._stream]
        elif self.limits[self._stream] >= self.sent[self._stream] + most:
            self._waiting = False
            super().start_frame()

    def judge(self, result: HostResult) -> None:
        check(not self._waiting, "the host does not replace credits that were lost")
        self.check_whole_frame(result)


# --- frames -----------------------------------------------------------------------------------


@CASES.add("H-CAM-1")
class Incomplete(Script):
    """A tile is lost for ever: the host must not have a whole frame."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-CAM-2")
class CoveredGround(Script):
    """A tile comes again with other pixels: the first ones stay."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        again = replace(tile_item(0), payload=_WRONG_TILE)
        return [*found[:4], again, *found[4:]]


@CASES.add("H-CAM-3")
class Outside(Script):
    """Tiles beyond the frame, and tiles of another length than their rectangle's."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        far = replace(tile_item(0), payload=_WRONG_TILE, place=(0, HEIGHT, WIDTH, ROWS))
        half = replace(tile_item(0), payload=_WRONG_TILE[:-4], place=(0, 0, WIDTH, ROWS))
        wide = replace(tile_item(0), payload=_WRONG_TILE, place=(WIDTH // 2, 0, WIDTH, ROWS))
        none = replace(tile_item(0), payload=b"", place=(0, 0, 0, ROWS))
        return [found[0], far, half, wide, none, *found[1:]]


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
        end = self.end_time if self.end_time is not None else self.wire.now()
        late = end - self._sent
        most = FRAME_STALE_MS / 1000 + 1.0
        check(late <= most, f"the host waits {late:.1f} s for a lost FrameEnd")


# --- asking again -----------------------------------------------------------------------------


@CASES.add("H-RESEND-1")
class LostTile(Script):
    """A tile is lost: the host asks for it, and for nothing that it has."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        check(len(asked) <= MAX_RANGES, f"{len(asked)} rectangles in one Resend")
        for x, y, width, height in asked:
            place = (x, y, width, height)
            inside = width and height and x + width <= WIDTH and y + height <= HEIGHT
            check(inside, f"Resend asks for {place}")
            lost = y >= _LOST and y + height <= _LOST + ROWS
            check(lost, f"Resend asks for {place}, of which only {_LOST} to {_LOST + ROWS} is lost")
        super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        check(self.find_packets(MessageType.RESEND), "a lost tile is not asked for")
        self.check_whole_frame(result)


@CASES.add("H-RESEND-2")
class LostStart(Script):
    """FrameStart is lost: the host asks for it."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_lost=True), *rest]


@CASES.add("H-RESEND-3")
class GoneTile(Script):
    """A lost tile is no longer held: the host does not ask for it twice, nor has it a frame."""

    needs_resend = True
    _said = 0.0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        again = self._said and packet.at > self._said + 0.2 and message.count
        check(not again, f"Resend of what was called gone: {rectangles(message)}")
        self._said = self._said or packet.at
        gone = struct.pack("<4H", 0, _LOST, WIDTH, ROWS)
        answer = Resent(message.flags & 3, FrameState.ENDED, 1, gone)
        if message.flags & 1:
            self.queue.append(self.make_start_item())
        self.queue.append(Item(MessageType.RESENT, answer.encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


@CASES.add("H-RESEND-3")
class NeverAnswered(Script):
    """Resend is never answered: it is not repeated for ever."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        del packet, message
        asked = len(self.find_packets(MessageType.RESEND))
        # The first may have been on its way before the frame's last packet came.
        check(asked <= RESEND_TRIES + 1, f"Resend is sent {asked} times without an answer")

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")


class Lanes(Script):
    """Two lanes; the tile of row ``_LOST`` is lane 1's."""

    needs_resend = True
    used_lanes = 2
    _end_at = 0.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if self.wire.lanes < 2 or message.lanes < 2:
            raise NotClaimed("the host opens one lane only (LISTEN-URL?lanes=2 waits for two)")
        super().on_hello(packet, message)

    def take_lane_1_tile(self, row: int = _LOST) -> bytes:
        """Return a tile as lane 1's next packet; it takes credit as any other."""
        tile = tile_item(row)
        self.sent[self._stream] += TILE
        return self.pack(
            tile.kind, tile.payload, self.frame, stream=self._stream, place=tile.place, lane=1
        )

    def make_items(self) -> list[Item]:
        return [
            item for item in super().make_items() if item.place[1] != _LOST or not item.place[3]
        ]

    def _finish_payload(self, item: Item) -> bytes:
        payload = super()._finish_payload(item)
        if item.kind != MessageType.FRAME_END:
            return payload
        self._end_at = self.wire.now()
        message = FrameEnd.decode(payload)
        lanes = (message.last_sequence[0], self.lane_1_sequence - 1, NO_PACKET, NO_PACKET)
        return replace(message, last_sequence=lanes).encode()

    def check_not_early(self, packet: Packet, message: Resend) -> None:
        """Check that a Resend comes no earlier than RESEND_RETRY_MS after FrameEnd."""
        # FrameEnd comes to the host a little later than it is sent.
        early = packet.at - self._end_at < RESEND_RETRY_MS / 1000
        check(not early, f"Resend of a tile that was still on its way: {message}")


@CASES.add("H-LANE-1")
class Straggler(Lanes):
    """A tile of another lane comes after FrameEnd, which has announced it: it is not asked for."""

    def make_items(self) -> list[Item]:
        data = self.take_lane_1_tile()
        self.call_later(0.03, lambda: self.wire.send(data, 1))
        return super().make_items()

    def on_resend(self, packet: Packet, message: Resend) -> None:
        self.check_not_early(packet, message)
        super().on_resend(packet, message)


@CASES.add("H-LANE-2")
class LaneEnds(Lanes):
    """Lane 1 ends with a tile that FrameEnd has announced: it is asked for, and comes by lane 0."""

    def make_items(self) -> list[Item]:
        self.take_lane_1_tile()
        self.call_later(0.03, lambda: self.wire.end_lane(1))
        return super().make_items()

    def judge(self, result: HostResult) -> None:
        check(
            self.find_packets(MessageType.RESEND), "what was on a lane that ended is not asked for"
        )
        self.check_whole_frame(result)


# --- manifest ---------------------------------------------------------------------------------


@CASES.add("H-MANIFEST-1")
class StrangeManifest(Script):
    """Keys that do not exist yet, a vendor's, and values that have grown."""

    def make_manifest(self) -> bytes:
        grown = (ManifestKey.SENSOR, ManifestKey.COLOR, ManifestKey.MODE)
        data = encode_entry(0x7FF0, b"newer") + encode_entry(0x8001, b"a vendor's")
        for key, value in iterate_entries(super().make_manifest()):
            data += encode_entry(key, value + b"more" if key in grown else value)
        return data


@CASES.add("H-MANIFEST-2")
class EndlessManifest(Script):
    """A manifest of 16 MiB: the host does not read it."""

    limit_s = 3.0

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        check(message.offset == 0, f"the host reads on in a manifest of 16 MiB ({message})")
        return replace(super().make_piece(message), total=1 << 24)

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "the host claims to have a frame")
