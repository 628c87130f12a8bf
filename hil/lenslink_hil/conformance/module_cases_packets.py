"""Cases for modules: packets, and how they are received (SPEC.md, 2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.crc import crc32
from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import (
    AuthScheme,
    CalibrationKind,
    Capability,
    ConfigureFlag,
    ErrorCode,
    MessageType,
    ResendFlag,
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
    Flush,
    Flushed,
    GetCalibration,
    GetManifest,
    Heartbeat,
    Hello,
    Query,
    QueryReply,
    Resend,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import AUTH_BYTES, HEADER_BYTES, MAX_CONTROL, STALL_MS, VERSION_MAJOR

from .cases import Cases, check
from .host_peer import ALL, PLENTY, PREVIEW, ROI, STILL, HostPeer
from .module_steps import (
    ALL_STREAMS,
    ALL_WITH_EVENTS,
    SHORT_WAIT_S,
    STALL_S,
    START_50_FPS,
    ask_again,
    block_frame,
    check_answers,
    check_cover,
    check_sequences,
    count_tile_bytes,
    expect_no_answer,
    open_lanes,
    place_of,
    take_resendable_still,
    wait_for_type,
)
from .packets import MASK_32, Packet, describe, hide_packet

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_LENGTH, _PAYLOAD_CRC, _HEADER_CRC = HEADER_BYTES - 12, HEADER_BYTES - 8, HEADER_BYTES - 4
"""Where the length and the CRCs are in a header."""
_STALLED_S = 2.5 * STALL_MS / 1000
_SOON_S = 0.8 * STALL_S
"""An answer that takes longer has waited for a stall."""

_UNNUMBERED = (
    MessageType.HEARTBEAT_REPLY, MessageType.LOG, MessageType.NOTICE, MessageType.BUSY,
    MessageType.EVENT,
)  # fmt: skip
_UNASKED = (MessageType.LOG, MessageType.EVENT, MessageType.NOTICE)
_STREAMED = (
    MessageType.FRAME_START,
    MessageType.TILE,
    MessageType.FRAME_END,
    MessageType.RESENT,
)


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


@CASES.add("M-FRAME-1")
def second_session_counts_from_0(peer: HostPeer) -> None:
    """A second session on the same connection counts its packets from 0 again."""
    peer.open_session()
    peer.take_still()
    peer.close()
    second = peer.start_session()
    second.open_session()
    check_answers(second)
    first = second.log[0]
    check(first.header.sequence == 0, f"the second session begins with {first.header.sequence}")


@CASES.add("M-FRAME-1")
def reserved_fields(peer: HostPeer) -> None:
    """Reserved fields of payloads are 0, in every message that this version knows."""
    peer.open_session()
    peer.take_still()
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    peer.call(Flush(), Flushed)
    for packet in peer.log:
        if packet.kind == MessageType.TILE or packet.kind not in BY_TYPE:
            continue
        message = packet.message()
        size = message.FIXED.size
        # The codec writes 0 into reserved fields, so another value shows here.
        same = message.encode()[2:size] == packet.payload[2:size]
        check(same, f"{describe(packet)} has a reserved field that is not 0")


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
        _check_header(packet)
        if packet.kind != MessageType.TILE and packet.kind in BY_TYPE:
            message = packet.message()
            size = message.FIXED.size
            same = message.encode()[2:size] == packet.payload[2:size]
            check(same, f"{describe(packet)} has a reserved field that is not 0")
    for lane, packets in lanes.items():
        for before, after in pairwise(packets):
            step = (after.header.sequence - before.header.sequence) & MASK_32
            said = f"on lane {lane}, {describe(after)} has a sequence {step} after the one before"
            check(step == 1, said)


@CASES.add("M-FRAME-1")
def headers_of_answers(peer: HostPeer) -> None:
    """Every answer about any stream has 0 in the fields of its header that are not its own."""
    session = peer.open_session(ALL_WITH_EVENTS)
    mode = peer.find_smallest_mode().id
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        for message in (
            Configure(stream, ConfigureFlag.TEST_ONLY, mode, 0, 0),
            Configure(stream, 0, 65000, 0, 0),
            SetSettings(stream, b""),
            Configure(stream, 0, mode, 0, 0),
            SetSettings(stream, b""),
            Capture(stream, 0),
            StartStream(stream, 20000),
            SetSettings(stream, b""),
            StartStream(stream, 20000),
            Configure(stream, 0, mode, 0, 0),
            Stop(stream),
            Query(peer.nonce, 1),
            Challenge(AuthScheme.HMAC_SHA256, bytes(AUTH_BYTES)),
            GetCalibration(CalibrationKind.NOISE, 0),
            SetBudget(0xFFFFFFFF),
            Test(0xFF, 0, 0),
            Flush(),
        ):
            peer.try_call(message)
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(0x3F, b"", number, STILL))
    peer.wait_for_answer(number, 1.0)
    if session.capabilities & Capability.RESEND:
        ask_again(peer, 0xFFFFFFFF, 0, [], ROI)
    for packet in peer.log:
        _check_header(packet)


@CASES.add("M-FRAME-1")
def refusals_count_too(peer: HostPeer) -> None:
    """The Error that refuses a Hello has sequence 0, and the next answers of its nonce 1 and 2."""
    newer = 0x20
    peer.try_hello(ALL, (newer, newer), version=newer)
    peer.try_hello(ALL, (newer, newer), version=newer)
    peer.open_session()
    numbers = [p.header.sequence for p in peer.log]
    check(numbers == list(range(len(numbers))), f"two refused Hellos, one that fits: {numbers}")


@CASES.add("M-FRAME-1")
def sequences_while_tiles_wait(peer: HostPeer) -> None:
    """Lane 0 counts by one while a frame of any stream waits, whatever is answered meanwhile."""
    for stream in ALL_STREAMS:
        session = peer.start_session()
        block_frame(session, stream)
        start = next(p for p in session.log if p.kind == MessageType.FRAME_START)
        for _ in range(2):
            session.grant_credits(0, 0)
            check_answers(session)
        session.expect_error(Configure(stream, 0, 65000, 0, 0), ErrorCode.STATE)
        session.call(Query(session.nonce, 1), QueryReply)
        if session.session is not None and session.session.capabilities & Capability.RESEND:
            ask_again(session, start.id, ResendFlag.START, [], stream)
        session.call(Stop(stream), Accepted)
        check_sequences(session.log)
        session.close()


def _check_header(packet: Packet) -> None:
    """Check the fields that are 0 in a header of the packet's type."""
    head = packet.header
    if packet.kind in _UNNUMBERED:
        check(head.frame == 0, f"{describe(packet)} has {head.frame} as its frame")
    if packet.kind not in _STREAMED:
        check(head.stream == 0, f"{describe(packet)} names stream {head.stream}")
    place = (head.x, head.y, head.width, head.height)
    said = f"{describe(packet)} names the place {place}"
    check(packet.kind == MessageType.TILE or not any(place), said)


def _ask_everything(peer: HostPeer) -> None:
    """Make each request that changes no frame. Fail unless each is answered under its id."""
    peer.grant_credits(*peer.limits)
    mode = peer.find_smallest_mode().id
    for message in (
        GetManifest(1), GetCalibration(CalibrationKind.NOISE, 0), Query(peer.nonce, 1),
        Configure(ROI, ConfigureFlag.TEST_ONLY, mode, 0, 0), Configure(STILL, 0, 65000, 0, 0),
        SetSettings(ROI), Stop(ROI), Challenge(0x9999, bytes(4)),
        Test(99, 0, 0),
    ):  # fmt: skip
        number = peer.send_request(message)
        check(peer.wait_for_answer(number), f"{describe(message)} is not answered under its id")
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(0x3F, b"", number))
    check(peer.wait_for_answer(number), "an unknown type is not answered under its number")
    peer.grant_credits(*peer.limits)


@CASES.add("M-FRAME-1")
def headers_beside_frames(peer: HostPeer) -> None:
    """Answers name their request and other messages 0, before, behind and beside a frame.

    No packet but those of frames names a stream, and none but tiles names a place.
    """
    peer.open_session(ALL_WITH_EVENTS)
    _ask_everything(peer)
    for stream in (PREVIEW, STILL):
        peer.configure(stream, 4 * peer.find_smallest_mode().width)
        mark = len(peer.log)
        peer.grant_credits(PLENTY, PLENTY)
        peer.start_capture(stream=stream)
        peer.wait_for_frame(stream, mark)
        _ask_everything(peer)
    fresh = peer.start_session()
    block_frame(fresh)
    _ask_everything(fresh)
    for session in (peer, fresh):
        for packet in session.log:
            _check_header(packet)


@CASES.add("M-FRAME-1", "M-LANE-1")
def lanes_begin_at_0_again(peer: HostPeer) -> None:
    """Each lane counts from 0 in the second session of a connection, and in the third."""
    session = peer
    for _ in range(3):
        open_lanes(session)
        session.start_capture()
        session.wait_for_frame()
        session.collect(SHORT_WAIT_S)
        for lane in range(session.lanes):
            numbers = [p.header.sequence for p in session.log if p.lane == lane]
            said = f"lane {lane} of a later session counts {numbers[:4]}"
            check(numbers == list(range(len(numbers))), said)
        # The second session ends with Close, the first by the Hello of the next.
        if session is not peer:
            session.close()
            session.collect(SHORT_WAIT_S)
        session = session.start_session()


def _build_manifest_request(peer: HostPeer) -> tuple[int, bytes]:
    """A request that changes nothing, as a packet: its id, its bytes."""
    number = peer.take_id()
    return number, peer.build_packet(GetManifest(0), number)


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


def _damage(packet: bytes, in_header: bool) -> bytes:
    """Return *packet* with one bit of its payload or of its header's CRC flipped."""
    at = 36 if in_header or len(packet) == 40 else len(packet) - 1
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


def _damage_crc(packet: bytes, at: int) -> bytes:
    """Return *packet* with one bit of byte *at* flipped, which is one of its two CRCs."""
    wrong = packet[:at] + bytes([packet[at] ^ 0x80]) + packet[at + 1 :]
    if at >= _HEADER_CRC:
        return wrong
    # The header is sound: only the payload's CRC does not hold.
    crc = crc32(wrong[:_HEADER_CRC]).to_bytes(4, "little")
    return wrong[:_HEADER_CRC] + crc + wrong[HEADER_BYTES:]


@CASES.add("M-FRAME-2")
def damaged_messages(peer: HostPeer) -> None:
    """A damaged Resend, Capture, Hello or Close has no effect."""
    _, _, number = take_resendable_still(peer)
    configured = peer.configure(STILL)
    limit = sum(p.header.length for p in peer.log if p.kind == MessageType.TILE)
    for in_header in (False, True):
        mark = len(peer.log)
        resend = Resend(3, 1, struct.pack("<4H", 0, 0, 2, 2))
        fresh = peer.source.getrandbits(32)
        for packet in (
            peer.build_packet(resend, number, STILL),
            peer.build_packet(Capture(STILL, 1), peer.take_id()),
            peer.build_packet(Hello(0x10, 0x10, 1, ALL, configured.tile_bytes), 1, nonce=fresh),
            peer.build_packet(Close(0)),
        ):
            peer.wire.send(_damage(packet, in_header))
            # A whole packet is searched at once, so the next one is not taken for its rest.
            peer.collect(0.02)
        peer.collect(SHORT_WAIT_S)
        where = "header" if in_header else "payload"
        acted = [str(p) for p in peer.log[mark:] if p.kind != MessageType.LOG]
        check(not acted, f"packets with a damaged {where} are acted on: {acted[:3]}")
        check(not peer.strangers, f"a Hello with a damaged {where} opens a session")
        check_answers(peer)
    peer.call(Configure(STILL, 0, configured.mode, 0, 0), type(configured))
    check(limit == count_tile_bytes(peer.log, STILL), "a damaged Capture or Resend sends tiles")


@CASES.add("M-FRAME-2")
def damage_beside_a_frame(peer: HostPeer) -> None:
    """A frame that waits for credits gets none from damaged Heartbeats, and no damage ends it."""
    for at, what in ((_PAYLOAD_CRC, "payload"), (_HEADER_CRC, "header")):
        session = peer.start_session()
        session.open_session()
        configured = session.configure(STILL)
        session.grant_credits(0, 0)
        session.start_capture()
        check(wait_for_type(session, MessageType.FRAME_START, 0, 5.0), "no FrameStart within 5 s")
        for packet in (
            session.build_packet(Heartbeat((PLENTY, PLENTY, PLENTY), 0)),
            session.build_packet(Stop(STILL), session.take_id()),
            session.build_packet(Flush(), session.take_id()),
            session.build_packet(SetBudget(1), session.take_id()),
        ):
            session.wire.send(_damage_crc(packet, at))
        came = session.collect(_SOON_S)
        acted = [describe(p) for p in came if p.kind not in _UNASKED]
        said = f"Heartbeat, Stop, Flush and SetBudget with a wrong {what} CRC bring {acted[:3]}"
        check(not acted, said)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        check_cover(configured, session.wait_for_frame())
        session.close()


@CASES.add("M-FRAME-2")
def damage_in_any_place(peer: HostPeer) -> None:
    """Requests with a wrong bit in any byte of the payload, or in the header, have no answer."""
    peer.open_session()
    messages: tuple[AnyMessage, ...] = (
        Stop(STILL), Flush(), Query(peer.nonce, 1), START_50_FPS, Challenge(0x8000, bytes(40)),
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
    found = [p for p in peer.collect(SHORT_WAIT_S) if p.kind not in _UNNUMBERED]
    check(not found, f"damaged requests are answered: {[describe(p) for p in found[:3]]}")
    check_answers(peer)


@CASES.add("M-FRAME-2")
def each_byte_of_both_crcs(peer: HostPeer) -> None:
    """A request with one wrong bit in any byte of either CRC has no answer."""
    peer.open_session()
    for at in range(_PAYLOAD_CRC, HEADER_BYTES):
        _, packet = _build_manifest_request(peer)
        peer.wire.send(_damage_crc(packet, at))
    found = [p for p in peer.collect() if p.kind not in _UNNUMBERED]
    check(not found, f"requests with a wrong CRC get {[describe(p) for p in found[:3]]}")
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


@CASES.add("M-FRAME-3")
def half_a_magic_before_a_packet(peer: HostPeer) -> None:
    """A request directly behind the beginning of a magic is found."""
    peer.open_session()
    for noise in (b"\x8a", b"\x8a\x4c", b"\x8a\x4c\x4c", b"\x8a\x4c\x4c\x8a\x4c\x4c", b"K" * 41):
        number = peer.take_id()
        peer.wire.send(noise + peer.build_packet(GetManifest(0), number))
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, f"the request behind {noise.hex(' ')} is not answered")


@CASES.add("M-FRAME-3")
def two_damaged_in_a_row(peer: HostPeer) -> None:
    """A request behind two damaged packets is found, though both announce more than they have."""
    peer.open_session()
    for in_header in (True, False):
        first = _damage(peer.pack_payload(MessageType.GET_MANIFEST, bytes(90), 0), in_header)
        second = _damage(peer.pack_payload(MessageType.GET_MANIFEST, bytes(200), 0), in_header)
        number = peer.take_id()
        packet = peer.build_packet(GetManifest(0), number)
        peer.wire.send(first[:70] + second[:60] + packet)
        answer = peer.wait_for_answer(number, 2.0)
        check(answer, "the request behind two damaged packets is not answered")


@CASES.add("M-FRAME-3")
def several_in_one_piece(peer: HostPeer) -> None:
    """Requests that arrive in one piece are all answered, and a request in single bytes is."""
    peer.open_session()
    numbers = [peer.take_id() for _ in range(3)]
    data = b"".join(peer.build_packet(Heartbeat((0, 0, 0), 0)) for _ in range(2))
    data += peer.build_packet(GetManifest(0), numbers[0])
    mark = len(peer.log)
    peer.wire.send(data)
    check(peer.wait_for_answer(numbers[0], 1.0), "the third packet of one piece is not answered")
    beats = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log[mark:])
    check(beats == 2, f"{beats} answers to two Heartbeats in one piece")
    packet = peer.build_packet(GetManifest(0), numbers[1])
    for byte in packet:
        peer.wire.send(bytes([byte]))
    check(peer.wait_for_answer(numbers[1], 1.0), "a request in single bytes is not answered")


def build_manifest_request(peer: HostPeer) -> tuple[int, bytes]:
    """Return a request that changes nothing: its id and its bytes."""
    number = peer.take_id()
    return number, peer.build_packet(GetManifest(0), number)


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


@CASES.add("M-FRAME-3")
def anywhere_in_a_damaged_payload(peer: HostPeer) -> None:
    """A request anywhere inside a long payload whose CRC fails is found."""
    peer.open_session()
    for at in (0, 1, 250, 600, 953):
        first = peer.sequence
        number = peer.take_id()
        inside = peer.build_packet(GetManifest(0), number, sequence=first + 1)
        payload = (bytes(at) + inside).ljust(1000, b"\0")
        packet = peer.pack_payload(MessageType.GET_MANIFEST, payload, 0, sequence=first)
        peer.sequence = first + 2
        peer.wire.send(packet[:-1] + b"\1")
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, f"a request at byte {at} of a damaged payload of 1000 is not answered")


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


@CASES.add("M-FRAME-4")
def given_up_in_time(peer: HostPeer) -> None:
    """A packet that stopped is given up after STALL_MS, not much later."""
    peer.open_session()
    for size in (50, 20):
        begun = peer.pack_payload(MessageType.GET_MANIFEST, bytes(800), 0)
        peer.wire.send(begun[:size])
        peer.collect(1.5 * STALL_S)
        number = peer.send_request(GetManifest(0))
        answer = peer.wait_for_answer(number, _SOON_S)
        check(answer, f"a packet of which {size} bytes came is waited for after STALL_MS")


@CASES.add("M-FRAME-4")
def stalled_packets_are_searched(peer: HostPeer) -> None:
    """A request inside a packet that stopped is found when the packet is given up."""
    peer.open_session()
    begun = peer.pack_payload(MessageType.GET_MANIFEST, bytes(900), 0)
    number = peer.take_id()
    peer.wire.send(begun[:60] + peer.build_packet(GetManifest(0), number))
    answer = peer.wait_for_answer(number, STALL_S + 1.0)
    check(answer, "a request inside a packet that stopped is not answered")


@CASES.add("M-FRAME-4")
def a_short_pause_is_no_stall(peer: HostPeer) -> None:
    """A packet that pauses for less than STALL_MS is taken."""
    peer.open_session()
    number = peer.take_id()
    packet = peer.build_packet(GetManifest(0), number)
    peer.wire.send(packet[:43])
    peer.collect(0.3 * STALL_S)
    peer.wire.send(packet[43:])
    answer = peer.wait_for_answer(number, 1.0)
    check(answer, "a request that paused for a third of STALL_MS is not answered")


@CASES.add("M-FRAME-4")
def a_long_pause_is_no_stall(peer: HostPeer) -> None:
    """A packet that pauses for 0.7 STALL_MS is taken, in its header and in its payload."""
    peer.open_session()
    for size in (12, 42):
        number, packet = build_manifest_request(peer)
        peer.wire.send(packet[:size])
        peer.collect(0.7 * STALL_S)
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
        peer.collect(0.4 * STALL_S)
    answer = peer.wait_for_answer(number, 1.0)
    check(answer, "a request that came in parts over twice STALL_MS is not answered")


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


@CASES.add("M-FRAME-5")
def sequences_wrap(peer: HostPeer) -> None:
    """The sequence that follows 2^32 - 1 is fresh, and so is a step of just below 2^31."""
    peer.sequence = 0xFFFFFFFD
    peer.open_session()
    for _ in range(4):
        check_answers(peer)
    newest = (peer.sequence - 1) & 0xFFFFFFFF
    number = peer.take_id()
    peer.send(GetManifest(0), number, sequence=(newest + 0x7FFFFFFF) & 0xFFFFFFFF)
    check(peer.wait_for_answer(number, 1.0), "a step of 2^31 - 1 is not fresh")
    newest = (peer.sequence - 1) & 0xFFFFFFFF
    for step in (0x80000000, 0x80000001):
        number = peer.take_id()
        peer.send(GetManifest(0), number, sequence=(newest + step) & 0xFFFFFFFF)
        expect_no_answer(peer, number, f"a packet with a step of {step:#x}")
    peer.sequence = (newest + 1) & 0xFFFFFFFF
    check_answers(peer)


@CASES.add("M-FRAME-5")
def old_messages(peer: HostPeer) -> None:
    """An old Heartbeat, and a Heartbeat and a Close of another session, have no effect."""
    peer.open_session()
    peer.configure()
    check_answers(peer)
    old = (peer.sequence - 1) & 0xFFFFFFFF
    for more in ({"sequence": old}, {"nonce": peer.nonce ^ 0x100}):
        mark, sequence = len(peer.log), peer.sequence
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0), **more)
        peer.send(Close(0), **({"sequence": old} if "sequence" in more else more))
        if "sequence" in more:
            peer.sequence = sequence
        acted = [str(p) for p in peer.collect() if p.kind != MessageType.LOG]
        what = "an old sequence" if "sequence" in more else "another nonce"
        check(not acted, f"a Heartbeat or Close with {what} is acted on: {acted}")
        check(len(peer.log) >= mark and not peer.strangers, f"{what} is answered")
    peer.start_capture()
    sent = count_tile_bytes(peer.collect(), STILL)
    said = f"{sent} bytes of tiles come without credits: no fresh Heartbeat of the session had any"
    check(sent == 0, said)


@CASES.add("M-FRAME-5")
def sequences_of_others(peer: HostPeer) -> None:
    """A packet of another session, sound or damaged, uses up no sequence of this one."""
    peer.open_session()
    check_answers(peer)
    for is_damaged in (False, True):
        newest = peer.sequence
        more = {"nonce": peer.nonce ^ 0x10, "sequence": (newest + 5000) & MASK_32}
        data = peer.pack_payload(MessageType.GET_MANIFEST, GetManifest(0).encode(), 0, **more)
        peer.sequence = newest
        peer.wire.send(data[:-1] + bytes([data[-1] ^ 1]) if is_damaged else data)
        peer.collect(0.02)
        number, packet = build_manifest_request(peer)
        peer.wire.send(packet)
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, "behind a packet of another session a request is not answered")


@CASES.add("M-FRAME-5")
def a_sequence_of_a_packet_that_stopped(peer: HostPeer) -> None:
    """A packet that stopped inside and was given up has used up its sequence."""
    peer.open_session()
    number = peer.take_id()
    packet = peer.build_packet(GetManifest(0), number)
    peer.wire.send(packet[:-1])
    peer.collect(1.5 * STALL_MS / 1000)
    peer.wire.send(packet)
    expect_no_answer(peer, number, "a packet under the sequence of one that stopped inside")
    check_answers(peer)


@CASES.add("M-FRAME-5")
def messages_of_the_session_before(peer: HostPeer) -> None:
    """Nothing of the session before is acted on, whether Close or a Hello ended it."""
    before = peer
    for is_closed in (True, False):
        before.open_session()
        check_answers(before)
        if is_closed:
            before.close()
        fresh = before.start_session()
        fresh.open_session()
        fresh.configure(STILL)
        check_answers(fresh)
        mark = len(fresh.log)
        for message in (
            Heartbeat((PLENTY, PLENTY, PLENTY), 0),
            Capture(STILL, 1),
            Flush(),
            Close(0),
        ):
            before.sequence += 1 << 16
            before.send(message, 0 if isinstance(message, (Heartbeat, Close)) else 900)
        acted = [str(p) for p in fresh.collect(SHORT_WAIT_S) if p.kind != MessageType.LOG]
        check(not acted, f"packets of the session before bring {acted[:2]}")
        check(not fresh.strangers, f"packets of the session before get {fresh.strangers[:2]}")
        fresh.start_capture()
        sent = count_tile_bytes(fresh.collect(SHORT_WAIT_S), STILL)
        said = f"{sent} bytes of tiles come without credits: only the session before had any"
        check(sent == 0, said)
        del mark
        before = fresh.start_session()


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


@CASES.add("M-FRAME-6")
def as_long_as_allowed(peer: HostPeer) -> None:
    """A request of exactly MAX_CONTROL bytes is taken; a longer one of any type is passed over."""
    peer.open_session()
    number = peer.take_id()
    payload = MAX_CONTROL.to_bytes(2, "little") + bytes(MAX_CONTROL - 2)
    peer.wire.send(peer.pack_payload(MessageType.GET_MANIFEST, payload, number))
    check(peer.wait_for_answer(number, 2.0), f"a request of {MAX_CONTROL} bytes is not answered")
    for kind in (MessageType.TILE, MessageType.HEARTBEAT, MessageType.HELLO, 0xE5):
        head = peer.pack_payload(kind, bytes(5000), 0)[:40]
        number = peer.take_id()
        peer.wire.send(head + peer.build_packet(GetManifest(0), number))
        answer = peer.wait_for_answer(number, _SOON_S)
        check(answer, f"a header of type {kind:#04x} that announces 5000 bytes is believed")


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


@CASES.add("M-FRAME-6")
def what_a_foreign_header_announces(peer: HostPeer) -> None:
    """A header of another major version takes no byte of the packets behind it with it."""
    peer.open_session()
    _, packet = build_manifest_request(peer)
    for length in (0, 6, len(packet), 2 * len(packet), MAX_CONTROL, MAX_CONTROL + 1, MASK_32):
        for version in (0x00, (VERSION_MAJOR + 1) << 4, 0xF0):
            head = bytearray(peer.pack_payload(MessageType.GET_MANIFEST, b"", 0, version=version))
            head[_LENGTH : _LENGTH + 4] = length.to_bytes(4, "little")
            head[_HEADER_CRC:] = crc32(head[:_HEADER_CRC]).to_bytes(4, "little")
            number, packet = build_manifest_request(peer)
            peer.wire.send(bytes(head) + packet)
            answer = peer.wait_for_answer(number, _SOON_S)
            said = f"a header of version {version:#x} and {length} bytes hides what follows it"
            check(answer, said)
