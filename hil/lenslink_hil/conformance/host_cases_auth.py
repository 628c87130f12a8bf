"""Cases for hosts that want to know whether a module is genuine (SPEC.md, section 9).

The kit knows no scheme, so no proof that is right: these modules fail, each in another way.
"""

from __future__ import annotations

from lenslink_protocol.ids import Capability, ErrorCode, ManifestKey, MessageType
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import AuthEntry, Challenge, Error, Proof

from .cases import Cases, NotClaimed, check
from .module_cases_demand import SCHEMES
from .module_peer import HostResult, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()


class _Doubtful(Script):
    """A module that has AUTH, and cannot prove anything."""

    capabilities = int(Capability.RESEND | Capability.AUTH)
    limit_s = 4.0

    def make_manifest(self) -> bytes:
        # Many schemes, so that the host finds its own: the kit does not know which that is.
        entries = [encode_entry(ManifestKey.AUTH, AuthEntry(each).encode()) for each in SCHEMES]
        return super().make_manifest() + b"".join(entries)

    def judge(self, result: HostResult) -> None:
        if not self.find_packets(MessageType.CHALLENGE):
            raise NotClaimed("the host does not authenticate")
        configured = self.find_packets(
            MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM
        )
        check(not configured, f"without a proof the host sends {[str(p) for p in configured[:3]]}")
        check(self.is_closed, "a module that is not genuine is left without Close")
        check(not result.ok, "the host claims to have a frame of a module that is not genuine")


@CASES.add("H-AUTH-1")
class FreshChallenges(_Doubtful):
    """Each session is challenged before a stream is configured, and never with the same bytes."""

    sessions = 2

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        self.send_reply(packet, Proof(message.scheme, b"not this one"))

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        if isinstance(self.previous, FreshChallenges):
            twice = _challenge(self) == _challenge(self.previous)
            check(not twice, "two sessions begin with the same challenge")


def _challenge(script: Script) -> Challenge:
    message = script.find_packets(MessageType.CHALLENGE)[0].message()
    assert isinstance(message, Challenge)
    return message


@CASES.add("H-AUTH-2")
class EmptyProof(_Doubtful):
    """The proof holds nothing."""

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        self.send_reply(packet, Proof(message.scheme, b""))


@CASES.add("H-AUTH-2")
class OtherScheme(_Doubtful):
    """The proof is of another scheme than the challenge."""

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        self.send_reply(packet, Proof(message.scheme ^ 1, message.challenge or b"proof"))


@CASES.add("H-AUTH-2")
class NeverHeard(_Doubtful):
    """The module does not know Challenge, though it has AUTH."""

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        del message
        self.send_reply(packet, Error(ErrorCode.UNKNOWN_REQUEST, b""))


@CASES.add("H-AUTH-2")
class NoProof(_Doubtful):
    """The module refuses to prove anything, though it has AUTH."""

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        del message
        self.send_reply(packet, Error(ErrorCode.UNSUPPORTED, b"no such scheme"))
