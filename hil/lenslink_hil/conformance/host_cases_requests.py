"""Cases for hosts: ids, and repeated requests (SPEC.md, 4)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ErrorCode, MessageType, Outcome
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Configure,
    Configured,
    Error,
    Flushed,
    GetManifest,
    ManifestPiece,
    Pending,
    QueryReply,
    Stop,
)
from lenslink_protocol.params import REQUEST_RETRY_MS

from .cases import Cases, check
from .host_steps import (
    LosingModule,
    Preview,
)
from .module_peer import MODE, WIDTH, HostResult, Script
from .packets import NO_PACKET, Packet

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

REQUESTS = (
    MessageType.HELLO,
    MessageType.GET_MANIFEST,
    MessageType.CONFIGURE,
    MessageType.CAPTURE,
    MessageType.STREAM,
    MessageType.STOP,
    MessageType.FLUSH,
    MessageType.QUERY,
)

_STARTS = (MessageType.CAPTURE, MessageType.STREAM)


def check_ids(script: Script) -> None:
    """Check that the ids of requests rise, and that what is repeated is the same packet."""
    newest: Packet | None = None
    for packet in script.find_packets(*REQUESTS):
        if newest is not None and packet.id == newest.id:
            alike = (packet.kind, packet.payload) == (newest.kind, newest.payload)
            check(alike, f"id {packet.id} is used for {newest} and for {packet}")
            fresh = packet.header.sequence != newest.header.sequence
            check(fresh, f"{packet} is repeated under its old sequence")
        elif newest is not None:
            check(packet.id > newest.id, f"id {packet.id} follows {newest.id}")
        newest = packet


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


class _Unanswered(Script):
    """A request is not answered at first: it is repeated under its id, and all ids rise."""

    kinds: tuple[int, ...] = ()

    def on_packet(self, packet: Packet) -> None:
        if packet.kind not in self.kinds or len(self.find_packets(*self.kinds)) > 1:
            super().on_packet(packet)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_ids(self)
        first, second = self.find_packets(*self.kinds)[:2]
        same = (second.id, second.payload) == (first.id, first.payload)
        check(same, f"{first} is repeated as {second}")


@CASES.add("H-REQ-1")
class CaptureUnanswered(_Unanswered):
    """Capture is not answered at first."""

    kinds = _STARTS


@CASES.add("H-REQ-1")
class ManifestUnanswered(_Unanswered):
    """GetManifest is not answered at first."""

    kinds = (MessageType.GET_MANIFEST,)


@CASES.add("H-REQ-1")
class StopUnanswered(Preview):
    """Stop is not answered at first: it is repeated under its id."""

    def on_stop(self, packet: Packet, message: Stop) -> None:
        stops = self.find_packets(MessageType.STOP)
        if len(stops) > 1:
            super().on_stop(packet, message)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_ids(self)
        stops = self.find_packets(MessageType.STOP)
        if len(stops) > 1:
            same = (stops[0].id, stops[0].payload) == (stops[1].id, stops[1].payload)
            check(same, f"{stops[0]} is repeated as {stops[1]}")


class _AskedOften(Script):
    """Requests are answered the fourth time: each time they are the same packet, and alone."""

    limit_s = 12.0
    kinds: tuple[int, ...] = ()

    def on_packet(self, packet: Packet) -> None:
        asked = [each for each in self.find_packets(*self.kinds) if each.id == packet.id]
        if packet.kind not in self.kinds or len(asked) == 4:
            super().on_packet(packet)

    def judge(self, result: HostResult) -> None:
        # What is asked beside a request stands between its repetitions.
        check_ids(self)
        super().judge(result)


@CASES.add("H-REQ-1", "H-REQ-3")
class StillAskedOften(_AskedOften):
    """GetManifest and Capture are answered the fourth time."""

    kinds = (MessageType.GET_MANIFEST, MessageType.CAPTURE)


@CASES.add("H-REQ-1", "H-REQ-3")
class PreviewAskedOften(_AskedOften, Preview):
    """StartStream, and Stop or Flush, are answered the fourth time."""

    kinds = (MessageType.STREAM, MessageType.STOP, MessageType.FLUSH)


@CASES.add("H-REQ-1")
class RepeatedOften(Script):
    """Configure is answered when it comes for the fifth time: each time it is the same."""

    limit_s = 12.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = self.find_packets(MessageType.CONFIGURE)
        first = asked[0]
        alike = (packet.id, packet.payload) == (first.id, first.payload)
        said = f"Configure {first.id} is repeated as {packet.id}, or otherwise than before"
        check(alike, f"{said}, the {len(asked)}th time")
        if len(asked) >= 5:
            super().on_configure(packet, message)


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


@CASES.add("H-REQ-2")
class AnswersToOthers(Script):
    """Answers of another kind, and to requests that nobody made, come before the right one."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.send_reply(packet, Accepted(1, 77))
        wrong: AnyMessage = replace(self.make_configured(message), width=2 * WIDTH)
        self.wire.send(self.pack(Configured.TYPE, wrong.encode(), packet.id + 1000))
        super().on_configure(packet, message)


class _WrongReplies(Script):
    """The replies to all other requests come under a request's id: it waits for its own."""

    kinds: tuple[int, ...] = ()
    right: type[AnyMessage] = Accepted

    def on_packet(self, packet: Packet) -> None:
        asked = [each for each in self.find_packets(*self.kinds) if each.id == packet.id]
        if packet.kind not in self.kinds or len(asked) > 1:
            super().on_packet(packet)
            return
        configured = self.make_configured(Configure(self._stream, 0, MODE, 0, 0))
        replies: tuple[AnyMessage, ...] = (
            ManifestPiece(0, 4, b"what"),
            replace(configured, width=2 * WIDTH),
            Flushed(self.frame, packet.id, (NO_PACKET, NO_PACKET, NO_PACKET, NO_PACKET)),
            QueryReply(Outcome.DONE),
            Accepted(self._stream, self.frame),
        )
        for reply in replies:
            if not isinstance(reply, self.right):
                self.send_reply(packet, reply)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        for packet in self.find_packets(*self.kinds):
            asked = [each for each in self.find_packets(*self.kinds) if each.id == packet.id]
            check(len(asked) > 1, f"{packet} is not repeated behind replies of other kinds")


@CASES.add("H-REQ-2")
class WrongRepliesToCapture(_WrongReplies):
    """Capture gets replies of other kinds first."""

    kinds = (MessageType.CAPTURE,)


@CASES.add("H-REQ-2")
class WrongRepliesToConfigure(_WrongReplies):
    """Configure gets replies of other kinds first."""

    kinds = (MessageType.CONFIGURE,)
    right = Configured


@CASES.add("H-REQ-2")
class WrongRepliesInAPreview(_WrongReplies, Preview):
    """StartStream and Stop get replies of other kinds first."""

    kinds = (MessageType.STREAM, MessageType.STOP)


@CASES.add("H-REQ-2")
class ErrorsForOthers(Script):
    """Errors for a request that nobody made, and for one that was answered, change nothing."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        refusal = Error(ErrorCode.UNSUPPORTED, b"no").encode()
        answered = self.find_packets(MessageType.GET_MANIFEST)[-1].id
        for number in (packet.id + 1000, answered, 0):
            self.wire.send(self.pack(MessageType.ERROR, refusal, number))
        super().on_configure(packet, message)


@CASES.add("H-REQ-2")
class AnswersTwice(Script):
    """Each answer comes twice, as to a request that was repeated too soon."""

    def send_reply(self, packet: Packet, message: AnyMessage, **more: object) -> None:
        super().send_reply(packet, message, **more)
        if packet.kind in REQUESTS and isinstance(message, (ManifestPiece, Accepted)):
            super().send_reply(packet, message, **more)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        # Once more the answer to the request before, whose kind is not Configure's.
        before = self.find_packets(MessageType.GET_MANIFEST)[-1]
        asked = before.message()
        assert isinstance(asked, GetManifest)
        self.send_reply(before, self.make_piece(asked))
        wrong = replace(self.make_configured(message), width=2 * WIDTH)
        self.send_reply(before, wrong)
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


@CASES.add("H-REQ-3")
class EachAlone(Script):
    """Each answer comes after 0.1 s, the manifest in pieces: meanwhile nothing else is asked."""

    _waits = 0
    _answered = 0

    def on_packet(self, packet: Packet) -> None:
        if packet.kind not in REQUESTS:
            super().on_packet(packet)
            return
        if packet.id == self._answered:
            # Repeated before the answer had arrived.
            return
        check(
            self._waits in (0, packet.id),
            f"{packet} is sent while request {self._waits} is not answered",
        )
        if self._waits:
            return
        self._waits = packet.id

        def answer() -> None:
            self._waits, self._answered = 0, packet.id
            Script.on_packet(self, packet)

        self.call_later(0.1, answer)

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[:100])


@CASES.add("H-REQ-3")
class StopAlone(Preview):
    """Stop is answered after 0.25 s: meanwhile nothing else is asked."""

    _waits = 0

    def on_packet(self, packet: Packet) -> None:
        other = self._waits and packet.kind in REQUESTS and packet.id != self._waits
        check(not other, f"{packet} is sent while Stop, {self._waits}, is not answered")
        super().on_packet(packet)

    def on_stop(self, packet: Packet, message: Stop) -> None:
        if self._waits:
            return
        self._waits = packet.id
        self.end_frame()

        def answer() -> None:
            self._waits = 0
            self.send_reply(packet, Accepted(message.stream, self.frame + 1))

        self.call_later(0.25, answer)


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


@CASES.add("H-REQ-4")
class PendingLease(Script):
    """Configure is answered by Pending for 1.5 s, then after 1.2 s."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, f"repeated during the lease of Pending ({REQUEST_RETRY_MS} ms)")
        self.send_reply(packet, Pending(1500))
        self.call_later(1.2, lambda: self.send_reply(packet, self.make_configured(message)))


@CASES.add("H-REQ-4")
class PendingTwice(Script):
    """A second Pending lengthens the wait: Configure is not repeated during its lease either."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "Configure is repeated during the lease of a second Pending")
        self.send_reply(packet, Pending(700))
        self.call_later(0.6, lambda: self.send_reply(packet, Pending(1200)))
        self.call_later(1.6, lambda: self.send_reply(packet, self.make_configured(message)))


@CASES.add("H-REQ-4")
class PendingCapture(Script):
    """Capture is answered by Pending for 1.5 s, then after 1.2 s."""

    def on_capture(self, packet: Packet) -> None:
        asked = len(self.find_packets(*_STARTS))
        check(asked == 1, "Capture is repeated during the lease of Pending")
        self.send_reply(packet, Pending(1500))

        def accept() -> None:
            self.send_accepted(packet)
            self.start_frame()

        self.call_later(1.2, accept)


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


@CASES.add("H-REQ-4")
class PendingEverywhere(Preview):
    """Each request of a preview gets Pending for 0.8 s, then its answer after 0.7 s."""

    _pending = 0

    def on_packet(self, packet: Packet) -> None:
        if packet.kind not in REQUESTS or packet.kind == MessageType.HELLO:
            super().on_packet(packet)
            return
        check(packet.id != self._pending, f"{packet} is repeated during a lease of Pending")
        self._pending = packet.id
        self.send_reply(packet, Pending(800))
        self.call_later(0.7, lambda: self._answer(packet))

    def _answer(self, packet: Packet) -> None:
        super().on_packet(packet)


@CASES.add("H-REQ-3")
class StillBeforeAccepted(Script):
    """The frame is whole before Accepted, which is late: nothing else is asked before it."""

    _is_accepted = False
    _has_begun = False

    def on_packet(self, packet: Packet) -> None:
        other = self._has_begun and packet.kind in REQUESTS and packet.kind not in _STARTS
        check(self._is_accepted or not other, f"{packet} is sent before Capture was answered")
        super().on_packet(packet)

    def on_capture(self, packet: Packet) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        self.start_frame()
        self.call_later(0.3, lambda: self._accept(packet))

    def _accept(self, packet: Packet) -> None:
        self._is_accepted = True
        self.send_accepted(packet)


@CASES.add("H-REQ-2")
class AnswersAgain(LosingModule):
    """Answers that were taken come again, with other contents: the first ones count."""

    needs_resend = True

    def on_capture(self, packet: Packet) -> None:
        asked = self.find_packets(
            MessageType.HELLO, MessageType.GET_MANIFEST, MessageType.CONFIGURE
        )
        hello = replace(self.make_hello_reply(0), capabilities=0, max_payload=16, manifest_bytes=5)
        configured = self.make_configured(Configure(self._stream, 0, MODE, 0, 0))
        for each in asked:
            if each.kind == MessageType.HELLO:
                self.send_reply(each, hello)
            elif each.kind == MessageType.GET_MANIFEST:
                self.send_reply(each, ManifestPiece(0, 4, b"what"))
            else:
                self.send_reply(each, replace(configured, width=2 * WIDTH, stride=4 * WIDTH))
                self.send_reply(each, Error(ErrorCode.STATE, b"too late"))
        super().on_capture(packet)


@CASES.add("H-REQ-2")
class AnswersInAdvance(Script):
    """Accepted comes under the ids of the next requests, before they are made: they still wait."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        for number in range(packet.id + 1, packet.id + 4):
            accepted = Accepted(self._stream, self.frame).encode()
            self.wire.send(self.pack(Accepted.TYPE, accepted, number))
        super().on_configure(packet, message)

    def on_capture(self, packet: Packet) -> None:
        if len(self.find_packets(*_STARTS)) > 1:
            super().on_capture(packet)


@CASES.add("H-REQ-4")
class PendingForARepetition(Script):
    """Configure is lost, and its repetition gets Pending of 1.2 s: its lease holds, too."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked <= 2, "Configure is repeated during the lease of a later Pending")
        if asked == 2:
            self.send_reply(packet, Pending(1200))
            self.call_later(1.0, lambda: self.send_reply(packet, self.make_configured(message)))
