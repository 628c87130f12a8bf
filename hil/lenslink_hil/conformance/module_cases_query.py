"""Cases for modules: what Query remembers (SPEC.md, 4.3)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import MessageType, Outcome, TestAction
from lenslink_protocol.messages import Capture, Close, Configure, Query, QueryReply, Stop, Test

from .cases import Cases, NotClaimed, check
from .host_peer import PREVIEW, STILL, HostPeer
from .module_steps import (
    check_answers,
    open_next_connection,
    open_test_session,
    wait_for_type,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_LATE_MS = 150
"""Time for a few requests before a pending one is answered."""


def _check_outcomes(peer: HostPeer, session: int, wanted: dict[int, Outcome]) -> None:
    for request, outcome in wanted.items():
        answer = peer.call(Query(session, request), QueryReply)
        said = f"outcome {answer.outcome} of request {request}, which is {outcome.name}"
        check(answer.outcome == outcome, said)


@CASES.add("M-QUERY-1")
def outcomes(peer: HostPeer) -> None:
    """What became of requests: executed, refused, never sent; of this session and of the last."""
    peer.open_session()
    done = peer.send_request(Configure(STILL, 0, peer.find_smallest_mode().id, 0, 0))
    peer.wait_for_answer(done)
    refused = peer.send_request(Configure(STILL, 0, 65000, 0, 0))
    peer.wait_for_answer(refused)
    wanted = {done: Outcome.DONE, refused: Outcome.NOT_DONE, refused + 1000: Outcome.NOT_DONE}
    _check_outcomes(peer, peer.nonce, wanted)
    fresh = peer.start_session()
    fresh.open_session()
    _check_outcomes(fresh, peer.nonce, wanted)
    _check_outcomes(fresh, peer.nonce ^ 0x5A5A5A5A, {done: Outcome.UNKNOWN})
    fresh.close()


def _make_history(peer: HostPeer) -> dict[int, Outcome]:
    """Make four requests, the first of which is refused; return what became of each."""
    mode = peer.find_smallest_mode().id
    wanted = {}
    for message, outcome in (
        (Configure(STILL, 0, 65000, 0, 0), Outcome.NOT_DONE),
        (Configure(STILL, 0, mode, 0, 0), Outcome.DONE),
        (Configure(PREVIEW, 0, mode, 0, 0), Outcome.DONE),
        (Stop(STILL), Outcome.DONE),
    ):
        number = peer.send_request(message)
        check(peer.wait_for_answer(number), f"{describe(message)} is not answered")
        wanted[number] = outcome
    wanted[peer.next_id + 7] = Outcome.NOT_DONE
    return wanted


def _check_history(peer: HostPeer, nonce: int, wanted: dict[int, Outcome], where: str) -> None:
    for number, outcome in wanted.items():
        answer = peer.call(Query(nonce, number), QueryReply)
        known = Outcome(answer.outcome).name if answer.outcome in set(Outcome) else answer.outcome
        said = f"of request {number} of {where} the module says {known}, not {outcome.name}"
        check(answer.outcome == outcome, said)


@CASES.add("M-QUERY-1")
def four_requests_are_remembered(peer: HostPeer) -> None:
    """The last four requests of this session, and a request that was never sent."""
    peer.open_session()
    wanted = _make_history(peer)
    _check_history(peer, peer.nonce, wanted, "this session")
    # To ask is no request that pushes another out.
    _check_history(peer, peer.nonce, wanted, "this session, asked again")


@CASES.add("M-QUERY-1")
def two_sessions_are_remembered(peer: HostPeer) -> None:
    """The last four requests of each of the last two sessions that ended."""
    histories = []
    session = peer
    for _ in range(2):
        session.open_session()
        histories.append((session.nonce, _make_history(session)))
        session.close()
        session = peer.start_session()
    session.open_session()
    for (nonce, wanted), where in zip(
        histories, ("the session before the last", "the last session"), strict=True
    ):
        _check_history(session, nonce, wanted, where)
    unknown = session.call(Query(session.nonce ^ 0xABCD, 1), QueryReply)
    check(unknown.outcome == Outcome.UNKNOWN, "a session that never was is not UNKNOWN")


@CASES.add("M-QUERY-1")
def two_sessions_of_one_nonce(peer: HostPeer) -> None:
    """Of two sessions with the same nonce the newer one is meant, open or ended."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    fits, fails = Configure(STILL, 0, mode, 0, 0), Configure(STILL, 0, 65000, 0, 0)
    first = peer.next_id
    for message in (fits, fails):
        peer.try_call(message)
    peer.close()
    second = peer.start_session()
    second.nonce = peer.nonce
    second.open_session()
    second.next_id = first
    for message in (fails, fits):
        second.try_call(message)
    wanted = {first: Outcome.NOT_DONE, first + 1: Outcome.DONE}
    _check_history(second, second.nonce, wanted, "the open session of a nonce that came twice")
    second.close()
    third = peer.start_session()
    third.open_session()
    _check_history(third, second.nonce, wanted, "the newer session of a nonce that came twice")
    third.close()


@CASES.add("M-QUERY-1")
def remembered_over_a_new_connection(peer: HostPeer) -> None:
    """What became of requests is known after the connection was lost and made again."""
    peer.open_session()
    wanted = _make_history(peer)
    fresh = open_next_connection(peer)
    _check_history(fresh, peer.nonce, wanted, "the session before the new connection")
    fresh.close()


@CASES.add("M-QUERY-1")
def gaps_and_errors(peer: HostPeer) -> None:
    """An id in a gap, one above the newest, and a MALFORMED request are are NOT_DONE."""
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    malformed = peer.take_id()
    peer.wire.send(peer.pack_payload(MessageType.STOP, b"\x40\x00\x00", malformed))
    peer.wait_for_answer(malformed)
    done = peer.send_request(Stop(STILL))
    peer.wait_for_answer(done)
    wanted = {
        gap: Outcome.NOT_DONE,
        malformed: Outcome.NOT_DONE,
        done: Outcome.DONE,
        done + 1: Outcome.NOT_DONE,
    }
    for number, outcome in wanted.items():
        answer = peer.call(Query(peer.nonce, number), QueryReply)
        said = f"the outcome of request {number} is {answer.outcome}, not {outcome.name}"
        check(answer.outcome == outcome, said)


@CASES.add("M-QUERY-1")
def a_capture_without_a_frame(peer: HostPeer) -> None:
    """A Capture whose session ends before its first FrameStart was sent is NOT_DONE."""
    peer.open_session()
    peer.configure(STILL)
    number = peer.take_id()
    capture = peer.build_packet(Capture(STILL, 1), number)
    # In one piece, so that no frame can begin in between.
    peer.wire.send(capture + peer.build_packet(Close(0)))
    peer.collect(0.2)
    accepted = any(p.kind == MessageType.ACCEPTED and p.id == number for p in peer.log)
    begun = any(p.kind == MessageType.FRAME_START for p in peer.log)
    fresh = peer.start_session()
    fresh.open_session()
    if begun:
        raise NotClaimed("the module begins a frame before it looks at the next request")
    answer = fresh.call(Query(peer.nonce, number), QueryReply)
    said = f"a Capture without a frame (accepted: {accepted}) has outcome {answer.outcome}"
    check(answer.outcome == Outcome.NOT_DONE, said)
    fresh.close()


@CASES.add("M-QUERY-1")
def query_of_a_pending_request(peer: HostPeer) -> None:
    """The outcome of a request that is under way is UNKNOWN, and later DONE.

    A newer request, which the host makes once it has given up the first one, changes nothing.
    """
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 600))
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    for when in ("that is under way", "that is under way, behind a newer one,"):
        outcome = peer.call(Query(peer.nonce, number), QueryReply).outcome
        said = f"the outcome of a request {when} is {outcome}, not UNKNOWN"
        check(outcome == Outcome.UNKNOWN, said)
        # With two each time, the ids of four answered requests are above that of the late one.
        check_answers(peer)
        check_answers(peer)
    check(peer.wait_for_answer(number, 2.0, mark), "a pending request is never answered")
    outcome = peer.call(Query(peer.nonce, number), QueryReply).outcome
    check(outcome == Outcome.DONE, f"after Accepted the outcome is {outcome}, not DONE")
    # One that was executed while it was pending is pushed out before it, and was done all the same.
    done = number + 2
    for _ in range(3):
        check_answers(peer)
    outcome = peer.call(Query(peer.nonce, done), QueryReply).outcome
    said = f"request {done}, answered before an older one that was pending, has outcome {outcome}"
    check(outcome != Outcome.NOT_DONE, said)


@CASES.add("M-QUERY-1")
def behind_two_late_answers(peer: HostPeer) -> None:
    """No request that was executed is NOT_DONE, when two were answered behind newer ones."""
    open_test_session(peer)
    executed: list[int] = []
    for _ in range(2):
        mark = len(peer.log)
        late = peer.send_request(Test(TestAction.PENDING, 0, _LATE_MS))
        check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
        for _ in range(2):
            executed.append(peer.next_id)
            check_answers(peer)
        check(peer.wait_for_answer(late, 2.0, mark), "a pending request is never answered")
        executed.append(late)
        _check_executed(peer, executed)
    for _ in range(3):
        executed.append(peer.next_id)
        check_answers(peer)
        _check_executed(peer, executed)


def _check_executed(peer: HostPeer, numbers: list[int]) -> None:
    """Fail if Query calls a request NOT_DONE. All of *numbers* were executed."""
    for number in numbers:
        outcome = peer.call(Query(peer.nonce, number), QueryReply).outcome
        said = f"request {number}, which was executed, is NOT_DONE"
        check(outcome != Outcome.NOT_DONE, said)
