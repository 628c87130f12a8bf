"""Cases for modules: the normative tables of SPEC.md, row by row where another case does not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.controls import encode_settings
from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import (
    Capability,
    ConfigureFlag,
    ControlId,
    ErrorCode,
    MessageType,
    Outcome,
)
from lenslink_protocol.messages import (
    BY_TYPE,
    Accepted,
    Capture,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    GetManifest,
    Hello,
    HelloReply,
    ManifestPiece,
    Query,
    QueryReply,
    Resend,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import MAX_RANGES, VERSION_MAJOR

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import (
    ALL,
    PLENTY,
    PREVIEW,
    QUIET_S,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .module_cases_settings import every, other_value
from .module_steps import (
    DATA,
    ask_again,
    block_frame,
    check_answers,
    does_limit_allow,
    place_of,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_START = StartStream(PREVIEW, 20000)
_CAPTURE = Capture(STILL, 1)


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
    payload = bytearray(_CAPTURE.encode())
    payload[3] = 0xA5
    peer.wire.send(peer.pack_payload(MessageType.CAPTURE, bytes(payload), number, flags=0x80))
    answer = peer.wait_for_answer(number)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, f"a Capture with a reserved field that is not 0 gets {describe(answer)}")
    peer.wait_for_frame()


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
    again.expect_error(_START, ErrorCode.STATE)
    again.close()


@CASES.add("M-CLOSE-1")
def what_outlives_a_session(peer: HostPeer) -> None:
    """Frame numbers go on in the next session, and settings do not, as Table 5 says."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    first = read_frame_start(peer.wait_for_frame())
    mark = len(peer.log)
    peer.start_capture(settings=[every(ControlId.EXPOSURE, other_value(peer, ControlId.EXPOSURE))])
    picture = peer.wait_for_frame(since=mark)
    assert picture.end is not None
    peer.close()
    session = peer.start_session()
    session.open_session()
    session.configure(STILL)
    session.grant_credits(PLENTY, PLENTY)
    session.start_capture()
    later = session.wait_for_frame()
    assert later.end is not None
    number = picture.end.id
    said = f"frame {number} is followed by {later.end.id} in the next session"
    check(later.end.id == (number + 1) & 0xFFFFFFFF, said)
    second = read_frame_start(later)
    reset = second.exposure_us == first.exposure_us
    check(reset, f"{second.exposure_us} us in the next session, {first.exposure_us} in the first")
    session.close()


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


@CASES.add("M-QUERY-1")
def gaps_and_errors(peer: HostPeer) -> None:
    """An id in a gap, one above the newest, and a MALFORMED request are are NOT_DONE."""
    peer.open_session()
    check_answers(peer)
    gap = peer.take_id()
    malformed = peer.take_id()
    peer.wire.send(peer.pack_payload(MessageType.STOP, b"\x40\x00\x00", malformed))
    peer.wait_for_answer(malformed)
    done = peer.send_request(Stop(STILL))
    peer.wait_for_answer(done)
    wanted = {
        gap: Outcome.NOT_DONE,
        malformed: Outcome.NOT_DONE,
        done: Outcome.DONE,
        done + 1: Outcome.NOT_DONE,
    }
    for number, outcome in wanted.items():
        answer = peer.call(Query(peer.nonce, number), QueryReply)
        said = f"the outcome of request {number} is {answer.outcome}, not {outcome.name}"
        check(answer.outcome == outcome, said)


@CASES.add("M-STATE-1")
def every_row_of_the_state_table(peer: HostPeer) -> None:
    """Stop and Flush of idle streams are accepted; TEST_ONLY of a running one is refused."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.call(Stop(PREVIEW), Accepted)
    peer.call(Flush(), Flushed)
    peer.expect_error(_START, ErrorCode.STATE)
    peer.configure(PREVIEW)
    peer.call(Stop(PREVIEW), Accepted)
    peer.call(Flush(), Flushed)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    trial = Configure(PREVIEW, ConfigureFlag.TEST_ONLY, mode, 0, 0)
    peer.expect_error(trial, ErrorCode.STATE)
    peer.wait_for_frame(PREVIEW, len(peer.log))


@CASES.add("M-STATE-1", "M-STATE-4")
def checks_in_their_order(peer: HostPeer) -> None:
    """Where two checks fail, the first one decides the Error; after an Error nothing changed."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.expect_error(Capture(STILL, 0), ErrorCode.UNSUPPORTED)
    before = peer.configure(STILL, 4 * mode.width)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 2 * mode.width), ErrorCode.UNSUPPORTED)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.expect_error(Configure(PREVIEW, 0, 65000, 0, 0), ErrorCode.STATE)
    peer.expect_error(Capture(PREVIEW, 0), ErrorCode.UNSUPPORTED)
    start = read_frame_start(peer.wait_for_frame(PREVIEW))
    # A refused request must not leave its settings behind.
    settings = [every(ControlId.GAIN, other_value(peer, ControlId.GAIN))]
    refused = Capture(PREVIEW, 1, encode_settings(settings))
    peer.expect_error(refused, ErrorCode.STATE)
    later = read_frame_start(peer.wait_for_frame(PREVIEW, len(peer.log)))
    kept = (later.exposure_us, later.gain_milli) == (start.exposure_us, start.gain_milli)
    check(kept, "a Capture that was refused has changed the settings")
    peer.call(Stop(PREVIEW), Accepted)
    mark = len(peer.log)
    peer.start_capture()
    longest = max(tile.header.length for tile in peer.wait_for_frame(STILL, mark).tiles)
    said = f"tiles of {longest} bytes, {before.tile_bytes} before a Configure that was refused"
    check(longest <= before.tile_bytes, said)


@CASES.add("M-CAM-1")
def accepted_comes_first(peer: HostPeer) -> None:
    """FrameStart comes after Accepted of its request, and has the number that Accepted names."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    for _ in range(3):
        mark = len(peer.log)
        number = peer.send_request(_CAPTURE)
        picture = peer.wait_for_frame(STILL, mark)
        kinds = [p.kind for p in peer.log[mark:] if p.kind != MessageType.LOG]
        check(kinds[0] == MessageType.ACCEPTED, f"{kinds[0]:#04x} comes before Accepted")
        answer = peer.wait_for_answer(number, since=mark)
        message = answer.message() if answer is not None else None
        assert picture.start is not None
        first = message.first_frame if isinstance(message, Accepted) else None
        said = f"Accepted names frame {first}, and frame {picture.start.id} comes"
        check(first == picture.start.id, said)


@CASES.add("M-CAM-2")
def levels_and_phase(peer: HostPeer) -> None:
    """FrameStart keeps the rules of Table 9: phase, bits, levels, and a time that rises."""
    peer.open_session()
    phase = peer.read_manifest().cfa
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    mark = len(peer.log)
    peer.start_capture(2)
    first = peer.wait_for_frame(STILL, mark)
    assert first.end is not None
    peer.wait_for_frame(STILL, peer.log.index(first.end) + 1)
    starts = [p for p in peer.log if p.kind == MessageType.FRAME_START]
    times = []
    for packet in starts:
        start = read_frame_start(Picture(start=packet))
        form = find_layout(start.pixel_format)
        said = f"cfa {start.cfa} with {form.code.name}, {phase} in the manifest"
        check(start.cfa == form.cfa == phase, said)
        check(1 <= start.orientation <= 8, f"orientation {start.orientation}")
        check(8 <= start.bits <= form.depth, f"{start.bits} bits in {form.code.name}")
        check(1 <= start.white < 1 << start.bits, f"white {start.white} with {start.bits} bits")
        low = all(each < 1000 * start.white for each in start.black_milli)
        check(low, f"black levels {start.black_milli} with white {start.white}")
        times.append(start.timestamp_us)
    rises = all(before < after for before, after in pairwise(times))
    check(rises, f"frames begin at {times} us")


@CASES.add("M-RESEND-1")
def malformed_and_empty_resends(peer: HostPeer) -> None:
    """Rectangles outside the frame bring nothing; too many make a Resend malformed: no answer."""
    configured, picture, number = take_resendable_still(peer)
    width, height = configured.width, configured.height
    outside = [(0, height, 2, 2), (width, 0, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0)]
    message, came = ask_again(peer, number, 0, outside)
    tiles = [str(p) for p in came if p.kind == MessageType.TILE]
    check(not tiles, f"rectangles without a pixel of the frame bring {tiles[:2]}")
    check(message.count == 0, f"{message.count} rectangles without a pixel of the frame are gone")
    place = struct.pack("<4H", *place_of(picture.tiles[-1]))
    for payload in (
        Resend(0, MAX_RANGES + 1, place * (MAX_RANGES + 1)).encode(),
        Resend(0, 3, place * 2).encode(),
    ):
        peer.wire.send(peer.pack_payload(MessageType.RESEND, payload, number, STILL))
        acted = [str(p) for p in peer.collect(QUIET_S) if p.kind != MessageType.LOG]
        check(not acted, f"a malformed Resend brings {acted[:2]}")
    check_answers(peer)


@CASES.add("M-RESEND-1", "M-RESEND-2", "M-RESEND-3")
def order_of_what_is_sent_again(peer: HostPeer) -> None:
    """FrameStart, then each tile once, then Resent, then FrameEnd; only tiles have the flag."""
    _, picture, number = take_resendable_still(peer)
    last = place_of(picture.tiles[-1])
    mark = len(peer.log)
    ask_again(peer, number, 3, [last, last])
    end = peer.wait_for(lambda p: p.kind == MessageType.FRAME_END, 2.0, mark)
    check(end, "FrameEnd is not sent again")
    packets = [p for p in peer.log[mark:] if p.id == number]
    kinds = [p.kind for p in packets]
    tiles = [place_of(p) for p in packets if p.kind == MessageType.TILE]
    check(len(tiles) == len(set(tiles)), f"tiles are sent again twice: {tiles}")
    order = [
        MessageType.FRAME_START,
        *[MessageType.TILE] * len(tiles),
        MessageType.RESENT,
        MessageType.FRAME_END,
    ]
    check(kinds == order, f"sent again in the order {[f'{kind:#04x}' for kind in kinds]}")
    flags = [p.header.flags & 1 for p in packets]
    wanted = [int(kind == MessageType.TILE) for kind in kinds]
    check(flags == wanted, f"flags RESENT are {flags}, not {wanted}")


@CASES.add("M-RESEND-1")
def resend_after_stop(peer: HostPeer) -> None:
    """After Stop a Resend for the frame that Stop ended is answered."""
    block_frame(peer)
    session = peer.session
    if session is None or not session.capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    peer.call(Stop(PREVIEW), Accepted)
    peer.grant_credits(PLENTY, PLENTY)
    start = next(p for p in peer.log if p.kind == MessageType.FRAME_START)
    tile = next(p for p in peer.log if p.kind == MessageType.TILE)
    message, came = ask_again(peer, start.id, 1, [place_of(tile)], PREVIEW)
    again = any(p.kind == MessageType.TILE for p in came)
    check(again or message.count or message.state == 2, "a tile sent before Stop is neither")


@CASES.add("M-LANE-1")
def lanes_that_carry_nothing(peer: HostPeer) -> None:
    """FrameEnd and Flushed state 2^32 - 1 for lanes that the session does not have."""
    peer.open_session()
    _, picture = peer.take_still()
    end = read_frame_end(picture)
    flushed = peer.call(Flush(), Flushed)
    for name, last in (("FrameEnd", end.last_sequence), ("Flushed", flushed.last_sequence)):
        others = last[1:]
        said = f"{name} states {others} for lanes that the session does not have"
        check(others == (0xFFFFFFFF,) * 3, said)


@CASES.add("M-STOP-2")
def flush_after_hello_and_after_an_error(peer: HostPeer) -> None:
    """last_request counts Hello and refused requests, and neither Query nor unknown types."""
    peer.open_session()
    hello = peer.next_id - 1
    answer = peer.call(Flush(), Flushed)
    check(answer.last_request == hello, f"last_request {answer.last_request}, Hello was {hello}")
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    refused = peer.next_id - 1
    peer.call(Query(peer.nonce, refused), QueryReply)
    answer = peer.call(Flush(), Flushed)
    said = f"last_request {answer.last_request}, and the refused request before was {refused}"
    check(answer.last_request == refused, said)


@CASES.add("M-STATE-3")
def the_limit_of_a_tile(peer: HostPeer) -> None:
    """Without ADJUSTED the limit is kept: whole rows if a row fits, and as many as fit."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    for rows in (1, 2, 3, 8):
        for extra in (0, 6):
            limit = 2 * mode.width * rows + extra
            answer = peer.call(Configure(STILL, 0, mode.id, 0, limit), Configured)
            if answer.flags & ConfigureFlag.ADJUSTED:
                continue
            said = f"a limit of {limit} bytes gives {answer.tile_bytes}, which is not ADJUSTED"
            check(does_limit_allow(limit, answer), said)
