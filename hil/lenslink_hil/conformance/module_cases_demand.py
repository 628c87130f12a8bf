"""Cases for modules: proofs, and states that have to be asked for (SPEC.md, sections 9 and 10).

What is proved there belongs to other sections too: that a silence is announced, that Pending is
followed by an answer, that a session which the module ends is ended in order.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import (
    Capability,
    CloseReason,
    Damage,
    ErrorCode,
    MessageType,
    NoticeReason,
    TestAction,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Busy,
    Challenge,
    Close,
    Error,
    GetManifest,
    Heartbeat,
    Notice,
    Pending,
    Proof,
    Test,
)
from lenslink_protocol.params import MAX_BUSY_MS, SILENCE_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, HostPeer
from .module_steps import check_answers
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_BUSY_MS = 700
_STALL_MS = 400
_PENDING_MS = 700
_DETACH_MS = 200
_ALIVE_S = SILENCE_MS / 2000
_BEAT_S = 0.05
EXACT = 0.97
"""A module's time may be this much of the kit's. Time is counted from before the Test was sent."""
_WHOLE = 32
"""Bytes of a challenge."""
SCHEMES = (*range(1, 9), *range(0x8000, 0x8008))
"""Schemes that are tried, and that the modules of host_cases_auth list."""
# What a module answers that has never heard of the request, and one that has.
_REFUSALS = (ErrorCode.UNSUPPORTED, ErrorCode.UNKNOWN_REQUEST)


def open_test_session(peer: HostPeer) -> None:
    """A session in which the module can be driven into states."""
    if not peer.open_session(ALL | Capability.TEST).capabilities & Capability.TEST:
        raise NotClaimed("the module does not let itself be driven into states (no TEST)")


def expect_refusal(peer: HostPeer, message: AnyMessage) -> None:
    """Fail unless the module refuses the message."""
    answer = peer.try_call(message)
    refused = isinstance(answer, Error) and answer.code in _REFUSALS
    check(
        refused,
        f"{describe(message)} gets {describe(answer)} in a session without the capability",
    )


def wait_for_type(peer: HostPeer, kind: int, since: int, seconds: float = 1.0) -> Packet | None:
    """Return the first packet of a type after position *since*, or None if it does not arrive."""
    return peer.wait_for(lambda p: p.kind == kind, seconds, since)


# --- tests ------------------------------------------------------------------------------------


@CASES.add("M-TEST-1")
def tests_without_the_capability(peer: HostPeer) -> None:
    """Every action is refused where the session does not have TEST, and none is taken."""
    peer.open_session()
    for action in TestAction:
        expect_refusal(peer, Test(action, Damage.PAYLOAD, 300))
    mark = len(peer.log)
    peer.collect()
    taken = [str(p) for p in peer.log[mark:] if p.kind != MessageType.LOG]
    check(not taken and not peer.damage, f"after tests that were refused: {taken} {peer.damage}")
    check_answers(peer)


@CASES.add("M-TEST-1")
def tests_that_there_are_not(peer: HostPeer) -> None:
    """Unknown actions and damages, long durations, and an action during another are refused."""
    open_test_session(peer)
    for message in (
        Test(0, 0, 0),
        Test(max(TestAction) + 1, 0, 0),
        Test(TestAction.REJECT, 0, 0),
        Test(TestAction.REJECT, max(Damage) + 1, 0),
        *(Test(action, Damage.PAYLOAD, MAX_BUSY_MS + 1) for action in TestAction),
    ):
        peer.expect_error(message, ErrorCode.UNSUPPORTED)
    # DETACH is answered at once and stays under way, so the host sends one request at a time.
    peer.call(Test(TestAction.DETACH, 0, _PENDING_MS), Accepted)
    peer.expect_error(Test(TestAction.REJECT, Damage.PAYLOAD, 0), ErrorCode.STATE)
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
    check(closed, "an action ends when a second one is refused")


@CASES.add("M-TEST-2")
def stalls(peer: HostPeer) -> None:
    """STALL: an answer stops inside, and comes whole when the time is over; nothing is lost."""
    open_test_session(peer)
    began = peer.wire.now()
    peer.call(Test(TestAction.STALL, 0, _STALL_MS), Accepted)
    check_answers(peer)
    late = peer.wire.now() - began
    exact = late >= EXACT * _STALL_MS / 1000
    check(exact, f"a stall of {_STALL_MS} ms lasted {late * 1000:.0f} ms")
    check_answers(peer)
    check(not peer.damage, f"a stall damages: {peer.damage}")
    _check_gaps(peer, 0)


@CASES.add("M-TEST-2")
def damages(peer: HostPeer) -> None:
    """REJECT: one packet is damaged as asked, has its own sequence, and the session goes on."""
    open_test_session(peer)
    for count, damage in enumerate(Damage):
        before = len(peer.damage)
        peer.call(Test(TestAction.REJECT, damage, 0), Accepted)
        check_answers(peer)
        found = peer.damage[before:]
        word = damage.name.lower()
        check(
            any(word in each for each in found),
            f"a damaged {word} was asked for, came {found}",
        )
        _check_gaps(peer, count + 1)
    check(not wait_for_type(peer, MessageType.CLOSE, 0, 0.0), "the damaged packet came whole too")


def _check_gaps(peer: HostPeer, count: int) -> None:
    numbers = [packet.header.sequence for packet in peer.log]
    lost = sum(((after - before) & 0xFFFFFFFF) - 1 for before, after in pairwise(numbers))
    check(lost == count, f"{lost} packets are missing where {count} were to be damaged")


@CASES.add("M-LIVE-3", "M-TEST-2")
def busy_is_announced(peer: HostPeer) -> None:
    """BUSY while a stream runs: no silence without a lease, and life again once it is over."""
    open_test_session(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    mark, asked = len(peer.log), peer.wire.now()
    peer.call(Test(TestAction.BUSY, 0, _BUSY_MS), Accepted)
    end = peer.wire.now() + _BUSY_MS / 1000 + _ALIVE_S + 0.2
    while peer.wire.now() < end:
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
        peer.collect(_BEAT_S)
    log = peer.log[mark:]
    leases = [(p.at, p.message()) for p in log if p.kind == MessageType.BUSY]
    busy_packet = next((p for p in log if p.kind == MessageType.BUSY), None)
    for before, after in pairwise([*(p.at for p in log), peer.wire.now()]):
        if after - before < _ALIVE_S:
            continue
        said = [m for at, m in leases if at <= before and isinstance(m, Busy)]
        check(said, f"{after - before:.2f} s of silence without Busy before it")
        lease = max(m.lease_ms for m in said) / 1000
        check(lease <= MAX_BUSY_MS / 1000, f"a lease of {lease:g} s")
        late = after - before - lease
        check(late <= _ALIVE_S, f"silent for {late:.2f} s after the end of its lease")
    if busy_packet is None:
        raise Failed("BUSY is accepted, and Busy is not said")
    _, busy = leases[0]
    assert isinstance(busy, Busy)
    check(busy.lease_ms >= _BUSY_MS, f"a lease of {busy.lease_ms} ms for {_BUSY_MS} ms")
    # Busy came after the Test, so the silence ends no earlier than this.
    first = asked + EXACT * _BUSY_MS / 1000
    inside = [str(p) for p in log[log.index(busy_packet) + 1 :] if p.at < first]
    check(not inside, f"not silent while it is BUSY: {inside[:3]}")


@CASES.add("M-REQ-5", "M-TEST-2")
def pending_then_the_answer(peer: HostPeer) -> None:
    """PENDING: Pending under the request's id, then its answer when the lease is over."""
    open_test_session(peer)
    mark, began = len(peer.log), peer.wire.now()
    number = peer.send_request(Test(TestAction.PENDING, 0, _PENDING_MS))
    found = wait_for_type(peer, MessageType.PENDING, mark)
    if found is None:
        raise Failed("Pending does not come within 1 s")
    check(found.id == number, f"{describe(found)} for request {number}")
    message = found.message()
    assert isinstance(message, Pending)
    check(message.lease_ms <= MAX_BUSY_MS, f"a lease of {message.lease_ms} ms")
    answer = peer.wait_for_answer(number, message.lease_ms / 1000 + _ALIVE_S, mark)
    check(answer is not None, f"no answer within its lease of {message.lease_ms} ms")
    late = peer.wire.now() - began
    exact = late >= EXACT * _PENDING_MS / 1000
    check(exact, f"answered after {late:.2f} s, not {_PENDING_MS} ms")
    check_answers(peer)


@CASES.add("M-CLOSE-2", "M-TEST-2")
def detaches_in_order(peer: HostPeer) -> None:
    """DETACH: a notice, then Close with its reason, then nothing; the next session is answered."""
    open_test_session(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    mark = len(peer.log)
    peer.call(Test(TestAction.DETACH, 0, _DETACH_MS), Accepted)
    notice = wait_for_type(peer, MessageType.NOTICE, mark)
    message = notice.message() if notice else None
    release = isinstance(message, Notice) and message.reason == NoticeReason.RELEASE
    check(release, f"before it detaches the module says {describe(message)}")
    _check_close(peer, mark, 2.0)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.close()


@CASES.add("M-CLOSE-2")
def taken_off(peer: HostPeer) -> None:
    """The module is taken off while it streams: Close with its reason, then nothing."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    mark = len(peer.log)
    if not peer.wire.set_attached(False):
        raise NotClaimed("this bench cannot detach the module")
    try:
        _check_close(peer, mark, 2.0)
    finally:
        peer.wire.set_attached(True)
    peer.start_session().open_session()


def _check_close(peer: HostPeer, mark: int, seconds: float) -> None:
    closed = wait_for_type(peer, MessageType.CLOSE, mark, seconds)
    if closed is None:
        raise Failed("a session that the module ends is not closed")
    message = closed.message()
    said = isinstance(message, Close) and message.reason == CloseReason.DETACH
    check(said, f"a module that is detached says {describe(message)}")
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    peer.send_request(GetManifest(0))
    peer.collect()
    after = [str(p) for p in peer.log[peer.log.index(closed) + 1 :]]
    check(not after, f"behind Close: {after[:3]}")


# --- proofs -----------------------------------------------------------------------------------


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
    if not found:
        raise NotClaimed("the module has none of the schemes that are tried")
