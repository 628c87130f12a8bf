"""Cases for modules: Resend in all its shapes, and lanes that end (SPEC.md, 6.1 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import Capability, ErrorCode, FrameState, MessageType, ResendFlag
from lenslink_protocol.messages import Accepted, GetManifest, ManifestPiece, Stop
from lenslink_protocol.params import MAX_RANGES

from .cases import Cases, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer, read_frame_end
from .module_steps import (
    Rectangle,
    ask_again,
    block_frame,
    check_cover,
    cover,
    gone_rectangles,
    open_lanes,
    place_of,
    take_resendable_still,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-RESEND-1")
def any_rectangle(peer: HostPeer) -> None:
    """Parts of tiles, rectangles over several tiles, and as many as are allowed are answered."""
    configured, picture, number = take_resendable_still(peer)
    width, height = configured.width, configured.height
    pairs = [(2 * i % width, 2 * i % height, 2, 1) for i in range(MAX_RANGES)]
    x, y, columns, rows = place_of(picture.tiles[-1])
    requests: list[list[Rectangle]] = [
        [(x + 2, y, 2, 1)],
        [(0, 0, width, height)],
        [(width - 2, height - 2, 2, 2)],
        [(0, max(0, y - 1), width, min(2, height - y + 1))],
        pairs,
        [(x, y, columns, rows), (0, 0, 2, 2)],
    ]
    for asked in requests:
        message, came = ask_again(peer, number, 0, asked)
        again = [place_of(p) for p in came if p.kind == MessageType.TILE]
        answered = cover(again + gone_rectangles(message), configured)
        wanted = cover(asked, configured)
        missing = sum(w and not a for w, a in zip(wanted, answered, strict=True))
        if message.count >= MAX_RANGES:
            # More may be gone than Resent can name.
            missing = 0
        said = f"of {len(asked)} rectangles {missing} pixels are neither sent again nor gone"
        check(missing == 0, said)


@CASES.add("M-RESEND-1", "M-RESEND-3")
def frames_of_the_preview(peer: HostPeer) -> None:
    """A frame of the preview is sent again as one of the still is."""
    take_resendable_still(peer)
    configured = peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    mark = len(peer.log)
    peer.start_stream(50_000)
    picture = peer.wait_for_frame(PREVIEW, mark)
    peer.call(Stop(PREVIEW), Accepted)
    assert picture.end is not None
    number = picture.end.id
    asked = [place_of(tile) for tile in picture.tiles[-2:]]
    message, came = ask_again(peer, number, ResendFlag.START, asked, PREVIEW)
    check(message.state == FrameState.ENDED, f"a frame that ended has state {message.state}")
    check(message.flags & ResendFlag.START, "FrameStart of a preview frame is not sent again")
    again = [place_of(p) for p in came if p.kind == MessageType.TILE]
    answered = cover(again + gone_rectangles(message), configured)
    missing = sum(w and not a for w, a in zip(cover(asked, configured), answered, strict=True))
    check(missing == 0, f"{missing} pixels of a preview frame are neither sent again nor gone")


@CASES.add("M-RESEND-3")
def a_frame_under_way_is_known(peer: HostPeer) -> None:
    """Of a frame that waits for credits FrameStart is sent again, and its state is not UNKNOWN."""
    block_frame(peer)
    session = peer.session
    if session is None or not session.capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    start = next(p for p in peer.log if p.kind == MessageType.FRAME_START)
    message, came = ask_again(peer, start.id, ResendFlag.START, [], PREVIEW)
    check(message.state != FrameState.UNKNOWN, "a frame under way is called UNKNOWN")
    starts = [p for p in came if p.kind == MessageType.FRAME_START]
    check(len(starts) == 1, f"{len(starts)} FrameStarts of a frame under way are sent again")
    check(starts[0].payload == start.payload, "FrameStart differs from the first one")


@CASES.add("M-RESEND-3")
def only_what_was_asked_for(peer: HostPeer) -> None:
    """START alone, END alone and neither: what Resent's flags say is what is sent."""
    _, picture, number = take_resendable_still(peer)
    for flags in (0, ResendFlag.START, ResendFlag.END):
        mark = len(peer.log)
        message, came = ask_again(peer, number, flags, [place_of(picture.tiles[-1])])
        peer.collect(0.1)
        kinds = [p.kind for p in peer.log[mark:] if p.id == number]
        check(message.flags == flags, f"flags {int(flags)} are asked, Resent says {message.flags}")
        starts = sum(p.kind == MessageType.FRAME_START for p in came)
        ends = kinds.count(MessageType.FRAME_END)
        wanted = (int(bool(flags & 1)), int(bool(flags & 2)))
        said = f"flags {int(flags)} bring {starts} FrameStarts before Resent and {ends} FrameEnds"
        check((starts, ends) == wanted, said)


@CASES.add("M-RESEND-4")
def frames_of_another_stream(peer: HostPeer) -> None:
    """A frame of the still is no frame of the preview, and the next frame is not known yet."""
    _, picture, number = take_resendable_still(peer)
    place = place_of(picture.tiles[-1])
    for frame, stream in ((number, PREVIEW), (number + 1, STILL), (0xFFFFFFFF, STILL)):
        message, came = ask_again(peer, frame, 3, [place], stream)
        said = f"frame {frame} of stream {stream} has state {message.state}"
        check(message.state == FrameState.UNKNOWN, said)
        check(not came, f"of an unknown frame is sent {[str(p) for p in came[:2]]}")
        check(not message.flags, f"of an unknown frame Resent has flags {message.flags}")


@CASES.add("M-RESEND-2")
def every_tile_alike(peer: HostPeer) -> None:
    """A whole frame is asked for: what is sent again has its flag, its place and its pixels."""
    configured, picture, number = take_resendable_still(peer)
    whole = [(0, 0, configured.width, configured.height)]
    _, came = ask_again(peer, number, 0, whole)
    first = {place_of(tile): tile.payload for tile in picture.tiles}
    tiles = [p for p in came if p.kind == MessageType.TILE]
    for tile in tiles:
        check(tile.header.flags & 1, "a tile sent again lacks the flag RESENT")
        place = place_of(tile)
        check(place in first, f"a tile at {place} was not sent before")
        check(first[place] == tile.payload, f"the tile at {place} has other pixels than before")
    if not tiles:
        raise NotClaimed("the module holds nothing of a frame that has been sent")


# --- lanes ------------------------------------------------------------------------------------


@CASES.add("M-LANE-1")
def no_lane_that_was_not_agreed(peer: HostPeer) -> None:
    """In a session of one lane nothing comes on another, though the bench has more."""
    if peer.wire.lanes < 2:
        raise NotClaimed("one lane is all there is")
    peer.lanes = 1
    peer.open_session()
    peer.take_still(4 * peer.find_smallest_mode().width)
    peer.collect()
    others = [str(p) for p in peer.log if p.lane]
    check(not others, f"on a lane that was not agreed: {others[:3]}")


@CASES.add("M-LANE-1", "M-FRAME-1")
def lanes_count_for_themselves(peer: HostPeer) -> None:
    """Each lane counts its packets from 0, by one, and FrameEnd states the last of each."""
    open_lanes(peer)
    for _ in range(2):
        mark = len(peer.log)
        peer.start_capture()
        picture = peer.wait_for_frame(STILL, mark)
        peer.collect()
        end = read_frame_end(picture)
        for lane in range(peer.lanes):
            numbers = [p.header.sequence for p in peer.log if p.lane == lane]
            check(numbers == list(range(len(numbers))), f"lane {lane} counts {numbers[:6]}")
            if lane:
                last = numbers[-1] if numbers else 0xFFFFFFFF
                told = end.last_sequence[lane]
                check(told == last, f"lane {lane} ends with {last}, FrameEnd says {told}")


@CASES.add("M-LANE-2")
def a_lane_ends_inside_a_frame(peer: HostPeer) -> None:
    """A lane is cut inside a frame: the frame ends, and all of it comes or is called gone."""
    configured = open_lanes(peer)
    fresh = peer.start_session()
    fresh.lanes = peer.lanes
    fresh.open_session()
    configured = fresh.configure(STILL, 4 * fresh.find_smallest_mode().width)
    fresh.grant_credits(0, 4 * configured.tile_bytes)
    fresh.start_capture()
    fresh.collect()
    if not fresh.wire.end_lane(1):
        raise NotClaimed("this bench cannot cut a lane")
    fresh.grant_credits(PLENTY, PLENTY)
    end = read_frame_end(fresh.wait_for_frame())
    check(end.status == 0, f"a frame ends with status {end.status} when a lane ends")
    number = next(p.id for p in fresh.log if p.kind == MessageType.FRAME_END)
    gone: list[Rectangle] = []
    wire_end = fresh.wire.now() + 3.0
    while True:
        places = [place_of(p) for p in fresh.log if p.kind == MessageType.TILE]
        found = cover(places + gone, configured)
        rows = [y for y in range(configured.height) if not found[y * configured.width]]
        if not rows or fresh.wire.now() > wire_end:
            break
        message, _ = ask_again(fresh, number, 0, [(0, rows[0], configured.width, 1)])
        gone += gone_rectangles(message)
        fresh.collect(0.02)
    check(not rows, f"{len(rows)} rows never come once a lane has ended")
    mark = len(fresh.log)
    fresh.start_capture()
    check_cover(configured, fresh.wait_for_frame(STILL, mark))
    fresh.call(GetManifest(0), ManifestPiece)


@CASES.add("M-MANIFEST-1")
def pieces_from_anywhere(peer: HostPeer) -> None:
    """A piece begins at the byte that was asked for, and the last byte is a piece of its own."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    for offset in (0, 1, 17, len(data) // 2, len(data) - 1):
        piece = peer.call(GetManifest(offset), ManifestPiece)
        said = f"a piece from byte {offset}: offset {piece.offset}, total {piece.total}"
        check((piece.offset, piece.total) == (offset, len(data)), said)
        wanted = data[offset : offset + len(piece.piece)]
        check(piece.piece and piece.piece == wanted, f"the piece from byte {offset} differs")
    for offset in (len(data), len(data) + 1, 1 << 20, 0xFFFFFFFF):
        peer.expect_error(GetManifest(offset), ErrorCode.UNSUPPORTED)
