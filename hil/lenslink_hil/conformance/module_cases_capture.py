"""Cases for modules: captured frames, FrameStart and FrameEnd (SPEC.md, 6)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import Capability, EndStatus, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    Query,
    QueryReply,
    Resend,
    Stop,
)
from lenslink_protocol.packings import find_layout

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
    CAPTURE_A_STILL,
    DATA,
    ask_again,
    check_cover,
    is_frame_start,
    place_of,
    take_resendable_still,
)
from .packets import NO_PACKET

CASES: Cases[Callable[[HostPeer], None]] = Cases()


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


@CASES.add("M-CAM-1")
def numbers_go_on(peer: HostPeer) -> None:
    """From capture to capture, and from stream to stream, numbers rise by one."""
    peer.open_session()
    peer.configure(STILL)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    for stream in (STILL, PREVIEW, STILL, STILL):
        mark = len(peer.log)
        peer.call(Capture(stream, 1), Accepted)
        peer.wait_for_frame(stream, mark)
    numbers = [p.id for p in peer.log if p.kind == MessageType.FRAME_START]
    wanted = list(range(numbers[0], numbers[0] + 4))
    check(numbers == wanted, f"frames of four captures are numbered {numbers}")


@CASES.add("M-CAM-1")
def accepted_comes_first(peer: HostPeer) -> None:
    """FrameStart comes after Accepted of its request, and has the number that Accepted names."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    for _ in range(3):
        mark = len(peer.log)
        number = peer.send_request(CAPTURE_A_STILL)
        picture = peer.wait_for_frame(STILL, mark)
        kinds = [p.kind for p in peer.log[mark:] if p.kind != MessageType.LOG]
        check(kinds[0] == MessageType.ACCEPTED, f"{kinds[0]:#04x} comes before Accepted")
        answer = peer.wait_for_answer(number, since=mark)
        message = answer.message() if answer is not None else None
        assert picture.start is not None
        first = message.first_frame if isinstance(message, Accepted) else None
        said = f"Accepted names frame {first}, and frame {picture.start.id} comes"
        check(first == picture.start.id, said)


@CASES.add("M-CAM-1")
def the_number_of_a_frame_without_tiles(peer: HostPeer) -> None:
    """A frame whose FrameStart was sent keeps its number, also if no tile of it was sent."""
    peer.open_session()
    numbers: list[int] = []
    for stream in (STILL, STILL, PREVIEW):
        peer.configure(stream)
        mark = len(peer.log)
        if stream == STILL:
            peer.start_capture()
        else:
            peer.start_stream()
        found = peer.wait_for(is_frame_start, 5.0, mark)
        if found is None:
            raise Failed(f"no FrameStart of stream {stream} within 5 s")
        numbers.append(found.id)
        peer.call(Stop(stream), Accepted)
    rises = numbers == sorted(set(numbers))
    check(rises, f"frames that were stopped before their first tile have the numbers {numbers}")


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


@CASES.add("M-CAM-2")
def each_frame_names_its_own(peer: HostPeer) -> None:
    """FrameStart names the request and the geometry of its own stream, with two that run."""
    peer.open_session()
    plans = {stream: peer.configure(stream) for stream in (PREVIEW, STILL)}
    peer.grant_credits(PLENTY, PLENTY)
    requests = {PREVIEW: peer.start_stream(20000)}
    peer.wait_for_frame(PREVIEW)
    requests[STILL] = peer.start_capture()
    check(peer.wait_for_frame(STILL), "no still")
    peer.call(Query(peer.nonce, 1), QueryReply)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    for packet in [p for p in peer.log if p.kind == MessageType.FRAME_START]:
        stream = packet.header.stream
        start = read_frame_start(Picture(start=packet))
        said = f"a frame of stream {stream} names request {start.request}, not {requests[stream]}"
        check(start.request == requests[stream], said)
        plan = plans[stream]
        got = (start.width, start.height, start.stride, start.pixel_format, start.mode)
        want = (plan.width, plan.height, plan.stride, plan.pixel_format, plan.mode)
        check(got == want, f"FrameStart of stream {stream} says {got}, Configured {want}")


@CASES.add("M-CAM-2")
def levels_and_phase(peer: HostPeer) -> None:
    """FrameStart keeps the rules of Table 9: phase, bits, levels, and a time that rises."""
    peer.open_session()
    phase = peer.get_manifest().cfa
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


@CASES.add("M-CAM-3")
def parts_of_rows(peer: HostPeer) -> None:
    """Tiles that are parts of rows cover the frame exactly, whatever their limit."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY)
    for limit in (mode.width * 4 // 3, 2 * mode.width - 2):
        mark = len(peer.log)
        configured = peer.call(Configure(STILL, 0, mode.id, 0, limit), Configured)
        peer.call(Capture(STILL, 1), Accepted)
        check_cover(configured, peer.wait_for_frame(STILL, mark))


@CASES.add("M-CAM-3")
def two_limits_of_a_tile(peer: HostPeer) -> None:
    """A tile keeps the limit of Configure and the `max_payload` of Hello, on both streams."""
    peer.max_payload = 1024
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY)
    for stream in (STILL, PREVIEW):
        for limit in (0, 1000, 1 << 16, 0xFFFFFFFF):
            mark = len(peer.log)
            peer.call(Configure(stream, 0, mode.id, 0, limit), Configured)
            peer.call(Capture(stream, 1), Accepted)
            tiles = peer.wait_for_frame(stream, mark).tiles
            longest = max(tile.header.length for tile in tiles)
            most = min(peer.max_payload, limit or peer.max_payload)
            said = f"a tile of {longest} bytes with tile_bytes {limit} and max_payload 1024"
            check(longest <= most, said)


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


@CASES.add("M-CAM-4")
def frame_ends_of_two_streams(peer: HostPeer) -> None:
    """Each FrameEnd states the sequence of the packet before it, and counts its own tiles."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    peer.configure(PREVIEW, 4 * width)
    peer.configure(STILL, 8 * width)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.start_capture(2)
    peer.wait_for_frame(STILL)
    peer.call(Stop(PREVIEW), Accepted)
    peer.collect()
    for packet in [p for p in peer.log if p.kind == MessageType.FRAME_END]:
        end = read_frame_end(Picture(end=packet))
        last = (packet.header.sequence - 1) & 0xFFFFFFFF
        check(end.last_sequence[0] == last, f"last_sequence {end.last_sequence[0]} after {last}")
        tiles = sum(p.kind == MessageType.TILE and p.id == packet.id for p in peer.log)
        counts = end.status != EndStatus.OK or end.tiles == tiles
        check(counts, f"{tiles} tiles of frame {packet.id}, FrameEnd says {end.tiles}")


@CASES.add("M-CAM-4")
def tiles_sent_again_do_not_count(peer: HostPeer) -> None:
    """FrameEnd that is sent again states the packet before it, and the same number of tiles."""
    _, picture, number = take_resendable_still(peer)
    mark = len(peer.log)
    ask_again(peer, number, 2, [place_of(tile) for tile in picture.tiles[-2:]])
    end = peer.wait_for(lambda p: p.kind == MessageType.FRAME_END and p.id == number, 2.0, mark)
    if end is None:
        raise Failed("FrameEnd is not sent again")
    again = read_frame_end(Picture(end=end))
    last = (end.header.sequence - 1) & 0xFFFFFFFF
    said = f"FrameEnd sent again states last_sequence {again.last_sequence[0]} after {last}"
    check(again.last_sequence[0] == last, said)
    first = read_frame_end(picture)
    check(again.tiles == first.tiles, f"FrameEnd sent again counts {again.tiles} tiles")


@CASES.add("M-CAM-4")
def lanes_of_frame_end(peer: HostPeer) -> None:
    """FrameEnd states the session's lanes, and no packet for lanes that there are not."""
    peer.open_session()
    _, picture = peer.take_still()
    end = read_frame_end(picture)
    check(end.lanes == 1, f"FrameEnd states {end.lanes} lanes, the session has 1")
    check(end.last_sequence[1:] == (NO_PACKET,) * 3, f"last_sequence {end.last_sequence}")


@CASES.add("M-CAM-4")
def the_end_of_a_frame_that_was_asked_for(peer: HostPeer) -> None:
    """FrameEnd does not count a tile that was sent again before it, while the frame went on."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    configured = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    peer.grant_credits(0, configured.tile_bytes)
    peer.start_capture()
    tile = peer.wait_for(lambda p: p.kind == MessageType.TILE, 5.0)
    if tile is None:
        raise Failed("no tile within 5 s of the credit for it")
    place = struct.pack("<4H", *place_of(tile))
    peer.send(Resend(0, 1, place), tile.id, STILL)
    peer.grant_credits(0, PLENTY)
    end = read_frame_end(peer.wait_for_frame())
    tiles = [p for p in peer.log if p.kind == MessageType.TILE and not p.header.flags]
    check(end.tiles == len(tiles), f"of {len(tiles)} tiles, FrameEnd states {end.tiles}")


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


@CASES.add("M-CAM-5")
def one_after_the_other(peer: HostPeer) -> None:
    """Captures of 1, 2 and 5 frames send 1, 2 and 5 frames."""
    peer.open_session()
    peer.configure()
    peer.grant_credits(PLENTY, PLENTY)
    for count in (1, 2, 5):
        mark = len(peer.log)
        peer.start_capture(count)
        for _ in range(count):
            done = sum(p.kind == MessageType.FRAME_END for p in peer.log[mark:])
            if done >= count:
                break
            peer.wait_for(lambda p: p.kind == MessageType.FRAME_END, 5.0, len(peer.log))
        peer.collect()
        done = sum(p.kind == MessageType.FRAME_END for p in peer.log[mark:])
        check(done == count, f"{done} frames after a Capture of {count}")


@CASES.add("M-CAM-5")
def more_frames_than_a_byte_counts(peer: HostPeer) -> None:
    """A Capture of 256 frames and more goes on behind its second frame, until Stop ends it."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream, count in (
        (STILL, 0x100), (STILL, 0x101), (PREVIEW, 0x101), (STILL, 0x8000), (ROI, 0x8001),
        (PREVIEW, 0xFFFE),
    ):  # fmt: skip
        peer.call(Configure(stream, 0, mode.id, 0, 0, 0, 0, 16, 16), Configured)
        mark = len(peer.log)
        peer.start_capture(count, stream=stream)
        for number in (1, 2, 3):
            mark = _wait_for_start(peer, mark, f"frame {number} of {count} frames does not come")
        peer.call(Stop(stream), Accepted)


def _wait_for_start(peer: HostPeer, since: int, otherwise: str) -> int:
    """Wait for the FrameStart that comes next, and return where the log goes on behind it."""
    found = peer.wait_for(is_frame_start, 3.0, since)
    if found is None:
        raise Failed(otherwise)
    return peer.log.index(found, since) + 1
