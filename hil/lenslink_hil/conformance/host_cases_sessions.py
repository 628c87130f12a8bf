"""Cases for hosts: sessions, liveness, requests, credits in every shape (SPEC.md, 3 to 5)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.ids import (
    BusyReason,
    Capability,
    CloseReason,
    ErrorCode,
    FrameState,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Busy,
    Close,
    Configure,
    Error,
    GetManifest,
    Heartbeat,
    ManifestPiece,
    Pending,
    Resend,
    Resent,
)
from lenslink_protocol.params import (
    MAX_CONTROL,
    MAX_LANES,
    MAX_PAYLOAD,
    SILENCE_MS,
)

from .cases import Cases, check
from .host_cases_camera import NoCapabilities, lose_tile
from .module_peer import WIDTH, HostResult, Item, Script
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

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
_SILENCE_S = SILENCE_MS / 1000
_MOST_S = SILENCE_MS / 2000
# What a real host, a process on a busy machine, may be late.
_SLACK_S = 0.5
_STARTS = (MessageType.CAPTURE, MessageType.STREAM)


def check_beats(script: Script, begin: float, end: float) -> None:
    """Check that no two Heartbeats between two moments are further apart than they may be."""
    beats = [p.at for p in script.find_packets(MessageType.HEARTBEAT) if begin < p.at < end]
    longest = max(after - before for before, after in pairwise([begin, *beats, end]))
    check(longest <= _MOST_S, f"{longest:.2f} s without a Heartbeat, {_MOST_S:g} s are the most")


# --- sessions ---------------------------------------------------------------------------------


@CASES.add("H-HELLO-2")
class Offers(Script):
    """Hello offers 1 to MAX_LANES lanes, and a max_payload of MAX_CONTROL to MAX_PAYLOAD."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        hello = self.hello
        assert hello is not None
        check(1 <= hello.lanes <= MAX_LANES, f"Hello offers {hello.lanes} lanes")
        fits = MAX_CONTROL <= hello.max_payload <= MAX_PAYLOAD
        check(fits, f"Hello offers a max_payload of {hello.max_payload}")


@CASES.add("H-HELLO-2")
class OnlyLog(NoCapabilities):
    """The session has LOG alone, and a tile is lost: nothing is asked for again or proved."""

    capabilities = int(Capability.LOG)


@CASES.add("H-CLOSE-1")
class ClosesAfterRefusal(Script):
    """Capture is refused: the host ends the session with Close."""

    limit_s = 12.0

    def on_capture(self, packet: Packet) -> None:
        self.send_reply(packet, Error(ErrorCode.POWER, b"the supply is too low"))

    def judge(self, result: HostResult) -> None:
        check(self.is_closed, "the host went without Close after its Capture was refused")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-1")
class ClosesWithoutFrame(Script):
    """A tile is lost for ever: the host gives the frame up, and ends the session with Close."""

    capabilities = 0
    limit_s = 12.0

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def judge(self, result: HostResult) -> None:
        check(self.is_closed, "the host went without Close after a frame that was not whole")
        check(not result.ok, "the host claims to have a frame")


class _Closed(Script):
    """The module closes the session. What was on its way then does not count."""

    limit_s = 3.0
    linger_s = 0.8
    _end = 0.0

    def close_session(self, reason: int) -> None:
        """Send Close, and from then on answer nothing."""
        self.send_message(Close(reason))
        self._end = self.wire.now()

    def on_packet(self, packet: Packet) -> None:
        if not self._end:
            super().on_packet(packet)
        elif packet.kind == MessageType.CLOSE:
            self.is_closed = True

    def judge(self, result: HostResult) -> None:
        after = [p for p in self.log if self._end and p.at > self._end + 0.1]
        more = [str(p) for p in after if p.kind != MessageType.CLOSE]
        check(not more, f"after the module's Close the host sends {more[:3]}")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-2")
class ClosedWhileAsking(_Closed):
    """The module closes the session instead of answering Configure: it is not repeated."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.close_session(CloseReason.POWER)


@CASES.add("H-CLOSE-2")
class ClosedInAFrame(_Closed):
    """The module closes the session inside a frame: the rest is not asked for, nothing is sent."""

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        self.queue += self.make_items()[:5]
        self.send_waiting()
        self.call_later(0.02, lambda: self.close_session(CloseReason.INTERNAL))


# --- liveness ---------------------------------------------------------------------------------


@CASES.add("H-LIVE-1")
class BeatsWhileItAsks(Script):
    """Configure is answered by Pending, then after 1.4 s: meanwhile Heartbeats come."""

    _asked = 0.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._asked:
            return
        self._asked = packet.at
        self.send_reply(packet, Pending(1500))
        self.call_later(1.4, lambda: self.send_reply(packet, self.make_configured(message)))

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._asked, self._asked + 1.4)


@CASES.add("H-LIVE-1")
class BeatsInsideAFrame(Script):
    """A frame takes 1.4 s from its first tile to its last: meanwhile Heartbeats come."""

    # A host that could ask again would have the whole frame sooner.
    capabilities = 0
    _begun = 0.0

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        self._begun = self.wire.now()
        for at, item in enumerate(self.make_items()):
            self.call_later(at / 10, lambda item=item: self._send_one(item))  # type: ignore[misc]

    def _send_one(self, item: Item) -> None:
        self.queue.append(item)
        self.send_waiting()

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._begun, self._begun + 1.3)


@CASES.add("H-LIVE-1")
class BeatsDuringBusy(Script):
    """The module is BUSY for 1.4 s and silent: meanwhile Heartbeats come."""

    _busy = 0.0
    _is_silent = False

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.CALIBRATION, 1500))
        self._busy, self._is_silent = self.wire.now(), True
        self.call_later(1.4, self._go_on)

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._busy, self._busy + 1.4)


class _FallsSilent(Script):
    """The module says nothing any more from some moment on: the host lets go of it."""

    silent_since = 0.0
    """When the silence began that counts; 0 before."""
    limit_s = 6.0

    def on_packet(self, packet: Packet) -> None:
        if not self.silent_since or packet.kind == MessageType.CLOSE:
            super().on_packet(packet)

    def judge(self, result: HostResult) -> None:
        gone = self.end_time if self.end_time is not None else self.wire.now()
        left = self.end_time is not None or self.is_closed
        check(left, "the host has not noticed that the module is silent")
        late = gone - self.silent_since
        said = f"the host let go after {late:.1f} s of silence"
        check(late <= 2 * _SILENCE_S + _SLACK_S, said)
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-LIVE-2")
class SilentToARequest(_FallsSilent):
    """The module falls silent at Configure."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.silent_since = self.wire.now()


@CASES.add("H-LIVE-2")
class SilentAfterBusy(_FallsSilent):
    """The module says BUSY for 0.5 s, and nothing any more: the lease ends, and so the wait."""

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.FLASH, 500))
        self.silent_since = self.wire.now() + 0.5


@CASES.add("H-LIVE-2")
class SilentButForNoise(_FallsSilent):
    """The module sends nothing but bytes of no packet any more."""

    def start_frame(self) -> None:
        self.silent_since = self.wire.now()
        for tenths in range(1, 40):
            self.call_later(tenths / 10, lambda: self.wire.send(b"noise and nothing else"))


@CASES.add("H-LIVE-2")
class ShortSilence(Script):
    """The module is silent for 0.7 s, and goes on: the host is still there."""

    _is_silent = False

    def start_frame(self) -> None:
        self._is_silent = True
        self.call_later(0.7, self._go_on)

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


class _Leases(Script):
    """The module is silent under leases of BUSY, then sends its frame."""

    leases: tuple[tuple[float, int], ...] = ()
    """After how many seconds which lease is said, ms."""
    silent_s = 0.0
    _is_silent = False

    def start_frame(self) -> None:
        for after, lease in self.leases:
            self.call_later(after, lambda ms=lease: self._say_busy(ms))  # type: ignore[misc]
        self._is_silent = True
        self.call_later(self.silent_s, self._go_on)

    def _say_busy(self, lease_ms: int) -> None:
        self.send_message(Busy(BusyReason.OTHER, lease_ms))

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


@CASES.add("H-LIVE-3")
class BusyTwice(_Leases):
    """A second Busy comes before the first lease ends: the second lease counts."""

    leases = ((0.0, 600), (0.5, 1700))
    silent_s = 2.1


@CASES.add("H-LIVE-3", "H-LIVE-2")
class QuietAfterBusy(_Leases):
    """The module is silent for 0.6 s after a lease of 1 s: silence counts from the lease's end."""

    leases = ((0.0, 1000),)
    silent_s = 1.6


@CASES.add("H-LIVE-3")
class BusyInARequest(Script):
    """The module says BUSY for 2 s instead of answering Configure, and answers after 1.8 s."""

    _is_silent = False
    _has_answered = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._is_silent or self._has_answered:
            return
        self._is_silent = True
        self.send_message(Busy(BusyReason.FLASH, 2000))

        def answer() -> None:
            self._is_silent, self._has_answered = False, True
            self.send_reply(packet, self.make_configured(message))

        self.call_later(1.8, answer)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


# --- requests ---------------------------------------------------------------------------------


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


# --- credits ----------------------------------------------------------------------------------


@CASES.add("H-CREDIT-2")
class CreditsOfWhatArrived(Script):
    """Half of a frame comes, then the same tiles again, then the rest.

    The host grants its max_payload beyond each part.
    """

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self._parts: list[list[Item]] = []

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        found = self.make_items()
        half, rest = found[:7], found[7:]
        again = [replace(item, flags=1) for item in half[1:]]
        assert self.hello is not None
        if not self.capabilities & self.hello.capabilities & Capability.RESEND:
            again = []
        self._parts = [half, again, rest]
        self._send_parts()

    def _send_parts(self) -> None:
        """Send the next part once all before it is sent, and its max_payload is granted beyond."""
        assert self.hello is not None
        while self._parts and not self.queue:
            wanted = self.sent[self._stream] + self.hello.max_payload
            if self.limits[self._stream] < wanted:
                return
            self.queue += self._parts.pop(0)
            self.send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        super().on_heartbeat(packet, message)
        self.send_waiting()
        self._send_parts()

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if not self._parts:
            super().on_resend(packet, message)
            return
        # Nothing is lost, and the frame has not ended: what is missing comes by itself.
        flags = message.flags & ResendFlag.START
        resent = Resent(flags, FrameState.UNDER_WAY, 0, b"")
        items = [self.make_start_item()] if flags else []
        self.queue[:0] = [*items, Item(MessageType.RESENT, resent.encode())]

    def judge(self, result: HostResult) -> None:
        check(not self._parts, "the host does not grant its max_payload beyond what arrived")
        self.check_whole_frame(result)


@CASES.add("H-CREDIT-1")
class LimitsAfterLosses(Script):
    """A tile is lost, and comes again late: no limit is lower than one before."""

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if len(self.find_packets(MessageType.RESEND)) > 2:
            super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        del result
        limits = []
        for packet in self.find_packets(MessageType.HEARTBEAT):
            message = packet.message()
            assert isinstance(message, Heartbeat)
            limits.append(message.limit)
        for before, after in pairwise(limits):
            falls = after[0] < before[0] or after[1] < before[1]
            check(not falls, f"limits {after} follow {before}")
