"""Cases for hosts: Challenge and Proof (SPEC.md, 9)."""

from __future__ import annotations

from lenslink_protocol.ids import AuthScheme, Capability, ErrorCode, ManifestKey, MessageType
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import AuthEntry, Challenge, Error, Proof
from lenslink_protocol.params import AUTH_BYTES

from .cases import Cases, NotClaimed, NotRun, check
from .module_cases_authentication import SCHEMES
from .module_peer import SERIAL, HostResult, Script
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

OTHER_SERIAL = "CONFORM-2"


class _Doubtful(Script):
    """A module that has AUTH, and cannot prove anything."""

    capabilities = int(Capability.RESEND | Capability.AUTH)
    has_auth = False
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


def _challenge(script: Script) -> Challenge:
    message = script.find_packets(MessageType.CHALLENGE)[0].message()
    assert isinstance(message, Challenge)
    return message


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


class _Keyed(_Doubtful):
    """A module that has the host's key. A case spoils its proof."""

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        if message.scheme != AuthScheme.HMAC_SHA256:
            raise NotClaimed(f"the host authenticates by scheme {message.scheme:#x}")
        if self.key is None:
            raise NotRun("it needs the host's key: --key FILE")
        length = len(message.challenge)
        check(length == AUTH_BYTES, f"a challenge of {length} bytes")
        self.send_reply(packet, Proof(message.scheme, self.prove(message.challenge)))


@CASES.add("H-AUTH-3")
class RightProof(_Keyed):
    """The proof is right: the host goes on, and has its frame."""

    limit_s = Script.limit_s

    def judge(self, result: HostResult) -> None:
        if not self.find_packets(MessageType.CHALLENGE):
            raise NotClaimed("the host does not authenticate")
        self.check_whole_frame(result)


@CASES.add("H-AUTH-3")
class CutProof(_Keyed):
    """Only the first half of the right proof arrives."""

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        return super().prove(challenge, serial)[: AUTH_BYTES // 2]


@CASES.add("H-AUTH-3")
class LongProof(_Keyed):
    """A byte follows the right proof."""

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        return super().prove(challenge, serial) + b"\1"


@CASES.add("H-AUTH-3")
class LastByteDiffers(_Keyed):
    """The last byte of the proof is not the right one."""

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        proof = super().prove(challenge, serial)
        return proof[:-1] + bytes([proof[-1] ^ 1])


@CASES.add("H-AUTH-3")
class OldProof(_Keyed):
    """In the second session comes the right proof of the first one again: a replay."""

    sessions = 2

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self.proof = b""

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        before = self.previous
        self.proof = before.proof if isinstance(before, OldProof) else super().prove(challenge)
        return self.proof

    def judge(self, result: HostResult) -> None:
        if isinstance(self.previous, OldProof):
            super().judge(result)
        elif not self.find_packets(MessageType.CHALLENGE):
            raise NotClaimed("the host does not authenticate")


@CASES.add("H-AUTH-3")
class ProofOfAnotherModule(_Keyed):
    """The proof is a genuine module's, which has another serial number."""

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        return super().prove(challenge, OTHER_SERIAL)


@CASES.add("H-AUTH-2")
class NoAuthAtAll(_Doubtful):
    """In the second session the module does not have AUTH: that is no proof either."""

    sessions = 2

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        if previous is not None:
            self.capabilities = int(Capability.RESEND)

    def make_manifest(self) -> bytes:
        has_auth = self.capabilities & Capability.AUTH
        return super().make_manifest() if has_auth else Script.make_manifest(self)

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        del message
        self.send_reply(packet, Error(ErrorCode.UNSUPPORTED, b"no such scheme"))

    def judge(self, result: HostResult) -> None:
        if not isinstance(self.previous, NoAuthAtAll):
            super().judge(result)
            return
        configured = self.find_packets(
            MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM
        )
        said = (
            f"without AUTH, so without a proof, the host sends {[str(p) for p in configured[:1]]}"
        )
        check(not configured, said)
        check(not result.ok, "the host claims to have a frame of a module that is not genuine")
