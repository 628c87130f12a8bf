"""Cases for modules: packets, sessions, requests, liveness (SPEC.md, sections 2 to 4)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import ErrorCode, MessageType, Outcome
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Error,
    GetManifest,
    Heartbeat,
    Hello,
    ManifestPiece,
    Query,
    QueryReply,
    StartStream,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_PAYLOAD, SILENCE_MS, STALL_MS, VERSION_MAJOR

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, QUIET_S, STILL, HostPeer
from .module_steps import check_answers, check_sequences, expect_no_answer
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_STALLED_S = 2.5 * STALL_MS / 1000
_ALIVE_S = SILENCE_MS / 2000
_START = StartStream(PREVIEW, 0)


def _build_manifest_request(peer: HostPeer) -> tuple[int, bytes]:
    """A request that changes nothing, as a packet: its id, its bytes."""
    number = peer.take_id()
    return number, peer.build_packet(GetManifest(0), number)


@CASES.add("M-FRAME-1")
def fields_and_sequence(peer: HostPeer) -> None:
    """Every packet of a session with a frame has its idle fields at 0, and sequences by one."""
    peer.open_session()
    peer.take_still()
    for packet in peer.log:
        head = packet.header
        place = (head.x, head.y, head.width, head.height)
        if packet.kind != MessageType.TILE:
            check(not any(place), f"{packet} names the place {place}")
        if packet.kind < MessageType.FRAME_START and packet.kind != MessageType.RESENT:
            check(head.stream == 0, f"{packet} names stream {head.stream}")
    check_sequences(peer.log)


@CASES.add("M-FRAME-2")
def damaged_crcs(peer: HostPeer) -> None:
    """A request with a wrong payload CRC, and one with a wrong header CRC, are not answered."""
    peer.open_session()
    number, packet = _build_manifest_request(peer)
    peer.wire.send(packet[:-1] + bytes([packet[-1] ^ 1]))
    expect_no_answer(peer, number, "a request whose payload CRC does not hold")
    number, packet = _build_manifest_request(peer)
    peer.wire.send(packet[:36] + bytes([packet[36] ^ 1]) + packet[37:])
    expect_no_answer(peer, number, "a request whose header CRC does not hold")
    check_answers(peer)


@CASES.add("M-FRAME-3")
def found_after_noise(peer: HostPeer) -> None:
    """A request behind noise, half a magic and a damaged header is answered."""
    peer.open_session()
    number, packet = _build_manifest_request(peer)
    damaged = packet[:20] + bytes([packet[20] ^ 0xFF]) + packet[21:40]
    peer.wire.send(b"\x00noise\x8a\x8aLL" + damaged + packet)
    check(peer.wait_for_answer(number, 1.0), "the request behind the damage is not answered")


@CASES.add("M-FRAME-3")
def found_in_a_payload(peer: HostPeer) -> None:
    """A packet lost bytes of its payload: the request behind it, taken for payload, is answered."""
    peer.open_session()
    long = peer.pack_payload(MessageType.GET_MANIFEST, bytes(60), peer.take_id())
    number, packet = _build_manifest_request(peer)
    peer.wire.send(long[:50] + packet + bytes(8))
    check(peer.wait_for_answer(number, 1.0), "the request inside a damaged payload is not answered")


@CASES.add("M-FRAME-4")
def given_up_when_stalled(peer: HostPeer) -> None:
    """After a packet that stopped inside, requests are answered."""
    peer.open_session()
    begun = peer.pack_payload(MessageType.GET_MANIFEST, bytes(800), peer.take_id())
    peer.wire.send(begun[:50])
    peer.collect(_STALLED_S)
    number, packet = _build_manifest_request(peer)
    peer.wire.send(packet)
    check(peer.wait_for_answer(number, 1.0), "the request behind a stalled packet is not answered")


@CASES.add("M-FRAME-5")
def another_nonce(peer: HostPeer) -> None:
    """A request of another session is not answered."""
    peer.open_session()
    number = peer.take_id()
    peer.send(GetManifest(0), number, nonce=peer.nonce ^ 1)
    expect_no_answer(peer, number, "a request of another session")
    check(not peer.strangers, "a request of another session is answered")
    check_answers(peer)


@CASES.add("M-FRAME-5")
def an_old_sequence(peer: HostPeer) -> None:
    """A packet whose sequence was there before is not acted upon; a gap does no harm."""
    peer.open_session()
    check_answers(peer)
    number, newest = peer.take_id(), peer.sequence
    peer.send(GetManifest(0), number, sequence=(newest - 1) & 0xFFFFFFFF)
    expect_no_answer(peer, number, "a packet that repeats a sequence")
    number = peer.take_id()
    peer.send(GetManifest(0), number, sequence=(newest - 100) & 0xFFFFFFFF)
    expect_no_answer(peer, number, "a packet from before")
    peer.sequence = (newest + 1000) & 0xFFFFFFFF
    check_answers(peer)


@CASES.add("M-FRAME-5")
def a_spent_sequence(peer: HostPeer) -> None:
    """A packet whose payload is damaged has used up its sequence."""
    peer.open_session()
    spent = peer.sequence
    _, packet = _build_manifest_request(peer)
    peer.wire.send(packet[:-1] + bytes([packet[-1] ^ 1]))
    number = peer.take_id()
    peer.send(GetManifest(0), number, sequence=spent)
    expect_no_answer(peer, number, "a packet under the sequence of a damaged one")
    check_answers(peer)


@CASES.add("M-FRAME-6")
def too_long(peer: HostPeer) -> None:
    """A sound header that announces too much hides nothing of what follows it."""
    peer.open_session()
    head = peer.pack_payload(MessageType.GET_MANIFEST, bytes(MAX_CONTROL + 1), peer.take_id())[:40]
    number, packet = _build_manifest_request(peer)
    peer.wire.send(head + packet)
    check(
        peer.wait_for_answer(number, 0.8 * STALL_MS / 1000),
        "a header that announces too much is believed",
    )


@CASES.add("M-FRAME-6")
def another_major(peer: HostPeer) -> None:
    """A request of another major version is not answered; one of a newer minor is."""
    peer.open_session()
    number = peer.take_id()
    peer.send(GetManifest(0), number, version=(VERSION_MAJOR + 1) << 4)
    expect_no_answer(peer, number, "a request of another major version")
    number = peer.take_id()
    peer.send(GetManifest(0), number, version=VERSION_MAJOR << 4 | 0xF)
    check(peer.wait_for_answer(number), "a request of a newer minor version is not answered")


@CASES.add("M-GROW-1")
def longer_and_shorter(peer: HostPeer) -> None:
    """A fixed part with fields appended is taken; one that is too short is not."""
    peer.open_session()
    number = peer.take_id()
    grown = GetManifest(0).encode() + b"newer"
    grown = len(grown).to_bytes(2, "little") + grown[2:]
    peer.wire.send(peer.pack_payload(MessageType.GET_MANIFEST, grown, number))
    answer = peer.wait_for_answer(number)
    taken = answer is not None and answer.kind == MessageType.MANIFEST
    check(taken, f"a fixed part with more fields is answered with {describe(answer)}")
    for payload in (b"\x06\x00\x00", b"\x02\x00", b"\xff\x00\x00\x00\x00\x00"):
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(MessageType.GET_MANIFEST, payload, number))
        answer = peer.wait_for_answer(number, QUIET_S)
        if answer is not None:
            message = answer.message()
            refused = isinstance(message, Error) and message.code == ErrorCode.MALFORMED
            check(refused, f"the payload {payload.hex()} is answered with {describe(message)}")
    check_answers(peer)


@CASES.add("M-GROW-2")
def vendor_types(peer: HostPeer) -> None:
    """Types of the vendor range are skipped."""
    peer.open_session()
    number = peer.take_id()
    for kind in (0xE0, 0xFF):
        peer.wire.send(peer.pack_payload(kind, b"whatever", number))
    expect_no_answer(peer, number, "a type of the vendor range")
    check_answers(peer)


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


def _make_hello() -> Hello:
    return Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD)


@CASES.add("M-HELLO-2")
def what_was_offered(peer: HostPeer) -> None:
    """The answer stays within the offer: versions, lanes, no capabilities; no log is sent."""
    reply = peer.open_session(0, versions=(VERSION, VERSION_MAJOR << 4 | 0xF))
    check(reply.capabilities == 0, f"capabilities {reply.capabilities:#x} where none were offered")
    check(reply.lanes == 1, f"{reply.lanes} lanes where 1 was offered")
    check(reply.version >> 4 == VERSION_MAJOR, f"version {reply.version:#x}")
    peer.take_still()
    check(not any(p.kind == MessageType.LOG for p in peer.log), "LOG without the capability")


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
    fresh.expect_error(_START, ErrorCode.STATE)
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


@CASES.add("M-CLOSE-1")
def closed(peer: HostPeer) -> None:
    """After Close nothing is answered, and the next session finds nothing configured."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.close()
    peer.collect(0.1)
    number = peer.send_request(GetManifest(0))
    expect_no_answer(peer, number, "a request of a closed session")
    fresh = peer.start_session()
    fresh.open_session()
    fresh.expect_error(_START, ErrorCode.STATE)
    fresh.close()


@CASES.add("M-LIVE-1")
def heartbeats(peer: HostPeer) -> None:
    """Each Heartbeat is answered in time: idle, while streaming, and while tiles wait."""
    peer.open_session()
    peer.configure(PREVIEW)
    for limit in (0, 0, PLENTY, PLENTY, PLENTY):
        mark = len(peer.log)
        peer.send(Heartbeat((limit, 0, 0), 0))
        peer.wait_for_heartbeat_reply(mark, _ALIVE_S)
        if limit == 0:
            peer.try_call(_START)
    answered = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log)
    check(answered == 5, f"{answered} answers to 5 heartbeats")


@CASES.add("M-LIVE-2")
def what_was_sent(peer: HostPeer) -> None:
    """HeartbeatReply counts the bytes of tiles and names the newest frame, of each stream."""
    peer.open_session()
    reply = peer.grant_credits(0, 0)
    check(not any((*reply.sent, *reply.begun)), f"at the beginning: {describe(reply)}")
    _, picture = peer.take_still()
    reply = peer.grant_credits(PLENTY, PLENTY)
    count = sum(tile.header.length for tile in picture.tiles)
    assert picture.end is not None
    check(reply.sent == (0, count, 0), f"sent {reply.sent} where {count} bytes of the still came")
    check(reply.begun == (0, picture.end.id + 1, 0), f"begun {reply.begun} after {picture.end.id}")


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
        (_START, Accepted),
    )
    for message, reply in requests:
        mark = len(peer.log)
        number = peer.send_request(message)
        found = _wait_for_reply(peer, reply, mark)
        check(found.id == number, f"{describe(found)} answers request {number}")


def _wait_for_reply(peer: HostPeer, reply: type[AnyMessage], since: int) -> Packet:
    found = peer.wait_for(lambda p: p.kind == reply.TYPE, 2.0, since)
    if found is None:
        raise Failed(f"no {reply.__name__} within 2 s")
    return found


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


def _check_outcomes(peer: HostPeer, session: int, wanted: dict[int, Outcome]) -> None:
    for request, outcome in wanted.items():
        answer = peer.call(Query(session, request), QueryReply)
        said = f"outcome {answer.outcome} of request {request}, which is {outcome.name}"
        check(answer.outcome == outcome, said)
