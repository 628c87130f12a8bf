"""Cases for hosts: a rule in its whole scope (SPEC.md, 2 to 7).

A rule is easily kept the first time, on lane 0 or for a plain still, and not otherwise. Each case
here tries the other.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Any

from lenslink_protocol.ids import BusyReason, CloseReason, FrameState, MessageType
from lenslink_protocol.messages import (
    AnyMessage,
    Busy,
    Close,
    Configure,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Log,
    ManifestPiece,
    Pending,
    Resend,
    Resent,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, SILENCE_MS, STALL_MS

from .cases import Cases, check
from .host_cases_camera import Lanes, lose_tile
from .host_cases_preview import Preview
from .host_cases_settings import SoundLists
from .module_peer import (
    PIXELS,
    ROWS,
    STRIDE,
    HostResult,
    Item,
    Script,
    rectangles,
    tile_item,
)
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_LOST = 8
_SLACK_S = 0.5
_STARTS = (MessageType.CAPTURE, MessageType.STREAM)


# --- packets ----------------------------------------------------------------------------------


@CASES.add("H-FRAME-1")
class SequencesOfRepetitions(Script):
    """GetManifest is answered when it comes for the fourth time: its sequences rise by one."""

    limit_s = 10.0

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        if len(self.find_packets(MessageType.GET_MANIFEST)) > 3:
            super().on_get_manifest(packet, message)

    def judge(self, result: HostResult) -> None:
        del result
        for before, after in pairwise(self.log):
            step = (after.header.sequence - before.header.sequence) & 0xFFFFFFFF
            check(step == 1, f"{after} has a sequence {step} behind that of the packet before it")


@CASES.add("H-FRAME-2")
class DamagedTwice(Script):
    """A lost tile comes again with a damaged payload: it is asked for once more."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        super().on_resend(packet, message)
        if len(self.find_packets(MessageType.RESEND)) == 1:
            self.queue = [
                replace(item, is_damaged=item.kind == MessageType.TILE) for item in self.queue
            ]


@CASES.add("H-FRAME-3")
class AnswersAtAnyPlace(Script):
    """Answers stand at every place of a damaged payload modulo 8: each is found at once."""

    _count = 0

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        data = self.make_manifest()
        piece = ManifestPiece(message.offset, len(data), data[message.offset :][:24])
        first = self.sequence
        inside = self.pack(piece.TYPE, piece.encode(), packet.id, sequence=first + 1)
        payload = Log(2, 0, bytes(self._count % 8) + inside + bytes(9)).encode()
        damaged = self.pack(MessageType.LOG, payload, sequence=first)
        self.sequence = first + 2
        self._count += 1
        self.wire.send(damaged[:-1] + b"\1")

    def judge(self, result: HostResult) -> None:
        asked = [packet.id for packet in self.find_packets(MessageType.GET_MANIFEST)]
        again = [each for each in set(asked) if asked.count(each) > 1]
        said = f"{len(again)} answers inside damaged payloads are not found, of {len(set(asked))}"
        # One may be late for another reason.
        check(len(again) < 2, said)
        self.check_whole_frame(result)


@CASES.add("H-FRAME-4")
class SlowTileOnLane1(Lanes):
    """A tile of lane 1 takes longer than STALL_MS, in pieces, and is no stall."""

    def start_frame(self) -> None:
        data = self.take_lane_1_tile()
        size = -(-len(data) // 6)
        for at in range(6):
            piece = data[at * size :][:size]
            self.call_later(0.1 * at, lambda piece=piece: self.wire.send(piece, 1))  # type: ignore[misc]
        super().start_frame()

    def on_resend(self, packet: Packet, message: Resend) -> None:
        """Answer nothing: all of the frame is on its way."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)


@CASES.add("H-FRAME-5")
class StalledSequence(Script):
    """A tile stops inside. Another one under its sequence is not taken."""

    needs_resend = True
    _is_stalled = False

    def send_waiting(self) -> None:
        if not self._is_stalled:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        # Any byte would go on with the packet that has stopped.
        if not self._is_stalled:
            super().on_heartbeat(packet, message)

    def start_frame(self) -> None:
        self.queue = [self.make_start_item()]
        super().send_waiting()
        lost = tile_item(_LOST)
        more = {"stream": self._stream, "place": lost.place}
        data = self.pack(MessageType.TILE, lost.payload, self.frame, **more)
        wrong = bytes(len(lost.payload))
        other = self.pack(
            MessageType.TILE, wrong, self.frame, sequence=self.sequence - 1, **more
        )  # fmt: skip
        self._is_stalled = True
        self.sent[self._stream] += len(wrong)
        self.wire.send(data[:300])
        self.call_later(1.6 * STALL_MS / 1000, lambda: self._go_on(other))

    def _go_on(self, other: bytes) -> None:
        self.wire.send(other)
        self._is_stalled = False
        items = [item for item in self.make_items()[1:] if item.place != tile_item(_LOST).place]
        self.queue += items
        self.begun[self._stream] = self.frame + 1
        self.send_waiting()


@CASES.add("H-FRAME-6")
class JustTooLong(Script):
    """Headers that announce a little more than MAX_CONTROL hide nothing of what follows."""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        for more in (1, 6, 40):
            head = self.pack(MessageType.LOG, bytes(MAX_CONTROL + more))[:40]
            self.wire.send(head)
        super().on_get_manifest(packet, message)

    def judge(self, result: HostResult) -> None:
        asked = [packet.id for packet in self.find_packets(MessageType.GET_MANIFEST)]
        check(len(asked) == len(set(asked)), "a header of more than MAX_CONTROL bytes is believed")
        self.check_whole_frame(result)


@CASES.add("H-GROW-1", "H-CREDIT-2")
class GrownReplies(Script):
    """HeartbeatReply has more fields, and says that all that was granted is used up and lost."""

    def start_frame(self) -> None:
        self.sent[self._stream] = self.limits[self._stream]
        super().start_frame()

    def send_reply(self, packet: Packet, message: AnyMessage, **more: Any) -> None:
        if not isinstance(message, HeartbeatReply):
            super().send_reply(packet, message, **more)
            return
        payload = message.encode()
        grown = (len(payload) + 6).to_bytes(2, "little") + payload[2:] + b"\xa5" * 6
        self.wire.send(self.pack(MessageType.HEARTBEAT_REPLY, grown, packet.id, **more))


# --- session ----------------------------------------------------------------------------------


@CASES.add("H-HELLO-1")
class ClosedAtHello(Script):
    """Hello is answered with Close. If the host begins another session, its nonce is another."""

    limit_s = 3.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        del message
        if len(self.find_packets(MessageType.HELLO)) == 1:
            self.send_message(Close(CloseReason.ORDERLY))
            self._first = packet.header.nonce
            self._at = packet.at

    def judge(self, result: HostResult) -> None:
        del result
        # A repetition may be on its way when Close arrives.
        later = [p for p in self.find_packets(MessageType.HELLO) if p.at > self._at + _SLACK_S]
        again = [p for p in later if p.header.nonce == self._first]
        check(not again, "the session behind a Close has the nonce of the one before")


@CASES.add("H-HELLO-2")
class StartLostWithoutResend(Script):
    """FrameStart is lost in a session without RESEND: no Resend is sent."""

    capabilities = 0
    limit_s = 5.0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(found[0], is_lost=True), *found[1:]]

    def judge(self, result: HostResult) -> None:
        asked = self.find_packets(MessageType.RESEND)
        check(not asked, f"{len(asked)} Resends in a session without RESEND")
        check(not result.ok, "a frame without FrameStart is handed on as a whole one")


@CASES.add("H-CLOSE-1")
class CloseAfterLosses(Preview):
    """A tile of the second frame of a preview is gone for ever: the host closes all the same."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [lose_tile(item) for item in found] if self.frame == 1 else found

    def judge(self, result: HostResult) -> None:
        del result
        stopped = self.find_packets(MessageType.STOP, MessageType.FLUSH)
        check(not stopped or self.is_closed, "the host went without Close behind a lost tile")


@CASES.add("H-CLOSE-2")
class ClosedAtStop(Preview):
    """The module closes the session while Stop waits for its answer: nothing follows but Close."""

    linger_s = 1.2
    _at = 0.0

    def on_stop(self, packet: Packet, message: Stop) -> None:
        del message
        self.end_frame()
        self._at = self._at or packet.at
        self.send_message(Close(CloseReason.INTERNAL))

    def judge(self, result: HostResult) -> None:
        check(not result.ok or self._at, "the preview is not stopped")
        later = [p for p in self.log if p.at > self._at + 0.2 and p.kind != MessageType.CLOSE]
        check(not later or not self._at, f"behind the module's Close come {later[:2]}")


class _HeadersOnly(Script):
    """Sends nothing but headers that are not believed, once the frame is asked for."""

    _end = 0.0

    def make_header(self) -> bytes:
        raise NotImplementedError

    def start_frame(self) -> None:
        self._end = self.wire.now()
        for at in range(1, 30):
            self.call_later(0.2 * at, lambda: self.wire.send(self.make_header()))

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._end:
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        gone = self.end_time if self.end_time is not None else self.wire.now()
        left = self.end_time is not None or self.is_closed
        check(left, "the host takes headers that it does not believe for signs of life")
        most = 2 * SILENCE_MS / 1000 + _SLACK_S
        check(gone - self._end <= most, f"the host let go after {gone - self._end:.1f} s")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-LIVE-2")
class OtherMajorIsNoLife(_HeadersOnly):
    """Headers of another major version are no sign of life."""

    def make_header(self) -> bytes:
        return self.pack(MessageType.LOG, b"", version=0x20)


@CASES.add("H-LIVE-2")
class TooLongIsNoLife(_HeadersOnly):
    """Headers with a length over the limit are no sign of life."""

    def make_header(self) -> bytes:
        return self.pack(MessageType.LOG, bytes(MAX_CONTROL + 100))[:40]


class _Busy(Script):
    """Is BUSY and silent for a while, then sends its frame."""

    limit_s = 12.0
    silence_s = 2.0
    _is_busy = False
    _began = 0.0

    def make_busy(self) -> bytes:
        raise NotImplementedError

    def start_frame(self) -> None:
        self.wire.send(self.make_busy())
        self._is_busy = True
        self._began = self.wire.now()
        self.call_later(self.silence_s, self._wake)

    def _wake(self) -> None:
        self._is_busy = False
        super().start_frame()

    def send_waiting(self) -> None:
        if not self._is_busy:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_busy:
            super().on_heartbeat(packet, message)


@CASES.add("H-LIVE-3")
class BusyBeyondTheMost(_Busy):
    """A lease of more than MAX_BUSY_MS counts as MAX_BUSY_MS."""

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 60_000).encode())


@CASES.add("H-GROW-2", "H-LIVE-2")
class BusyWithReservedValues(_Busy):
    """A reserved field of Busy has a value: the lease is 0.3 s, and then the module is gone."""

    silence_s = 11.0

    def make_busy(self) -> bytes:
        payload = bytearray(Busy(BusyReason.FLASH, 300).encode())
        payload[3] = 5
        return self.pack(MessageType.BUSY, bytes(payload))

    def judge(self, result: HostResult) -> None:
        gone = self.end_time if self.end_time is not None else self.wire.now()
        most = 0.3 + 2 * SILENCE_MS / 1000 + _SLACK_S
        took = gone - self._began
        check(took <= most, f"a lease of 0.3 s with a reserved value of 5 is kept for {took:.1f} s")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-LIVE-1")
class BeatsDuringALongBusy(_Busy):
    """Heartbeats go on in their interval for 2.4 s in which none is answered."""

    silence_s = 2.4

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 5000).encode())

    def judge(self, result: HostResult) -> None:
        beats = [p.at for p in self.find_packets(MessageType.HEARTBEAT)]
        inside = [at for at in beats if self._began < at < self._began + self.silence_s]
        longest = max(b - a for a, b in pairwise([self._began, *inside, self._began + 2.4]))
        check(longest <= SILENCE_MS / 2000, f"{longest:.2f} s without a Heartbeat during BUSY")
        self.check_whole_frame(result)


# --- requests ---------------------------------------------------------------------------------


@CASES.add("H-REQ-1")
class SameIdAfterALease(Script):
    """Configure gets Pending and no answer: it is repeated under its id when the lease is over."""

    limit_s = 10.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = self.find_packets(MessageType.CONFIGURE)
        if len(asked) == 1:
            self.send_reply(packet, Pending(300))
            return
        same = (packet.id, packet.payload) == (asked[0].id, asked[0].payload)
        check(same, f"{asked[0]} is repeated as {packet} after a lease of Pending")
        super().on_configure(packet, message)


@CASES.add("H-REQ-4")
class ShorterPendingBehind(Script):
    """A Pending of 1.5 s, then one of 0.1 s: the latest end counts."""

    limit_s = 10.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "Configure is repeated during the longer of two leases")
        self.send_reply(packet, Pending(1500))
        self.send_reply(packet, Pending(100))
        self.call_later(1.2, lambda: self.send_reply(packet, self.make_configured(message)))


@CASES.add("H-REQ-3")
class FramesBeforeAccepted(Preview):
    """Three frames of a preview come before Accepted, which is late: Stop waits for it."""

    _is_accepted = False

    def on_capture(self, packet: Packet) -> None:
        if self._is_running:
            return
        self.start_frame()
        self.call_later(0.3, lambda: self._accept(packet))

    def _accept(self, packet: Packet) -> None:
        self._is_accepted = True
        self.send_accepted(packet)

    def on_stop(self, packet: Packet, message: Stop) -> None:
        check(self._is_accepted, "Stop is sent before StartStream was answered")
        super().on_stop(packet, message)


# --- frames -----------------------------------------------------------------------------------


@CASES.add("H-CAM-2")
class HolesOnBothSides(Script):
    """Columns in the middle of rows are there when the whole rows come with other pixels there."""

    def make_items(self) -> list[Item]:
        x, width = 20, 24
        rows = [PIXELS[(_LOST + at) * STRIDE :][:STRIDE] for at in range(ROWS)]
        middle = b"".join(row[2 * x : 2 * (x + width)] for row in rows)
        wrong = b"".join(
            row[: 2 * x] + b"\x55\x05" * width + row[2 * (x + width) :] for row in rows
        )
        narrow = Item(MessageType.TILE, middle, (x, _LOST, width, ROWS))
        found = []
        for item in super().make_items():
            if item.place == tile_item(_LOST).place:
                found += [narrow, replace(item, payload=wrong)]
            else:
                found.append(item)
        return found


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


@CASES.add("H-RESEND-1")
class OneOfTwoComes(Script):
    """Two tiles are lost, one comes again, and Resent does not: only the other is asked for."""

    needs_resend = True
    _other = 32
    _came = float("inf")

    def make_items(self) -> list[Item]:
        lost = (tile_item(_LOST).place, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = [(y, y + height) for _, y, _, height in asked]
        resends = self.find_packets(MessageType.RESEND)
        if len(resends) == 1:
            if any(y < _LOST + ROWS and end > _LOST for y, end in meets):
                self._came = packet.at
                self.queue.append(tile_item(_LOST, flags=1))
            return
        # What was sent before the tile arrived names it rightly.
        is_late = packet.at > self._came + 0.03
        again = is_late and any(y < _LOST + ROWS and end > _LOST for y, end in meets)
        check(not again, f"a tile that has come again is asked for: {asked}")
        super().on_resend(packet, message)


@CASES.add("H-RESEND-3")
class TwoAreGone(Script):
    """Resent calls two rectangles gone: neither is asked for again."""

    needs_resend = True
    _other = 32

    def make_items(self) -> list[Item]:
        lost = (tile_item(_LOST).place, tile_item(self._other).place)
        return [replace(item, is_lost=item.place in lost) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        if len(self.find_packets(MessageType.RESEND)) > 1:
            check(not asked, f"what Resent has called gone is asked for: {asked}")
        places = [tile_item(row).place for row in (_LOST, self._other)]
        gone = b"".join(struct.pack("<4H", *place) for place in places)
        resent = Resent(message.flags & 3, FrameState.ENDED, 2, gone)
        self.queue.append(Item(MessageType.RESENT, resent.encode()))
        if message.flags & 2:
            self.queue.append(self.make_end_item())
        del packet

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without two of its tiles is handed on as a whole one")


@CASES.add("H-MANIFEST-2")
class EarlierPiece(Script):
    """A piece begins before the offset that was asked for: it does not fit."""

    limit_s = 4.0

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        data = self.make_manifest()
        offset = max(0, message.offset - 10)
        return ManifestPiece(offset, len(data), data[offset:][:110])

    def judge(self, result: HostResult) -> None:
        asked = [GetManifest.decode(p.payload).offset
                 for p in self.find_packets(MessageType.GET_MANIFEST)]  # fmt: skip
        used = [offset for offset in asked if offset > 110]
        check(not used, f"behind a piece of another offset byte {used[:1]} is asked for")
        configured = self.find_packets(MessageType.CONFIGURE)
        check(not configured, "a stream is configured by a manifest whose pieces do not fit")
        check(not result.ok, "the host claims to have a frame")


# --- lanes and settings -----------------------------------------------------------------------


@CASES.add("H-LANE-1")
class StragglerBehindResent(Lanes):
    """FrameStart came by Resent before FrameEnd. What FrameEnd announces is not asked for."""

    _has_ended = False

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(found[0], is_lost=True), *found[1:-1]]

    def start_frame(self) -> None:
        super().start_frame()
        self.call_later(0.5, self._end)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if self._has_ended:
            if message.count:
                self.check_not_early(packet, message)
            super().on_resend(packet, message)
            return
        flags = message.flags & 1
        items = [self.make_start_item()] if flags else []
        resent = Resent(flags, FrameState.UNDER_WAY, 0, b"")
        self.queue += [*items, Item(MessageType.RESENT, resent.encode())]
        if flags:
            # Soon, so that the host does not ask because the frame is quiet.
            self.call_later(0.02, self._end)

    def _end(self) -> None:
        if self._has_ended:
            return
        data = self.take_lane_1_tile()
        self._has_ended = True
        self.queue.append(self.make_end_item())
        self.send_waiting()
        self.call_later(0.03, lambda: self.wire.send(data, 1))


@CASES.add("H-SET-1")
class ListsOfAPreview(SoundLists, Preview):
    """The list of StartStream has no setting of a single frame."""
