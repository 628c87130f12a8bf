"""Cases for hosts that want to know whether a module is genuine (SPEC.md, section 9).

The kit knows no scheme, so no proof that is right: these modules fail, each in another way.
"""

from __future__ import annotations

from lenslink_protocol.ids import Capability, ErrorCode, MessageType
from lenslink_protocol.messages import Challenge, Error, Proof

from .cases import Cases, NotClaimed, check
from .module_peer import Outcome, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()


class _Doubtful(Script):
    """A module that has AUTH, and cannot prove anything."""

    capabilities = int(Capability.RESEND | Capability.AUTH)
    limit_s = 4.0

    def judge(self, outcome: Outcome) -> None:
        if not self.of_kind(MessageType.CHALLENGE):
            raise NotClaimed("the host does not authenticate")
        configured = self.of_kind(MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM)
        check(not configured, f"without a proof the host sends {[str(p) for p in configured[:3]]}")
        check(self.closed, "a module that is not genuine is left without Close")
        check(not outcome.ok, "the host claims to have a frame of a module that is not genuine")


@CASES.of("H-AUTH-1")
class FreshChallenges(_Doubtful):
    """Each session is challenged before a stream is configured, and never with the same bytes."""

    sessions = 2

    def challenge(self, packet: Packet, message: Challenge) -> None:
        self.reply(packet, Proof(message.scheme, b"not this one"))

    def judge(self, outcome: Outcome) -> None:
        super().judge(outcome)
        if isinstance(self.before, FreshChallenges):
            twice = _challenge(self) == _challenge(self.before)
            check(not twice, "two sessions begin with the same challenge")


def _challenge(script: Script) -> Challenge:
    message = script.of_kind(MessageType.CHALLENGE)[0].message()
    assert isinstance(message, Challenge)
    return message


@CASES.of("H-AUTH-2")
class EmptyProof(_Doubtful):
    """The proof holds nothing."""

    def challenge(self, packet: Packet, message: Challenge) -> None:
        self.reply(packet, Proof(message.scheme, b""))


@CASES.of("H-AUTH-2")
class OtherScheme(_Doubtful):
    """The proof is of another scheme than the challenge."""

    def challenge(self, packet: Packet, message: Challenge) -> None:
        self.reply(packet, Proof(message.scheme ^ 1, message.challenge or b"proof"))


@CASES.of("H-AUTH-2")
class NoProof(_Doubtful):
    """The module refuses to prove anything, though it has AUTH."""

    def challenge(self, packet: Packet, message: Challenge) -> None:
        del message
        self.reply(packet, Error(ErrorCode.UNSUPPORTED, b"no such scheme"))
