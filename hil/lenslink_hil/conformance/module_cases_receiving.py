"""Cases for modules: what a receiver does with damage, stalls and old packets (SPEC.md, 2)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import (
    AnyMessage,
    Capture,
    Challenge,
    Close,
    Configure,
    Error,
    Flush,
    GetManifest,
    Heartbeat,
    Hello,
    ManifestPiece,
    Query,
    Resend,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, STALL_MS

from .cases import Cases, check
from .host_peer import ALL, PATIENCE_S, PLENTY, PREVIEW, QUIET_S, STILL, HostPeer
from .module_steps import check_answers, count_tile_bytes, expect_no_answer, take_resendable_still
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_STALL_S = STALL_MS / 1000
_SOON_S = 0.8 * _STALL_S
"""An answer that takes longer has waited for a stall."""


def _damage(packet: bytes, in_header: bool) -> bytes:
    """Return *packet* with one bit of its payload or of its header's CRC flipped."""
    at = 36 if in_header or len(packet) == 40 else len(packet) - 1
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


def grow(message: AnyMessage, tail: bytes = b"") -> bytes:
    """Return a payload whose fixed part has four more bytes than this version knows."""
    payload = message.encode()
    size = int.from_bytes(payload[:2], "little")
    grown = (size + 4).to_bytes(2, "little")
    return grown + payload[2:size] + b"\xa5\x5a\xff\x01" + payload[size:] + tail


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


@CASES.add("M-FRAME-2")
def damaged_messages(peer: HostPeer) -> None:
    """A damaged Heartbeat, Resend, Capture, Hello or Close has no effect."""
    _, _, number = take_resendable_still(peer)
    configured = peer.configure(STILL)
    limit = sum(p.header.length for p in peer.log if p.kind == MessageType.TILE)
    for in_header in (False, True):
        mark = len(peer.log)
        resend = Resend(3, 1, struct.pack("<4H", 0, 0, 2, 2))
        fresh = peer.source.getrandbits(32)
        for packet in (
            peer.build_packet(Heartbeat((PLENTY, PLENTY, PLENTY), 0)),
            peer.build_packet(resend, number, STILL),
            peer.build_packet(Capture(STILL, 1), peer.take_id()),
            peer.build_packet(Hello(0x10, 0x10, 1, ALL, configured.tile_bytes), 1, nonce=fresh),
            peer.build_packet(Close(0)),
        ):
            peer.wire.send(_damage(packet, in_header))
            # Given up and searched before the next one arrives.
            peer.collect(_SOON_S)
        where = "header" if in_header else "payload"
        acted = [str(p) for p in peer.log[mark:] if p.kind != MessageType.LOG]
        check(not acted, f"packets with a damaged {where} are acted on: {acted[:3]}")
        check(not peer.strangers, f"a Hello with a damaged {where} opens a session")
        check_answers(peer)
    peer.call(Configure(STILL, 0, configured.mode, 0, 0), type(configured))
    check(limit == count_tile_bytes(peer.log, STILL), "a damaged Capture or Resend sends tiles")


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


@CASES.add("M-FRAME-4")
def given_up_in_time(peer: HostPeer) -> None:
    """A packet that stopped is given up after STALL_MS, not much later."""
    peer.open_session()
    for size in (50, 20):
        begun = peer.pack_payload(MessageType.GET_MANIFEST, bytes(800), 0)
        peer.wire.send(begun[:size])
        peer.collect(1.5 * _STALL_S)
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
    answer = peer.wait_for_answer(number, _STALL_S + 1.0)
    check(answer, "a request inside a packet that stopped is not answered")


@CASES.add("M-FRAME-4")
def a_short_pause_is_no_stall(peer: HostPeer) -> None:
    """A packet that pauses for less than STALL_MS is taken."""
    peer.open_session()
    number = peer.take_id()
    packet = peer.build_packet(GetManifest(0), number)
    peer.wire.send(packet[:43])
    peer.collect(0.3 * _STALL_S)
    peer.wire.send(packet[43:])
    answer = peer.wait_for_answer(number, 1.0)
    check(answer, "a request that paused for a third of STALL_MS is not answered")


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
    check(sent == 0, "a Heartbeat that is not fresh grants credits")


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


@CASES.add("M-GROW-1")
def every_message_may_grow(peer: HostPeer) -> None:
    """Each message is taken with fields appended, and its tail is read behind them."""
    number = peer.take_id()
    hello = Hello(0x10, 0x10, 1, ALL, 1 << 20)
    peer.wire.send(peer.pack_payload(hello.TYPE, grow(hello), number))
    answer = peer.wait_for_answer(number, 2.0)
    if answer is None:
        # A module that boots or settles misses the first Hello.
        peer.start_session().open_session()
        peer.wire.send(peer.pack_payload(hello.TYPE, grow(hello), number))
        answer = peer.wait_for_answer(number, 2.0)
    opened = answer is not None and answer.kind == MessageType.HELLO_REPLY
    check(opened, f"a Hello with more fields is answered with {describe(answer)}")
    mark = len(peer.log)
    beat = Heartbeat((PLENTY, PLENTY, PLENTY), 0)
    peer.wire.send(peer.pack_payload(beat.TYPE, grow(beat)))
    peer.wait_for_heartbeat_reply(mark, 2.0)
    mode = peer.find_smallest_mode().id
    requests: list[tuple[AnyMessage, int]] = [
        (Configure(STILL, 0, mode, 0, 0), MessageType.CONFIGURED),
        (Configure(PREVIEW, 0, mode, 0, 0), MessageType.CONFIGURED),
        (Capture(STILL, 1), MessageType.ACCEPTED),
        (StartStream(PREVIEW, 20000), MessageType.ACCEPTED),
        (Stop(PREVIEW), MessageType.ACCEPTED),
        (Flush(), MessageType.FLUSHED),
        (Query(peer.nonce, 1), MessageType.QUERY_REPLY),
    ]
    for message, reply in requests:
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(message.TYPE, grow(message), number))
        answer = peer.wait_for_answer(number, PATIENCE_S)
        taken = answer is not None and answer.kind == reply
        name = type(message).__name__
        check(taken, f"{name} with more fields is answered with {describe(answer)}")


@CASES.add("M-GROW-1")
def tails_behind_grown_parts(peer: HostPeer) -> None:
    """The rectangles of a grown Resend are read behind its fixed part."""
    _, picture, number = take_resendable_still(peer)
    place = picture.tiles[-1].header
    tail = struct.pack("<4H", place.x, place.y, place.width, place.height)
    mark = len(peer.log)
    payload = grow(Resend(0, 1, tail))
    peer.wire.send(peer.pack_payload(MessageType.RESEND, payload, number, STILL))
    resent = peer.wait_for(lambda p: p.kind == MessageType.RESENT, 2.0, mark)
    check(resent, "a Resend with more fields is not answered")
    wanted = (place.x, place.y, place.width, place.height)
    came = [p.header for p in peer.log[mark:] if p.kind == MessageType.TILE]
    places = [(each.x, each.y, each.width, each.height) for each in came]
    gone = b"" if resent is None else resent.payload[6:]
    answered = wanted in places or tail in gone
    check(answered, f"a grown Resend for {wanted} brings {places or 'nothing'}")


@CASES.add("M-GROW-1")
def short_messages(peer: HostPeer) -> None:
    """A message that is shorter than its fixed part, or than its size, is refused or ignored."""
    peer.open_session()
    peer.configure()
    beat = Heartbeat((PLENTY, PLENTY, PLENTY), 0).encode()
    for payload in (beat[:10], b"\xff\x00" + beat[2:]):
        mark = len(peer.log)
        peer.wire.send(peer.pack_payload(MessageType.HEARTBEAT, payload))
        acted = [p for p in peer.collect(QUIET_S) if p.kind == MessageType.HEARTBEAT_REPLY]
        check(not acted, f"a Heartbeat of {len(payload)} bytes is answered")
        del mark
    capture = Capture(STILL, 1).encode()
    for payload in (capture[:5], b"\x05\x00" + capture[2:], b"\x60\x00" + capture[2:]):
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(MessageType.CAPTURE, payload, number))
        answer = peer.wait_for_answer(number, QUIET_S)
        message = answer.message() if answer is not None else None
        refused = isinstance(message, Error) and message.code == ErrorCode.MALFORMED
        check(answer is None or refused, f"a short Capture is answered with {describe(answer)}")
    check_answers(peer)


@CASES.add("M-GROW-2")
def vendor_types_leave_no_trace(peer: HostPeer) -> None:
    """A vendor's packet with a high id does not use that id up, and does not end the session."""
    peer.open_session()
    configured = peer.configure()
    for kind in (0xE0, 0xE7, 0xFE, 0xFF):
        for payload in (b"", b"\x02\x00", bytes(MAX_CONTROL)):
            peer.wire.send(peer.pack_payload(kind, payload, 5000))
    check_answers(peer)
    piece = peer.call(GetManifest(0), ManifestPiece)
    check(piece.offset == 0, "the request behind a vendor's packets is not executed")
    peer.call(Configure(STILL, 0, configured.mode, 0, 0), type(configured))


@CASES.add("M-GROW-2")
def vendor_types_before_hello(peer: HostPeer) -> None:
    """A vendor's packet before a session does not keep the module from opening one."""
    peer.wire.send(peer.pack_payload(0xEE, b"whatever", 1))
    peer.open_session()
    challenge = Challenge(0xFFFF, b"")
    peer.try_call(challenge)
    check_answers(peer)
