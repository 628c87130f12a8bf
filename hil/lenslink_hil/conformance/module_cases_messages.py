"""Cases for modules: every message in each shape, and what sessions leave (SPEC.md, 2 to 4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import (
    Capability,
    ConfigureFlag,
    ErrorCode,
    FrameState,
    MessageType,
    Outcome,
)
from lenslink_protocol.messages import (
    BY_TYPE,
    MAGIC,
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    Close,
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
    Resend,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, STALL_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    ask_again,
    block_frame,
    check_answers,
    expect_no_answer,
    place_of,
    take_resendable_still,
)
from .packets import Packet, describe, hide_packet

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_MASK = 0xFFFFFFFF
_STALL_S = STALL_MS / 1000
_SOON_S = 0.8 * _STALL_S
_START = StartStream(PREVIEW, 20000)
_UNNUMBERED = (MessageType.HEARTBEAT_REPLY, MessageType.LOG, MessageType.NOTICE, MessageType.BUSY)
_STREAMED = (
    MessageType.FRAME_START,
    MessageType.TILE,
    MessageType.FRAME_END,
    MessageType.RESENT,
)


def build_manifest_request(peer: HostPeer) -> tuple[int, bytes]:
    """Return a request that changes nothing: its id and its bytes."""
    number = peer.take_id()
    return number, peer.build_packet(GetManifest(0), number)


# --- headers and sequences --------------------------------------------------------------------


@CASES.add("M-FRAME-1")
def sequences_of_everything(peer: HostPeer) -> None:
    """Answers, refusals, tiles of two streams, Resend, Stop and Flush are counted by one."""
    take_resendable_still(peer)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(0x3F, b"", number))
    peer.wait_for_answer(number, 1.0)
    peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    peer.start_stream(20000)
    mark = len(peer.log)
    peer.start_capture()
    picture = peer.wait_for_frame(STILL, mark)
    assert picture.end is not None
    places = [place_of(tile) for tile in picture.tiles[-2:]]
    ask_again(peer, picture.end.id, 3, places)
    peer.call(Stop(PREVIEW), Accepted)
    peer.call(Flush(), Flushed)
    lanes: dict[int, list[Packet]] = {}
    for packet in peer.log:
        lanes.setdefault(packet.lane, []).append(packet)
        head = packet.header
        if packet.kind in _UNNUMBERED:
            check(head.frame == 0, f"{describe(packet)} has {head.frame} as its frame")
        if packet.kind not in _STREAMED:
            check(head.stream == 0, f"{describe(packet)} names stream {head.stream}")
        place = (head.x, head.y, head.width, head.height)
        said = f"{describe(packet)} names the place {place}"
        check(packet.kind == MessageType.TILE or not any(place), said)
        if packet.kind != MessageType.TILE and packet.kind in BY_TYPE:
            message = packet.message()
            size = message.FIXED.size
            same = message.encode()[2:size] == packet.payload[2:size]
            check(same, f"{describe(packet)} has a reserved field that is not 0")
    for lane, packets in lanes.items():
        for before, after in pairwise(packets):
            step = (after.header.sequence - before.header.sequence) & _MASK
            said = f"on lane {lane}, {describe(after)} has a sequence {step} after the one before"
            check(step == 1, said)


@CASES.add("M-FRAME-1")
def refusals_count_too(peer: HostPeer) -> None:
    """The Error that refuses a Hello has sequence 0, and the next answers of its nonce 1 and 2."""
    newer = 0x20
    peer.try_hello(ALL, (newer, newer), version=newer)
    peer.try_hello(ALL, (newer, newer), version=newer)
    peer.open_session()
    numbers = [p.header.sequence for p in peer.log]
    check(numbers == list(range(len(numbers))), f"two refused Hellos, one that fits: {numbers}")


@CASES.add("M-FRAME-2")
def damage_in_any_place(peer: HostPeer) -> None:
    """Requests with a wrong bit in any byte of the payload, or in the header, have no answer."""
    peer.open_session()
    messages: tuple[AnyMessage, ...] = (
        Stop(STILL), Flush(), Query(peer.nonce, 1), _START, Challenge(0x8000, bytes(40)),
    )  # fmt: skip
    for message in messages:
        number = peer.take_id()
        packet = peer.build_packet(message, number)
        at = 40 + (number * 7) % (len(packet) - 40)
        if len(packet) > 60:
            at = 41 if number % 2 else 60
        peer.wire.send(packet[:at] + bytes([packet[at] ^ 0x10]) + packet[at + 1 :])
        # The reserved end of a place field: nobody looks at it but the CRC.
        number = peer.take_id()
        packet = peer.build_packet(message, number)
        peer.wire.send(packet[:27] + bytes([packet[27] ^ 1]) + packet[28:])
    found = [p for p in peer.collect(2 * _STALL_S) if p.kind not in _UNNUMBERED]
    check(not found, f"damaged requests are answered: {[describe(p) for p in found[:3]]}")
    check_answers(peer)


@CASES.add("M-FRAME-3")
def half_a_header_before_a_packet(peer: HostPeer) -> None:
    """A request directly behind a part of a header is found, however long the part is."""
    peer.open_session()
    for size in (5, 20, 36, 39):
        _, lost = build_manifest_request(peer)
        while lost[HEADER_BYTES - 1] == MAGIC[0]:
            # The packet's first byte would complete this header, and be lost with it.
            _, lost = build_manifest_request(peer)
        number, packet = build_manifest_request(peer)
        peer.wire.send(lost[:size] + packet)
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, f"the request behind {size} bytes of a header is not answered")


@CASES.add("M-FRAME-4")
def a_long_pause_is_no_stall(peer: HostPeer) -> None:
    """A packet that pauses for 0.7 STALL_MS is taken, in its header and in its payload."""
    peer.open_session()
    for size in (12, 42):
        number, packet = build_manifest_request(peer)
        peer.wire.send(packet[:size])
        peer.collect(0.7 * _STALL_S)
        peer.wire.send(packet[size:])
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, f"a request that paused for 0.7 STALL_MS after {size} bytes is not answered")


@CASES.add("M-FRAME-4")
def a_slow_packet_is_no_stall(peer: HostPeer) -> None:
    """A packet that comes in parts over twice STALL_MS, and never pauses that long, is taken."""
    peer.open_session()
    number, packet = build_manifest_request(peer)
    for at in range(0, len(packet), 8):
        peer.wire.send(packet[at : at + 8])
        peer.collect(0.4 * _STALL_S)
    answer = peer.wait_for_answer(number, 1.0)
    check(answer, "a request that came in parts over twice STALL_MS is not answered")


@CASES.add("M-FRAME-5")
def sequences_of_others(peer: HostPeer) -> None:
    """A packet of another session, sound or damaged, uses up no sequence of this one."""
    peer.open_session()
    check_answers(peer)
    for is_damaged in (False, True):
        newest = peer.sequence
        more = {"nonce": peer.nonce ^ 0x10, "sequence": (newest + 5000) & _MASK}
        data = peer.pack_payload(MessageType.GET_MANIFEST, GetManifest(0).encode(), 0, **more)
        peer.sequence = newest
        peer.wire.send(data[:-1] + bytes([data[-1] ^ 1]) if is_damaged else data)
        peer.collect(0.02)
        number, packet = build_manifest_request(peer)
        peer.wire.send(packet)
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, "behind a packet of another session a request is not answered")


@CASES.add("M-FRAME-6")
def hidden_in_a_header(peer: HostPeer) -> None:
    """A request that begins inside a header that is not believed is found."""
    peer.open_session()
    for version in (0x20, VERSION):
        number, packet = build_manifest_request(peer)
        peer.wire.send(hide_packet(packet, version, MessageType.GET_MANIFEST))
        answer = peer.wait_for_answer(number, _SOON_S)
        what = "another major version" if version != VERSION else "too long a payload"
        check(answer, f"a request that begins in a header of {what} is not answered")


# --- growth -----------------------------------------------------------------------------------


def _shorten_message(message: AnyMessage) -> list[bytes]:
    """Return payloads of a message that are too short, or whose size is wrong."""
    data = message.encode()
    size = len(data) if message.FIXED.size == len(data) else message.FIXED.size
    return [
        b"",
        data[:1],
        (size - 1).to_bytes(2, "little") + data[2:],
        (len(data) + 1).to_bytes(2, "little") + data[2:],
        (size - 1).to_bytes(2, "little") + data[2 : size - 1],
        b"\xff\xff" + data[2:],
    ]


@CASES.add("M-GROW-1")
def every_message_may_be_short(peer: HostPeer) -> None:
    """Each message that is too short, or whose size is wrong, is refused or ignored."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.configure(PREVIEW)
    peer.configure(STILL)
    messages: tuple[AnyMessage, ...] = (
        GetManifest(0), Configure(STILL, 0, mode, 0, 0), Capture(STILL, 1), _START,
        Stop(STILL), Flush(), Query(peer.nonce, 1), Challenge(0x8000, b""), Test(1, 0, 1),
    )  # fmt: skip
    for message in messages:
        for payload in _shorten_message(message):
            number = peer.take_id()
            mark = len(peer.log)
            peer.wire.send(peer.pack_payload(message.TYPE, payload, number))
            answer = peer.wait_for_answer(number, 0.05, mark)
            found = answer.message() if answer is not None else None
            codes = (ErrorCode.MALFORMED, ErrorCode.UNKNOWN_REQUEST)
            refused = isinstance(found, Error) and found.code in codes
            name = type(message).__name__
            said = f"{name} with the payload {payload.hex()} is answered with {describe(answer)}"
            check(answer is None or refused, said)
    check_answers(peer)


@CASES.add("M-GROW-1")
def short_ends(peer: HostPeer) -> None:
    """A malformed Close, Hello, Heartbeat or Resend changes nothing; a grown Close ends."""
    peer.open_session()
    peer.configure(STILL)
    hello = Hello(VERSION, VERSION, 1, ALL, 1 << 20)
    other = peer.source.getrandbits(32)
    for message, nonce in (
        (Close(0), peer.nonce),
        (hello, peer.nonce),
        (hello, other),
        (Heartbeat((PLENTY, PLENTY, PLENTY), 0), peer.nonce),
        (Resend(3, 0, b""), peer.nonce),
    ):
        for payload in _shorten_message(message):
            more = {"nonce": nonce} if nonce != peer.nonce else {}
            sequence = peer.sequence
            peer.wire.send(peer.pack_payload(message.TYPE, payload, 0, **more))
            if more:
                peer.sequence = sequence
        found = [describe(p) for p in peer.collect(0.1) if p.kind != MessageType.LOG]
        name = type(message).__name__
        check(not found and not peer.strangers, f"a malformed {name} is answered with {found[:2]}")
        check_answers(peer)
    peer.call(Capture(STILL, 1), Accepted)
    early = [p for p in peer.collect() if p.kind == MessageType.TILE]
    check(not early, "a malformed Heartbeat grants credits")
    payload = (7).to_bytes(2, "little") + Close(0).encode()[2:] + b"more"
    peer.wire.send(peer.pack_payload(MessageType.CLOSE, payload, 0))
    peer.collect(0.05)
    number = peer.send_request(GetManifest(0))
    expect_no_answer(peer, number, "a request behind a Close with more fields")


@CASES.add("M-GROW-2")
def values_that_mean_nothing(peer: HostPeer) -> None:
    """Reserved fields, unknown flags and unknown capabilities of any message are ignored."""
    number = peer.take_id()
    payload = bytearray(Hello(VERSION, VERSION, 1, ALL | 0x80000000, 1 << 20).encode())
    payload[5] = 0xA5
    peer.open_session()
    peer.close()
    peer = peer.start_session()
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(MessageType.HELLO, bytes(payload), number, flags=0xFE))
    answer = peer.wait_for_answer(number, 2.0)
    opened = answer is not None and answer.kind == MessageType.HELLO_REPLY
    check(opened, f"a Hello with values in reserved fields gets {describe(answer)}")
    peer.configure(STILL)
    mode = peer.find_smallest_mode().id
    configured = peer.call(Configure(PREVIEW, 0xFC, mode, 0, 0), Configured)
    known = ConfigureFlag.TEST_ONLY | ConfigureFlag.ADJUSTED
    check(not configured.flags & ~known, f"unknown flags are repeated: {configured.flags:#x}")
    mark = len(peer.log)
    beat = Heartbeat((PLENTY, PLENTY, PLENTY), 0).encode()
    peer.wire.send(peer.pack_payload(MessageType.HEARTBEAT, beat, 0, flags=0xFF))
    peer.wait_for_heartbeat_reply(mark, 2.0)
    start = bytearray(_START.encode())
    start[3:6] = b"\xa5\xa5\xa5"
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(MessageType.STREAM, bytes(start), number, flags=0x40))
    answer = peer.wait_for_answer(number)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, f"a StartStream with values in reserved fields gets {describe(answer)}")
    peer.call(Stop(PREVIEW), Accepted)
    peer.start_capture()
    picture = peer.wait_for_frame()
    assert picture.end is not None
    resend = bytearray(Resend(0xFC, 0, b"").encode())
    resend[3] = 0xA5
    mark = len(peer.log)
    peer.wire.send(peer.pack_payload(MessageType.RESEND, bytes(resend), picture.end.id, STILL))
    if isinstance(peer.log[0].message(), HelloReply):
        found = peer.wait_for(lambda p: p.kind == MessageType.RESENT, 2.0, mark)
        reply = peer.log[0].message()
        assert isinstance(reply, HelloReply)
        has_resend = reply.capabilities & Capability.RESEND
        check(found or not has_resend, "a Resend with unknown flags is not answered")
    check_answers(peer)


# --- sessions ---------------------------------------------------------------------------------


@CASES.add("M-HELLO-1")
def an_old_hello(peer: HostPeer) -> None:
    """A Hello of the open session with an old sequence is not answered; one with a new one is."""
    peer.open_session()
    check_answers(peer)
    hello = Hello(VERSION, VERSION, 1, ALL, 1 << 20)
    for back in (1, 2):
        newest = peer.sequence
        number = 9000 + back
        peer.send(hello, number, sequence=(newest - back) & _MASK)
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


def _check_nothing_left(before: HostPeer, fresh: HostPeer, frame: int, how: str) -> None:
    """Check that a session finds nothing of the one before it but what Table 5 keeps."""
    reply = fresh.grant_credits(0, 0)
    counts = (*reply.sent, *reply.begun)
    check(not any(counts), f"after {how} a session begins with {describe(reply)}")
    check(fresh.log[0].header.sequence == 0, f"after {how} sequences do not begin at 0")
    fresh.expect_error(_START, ErrorCode.STATE)
    fresh.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    if fresh.session is not None and fresh.session.capabilities & Capability.RESEND:
        message, came = ask_again(fresh, frame, 3, [(0, 0, 2, 2)])
        said = f"after {how} a frame of the session before is {message.state}, not UNKNOWN"
        check(message.state == FrameState.UNKNOWN, said)
        check(not came, f"after {how} a frame of the session before comes again")
    fresh.configure(STILL)
    fresh.call(Capture(STILL, 1), Accepted)
    early = [p for p in fresh.collect() if p.kind == MessageType.TILE]
    check(not early, f"after {how} tiles come by the credits of the session before")
    last = fresh.next_id - 1
    flushed = fresh.call(Flush(), Flushed)
    said = f"after {how} last_request is {flushed.last_request}, not {last}"
    check(flushed.last_request == last, said)
    check(not fresh.strangers, f"after {how} packets of the session before come")
    del before


@CASES.add("M-CLOSE-1")
def nothing_is_left_by_close(peer: HostPeer) -> None:
    """After Close the next session has no configuration, credits, counts, frames or answers."""
    _, _, number = take_resendable_still(peer)
    peer.close()
    peer.collect(0.05)
    fresh = peer.start_session()
    fresh.open_session()
    _check_nothing_left(peer, fresh, number, "Close")
    fresh.close()


@CASES.add("M-CLOSE-1")
def nothing_is_left_by_a_connection(peer: HostPeer) -> None:
    """After the end of a connection the next session finds as little as after Close."""
    before = peer.open_session()
    _, picture = peer.take_still(4 * peer.find_smallest_mode().width)
    assert picture.end is not None
    peer.configure(PREVIEW)
    peer.start_stream(20000)
    if not peer.wire.reopen():
        raise NotClaimed("this bench cannot make a new connection")
    fresh = peer.start_session()
    after = fresh.open_session()
    if after.boot_count != before.boot_count or after.uptime_us < before.uptime_us:
        raise NotClaimed("on this bench a new connection starts the module anew")
    _check_nothing_left(peer, fresh, picture.end.id, "the end of a connection")
    fresh.close()


@CASES.add("M-HELLO-3")
def nothing_is_left_by_hello(peer: HostPeer) -> None:
    """After a Hello with another nonce the new session finds as little as after Close."""
    _, _, number = take_resendable_still(peer)
    fresh = peer.start_session()
    fresh.open_session()
    _check_nothing_left(peer, fresh, number, "a Hello with another nonce")
    fresh.close()


# --- requests ---------------------------------------------------------------------------------


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
    requests = (Configure(PREVIEW, 0, mode, 0, 0), _START)
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


@CASES.add("M-LIVE-1", "M-CREDIT-2")
def answers_to_a_host_in_a_hurry(peer: HostPeer) -> None:
    """Seven Heartbeats at once while tiles wait are answered, each once."""
    block_frame(peer)
    mark = len(peer.log)
    peer.wire.send(b"".join(peer.build_packet(Heartbeat((0, 0, 0), 0)) for _ in range(7)))
    peer.collect(0.4)
    count = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log[mark:])
    check(count == 7, f"{count} answers to seven Heartbeats")


@CASES.add("M-MANIFEST-1")
def far_beyond_the_end(peer: HostPeer) -> None:
    """Offsets beyond the end are UNSUPPORTED, large ones too; the last byte is a piece."""
    reply = peer.open_session()
    total = reply.manifest_bytes
    for offset in (total, total + 1, 0x10000, 0x7FFFFFFF, _MASK):
        peer.expect_error(GetManifest(offset), ErrorCode.UNSUPPORTED)
    piece = peer.call(GetManifest(total - 1), ManifestPiece)
    said = f"the last byte is answered with {describe(piece)}"
    check(len(piece.piece) == 1 and piece.total == total, said)
    most = MAX_CONTROL - ManifestPiece.FIXED.size
    check(len(peer.call(GetManifest(0), ManifestPiece).piece) <= most, "a piece is too long")


# --- after trouble ----------------------------------------------------------------------------


@CASES.add("M-HELLO-2")
def no_log_of_troubles(peer: HostPeer) -> None:
    """In a session without LOG no line comes, not even about damage, refusals or Stop."""
    peer.open_session(Capability.RESEND)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(_START, ErrorCode.STATE)
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
    peer.collect(2 * _STALL_S)
    logs = [describe(p) for p in peer.log if p.kind == MessageType.LOG]
    check(not logs, f"LOG is sent without the capability: {logs[:3]}")


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
