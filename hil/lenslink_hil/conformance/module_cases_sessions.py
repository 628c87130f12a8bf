"""Cases for modules: sessions, requests and what is remembered of them (SPEC.md, 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import Capability, ErrorCode, MessageType, Outcome
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    GetManifest,
    Heartbeat,
    Hello,
    HelloReply,
    ManifestPiece,
    Query,
    QueryReply,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_PAYLOAD, SILENCE_MS, VERSION_MAJOR

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    DATA,
    ask_again,
    block_frame,
    check_answers,
    count_tile_bytes,
    expect_no_answer,
    place_of,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_ALIVE_S = SILENCE_MS / 2000
_START = StartStream(PREVIEW, 0)


@CASES.add("M-HELLO-1")
def hello_is_answered_each_time(peer: HostPeer) -> None:
    """Each repeated Hello is answered with HelloReply, in the same session."""
    peer.next_id = 3
    first = peer.open_session()
    for _ in range(3):
        mark = len(peer.log)
        peer.send(Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD), 3)
        again = peer.wait_for_answer(3, 2.0, mark)
        message = again.message() if again is not None else None
        alike = isinstance(message, HelloReply) and message.capabilities == first.capabilities
        check(alike, f"a repeated Hello is answered with {describe(again)}")
    numbers = [p.header.sequence for p in peer.log]
    check(numbers == sorted(set(numbers)), f"sequences after repeated Hellos: {numbers}")


@CASES.add("M-HELLO-2")
def capabilities_one_by_one(peer: HostPeer) -> None:
    """HelloReply has no capability, lane or version that the host did not offer."""
    for capability in (*Capability, Capability(0)):
        session = peer.start_session()
        reply = session.open_session(capability)
        extra = reply.capabilities & ~capability
        check(not extra, f"capabilities {extra:#x} of the answer were not offered")
        check(reply.lanes == 1, f"{reply.lanes} lanes where 1 was offered")
        check(
            reply.version == VERSION, f"version {reply.version:#x} where {VERSION:#x} was offered"
        )
        session.take_still()
        logs = [p for p in session.log if p.kind == MessageType.LOG]
        check(not logs or capability == Capability.LOG, "LOG is sent without the capability")
        events = [describe(p) for p in session.log if p.kind == MessageType.EVENT]
        said = f"in a session with {capability!r} alone comes {events[:1]}"
        check(not events or capability == Capability.EVENTS, said)
        session.close()


@CASES.add("M-HELLO-3")
def nothing_is_inherited(peer: HostPeer) -> None:
    """A new session has no configuration, credits, answers or stream of the session before."""
    peer.open_session()
    peer.call(GetManifest(0), ManifestPiece)
    second = peer.start_session()
    second.open_session()
    # The same id as in the session before, for another request.
    second.call(Flush(), Flushed)
    peer = second.start_session()
    peer.open_session()
    peer.configure(STILL)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    fresh = peer.start_session()
    fresh.open_session()
    for message in (Capture(STILL, 1), _START):
        fresh.expect_error(message, ErrorCode.STATE)
    fresh.configure(STILL)
    fresh.start_capture()
    early = count_tile_bytes(fresh.collect(), STILL)
    check(early == 0, f"{early} bytes of tiles by the credits of the session before")
    reply = fresh.grant_credits(0, 0)
    check(not any(reply.sent), f"a new session begins with {describe(reply)}")
    data = [str(p) for p in fresh.log if p.kind in DATA and p.header.stream == PREVIEW]
    check(not data, f"the stream of the session before goes on: {data[:3]}")
    check(not fresh.strangers, "packets of the session before follow the answer")
    fresh.close()


@CASES.add("M-HELLO-5")
def older_and_newer_versions(peer: HostPeer) -> None:
    """Versions without the module's major are refused with VERSION, in the module's version."""
    for oldest, newest in ((0x20, 0x3F), (0x0F, 0x0F)):
        session = peer.start_session()
        answer = session.try_hello(ALL, (oldest, newest), version=newest)
        refused = isinstance(answer, Error) and answer.code == ErrorCode.VERSION
        check(refused, f"versions {oldest:#x} to {newest:#x} get {describe(answer)}")
        version = session.log[-1].header.version
        check(version >> 4 == VERSION_MAJOR, f"the refusal has version {version:#x}")


@CASES.add("M-HELLO-6")
def refused_then_accepted(peer: HostPeer) -> None:
    """Query and Stop after a refused Hello get no answer; a Hello that fits opens the session."""
    newer = (VERSION_MAJOR + 1) << 4
    answer = peer.try_hello(ALL, (newer, newer), version=newer)
    check(isinstance(answer, Error), f"Hello of the next major version gets {describe(answer)}")
    for message in (Query(peer.nonce, 1), Stop(STILL), Flush(), Configure(STILL, 0, 1, 0, 0)):
        number = peer.send_request(message)
        expect_no_answer(peer, number, f"{type(message).__name__} after a refused Hello")
    peer.open_session()
    check_answers(peer)


@CASES.add("M-CLOSE-1")
def closed_while_streaming(peer: HostPeer) -> None:
    """Close ends a running stream: no data, no answers, and nothing is configured later."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    peer.close()
    # What the module had sent before Close reached it.
    peer.collect(0.3)
    mark = len(peer.log)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    peer.send_request(GetManifest(0))
    after = [str(p) for p in peer.collect()]
    check(len(peer.log) == mark, f"after Close the module sends {after[:3]}")
    fresh = peer.start_session()
    fresh.open_session()
    fresh.expect_error(_START, ErrorCode.STATE)
    fresh.close()


# --- liveness ---------------------------------------------------------------------------------


@CASES.add("M-LIVE-1")
def heartbeats_inside_a_frame(peer: HostPeer) -> None:
    """Heartbeats are answered in time while a frame waits for credits, and while tiles pass."""
    configured = block_frame(peer)
    limit = configured.tile_bytes
    for number in range(12):
        mark = len(peer.log)
        # Some of these raise the limit, so that tiles are on their way meanwhile.
        limit += configured.tile_bytes if number % 2 else 0
        peer.send(Heartbeat((limit, 0, 0), 0))
        found = peer.wait_for(lambda p: p.kind == MessageType.HEARTBEAT_REPLY, _ALIVE_S, mark)
        check(found, f"Heartbeat {number + 1} inside a frame is not answered in time")


@CASES.add("M-LIVE-2")
def counts_only_rise(peer: HostPeer) -> None:
    """`sent` counts on from capture to capture, and counts tiles that are sent again."""
    _, picture, number = take_resendable_still(peer)
    reply = peer.grant_credits(PLENTY, PLENTY)
    first = count_tile_bytes(peer.log, STILL)
    check(reply.sent[STILL] == first, f"sent is {reply.sent[STILL]}, and {first} bytes came")
    _, came = ask_again(peer, number, 0, [place_of(tile) for tile in picture.tiles[-2:]])
    again = count_tile_bytes(came, STILL)
    reply = peer.grant_credits(PLENTY, PLENTY)
    said = f"sent is {reply.sent[STILL]} after {first} bytes and {again} bytes sent again"
    check(reply.sent[STILL] == first + again, said)
    mark = len(peer.log)
    peer.start_capture()
    second = peer.wait_for_frame(STILL, mark)
    reply = peer.grant_credits(PLENTY, PLENTY)
    total = count_tile_bytes(peer.log, STILL)
    check(reply.sent[STILL] == total, f"sent is {reply.sent[STILL]}, and {total} bytes came in all")
    assert second.end is not None
    wanted = (0, second.end.id + 1, 0)
    check(reply.begun == wanted, f"begun is {reply.begun}, not {wanted}")


# --- requests ---------------------------------------------------------------------------------


@CASES.add("M-REQ-1")
def each_request_gets_its_reply(peer: HostPeer) -> None:
    """Every request of the core gets the reply of its kind, refusals included."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.grant_credits(PLENTY, PLENTY)
    steps: tuple[tuple[AnyMessage, type[AnyMessage]], ...] = (
        (GetManifest(1), ManifestPiece),
        (_START, Error),
        (Configure(PREVIEW, 0, mode, 0, 0), Configured),
        (Configure(STILL, 0, 65000, 0, 0), Error),
        (Configure(STILL, 0, mode, 0, 0), Configured),
        (_START, Accepted),
        (Query(peer.nonce, 1), QueryReply),
        (Stop(PREVIEW), Accepted),
        (Stop(PREVIEW), Accepted),
        (Capture(STILL, 1), Accepted),
    )
    for message, reply in steps:
        answer = peer.try_call(message)
        name = type(message).__name__
        check(isinstance(answer, reply), f"{name} is answered with {describe(answer)}")


@CASES.add("M-REQ-2")
def refusals_and_barriers_are_kept(peer: HostPeer) -> None:
    """The last four answers are repeated alike: a refusal, a manifest piece, Stop and Configure."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    requests: tuple[AnyMessage, ...] = (
        Configure(STILL, 0, 65000, 0, 0), GetManifest(3), Stop(STILL),
        Configure(PREVIEW, 0, mode, 0, 0),
    )  # fmt: skip
    sent = []
    for message in requests:
        number = peer.send_request(message)
        sent.append((number, message, peer.wait_for_answer(number)))
    for number, message, first in sent:
        mark = len(peer.log)
        peer.send(message, number)
        again = peer.wait_for_answer(number, since=mark)
        alike = (
            first is not None
            and again is not None
            and (again.kind, again.payload) == (first.kind, first.payload)
        )
        said = f"{describe(message)} got {describe(first)}, and repeated {describe(again)}"
        check(alike, said)


@CASES.add("M-REQ-3")
def old_requests_are_refused(peer: HostPeer) -> None:
    """A Configure and a Stop of long ago are not executed again: REPEATED, or the old answer."""
    peer.open_session()
    peer.configure(PREVIEW)
    number = peer.send_request(Stop(PREVIEW))
    first = peer.wait_for_answer(number)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    for _ in range(8):
        check_answers(peer)
    mark = len(peer.log)
    peer.send(Stop(PREVIEW), number)
    again = peer.wait_for_answer(number, since=mark)
    if first is None or again is None:
        raise Failed("a Stop of long ago that is repeated is not answered")
    message = again.message()
    repeated = isinstance(message, Error) and message.code == ErrorCode.REPEATED
    said = f"a Stop of long ago gets {describe(again)}, not Error REPEATED"
    check(repeated or again.payload == first.payload, said)
    peer.wait_for_frame(PREVIEW, len(peer.log))


@CASES.add("M-REQ-4")
def unknown_types_in_every_state(peer: HostPeer) -> None:
    """An unknown request is refused with UNKNOWN_REQUEST, with any payload, while streaming too."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    for kind in (0x20, 0x3E, 0x5F, 0x7F, 0x9A, 0xDE):
        for payload in (b"", b"\x02\x00", b"\x09\x00whatever"):
            number = peer.take_id()
            peer.wire.send(peer.pack_payload(kind, payload, number))
            answer = peer.wait_for_answer(number, 2.0)
            message = answer.message() if answer is not None else None
            refused = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
            check(refused, f"type {kind:#04x} is answered with {describe(answer)}")
    check_answers(peer)


# --- query ------------------------------------------------------------------------------------


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
def remembered_over_a_new_connection(peer: HostPeer) -> None:
    """What became of requests is known after the connection was lost and made again."""
    before = peer.open_session()
    wanted = _make_history(peer)
    if not peer.wire.reopen():
        raise NotClaimed("this bench cannot make a new connection")
    fresh = peer.start_session()
    after = fresh.open_session()
    if after.boot_count != before.boot_count or after.uptime_us < before.uptime_us:
        raise NotClaimed("on this bench a new connection starts the module anew")
    _check_history(fresh, peer.nonce, wanted, "the session before the new connection")
    fresh.close()
