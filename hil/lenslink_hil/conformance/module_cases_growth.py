"""Cases for modules: fixed parts that grow, and types of the vendor range (SPEC.md, 2.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.controls import encode_settings
from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import Capability, ConfigureFlag, ControlId, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    Close,
    Configure,
    Configured,
    Error,
    Flush,
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
from lenslink_protocol.params import MAX_CONTROL

from .cases import Cases, Failed, check
from .host_peer import ALL, PATIENCE_S, PLENTY, PREVIEW, QUIET_S, STILL, HostPeer, read_frame_start
from .module_steps import (
    CAPTURE_A_STILL,
    START_50_FPS,
    check_answers,
    every,
    expect_no_answer,
    grow,
    other_value,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


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
        GetManifest(0), Configure(STILL, 0, mode, 0, 0), Capture(STILL, 1), START_50_FPS,
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


@CASES.add("M-GROW-1")
def lists_behind_grown_parts(peer: HostPeer) -> None:
    """The settings of a grown Capture, StartStream and SetSettings are read behind its fields."""
    peer.open_session()
    peer.configure(STILL)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    gains = [other_value(peer, ControlId.GAIN, share) for share in (0.5, 0.25, 0.75, 1.0)]
    lists = [encode_settings([every(ControlId.GAIN, gain)]) for gain in gains]
    requests: list[tuple[AnyMessage, int]] = [
        (Capture(STILL, 1, lists[0]), STILL),
        (StartStream(PREVIEW, 20000, lists[1]), PREVIEW),
        (SetSettings(PREVIEW, lists[2]), PREVIEW),
        (SetSettings(STILL, lists[3]), STILL),
    ]
    for at, (message, stream) in enumerate(requests):
        number = peer.take_id()
        peer.wire.send(peer.pack_payload(message.TYPE, grow(message), number))
        answer = peer.wait_for_answer(number)
        accepted = answer.message() if answer is not None else None
        name = type(message).__name__
        if not isinstance(accepted, Accepted):
            raise Failed(f"{name} with more fields is answered with {describe(answer)}")
        mark = len(peer.log)
        if at == len(requests) - 1:
            peer.start_capture()
        first = accepted.first_frame
        picture = peer.wait_for_frame(stream, mark if at else 0)
        while picture.end is not None and picture.end.id < first:
            picture = peer.wait_for_frame(stream, peer.log.index(picture.end) + 1)
        got = read_frame_start(picture).gain_milli
        check(got == gains[at], f"gain {gains[at]} in a grown {name}, and a frame has {got}")
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-GROW-2")
def vendor_types(peer: HostPeer) -> None:
    """Types of the vendor range are skipped."""
    peer.open_session()
    number = peer.take_id()
    for kind in (0xE0, 0xFF):
        peer.wire.send(peer.pack_payload(kind, b"whatever", number))
    expect_no_answer(peer, number, "a type of the vendor range")
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


@CASES.add("M-GROW-2")
def unknown_flags_and_reserved_values(peer: HostPeer) -> None:
    """Unknown flags of a header, and values in reserved fields, are ignored."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    number = peer.take_id()
    peer.send(GetManifest(0), number, flags=0xFE)
    check(peer.wait_for_answer(number, 1.0), "a request with unknown flags is not answered")
    number = peer.take_id()
    payload = bytearray(CAPTURE_A_STILL.encode())
    payload[3] = 0xA5
    peer.wire.send(peer.pack_payload(MessageType.CAPTURE, bytes(payload), number, flags=0x80))
    answer = peer.wait_for_answer(number)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, f"a Capture with a reserved field that is not 0 gets {describe(answer)}")
    peer.wait_for_frame()


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
    start = bytearray(START_50_FPS.encode())
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
