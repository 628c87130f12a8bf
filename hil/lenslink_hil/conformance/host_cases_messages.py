"""Cases for hosts: kinds of messages damaged, old, of a wrong size, grown (SPEC.md, 2.1, 2.3).

The cases of ``host_cases_packets`` look at the receiver. These look at what a host makes of a
message that it has to ignore: of an answer, a lease, an end of a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import (
    BusyReason,
    EndStatus,
    FrameState,
    MessageType,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Busy,
    Capture,
    Configure,
    FrameEnd,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Log,
    Notice,
    Pending,
    Resend,
    Resent,
    StartStream,
)
from lenslink_protocol.params import (
    MAX_CONTROL,
    MAX_PAYLOAD,
)

from .cases import Cases, check
from .host_steps import (
    BELIEVED_S,
    LOST_ROW,
    WRONG_TILE,
    BusyModule,
    FallsSilent,
    Lanes,
    LosingModule,
    Preview,
)
from .module_peer import HostResult, Item, Script, tile_item
from .packets import NO_PACKET, Packet, announce_length, damage_payload_crc

CASES: Cases[type[Script]] = Cases()

_PAUSE_S = 0.03
_LONG_LEASE_MS = 5000
_STARTS = (MessageType.CAPTURE, MessageType.STREAM)


class _Spoiled(Script):
    """Answers a request with what the host has to ignore; the repetition gets the answer."""

    kinds: tuple[int, ...] = _STARTS
    what = "an answer that it has to ignore"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        """Yield what comes in place of the first answer to a request."""
        raise NotImplementedError

    def on_packet(self, packet: Packet) -> None:
        asked = [each for each in self.find_packets(packet.kind) if each.id == packet.id]
        if packet.kind not in self.kinds or len(asked) > 1:
            super().on_packet(packet)
            return
        self.note_request(packet)
        for data in self.spoil(packet):
            self.wire.send(data)

    def note_request(self, packet: Packet) -> None:
        """Keep of a request what its answer needs."""
        message = packet.message()
        if isinstance(message, Hello):
            self.nonce, self.hello = packet.header.nonce, message
        elif isinstance(message, (Capture, StartStream, Configure)):
            self._stream = message.stream

    def make_answer(self, packet: Packet) -> AnyMessage:
        """Return the right answer to a request."""
        match packet.message():
            case Hello() as message:
                return self.make_hello_reply(self.capabilities & message.capabilities)
            case Configure() as message:
                return self.make_configured(message)
            case _:
                return Accepted(self._stream, self.frame)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        for kind in self.kinds:
            found = self.find_packets(kind)
            asked = [each for each in found if found and each.id == found[0].id]
            check(not found or len(asked) > 1, f"{self.what} is taken for that of {found[:1]}")
            late = asked[1].at - asked[0].at if asked else 0.0
            check(late < BELIEVED_S, f"{asked[:1]} is repeated after {late:.1f} s only")


class _DamagedAccepted(_Spoiled):
    """Accepted comes damaged: the request is repeated."""

    what = "a damaged Accepted"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        answer = self.make_answer(packet)
        yield damage_payload_crc(self.pack(answer.TYPE, answer.encode(), packet.id))


@CASES.add("H-FRAME-2")
class DamagedAcceptedOfAStill(_DamagedAccepted):
    """The Accepted of Capture comes damaged: Capture is repeated."""


@CASES.add("H-FRAME-2")
class DamagedAcceptedOfAPreview(_DamagedAccepted, Preview):
    """The Accepted of StartStream, and that of Stop, come damaged: each request is repeated."""

    kinds = (MessageType.STREAM, MessageType.STOP)


@CASES.add("H-FRAME-5")
class OldAcceptedAndPending(_Spoiled):
    """Accepted and Pending come old, and of another session: Capture is repeated in time."""

    what = "an Accepted that is not fresh"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        pending = Pending(_LONG_LEASE_MS)
        for message in (self.make_answer(packet), pending):
            yield from self.pack_not_fresh(message, packet.id)

    def pack_not_fresh(self, message: AnyMessage, number: int) -> Iterator[bytes]:
        """Yield a message under an old sequence, and under the nonce of another session."""
        newest = self.sequence
        for nonce, sequence in ((self.nonce, newest - 1), (self.nonce ^ 0x10, newest + 5)):
            yield self.pack(message.TYPE, message.encode(), number, nonce=nonce, sequence=sequence)
        self.sequence = newest


@CASES.add("H-FRAME-5")
class OldBusy(FallsSilent):
    """A Busy of 5 s comes old, and of another session, then silence: the module is gone."""

    def start_frame(self) -> None:
        newest = self.sequence
        payload = Busy(BusyReason.FLASH, _LONG_LEASE_MS).encode()
        for nonce, sequence in ((self.nonce, newest - 1), (self.nonce ^ 0x10, newest + 5)):
            self.wire.send(self.pack(MessageType.BUSY, payload, nonce=nonce, sequence=sequence))
        self.silent_since = self.wire.now()


class _FalseEnd(Script):
    """FrameEnd says ABORTED in a packet that the host has to ignore, then OK."""

    capabilities = 0

    def make_false_ends(self) -> Iterator[bytes]:
        """Yield the packets that the host has to ignore."""
        raise NotImplementedError

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        self.queue += self.make_items()[:-1]
        self.send_waiting()
        for data in self.make_false_ends():
            self.wire.send(data)
        self.call_later(_PAUSE_S, self._end)

    def _end(self) -> None:
        self.queue.append(self.make_end_item())
        self.send_waiting()

    def pack_end(self, payload: bytes, **more: Any) -> bytes:
        """Return a FrameEnd."""
        return self.pack(FrameEnd.TYPE, payload, self.frame, stream=self._stream, **more)

    def make_aborted(self) -> bytes:
        """Return the payload of a FrameEnd that says ABORTED."""
        last = (self.sequence - 1, NO_PACKET, NO_PACKET, NO_PACKET)
        return FrameEnd(EndStatus.ABORTED, 1, 1, 0, last, 0).encode()


@CASES.add("H-FRAME-5")
class OldEndOfAFrame(_FalseEnd):
    """A FrameEnd with ABORTED comes old, and of another session: the frame is whole."""

    def make_false_ends(self) -> Iterator[bytes]:
        newest = self.sequence
        for nonce, sequence in ((self.nonce, newest - 1), (self.nonce ^ 0x10, newest + 5)):
            yield self.pack_end(self.make_aborted(), nonce=nonce, sequence=sequence)
        self.sequence = newest


@CASES.add("H-GROW-1")
class ShortEndOfAFrame(_FalseEnd):
    """A FrameEnd with ABORTED is a byte too short, or its size says more than there is."""

    def make_false_ends(self) -> Iterator[bytes]:
        payload = self.make_aborted()
        yield self.pack_end((len(payload) - 1).to_bytes(2, "little") + payload[2:-1])
        yield self.pack_end((len(payload) + 1).to_bytes(2, "little") + payload[2:])


@CASES.add("H-FRAME-2", "H-RESEND-2")
class StartDamaged(Script):
    """FrameStart comes damaged: the host does not use it, and asks for it."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        first, *rest = super().make_items()
        return [replace(first, is_damaged=True), *rest]

    def judge(self, result: HostResult) -> None:
        asked = [p for p in self.find_packets(MessageType.RESEND) if p.payload[2] & 1]
        check(asked, "a damaged FrameStart is not asked for")
        self.check_whole_frame(result)


@CASES.add("H-GROW-1")
class ShortAnswers(_Spoiled):
    """The first HelloReply, Configured and Accepted are too short: each request is repeated."""

    kinds = (MessageType.HELLO, MessageType.CONFIGURE, MessageType.CAPTURE)
    what = "an answer that is too short"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        answer = self.make_answer(packet)
        payload = answer.encode()
        yield self.pack(answer.TYPE, (len(payload) - 1).to_bytes(2, "little") + payload[2:],
                        packet.id)  # fmt: skip
        yield self.pack(answer.TYPE, (len(payload) + 1).to_bytes(2, "little") + payload[2:],
                        packet.id)  # fmt: skip
        yield self.pack(answer.TYPE, (len(payload) - 1).to_bytes(2, "little") + payload[2:-1],
                        packet.id)  # fmt: skip


@CASES.add("H-GROW-1")
class WrongSizesOfLeases(FallsSilent):
    """Pending and Busy of 5 s have a size beyond their payload: neither is a lease."""

    _first = 0.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._first:
            late = packet.at - self._first
            check(late < BELIEVED_S, f"Configure is repeated after {late:.1f} s, as if told to")
            super().on_configure(packet, message)
            return
        self._first = packet.at
        self.wire.send(self._spoil(Pending(_LONG_LEASE_MS), packet.id))

    def start_frame(self) -> None:
        self.wire.send(self._spoil(Busy(BusyReason.FLASH, _LONG_LEASE_MS), 0))
        self.silent_since = self.wire.now()

    def _spoil(self, message: Pending | Busy, number: int) -> bytes:
        payload = message.encode()
        size = (len(payload) + 1).to_bytes(2, "little")
        return self.pack(message.TYPE, size + payload[2:], number)


@CASES.add("H-GROW-1", "H-REQ-4", "H-LIVE-3")
class GrownLeases(BusyModule):
    """Pending of 1.2 s and Busy of 2 s have more fields: both leases hold."""

    silence_s = 1.8
    _has_asked = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        check(not self._has_asked, "Configure is repeated during the lease of a grown Pending")
        self._has_asked = True
        self.wire.send(self._grow(Pending(1200), packet.id))
        self.call_later(1.0, lambda: self.send_reply(packet, self.make_configured(message)))

    def make_busy(self) -> bytes:
        return self._grow(Busy(BusyReason.FLASH, 2000), 0)

    def _grow(self, message: Pending | Busy, number: int) -> bytes:
        payload = message.encode()
        size = (len(payload) + 3).to_bytes(2, "little")
        return self.pack(message.TYPE, size + payload[2:] + b"new", number)


@CASES.add("H-GROW-2", "H-LIVE-3")
class UnknownValues(BusyModule):
    """Capabilities, reasons and a level that do not exist yet: the host has its frame."""

    silence_s = 1.8

    def make_hello_reply(self, capabilities: int) -> HelloReply:
        found = super().make_hello_reply(capabilities)
        return replace(found, capabilities=found.capabilities | 0xFF00, reset_reason=0xEE)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.wire.send(self.pack(Log.TYPE, Log(0xEE, 0, b"a level of its own").encode()))
        self.wire.send(self.pack(MessageType.NOTICE, Notice(0xEE, 0).encode()))
        super().on_configure(packet, message)

    def make_busy(self) -> bytes:
        payload = bytearray(Busy(BusyReason.FLASH, 2000).encode())
        payload[2] = 0xEE
        return self.pack(MessageType.BUSY, bytes(payload))


@CASES.add("H-REQ-2")
class HelloReplyToAnother(_Spoiled):
    """A HelloReply and an Accepted come under ids that nobody has used: Hello waits on."""

    kinds = (MessageType.HELLO,)
    what = "a HelloReply under another id"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        reply = self.make_answer(packet)
        for number in (packet.id + 1, packet.id + 1000):
            yield self.pack(reply.TYPE, reply.encode(), number)


@CASES.add("H-REQ-2")
class PendingOfOthers(_Spoiled):
    """Pending of 5 s comes under other ids: the request that waits is repeated."""

    kinds = (MessageType.CONFIGURE, MessageType.CAPTURE)
    what = "Pending under another id"

    def spoil(self, packet: Packet) -> Iterator[bytes]:
        for number in (packet.id - 1, packet.id + 1000):
            yield self.pack(MessageType.PENDING, Pending(_LONG_LEASE_MS).encode(), number)


@CASES.add("H-FRAME-5")
class HighFirstSequence(Script):
    """The first packet of the session has the sequence 0xF0000000: it is fresh."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        check(
            len(self.find_packets(MessageType.HELLO)) < 4, "a first sequence of 2^31 is not taken"
        )
        self.sequence = max(0xF0000000, self.sequence)
        super().on_hello(packet, message)


@CASES.add("H-FRAME-5")
class HighFirstSequenceOnLane1(_FalseEnd, Lanes):
    """The first packet of lane 1 has the sequence 0x90000000: it is fresh."""

    needs_resend = False

    def make_false_ends(self) -> Iterator[bytes]:
        self.lane_1_sequence = 0x90000000
        self.wire.send(self.take_lane_1_tile(), 1)
        yield from ()


@CASES.add("H-FRAME-2", "H-FRAME-3", "H-FRAME-5", "H-FRAME-6", "H-CAM-2")
class DamageOnLane1(Lanes):
    """Lane 1 brings damage, noise, old and strange tiles with wrong pixels, and the right one."""

    needs_resend = False
    capabilities = 0

    def make_items(self) -> list[Item]:
        place = tile_item(LOST_ROW).place
        wrong = {"stream": self._stream, "place": place, "lane": 1}
        damaged = damage_payload_crc(self.pack(MessageType.TILE, WRONG_TILE, self.frame, **wrong))
        self.lane_1_sequence -= 1
        spent = self.pack(MessageType.TILE, WRONG_TILE, self.frame, **wrong)
        major = self.pack(MessageType.TILE, WRONG_TILE, self.frame, **wrong, version=0x20)
        long = announce_length(self.pack(MessageType.LOG, b"", lane=1), MAX_CONTROL + 9)
        cut = self.pack(MessageType.TILE, WRONG_TILE, self.frame, **wrong)[:50]
        right = self.take_lane_1_tile()
        covered = self.pack(MessageType.TILE, WRONG_TILE, self.frame, **wrong)
        data = damaged + spent + major + b"\x8a\x4c noise" + long + cut + right + covered
        self.call_later(_PAUSE_S, lambda: self.wire.send(data, 1))
        return super().make_items()


@CASES.add("H-FRAME-6")
class TilesOfOtherMajors(Script):
    """Tiles with wrong pixels come under the major versions 0, 2 and 15, before the right one."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = [
            replace(tile_item(LOST_ROW), payload=WRONG_TILE, more={"version": major << 4})
            for major in (0, 2, 15)
        ]
        check(VERSION >> 4 == 1, "the kit speaks version 1")
        return [*found[:3], *wrong, *found[3:]]


@CASES.add("H-FRAME-3")
class LongNoise(Script):
    """Answers stand behind long noise, and come in two parts: all are taken."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._noises = cycle((b"\x8a" * 3000, b"\x8a\x4c\x4c\x4b" * 100, bytes(70_000)))
        self._splits = cycle((1, 2, 3, 39))

    def make_piece(self, message: Any) -> Any:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[:24])

    def on_get_manifest(self, packet: Packet, message: Any) -> None:
        if [each.id for each in self.find_packets(packet.kind)].count(packet.id) > 1:
            super().on_get_manifest(packet, message)
            return
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        at = next(self._splits)
        self.wire.send(next(self._noises) + answer[:at])
        self.call_later(0.02, lambda: self.wire.send(answer[at:]))

    def on_heartbeat(self, packet: Packet, message: Any) -> None:
        # A reply may not come between the two parts of an answer.
        if self.find_packets(MessageType.CONFIGURE):
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        asked = [packet.id for packet in self.find_packets(MessageType.GET_MANIFEST)]
        again = [each for each in set(asked) if asked.count(each) > 1]
        # One may be late for another reason.
        check(len(again) < 2, f"{len(again)} of {len(set(asked))} answers behind noise are lost")
        self.check_whole_frame(result)


@CASES.add("H-FRAME-5", "H-GROW-1")
class FalseResents(LosingModule):
    """Resent calls a lost tile gone, and is old, of another session, or of a wrong size.

    The host asks for the tile once more.
    """

    needs_resend = True

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if len(self.find_packets(MessageType.RESEND)) > 1:
            super().on_resend(packet, message)
            return
        gone = struct.pack("<4H", *tile_item(LOST_ROW).place)
        payload = Resent(message.flags & 3, FrameState.ENDED, 1, gone).encode()
        newest, fixed = self.sequence, Resent.FIXED.size
        for nonce, sequence in ((self.nonce, newest - 1), (self.nonce ^ 0x10, newest + 5)):
            self._send_resent(payload, nonce=nonce, sequence=sequence)
        self.sequence = newest
        for size in (fixed - 1, len(payload) + 1):
            self._send_resent(size.to_bytes(2, "little") + payload[2:])
        # Of two rectangles that it announces there is one.
        self._send_resent(Resent(message.flags & 3, FrameState.ENDED, 2, gone).encode())

    def _send_resent(self, payload: bytes, **more: Any) -> None:
        more |= {"stream": self._stream}
        self.wire.send(self.pack(MessageType.RESENT, payload, self.frame, **more))


@CASES.add("H-FRAME-2", "H-FRAME-5", "H-GROW-1")
class FalseBeatReplies(Script):
    """HeartbeatReplies say that all is sent, and are damaged, old, or too short.

    The limits stay where they are.
    """

    def start_frame(self) -> None:
        self.call_later(0.7, super().start_frame)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        most = message.limit
        payload = HeartbeatReply(1, most, (0, 0, 0), message.time_us, 1).encode()
        kind, newest = MessageType.HEARTBEAT_REPLY, self.sequence
        old = self.pack(kind, payload, sequence=newest - 1)
        other = self.pack(kind, payload, nonce=self.nonce ^ 0x10, sequence=newest + 5)
        self.sequence = newest
        long = self.pack(kind, (len(payload) + 1).to_bytes(2, "little") + payload[2:])
        for data in (old, other, long, damage_payload_crc(self.pack(kind, payload))):
            self.wire.send(data)
        super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        beats = [packet.message() for packet in self.find_packets(MessageType.HEARTBEAT)]
        limits = [beat.limit[self._stream] for beat in beats if isinstance(beat, Heartbeat)]
        granted = [each for each in limits if each]
        # A window may grow a little. Each reply that is believed would add a window.
        most = 2 * granted[0] + 2 * MAX_PAYLOAD
        said = f"limits rise from {granted[0]} to {granted[-1]}, and one frame was sent"
        check(granted[-1] <= most, said)
