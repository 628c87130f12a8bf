"""Cases for modules: several lanes (SPEC.md, 6.2)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Flush, Flushed, GetManifest, ManifestPiece

from .cases import Cases, NotClaimed, check
from .host_peer import PLENTY, STILL, HostPeer, Picture, read_frame_end
from .module_steps import (
    SHORT_WAIT_S,
    Rectangle,
    ask_again,
    check_cover,
    cover,
    gone_rectangles,
    open_lanes,
    place_of,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()


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


@CASES.add("M-LANE-1")
def frames_of_one_tile(peer: HostPeer) -> None:
    """FrameEnd states the last packet of each lane, also of a lane without a tile of its frame."""
    configured = open_lanes(peer)
    for tile_bytes in (configured.tile_bytes, *[configured.frame_bytes] * 4):
        mark = len(peer.log)
        peer.configure(STILL, tile_bytes)
        peer.start_capture()
        picture = peer.wait_for_frame(STILL, mark)
        peer.collect(SHORT_WAIT_S)
        end = read_frame_end(picture)
        for lane in range(1, peer.lanes):
            numbers = [p.header.sequence for p in peer.log if p.lane == lane]
            last = numbers[-1] if numbers else 0xFFFFFFFF
            told = end.last_sequence[lane]
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
    peer.collect(SHORT_WAIT_S)
    for _ in range(2):
        mark = len(peer.log)
        peer.start_capture()
        picture = peer.wait_for_frame(STILL, mark)
        tiles = [p for p in peer.log[mark:] if p.kind == MessageType.TILE]
        check_cover(configured, Picture(picture.start, tiles, picture.end))
