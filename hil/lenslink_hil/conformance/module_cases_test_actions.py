"""Cases for modules: test actions (SPEC.md, 10)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import (
    BusyReason,
    CloseReason,
    Damage,
    ErrorCode,
    MessageType,
    NoticeReason,
    TestAction,
)
from lenslink_protocol.messages import (
    Accepted,
    Busy,
    Close,
    Error,
    Flush,
    GetManifest,
    Heartbeat,
    ManifestPiece,
    Notice,
    Pending,
    Stop,
    Test,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_BUSY_MS

from .cases import Cases, Failed, check
from .host_peer import PLENTY, PREVIEW, HostPeer
from .module_steps import (
    MIN_TIME_SHARE,
    TEST_PENDING_MS,
    check_answers,
    expect_refusal,
    open_test_session,
    wait_for_type,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_STALL_MS = 400
_SHORT_BUSY_MS = 500
_LONG_DETACH_MS = 400
_BRIEF_MS = 20


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
    peer.call(Test(TestAction.DETACH, 0, TEST_PENDING_MS), Accepted)
    peer.expect_error(Test(TestAction.REJECT, Damage.PAYLOAD, 0), ErrorCode.STATE)
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
    check(closed, "an action ends when a second one is refused")


@CASES.add("M-TEST-1")
def unsupported_before_state(peer: HostPeer) -> None:
    """While an action is under way, one that there is not is UNSUPPORTED, the others are STATE."""
    open_test_session(peer)
    peer.call(Test(TestAction.DETACH, 0, 600), Accepted)
    peer.expect_error(Test(99, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Test(TestAction.BUSY, 0, MAX_BUSY_MS + 1), ErrorCode.UNSUPPORTED)
    peer.expect_error(Test(TestAction.DETACH, 0, 100), ErrorCode.STATE)
    peer.expect_error(Test(TestAction.PENDING, 0, 100), ErrorCode.STATE)
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
    check(closed, "an action ends when others are refused")


def _check_gaps(peer: HostPeer, count: int) -> None:
    numbers = [packet.header.sequence for packet in peer.log]
    lost = sum(((after - before) & 0xFFFFFFFF) - 1 for before, after in pairwise(numbers))
    check(lost == count, f"{lost} packets are missing where {count} were to be damaged")


@CASES.add("M-TEST-2")
def stalls(peer: HostPeer) -> None:
    """STALL: an answer stops inside, and comes whole when the time is over; nothing is lost."""
    open_test_session(peer)
    began = peer.wire.now()
    peer.call(Test(TestAction.STALL, 0, _STALL_MS), Accepted)
    check_answers(peer)
    late = peer.wire.now() - began
    exact = late >= MIN_TIME_SHARE * _STALL_MS / 1000
    check(exact, f"a stall of {_STALL_MS} ms lasted {late * 1000:.0f} ms")
    check_answers(peer)
    check(not peer.damage, f"a stall damages: {peer.damage}")
    _check_gaps(peer, 0)


@CASES.add("M-TEST-2", "M-FRAME-1")
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


@CASES.add("M-TEST-2", "M-LIVE-3")
def requests_during_busy(peer: HostPeer) -> None:
    """BUSY has the reason and the lease of Table 13; what was asked meanwhile is answered then."""
    open_test_session(peer)
    mark = len(peer.log)
    answer = peer.call(Test(TestAction.BUSY, 0, _SHORT_BUSY_MS), Accepted)
    check(answer.stream == 0, f"Accepted of Test names stream {answer.stream}")
    found = wait_for_type(peer, MessageType.BUSY, mark)
    if found is None:
        raise Failed("BUSY is accepted, and Busy is not said")
    message = found.message()
    assert isinstance(message, Busy)
    wanted = (BusyReason.OTHER, _SHORT_BUSY_MS)
    check((message.reason, message.lease_ms) == wanted, f"BUSY is said as {describe(message)}")
    number = peer.send_request(GetManifest(0))
    early = peer.wait_for_answer(number, 0.6 * _SHORT_BUSY_MS / 1000)
    check(early is None, "a request is answered while the module is BUSY")
    late = peer.wait_for_answer(number, _SHORT_BUSY_MS / 1000 + 0.45)
    check(late, "a request that came while the module was BUSY is not answered after it")
    mark = len(peer.log)
    peer.send(Heartbeat((0, 0, 0), 0))
    peer.wait_for_heartbeat_reply(mark, 1.0)
    again = peer.call(Test(TestAction.REJECT, Damage.HEADER, 0), Accepted)
    check(again.stream == 0, "the next action is not accepted")
    check_answers(peer)


@CASES.add("M-TEST-2", "M-REQ-5")
def the_lease_of_pending(peer: HostPeer) -> None:
    """PENDING has the lease that was asked for; other requests are answered meanwhile."""
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 450))
    found = wait_for_type(peer, MessageType.PENDING, mark)
    message = found.message() if found is not None else None
    fits = isinstance(message, Pending) and message.lease_ms == 450
    check(fits, f"PENDING of 450 ms is said as {describe(message)}")
    early = peer.wait_for_answer(number, 0.3, mark)
    check(early is None, f"a Test of PENDING is answered early, with {describe(early)}")
    late = peer.wait_for_answer(number, 1.0, mark)
    accepted = late is not None and late.kind == MessageType.ACCEPTED
    check(accepted, f"a Test of PENDING gets {describe(late)}")


@CASES.add("M-TEST-2", "M-CLOSE-2")
def the_time_of_detach(peer: HostPeer) -> None:
    """DETACH: Accepted, Notice with the time, Close after that time and not before."""
    open_test_session(peer)
    mark, began = len(peer.log), peer.wire.now()
    peer.call(Test(TestAction.DETACH, 0, _LONG_DETACH_MS), Accepted)
    notice = wait_for_type(peer, MessageType.NOTICE, mark)
    message = notice.message() if notice else None
    fits = isinstance(message, Notice) and (message.reason, message.within_ms) == (
        NoticeReason.RELEASE,
        _LONG_DETACH_MS,
    )
    check(fits, f"DETACH in {_LONG_DETACH_MS} ms is said as {describe(message)}")
    kinds = [p.kind for p in peer.log[mark:] if p.kind != MessageType.LOG]
    check(kinds[0] == MessageType.ACCEPTED, "the Notice comes before Accepted")
    check_answers(peer)
    closed = wait_for_type(peer, MessageType.CLOSE, mark, 2.0)
    if closed is None:
        raise Failed("DETACH is accepted, and the session is not closed")
    after = closed.at - began
    check(
        after >= MIN_TIME_SHARE * _LONG_DETACH_MS / 1000,
        f"closed after {after:.2f} s, not {_LONG_DETACH_MS} ms",
    )
    end = closed.message()
    said = isinstance(end, Close) and end.reason == CloseReason.DETACH
    check(said, f"a module that detaches says {describe(end)}")


@CASES.add("M-TEST-2")
def a_session_ends_its_action(peer: HostPeer) -> None:
    """An action ends with its session: the next one is not closed by it, and can begin another."""
    open_test_session(peer)
    peer.call(Test(TestAction.DETACH, 0, 500), Accepted)
    fresh = peer.start_session()
    open_test_session(fresh)
    fresh.call(Test(TestAction.REJECT, Damage.PAYLOAD, 0), Accepted)
    fresh.collect(0.8)
    closed = [p for p in fresh.log if p.kind == MessageType.CLOSE]
    check(not closed, "an action of the session before closes the next one")
    check_answers(fresh)
    fresh.close()


@CASES.add("M-TEST-2")
def one_close_is_damaged(peer: HostPeer) -> None:
    """REJECT sends one damaged packet for each Test, behind Accepted, and the session goes on."""
    open_test_session(peer)
    for count in range(1, 4):
        peer.call(Test(TestAction.REJECT, Damage.PAYLOAD, 0), Accepted)
        check_answers(peer)
        found = len([each for each in peer.damage if "payload" in each])
        check(found == count, f"{found} damaged packets after {count} tests of REJECT")
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 0.0)
    check(closed is None, "the session is closed")
    answer = peer.try_call(GetManifest(0))
    check(isinstance(answer, (ManifestPiece, Error)), "the session is over after REJECT")


@CASES.add("M-TEST-2")
def each_action_again(peer: HostPeer) -> None:
    """Each action is accepted again once it has ended, in its session and in the next one."""
    session = peer
    for _ in range(2):
        open_test_session(session)
        for action in (
            TestAction.STALL, TestAction.STALL, TestAction.BUSY, TestAction.BUSY,
            TestAction.PENDING, TestAction.PENDING, TestAction.REJECT, TestAction.REJECT,
            TestAction.STALL,
        ):  # fmt: skip
            answer = session.try_call(Test(action, Damage.PAYLOAD, _BRIEF_MS))
            said = f"{action.name}, whose turn it is, is answered with {describe(answer)}"
            check(isinstance(answer, Accepted), said)
            # Its answer comes behind what the action does.
            check_answers(session)
        mark = len(session.log)
        session.call(Test(TestAction.DETACH, 0, _BRIEF_MS), Accepted)
        check(wait_for_type(session, MessageType.CLOSE, mark), "DETACH does not close the session")
        session = session.start_session()


@CASES.add("M-TEST-2")
def what_passes_a_flush(peer: HostPeer) -> None:
    """Flush does not wait for a pending request that the host has given up, and does not end it."""
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 500))
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    flush = peer.send_request(Flush())
    check(peer.wait_for_answer(flush, 0.4), "Flush waits for a pending request")
    answer = peer.wait_for_answer(number, 1.0, mark)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, "a pending request is not answered after a Flush")


@CASES.add("M-TEST-2")
def stalls_inside_the_header(peer: HostPeer) -> None:
    """STALL: half of the next header comes, and no more until the time is over."""
    open_test_session(peer)
    peer.call(Test(TestAction.STALL, 0, 600), Accepted)
    number = peer.send_request(GetManifest(0))
    end = peer.wire.now() + 0.4
    while peer.wire.now() < end:
        peer.listen(0.05)
    count = peer.waiting_bytes
    check(count == HEADER_BYTES // 2, f"a stall lets {count} bytes of the next packet pass")
    check(peer.wait_for_answer(number, 2.0), "the packet of a STALL never comes whole")


@CASES.add("M-TEST-1", "M-TEST-2")
def the_longest_tests(peer: HostPeer) -> None:
    """A duration of MAX_BUSY_MS is taken; damage counts for REJECT only; a session ends each."""
    session = peer
    for action, kind in (
        (TestAction.PENDING, MessageType.PENDING),
        (TestAction.DETACH, MessageType.NOTICE),
    ):
        open_test_session(session)
        mark = len(session.log)
        session.send_request(Test(action, 0xFF, MAX_BUSY_MS))
        found = wait_for_type(session, kind, mark)
        message = found.message() if found is not None else None
        said = f"{action.name} of {MAX_BUSY_MS} ms is said as {describe(message)}"
        lease = getattr(message, "lease_ms", getattr(message, "within_ms", 0))
        check(lease == MAX_BUSY_MS, said)
        session.expect_error(Test(TestAction.REJECT, Damage.PAYLOAD, 0), ErrorCode.STATE)
        session = session.start_session()
    open_test_session(session)
    for damage, ms in ((Damage.HEADER, MAX_BUSY_MS), (Damage.PAYLOAD, 1)):
        answer = session.call(Test(TestAction.REJECT, damage, ms), Accepted)
        check(answer.stream == 0, f"Accepted of Test names stream {answer.stream}")
        check_answers(session)
    session.close()


@CASES.add("M-TEST-2", "M-LIVE-3")
def busy_while_a_stream_runs(peer: HostPeer) -> None:
    """BUSY silences a stream on every lane, and the stream goes on behind it."""
    peer.lanes = peer.wire.lanes
    open_test_session(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    mark = len(peer.log)
    peer.call(Test(TestAction.BUSY, 0, _SHORT_BUSY_MS), Accepted)
    busy = wait_for_type(peer, MessageType.BUSY, mark)
    if busy is None:
        raise Failed("BUSY is accepted, and Busy is not said")
    after = len(peer.log)
    peer.wait_for_frame(PREVIEW, after)
    # What had arrived when the kit read Busy may have been read late.
    quiet = (busy.at + 0.15, busy.at + MIN_TIME_SHARE * _SHORT_BUSY_MS / 1000 - 0.05)
    loud = [str(p) for p in peer.log if quiet[0] < p.at < quiet[1]]
    check(not loud, f"during BUSY of {_SHORT_BUSY_MS} ms comes {loud[:3]}")
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-TEST-1")
def refused_tests_do_nothing(peer: HostPeer) -> None:
    """A Test that is refused with UNSUPPORTED is not under way: each action can follow it."""
    open_test_session(peer)
    for refused in (
        Test(TestAction.BUSY, 0, MAX_BUSY_MS + 1),
        Test(TestAction.PENDING, 0, 0xFFFF),
        Test(TestAction.REJECT, 0, 0),
        Test(TestAction.REJECT, Damage.PAYLOAD, MAX_BUSY_MS + 1),
        Test(0, 0, 0),
        Test(0xFF, 0, 10),
    ):
        mark = len(peer.log)
        peer.expect_error(refused, ErrorCode.UNSUPPORTED)
        peer.call(Test(TestAction.PENDING, 0, 1), Accepted)
        kinds = {p.kind for p in peer.log[mark:]} - {MessageType.LOG}
        allowed = {MessageType.ERROR, MessageType.PENDING, MessageType.ACCEPTED}
        check(kinds <= allowed, f"{describe(refused)} is refused, and taken")
    check(not peer.damage, f"tests that were refused damage: {peer.damage}")
