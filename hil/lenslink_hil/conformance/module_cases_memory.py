"""Cases for modules: what is remembered, and what an event changes of it (SPEC.md, 4.5)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import (
    CalibrationKind,
    Capability,
    ControlId,
    ErrorCode,
    FrameState,
    MessageType,
    Outcome,
    ResendFlag,
)
from lenslink_protocol.messages import (
    BY_TYPE,
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    Close,
    Configure,
    Error,
    Flush,
    Flushed,
    GetCalibration,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Query,
    QueryReply,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_LANES

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, ROI, STILL, HostPeer, read_frame_start
from .module_steps import (
    ALIVE_S,
    ALL_STREAMS,
    SESSION_ENDS,
    SHORT_WAIT_S,
    ask_again,
    block_frame,
    check_answers,
    count_tile_bytes,
    every,
    find_control,
    other_value,
    place_of,
    replace_session,
)
from .packets import MASK_32, Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_LONG_US = 900_000
"""An exposure during which a case makes requests, if the module can do it."""
_NO_REPLIES = (
    MessageType.HEARTBEAT_REPLY, MessageType.LOG, MessageType.EVENT, MessageType.NOTICE,
    MessageType.PENDING, MessageType.RESENT,
)  # fmt: skip


def _start_long_capture(peer: HostPeer, stream: int = STILL, is_capture: bool = True) -> int:
    """Configure a stream, and start a frame whose exposure is long. Return the request's id.

    Raises:
        NotClaimed: The module's longest exposure is too short for the case.
    """
    exposure = min(find_control(peer, ControlId.EXPOSURE).maximum, _LONG_US)
    if exposure < _LONG_US // 3:
        raise NotClaimed(f"the longest exposure is {exposure} us")
    peer.configure(stream)
    data = struct.pack("<HHi", ControlId.EXPOSURE, 0xFFFF, exposure)
    message = Capture(stream, 1, data) if is_capture else StartStream(stream, 0, data)
    number = peer.send_request(message)
    answer = peer.wait_for_answer(number)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, f"{describe(message)} gets {describe(answer)}")
    return number


def _count_replies(peer: HostPeer, number: int) -> int:
    """Return how many answers a request has got so far."""
    return sum(
        p.id == number and p.kind < MessageType.FRAME_START and p.kind not in _NO_REPLIES
        for p in peer.log
    )


# --- a repeated Hello -------------------------------------------------------------------------


@CASES.add("M-HELLO-1", "M-LIVE-2")
def a_hello_while_all_goes_on(peer: HostPeer) -> None:
    """A Hello of the open session changes nothing: streams, settings, counts, offers, frames."""
    peer.lanes = peer.wire.lanes
    session = peer.open_session()
    gain = other_value(peer, ControlId.GAIN)
    free = peer.configure(STILL)
    still = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture(1, [every(ControlId.GAIN, gain)])
    picture = peer.wait_for_frame()
    assert picture.end is not None
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    before = peer.grant_credits(PLENTY, PLENTY)
    mark = len(peer.log)
    peer.send(Hello(0x20, 0x2F, 1, 0, MAX_CONTROL), 9000)
    answer = peer.wait_for_answer(9000, 1.0, mark)
    said = f"a repeated Hello gets {describe(answer)}"
    check(answer is not None and answer.kind == MessageType.HELLO_REPLY, said)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    peer.call(Stop(PREVIEW), Accepted)
    after = peer.grant_credits(PLENTY, PLENTY)
    kept = after.sent[STILL] == before.sent[STILL] and after.begun[STILL] == before.begun[STILL]
    kept = kept and after.sent[PREVIEW] >= before.sent[PREVIEW]
    said = f"behind a repeated Hello sent is {after.sent} and begun {after.begun}"
    check(kept, f"{said}, before it {before.sent} and {before.begun}")
    if session.capabilities & Capability.RESEND:
        message, _ = ask_again(peer, picture.end.id, ResendFlag.START, [])
        known, _ = ask_again(peer, picture.end.id, ResendFlag.START, [])
        same = message.state == known.state
        check(same, f"frame {picture.end.id} is {message.state}, then {known.state}")
    for before_it in (free, still):
        limit = 0 if before_it is free else still.tile_bytes
        size = peer.configure(STILL, limit).tile_bytes
        said = f"tiles of {size} bytes behind a repeated Hello, {before_it.tile_bytes} before"
        check(size == before_it.tile_bytes, said)
    mark = len(peer.log)
    peer.start_capture()
    found = peer.wait_for_frame(STILL, mark)
    start = read_frame_start(found)
    check(start.gain_milli == gain, f"gain {start.gain_milli} behind a repeated Hello, not {gain}")
    peer.collect(SHORT_WAIT_S)
    for lane in range(1, session.lanes):
        earlier, later = (sum(p.lane == lane for p in log) for log in (peer.log[:mark], peer.log))
        said = f"lane {lane} carries nothing more behind a repeated Hello"
        check(later > earlier or not earlier, said)


@CASES.add("M-HELLO-1")
def frames_held_over_a_hello(peer: HostPeer) -> None:
    """What is held for Resend is held over a Hello of the open session, whatever it offers."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    _, picture = peer.take_still(4 * peer.find_smallest_mode().width)
    assert picture.end is not None
    place = place_of(picture.tiles[-1])
    first, came = ask_again(peer, picture.end.id, 0, [place])
    peer.send(Hello(VERSION, VERSION, 1, 0, MAX_CONTROL), 1)
    second, again = ask_again(peer, picture.end.id, 0, [place])
    before, after = (first.state, len(came)), (second.state, len(again))
    said = f"a Resend gets state and tiles {after} behind a repeated Hello, {before} before it"
    check(before == after, said)


@CASES.add("M-HELLO-1", "M-REQ-2", "M-QUERY-1")
def the_id_of_a_repeated_hello(peer: HostPeer) -> None:
    """Another id of a repeated Hello is no request: it is new, and takes no place of the four."""
    peer.open_session()
    made = [(peer.send_request(GetManifest(at)), at) for at in range(3)]
    number, at = peer.send_request(GetManifest(3)), 3
    peer.wait_for_answer(number)
    made.append((number, at))
    for far in (9001, 9002, 9003, 9004):
        peer.send(Hello(VERSION, VERSION, 1, ALL, 1 << 20), far)
        check(peer.wait_for_answer(far, 1.0), "a repeated Hello is not answered")
    outcome = peer.call(Query(peer.nonce, 9004), QueryReply).outcome
    check(outcome == Outcome.NOT_DONE, f"the id of a repeated Hello has outcome {outcome}")
    for number, at in made:
        mark = len(peer.log)
        peer.send(GetManifest(at), number)
        answer = peer.wait_for_answer(number, 1.0, mark)
        kept = answer is not None and answer.kind == MessageType.MANIFEST
        check(kept, f"request {number} of the last four gets {describe(answer)} behind Hellos")
    peer.next_id = 9004
    check_answers(peer)


@CASES.add("M-HELLO-2")
def what_hello_reply_states(peer: HostPeer) -> None:
    """HelloReply states no more lanes than there can be, MAX_CONTROL, and one start of the module.

    Its time goes on from session to session.
    """
    session = peer
    newest: tuple[int, int] | None = None
    for lanes in (MAX_LANES, 255, 1):
        session.lanes = lanes
        reply = session.open_session()
        most = min(lanes, MAX_LANES)
        check(1 <= reply.lanes <= most, f"{lanes} lanes are offered, {reply.lanes} are stated")
        said = f"HelloReply states a max_payload of {reply.max_payload}, not {MAX_CONTROL}"
        check(reply.max_payload == MAX_CONTROL, said)
        session.lanes = 1
        beat = session.grant_credits(0, 0)
        now = (reply.boot_count, reply.uptime_us)
        check(reply.uptime_us <= beat.uptime_us, f"HelloReply is of {now[1]}, {beat.uptime_us} now")
        if newest is not None:
            said = f"start and time are {now} in a session, and were {newest} in the one before"
            check(now[0] == newest[0] and now[1] >= newest[1], said)
        newest = (reply.boot_count, beat.uptime_us)
        session.close()
        session = session.start_session()


# --- answers ----------------------------------------------------------------------------------


@CASES.add("M-REQ-1")
def one_answer_to_each_request(peer: HostPeer) -> None:
    """Each request is answered once; Accepted names its stream, and the next frame's number."""
    peer.open_session()
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    first = peer.next_id
    for stream in ALL_STREAMS:
        peer.configure(stream)
        mark = len(peer.log)
        _check_accepted(peer, Capture(stream, 1), stream)
        end = peer.wait_for_frame(stream, mark).end
        assert end is not None
        after = (end.id + 1) & MASK_32
        # Nothing runs: the number of the next frame is known.
        _check_accepted(peer, Stop(stream), stream, after)
        _check_accepted(peer, SetSettings(stream, b""), stream, after)
        _check_accepted(peer, SetBudget(1 << 31), 0, after)
        _check_accepted(peer, StartStream(stream, 20000), stream, after)
        _check_accepted(peer, SetSettings(stream, b""), stream)
        _check_accepted(peer, Stop(stream), stream)
    for message in (
        GetManifest(0), GetCalibration(CalibrationKind.NOISE, 0), Configure(STILL, 0, 65000, 0, 0),
        Capture(STILL, 0), Challenge(0x9999, b""), Query(peer.nonce, 1), Flush(), Stop(PREVIEW),
    ):  # fmt: skip
        peer.try_call(message)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    peer.collect(SHORT_WAIT_S)
    for number in (first - 1, *range(first, peer.next_id)):
        count = _count_replies(peer, number)
        check(count == 1, f"request {number} has {count} answers")
    hellos = [p for p in peer.log if p.kind == MessageType.HELLO_REPLY]
    check(len(hellos) == 1, f"one Hello has {len(hellos)} answers")


def _check_accepted(
    peer: HostPeer, message: AnyMessage, stream: int, first_frame: int | None = None
) -> None:
    accepted = peer.call(message, Accepted)
    said = f"{describe(message)} gets {describe(accepted)}"
    check(accepted.stream == stream, f"{said}, not stream {stream}")
    fits = first_frame is None or accepted.first_frame == first_frame
    check(fits, f"{said}, and the next frame is {first_frame}")


@CASES.add("M-REQ-2")
def answers_of_every_kind_are_kept(peer: HostPeer) -> None:
    """Any answer is repeated as it was, over a Flush and a Stop too, that of Hello included."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    made: list[tuple[int, AnyMessage, Packet]] = []
    fresh = peer.start_session()
    fresh.open_session(ALL | Capability.AUTH)
    hello = fresh.next_id - 1
    again = _ask_again(fresh, hello, GetManifest(0))
    said = f"a request under the id of Hello, one of the last four, gets {describe(again)}"
    check(again.kind == MessageType.HELLO_REPLY, said)
    for message in (
        Configure(STILL, 0, mode, 0, 0), GetCalibration(CalibrationKind.NOISE, 0),
        Challenge(1, bytes(32)), SetSettings(STILL, b""), SetBudget(1 << 31), GetManifest(2),
        Configure(PREVIEW, 0, mode, 0, 0), StartStream(PREVIEW, 20000), Stop(PREVIEW), Flush(),
        GetManifest(1), Flush(), Stop(STILL),
    ):  # fmt: skip
        number = fresh.send_request(message)
        answer = fresh.wait_for_answer(number)
        if answer is None:
            raise Failed(f"{describe(message)} is not answered")
        made.append((number, message, answer))
        for kept, asked, first in made[-4:]:
            again = _ask_again(fresh, kept, asked)
            end = 8 if first.kind == MessageType.FLUSHED else None
            same = (again.kind, again.payload[:end]) == (first.kind, first.payload[:end])
            said = f"{describe(asked)} got {describe(first)}, and repeated {describe(again)}"
            check(same, said)
    fresh.close()


def _ask_again(peer: HostPeer, number: int, message: AnyMessage) -> Packet:
    """Send a message under an id that was used before, and return the answer."""
    mark = len(peer.log)
    peer.send(message, number)
    answer = peer.wait_for_answer(number, 1.0, mark)
    if answer is None:
        raise Failed(f"{describe(message)} under the id {number}, used before, is not answered")
    return answer


@CASES.add("M-REQ-2", "M-PWR-4")
def an_old_budget_does_not_come_back(peer: HostPeer) -> None:
    """A SetBudget that is repeated behind another one does not change the budget again."""
    peer.open_session()
    mode = peer.configure(STILL).mode
    manifest = peer.read_manifest()
    active = next(each.active_mw for each in manifest.modes if each.id == mode)
    if manifest.power is None or not active:
        raise NotClaimed("the manifest does not state what the module needs")
    number = peer.send_request(SetBudget(1 << 31))
    peer.wait_for_answer(number)
    peer.call(SetBudget(manifest.power.idle_mw + manifest.power.motor_mw), Accepted)
    _ask_again(peer, number, SetBudget(1 << 31))
    peer.expect_error(Capture(STILL, 1), ErrorCode.POWER)


@CASES.add("M-REQ-3")
def ids_far_ahead(peer: HostPeer) -> None:
    """An id that is 2^31 - 1 ahead is new; ids that are 2^31 and more ahead are old."""
    peer.open_session()
    check_answers(peer)
    newest = peer.next_id - 1
    for ahead in (1 << 31, (1 << 31) + 1):
        message = _ask_again(peer, (newest + ahead) & MASK_32, Stop(STILL)).message()
        repeated = isinstance(message, Error) and message.code == ErrorCode.REPEATED
        check(repeated, f"an id {ahead:#x} ahead gets {describe(message)}")
    for _ in range(2):
        newest = (newest + 0x7FFFFFFF) & MASK_32
        answer = _ask_again(peer, newest, GetManifest(0))
        said = f"an id 2^31 - 1 ahead gets {describe(answer)}"
        check(answer.kind == MessageType.MANIFEST, said)


@CASES.add("M-REQ-4", "M-REQ-2")
def types_that_are_no_requests(peer: HostPeer) -> None:
    """Each type that only a module sends is UNKNOWN_REQUEST, under any id, and so is a new one.

    That holds for the id of a kept answer, which is kept all the same, and for an old id.
    """
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    kept = peer.send_request(GetManifest(3))
    first = peer.wait_for_answer(kept)
    if first is None:
        raise Failed("GetManifest is not answered")
    skipped = {
        MessageType.HELLO, MessageType.CLOSE, MessageType.HEARTBEAT, MessageType.RESEND,
        MessageType.QUERY, MessageType.TEST, MessageType.CHALLENGE,
    }  # fmt: skip
    requests = {
        MessageType.GET_MANIFEST, MessageType.GET_CALIBRATION, MessageType.CONFIGURE,
        MessageType.CAPTURE, MessageType.STREAM, MessageType.SET_SETTINGS, MessageType.SET_BUDGET,
        MessageType.STOP, MessageType.FLUSH,
    }  # fmt: skip
    kinds = [int(kind) for kind in BY_TYPE if kind not in skipped | requests]
    for kind in [*kinds, 0x3F, 0x7F, 0xDF]:
        for number, name in ((70_000 + kind, "a new id"), (kept, "a kept id"), (gap, "an old id")):
            mark = len(peer.log)
            peer.wire.send(peer.pack_payload(kind, b"\x02\x00", number))
            answer = _wait_for_error(peer, number, mark)
            message = answer.message() if answer is not None else None
            refused = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
            check(refused, f"type {kind:#04x} under {name} gets {describe(answer)}")
    again = _ask_again(peer, kept, GetManifest(3))
    same = (again.kind, again.payload) == (first.kind, first.payload)
    check(same, f"behind unknown types a repeated request gets {describe(again)}")


def _wait_for_error(peer: HostPeer, number: int, since: int) -> Packet | None:
    """Return the Error under an id. A type that a module sends may have that id too."""
    return peer.wait_for(lambda p: p.id == number and p.kind == MessageType.ERROR, 1.0, since)


@CASES.add("M-STOP-2", "M-REQ-3")
def last_request_is_the_newest(peer: HostPeer) -> None:
    """A repeated request, or one that is REPEATED, is neither the newest id nor last_request."""
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    first = peer.send_request(GetManifest(0))
    peer.wait_for_answer(first)
    newest = peer.send_request(GetManifest(1))
    peer.wait_for_answer(newest)
    for number in (gap, first):
        _ask_again(peer, number, GetManifest(0))
        answer = peer.call(Flush(), Flushed)
        said = f"last_request is {answer.last_request}, {newest} was the newest id"
        check(answer.last_request == newest, said)
        newest = peer.next_id - 1
    again = _ask_again(peer, first, Configure(STILL, 0, 1, 0, 0))
    check(again.kind != MessageType.CONFIGURED, "a request under an old id is executed")


# --- Query ------------------------------------------------------------------------------------


def _check_outcome(peer: HostPeer, nonce: int, number: int, wanted: Outcome, what: str) -> None:
    outcome = peer.call(Query(nonce, number), QueryReply).outcome
    check(outcome == wanted, f"the outcome of {what} is {outcome}, not {wanted.name}")


@CASES.add("M-QUERY-1")
def numbers_of_queries(peer: HostPeer) -> None:
    """A Query is answered under any number: a kept id, an old one, the same for another request."""
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    done = peer.send_request(Stop(STILL))
    peer.wait_for_answer(done)
    refused = peer.send_request(Configure(STILL, 0, 65000, 0, 0))
    peer.wait_for_answer(refused)
    peer.call(Flush(), Flushed)
    wanted = {done: Outcome.DONE, refused: Outcome.NOT_DONE}
    for number in (done, gap, 80_000):
        for request in (done, refused, done):
            mark = len(peer.log)
            peer.send(Query(peer.nonce, request), number)
            answer = peer.wait_for_answer(number, 1.0, mark)
            reply = answer.message() if answer is not None else None
            right = isinstance(reply, QueryReply) and reply.outcome == wanted[request]
            said = f"Query for request {request} under the number {number} gets {describe(answer)}"
            check(right, said)
    mark = len(peer.log)
    peer.send(Query(peer.nonce, done), 80_001)
    peer.collect(0.05)
    count = sum(p.kind == MessageType.QUERY_REPLY for p in peer.log[mark:])
    check(count == 1, f"a Query has {count} answers")


@CASES.add("M-QUERY-1")
def outcomes_of_the_first_requests(peer: HostPeer) -> None:
    """Hello is one of the last four requests; ids below it are not known, in the next session too.

    What was executed and is no longer remembered is not NOT_DONE.
    """
    peer.next_id = 20
    peer.open_session()
    done = peer.send_request(GetManifest(0))
    peer.wait_for_answer(done)
    fresh = peer.start_session()
    for session, where in ((peer, "the open session"), (fresh, "the session before")):
        if session is fresh:
            fresh.open_session()
        _check_outcome(session, peer.nonce, 20, Outcome.DONE, f"Hello of {where}")
        _check_outcome(session, peer.nonce, done, Outcome.DONE, f"a request of {where}")
        _check_outcome(session, peer.nonce, 3, Outcome.UNKNOWN, f"an id below Hello's of {where}")
    numbers = list(range(fresh.next_id, fresh.next_id + 7))
    for _ in numbers:
        check_answers(fresh)
    _ask_again(fresh, numbers[0], GetManifest(0))
    third = fresh.start_session()
    for session in (fresh, third):
        if session is third:
            third.open_session()
        for number in numbers:
            outcome = session.call(Query(fresh.nonce, number), QueryReply).outcome
            said = f"request {number}, which was executed, is NOT_DONE"
            check(outcome != Outcome.NOT_DONE, said)
    third.close()


@CASES.add("M-QUERY-1")
def outcomes_over_the_wrap(peer: HostPeer) -> None:
    """Ids are compared modulo 2^32 in Query too, in this session and in the next."""
    peer.next_id = 0xFFFFFFF0
    peer.open_session()
    numbers = (0xFFFFFFFE, 0xFFFFFFFF, 1, 2)
    for number in numbers:
        peer.send(GetManifest(0), number)
        check(peer.wait_for_answer(number, 1.0), f"request {number:#x} is not answered")
    peer.next_id = 100
    fresh = peer.start_session()
    for session in (peer, fresh):
        if session is fresh:
            fresh.open_session()
        for number in numbers:
            what = f"request {number:#x}, executed"
            _check_outcome(session, peer.nonce, number, Outcome.DONE, what)
        for number, wanted in (
            (0, Outcome.NOT_DONE), (3, Outcome.NOT_DONE), (0xFFFFFFE0, Outcome.UNKNOWN),
        ):  # fmt: skip
            what = f"id {number:#x}, where the last four are 0xfffffffe to 2"
            _check_outcome(session, peer.nonce, number, wanted, what)
    fresh.close()


@CASES.add("M-QUERY-1")
def outcomes_of_captures(peer: HostPeer) -> None:
    """A Capture whose frame was under way when its session ended was executed, StartStream too."""
    session = peer
    for how, is_capture in zip(SESSION_ENDS, (True, False, True), strict=True):
        block_frame(session, PREVIEW, is_capture)
        number = session.next_id - 1
        _check_outcome(session, session.nonce, number, Outcome.DONE, "a request with a frame")
        fresh = replace_session(session, how)
        what = f"a request whose frame had begun before {how}"
        _check_outcome(fresh, session.nonce, number, Outcome.DONE, what)
        session = fresh
    session.close()
    first = session.start_session()
    first.open_session()
    number = _start_long_capture(first)
    _check_outcome(first, first.nonce, number, Outcome.DONE, "a Capture that waits for its frame")
    first.call(Stop(STILL), Accepted)
    _check_outcome(first, first.nonce, number, Outcome.DONE, "a Capture that was stopped")
    fresh = replace_session(first, "Close")
    _check_outcome(fresh, first.nonce, number, Outcome.DONE, "a Capture that was stopped")
    fresh.close()


@CASES.add("M-QUERY-1")
def outcomes_without_a_frame(peer: HostPeer) -> None:
    """Whichever stream it is, and however the session ends: without a frame it is NOT_DONE."""
    session = peer
    session.open_session()
    for how, stream, is_capture in (
        ("Close", PREVIEW, False), ("another Hello", STILL, True), ("a refused Hello", ROI, True),
        ("Close", STILL, False), ("Close", ROI, True),
    ):  # fmt: skip
        number = _start_long_capture(session, stream, is_capture)
        fresh = replace_session(session, how)
        what = f"a request of stream {stream} that had no frame before {how}"
        _check_outcome(fresh, session.nonce, number, Outcome.NOT_DONE, what)
        session = fresh
    session.close()


@CASES.add("M-QUERY-1", "M-HELLO-3")
def refused_hellos_are_no_sessions(peer: HostPeer) -> None:
    """A refused Hello is no session: the last two are remembered over it, and over its Close."""
    sessions: list[tuple[int, int]] = []
    session = peer
    for _ in range(2):
        session.open_session()
        number = session.send_request(Configure(STILL, 0, 65000, 0, 0))
        session.wait_for_answer(number)
        sessions.append((session.nonce, number))
        session.close()
        session = session.start_session()
    for _ in range(3):
        session.try_hello(ALL, (0x20, 0x20), version=0x20)
        session.send(Close(0))
        session.collect(0.02)
        session = session.start_session()
    session.try_hello(ALL, (0x20, 0x20), version=0x20)
    session = session.start_session()
    session.open_session()
    for nonce, number in sessions:
        what = "a refused request of a session before refused Hellos"
        _check_outcome(session, nonce, number, Outcome.NOT_DONE, what)
        what = "Hello of a session before refused Hellos"
        _check_outcome(session, nonce, number - 1, Outcome.DONE, what)
    session.close()


# --- liveness, counts, and the end of a session -----------------------------------------------


@CASES.add("M-LIVE-1", "M-LIVE-2")
def heartbeats_inside_an_exposure(peer: HostPeer) -> None:
    """During a long exposure Heartbeats and requests are answered, and no frame has begun."""
    peer.open_session()
    peer.grant_credits(PLENTY, PLENTY)
    _start_long_capture(peer)
    for _ in range(2):
        peer.collect(0.05)
        mark = len(peer.log)
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
        reply = peer.wait_for_heartbeat_reply(mark, ALIVE_S)
        is_begun = any(p.kind == MessageType.FRAME_START for p in peer.log)
        said = f"begun is {reply.begun} before the first FrameStart"
        check(is_begun or not any(reply.begun), said)
    check_answers(peer)
    peer.call(Stop(STILL), Accepted)


@CASES.add("M-LIVE-2")
def counts_over_requests(peer: HostPeer) -> None:
    """`sent` and `begun` go on over Configure, SetSettings, Stop, Flush and a Resend."""
    session = peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    numbers = []
    for _ in range(2):
        mark = len(peer.log)
        peer.start_capture()
        end = peer.wait_for_frame(STILL, mark).end
        assert end is not None
        numbers.append(end.id)
    if session.capabilities & Capability.RESEND:
        ask_again(peer, numbers[0], ResendFlag.START, [])
    mode = peer.find_smallest_mode().id
    total = count_tile_bytes(peer.log, STILL)
    for message in (
        SetSettings(STILL, b""), Stop(STILL), Configure(STILL, 0, mode, 0, 0), Stop(PREVIEW),
        Flush(), Configure(PREVIEW, 0, mode, 0, 0),
    ):  # fmt: skip
        peer.try_call(message)
        reply: HeartbeatReply = peer.grant_credits(PLENTY, PLENTY)
        name = type(message).__name__
        said = f"sent is {reply.sent} behind {name}, and {total} bytes came"
        check(reply.sent == (0, total, 0), said)
        said = f"begun is {reply.begun} behind {name}, and the newest frame is {numbers[1]}"
        check(reply.begun == (0, (numbers[1] + 1) & MASK_32, 0), said)


@CASES.add("M-CLOSE-1")
def closed_inside_a_frame(peer: HostPeer) -> None:
    """Close ends a session whose frame waits for credits: nothing more of it comes, nor its end."""
    session = peer
    for stream in ALL_STREAMS:
        block_frame(session, stream, is_capture=stream == STILL)
        session.collect(0.05)
        mark = len(session.log)
        session.close()
        session.collect(SHORT_WAIT_S)
        found = [describe(p) for p in session.log[mark:] if p.kind != MessageType.LOG]
        check(not found, f"behind Close, inside a frame of stream {stream}, comes {found[:2]}")
        session = session.start_session()


@CASES.add("M-CLOSE-1", "M-HELLO-3")
def numbers_over_each_end(peer: HostPeer) -> None:
    """Frame numbers go on however a session ends, and a frame of before is not known."""
    session = peer
    session.open_session()
    newest: int | None = None
    for how in (*SESSION_ENDS, ""):
        _, picture = session.take_still(4 * session.find_smallest_mode().width)
        assert picture.end is not None
        number = picture.end.id
        said = f"frame {number} in a session, where {newest} was the last one before"
        check(newest is None or number == (newest + 1) & MASK_32, said)
        newest = number
        if not how:
            break
        session = replace_session(session, how)
        if session.session is not None and session.session.capabilities & Capability.RESEND:
            message, _ = ask_again(session, number, 0, [])
            said = f"after {how} a frame of the session before has state {message.state}"
            check(message.state == FrameState.UNKNOWN, said)
    session.close()
