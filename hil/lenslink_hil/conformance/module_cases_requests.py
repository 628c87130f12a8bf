"""Cases for modules: answers, their ids, and repeated requests (SPEC.md, 4)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import Capability, ErrorCode, MessageType, TestAction
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
    Hello,
    ManifestPiece,
    Pending,
    Query,
    QueryReply,
    Resend,
    Stop,
    Test,
)
from lenslink_protocol.params import MAX_BUSY_MS

from .cases import Cases, Failed, check
from .host_peer import ALL, PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    ALIVE_S,
    MIN_TIME_SHARE,
    START_50_FPS,
    START_FASTEST,
    TEST_PENDING_MS,
    check_answers,
    open_test_session,
    wait_for_type,
)
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


_PATIENCE_S = 0.1
"""How late a packet may be noticed."""


def _end_of_lease(pending: Packet) -> float:
    """Return when the lease of a Pending ends, by the kit's clock."""
    message = pending.message()
    assert isinstance(message, Pending)
    return pending.at + message.lease_ms / 1000


def _wait_for_reply(peer: HostPeer, reply: type[AnyMessage], since: int) -> Packet:
    found = peer.wait_for(lambda p: p.kind == reply.TYPE, 2.0, since)
    if found is None:
        raise Failed(f"no {reply.__name__} within 2 s")
    return found


@CASES.add("M-REQ-1")
def replies_of_their_kind(peer: HostPeer) -> None:
    """Each request has its reply, under its id; ids may have gaps."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.next_id += 1000
    requests: tuple[tuple[AnyMessage, type[AnyMessage]], ...] = (
        (GetManifest(0), ManifestPiece),
        (Configure(STILL, 0, mode, 0, 0), Configured),
        (Configure(PREVIEW, 0, mode, 0, 0), Configured),
        (START_FASTEST, Accepted),
    )
    for message, reply in requests:
        mark = len(peer.log)
        number = peer.send_request(message)
        found = _wait_for_reply(peer, reply, mark)
        check(found.id == number, f"{describe(found)} answers request {number}")


@CASES.add("M-REQ-1")
def each_request_gets_its_reply(peer: HostPeer) -> None:
    """Every request of the core gets the reply of its kind, refusals included."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.grant_credits(PLENTY, PLENTY)
    steps: tuple[tuple[AnyMessage, type[AnyMessage]], ...] = (
        (GetManifest(1), ManifestPiece),
        (START_FASTEST, Error),
        (Configure(PREVIEW, 0, mode, 0, 0), Configured),
        (Configure(STILL, 0, 65000, 0, 0), Error),
        (Configure(STILL, 0, mode, 0, 0), Configured),
        (START_FASTEST, Accepted),
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
def executed_once(peer: HostPeer) -> None:
    """A Capture that is repeated is answered alike, and takes one frame."""
    peer.open_session()
    peer.configure()
    peer.grant_credits(PLENTY, PLENTY)
    message = Capture(STILL, 1)
    number = peer.send_request(message)
    first = peer.wait_for_answer(number)
    peer.wait_for_frame()
    for _ in range(3):
        mark = len(peer.log)
        peer.send(message, number)
        again = peer.wait_for_answer(number, since=mark)
        alike = first is not None and again is not None and again.payload == first.payload
        check(alike, f"{describe(message)} repeated is answered with {describe(again)}")
    peer.collect()
    frames = sum(p.kind == MessageType.FRAME_START for p in peer.log)
    check(frames == 1, f"{frames} frames after one Capture that was repeated")


@CASES.add("M-REQ-2")
def four_answers_are_kept(peer: HostPeer) -> None:
    """The answers to the last four requests are repeated."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    sent = []
    for stream in (STILL, PREVIEW, STILL, PREVIEW):
        message = Configure(stream, 0, mode, 0, 0)
        number = peer.send_request(message)
        sent.append((number, message, peer.wait_for_answer(number)))
    for number, message, first in sent:
        mark = len(peer.log)
        peer.send(message, number)
        again = peer.wait_for_answer(number, since=mark)
        alike = first is not None and again is not None and again.payload == first.payload
        check(alike, f"request {number} of the last four is answered anew with {describe(again)}")


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


@CASES.add("M-REQ-2")
def a_repeated_end_ends_nothing(peer: HostPeer) -> None:
    """A Stop and a Flush that are repeated do not end a stream that was started after them."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    for ending in (Stop(PREVIEW), Flush()):
        number = peer.send_request(ending)
        first = peer.wait_for_answer(number)
        peer.start_stream(20000)
        mark = len(peer.log)
        peer.send(ending, number)
        again = peer.wait_for_answer(number, since=mark)
        if first is None or again is None:
            raise Failed(f"{describe(ending)} is not answered each time")
        # The sequences at the end of Flushed may be made anew.
        kept = 8 if again.kind == MessageType.FLUSHED else None
        same = again.kind == first.kind and again.payload[:kept] == first.payload[:kept]
        check(same, f"{describe(ending)} got {describe(first)}, and repeated {describe(again)}")
        peer.wait_for_frame(PREVIEW, len(peer.log))
        peer.wait_for_frame(PREVIEW, len(peer.log))
        peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-REQ-2")
def a_repeated_start_starts_once(peer: HostPeer) -> None:
    """Configure and StartStream that are repeated while the stream runs are answered as before."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.grant_credits(PLENTY, PLENTY)
    requests = (Configure(PREVIEW, 0, mode, 0, 0), START_50_FPS)
    sent = []
    for message in requests:
        number = peer.send_request(message)
        sent.append((number, message, peer.wait_for_answer(number)))
    peer.wait_for_frame(PREVIEW)
    for number, message, first in sent:
        mark = len(peer.log)
        peer.send(message, number)
        again = peer.wait_for_answer(number, since=mark)
        if first is None or again is None:
            raise Failed(f"{describe(message)} is not answered each time")
        same = (again.kind, again.payload) == (first.kind, first.payload)
        check(same, f"{describe(message)} got {describe(first)}, and repeated {describe(again)}")
    peer.wait_for_frame(PREVIEW, len(peer.log))


@CASES.add("M-REQ-2")
def a_malformed_request_is_kept(peer: HostPeer) -> None:
    """A MALFORMED request is the newest one, and its refusal is repeated like any other."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    number = peer.take_id()
    message = Configure(STILL, 0, mode, 0, 0)
    peer.wire.send(peer.pack_payload(message.TYPE, message.encode()[:6], number))
    first = peer.wait_for_answer(number, 2.0)
    mark = len(peer.log)
    # The same id again, this time sound: the id decides.
    peer.send(message, number)
    again = peer.wait_for_answer(number, 2.0, mark)
    if first is None or again is None:
        raise Failed("a malformed request is not answered each time")
    same = (again.kind, again.payload) == (first.kind, first.payload)
    check(same, f"a malformed request got {describe(first)}, and repeated {describe(again)}")
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    malformed = peer.take_id()
    peer.wire.send(peer.pack_payload(MessageType.STOP, b"\x02\x00", malformed))
    peer.wait_for_answer(malformed, 2.0)
    flushed = peer.call(Flush(), Flushed)
    said = f"last_request is {flushed.last_request} after the malformed request {malformed}"
    check(flushed.last_request == malformed, said)


def _make_four(peer: HostPeer) -> list[tuple[int, AnyMessage, Packet]]:
    """Make four requests; return the id, the message and the answer of each."""
    mode = peer.find_smallest_mode().id
    made: list[tuple[int, AnyMessage, Packet]] = []
    for message in (
        GetManifest(3), Configure(STILL, 0, 65000, 0, 0), Stop(STILL),
        Configure(PREVIEW, 0, mode, 0, 0),
    ):  # fmt: skip
        number = peer.send_request(message)
        answer = peer.wait_for_answer(number)
        if answer is None:
            raise Failed(f"{describe(message)} is not answered")
        made.append((number, message, answer))
    return made


def _repeat(peer: HostPeer, number: int, kind: int, payload: bytes) -> Packet:
    """Send a packet under the id of a request that was answered; return its answer."""
    mark = len(peer.log)
    peer.wire.send(peer.pack_payload(kind, payload, number))
    again = peer.wait_for_answer(number, 2.0, mark)
    if again is None:
        raise Failed(f"type {kind:#04x} under the id {number} of an earlier request has no answer")
    return again


@CASES.add("M-REQ-2", "M-REQ-3")
def known_by_the_id_alone(peer: HostPeer) -> None:
    """What repeats an id is no new request, whatever its type and payload are."""
    peer.open_session()
    made = _make_four(peer)
    strange: tuple[tuple[int, bytes], ...] = (
        (MessageType.GET_MANIFEST, b"\x06\x00\x00"),
        (MessageType.CONFIGURE, b""),
        (MessageType.CAPTURE, b"\xff\xff\x01\x00"),
        (MessageType.STREAM, START_FASTEST.encode()),
    )
    for kind, payload in strange:
        for number, message, first in made:
            again = _repeat(peer, number, kind, payload)
            same = (again.kind, again.payload) == (first.kind, first.payload)
            said = f"type {kind:#04x} under the id of {describe(message)} gets {describe(again)}"
            check(same, said)
    for _ in range(20):
        check_answers(peer)
    number, message, first = made[0]
    for kind, payload in strange:
        again = _repeat(peer, number, kind, payload)
        error = again.message()
        repeated = isinstance(error, Error) and error.code == ErrorCode.REPEATED
        said = f"type {kind:#04x} under the id of a request of before gets {describe(again)}"
        check(repeated or (again.kind, again.payload) == (first.kind, first.payload), said)


@CASES.add("M-REQ-2")
def what_takes_no_place(peer: HostPeer) -> None:
    """The four answers outlast REPEATED, unknown types, Query, Heartbeat, and repetitions."""
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    made = _make_four(peer)
    newest, message, _ = made[-1]
    for _ in range(4):
        error = _repeat(peer, gap, MessageType.STOP, Stop(STILL).encode()).message()
        repeated = isinstance(error, Error) and error.code == ErrorCode.REPEATED
        check(repeated, f"a request under an id in a gap gets {describe(error)}")
        number = gap + 1000
        peer.wire.send(peer.pack_payload(0x3F, b"", number))
        check(peer.wait_for_answer(number, 2.0), "an unknown type has no answer")
        peer.send(Query(peer.nonce, newest), gap)
        peer.grant_credits(0, 0)
        _repeat(peer, newest, message.TYPE, message.encode())
    for number, message, first in made:
        again = _repeat(peer, number, message.TYPE, message.encode())
        same = (again.kind, again.payload) == (first.kind, first.payload)
        said = f"{describe(message)} got {describe(first)}, and repeated {describe(again)}"
        check(same, said)


@CASES.add("M-REQ-2", "M-HELLO-1")
def answers_over_a_repeated_hello(peer: HostPeer) -> None:
    """A repeated Hello forgets no answer: requests from before it are answered as they were."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    requests = (Configure(STILL, 0, 65000, 0, 0), Configure(STILL, 0, mode, 0, 0), Stop(STILL))
    sent = []
    for message in requests:
        number = peer.send_request(message)
        sent.append((number, message, peer.wait_for_answer(number)))
    mark = len(peer.log)
    peer.send(Hello(0x10, 0x10, 1, ALL, 1 << 20), 1)
    check(wait_for_type(peer, MessageType.HELLO_REPLY, mark), "a repeated Hello is not answered")
    for number, message, first in sent:
        mark = len(peer.log)
        peer.send(message, number)
        again = peer.wait_for_answer(number, 2.0, mark)
        if first is None or again is None:
            raise Failed(f"{describe(message)} is not answered each time")
        same = (again.kind, again.payload) == (first.kind, first.payload)
        said = f"{describe(message)} got {describe(first)}, and {describe(again)} behind a Hello"
        check(same, said)


@CASES.add("M-REQ-3")
def answer_no_longer_held(peer: HostPeer) -> None:
    """A Capture repeated after many requests is not executed: REPEATED, or the old answer."""
    peer.open_session()
    peer.configure()
    peer.grant_credits(PLENTY, PLENTY)
    message = Capture(STILL, 1)
    number = peer.send_request(message)
    first = peer.wait_for_answer(number)
    peer.wait_for_frame()
    for _ in range(20):
        check_answers(peer)
    mark = len(peer.log)
    peer.send(message, number)
    again = peer.wait_for_answer(number, since=mark)
    if first is None or again is None:
        raise Failed("a repeated request is not answered")
    answer = again.message()
    repeated = isinstance(answer, Error) and answer.code == ErrorCode.REPEATED
    check(repeated or again.payload == first.payload, f"a Capture of before: {describe(answer)}")
    peer.collect()
    frames = sum(p.kind == MessageType.FRAME_START for p in peer.log)
    check(frames == 1, f"{frames} frames after one Capture that was repeated")


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


@CASES.add("M-REQ-3")
def ids_in_gaps_are_old(peer: HostPeer) -> None:
    """A request under an id that was left out below the newest one is REPEATED, not executed."""
    peer.open_session()
    configured = peer.configure(PREVIEW)
    gap = peer.take_id()
    check_answers(peer)
    number = gap
    peer.send(Configure(STILL, 0, configured.mode, 0, 0), number)
    answer = peer.wait_for_answer(number, 2.0)
    message = answer.message() if answer is not None else None
    repeated = isinstance(message, Error) and message.code == ErrorCode.REPEATED
    check(repeated, f"a request under an id in a gap gets {describe(answer)}")
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)


@CASES.add("M-REQ-3")
def what_uses_no_id(peer: HostPeer) -> None:
    """A Query, a Resend and an unknown type with a large number leave the ids below it new."""
    session = peer.open_session()
    mode = peer.find_smallest_mode().id
    far = peer.next_id + 1000
    packets: list[tuple[int, bytes]] = [
        (MessageType.QUERY, Query(peer.nonce, 1).encode()),
        (0x3F, b"\x02\x00"),
    ]
    if session.capabilities & Capability.RESEND:
        packets.append((MessageType.RESEND, Resend(0, 0).encode()))
    for kind, payload in packets:
        mark = len(peer.log)
        peer.wire.send(peer.pack_payload(kind, payload, far))
        answered = peer.wait_for(lambda p: p.id == far, 2.0, mark)
        check(answered, f"type {kind:#04x} with the number {far} has no answer")
        answer = peer.try_call(Configure(STILL, 0, mode, 0, 0))
        said = f"a request behind type {kind:#04x} with a larger number gets {describe(answer)}"
        check(isinstance(answer, Configured), said)


@CASES.add("M-REQ-3")
def ids_wrap(peer: HostPeer) -> None:
    """The id that follows 2^32 - 1 is newer than it, and the ids before it are old."""
    peer.next_id = 0xFFFFFFF8
    peer.open_session()
    mode = peer.find_smallest_mode().id
    for number in (0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2, 3, 4):
        peer.send(Configure(STILL, 0, mode, 0, 0), number)
        answer = peer.wait_for_answer(number, 2.0)
        taken = answer is not None and answer.kind == MessageType.CONFIGURED
        check(taken, f"request {number:#x} is answered with {describe(answer)}")
    mark = len(peer.log)
    peer.send(Stop(STILL), 0xFFFFFFF0)
    answer = peer.wait_for_answer(0xFFFFFFF0, 2.0, mark)
    message = answer.message() if answer is not None else None
    repeated = isinstance(message, Error) and message.code == ErrorCode.REPEATED
    check(repeated, f"an id from before the wrap gets {describe(answer)}")
    peer.next_id = 5
    check_answers(peer)


@CASES.add("M-REQ-4")
def unknown_requests(peer: HostPeer) -> None:
    """A type that does not exist is refused."""
    peer.open_session()
    for kind in (0x3F, 0x7E, 0xDF):
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(kind, b"\x02\x00", number))
        answer = peer.wait_for_answer(number)
        message = answer.message() if answer else None
        refused = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
        check(refused, f"type {kind:#x} is answered with {describe(message)}")


@CASES.add("M-REQ-4")
def unknown_types_in_every_state(peer: HostPeer) -> None:
    """An unknown request is refused with UNKNOWN_REQUEST, with any payload, while streaming too."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    for kind in (0x3C, 0x3E, 0x5F, 0x7F, 0x9A, 0xDE):
        for payload in (b"", b"\x02\x00", b"\x09\x00whatever"):
            number = peer.take_id()
            peer.wire.send(peer.pack_payload(kind, payload, number))
            answer = peer.wait_for_answer(number, 2.0)
            message = answer.message() if answer is not None else None
            refused = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
            check(refused, f"type {kind:#04x} is answered with {describe(answer)}")
    check_answers(peer)


@CASES.add("M-REQ-4")
def unknown_types_use_no_id(peer: HostPeer) -> None:
    """An unknown type, or one that only a module sends, does not become the newest id."""
    peer.open_session()
    for kind in (0x22, 0x3F, MessageType.ACCEPTED, MessageType.TILE, MessageType.LOG, 0x7F,
                 0x80, 0x90, 0xDF):  # fmt: skip
        peer.wire.send(peer.pack_payload(kind, b"\x02\x00", 50_000 + kind))
        answer = peer.wait_for_answer(50_000 + kind, 1.0)
        message = answer.message() if answer is not None else None
        refused = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
        check(refused, f"type {int(kind):#04x} gets {describe(answer)}")
    peer.call(GetManifest(0), ManifestPiece)
    last = peer.next_id - 1
    flushed = peer.call(Flush(), Flushed)
    said = f"last_request {flushed.last_request} after unknown types, {last} was the one before"
    check(flushed.last_request == last, said)


@CASES.add("M-REQ-5", "M-TEST-2")
def pending_then_the_answer(peer: HostPeer) -> None:
    """PENDING: Pending under the request's id, then its answer when the lease is over."""
    open_test_session(peer)
    mark, began = len(peer.log), peer.wire.now()
    number = peer.send_request(Test(TestAction.PENDING, 0, TEST_PENDING_MS))
    found = wait_for_type(peer, MessageType.PENDING, mark)
    if found is None:
        raise Failed("Pending does not come within 1 s")
    check(found.id == number, f"{describe(found)} for request {number}")
    message = found.message()
    assert isinstance(message, Pending)
    check(message.lease_ms <= MAX_BUSY_MS, f"a lease of {message.lease_ms} ms")
    answer = peer.wait_for_answer(number, message.lease_ms / 1000 + ALIVE_S, mark)
    check(answer is not None, f"no answer within its lease of {message.lease_ms} ms")
    late = peer.wire.now() - began
    exact = late >= MIN_TIME_SHARE * TEST_PENDING_MS / 1000
    check(exact, f"answered after {late:.2f} s, not {TEST_PENDING_MS} ms")
    check_answers(peer)


@CASES.add("M-REQ-5", "M-TEST-2")
def asked_again_while_pending(peer: HostPeer) -> None:
    """A request that is repeated while it is pending gets Pending under its id, or nothing."""
    open_test_session(peer)
    mark = len(peer.log)
    test = Test(TestAction.PENDING, 0, TEST_PENDING_MS)
    number = peer.send_request(test)
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    for _ in range(2):
        peer.send(test, number)
        peer.collect(0.1)
    check_answers(peer)
    late = peer.wait_for_answer(number, 2.0, mark)
    if late is None or late.kind != MessageType.ACCEPTED:
        raise Failed(f"a Test that is repeated while it is pending gets {describe(late)}")
    leases = [p for p in peer.log[mark:] if p.kind == MessageType.PENDING]
    other = [describe(p) for p in leases if p.id != number]
    check(not other, f"Pending of request {number} comes as {other}")
    # Of several leases the latest end counts.
    end = max(_end_of_lease(p) for p in leases)
    said = f"an answer comes {late.at - end:.2f} s after the end of the last lease"
    check(late.at <= end + ALIVE_S + _PATIENCE_S, said)
    peer.collect(0.6)
    count = sum(p.kind == MessageType.ACCEPTED and p.id == number for p in peer.log[mark:])
    check(count == 1, f"a Test that was repeated is accepted {count} times")
