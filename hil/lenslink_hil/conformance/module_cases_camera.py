"""Cases for modules: streams, credits, frames, what is sent again, manifest (SPEC.md, 5 to 7)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from lenslink_protocol.ids import (
    ConfigureFlag,
    EndStatus,
    ErrorCode,
    FrameState,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.messages import (
    Capture,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    GetManifest,
    ManifestPiece,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_RANGES, MAX_STREAMS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer, Picture, read_frame_end, read_frame_start
from .module_steps import (
    DATA,
    Rectangle,
    ask_again,
    block_frame,
    check_cover,
    count_tile_bytes,
    cover,
    does_limit_allow,
    gone_rectangles,
    open_lanes,
    place_of,
    take_resendable_still,
)
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_FRAMES = ((PREVIEW, False), (STILL, True), (STILL, False), (PREVIEW, True))
"""Streams, and whether a Capture began their frames."""


# --- streams ----------------------------------------------------------------------------------


@CASES.add("M-STATE-1")
def states(peer: HostPeer) -> None:
    """What a stream's state does not allow is refused, and it goes back to CONFIGURED."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    start = StartStream(PREVIEW, 20000)
    peer.expect_error(start, ErrorCode.STATE)
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.expect_error(start, ErrorCode.STATE)
    peer.expect_error(Configure(PREVIEW, 0, mode, 0, 0), ErrorCode.STATE)
    peer.try_call(Stop(PREVIEW))
    peer.configure(PREVIEW)


@CASES.add("M-STATE-2")
def test_only(peer: HostPeer) -> None:
    """A configuration that is only tried is answered like a real one, and not applied."""
    peer.open_session()
    message = Configure(STILL, ConfigureFlag.TEST_ONLY, peer.find_smallest_mode().id, 0, 0)
    answer = peer.call(message, Configured)
    check(answer.flags & ConfigureFlag.TEST_ONLY, f"TEST_ONLY is answered with {describe(answer)}")
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)


@CASES.add("M-STATE-3")
def adjusted(peer: HostPeer) -> None:
    """Another pixel format, or tiles of another length than the limit allows, are ADJUSTED."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    rows = 4 * peer.configure().width
    tried = product((0, 0x01100031, 0x0110000C), (0, 1, rows, 2 * rows + 6, 0xFFFFFFFF))
    for pixel_format, tile_bytes in tried:
        answer = peer.try_call(Configure(STILL, 0, mode, pixel_format, tile_bytes))
        if isinstance(answer, Error):
            continue
        if not isinstance(answer, Configured):
            raise Failed(f"Configure is answered with {describe(answer)}")
        differs = pixel_format not in (0, answer.pixel_format) or not does_limit_allow(
            tile_bytes, answer
        )
        said = answer.flags & ConfigureFlag.ADJUSTED
        asked = f"format {pixel_format:#x} and tiles of {tile_bytes} bytes"
        check(said or not differs, f"{asked} get {describe(answer)}, which is not ADJUSTED")


@CASES.add("M-STATE-4")
def unsupported(peer: HostPeer) -> None:
    """A stream, a mode and a number of frames that there are not."""
    peer.open_session()
    modes = {mode.id for mode in peer.read_manifest().modes}
    absent = next(number for number in range(65535, 0, -1) if number not in modes)
    peer.expect_error(Configure(STILL, 0, absent, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Configure(MAX_STREAMS, 0, min(modes), 0, 0), ErrorCode.UNSUPPORTED)
    peer.configure()
    peer.expect_error(Capture(STILL, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Capture(MAX_STREAMS, 1), ErrorCode.UNSUPPORTED)


@CASES.add("M-STOP-1")
def stop_inside_a_frame(peer: HostPeer) -> None:
    """A frame that waits for credits is ended by Stop: ABORTED, then the answer, then nothing."""
    for stream, is_capture in _FRAMES:
        session = peer.start_session()
        block_frame(session, stream, is_capture)
        number = session.send_request(Stop(stream))
        answer = _check_ends(session, number)
        session.grant_credits(PLENTY, PLENTY)
        session.collect(0.12)
        after = [str(p) for p in session.log[session.log.index(answer) :] if p.kind in DATA]
        check(not after, f"behind the answer to Stop of stream {stream}: {after[:3]}")
        session.close()


@CASES.add("M-STOP-1")
def stop_behind_a_frame(peer: HostPeer) -> None:
    """The same where the module may have read the whole frame, and sent nothing of it."""
    peer.open_session()
    configured = peer.configure(PREVIEW)
    peer.start_stream()
    peer.collect()
    _check_ends(peer, peer.send_request(Stop(PREVIEW)), configured.frame_bytes)


@CASES.add("M-STOP-1")
def flush_inside_a_frame(peer: HostPeer) -> None:
    """The same by Flush."""
    for stream, is_capture in _FRAMES:
        session = peer.start_session()
        block_frame(session, stream, is_capture)
        _check_ends(session, session.send_request(Flush()))
        session.close()


def _check_ends(peer: HostPeer, number: int, frame_bytes: int = 1 << 40) -> Packet:
    """Check that each frame that began has ended before the answer; return the answer."""
    answer = peer.wait_for_answer(number)
    check(answer is not None, "a Stop or Flush is not answered")
    assert answer is not None
    before = peer.log[: peer.log.index(answer)]
    started = [p.id for p in before if p.kind == MessageType.FRAME_START]
    ends = [p for p in before if p.kind == MessageType.FRAME_END]
    check([p.id for p in ends] == started, f"frames {started} begin, {len(ends)} end before it")
    for end in ends:
        status = read_frame_end(Picture(end=end)).status
        whole = count_tile_bytes([p for p in before if p.id == end.id], end.header.stream)
        right = status == EndStatus.ABORTED or whole == frame_bytes
        check(right, f"frame {end.id}, of which {whole} bytes were sent, ends with {status}")
    return answer


@CASES.add("M-STOP-2")
def flush_is_a_barrier(peer: HostPeer) -> None:
    """Behind Flushed comes nothing of a stream, and it says what the last packet was."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    request = peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    number = peer.send_request(Flush())
    answer = peer.wait_for_answer(number)
    if answer is None:
        raise Failed("Flush is not answered")
    message = answer.message()
    if not isinstance(message, Flushed):
        raise Failed(f"Flush is answered with {describe(message)}")
    check(message.last_request == request, f"last_request {message.last_request}, not {request}")
    last = (answer.header.sequence - 1) & 0xFFFFFFFF
    told = message.last_sequence[0]
    check(told == last, f"last_sequence {told} in the packet after {last}")
    peer.collect()
    behind = peer.log[peer.log.index(answer) :]
    data = [str(p) for p in behind if p.kind in DATA]
    check(not data, f"behind Flushed: {data[:3]}")


# --- credits ----------------------------------------------------------------------------------


@CASES.add("M-CREDIT-1")
def no_more_than_granted(peer: HostPeer) -> None:
    """No tile without credit; with credit for a few, no more; an older limit takes none away."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    peer.start_capture()
    early = count_tile_bytes(peer.collect(), STILL)
    check(early == 0, f"{early} bytes of tiles before the first grant")
    # Not a whole number of tiles: the last tile must fit, not only begin below the limit.
    limit = 3 * configured.tile_bytes + configured.tile_bytes // 2
    peer.grant_credits(PLENTY, limit)
    peer.collect()
    peer.grant_credits(0, configured.tile_bytes)
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles where {limit} were granted")
    check(came > limit - configured.tile_bytes, f"{came} bytes where {limit} were granted")
    peer.grant_credits(0, PLENTY)
    peer.wait_for_frame()


@CASES.add("M-CREDIT-2")
def answers_need_no_credit(peer: HostPeer) -> None:
    """A module whose tiles wait answers requests."""
    block_frame(peer)
    peer.call(GetManifest(0), ManifestPiece)
    answer = peer.call(Configure(STILL, 0, peer.find_smallest_mode().id, 0, 0), Configured)
    check(answer.stream == STILL, f"Configure of the still: {describe(answer)}")


# --- frames -----------------------------------------------------------------------------------


@CASES.add("M-CAM-1")
def order_and_numbers(peer: HostPeer) -> None:
    """No number is left out, each stream's rise; a frame is between its FrameStart and its end."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.start_capture(2)
    first = peer.wait_for_frame(STILL).end
    assert first is not None
    peer.wait_for_frame(STILL, peer.log.index(first) + 1)
    peer.call(Flush(), Flushed)
    starts = [p for p in peer.log if p.kind == MessageType.FRAME_START]
    numbers = sorted(p.id for p in starts)
    wanted = list(range(numbers[0], numbers[0] + len(numbers)))
    check(numbers == wanted, f"frames are numbered {numbers}")
    for stream in (PREVIEW, STILL):
        own = [p.id for p in starts if p.header.stream == stream]
        check(own == sorted(own), f"frames of stream {stream} are numbered {own}")
    for number in numbers:
        kinds = [p.kind for p in peer.log if p.kind in DATA and p.id == number]
        inside = kinds[1:-1]
        right = kinds[0] == DATA[0] and kinds[-1] == DATA[2] and set(inside) <= {DATA[1]}
        check(right, f"frame {number} has its packets in the order {kinds}")


@CASES.add("M-CAM-2")
def what_frame_start_says(peer: HostPeer) -> None:
    """Geometry as configured, and the request's id."""
    peer.open_session()
    configured = peer.configure()
    peer.grant_credits(PLENTY, PLENTY)
    request = peer.start_capture()
    start = read_frame_start(peer.wait_for_frame())
    got = (start.mode, start.width, start.height, start.stride, start.pixel_format)
    want = (
        configured.mode,
        configured.width,
        configured.height,
        configured.stride,
        configured.pixel_format,
    )
    check(got == want, f"FrameStart says {got}, Configured {want}")
    check(start.request == request, f"FrameStart names request {start.request}, not {request}")


@CASES.add("M-CAM-3")
def each_pixel_once(peer: HostPeer) -> None:
    """The tiles of a frame cover it exactly, whether they are large or small."""
    for tile_rows in (0, 2):
        fresh = peer.start_session()
        fresh.open_session()
        mode = fresh.find_smallest_mode()
        configured, picture = fresh.take_still(2 * mode.width * tile_rows)
        check_cover(configured, picture)
        fresh.close()


@CASES.add("M-CAM-3")
def no_longer_than_the_host_takes(peer: HostPeer) -> None:
    """A host that takes 2000 bytes at most gets no longer tile."""
    peer.max_payload = 2000
    peer.open_session()
    configured, picture = peer.take_still()
    longest = max(tile.header.length for tile in picture.tiles)
    check(longest <= 2000, f"a tile of {longest} bytes for a host that takes 2000")
    check_cover(configured, picture)


@CASES.add("M-CAM-4")
def what_frame_end_says(peer: HostPeer) -> None:
    """The number of tiles, and the sequence of the packet before it."""
    peer.open_session()
    _, picture = peer.take_still(1024)
    end = read_frame_end(picture)
    check(end.tiles == len(picture.tiles), f"{len(picture.tiles)} tiles, FrameEnd says {end.tiles}")
    assert picture.end is not None
    last = (picture.end.header.sequence - 1) & 0xFFFFFFFF
    check(end.last_sequence[0] == last, f"last_sequence {end.last_sequence[0]} after {last}")


@CASES.add("M-CAM-5")
def as_many_as_asked_for(peer: HostPeer) -> None:
    """A Capture of three takes three."""
    peer.open_session()
    peer.configure()
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture(3)
    count = 0
    while count < 3:
        mark = len(peer.log)
        found = peer.wait_for(lambda p: p.kind == MessageType.FRAME_END, 5.0, mark)
        count = sum(p.kind == MessageType.FRAME_END for p in peer.log)
        if found is None:
            break
    peer.collect(0.5)
    count = sum(p.kind == MessageType.FRAME_END for p in peer.log)
    check(count == 3, f"{count} frames after a Capture of 3")


# --- sent again -------------------------------------------------------------------------------


@CASES.add("M-RESEND-1")
def sent_again_or_gone(peer: HostPeer) -> None:
    """Of what is asked for, each pixel comes again before Resent, or is named as gone."""
    configured, picture, number = take_resendable_still(peer)
    tiles = [place_of(tile) for tile in picture.tiles]
    for asked in ([tiles[-1]], tiles[-2:], tiles[: MAX_RANGES // 2]):
        message, came = ask_again(peer, number, 0, asked)
        check(message.state == FrameState.ENDED, f"the frame ended, Resent says {message.state}")
        again = [place_of(p) for p in came if p.kind == MessageType.TILE]
        answered = cover(again + gone_rectangles(message), configured)
        wanted = cover(asked, configured)
        missing = sum(w and not a for w, a in zip(wanted, answered, strict=True))
        check(missing == 0, f"{missing} pixels asked for are neither sent again nor gone")


@CASES.add("M-RESEND-2")
def sent_again_alike(peer: HostPeer) -> None:
    """A tile sent again has its flag, and the pixels it had."""
    _, picture, number = take_resendable_still(peer)
    held = 0
    for tile in picture.tiles[-3:]:
        message, came = ask_again(peer, number, 0, [place_of(tile)])
        again = [p for p in came if place_of(p) == place_of(tile)]
        check(again or message.count, f"{place_of(tile)} is neither sent again nor gone")
        for packet in again:
            held += 1
            check(packet.header.flags & 1, "a tile sent again without its flag")
            check(packet.payload == tile.payload, f"{place_of(tile)} has other pixels than before")
    if not held:
        raise NotClaimed("the module holds nothing of a frame that has been sent")


@CASES.add("M-RESEND-3")
def ends_sent_again(peer: HostPeer) -> None:
    """FrameStart and FrameEnd come again as they were."""
    _, picture, number = take_resendable_still(peer)
    assert picture.start is not None
    mark = len(peer.log)
    message, came = ask_again(peer, number, ResendFlag.START | ResendFlag.END, [])
    check(message.flags == 3, f"Resent's flags are {message.flags} where START, END were asked")
    starts = [p for p in came if p.kind == MessageType.FRAME_START]
    check(len(starts) == 1, f"{len(starts)} FrameStarts before Resent")
    check(starts[0].payload == picture.start.payload, "FrameStart differs from the first one")
    end = peer.wait_for(lambda p: p.kind == MessageType.FRAME_END and p.id == number, 2.0, mark)
    check(end is not None, "FrameEnd is not sent again")


@CASES.add("M-RESEND-4")
def unknown_frames(peer: HostPeer) -> None:
    """Of a frame that never was, nothing is held."""
    _, _, number = take_resendable_still(peer)
    message, came = ask_again(peer, number + 1000, 3, [(0, 0, 2, 2)])
    check(message.state == FrameState.UNKNOWN, f"a frame that never was: state {message.state}")
    check(not came, f"a frame that never was: {[str(p) for p in came]}")


# --- lanes ------------------------------------------------------------------------------------


@CASES.add("M-LANE-1")
def tiles_beside(peer: HostPeer) -> None:
    """A still over several lanes: tiles alone beside lane 0, and FrameEnd says what came."""
    configured = open_lanes(peer)
    peer.start_capture()
    picture = peer.wait_for_frame()
    end = read_frame_end(picture)
    peer.collect()
    tiles = [p for p in peer.log if p.kind == MessageType.TILE]
    check_cover(configured, Picture(picture.start, tiles, picture.end))
    for lane in range(1, peer.wire.lanes):
        here = [p for p in peer.log if p.lane == lane]
        others = [str(p) for p in here if p.kind != MessageType.TILE]
        check(not others, f"on lane {lane}: {others[:3]}")
        if here:
            last, told = here[-1].header.sequence, end.last_sequence[lane]
            check(told == last, f"lane {lane} ends with {last}, FrameEnd says {told}")


@CASES.add("M-LANE-2")
def a_lane_ends(peer: HostPeer) -> None:
    """A lane is cut: the next frame comes by the others, what was lost with it on demand."""
    configured = open_lanes(peer)
    if not peer.wire.end_lane(1):
        raise NotClaimed("this bench cannot cut a lane")
    mark = len(peer.log)
    peer.start_capture()
    number = peer.wait_for_frame(since=mark).end
    assert number is not None
    gone: list[Rectangle] = []

    def covered() -> bytearray:
        places = [place_of(p) for p in peer.log[mark:] if p.kind == MessageType.TILE]
        return cover(places + gone, configured)

    first = covered()
    for y in [y for y in range(configured.height) if not first[y * configured.width]]:
        message, _ = ask_again(peer, number.id, 0, [(0, y, configured.width, 1)])
        gone += gone_rectangles(message)
    # Order holds within a lane only: a tile may come after the answer that speaks of it.
    end = peer.wire.now() + 2.0
    while (left := covered().count(0)) and peer.wire.now() < end:
        peer.listen(end - peer.wire.now())
    check(left == 0, f"{left} pixels never come once a lane has ended")


# --- manifest ---------------------------------------------------------------------------------


@CASES.add("M-MANIFEST-1")
def pieces_fit(peer: HostPeer) -> None:
    """The pieces make up as much as HelloReply says; from anywhere; and not beyond the end."""
    reply = peer.open_session()
    data = peer.read_manifest_bytes()
    check(len(data) == reply.manifest_bytes, f"{len(data)} bytes, not {reply.manifest_bytes}")
    piece = peer.call(GetManifest(5), ManifestPiece)
    want = data[5 : 5 + len(piece.piece)]
    check(piece.offset == 5 and piece.piece == want, "a piece from byte 5 on differs")
    check(piece.total == len(data), f"a piece states {piece.total} bytes in all")
    peer.expect_error(GetManifest(len(data)), ErrorCode.UNSUPPORTED)


@CASES.add("M-MANIFEST-2")
def what_it_says(peer: HostPeer) -> None:
    """Its entries are there and sound, and the same when it is read again."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    try:
        manifest = peer.read_manifest()
    except ValueError as error:
        raise Failed(f"the manifest: {error}") from None
    check(manifest.color is not None, "the manifest has no colours")
    texts = (manifest.maker, manifest.model, manifest.serial, manifest.firmware, manifest.board)
    check(all(texts), f"the manifest lacks a text: {texts}")
    check(peer.read_manifest_bytes() == data, "the manifest differs when it is read again")
