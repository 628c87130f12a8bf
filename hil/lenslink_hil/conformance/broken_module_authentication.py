"""Modules that break a clause on Challenge and Proof (SPEC.md, 9)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import Capability, ErrorCode
from lenslink_protocol.messages import Challenge, Proof
from lenslink_protocol.params import AUTH_BYTES

from .plain_module import FIRMWARE, SERIAL, TOY_SCHEME, PlainModule, Refused
from .virtual_module import KEY


class ProvesAnything(PlainModule):
    """Has a proof for every scheme."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        if not self.used_capabilities & Capability.AUTH:
            raise Refused(ErrorCode.UNSUPPORTED)
        self.answer(number, Proof(message.scheme, self.proof_of(message.challenge)))


class ProvesWithoutCapability(PlainModule):
    """Proves in a session without AUTH."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        if message.scheme != 0x8000:
            raise Refused(ErrorCode.UNSUPPORTED)
        self.answer(number, Proof(message.scheme, self.proof_of(message.challenge)))


class EmptyProof(PlainModule):
    """Has an empty proof."""

    def proof_of(self, challenge: bytes) -> bytes:
        del challenge
        return b""


class ProvesFirstHalf(PlainModule):
    """Proves over the first half of the challenge."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[: len(challenge) // 2])


class ProvesSevenBytes(PlainModule):
    """Proves over the first seven bytes of the challenge."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[:7])


class ProvesAllButTheLast(PlainModule):
    """Proves over all bytes of the challenge but the last."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[:-1])


class HalfAProof(PlainModule):
    """Sends the first half of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        return super().hmac_of(challenge)[:16]


class ProvesForAnySession(PlainModule):
    """Leaves the session out of its proof: an old proof is as good as a new one."""

    def hmac_of(self, challenge: bytes) -> bytes:
        return make_proof(KEY, challenge, 0, SERIAL, FIRMWARE)


class ProvesForAnyModule(PlainModule):
    """Leaves its serial number out of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(KEY, challenge, self.session.nonce, "", FIRMWARE)


class ProvesForAnyFirmware(PlainModule):
    """Leaves its firmware out of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(KEY, challenge, self.session.nonce, SERIAL, "")


class HasAnotherKey(PlainModule):
    """Proves with a key that is not its maker's."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(bytes(32), challenge, self.session.nonce, SERIAL, FIRMWARE)


class TakesShortChallenges(PlainModule):
    """Fills a short challenge up with zeros, and cuts a long one."""

    def is_challenge(self, challenge: bytes) -> bool:
        return bool(challenge)

    def hmac_of(self, challenge: bytes) -> bytes:
        return super().hmac_of(challenge[:32].ljust(32, b"\0"))


class LowByteOfTheScheme(PlainModule):
    """Looks at the low byte of a scheme of this specification."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        is_vendors = message.scheme >= 0x8000
        scheme = message.scheme if is_vendors else message.scheme & 0xFF
        super().on_challenge(number, replace(message, scheme=scheme))


class AnySchemeIsItsOwn(PlainModule):
    """Takes scheme 0 for its own."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        super().on_challenge(number, replace(message, scheme=message.scheme or TOY_SCHEME))


class NoProofWhileStreaming(PlainModule):
    """Refuses a challenge while a stream runs."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        if self.running_streams():
            raise Refused(ErrorCode.STATE)
        super().on_challenge(number, message)


class ProvesTheSum(PlainModule):
    """Proves over the sum of the challenge's bytes."""

    def proof_of(self, challenge: bytes) -> bytes:
        return b"toy" + sum(challenge).to_bytes(8, "little")


class ProvesTheFirst32(PlainModule):
    """Proves over no more than 32 bytes of a challenge."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[:AUTH_BYTES])


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-AUTH-1": (
        ProvesAnything,
        ProvesWithoutCapability,
        EmptyProof,
        LowByteOfTheScheme,
        AnySchemeIsItsOwn,
        NoProofWhileStreaming,
    ),
    "M-AUTH-2": (
        ProvesFirstHalf,
        ProvesSevenBytes,
        ProvesAllButTheLast,
        ProvesTheSum,
        ProvesTheFirst32,
        NoProofWhileStreaming,
    ),
    "M-AUTH-3": (
        HalfAProof,
        ProvesForAnySession,
        ProvesForAnyModule,
        ProvesForAnyFirmware,
        HasAnotherKey,
        TakesShortChallenges,
    ),
    "M-STATE-1": (NoProofWhileStreaming,),
}
"""The plain modules that break a clause."""
