"""Cases for modules: which packets are taken, and which sequences are used up (SPEC.md, 2.1)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import CalibrationKind, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    Close,
    Configure,
    Error,
    Flush,
    GetCalibration,
    GetManifest,
    Heartbeat,
    Hello,
    HelloReply,
    Query,
    Resend,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD, VERSION_MAJOR

from .cases import Cases, check
from .host_peer import ALL, PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    SHORT_WAIT_S,
    STALL_S,
    START_FASTEST,
    block_frame,
    check_answers,
    expect_no_answer,
    grow,
)
from .packets import MASK_32, announce_length, damage_payload_crc, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_NEXT_MAJOR = (VERSION_MAJOR + 1) << 4
_MANY_PACKETS = 300
"""Packets of a lane whose number does not fit in one byte."""
_SOON_S = 0.8 * STALL_S
_UNASKED = (
    MessageType.HEARTBEAT_REPLY, MessageType.LOG, MessageType.NOTICE, MessageType.EVENT,
    MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END,
)  # fmt: skip


def _list_messages(peer: HostPeer, mode: int) -> tuple[AnyMessage, ...]:
    """Return a message of each type that a host sends in a session, but Hello and Close."""
    return (
        GetManifest(0), GetCalibration(CalibrationKind.NOISE, 0), Configure(STILL, 0, mode, 0, 0),
        Capture(STILL, 1), StartStream(PREVIEW, 0), SetSettings(STILL, b""), SetBudget(1 << 31),
        Stop(STILL), Flush(), Query(peer.nonce, 1), Challenge(0x8000, bytes(8)), Test(99, 0, 0),
    )  # fmt: skip


@CASES.add("M-FRAME-1", "M-LANE-1")
def more_packets_than_a_byte_counts(peer: HostPeer) -> None:
    """Each lane counts by one from 0, beyond its packet number 256 too."""
    peer.lanes = peer.wire.lanes
    peer.open_session()
    mode = peer.find_smallest_mode()
    columns = -(-mode.width * mode.height // (2 * _MANY_PACKETS)) & ~3
    peer.grant_credits(PLENTY, PLENTY)
    peer.configure(STILL, 2 * max(4, min(columns, mode.width)))
    for _ in range(4):
        mark = len(peer.log)
        peer.start_capture()
        peer.wait_for_frame(STILL, mark)
        peer.collect(0.02)
        lanes = [p.lane for p in peer.log]
        if min(lanes.count(lane) for lane in range(peer.lanes)) > _MANY_PACKETS:
            break
    for lane in range(peer.lanes):
        numbers = [p.header.sequence for p in peer.log if p.lane == lane]
        wrong = [at for at, number in enumerate(numbers) if at != number]
        said = f"packet {wrong[:1]} of lane {lane} has another sequence than its number"
        check(not wrong, said)


@CASES.add("M-FRAME-2")
def a_damaged_message_of_each_type(peer: HostPeer) -> None:
    """A message of any type whose payload CRC does not hold has no answer and no effect.

    Neither has a request with one wrong bit in any byte of its header.
    """
    peer.open_session()
    mode = peer.find_smallest_mode().id
    check_answers(peer)
    mark = len(peer.log)
    for message in _list_messages(peer, mode):
        peer.wire.send(damage_payload_crc(peer.build_packet(message, peer.take_id())))
    full = MAX_CONTROL.to_bytes(2, "little") + bytes(MAX_CONTROL - 2)
    packet = peer.pack_payload(MessageType.GET_MANIFEST, full, peer.take_id())
    peer.wire.send(packet[:-1] + b"\1")
    peer.collect(0.02)
    for at in range(4, HEADER_BYTES - 4):
        packet = peer.build_packet(GetManifest(0), peer.take_id())
        peer.wire.send(packet[:at] + bytes([packet[at] ^ 0x20]) + packet[at + 1 :])
    peer.collect(SHORT_WAIT_S)
    found = [describe(p) for p in peer.log[mark:] if p.kind not in _UNASKED]
    check(not found, f"damaged messages get {found[:3]}")
    check_answers(peer)
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)


@CASES.add("M-FRAME-3")
def behind_much_noise(peer: HostPeer) -> None:
    """A request is found behind 3000 bytes of noise that arrive in one piece with it."""
    peer.open_session()
    for noise in (b"\x55" * 3000, b"\x8a\x4c\x4c" * 1000):
        number = peer.take_id()
        peer.wire.send(noise + peer.build_packet(GetManifest(0), number))
        answer = peer.wait_for_answer(number, 1.0)
        check(answer, f"the request behind {len(noise)} bytes of noise is not answered")


@CASES.add("M-FRAME-4")
def given_up_whatever_goes_on(peer: HostPeer) -> None:
    """A packet that stops is given up inside another one, beside frames, and without a session."""
    block_frame(peer)
    long = peer.pack_payload(MessageType.GET_MANIFEST, bytes(800), 0)
    inner = peer.pack_payload(MessageType.GET_MANIFEST, bytes(500), 0)
    peer.wire.send(long[:60] + inner[:60])
    peer.collect(2.2 * STALL_S)
    answer = peer.wait_for_answer(peer.send_request(GetManifest(0)), _SOON_S)
    check(answer, "a packet that stopped inside another one is waited for, while tiles wait")
    peer.grant_credits(PLENTY, PLENTY)
    peer.wire.send(peer.pack_payload(MessageType.GET_MANIFEST, bytes(800), 0)[:60])
    peer.collect(1.5 * STALL_S)
    answer = peer.wait_for_answer(peer.send_request(GetManifest(0)), _SOON_S)
    check(answer, "a packet that stopped is waited for while a stream runs")
    peer.close()
    fresh = peer.start_session()
    fresh.wire.send(peer.pack_payload(MessageType.GET_MANIFEST, bytes(1000), 0)[:60])
    fresh.collect(1.5 * STALL_S)
    number = fresh.take_id()
    fresh.send(Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD), number)
    answer = fresh.wait_for_answer(number, _SOON_S)
    check(answer, "without a session, a packet that stopped is waited for after STALL_MS")
    fresh.close()


@CASES.add("M-FRAME-5")
def what_uses_a_sequence_up(peer: HostPeer) -> None:
    """Any sound packet of the session uses its sequence up: none below it is fresh any more."""
    peer.open_session()
    first = peer.send_request(GetManifest(0))
    peer.wait_for_answer(first)
    hello = Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD)
    asked: dict[int, str] = {}
    for name, kind, payload, number in (
        ("a vendor's type", 0xE5, b"whatever", 0),
        ("an unknown type", 0x3F, b"\x02\x00", 60_000),
        ("a malformed Heartbeat", MessageType.HEARTBEAT, b"\x02\x00", 0),
        ("a malformed Resend", MessageType.RESEND, b"\x02\x00", 0),
        ("a malformed Query", MessageType.QUERY, b"\x02\x00", 0),
        ("a malformed Close", MessageType.CLOSE, b"", 0),
        ("a Hello of the session", MessageType.HELLO, hello.encode(), 1),
        ("a malformed Hello of the session", MessageType.HELLO, b"\x02\x00", 1),
        ("a repeated request", MessageType.GET_MANIFEST, GetManifest(0).encode(), first),
    ):
        base = peer.sequence
        peer.wire.send(peer.pack_payload(kind, payload, number, sequence=(base + 10) & MASK_32))
        asked[peer.next_id] = name
        peer.send(GetManifest(0), peer.take_id(), sequence=(base + 5) & MASK_32)
        peer.sequence = (base + 11) & MASK_32
        peer.collect(0.02)
    peer.collect(SHORT_WAIT_S)
    taken = [asked[p.id] for p in peer.log if p.id in asked and p.kind not in _UNASKED]
    check(not taken, f"a request with a sequence before that of {taken[:3]} is answered")
    check_answers(peer)


@CASES.add("M-FRAME-5")
def what_uses_no_sequence_up(peer: HostPeer) -> None:
    """A header that is not believed uses no sequence up: what follows it is fresh."""
    peer.open_session()
    for name in ("of another major version", "that announces too much", "with a wrong CRC"):
        base = peer.sequence
        more = {"version": _NEXT_MAJOR} if "major" in name else {}
        head = peer.pack_payload(
            MessageType.GET_MANIFEST, b"", 0, sequence=(base + 5000) & MASK_32, **more
        )
        if "much" in name:
            head = announce_length(head, MAX_CONTROL + 1)
        elif "CRC" in name:
            head = head[:-1] + bytes([head[-1] ^ 1])
        peer.sequence = base
        number = peer.take_id()
        peer.wire.send(head + peer.build_packet(GetManifest(0), number))
        answer = peer.wait_for_answer(number, _SOON_S)
        check(answer, f"a header {name} uses its sequence up")


@CASES.add("M-FRAME-5")
def nothing_sets_sequences_back(peer: HostPeer) -> None:
    """Neither the first packet of a session nor a damaged old one makes old sequences fresh."""
    peer.sequence = 1000
    peer.open_session()
    number = peer.take_id()
    newest = peer.sequence
    peer.send(GetManifest(0), number, sequence=900)
    expect_no_answer(peer, number, "the first packet behind Hello, with an older sequence,")
    peer.sequence = newest
    check_answers(peer)
    for is_whole in (True, False):
        base = peer.sequence
        old = peer.pack_payload(
            MessageType.GET_MANIFEST, GetManifest(0).encode(), peer.take_id(), sequence=base - 50
        )
        if is_whole:
            peer.wire.send(damage_payload_crc(old))
        else:
            peer.wire.send(old[:-1])
            peer.collect(1.5 * STALL_S)
        number = peer.take_id()
        peer.send(GetManifest(0), number, sequence=base - 20)
        what = "a damaged packet" if is_whole else "a packet that stopped inside, and"
        answer = peer.wait_for_answer(number, SHORT_WAIT_S)
        check(answer is None, f"behind {what} with an old sequence, old sequences are fresh")
        peer.sequence = base
        check_answers(peer)


@CASES.add("M-FRAME-5")
def an_old_message_of_each_type(peer: HostPeer) -> None:
    """A message of any type with an old sequence has no answer."""
    peer.sequence = 1000
    peer.open_session()
    mode = peer.find_smallest_mode().id
    newest, mark = peer.sequence, len(peer.log)
    for message in _list_messages(peer, mode):
        peer.send(message, peer.take_id(), sequence=newest - 2)
    peer.send(Resend(3, 0), 0, STILL, sequence=newest - 2)
    found = [describe(p) for p in peer.collect(SHORT_WAIT_S) if p.kind not in _UNASKED]
    check(not found and len(peer.log) >= mark, f"messages with an old sequence get {found[:3]}")
    peer.sequence = newest
    check_answers(peer)


@CASES.add("M-FRAME-6")
def any_type_of_another_major(peer: HostPeer) -> None:
    """A message of another major version has no answer and no effect, whatever its type is."""
    peer.open_session()
    peer.configure(STILL)
    mode = peer.find_smallest_mode().id
    mark = len(peer.log)
    messages: tuple[AnyMessage, ...] = (
        *_list_messages(peer, mode), Resend(3, 0), Heartbeat((PLENTY, PLENTY, PLENTY), 0), Close(0),
    )  # fmt: skip
    for message in messages:
        peer.send(message, peer.take_id(), version=_NEXT_MAJOR)
    peer.collect(SHORT_WAIT_S)
    skipped = (MessageType.LOG, MessageType.EVENT)
    found = [describe(p) for p in peer.log[mark:] if p.kind not in skipped]
    check(not found, f"messages of another major version get {found[:3]}")
    # A Hello of another version is read, but not if it is too long.
    head = peer.pack_payload(MessageType.HELLO, b"", 1, version=_NEXT_MAJOR)
    number = peer.take_id()
    packet = peer.build_packet(GetManifest(0), number)
    peer.wire.send(announce_length(head, MAX_CONTROL + 1) + packet)
    answer = peer.wait_for_answer(number, _SOON_S)
    check(answer, "a Hello of another major version that announces too much is believed")
    peer.call(Capture(STILL, 1), Accepted)


@CASES.add("M-HELLO-1", "M-HELLO-2", "M-HELLO-5")
def hellos_of_another_major(peer: HostPeer) -> None:
    """The versions in Hello decide, not that of its header, in a session and before it."""
    reply = peer.open_session(versions=(VERSION, _NEXT_MAJOR), version=_NEXT_MAJOR)
    check(reply.version == VERSION, f"versions 1.0 to 2.0 get version {reply.version:#x}")
    number = peer.take_id()
    peer.send(Hello(_NEXT_MAJOR, _NEXT_MAJOR, 1, ALL, MAX_PAYLOAD), number, version=_NEXT_MAJOR)
    answer = peer.wait_for_answer(number, 1.0)
    again = answer.message() if answer is not None else None
    said = f"a Hello of version 2 under the nonce of the open session gets {describe(answer)}"
    check(isinstance(again, HelloReply), said)
    peer.call(Stop(STILL), Accepted)
    fresh = peer.start_session()
    refusal = fresh.try_hello(ALL, (_NEXT_MAJOR, _NEXT_MAJOR), version=VERSION)
    is_refused = isinstance(refusal, Error) and refusal.code == ErrorCode.VERSION
    check(is_refused, f"version 2 alone, in a header of 1.0, gets {describe(refusal)}")


@CASES.add("M-HELLO-6")
def a_refused_nonce_again(peer: HostPeer) -> None:
    """Of a refused nonce, a Hello with an old sequence has no answer; after Close, any is new."""
    peer.try_hello(ALL, (_NEXT_MAJOR, _NEXT_MAJOR), version=_NEXT_MAJOR)
    mark, newest = len(peer.log), peer.sequence
    hello = Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD)
    for sequence in (newest - 1, (newest - 5) & MASK_32):
        peer.send(hello, 40, sequence=sequence)
    found = [describe(p) for p in peer.collect(SHORT_WAIT_S)]
    check(not found, f"a Hello with an old sequence under a refused nonce gets {found[:2]}")
    peer.sequence = newest
    peer.close()
    peer.collect(0.05)
    peer.sequence = 0
    peer.send(hello, 41)
    answer = peer.wait_for_answer(41, 1.0, mark)
    is_open = answer is not None and answer.kind == MessageType.HELLO_REPLY
    check(is_open, f"a Hello under a nonce that was refused and closed gets {describe(answer)}")


def _ask(peer: HostPeer, kind: int, payload: bytes) -> tuple[int, int] | None:
    """Send a request with this payload. Return the type of the answer, and the code of an Error."""
    number = peer.take_id()
    peer.wire.send(peer.pack_payload(kind, payload, number))
    answer = peer.wait_for_answer(number, 1.0)
    if answer is None:
        return None
    message = answer.message()
    return answer.kind, message.code if isinstance(message, Error) else 0


@CASES.add("M-GROW-1", "M-GROW-2")
def as_the_plain_message(peer: HostPeer) -> None:
    """More fields, bytes behind the fixed part, and reserved values change no answer."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    messages = (
        *_list_messages(peer, mode)[:2], Configure(STILL, 0, mode, 0, 0), SetSettings(STILL, b""),
        SetBudget(1 << 31), Stop(STILL), Flush(), Query(peer.nonce, 1), Challenge(0x8000, bytes(8)),
        Test(99, 0, 0),
    )  # fmt: skip
    for message in messages:
        plain = message.encode()
        forms = {"more fields": grow(message)}
        if not isinstance(message, (SetSettings, Challenge)):
            forms["bytes behind its fixed part"] = plain + b"\x00tail"
        if isinstance(message, (SetBudget, SetSettings)):
            forms["a value in its reserved field"] = plain[:3] + b"\xa5" + plain[4:]
        wanted = _ask(peer, message.TYPE, plain)
        name = type(message).__name__
        for form, payload in forms.items():
            got = _ask(peer, message.TYPE, payload)
            said = f"{name} with {form} gets type and code {got}, without {wanted}"
            check(got == wanted, said)
    mark = len(peer.log)
    peer.wire.send(
        peer.pack_payload(MessageType.HEARTBEAT, Heartbeat((0, 0, 0), 0).encode() + b"tail")
    )
    peer.wait_for_heartbeat_reply(mark, 1.0)
    peer.wire.send(peer.pack_payload(MessageType.CLOSE, Close(0).encode() + b"tail"))
    fresh = peer.start_session()
    number = fresh.take_id()
    hello = Hello(VERSION, VERSION, 1, ALL, MAX_PAYLOAD).encode() + b"tail"
    fresh.wire.send(fresh.pack_payload(MessageType.HELLO, hello, number))
    check(fresh.wait_for_answer(number, 1.0), "a Hello with bytes behind its fixed part is ignored")
    fresh.expect_error(START_FASTEST, ErrorCode.STATE)
    fresh.close()


@CASES.add("M-GROW-1")
def shorter_than_they_are(peer: HostPeer) -> None:
    """A short SetBudget, SetSettings or GetCalibration is refused or ignored."""
    peer.open_session()
    peer.configure(STILL)
    allowed = (
        None, (MessageType.ERROR, ErrorCode.MALFORMED),
        (MessageType.ERROR, ErrorCode.UNKNOWN_REQUEST),
    )  # fmt: skip
    for message in (
        SetBudget(1 << 31), SetSettings(STILL, b""), GetCalibration(CalibrationKind.NOISE, 0),
    ):  # fmt: skip
        data = message.encode()
        size = message.FIXED.size
        less, more = (size - 1).to_bytes(2, "little"), (size + 1).to_bytes(2, "little")
        for payload in (data[:-1], less + data[2:-1], less + data[2:], more + data[2:]):
            got = _ask(peer, message.TYPE, payload)
            name = type(message).__name__
            check(got in allowed, f"{name} with the payload {payload.hex()} gets {got}")
