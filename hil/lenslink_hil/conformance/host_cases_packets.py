"""Cases for hosts: the packets of a host, and how it receives (SPEC.md, 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

from lenslink_protocol.ids import (
    BusyReason,
    CloseReason,
    EndStatus,
    ErrorCode,
    FrameState,
    MessageType,
    NoticeReason,
)
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import (
    BY_TYPE,
    AnyMessage,
    Busy,
    Close,
    Configure,
    Configured,
    Error,
    FrameEnd,
    GetManifest,
    Heartbeat,
    Hello,
    Log,
    ManifestPiece,
    Notice,
    Pending,
    Resend,
    Resent,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_PAYLOAD, STALL_MS, VERSION_MAJOR

from .cases import Cases, check
from .host_cases_growth import RESERVED
from .host_steps import (
    BELIEVED_S,
    LAST_ROW,
    LOST_ROW,
    SLACK_S,
    WRONG_TILE,
    FallsSilent,
    Lanes,
    LosingModule,
    Preview,
    cut_tile,
)
from .module_peer import WIDTH, HostResult, Item, Script, tile_item
from .packets import MASK_32, Packet, announce_length, damage_payload_crc, hide_packet

CASES: Cases[type[Script]] = Cases()

_Y_AT = 22
"""Where `y` of a header is."""

_PIECE = 36
"""Bytes of the manifest in one piece, so that it has several."""

_PAUSE_S = 0.12
_GIVEN_UP_S = STALL_MS / 1000 + SLACK_S
"""A packet that has stopped for this long is given up, by a host that is late as well."""
_OTHER_ROW = 24
_CUT = 60
"""Bytes that a tile loses: fewer than FrameEnd has, so FrameEnd begins inside its payload."""


def check_fields(log: list[Packet]) -> None:
    """Check that idle fields and reserved fields are 0, and that sequences rise by one."""
    for packet in log:
        head = packet.header
        place = (head.x, head.y, head.width, head.height)
        check(not any(place), f"{packet} names the place {place}")
        idle = head.stream == 0 or packet.kind == MessageType.RESEND
        check(idle, f"{packet} names stream {head.stream}")
        unnumbered = packet.kind in (MessageType.HEARTBEAT, MessageType.CLOSE)
        check(not unnumbered or packet.id == 0, f"{packet} has {packet.id} as its frame")
        message = packet.message()
        size = message.FIXED.size
        # The codec writes 0 into reserved fields, so another value shows here.
        same = message.encode()[2:size] == packet.payload[2:size]
        check(same, f"{packet} has a reserved field that is not 0")
    for before, after in pairwise(packet.header.sequence for packet in log):
        check((after - before) & MASK_32 == 1, f"sequence {after} follows {before}")


@CASES.add("H-FRAME-1")
class FieldsAndSequence(Script):
    """Every packet that the host sends has its idle fields at 0, and sequences by one."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_fields(self.log)


@CASES.add("H-FRAME-1")
class FieldsOfRepeats(LosingModule):
    """Repeated requests and a Resend have idle fields at 0 too, and sequences of their own."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if len(self.find_packets(MessageType.HELLO)) > 1:
            super().on_hello(packet, message)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if len(self.find_packets(MessageType.CONFIGURE)) > 1:
            super().on_configure(packet, message)

    def judge(self, result: HostResult) -> None:
        check_fields(self.log)


@CASES.add("H-FRAME-1")
class FieldsOfAPreview(Preview):
    """StartStream, Stop and the Heartbeats of a preview have idle fields at 0."""

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_fields(self.log)


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
class DamagedAnswer(Script):
    """The first HelloReply is damaged: the host says Hello again, and nothing else."""

    _damaged = False

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if self._damaged:
            super().on_hello(packet, message)
            return
        self._damaged = True
        reply = self.make_hello_reply(self.capabilities & message.capabilities)
        data = self.pack(reply.TYPE, reply.encode(), packet.id)
        self.wire.send(data[:-1] + bytes([data[-1] ^ 1]))

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        check(len(self.find_packets(MessageType.HELLO)) > 1, "a damaged HelloReply is taken")
        super().on_get_manifest(packet, message)


@CASES.add("H-FRAME-2")
class DamagedTile(Script):
    """A tile with wrong pixels and a CRC that does not hold, then the right one."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=WRONG_TILE, is_damaged=True, flags=0)
        # Its header's CRC holds; not even the covered part may be taken.
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-2")
class DamagedHeader(Script):
    """An answer with another geometry and a header CRC that does not hold, then the right one."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        wrong = replace(self.make_configured(message), width=2 * WIDTH)
        data = self.pack(wrong.TYPE, wrong.encode(), packet.id)
        self.wire.send(data[:36] + bytes([data[36] ^ 1]) + data[37:])
        super().on_configure(packet, message)


@CASES.add("H-FRAME-2")
class DamagedRepeat(Script):
    """A damaged tile with wrong pixels comes over pixels that are there: they stay."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=WRONG_TILE, is_damaged=True)
        return [*found[:5], wrong, *found[5:]]


@CASES.add("H-FRAME-2")
class OnlyDamaged(Script):
    """A tile comes damaged, and never again: the host must not have a whole frame."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return [
            replace(item, is_damaged=item.place == tile_item(8).place)
            for item in super().make_items()
        ]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame with a damaged tile is handed on as a whole one")


@CASES.add("H-FRAME-2")
class DamagedEnds(Script):
    """A Close and an Error come damaged before the answer: the session goes on."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        for in_header in (False, True):
            refusal = Error(ErrorCode.UNSUPPORTED, b"no").encode()
            for data in (
                self.pack(MessageType.CLOSE, Close(CloseReason.DETACH).encode()),
                self.pack(MessageType.ERROR, refusal, packet.id),
            ):
                at = 36 if in_header else len(data) - 1
                self.wire.send(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        super().on_configure(packet, message)


@CASES.add("H-FRAME-2")
class DamagedPlace(Script):
    """A tile's header has another row than its CRC was made for: the tile is not taken."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(20), payload=WRONG_TILE, more={"is_odd": True})
        return [found[0], wrong, *found[1:]]

    def _encode_item(self, item: Item) -> bytes:
        if not item.more:
            return super()._encode_item(item)
        data = super()._encode_item(replace(item, more={}, place=tile_item(16).place))
        return data[:_Y_AT] + bytes([20]) + data[_Y_AT + 1 :]


@CASES.add("H-FRAME-2")
class DamagedTwice(LosingModule):
    """A lost tile comes again with a damaged payload: it is asked for once more."""

    needs_resend = True

    def on_resend(self, packet: Packet, message: Resend) -> None:
        super().on_resend(packet, message)
        if len(self.find_packets(MessageType.RESEND)) == 1:
            self.queue = [
                replace(item, is_damaged=item.kind == MessageType.TILE) for item in self.queue
            ]


@CASES.add("H-FRAME-2")
class DamagedBusy(FallsSilent):
    """A Busy of 5 s comes damaged, then silence: the module has no lease, and is gone."""

    def start_frame(self) -> None:
        self.wire.send(damage_payload_crc(self.pack(Busy.TYPE, Busy(0, 5000).encode())))
        self.silent_since = self.wire.now()


@CASES.add("H-FRAME-2")
class DamagedPending(Script):
    """A Pending of 5 s comes damaged: the request is repeated, as without it."""

    _first = 0.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._first:
            late = packet.at - self._first
            check(
                late < BELIEVED_S, f"Configure is repeated after {late:.1f} s, as if Pending held"
            )
            super().on_configure(packet, message)
            return
        self._first = packet.at
        pending = self.pack(Pending.TYPE, Pending(5000).encode(), packet.id)
        self.wire.send(damage_payload_crc(pending))


@CASES.add("H-FRAME-2")
class DamagedAnswers(Script):
    """Each answer comes damaged and wrong before it comes right, and so does FrameEnd."""

    def send_reply(self, packet: Packet, message: Any, **more: Any) -> None:
        wrong: AnyMessage | None = None
        if isinstance(message, ManifestPiece):
            wrong = replace(message, piece=bytes(len(message.piece)))
        elif isinstance(message, Configured):
            wrong = replace(message, width=2 * WIDTH, stride=4 * WIDTH)
        if wrong is not None:
            data = self.pack(wrong.TYPE, wrong.encode(), packet.id, **more)
            self.wire.send(damage_payload_crc(data))
        super().send_reply(packet, message, **more)

    def make_items(self) -> list[Item]:
        *begin, last = super().make_items()
        aborted = FrameEnd(int(EndStatus.ABORTED), 1, 1, 0, (0, 0, 0, 0), 0).encode()
        return [*begin[:5], Item(FrameEnd.TYPE, aborted, is_damaged=True), *begin[5:], last]


@CASES.add("H-FRAME-2")
class DamagedResent(LosingModule):
    """A damaged Resent calls a lost tile gone: the host asks for the tile once more."""

    needs_resend = True

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if len(self.find_packets(MessageType.RESEND)) > 1:
            super().on_resend(packet, message)
            return
        gone = struct.pack("<4H", *tile_item(LOST_ROW).place)
        resent = Resent(0, FrameState.ENDED, 1, gone).encode()
        data = self.pack(MessageType.RESENT, resent, self.frame, stream=self._stream)
        self.wire.send(damage_payload_crc(data))


@CASES.add("H-FRAME-3")
class AfterNoise(Script):
    """An answer behind noise and a damaged header is taken: the request is not repeated."""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        check(
            [p.id for p in self.find_packets(MessageType.GET_MANIFEST)].count(packet.id) == 1,
            "the answer behind the damage was not taken",
        )
        piece = self.make_piece(message)
        damaged = bytearray(self.pack(piece.TYPE, piece.encode(), packet.id)[:40])
        damaged[20] ^= 0xFF
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self.wire.send(b"\x00noise\x8a\x8aLL" + bytes(damaged) + answer)


@CASES.add("H-FRAME-3")
class InsideAPayload(Script):
    """A packet has lost bytes of its payload: the answer behind it, taken for payload, is found."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        check(
            [p.id for p in self.find_packets(MessageType.CONFIGURE)].count(packet.id) == 1,
            "the answer inside a damaged payload was not found",
        )
        reply = self.make_configured(message)
        cut = self.pack(MessageType.LOG, bytes(90), 0)[:52]
        answer = self.pack(reply.TYPE, reply.encode(), packet.id)
        self.wire.send(cut + answer + bytes(40))


class _Pieces(Script):
    """The manifest comes in many pieces. A host that loses an answer asks for it again."""

    piece_bytes = _PIECE

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[: self.piece_bytes])

    def check_asked_once(self, packet: Packet, what: str) -> None:
        """Check that a request was not repeated: its answer came behind *what*."""
        asked = [p.id for p in self.find_packets(packet.kind)].count(packet.id)
        check(asked == 1, f"the answer behind {what} was not taken")


@CASES.add("H-FRAME-3")
class BehindEachNoise(_Pieces):
    """Answers directly behind the beginning of a magic, of a header, or of a packet are found."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._noises: Iterator[bytes] = cycle(
            (b"\x8a", b"\x8a\x4c", b"\x8a\x4c\x4c", b"\x8a\x4c\x4c\x8a\x4c\x4c", b"K" * 41, b"20")
        )
        self._noise = b""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, f"the noise {self._noise.hex(' ')}")
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self._noise = next(self._noises)
        if self._noise == b"20":
            self._noise = answer[:20]
        self.wire.send(self._noise + answer)


@CASES.add("H-FRAME-3")
class InPieces(Script):
    """Answers come in single bytes, a whole frame comes in one piece: all of it is taken."""

    def send_reply(self, packet: Packet, message: Any, **more: Any) -> None:
        data = self.pack(message.TYPE, message.encode(), packet.id, **more)
        if packet.kind in (MessageType.HELLO, MessageType.CONFIGURE):
            for byte in data:
                self.wire.send(bytes([byte]))
        else:
            self.wire.send(data)

    def send_waiting(self) -> None:
        need = sum(len(item.payload) for item in self.queue)
        if not self.queue or self.sent[self._stream] + need > self.limits[self._stream]:
            return
        self.sent[self._stream] += sum(
            len(item.payload) for item in self.queue if item.kind == MessageType.TILE
        )
        data = b"".join(self._encode_item(item) for item in self.queue)
        self.queue.clear()
        self.wire.send(data)


@CASES.add("H-FRAME-3")
class EndInsideATile(Script):
    """The last bytes of a tile are lost, and FrameEnd, which stands there, is found."""

    needs_resend = True

    def _encode_item(self, item: Item) -> bytes:
        data = super()._encode_item(item)
        is_cut = item.place == tile_item(LAST_ROW).place and not item.flags
        return data[:-_CUT] if is_cut else data

    def on_resend(self, packet: Packet, message: Resend) -> None:
        said = "the host asks for a FrameEnd that came behind a tile that was cut short"
        check(not message.flags & 2, said)
        super().on_resend(packet, message)


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


@CASES.add("H-FRAME-3")
class AnswersAtTheFirstByte(_Pieces):
    """Answers are the first bytes of damaged payloads, or all of them: each is found at once.

    One of the payloads stands in another one that is damaged too.
    """

    piece_bytes = 24

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shells = cycle(
            (
                ((MessageType.LOG, 0),),
                ((MessageType.TILE, 7),),
                ((0xE5, 1),),
                ((MessageType.MANIFEST, 40),),
                ((MessageType.LOG, 3), (0xE5, 5)),
            )
        )

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        if [p.id for p in self.find_packets(packet.kind)].count(packet.id) > 1:
            super().on_get_manifest(packet, message)
            return
        shells = next(self._shells)
        piece, first = self.make_piece(message), self.sequence
        data = self.pack(piece.TYPE, piece.encode(), packet.id, sequence=first + len(shells))
        for at, (kind, behind) in enumerate(shells, 1):
            shell = self.pack(kind, data + bytes(behind), sequence=first + len(shells) - at)
            data = damage_payload_crc(shell)
        self.sequence = first + len(shells) + 1
        self.wire.send(data)

    def judge(self, result: HostResult) -> None:
        asked = [packet.id for packet in self.find_packets(MessageType.GET_MANIFEST)]
        again = [each for each in set(asked) if asked.count(each) > 1]
        said = f"{len(again)} answers at the first byte of a payload are lost, of {len(set(asked))}"
        # One may be late for another reason.
        check(len(again) < 2, said)
        self.check_whole_frame(result)


@CASES.add("H-FRAME-4")
class Stalled(Script):
    """A tile of 1 MiB begins and stops inside; what comes after it is taken."""

    _stalled = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._stalled:
            super().on_configure(packet, message)
            return
        self._stalled = True
        self.wire.send(self.pack(MessageType.TILE, bytes(1 << 20), 0)[:100])

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._stalled or len(self.find_packets(MessageType.CONFIGURE)) > 1:
            super().on_heartbeat(packet, message)


@CASES.add("H-FRAME-4")
class ShortPause(Script):
    """An answer pauses inside for half of STALL_MS: it is taken, and not asked for again."""

    _is_paused = False

    def _send_in_two(self, data: bytes, at: int) -> None:
        self._is_paused = True
        self.wire.send(data[:at])

        def send_rest() -> None:
            self.wire.send(data[at:])
            self._is_paused = False
            self.send_waiting()

        self.call_later(_PAUSE_S, send_rest)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, f"an answer that pauses for {_PAUSE_S:g} s is not taken")
        reply = self.make_configured(message)
        self._send_in_two(self.pack(reply.TYPE, reply.encode(), packet.id), 43)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_paused:
            super().on_heartbeat(packet, message)

    def send_waiting(self) -> None:
        if not self._is_paused:
            super().send_waiting()


@CASES.add("H-FRAME-4")
class SlowAnswer(ShortPause):
    """An answer comes in parts over longer than STALL_MS, and never pauses that long."""

    _parts = 4

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if len(self.find_packets(MessageType.CONFIGURE)) > 1:
            # The first part came late enough for the host to ask again: its answer is on its way.
            return
        reply = self.make_configured(message)
        data = self.pack(reply.TYPE, reply.encode(), packet.id)
        size = -(-len(data) // self._parts)
        self._is_paused = True
        for part in range(self._parts):
            piece = data[part * size :][:size]
            self.call_later(part * _PAUSE_S, lambda piece=piece: self.wire.send(piece))  # type: ignore[misc]
        self.call_later((self._parts - 1) * _PAUSE_S + 0.01, self._go_on)

    def _go_on(self) -> None:
        self._is_paused = False

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)


@CASES.add("H-FRAME-4")
class ShortPauseInATile(ShortPause):
    """A tile pauses for half of STALL_MS, and is never sent again: it is taken."""

    capabilities = 0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        Script.on_configure(self, packet, message)

    def send_waiting(self) -> None:
        while self.queue and not self._is_paused:
            item = self.queue[0]
            is_tile = item.kind == MessageType.TILE
            if is_tile and self.sent[self._stream] + len(item.payload) > self.limits[self._stream]:
                return
            self.queue.pop(0)
            if is_tile:
                self.sent[self._stream] += len(item.payload)
            data = self._encode_item(item)
            if item.place == tile_item(8).place:
                self._send_in_two(data, 300)
            else:
                self.wire.send(data)


@CASES.add("H-FRAME-4")
class StalledIsSearched(Script):
    """An answer inside a packet that stopped is found once the packet is given up."""

    _is_stalled = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "an answer inside a packet that stopped is not found after STALL_MS")
        self._is_stalled = True
        reply = self.make_configured(message)
        begun = self.pack(MessageType.TILE, bytes(1 << 20))[:100]
        self.wire.send(begun + self.pack(reply.TYPE, reply.encode(), packet.id))

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        # Any byte would end the silence inside the packet.
        if not self._is_stalled or self.find_packets(MessageType.CAPTURE, MessageType.STREAM):
            super().on_heartbeat(packet, message)


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


class _StalledLane(Lanes):
    """A packet of one lane stops inside, and bytes go on on the other. Nothing comes again."""

    needs_resend = False
    capabilities = 0
    _is_stalled = False

    def make_stalled(self, **more: Any) -> bytes:
        """Return the beginning of a tile of 1 MiB."""
        more |= {"stream": self._stream, "place": tile_item(LOST_ROW).place}
        return self.pack(MessageType.TILE, bytes(1 << 20), self.frame, **more)[:100]

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        items = self.make_items()
        self.queue += items[: self.count_before(items)]
        self.send_waiting()
        self.stall()
        for count in range(1, int(20 * _GIVEN_UP_S)):
            self.call_later(count / 20, self.send_on_other_lane)
        self.call_later(_GIVEN_UP_S, lambda: self._go_on(items[self.count_before(items) :]))

    def _go_on(self, rest: list[Item]) -> None:
        self._is_stalled = False
        self.wire.send(self.take_lane_1_tile(), 1)
        self.queue += rest
        self.call_later(0.03, self.send_waiting)

    def count_before(self, items: list[Item]) -> int:
        """Return how many items of lane 0 come before the lane stops."""
        raise NotImplementedError

    def stall(self) -> None:
        """Send what stops inside."""
        raise NotImplementedError

    def send_on_other_lane(self) -> None:
        """Send a packet on the lane that goes on."""
        raise NotImplementedError


@CASES.add("H-FRAME-4")
class StalledLane1(_StalledLane):
    """Lane 1 stops inside a packet while lane 0 goes on: what follows on lane 1 is taken."""

    def count_before(self, items: list[Item]) -> int:
        return len(items) - 1

    def stall(self) -> None:
        self.wire.send(self.make_stalled(lane=1), 1)

    def send_on_other_lane(self) -> None:
        self.send_message(Notice(NoticeReason.HEAT, 0))


@CASES.add("H-FRAME-4")
class StalledLane0(_StalledLane):
    """Lane 0 stops inside a packet while lane 1 goes on: what follows on lane 0 is taken."""

    def count_before(self, items: list[Item]) -> int:
        return 1

    def stall(self) -> None:
        self.wire.send(self.make_stalled())
        self._is_stalled = True

    def send_on_other_lane(self) -> None:
        tile = cut_tile(0, LOST_ROW, 2, 2)
        self.sent[self._stream] += len(tile.payload)
        more = {"stream": self._stream, "place": tile.place, "lane": 1}
        self.wire.send(self.pack(tile.kind, tile.payload, self.frame, **more), 1)

    def send_waiting(self) -> None:
        if not self._is_stalled:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        # Any byte would go on with the packet that has stopped.
        if not self._is_stalled:
            super().on_heartbeat(packet, message)


@CASES.add("H-FRAME-5")
class OldSequencesOnLane1(Lanes):
    """Tiles with wrong pixels come on lane 1: old ones, and one of another session."""

    needs_resend = False
    capabilities = 0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        first = 5
        self.lane_1_sequence = first
        early = self.take_lane_1_tile(_OTHER_ROW)
        wrong = b"".join(
            self.pack_on_lane_1(WRONG_TILE, sequence, nonce)
            for sequence, nonce in (
                (first - 1, self.nonce),
                (first, self.nonce),
                ((first + (1 << 31)) & MASK_32, self.nonce),
                (first + 1, self.nonce ^ 1),
            )
        )
        self.lane_1_sequence = first + 1
        data = early + wrong + self.take_lane_1_tile()
        self.call_later(0.03, lambda: self.wire.send(data, 1))
        kept = tile_item(_OTHER_ROW).place
        return [item for item in found if item.place != kept]

    def pack_on_lane_1(self, payload: bytes, sequence: int, nonce: int) -> bytes:
        """Return a tile of row ``LOST_ROW`` as a packet of lane 1."""
        self.lane_1_sequence = sequence
        place = tile_item(LOST_ROW).place
        return self.pack(
            MessageType.TILE, payload, self.frame,
            stream=self._stream, place=place, lane=1, nonce=nonce,
        )  # fmt: skip


@CASES.add("H-FRAME-5")
class AnotherNonce(Script):
    """A HelloReply and a tile of another session are not taken."""

    _other = False

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if self._other:
            super().on_hello(packet, message)
            return
        self._other = True
        self.send_reply(packet, self.make_hello_reply(0), nonce=self.nonce ^ 1)

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        check(
            len(self.find_packets(MessageType.HELLO)) > 1,
            "a HelloReply of another session is taken",
        )
        super().on_get_manifest(packet, message)

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=WRONG_TILE, more={"nonce": self.nonce ^ 1})
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class AnOldSequence(Script):
    """A tile whose sequence was there before is not taken, whatever packet had it."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=WRONG_TILE, is_stale=True)
        outside = replace(tile_item(0), place=(0, 4000, WIDTH, 4))
        others = (Item(0xE5, b"a vendor's"), Item(MessageType.LOG, b""), found[1], outside)
        spent = [each for other in others for each in (other, wrong)]
        return [*found[:3], wrong, *spent, *found[3:]]


@CASES.add("H-FRAME-5")
class ASpentSequence(Script):
    """A tile whose sequence a damaged one has used up is not taken."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        damaged = replace(tile_item(8), is_damaged=True)
        wrong = replace(tile_item(8), payload=WRONG_TILE, is_stale=True)
        return [*found[:3], damaged, wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class OldEnds(Script):
    """A Close and an Error of another session, or with an old sequence, change nothing."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        refusal = Error(ErrorCode.UNSUPPORTED, b"no").encode()
        close = Close(CloseReason.DETACH).encode()
        # Two of the session's own, so that there is an old sequence.
        for _ in range(2):
            self.send_message(Notice(NoticeReason.HEAT, 0))
        for more in ({"nonce": self.nonce ^ 1}, {"sequence": (self.sequence - 1) & MASK_32}):
            self.wire.send(self.pack(MessageType.CLOSE, close, **more))
            self.wire.send(self.pack(MessageType.ERROR, refusal, packet.id, **more))
        super().on_configure(packet, message)


@CASES.add("H-FRAME-5")
class JumpingSequences(Script):
    """Sequences begin with 7, jump, and wrap at 2^32, as if packets were lost: all are fresh."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        self.sequence = max(7, self.sequence)
        super().on_hello(packet, message)

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.sequence = max(0x70000000, self.sequence)
        super().on_get_manifest(packet, message)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self._check_once(packet)
        self.sequence = max(0xD0000000, self.sequence)
        super().on_configure(packet, message)

    def start_frame(self) -> None:
        # The sequence wraps inside the frame.
        self.sequence = 0xFFFFFFFA
        super().start_frame()

    def _check_once(self, packet: Packet) -> None:
        asked = [p.id for p in self.find_packets(packet.kind)].count(packet.id)
        check(asked == 1, "an answer whose sequence has jumped is not taken")


@CASES.add("H-FRAME-5")
class HalfWayBack(Script):
    """A tile whose sequence is 2^31 after the last one, which is before it, is not taken."""

    def _encode_item(self, item: Item) -> bytes:
        if not item.more:
            return super()._encode_item(item)
        newest = self.sequence
        old = (newest - 1 + (1 << 31)) & MASK_32
        data = super()._encode_item(replace(item, more={"sequence": old}))
        self.sequence = newest
        return data

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=WRONG_TILE, more={"is_odd": True})
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class SequencesOfOthers(Script):
    """Packets of another session, sound and damaged ones, use up no sequence of this one."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "a packet of another session uses up sequences of this one")
        for is_damaged in (False, True):
            newest = self.sequence
            more = {"nonce": self.nonce ^ 0x100, "sequence": newest + 1000}
            data = self.pack(MessageType.LOG, bytes(30), **more)
            self.sequence = newest
            self.wire.send(data[:-1] + b"\x01" if is_damaged else data)
        super().on_configure(packet, message)


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
        lost = tile_item(LOST_ROW)
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
        items = [item for item in self.make_items()[1:] if item.place != tile_item(LOST_ROW).place]
        self.queue += items
        self.begun[self._stream] = self.frame + 1
        self.send_waiting()


@CASES.add("H-FRAME-6")
class TooLong(Script):
    """A sound header that announces too much hides nothing of what follows it."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        check(
            [p.id for p in self.find_packets(MessageType.CONFIGURE)].count(packet.id) == 1,
            "a header that announces too much is believed",
        )
        reply = self.make_configured(message)
        head = self.pack(MessageType.LOG, bytes(MAX_CONTROL + 1))[:40]
        self.wire.send(head + self.pack(reply.TYPE, reply.encode(), packet.id))


@CASES.add("H-FRAME-6")
class OtherMajor(Script):
    """An answer of another major version, with another geometry, is not taken."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        wrong = replace(self.make_configured(message), width=2 * WIDTH)
        self.send_reply(packet, wrong, version=(VERSION_MAJOR + 1) << 4)
        super().on_configure(packet, message)


@CASES.add("H-FRAME-6")
class LongestAllowed(_Pieces):
    """Pieces of the manifest of exactly MAX_CONTROL bytes are taken."""

    piece_bytes = MAX_CONTROL - ManifestPiece.FIXED.size

    def make_manifest(self) -> bytes:
        return super().make_manifest() + encode_entry(0x8001, bytes(3000))

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        data = self.make_manifest()
        piece = data[message.offset :][: self.piece_bytes]
        return ManifestPiece(message.offset, len(data), piece)

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, f"a header that announces {MAX_CONTROL} bytes")
        super().on_get_manifest(packet, message)


@CASES.add("H-FRAME-6")
class TooLongOfAnyType(_Pieces):
    """Headers of any type that announce too much hide nothing of what follows them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kinds = cycle(
            (
                (MessageType.FRAME_START, MAX_CONTROL + 1),
                (MessageType.TILE, MAX_PAYLOAD + 1),
                (MessageType.HEARTBEAT_REPLY, 70_000),
                (0xE5, MAX_CONTROL + 1),
                (MessageType.FRAME_END, MASK_32),
                (0x7E, 5000),
            )
        )
        self._what = "nothing"

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, self._what)
        kind, length = next(self._kinds)
        self._what = f"a header of type {int(kind):#04x} that announces {length} bytes"
        self.wire.send(announce_length(self.pack(kind, b""), length))
        super().on_get_manifest(packet, message)


@CASES.add("H-FRAME-6")
class HiddenInAHeader(_Pieces):
    """An answer that begins inside a header that is not believed is found."""

    _what = "nothing"
    _count = 0

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, self._what)
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self._count += 1
        version = (VERSION_MAJOR + self._count % 2) << 4
        which = "another major version" if self._count % 2 else "too long a payload"
        self._what = f"half a header of {which}"
        self.wire.send(hide_packet(answer, version, MessageType.LOG))


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


assert set(RESERVED) <= set(BY_TYPE)


@CASES.add("H-FRAME-4")
class PausesBelowTheStall(_Pieces):
    """Answers pause inside for 0.19 s: most of them are taken, and not asked for again."""

    piece_bytes = 60

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        if [p.id for p in self.find_packets(packet.kind)].count(packet.id) > 1:
            super().on_get_manifest(packet, message)
            return
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self.wire.send(answer[:50])
        self.call_later(0.19, lambda: self.wire.send(answer[50:]))

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        # A reply may not come between the two parts of an answer.
        if self.find_packets(MessageType.CONFIGURE):
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        asked = [packet.id for packet in self.find_packets(MessageType.GET_MANIFEST)]
        again = [each for each in set(asked) if asked.count(each) > 1]
        said = f"{len(again)} of {len(set(asked))} answers that pause for 0.19 s are given up"
        check(2 * len(again) < len(set(asked)), said)
        self.check_whole_frame(result)


@CASES.add("H-FRAME-4")
class RestsComeLate(Script):
    """Two wrong answers stop inside, one in its header. Their rests come late: both are noise."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if len(self.find_packets(MessageType.CONFIGURE)) > 1:
            return
        wrong = replace(self.make_configured(message), width=2 * WIDTH)
        self.send_message(Busy(BusyReason.OTHER, 4000))
        first, second = (self.pack(wrong.TYPE, wrong.encode(), packet.id) for _ in range(2))
        self._is_silent = True
        self.wire.send(first[:20])
        self.call_later(_GIVEN_UP_S, lambda: self.wire.send(first[20:] + second[:60]))
        self.call_later(2 * _GIVEN_UP_S, lambda: self._go_on(second[60:], packet, message))

    def _go_on(self, rest: bytes, packet: Packet, message: Configure) -> None:
        self._is_silent = False
        self.wire.send(rest)
        super().on_configure(packet, message)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)

    _is_silent = False
