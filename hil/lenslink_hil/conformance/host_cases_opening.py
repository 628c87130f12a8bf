"""Cases for hosts: Hello (SPEC.md, 3.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import Capability, CloseReason, ErrorCode, MessageType
from lenslink_protocol.messages import Challenge, Close, Error, Hello, Resend
from lenslink_protocol.params import MAX_CONTROL, MAX_LANES, MAX_PAYLOAD

from .cases import Cases, check
from .host_steps import SLACK_S, LosingModule
from .module_peer import HostResult, Item, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_NEAR = 1 << 14
"""Two nonces that are closer than this are no random numbers, but a counter or a clock."""

_CLOCK_US = 50_000
"""Two nonces that differ by the time between them, give or take this, are a clock."""
_FEW_BITS = 1 << 18
"""Of random nonces one in 268 million pairs lies below this."""


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
            passed_us = (self.log[0].at - self.previous.log[0].at) * 1e6
            check(abs(step - passed_us) > _CLOCK_US, f"{said} like a clock in microseconds")
            largest = max(self.nonce, self.previous.nonce)
            check(largest > _FEW_BITS, f"{said}, and both have few bits")


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


@CASES.add("H-HELLO-1", "H-FRAME-5")
class ClosedAtHello(Script):
    """Hello is answered with Close. If the host begins another session, its nonce is another.

    The sequences of that session begin anew.
    """

    limit_s = 5.0
    _first: int | None = None
    _at = 0.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if self._first is None:
            self._first, self._at = packet.header.nonce, packet.at
            self.sequence = 1000
            self.send_message(Close(CloseReason.ORDERLY))
            return
        if packet.header.nonce != self._first:
            self.sequence = 0
            super().on_hello(packet, message)

    def judge(self, result: HostResult) -> None:
        del result
        # A repetition may be on its way when Close arrives.
        later = [p for p in self.find_packets(MessageType.HELLO) if p.at > self._at + SLACK_S]
        again = [p for p in later if p.header.nonce == self._first]
        check(not again, "the session behind a Close has the nonce of the one before")
        others = [p for p in self.log if p.header.nonce != self._first]
        waits = [p for p in others if p.kind == MessageType.HELLO and p.at < others[0].at + SLACK_S]
        took = any(p.kind not in (MessageType.HELLO, MessageType.CLOSE) for p in others)
        said = "a HelloReply with sequence 0 is not taken in the session behind a Close"
        check(took or len(waits) < 3, said)


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
class NoCapabilities(LosingModule):
    """The session has no capability, and a tile is lost: it is not asked for again."""

    capabilities = 0
    has_auth = False

    def on_resend(self, packet: Packet, message: Resend) -> None:
        check(False, f"Resend in a session without RESEND: {message}")

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        check(False, f"Challenge in a session without AUTH: {message}")

    def on_other(self, packet: Packet) -> None:
        check(packet.kind != MessageType.TEST, f"a session without TEST gets {packet}")
        super().on_other(packet)

    def judge(self, result: HostResult) -> None:
        """What it makes of the frame is another case's."""


@CASES.add("H-HELLO-2")
class OnlyLog(NoCapabilities):
    """The session has LOG alone, and a tile is lost: nothing is asked for again or proved."""

    capabilities = int(Capability.LOG)


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


@CASES.add("H-HELLO-2")
class EndLostWithoutResend(Script):
    """Only FrameEnd is lost, in a session without RESEND: no Resend is sent."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return super().make_items()[:-1]

    def judge(self, result: HostResult) -> None:
        asked = self.find_packets(MessageType.RESEND)
        check(not asked, f"{len(asked)} Resends in a session without RESEND")
        self.check_whole_frame(result)


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


@CASES.add("H-HELLO-3")
class RefusedForGood(Script):
    """Hello is refused (VERSION) in three runs of the host: no Hello follows in all of them.

    One that follows may have been on its way. That does not happen in each run.
    """

    sessions = 3
    limit_s = 2.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        del message
        self.send_reply(packet, Error(ErrorCode.VERSION, b"another major version"))

    def has_more_hellos(self) -> bool:
        return len(self.find_packets(MessageType.HELLO)) > 1

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "the host claims to have a frame")
        runs: list[RefusedForGood] = []
        script: Script | None = self
        while isinstance(script, RefusedForGood):
            runs.append(script)
            script = script.previous
        is_last = len(runs) == self.sessions
        again = all(each.has_more_hellos() for each in runs)
        check(not (is_last and again), "in each run a Hello comes after Hello was refused")
