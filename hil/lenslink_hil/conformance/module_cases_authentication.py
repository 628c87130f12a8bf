"""Cases for modules: Challenge and Proof (SPEC.md, 9)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import AuthScheme, Capability, ErrorCode
from lenslink_protocol.messages import Accepted, Challenge, Error, Proof, Stop
from lenslink_protocol.params import AUTH_BYTES

from .cases import Cases, NotClaimed, NotRun, check
from .host_peer import ALL, PLENTY, PREVIEW, HostPeer
from .module_steps import expect_refusal
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_WHOLE = 32
"""Bytes of a challenge."""

SCHEMES = (*range(1, 9), *range(0x8000, 0x8008))
"""Schemes that are tried, and that the modules of host_cases_authentication list."""


@CASES.add("M-AUTH-1")
def challenge_without_the_capability(peer: HostPeer) -> None:
    """A challenge is refused in a session without AUTH."""
    peer.open_session()
    for scheme in (SCHEMES[0], 0x8000):
        expect_refusal(peer, Challenge(scheme, peer.source.randbytes(_WHOLE)))


def _collect_proofs(peer: HostPeer) -> list[tuple[int, Proof]]:
    """Each scheme that is tried and answered with a proof."""
    if not peer.open_session(ALL | Capability.AUTH).capabilities & Capability.AUTH:
        raise NotClaimed("the module proves nothing (no AUTH)")
    found = []
    for scheme in SCHEMES:
        answer = peer.try_call(Challenge(scheme, peer.source.randbytes(_WHOLE)))
        if isinstance(answer, Proof):
            found.append((scheme, answer))
            continue
        refused = isinstance(answer, Error) and answer.code == ErrorCode.UNSUPPORTED
        check(refused, f"a challenge of scheme {scheme:#x} is answered with {describe(answer)}")
    return found


@CASES.add("M-AUTH-1")
def proof_of_its_scheme(peer: HostPeer) -> None:
    """Proof names the scheme of the challenge, and holds something; other schemes are refused."""
    found = _collect_proofs(peer)
    for scheme, answer in found:
        check(answer.scheme == scheme, f"a challenge of {scheme:#x}, a proof of {answer.scheme:#x}")
        check(answer.proof, f"an empty proof of scheme {scheme:#x}")
    if not found:
        raise NotClaimed("the module has none of the schemes that are tried")


@CASES.add("M-AUTH-1")
def no_scheme_is_every_scheme(peer: HostPeer) -> None:
    """A module has few schemes: of sixteen that are tried it refuses at least one."""
    found = _collect_proofs(peer)
    names = [f"{scheme:#x}" for scheme, _ in found]
    check(len(found) < len(SCHEMES), f"the module has a proof for every scheme: {names}")
    if not found:
        raise NotClaimed("the module has none of the schemes that are tried")


@CASES.add("M-AUTH-2")
def proofs_differ(peer: HostPeer) -> None:
    """Challenges that differ in one bit, in any place, have different proofs."""
    found = _collect_proofs(peer)
    for scheme, _ in found:
        base = peer.source.randbytes(_WHOLE)
        first = peer.call(Challenge(scheme, base), Proof)
        for place in (0, 1, 7, 8, _WHOLE // 2 - 1, _WHOLE // 2, _WHOLE - 2, _WHOLE - 1):
            other = bytearray(base)
            other[place] ^= 1
            second = peer.call(Challenge(scheme, bytes(other)), Proof)
            said = f"scheme {scheme:#x} has one proof for challenges that differ in byte {place}"
            check(first.proof != second.proof, said)
        swapped = base[-1:] + base[1:-1] + base[:1]
        swapped = swapped if swapped != base else base[1:] + base[:1]
        for changed in (swapped, base + b"\0", base + base[:1], base[:-1]):
            answer = peer.try_call(Challenge(scheme, changed))
            proof = answer.proof if isinstance(answer, Proof) else b""
            said = f"scheme {scheme:#x} has one proof for {base.hex()} and {changed.hex()}"
            check(first.proof != proof, said)
    if not found:
        raise NotClaimed("the module has none of the schemes that are tried")


def _open_for_hmac(peer: HostPeer) -> None:
    """Open a session of a module that has HMAC_SHA256."""
    has_auth = peer.open_session(ALL | Capability.AUTH).capabilities & Capability.AUTH
    if not has_auth or AuthScheme.HMAC_SHA256 not in peer.get_manifest().schemes:
        raise NotClaimed("the module does not have HMAC_SHA256")


@CASES.add("M-AUTH-3")
def hmac_of_whole_challenges(peer: HostPeer) -> None:
    """A challenge of HMAC_SHA256 that does not have 32 bytes is refused."""
    _open_for_hmac(peer)
    for length in (0, 1, 16, AUTH_BYTES - 1, AUTH_BYTES + 1, 2 * AUTH_BYTES):
        challenge = peer.source.randbytes(length)
        peer.expect_error(Challenge(AuthScheme.HMAC_SHA256, challenge), ErrorCode.UNSUPPORTED)
    challenge = peer.source.randbytes(AUTH_BYTES)
    found = peer.call(Challenge(AuthScheme.HMAC_SHA256, challenge), Proof)
    check(len(found.proof) == AUTH_BYTES, f"a proof of {len(found.proof)} bytes")


@CASES.add("M-AUTH-3")
def hmac_is_right(peer: HostPeer) -> None:
    """The proof is that of the key, for this challenge, session, serial number and firmware."""
    for session in (peer, peer.start_session()):
        _open_for_hmac(session)
        if session.key is None:
            raise NotRun("it needs the module's key: --key FILE")
        manifest = session.get_manifest()
        for _ in range(2):
            challenge = session.source.randbytes(AUTH_BYTES)
            found = session.call(Challenge(AuthScheme.HMAC_SHA256, challenge), Proof)
            expected = make_proof(
                session.key, challenge, session.nonce, manifest.serial, manifest.firmware
            )
            check(
                found.proof == expected, "the proof is not that of the key that the kit was given"
            )
        session.close()


@CASES.add("M-AUTH-1")
def numbers_near_its_schemes(peer: HostPeer) -> None:
    """Scheme 0, and one with the low byte of a listed scheme, are refused with UNSUPPORTED."""
    _collect_proofs(peer)
    listed = set(peer.get_manifest().schemes)
    for scheme in {0, 0xFFFF, *(each ^ 0x100 for each in listed)} - listed:
        challenge = peer.source.randbytes(AUTH_BYTES)
        peer.expect_error(Challenge(scheme, challenge), ErrorCode.UNSUPPORTED)


@CASES.add("M-AUTH-1", "M-AUTH-2", "M-STATE-1")
def proofs_while_a_stream_runs(peer: HostPeer) -> None:
    """A challenge is answered while streams run, and once more, as it is before them."""
    found = _collect_proofs(peer)
    if not found:
        raise NotClaimed("the module has none of the schemes that are tried")
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW)
    for scheme, _ in found:
        challenge = Challenge(scheme, peer.source.randbytes(AUTH_BYTES))
        proof = peer.call(challenge, Proof)
        check(proof.scheme == scheme, f"a challenge of {scheme:#x}, a proof of {proof.scheme:#x}")
        check(proof.proof, f"an empty proof of scheme {scheme:#x}")
        other = peer.call(Challenge(scheme, peer.source.randbytes(AUTH_BYTES)), Proof)
        check(other.proof != proof.proof, f"scheme {scheme:#x} repeats a proof")
    peer.call(Stop(PREVIEW), Accepted)
