"""Cases for modules: Hello, and what a new session begins with (SPEC.md, 3.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import product

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import Capability, Damage, ErrorCode, MessageType, TestAction
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Challenge,
    Close,
    Configure,
    Error,
    Flush,
    Flushed,
    GetManifest,
    Heartbeat,
    Hello,
    HelloReply,
    ManifestPiece,
    Query,
    Resend,
    SetSettings,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import MAX_PAYLOAD, VERSION_MAJOR

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    ALL_STREAMS,
    DATA,
    SESSION_ENDS,
    STALL_S,
    START_50_FPS,
    START_FASTEST,
    check_answers,
    check_nothing_left,
    count_tile_bytes,
    expect_no_answer,
    open_test_session,
    replace_session,
    take_resendable_still,
    wait_for_type,
)
from .packets import MASK_32, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


def _make_hello() -> Hello:
    return Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD)


@CASES.add("M-HELLO-1")
def hello_is_answered(peer: HostPeer) -> None:
    """Hello is answered under its nonce and id, and again when it is repeated."""
    peer.next_id = 7
    peer.open_session()
    repeated = peer.sequence
    peer.send(_make_hello(), 7)
    mark = len(peer.log)
    again = peer.wait_for_answer(7, since=mark)
    check(again is not None, f"Hello repeated (sequence {repeated}) is not answered")


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


@CASES.add("M-HELLO-1")
def strange_offers(peer: HostPeer) -> None:
    """A Hello with unknown capabilities, no lanes, or more than there are, is answered."""
    for lanes, capabilities in ((0, ALL), (255, ALL), (1, 0xFFFF0000 | ALL)):
        session = peer.start_session()
        session.open_session()
        session.close()
        session = peer.start_session()
        session.lanes = lanes
        number = session.take_id()
        session.send(Hello(VERSION, VERSION, lanes, capabilities, 1 << 20), number)
        answer = session.wait_for_answer(number, 2.0)
        message = answer.message() if answer is not None else None
        if not isinstance(message, HelloReply):
            raise Failed(f"a Hello with {lanes} lanes gets {describe(answer)}")
        said = f"{lanes} lanes are answered with {message.lanes}"
        check(1 <= message.lanes <= max(1, lanes), said)
        extra = message.capabilities & ~int(ALL)
        check(not extra, f"unknown capabilities {extra:#x} are answered")
        session.close()


@CASES.add("M-HELLO-1")
def an_old_hello(peer: HostPeer) -> None:
    """A Hello of the open session with an old sequence is not answered; one with a new one is."""
    peer.open_session()
    check_answers(peer)
    hello = Hello(VERSION, VERSION, 1, ALL, 1 << 20)
    for back in (1, 2):
        newest = peer.sequence
        number = 9000 + back
        peer.send(hello, number, sequence=(newest - back) & MASK_32)
        peer.sequence = newest
        expect_no_answer(peer, number, "a Hello with an old sequence")
    peer.send(hello, 9005)
    answer = peer.wait_for_answer(9005, 1.0)
    said = f"a repeated Hello under another id gets {describe(answer)}"
    check(answer is not None and answer.kind == MessageType.HELLO_REPLY, said)
    # It changes nothing, so the next id is one after the requests.
    piece = peer.call(GetManifest(0), ManifestPiece)
    check(piece.offset == 0, "the request behind a repeated Hello is not executed")


@CASES.add("M-HELLO-1")
def a_repeated_hello_changes_nothing(peer: HostPeer) -> None:
    """A repeated Hello gets the session's answer, whatever it offers; streams stay configured."""
    first = peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    number = peer.take_id()
    peer.send(Hello(0x20, 0x2F, 1, 0, 1024), number)
    answer = peer.wait_for_answer(number, 2.0)
    again = answer.message() if answer is not None else None
    same = isinstance(again, HelloReply) and (
        (again.version, again.lanes, again.capabilities)
        == (first.version, first.lanes, first.capabilities)
    )
    check(same, f"a repeated Hello with another offer gets {describe(answer)}")
    peer.start_capture()
    peer.wait_for_frame()


@CASES.add("M-HELLO-2")
def what_was_offered(peer: HostPeer) -> None:
    """The answer stays within the offer: versions, lanes, no capabilities; no log is sent."""
    reply = peer.open_session(0, versions=(VERSION, VERSION_MAJOR << 4 | 0xF))
    check(reply.capabilities == 0, f"capabilities {reply.capabilities:#x} where none were offered")
    check(reply.lanes == 1, f"{reply.lanes} lanes where 1 was offered")
    check(reply.version >> 4 == VERSION_MAJOR, f"version {reply.version:#x}")
    peer.take_still()
    check(not any(p.kind == MessageType.LOG for p in peer.log), "LOG without the capability")


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


@CASES.add("M-HELLO-2")
def resend_without_the_capability(peer: HostPeer) -> None:
    """In a session without RESEND a Resend is ignored."""
    peer.open_session(Capability.LOG)
    _, picture = peer.take_still()
    assert picture.end is not None
    peer.send(Resend(3, 1, struct.pack("<4H", 0, 0, 2, 2)), picture.end.id, STILL)
    sent = [str(p) for p in peer.collect() if p.kind != MessageType.LOG]
    check(not sent, f"Resend without the capability brings {sent[:3]}")
    check_answers(peer)


@CASES.add("M-HELLO-2")
def the_newest_shared_version(peer: HostPeer) -> None:
    """HelloReply states the newest version that both sides speak, whatever lies above it."""
    found = []
    for newest in (0x1F, 0x1E, 0x2F):
        session = peer.start_session()
        reply = session.open_session(versions=(VERSION, newest))
        found.append(reply.version)
        session.close()
    check(len(set(found)) == 1, f"offers up to 1.15, 1.14 and 2.15 get versions {found}")
    check(VERSION <= found[0] < 0x1E, f"version {found[0]:#x}")


@CASES.add("M-HELLO-2")
def no_log_of_troubles(peer: HostPeer) -> None:
    """In a session without LOG no line comes, not even about damage, refusals or Stop."""
    peer.open_session(Capability.RESEND)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(START_50_FPS, ErrorCode.STATE)
    for payload in (b"", b"\x02\x00"):
        number = peer.take_id()
        peer.wire.send(b"noise" + peer.pack_payload(MessageType.CAPTURE, payload, number))
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(0x3F, payload, number))
    packet = peer.build_packet(GetManifest(0), peer.take_id())
    peer.wire.send(packet[:-1] + bytes([packet[-1] ^ 1]))
    peer.send(GetManifest(0), peer.take_id(), nonce=peer.nonce ^ 1)
    peer.send(Resend(3, 0, b""), 77777, STILL)
    peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    peer.start_stream(20000)
    peer.collect(0.1)
    peer.call(Stop(PREVIEW), Accepted)
    peer.collect(2 * STALL_S)
    logs = [describe(p) for p in peer.log if p.kind == MessageType.LOG]
    check(not logs, f"LOG is sent without the capability: {logs[:3]}")


@CASES.add("M-HELLO-3")
def a_new_session(peer: HostPeer) -> None:
    """Another nonce while a stream runs: nothing of the old session, and nothing is configured."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.collect()
    check(not fresh.strangers, f"of the session before: {fresh.strangers[:3]}")
    data = [str(p) for p in fresh.log if p.kind in range(MessageType.FRAME_START, 0x60)]
    check(not data, f"frames that nobody asked for in this session: {data[:3]}")
    fresh.expect_error(START_FASTEST, ErrorCode.STATE)
    fresh.close()


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
    for message in (Capture(STILL, 1), START_FASTEST):
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


@CASES.add("M-HELLO-3")
def a_refused_hello_ends_the_session(peer: HostPeer) -> None:
    """A Hello that is refused ends the session that was: its stream stops, nothing is answered."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    stranger = peer.start_session()
    newer = (VERSION_MAJOR + 1) << 4
    answer = stranger.try_hello(ALL, (newer, newer), version=newer)
    check(isinstance(answer, Error), f"Hello of the next major version gets {describe(answer)}")
    stranger.collect()
    after = [p for p in stranger.strangers if p.kind in DATA]
    check(not after, "the session that was goes on after a refused Hello")
    peer.send_request(GetManifest(0))
    mark = len(peer.log)
    peer.collect()
    check(len(peer.log) == mark, "the session that was is answered after a refused Hello")
    again = peer.start_session()
    again.open_session()
    again.expect_error(START_50_FPS, ErrorCode.STATE)
    again.close()


@CASES.add("M-HELLO-3")
def nothing_is_left_by_hello(peer: HostPeer) -> None:
    """After a Hello with another nonce the new session finds as little as after Close."""
    _, _, number = take_resendable_still(peer)
    fresh = peer.start_session()
    fresh.open_session()
    check_nothing_left(peer, fresh, number, "a Hello with another nonce")
    fresh.close()


@CASES.add("M-HELLO-3", "M-CLOSE-1")
def no_stream_stays_configured(peer: HostPeer) -> None:
    """However a session ends, the next one finds each stream UNCONFIGURED, whatever it did."""
    session = peer
    session.open_session()
    for how, is_running in product(SESSION_ENDS, (False, True)):
        for stream in ALL_STREAMS:
            session.configure(stream)
            if is_running:
                session.call(StartStream(stream, 20000), Accepted)
        session = replace_session(session, how)
        for stream in ALL_STREAMS:
            for message in (Capture(stream, 1), StartStream(stream, 0), SetSettings(stream, b"")):
                answer = session.try_call(message)
                is_refused = isinstance(answer, Error) and answer.code == ErrorCode.STATE
                check(is_refused, f"after {how} {describe(message)} gets {describe(answer)}")
    session.close()


@CASES.add("M-HELLO-3")
def what_was_pending_is_over(peer: HostPeer) -> None:
    """A request that is pending when another Hello comes is never answered."""
    open_test_session(peer)
    number = peer.send_request(Test(TestAction.PENDING, 0, 400))
    check(wait_for_type(peer, MessageType.PENDING, 0), "Pending does not come within 1 s")
    fresh = peer.start_session()
    open_test_session(fresh)
    fresh.collect(0.7)
    check(not fresh.strangers, f"of the session before: {[str(p) for p in fresh.strangers[:2]]}")
    late = [describe(p) for p in fresh.log if p.kind == MessageType.ACCEPTED]
    check(not late, f"request {number} of the session before is answered with {late}")
    fresh.call(Test(TestAction.REJECT, Damage.HEADER, 0), Accepted)
    check_answers(fresh)
    fresh.close()


@CASES.add("M-HELLO-4")
def detached(peer: HostPeer) -> None:
    """A module that is not attached does not answer Hello, and does once it is attached again."""
    if not peer.wire.set_attached(False):
        raise NotClaimed("this bench cannot detach the module")
    try:
        peer.collect(0.2)
        for _ in range(3):
            peer.send(_make_hello(), 1)
            check(peer.wait_for_answer(1, 0.1) is None, "Hello is answered by a detached module")
    finally:
        peer.wire.set_attached(True)
    peer.start_session().open_session()


@CASES.add("M-HELLO-5")
def no_common_version(peer: HostPeer) -> None:
    """A Hello of the next major version is answered with Error VERSION."""
    newer = (VERSION_MAJOR + 1) << 4
    answer = peer.try_hello(ALL, (newer, newer), version=newer)
    refused = isinstance(answer, Error) and answer.code == ErrorCode.VERSION
    check(refused, f"Hello of the next major version gets {describe(answer)}")
    check(peer.log[-1].header.version == VERSION, "the refusal is not in the module's version")


@CASES.add("M-HELLO-5")
def older_and_newer_versions(peer: HostPeer) -> None:
    """Versions without the module's major are refused with VERSION, in the module's version.

    So is a range whose first version is newer than its last one: it is empty.
    """
    for oldest, newest in ((0x20, 0x3F), (0x0F, 0x0F), (0x1F, VERSION), (0x20, VERSION)):
        session = peer.start_session()
        answer = session.try_hello(ALL, (oldest, newest), version=newest)
        refused = isinstance(answer, Error) and answer.code == ErrorCode.VERSION
        check(refused, f"versions {oldest:#x} to {newest:#x} get {describe(answer)}")
        version = session.log[-1].header.version
        check(version >> 4 == VERSION_MAJOR, f"the refusal has version {version:#x}")


@CASES.add("M-HELLO-5")
def a_range_above_the_module(peer: HostPeer) -> None:
    """Versions of the module's major that lie above its own are refused, in its own version."""
    own = peer.open_session(versions=(VERSION, 0x1F)).version
    peer.close()
    session = peer.start_session()
    answer = session.try_hello(ALL, (own + 1, 0x1F), version=0x1F)
    refused = isinstance(answer, Error) and answer.code == ErrorCode.VERSION
    check(
        refused, f"versions {own + 1:#x} to 0x1f get {describe(answer)} from a module of {own:#x}"
    )
    head = session.log[-1].header
    check(head.version == own, f"the refusal has version {head.version:#x}, the module {own:#x}")
    check(head.sequence == 0, f"the refusal has sequence {head.sequence}, not 0")


@CASES.add("M-HELLO-6")
def refused_is_not_open(peer: HostPeer) -> None:
    """After a refused Hello nothing of its nonce is answered, but a Hello that fits."""
    newer = (VERSION_MAJOR + 1) << 4
    answer = peer.try_hello(ALL, (newer, newer), version=newer)
    check(
        isinstance(answer, Error),
        f"Hello of the next major version gets {describe(answer)}",
    )
    number = peer.send_request(GetManifest(0))
    expect_no_answer(peer, number, "a request after a refused Hello")
    mark = len(peer.log)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    said = [str(p) for p in peer.collect()]
    check(len(peer.log) == mark, f"a Heartbeat after a refused Hello is answered with {said}")
    peer.open_session()


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


@CASES.add("M-HELLO-6")
def nothing_of_a_refused_nonce(peer: HostPeer) -> None:
    """After a refused Hello no type of its nonce is answered; Close ends the state."""
    peer.try_hello(ALL, (0x20, 0x20), version=0x20)
    mark = len(peer.log)
    for kind, payload in (
        (0x3F, b""),
        (0xE4, b""),
        (MessageType.RESEND, Resend(3, 0, b"").encode()),
        (MessageType.CHALLENGE, Challenge(0x8000, b"c").encode()),
        (MessageType.TEST, Test(1, 0, 1).encode()),
        (MessageType.ACCEPTED, b""),
    ):
        peer.wire.send(peer.pack_payload(kind, payload, peer.take_id()))
    said = [describe(p) for p in peer.collect()]
    check(len(peer.log) == mark, f"after a refused Hello the module sends {said[:3]}")
    peer.send(Close(0))
    fresh = peer.start_session()
    fresh.open_session()
    check_answers(fresh)
    fresh.close()
