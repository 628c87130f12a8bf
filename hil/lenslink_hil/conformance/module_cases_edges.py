"""Cases for modules: what happens at the edges of frames: long exposures, Stop, Resend, lanes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from lenslink_protocol.controls import encode_settings
from lenslink_protocol.ids import (
    Capability,
    ConfigureFlag,
    ControlId,
    ErrorCode,
    FrameState,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    Resend,
    Resent,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import (
    PLENTY,
    PREVIEW,
    ROI,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .module_steps import (
    ALL_STREAMS,
    DATA,
    SHORT_WAIT_S,
    Rectangle,
    ask_again,
    block_frame,
    check_cover,
    configure_all,
    count_tile_bytes,
    count_unanswered,
    every,
    find_control,
    gone_rectangles,
    open_lanes,
    place_of,
    wait_for_type,
)
from .packets import NO_PACKET, Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_LONG_US = 200_000
"""An exposure in which a case makes its requests."""


def _make_long_list(peer: HostPeer) -> bytes:
    """Return a settings list with a long exposure; NotClaimed if the module has none."""
    longest = find_control(peer, ControlId.EXPOSURE).maximum
    if longest < _LONG_US:
        raise NotClaimed(f"the longest exposure is {longest} us")
    return encode_settings([every(ControlId.EXPOSURE, _LONG_US)])


def _do_meet(a: Rectangle, b: Rectangle) -> bool:
    """Return True if two rectangles have a pixel in common."""
    across = a[0] < b[0] + b[2] and b[0] < a[0] + a[2]
    return across and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@CASES.add("M-STATE-1")
def states_inside_an_exposure(peer: HostPeer) -> None:
    """A Capture whose frame is exposed makes its stream STREAMING: all but Stop is refused."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    configure_all(peer)
    data = _make_long_list(peer)
    for stream in ALL_STREAMS:
        peer.call(Capture(stream, 1, data), Accepted)
        for message in (
            Configure(stream, 0, mode, 0, 0), Configure(stream, 1, mode, 0, 0), Capture(stream, 1),
            StartStream(stream, 0), SetSettings(stream, b""),
        ):  # fmt: skip
            peer.expect_error(message, ErrorCode.STATE)
        peer.call(Stop(stream), Accepted)


@CASES.add("M-STATE-1")
def checks_before_the_state(peer: HostPeer) -> None:
    """A malformed list goes before the state, the state before crop, controls and budget."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    wrong = encode_settings([every(ControlId.SETTLED, 7)])
    odd = struct.pack("<HHi", ControlId.GAIN, 0xFFFF, 1000)[:-1]
    for stream in ALL_STREAMS:
        for message in (
            Capture(stream, 1, wrong), StartStream(stream, 0, wrong), SetSettings(stream, wrong),
        ):  # fmt: skip
            peer.expect_error(message, ErrorCode.STATE)
            peer.expect_error(replace(message, settings=odd), ErrorCode.MALFORMED)
        peer.expect_error(Capture(stream, 0, odd), ErrorCode.MALFORMED)
    peer.configure(STILL)
    peer.expect_error(Capture(STILL, 1, wrong), ErrorCode.UNSUPPORTED)
    # What was refused has not begun.
    peer.configure(STILL)
    manifest = peer.read_manifest()
    if manifest.power is not None and mode.active_mw:
        peer.call(_make_least_budget(peer), Accepted)
        peer.expect_error(Capture(PREVIEW, 1), ErrorCode.STATE)
        peer.expect_error(StartStream(PREVIEW, 0), ErrorCode.STATE)
        peer.expect_error(Capture(STILL, 1, wrong), ErrorCode.UNSUPPORTED)
        peer.expect_error(Capture(STILL, 1), ErrorCode.POWER)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.configure(PREVIEW)
    fresh.start_stream(50_000)
    crop = Configure(PREVIEW, 0, mode.id, 0, 0, 1, 1, mode.width, mode.height)
    fresh.expect_error(crop, ErrorCode.STATE)
    fresh.expect_error(replace(crop, flags=ConfigureFlag.TEST_ONLY), ErrorCode.STATE)
    fresh.close()


def _make_least_budget(peer: HostPeer) -> SetBudget:
    """Return the smallest budget that the module accepts."""
    power = peer.read_manifest().power
    assert power is not None
    return SetBudget(power.idle_mw + power.motor_mw)


@CASES.add("M-STATE-2")
def a_trial_of_other_geometry(peer: HostPeer) -> None:
    """TEST_ONLY with another format, mode or crop leaves the frames as they were configured."""
    peer.open_session()
    manifest = peer.read_manifest()
    peer.grant_credits(PLENTY, PLENTY)
    configured = peer.configure(STILL)
    formats = [code for code in manifest.formats if code != configured.pixel_format]
    modes = [mode.id for mode in manifest.modes if mode.id != configured.mode]
    for trial in (
        Configure(STILL, 1, configured.mode, next(iter(formats), 0), 0),
        Configure(STILL, 1, next(iter(modes), configured.mode), 0, 0),
        Configure(STILL, 1, configured.mode, 0, 0, 2, 2, 8, 8),
    ):
        peer.try_call(trial)
        mark = len(peer.log)
        peer.start_capture()
        start = read_frame_start(peer.wait_for_frame(STILL, mark))
        got = (start.mode, start.pixel_format, start.width, start.height, start.crop_x)
        wanted = (
            configured.mode, configured.pixel_format, configured.width, configured.height,
            configured.x,
        )  # fmt: skip
        check(got == wanted, f"behind the trial {describe(trial)} a frame has {got}, not {wanted}")


@CASES.add("M-CAM-5")
def counts_of_captures(peer: HostPeer) -> None:
    """What Stop leaves of a Capture is not added to the next one."""
    peer.open_session()
    configure_all(peer)
    for stream in ALL_STREAMS:
        mark = len(peer.log)
        peer.start_capture(20, stream=stream)
        peer.wait_for_frame(stream, mark)
        peer.call(Stop(stream), Accepted)
        mark = len(peer.log)
        peer.start_capture(1, stream=stream)
        peer.wait_for_frame(stream, mark)
        peer.collect(SHORT_WAIT_S)
        count = sum(p.kind == MessageType.FRAME_START for p in peer.log[mark:])
        check(count == 1, f"a Capture of 1 behind a stopped one of 20 has {count} frames")


@CASES.add("M-STOP-1", "M-STOP-2")
def stopped_inside_an_exposure(peer: HostPeer) -> None:
    """Stop and Flush end an exposure: no packet of its frame comes, and no other stream ends."""
    peer.open_session()
    configure_all(peer)
    data = _make_long_list(peer)
    for stream, ending in (
        (PREVIEW, Stop(PREVIEW)), (STILL, Stop(STILL)), (ROI, Stop(ROI)), (STILL, Flush()),
    ):  # fmt: skip
        peer.call(Capture(stream, 1, data), Accepted)
        peer.collect(0.03)
        mark = len(peer.log)
        peer.call(ending, Flushed if isinstance(ending, Flush) else Accepted)
        name = type(ending).__name__
        other = (stream + 1) % MAX_STREAMS
        # The time of the exposure passes while another stream takes a frame with the same one.
        peer.call(Capture(other, 1, data), Accepted)
        peer.collect(0.03)
        peer.call(Stop(stream), Accepted)
        peer.wait_for_frame(other, mark, 5.0)
        found = [
            describe(p) for p in peer.log[mark:] if p.kind in DATA and p.header.stream == stream
        ]
        check(not found, f"{name} comes inside an exposure of stream {stream}, then {found[:2]}")


@CASES.add("M-STOP-1", "M-CREDIT-2")
def stopped_while_a_resend_waits(peer: HostPeer) -> None:
    """Stop and Flush are answered while a tile that is sent again waits for credits."""
    for ending in (Stop(PREVIEW), Flush()):
        session = peer.start_session()
        if not session.open_session().capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        configured = session.configure(PREVIEW, 4 * session.find_smallest_mode().width)
        session.grant_credits(configured.frame_bytes, 0)
        session.start_capture(stream=PREVIEW)
        picture = session.wait_for_frame(PREVIEW)
        assert picture.end is not None
        place = struct.pack("<4H", *place_of(picture.tiles[-1]))
        session.send(Resend(ResendFlag.END, 1, place), picture.end.id, PREVIEW)
        session.collect(0.05)
        number = session.send_request(ending)
        answer = session.wait_for_answer(number, 1.0)
        name = type(ending).__name__
        check(answer, f"{name} is not answered while a tile of a Resend waits for credits")
        session.close()


@CASES.add("M-RESEND-3")
def the_end_of_an_aborted_frame(peer: HostPeer) -> None:
    """FrameEnd of a frame that Stop has ended comes again as it was: ABORTED, with its tiles."""
    known = 0
    for stream in ALL_STREAMS:
        session = peer.start_session()
        block_frame(session, stream)
        if session.session is None or not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        session.call(Stop(stream), Accepted)
        first = next(p for p in session.log if p.kind == MessageType.FRAME_END)
        mark = len(session.log)
        message, _ = ask_again(session, first.id, ResendFlag.END, [], stream)
        if message.state == FrameState.ENDED:
            known += 1
            again = wait_for_type(session, MessageType.FRAME_END, mark)
            if again is None:
                raise Failed("FrameEnd of an aborted frame is not sent again")
            before, after = (read_frame_end(Picture(end=each)) for each in (first, again))
            said = f"FrameEnd was {describe(before)}, and is sent again as {describe(after)}"
            check(replace(after, last_sequence=before.last_sequence) == before, said)
        session.close()
    if not known:
        raise NotClaimed("the module knows no frame that was aborted")


@CASES.add("M-RESEND-1")
def a_resend_beside_tiles_that_wait(peer: HostPeer) -> None:
    """Of a frame under way, what was not sent yet is neither gone nor sent again: it comes once."""
    for stream in ALL_STREAMS:
        session = peer.start_session()
        configured = block_frame(session, stream, is_capture=True)
        if session.session is None or not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        tile = next(p for p in session.log if p.kind == MessageType.TILE)
        below = tile.header.y + tile.header.height
        rest = [(0, below, configured.width, configured.height - below)]
        message, came = ask_again(session, tile.id, 0, rest, stream)
        gone = gone_rectangles(message)
        check(not gone, f"of a frame under way {gone[:3]} are gone, which were not sent yet")
        check(not came, f"of a frame under way {[str(p) for p in came[:2]]} comes again")
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        check_cover(configured, session.wait_for_frame(stream))
        session.close()


@CASES.add("M-RESEND-1")
def what_meets_a_rectangle(peer: HostPeer) -> None:
    """Only tiles that meet a rectangle come again or are gone, and only the rectangles of `count`.

    Rectangles are those of the frame, which may be a crop of the mode.
    """
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    width, height = mode.width // 4 * 2, mode.height // 4 * 2
    for stream, crop in ((STILL, (0, 0, 0, 0)), (ROI, (2, 2, width, height))):
        for limit in (4 * width, width):
            message = Configure(stream, 0, mode.id, 0, limit, *crop)
            configured = peer.call(message, Configured)
            mark = len(peer.log)
            peer.start_capture(stream=stream)
            picture = peer.wait_for_frame(stream, mark)
            assert picture.end is not None
            tiles = [place_of(tile) for tile in picture.tiles]
            for asked in ([tiles[-1]], [tiles[len(tiles) // 2]], [(0, 0, 2, 2)], tiles[-3:-1]):
                _check_what_came(peer, configured, picture.end.id, asked, tiles, stream=stream)


def _check_what_came(
    peer: HostPeer,
    configured: Configured,
    number: int,
    asked: list[Rectangle],
    tiles: list[Rectangle],
    *,
    stream: int,
) -> None:
    """Send a Resend with a rectangle behind those that count, and check what comes of it."""
    mark = len(peer.log)
    extra = next(
        (each for each in tiles if not any(_do_meet(each, one) for one in asked)), tiles[0]
    )
    ranges = b"".join(struct.pack("<4H", *place) for place in [*asked, extra])
    peer.send(Resend(0, len(asked), ranges), number, stream)
    found = wait_for_type(peer, MessageType.RESENT, mark, 2.0)
    message = found.message() if found is not None else None
    if not isinstance(message, Resent):
        raise Failed("a Resend with bytes behind its rectangles is not answered")
    if message.state == FrameState.UNKNOWN:
        return
    again = [place_of(p) for p in peer.log[mark:] if p.kind == MessageType.TILE and p.id == number]
    gone = gone_rectangles(message)
    for name, places in (("sent again", again), ("gone", gone)):
        for place in places:
            said = f"{asked} of stream {stream} are asked for, and {place} is {name}"
            check(any(_do_meet(place, one) for one in asked), said)
            check(place in tiles, f"{place} is {name}, which was no tile")
    both = [place for place in again if place in gone]
    check(not both, f"{both[:2]} are sent again, and called gone")
    came = [p for p in peer.log[mark:] if p.kind == MessageType.TILE]
    missing = count_unanswered(configured, asked, message, came)
    check(not missing, f"{missing} pixels of {asked} are neither sent again nor gone")


@CASES.add("M-RESEND-4")
def frames_of_no_stream(peer: HostPeer) -> None:
    """A Resend of a stream from MAX_STREAMS gets UNKNOWN."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    _, picture = peer.take_still()
    assert picture.end is not None
    for stream in (MAX_STREAMS, 255):
        message, came = ask_again(peer, picture.end.id, 3, [(0, 0, 2, 2)], stream)
        said = f"a frame of stream {stream} has state {message.state}"
        check(message.state == FrameState.UNKNOWN and not came, said)


@CASES.add("M-CAM-3", "M-CAM-2", "M-CAM-4")
def every_frame_of_a_capture(peer: HostPeer) -> None:
    """Each frame of each stream is whole, counts its own tiles and names its own request."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        configured = peer.configure(stream, 8 * width)
        for count in (2, 1):
            number = peer.start_capture(count, stream=stream)
            # A newer request than that of the frame.
            peer.call(Stop((stream + 1) % MAX_STREAMS), Accepted)
            mark = peer.log.index(_find_answer(peer, number))
            for _ in range(count):
                picture = peer.wait_for_frame(stream, mark)
                check_cover(configured, picture)
                request = read_frame_start(picture).request
                said = f"a frame of stream {stream} names request {request}, not {number}"
                check(request == number, said)
                told = read_frame_end(picture).tiles
                tiles = len(picture.tiles)
                check(told == tiles, f"FrameEnd states {told} tiles, and {tiles} came")
                assert picture.end is not None
                mark = peer.log.index(picture.end) + 1


def _find_answer(peer: HostPeer, number: int) -> Packet:
    answer = peer.wait_for_answer(number)
    assert answer is not None
    return answer


@CASES.add("M-CREDIT-1")
def limits_of_each_stream(peer: HostPeer) -> None:
    """Each stream keeps the highest limit that it was told, up to 2^64 - 1, in every frame.

    Tiles that are sent again need credit on each stream.
    """
    for stream in ALL_STREAMS:
        session = peer.start_session()
        has_resend = session.open_session().capabilities & Capability.RESEND
        configured = session.configure(stream, 4 * session.find_smallest_mode().width)
        limits = [PLENTY] * MAX_STREAMS
        limits[stream] = configured.frame_bytes
        session.grant_credits(*limits)
        limits[stream] = 0
        session.grant_credits(*limits)
        session.start_capture(stream=stream)
        picture = session.wait_for_frame(stream)
        check_cover(configured, picture)
        assert picture.end is not None
        if has_resend:
            place = struct.pack("<4H", *place_of(picture.tiles[-1]))
            session.send(Resend(0, 1, place), picture.end.id, stream)
        session.start_capture(stream=stream)
        session.collect(SHORT_WAIT_S)
        came = count_tile_bytes(session.log, stream)
        said = f"{came} bytes of stream {stream} came, {configured.frame_bytes} were granted"
        check(came <= configured.frame_bytes, said)
        mark = len(session.log)
        session.grant_credits(*[(1 << 64) - 1] * MAX_STREAMS)
        end = session.wait_for(lambda p: p.kind == MessageType.FRAME_END, 5.0, mark)
        check(end, f"with a limit of 2^64 - 1 no frame of stream {stream} comes to its end")
        session.close()


@CASES.add("M-LANE-1", "M-CAM-4")
def what_ends_say_of_lanes(peer: HostPeer) -> None:
    """Over several lanes, FrameEnd and Flushed count all tiles and lanes; Resent is on lane 0."""
    open_lanes(peer)
    assert peer.session is not None
    peer.start_capture()
    picture = peer.wait_for_frame()
    peer.collect(SHORT_WAIT_S)
    assert picture.end is not None
    number, lanes = picture.end.id, peer.session.lanes
    end = read_frame_end(picture)
    tiles = sum(p.kind == MessageType.TILE for p in peer.log)
    check(end.tiles == tiles, f"FrameEnd states {end.tiles} tiles, {tiles} came over all lanes")
    check(end.lanes == lanes, f"FrameEnd states {end.lanes} lanes, the session has {lanes}")
    if peer.session.capabilities & Capability.RESEND:
        mark = len(peer.log)
        places = [place_of(p) for p in peer.log if p.kind == MessageType.TILE][-8:]
        message, _ = ask_again(peer, number, ResendFlag.END, places)
        peer.collect(SHORT_WAIT_S)
        others = [describe(p) for p in peer.log[mark:] if p.lane and p.kind != MessageType.TILE]
        check(not others, f"behind a Resend, {others[:2]} comes on another lane than 0")
        again = [p for p in peer.log[mark:] if p.kind == MessageType.FRAME_END]
        if message.state == FrameState.ENDED and again:
            told = read_frame_end(Picture(end=again[0])).last_sequence
            _check_last_of_lanes(peer, told, "FrameEnd that is sent again")
    flushed = peer.call(Flush(), Flushed)
    check(flushed.lanes == lanes, f"Flushed states {flushed.lanes} lanes, the session has {lanes}")
    _check_last_of_lanes(peer, flushed.last_sequence, "Flushed")
    fresh = peer.start_session()
    fresh.open_session()
    _, one = fresh.take_still(4 * fresh.find_smallest_mode().width)
    fresh.collect(SHORT_WAIT_S)
    others = [describe(p) for p in fresh.log if p.lane]
    check(not others, f"in a session of one lane behind one of {lanes}, {others[:2]} comes")
    told = read_frame_end(one).last_sequence
    check(told[1:] == (NO_PACKET,) * 3, f"a session of one lane states the sequences {told}")
    fresh.close()


def _check_last_of_lanes(peer: HostPeer, told: tuple[int, ...], who: str) -> None:
    for lane in range(1, peer.lanes):
        numbers = [p.header.sequence for p in peer.log if p.lane == lane]
        last = numbers[-1] if numbers else NO_PACKET
        check(told[lane] == last, f"{who} states {told[lane]} for lane {lane}, it ends with {last}")
