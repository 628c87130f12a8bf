"""Cases for hosts: packets, sessions, requests, liveness (SPEC.md, sections 2 to 4)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.ids import BusyReason, CloseReason, ErrorCode, MessageType, NoticeReason
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Busy,
    Close,
    Configure,
    Configured,
    Error,
    GetManifest,
    Heartbeat,
    Hello,
    Notice,
    Pending,
)
from lenslink_protocol.params import (
    MAX_CONTROL,
    REQUEST_RETRY_MS,
    SILENCE_MS,
    VERSION_MAJOR,
)

from .cases import Cases, check
from .host_cases_receiving import check_fields
from .host_cases_sessions import check_ids
from .module_peer import TILE, WIDTH, WRONG, HostResult, Item, Script, tile_item
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_REQUESTS = (
    MessageType.HELLO,
    MessageType.GET_MANIFEST,
    MessageType.CONFIGURE,
    MessageType.CAPTURE,
    MessageType.STREAM,
    MessageType.STOP,
    MessageType.FLUSH,
)
_WRONG_TILE = WRONG * (TILE // 2)
_NEAR = 1 << 14
"""Two nonces that are closer than this are no random numbers, but a counter or a clock."""
# What a real host, a process on a busy machine, may be late.
_SLACK_S = 0.5


@CASES.add("H-FRAME-1")
class FieldsAndSequence(Script):
    """Every packet that the host sends has its idle fields at 0, and sequences by one."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_fields(self.log)


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
        wrong = replace(tile_item(8), payload=_WRONG_TILE, is_damaged=True, flags=0)
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
        wrong = replace(tile_item(8), payload=_WRONG_TILE, more={"nonce": self.nonce ^ 1})
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class AnOldSequence(Script):
    """A tile whose sequence was there before is not taken."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=_WRONG_TILE, is_stale=True)
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class ASpentSequence(Script):
    """A tile whose sequence a damaged one has used up is not taken."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        damaged = replace(tile_item(8), is_damaged=True)
        wrong = replace(tile_item(8), payload=_WRONG_TILE, is_stale=True)
        return [*found[:3], damaged, wrong, *found[3:]]


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


@CASES.add("H-GROW-1")
class LongerAndShorter(Script):
    """Every message has fields appended; one that is too short comes before the right one."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        if kind != MessageType.TILE and len(payload) >= 2:
            size = int.from_bytes(payload[:2], "little")
            grown = (size + 4).to_bytes(2, "little")
            # FrameEnd ends with its own sequences: what is appended stands behind them.
            payload = grown + payload[2:size] + b"more" + payload[size:]
        more.setdefault("version", VERSION_MAJOR << 4 | 0xF)
        return super().pack(kind, payload, number, **more)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.wire.send(Script.pack(self, MessageType.CONFIGURED, b"\x1e\x00\x01\x00", packet.id))
        super().on_configure(packet, message)


@CASES.add("H-GROW-2")
class UnknownTypes(Script):
    """Types of the vendor range, types that do not exist, and flags that do not."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        flags = more.get("flags", 0)
        assert isinstance(flags, int)
        return super().pack(kind, payload, number, **more | {"flags": flags | 0xFE})

    def on_configure(self, packet: Packet, message: Configure) -> None:
        for kind in (0xE0, 0xFF, 0x5F, 0x7E):
            self.wire.send(self.pack(kind, b"\x02\x00whatever", packet.id))
        super().on_configure(packet, message)


@CASES.add("H-HELLO-1")
class FreshNonce(Script):
    """Two sessions have two nonces; each begins with Hello."""

    sessions = 2

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check(self.log[0].kind == MessageType.HELLO, f"the session begins with {self.log[0]}")
        if self.previous is not None:
            check(self.nonce != self.previous.nonce, f"the nonce {self.nonce:#x} is used twice")
            step = (self.nonce - self.previous.nonce) & 0xFFFFFFFF
            said = f"the nonce {self.nonce:#x} follows {self.previous.nonce:#x}: it is counted"
            check(_NEAR < step < (1 << 32) - _NEAR, said)


@CASES.add("H-HELLO-1")
class SilentToHello(Script):
    """Hello is not answered three times: it is repeated alike, and nothing else is sent."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        hellos = self.find_packets(MessageType.HELLO)
        first = hellos[0].header
        check(packet.header.nonce == first.nonce, "a repeated Hello has another nonce")
        check(packet.id == first.frame, f"a repeated Hello has id {packet.id}, not {first.frame}")
        check(packet.payload == hellos[0].payload, f"{hellos[0]} is repeated as {packet}")
        again = len({p.header.sequence for p in hellos}) < len(hellos)
        check(not again, "a repeated Hello has an old sequence")
        if len(hellos) > 3:
            others = [str(p) for p in self.log if p.kind != MessageType.HELLO]
            check(not others, f"before Hello is answered: {others[:3]}")
            super().on_hello(packet, message)


@CASES.add("H-HELLO-3")
class Refused(Script):
    """Hello is refused (VERSION): the host sends nothing more but Close."""

    limit_s = 3.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        del message
        self.send_reply(packet, Error(ErrorCode.VERSION, b"another major version"))

    def judge(self, result: HostResult) -> None:
        more = [str(p) for p in self.log if p.kind not in (MessageType.HELLO, MessageType.CLOSE)]
        check(not more, f"after its Hello was refused the host sends {more[:3]}")
        hellos = len(self.find_packets(MessageType.HELLO))
        check(hellos <= 2, f"the host goes on to say Hello, {hellos} times")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-1")
class EndsInOrder(Script):
    """After its frame the host says goodbye."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check(self.is_closed, "the host went without Close")


@CASES.add("H-CLOSE-2")
class ClosedByModule(Script):
    """The module closes the session instead of sending a frame."""

    limit_s = 3.0
    linger_s = 0.8
    _end = 0.0

    def start_frame(self) -> None:
        self.send_message(Close(CloseReason.DETACH))
        self._end = self.wire.now()

    def judge(self, result: HostResult) -> None:
        # What was on its way when Close came does not count.
        after = [p for p in self.log if self._end and p.at > self._end + 0.3]
        more = [str(p) for p in after if p.kind != MessageType.CLOSE]
        check(not more, f"after the module's Close the host sends {more[:3]}")
        check(not result.ok, "the host claims to have a frame")


# --- liveness ---------------------------------------------------------------------------------


@CASES.add("H-LIVE-1")
class Heartbeats(Script):
    """The frame takes 1.5 s to come: meanwhile the host shows that it lives."""

    def start_frame(self) -> None:
        self.call_later(1.5, super().start_frame)
        for tenths in range(1, 15):
            # Its own signs of life, which answer nothing.
            self.call_later(tenths / 10, lambda: self.send_message(Notice(NoticeReason.HEAT, 0)))

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        begun = self.find_packets(MessageType.CAPTURE, MessageType.STREAM)[0].at
        beats = [p.at for p in self.find_packets(MessageType.HEARTBEAT) if p.at > begun]
        moments = [begun, *(at for at in beats if at < begun + 1.5), begun + 1.5]
        longest = max(b - a for a, b in pairwise(moments))
        most = SILENCE_MS / 2000
        check(
            longest <= most, f"{longest:.2f} s without a Heartbeat, where {most:g} s are the most"
        )


@CASES.add("H-LIVE-2")
class Silence(Script):
    """The module says nothing any more: the host lets go of it."""

    _end = 0.0

    def start_frame(self) -> None:
        self._end = self.wire.now()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._end:
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        gone = self.end_time if self.end_time is not None else self.wire.now()
        left = self.end_time is not None or self.is_closed
        check(left, "the host has not noticed that the module is silent")
        most = 2 * SILENCE_MS / 1000 + _SLACK_S
        check(
            gone - self._end <= most, f"the host let go after {gone - self._end:.1f} s of silence"
        )
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-LIVE-3")
class BusyLease(Script):
    """The module is BUSY for 2 s, silent for 1.8 s, then sends its frame."""

    _busy = False

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.FLASH, 2000))
        self._busy = True
        self.call_later(1.8, self._awake)

    def _awake(self) -> None:
        self._busy = False
        super().start_frame()

    def send_waiting(self) -> None:
        if not self._busy:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._busy:
            super().on_heartbeat(packet, message)


# --- requests ---------------------------------------------------------------------------------


@CASES.add("H-REQ-1")
class RepeatedAlike(Script):
    """Configure is not answered at first: it is repeated under its id; all ids rise."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = self.find_packets(MessageType.CONFIGURE)
        first = asked[0]
        alike = (packet.id, packet.payload) == (first.id, first.payload)
        check(alike, f"Configure {first.id} is repeated as {packet.id}, or otherwise than before")
        if len(asked) > 1:
            super().on_configure(packet, message)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_ids(self)


@CASES.add("H-REQ-2")
class AnswersToOthers(Script):
    """Answers of another kind, and to requests that nobody made, come before the right one."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.send_reply(packet, Accepted(1, 77))
        wrong: AnyMessage = replace(self.make_configured(message), width=2 * WIDTH)
        self.wire.send(self.pack(Configured.TYPE, wrong.encode(), packet.id + 1000))
        super().on_configure(packet, message)


@CASES.add("H-REQ-3")
class OneAtATime(Script):
    """Configure is answered after 0.3 s: meanwhile nothing else is asked."""

    _waits = 0

    def on_packet(self, packet: Packet) -> None:
        other = self._waits and packet.kind in _REQUESTS and packet.id != self._waits
        check(not other, f"{packet} is sent while request {self._waits} is not answered")
        super().on_packet(packet)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._waits:
            return
        self._waits = packet.id

        def answer() -> None:
            self._waits = 0
            self.send_reply(packet, self.make_configured(message))

        self.call_later(0.3, answer)


@CASES.add("H-REQ-4")
class PendingLease(Script):
    """Configure is answered by Pending for 1.5 s, then after 1.2 s."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, f"repeated during the lease of Pending ({REQUEST_RETRY_MS} ms)")
        self.send_reply(packet, Pending(1500))
        self.call_later(1.2, lambda: self.send_reply(packet, self.make_configured(message)))
