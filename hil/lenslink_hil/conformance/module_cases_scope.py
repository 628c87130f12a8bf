"""Cases for modules: a rule in its whole scope (SPEC.md, 2 to 10).

A rule is easily kept for one stream, session, lane or message, and not for its sibling. Each case
here tries the sibling.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import (
    Capability,
    ControlId,
    ErrorCode,
    FrameFlag,
    FrameState,
    MessageType,
    ResendFlag,
    TestAction,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Close,
    Configure,
    Flush,
    FrameStart,
    GetManifest,
    Heartbeat,
    Hello,
    Query,
    QueryReply,
    Resend,
    SetSettings,
    StartStream,
    Stop,
    Test,
)

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import (
    ALL,
    PLENTY,
    PREVIEW,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .module_cases_demand import open_test_session, wait_for_type
from .module_cases_receiving import grow
from .module_cases_settings import every, find_control, other_value
from .module_steps import (
    ask_again,
    block_frame,
    check_answers,
    check_cover,
    check_sequences,
    count_tile_bytes,
    open_lanes,
    place_of,
)
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_BOTH = (PREVIEW, STILL)
_SHORT_S = 0.12


# --- packets ----------------------------------------------------------------------------------


@CASES.add("M-FRAME-1")
def sequences_while_tiles_wait(peer: HostPeer) -> None:
    """Lane 0 counts by one while a frame of either stream waits, whatever is answered meanwhile."""
    for stream in _BOTH:
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


@CASES.add("M-FRAME-1", "M-LANE-1")
def lanes_begin_at_0_again(peer: HostPeer) -> None:
    """Each lane counts from 0 in the second session of a connection, and in the third."""
    session = peer
    for _ in range(3):
        open_lanes(session)
        session.start_capture()
        session.wait_for_frame()
        session.collect(_SHORT_S)
        for lane in range(session.lanes):
            numbers = [p.header.sequence for p in session.log if p.lane == lane]
            said = f"lane {lane} of a later session counts {numbers[:4]}"
            check(numbers == list(range(len(numbers))), said)
        # The second session ends with Close, the first by the Hello of the next.
        if session is not peer:
            session.close()
            session.collect(_SHORT_S)
        session = session.start_session()


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
        acted = [str(p) for p in fresh.collect(_SHORT_S) if p.kind != MessageType.LOG]
        check(not acted, f"packets of the session before bring {acted[:2]}")
        check(not fresh.strangers, f"packets of the session before get {fresh.strangers[:2]}")
        fresh.start_capture()
        sent = count_tile_bytes(fresh.collect(_SHORT_S), STILL)
        check(sent == 0, "a Heartbeat of the session before grants credits")
        del mark
        before = fresh.start_session()


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


# --- sessions and requests --------------------------------------------------------------------


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


@CASES.add("M-CLOSE-1")
def every_kind_of_close(peer: HostPeer) -> None:
    """Close ends the session for any reason, an unknown one too, and with more fields."""
    session = peer
    for payload in (
        Close(3).encode(),
        Close(4).encode(),
        Close(255).encode(),
        grow(Close(1)),
    ):
        session.open_session()
        check_answers(session)
        session.wire.send(session.pack_payload(MessageType.CLOSE, payload))
        mark = len(session.log)
        session.send(Heartbeat((0, 0, 0), 0))
        number = session.send_request(GetManifest(0))
        session.collect(_SHORT_S)
        said = f"request {number} behind the Close {payload.hex(' ')} is answered"
        check(len(session.log) == mark, said)
        session = session.start_session()


@CASES.add("M-CLOSE-1")
def numbers_over_a_connection(peer: HostPeer) -> None:
    """Frame numbers go on over a new connection, if the module was not restarted."""
    before = peer.open_session()
    _, picture = peer.take_still()
    if not peer.wire.reopen():
        raise NotClaimed("this bench cannot make a new connection")
    fresh = peer.start_session()
    after = fresh.open_session()
    if after.boot_count != before.boot_count or after.uptime_us < before.uptime_us:
        raise NotClaimed("on this bench a new connection starts the module anew")
    fresh.configure(STILL)
    fresh.grant_credits(PLENTY, PLENTY)
    accepted = fresh.call(Capture(STILL, 1), Accepted)
    later = fresh.wait_for_frame()
    assert picture.end is not None and later.end is not None
    wanted = (picture.end.id + 1) & 0xFFFFFFFF
    got = (accepted.first_frame, later.end.id)
    said = f"behind frame {wanted - 1} a new connection has first_frame and frame {got}"
    check(got == (wanted, wanted), said)
    fresh.close()


@CASES.add("M-CLOSE-2", "M-TEST-2")
def detached_inside_a_frame(peer: HostPeer) -> None:
    """DETACH while a frame waits for credits: behind Close comes nothing, not even its end."""
    open_test_session(peer)
    for stream in _BOTH:
        configured = peer.configure(stream, 4 * peer.find_smallest_mode().width)
        limits = [0, 0]
        limits[stream] = configured.tile_bytes
        peer.grant_credits(limits[0], limits[1])
        peer.call(Capture(stream, 2), Accepted)
        check(wait_for_type(peer, MessageType.TILE, 0, 5.0), "no tile within 5 s of its credit")
        peer.call(Test(TestAction.DETACH, 0, 100), Accepted)
        closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
        if closed is None:
            raise Failed("DETACH is accepted, and the session is not closed")
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
        peer.collect()
        after = [str(p) for p in peer.log[peer.log.index(closed) + 1 :]]
        check(not after, f"behind Close DETACH inside a frame of stream {stream}: {after[:2]}")
        peer = peer.start_session()
        open_test_session(peer)
    peer.close()


# --- streams ----------------------------------------------------------------------------------


@CASES.add("M-CREDIT-2")
def requests_while_a_frame_waits(peer: HostPeer) -> None:
    """Every request is answered while a frame of either stream waits for credits."""
    for stream in _BOTH:
        session = peer.start_session()
        block_frame(session, stream, is_capture=True)
        other = STILL if stream == PREVIEW else PREVIEW
        check_answers(session)
        session.call(Query(session.nonce, 1), QueryReply)
        session.configure(other)
        session.call(SetSettings(other, b""), Accepted)
        session.expect_error(SetSettings(stream, b""), ErrorCode.STATE)
        session.expect_error(Capture(stream, 1), ErrorCode.STATE)
        session.call(Capture(other, 1), Accepted)
        session.call(Stop(other), Accepted)
        session.call(Stop(stream), Accepted)
        session.close()


# --- settings ---------------------------------------------------------------------------------


@CASES.add("M-SET-3")
def no_single_frame_lasts(peer: HostPeer) -> None:
    """A setting for the first, the last or the only frame of a Capture does not last."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    initial = find_control(peer, ControlId.GAIN).initial
    single = other_value(peer, ControlId.GAIN)
    for count, at in ((3, 0), (3, 2), (1, 0)):
        gains = _take_gains(peer, count, [Setting(ControlId.GAIN, at, single)])
        wanted = [single if each == at else initial for each in range(count)]
        check(gains == wanted, f"gains {gains}, and frame {at} alone was to have {single}")
        gains = _take_gains(peer, 1, [])
        said = f"gain {gains[0]} behind a Capture of {count} whose frame {at} had {single}"
        check(gains == [initial], said)


def _take_gains(peer: HostPeer, count: int, settings: list[Setting]) -> list[int]:
    return [start.gain_milli for start in _take(peer, count, settings, STILL)]


def _take(peer: HostPeer, count: int, settings: list[Setting], stream: int) -> list[FrameStart]:
    """Capture, and return the FrameStart of each frame."""
    mark = len(peer.log)
    peer.start_capture(count, settings, stream)
    found = []
    for _ in range(count):
        picture = peer.wait_for_frame(stream, mark)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
        found.append(read_frame_start(picture))
    return found


@CASES.add("M-SET-4")
def adjusted_frame_by_frame(peer: HostPeer) -> None:
    """In a bracket only the frame whose value is out of range is ADJUSTED."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    entry = find_control(peer, ControlId.GAIN)
    values = (entry.maximum + 1, entry.initial, entry.minimum - 1, entry.minimum)
    settings = [Setting(ControlId.GAIN, at, value) for at, value in enumerate(values)]
    flags = [bool(each.flags & FrameFlag.ADJUSTED) for each in _take(peer, 4, settings, STILL)]
    wanted = [not entry.minimum <= value <= entry.maximum for value in values]
    check(flags == wanted, f"gains {values} are ADJUSTED: {flags}")


@CASES.add("M-SET-5")
def a_bracket_of_the_preview(peer: HostPeer) -> None:
    """A Capture of the preview keeps the still out, which streams beside it."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    still = peer.wait_for_frame(STILL)
    took_us = read_frame_start(still).exposure_us + read_frame_end(still).readout_us
    # Often enough to come between, and with time left for the preview, which comes second.
    peer.call(StartStream(STILL, 3 * took_us), Accepted)
    mark = len(peer.log)
    peer.start_capture(8, stream=PREVIEW)
    for _ in range(8):
        end = peer.wait_for_frame(PREVIEW, mark).end
        assert end is not None
        mark = peer.log.index(end) + 1
    peer.call(Stop(STILL), Accepted)
    starts = [p for p in peer.log if p.kind == MessageType.FRAME_START]
    numbers = [p.id for p in starts if p.header.stream == PREVIEW]
    wanted = [(numbers[0] + at) & 0xFFFFFFFF for at in range(8)]
    check(numbers == wanted, f"the frames of a Capture of the preview are numbered {numbers}")


# --- sent again -------------------------------------------------------------------------------


@CASES.add("M-RESEND-2")
def pixels_of_an_older_frame(peer: HostPeer) -> None:
    """A tile of a frame that is not the newest has the pixels of its own frame."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    held = 0
    for stream in _BOTH:
        session = peer.start_session()
        session.open_session()
        mode = session.find_smallest_mode()
        configured = session.configure(stream, 4 * mode.width)
        # The second frame waits behind its first tile, so that a small module holds the first one.
        limits = [0, 0]
        limits[stream] = configured.frame_bytes + configured.tile_bytes
        session.grant_credits(limits[0], limits[1])
        session.start_capture(2, stream=stream)
        older = session.wait_for_frame(stream)
        assert older.end is not None
        number = older.end.id
        begun = _wait_for_another_frame(session, number)
        check(begun, "the second frame does not begin within 5 s")
        mark = len(session.log)
        places = b"".join(struct.pack("<4H", *place_of(tile)) for tile in older.tiles[-4:])
        session.send(Resend(0, len(older.tiles[-4:]), places), number, stream)
        session.grant_credits(PLENTY, PLENTY)
        found = wait_for_type(session, MessageType.RESENT, mark, 2.0)
        check(found, "a Resend for the frame before is not answered")
        first = {place_of(tile): tile.payload for tile in older.tiles}
        for tile in session.log[mark:]:
            if tile.kind == MessageType.TILE and tile.id == number:
                held += 1
                same = first.get(place_of(tile)) == tile.payload
                check(same, f"{describe(tile)}, sent again behind the next frame, has other pixels")
        session.close()
    if not held:
        raise NotClaimed("the module holds nothing of a frame that is not the newest")


def _wait_for_another_frame(peer: HostPeer, number: int) -> Packet | None:
    return peer.wait_for(lambda p: p.kind == MessageType.TILE and p.id != number, 5.0)


@CASES.add("M-RESEND-3")
def no_end_before_the_end(peer: HostPeer) -> None:
    """END asks in vain for the FrameEnd of a frame that is under way; it comes when it is due."""
    for stream in _BOTH:
        session = peer.start_session()
        configured = block_frame(session, stream, is_capture=True)
        assert session.session is not None
        if not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        number = next(p.id for p in session.log if p.kind == MessageType.FRAME_START)
        for flags in (ResendFlag.END, ResendFlag.START | ResendFlag.END):
            message, _ = ask_again(session, number, flags, [], stream)
            said = f"a frame under way has state {message.state}"
            check(message.state == FrameState.UNDER_WAY, said)
            said = f"Resent has flags {message.flags} of a frame under way"
            check(not message.flags & ResendFlag.END, said)
        session.collect(_SHORT_S)
        ends = sum(p.kind == MessageType.FRAME_END for p in session.log)
        check(not ends, f"FrameEnd of stream {stream} comes before its tiles, as END asked for it")
        session.grant_credits(PLENTY, PLENTY)
        check_cover(configured, session.wait_for_frame(stream))
        session.close()


# --- lanes ------------------------------------------------------------------------------------


@CASES.add("M-LANE-1")
def frames_of_one_tile(peer: HostPeer) -> None:
    """FrameEnd states the last packet of each lane, also of a lane without a tile of its frame."""
    configured = open_lanes(peer)
    for tile_bytes in (configured.tile_bytes, *[configured.frame_bytes] * 4):
        mark = len(peer.log)
        peer.configure(STILL, tile_bytes)
        peer.start_capture()
        picture = peer.wait_for_frame(STILL, mark)
        peer.collect(_SHORT_S)
        end = read_frame_end(picture)
        for lane in range(1, peer.lanes):
            numbers = [p.header.sequence for p in peer.log if p.lane == lane]
            last = numbers[-1] if numbers else 0xFFFFFFFF
            told = end.last_sequence[lane]
            check(told == last, f"lane {lane} ends with {last}, FrameEnd says {told}")


@CASES.add("M-LANE-2")
def frames_after_a_lane(peer: HostPeer) -> None:
    """The frames that begin after a lane has ended come whole by the others."""
    configured = open_lanes(peer)
    peer.start_capture()
    peer.wait_for_frame()
    if not peer.wire.end_lane(1):
        raise NotClaimed("this bench cannot cut a lane")
    # What is written to a lane at the moment of its end may be lost.
    mark = len(peer.log)
    peer.start_capture()
    peer.wait_for_frame(STILL, mark)
    peer.collect(_SHORT_S)
    for _ in range(2):
        mark = len(peer.log)
        peer.start_capture()
        picture = peer.wait_for_frame(STILL, mark)
        tiles = [p for p in peer.log[mark:] if p.kind == MessageType.TILE]
        check_cover(configured, Picture(picture.start, tiles, picture.end))
