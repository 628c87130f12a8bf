"""Cases for modules: Resend and Resent (SPEC.md, 6.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from lenslink_protocol.ids import Capability, FrameState, MessageType, ResendFlag
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Flush,
    Flushed,
    Resend,
    Resent,
    SetSettings,
    Stop,
)
from lenslink_protocol.params import MAX_RANGES, MAX_STREAMS, RESEND_TRIES

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, QUIET_S, STILL, HostPeer, Picture, read_frame_end
from .module_steps import (
    ALL_STREAMS,
    SHORT_WAIT_S,
    Rectangle,
    ask_again,
    block_frame,
    check_answers,
    check_cover,
    count_tile_bytes,
    count_unanswered,
    gone_rectangles,
    place_of,
    take_resendable_still,
    wait_for_type,
)
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-RESEND-1")
def sent_again_or_gone(peer: HostPeer) -> None:
    """Of what is asked for, each pixel comes again before Resent, or is named as gone."""
    configured, picture, number = take_resendable_still(peer)
    tiles = [place_of(tile) for tile in picture.tiles]
    for asked in ([tiles[-1]], tiles[-2:], tiles[: MAX_RANGES // 2]):
        message, came = ask_again(peer, number, 0, asked)
        check(message.state == FrameState.ENDED, f"the frame ended, Resent says {message.state}")
        missing = count_unanswered(configured, asked, message, came)
        check(missing == 0, f"{missing} pixels asked for are neither sent again nor gone")


@CASES.add("M-RESEND-1")
def each_of_many_rectangles(peer: HostPeer) -> None:
    """Of MAX_RANGES rectangles, each in a tile of its own, each is answered, the last too."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    whole = peer.configure(STILL)
    configured, picture = peer.take_still(min(whole.stride, whole.frame_bytes // (MAX_RANGES + 8)))
    places = [place_of(tile) for tile in picture.tiles]
    check(len(places) > MAX_RANGES, f"{len(places)} tiles of {configured.tile_bytes} bytes")
    assert picture.end is not None
    # A whole tile, and the first pixel of a tile.
    pixels = [(x, y, 1, 1) for x, y, _, _ in places]
    for asked in (places[:MAX_RANGES], places[-1 : -MAX_RANGES - 1 : -1], pixels[-MAX_RANGES:]):
        message, came = ask_again(peer, picture.end.id, 0, asked)
        missing = count_unanswered(configured, asked, message, came)
        check(missing == 0, f"of {MAX_RANGES} rectangles {missing} pixels are not answered")


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
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    start = next(p for p in peer.log if p.kind == MessageType.FRAME_START)
    tile = next(p for p in peer.log if p.kind == MessageType.TILE)
    message, came = ask_again(peer, start.id, 1, [place_of(tile)], PREVIEW)
    again = any(p.kind == MessageType.TILE for p in came)
    check(again or message.count or message.state == 2, "a tile sent before Stop is neither")


@CASES.add("M-RESEND-1")
def any_rectangle(peer: HostPeer) -> None:
    """Parts of tiles, several tiles, many rectangles, and such beyond the edges are answered."""
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
        # The part inside the frame counts, also where the sum of two numbers is 2^16 and more.
        [(2, 0, 0xFFFE, height)],
        [(0, 2, width, 0xFFFE)],
        [(width - 2, y, 0xFFFF, 0xFFFF)],
    ]
    for asked in requests:
        message, came = ask_again(peer, number, 0, asked)
        missing = count_unanswered(configured, asked, message, came)
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
    missing = count_unanswered(configured, asked, message, came)
    check(missing == 0, f"{missing} pixels of a preview frame are neither sent again nor gone")


@CASES.add("M-RESEND-1")
def an_aborted_frame(peer: HostPeer) -> None:
    """Of a frame that Stop has ended, each pixel is sent again or gone, also what was not sent."""
    configured = block_frame(peer)
    if peer.session is None or not peer.session.capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    peer.call(Stop(PREVIEW), Accepted)
    number = next(p.id for p in peer.log if p.kind == MessageType.FRAME_START)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    width, height = configured.width, configured.height
    for asked in ([(0, height - 2, width, 2)], [(0, 0, width, 2)], [(0, height // 2, width, 2)]):
        message, came = ask_again(peer, number, 0, asked, PREVIEW)
        if message.state == FrameState.UNKNOWN:
            return
        check(message.state == FrameState.ENDED, f"an aborted frame has state {message.state}")
        missing = count_unanswered(configured, asked, message, came)
        check(missing == 0, f"{missing} pixels of an aborted frame are neither sent nor gone")


@CASES.add("M-RESEND-1")
def gone_tiles_are_named_once(peer: HostPeer) -> None:
    """Of an aborted frame every tile that was asked for is named as gone, each once."""
    for stream in ALL_STREAMS:
        session = peer.start_session()
        configured = block_frame(session, stream)
        if session.session is None or not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        session.call(Stop(stream), Accepted)
        number = next(p.id for p in session.log if p.kind == MessageType.FRAME_START)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        width, height = configured.width, configured.height
        whole = (0, 0, width, height)
        in_one_tile = [(0, height - 2, 2, 2), (4, height - 2, 2, 2), (0, height - 1, 2, 1)]
        rows = [(0, y, width, 2) for y in range(0, min(height, 2 * MAX_RANGES), 2)]
        for asked in ([whole], [whole, whole], in_one_tile, rows, [whole, *in_one_tile]):
            message, came = ask_again(session, number, 0, asked, stream)
            if message.state == FrameState.UNKNOWN:
                break
            gone = gone_rectangles(message)
            said = f"Resent names rectangles twice: {gone}"
            check(len(gone) == len(set(gone)), said)
            missing = count_unanswered(configured, asked, message, came)
            said = f"{missing} pixels are neither sent nor gone, and {len(gone)} rectangles named"
            check(missing == 0 or len(gone) == MAX_RANGES, said)
        session.close()


@CASES.add("M-RESEND-1", "M-RESEND-3")
def what_resent_names(peer: HostPeer) -> None:
    """Resent names the stream and the frame of its Resend, and each gone tile once."""
    configured, picture, number = take_resendable_still(peer)
    for stream, frame in ((STILL, number), (STILL, number + 500), (PREVIEW, number)):
        mark = len(peer.log)
        places = [(0, 0, 2, 2), (0, 0, 2, 2), (0, 0, configured.width, configured.height)]
        ranges = b"".join(struct.pack("<4H", *place) for place in places)
        peer.send(Resend(0, len(places), ranges), frame, stream)
        found = wait_for_type(peer, MessageType.RESENT, mark, 2.0)
        if found is None:
            raise Failed("Resend is not answered within 2 s")
        got = (found.header.stream, found.id)
        check(got == (stream, frame), f"Resent of {stream}, {frame} names {got}")
        message, _ = ask_again(peer, frame, 0, places, stream)
        gone = gone_rectangles(message)
        said = f"Resent names rectangles twice: {gone}"
        check(message.state == FrameState.UNKNOWN or len(gone) == len(set(gone)), said)
        check(message.flags == 0, f"Resent's flags are {message.flags}, nothing was asked for")
    del picture


@CASES.add("M-RESEND-1", "M-CREDIT-2")
def resends_without_credit(peer: HostPeer) -> None:
    """Resends that wait for credits keep out no request, and each gets its Resent behind its tiles.

    A host repeats a Resend while nothing of the frame comes, at most RESEND_TRIES times in a row.
    """
    configured, picture, _ = take_resendable_still(peer)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.configure(STILL, configured.tile_bytes)
    fresh.grant_credits(0, sum(tile.header.length for tile in picture.tiles))
    fresh.start_capture()
    picture = fresh.wait_for_frame()
    number = picture.tiles[-1].id
    # A small module holds the last tile, if any.
    size = picture.tiles[-1].header.length
    mark = len(fresh.log)
    place = struct.pack("<4H", *place_of(picture.tiles[-1]))
    for _ in range(RESEND_TRIES):
        fresh.send(Resend(0, 1, place), number, STILL)
    fresh.collect()
    for packet in fresh.log[mark:]:
        check(packet.kind != MessageType.TILE, "a tile is sent again without credit")
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if isinstance(message, Resent):
            said = "Resent comes before the tiles that wait for credits"
            check(message.count, said)
            raise NotClaimed("the module does not hold the last tile of a frame")
    check_answers(fresh)
    fresh.grant_credits(0, PLENTY)
    end = fresh.wire.now() + 2.0
    kinds: list[int] = []
    while kinds.count(MessageType.RESENT) < RESEND_TRIES and fresh.wire.now() < end:
        fresh.listen(0.05)
        kinds = [p.kind for p in fresh.log[mark:]]
    count = kinds.count(MessageType.RESENT)
    check(count == RESEND_TRIES, f"{count} Resents answer {RESEND_TRIES} Resends")
    before = fresh.log[mark : mark + kinds.index(MessageType.RESENT)]
    again = count_tile_bytes(before, STILL)
    check(again >= size, f"{again} of {size} bytes are sent again before the first Resent")
    fresh.close()


@CASES.add("M-RESEND-1")
def held_over_stop_and_flush(peer: HostPeer) -> None:
    """What is held for Resend is held after Stop and Flush too, as Table 5 says."""
    _, picture, number = take_resendable_still(peer)
    place = place_of(picture.tiles[-1])
    for ending in (Stop(STILL), Flush()):
        message, came = ask_again(peer, number, ResendFlag.END, [place])
        peer.collect(0.1)
        answer = peer.try_call(ending)
        check(isinstance(answer, (Accepted, Flushed)), f"{ending} gets {describe(answer)}")
        after, again = ask_again(peer, number, ResendFlag.END, [place])
        peer.collect(0.1)
        name = type(ending).__name__
        said = f"state {message.state} before {name}, {after.state} after it"
        check(after.state == message.state, said)
        said = f"{len(came)} tiles are sent again before {name}, {len(again)} after it"
        check(len(again) == len(came), said)


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


@CASES.add("M-RESEND-2")
def again_while_under_way(peer: HostPeer) -> None:
    """A tile that is sent again while its frame is under way has its flag and its pixels.

    The tiles that come for the first time do not have the flag.
    """
    held = 0
    for stream in ALL_STREAMS:
        session = peer.start_session()
        block_frame(session, stream, is_capture=True)
        if session.session is None or not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        tile = next(p for p in session.log if p.kind == MessageType.TILE)
        session.send(Resend(0, 1, struct.pack("<4H", *place_of(tile))), tile.id, stream)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        session.wait_for_frame(stream)
        first: dict[Rectangle, bytes] = {}
        for packet in session.log:
            if packet.kind != MessageType.TILE or packet.id != tile.id:
                continue
            place = place_of(packet)
            is_again = place in first
            held += is_again
            said = f"{describe(packet)} has the flags {packet.header.flags}"
            check(packet.header.flags & 1 == is_again, said)
            same = first.setdefault(place, packet.payload) == packet.payload
            check(same, f"{describe(packet)} has other pixels than before")
        session.close()
    if not held:
        raise NotClaimed("the module does not hold the tiles of a frame that is under way")


@CASES.add("M-RESEND-2")
def sent_again_twice(peer: HostPeer) -> None:
    """A tile that is asked for three times comes alike each time, with new sequences."""
    _, picture, number = take_resendable_still(peer)
    tile = picture.tiles[-1]
    for _ in range(3):
        message, came = ask_again(peer, number, 0, [place_of(tile)])
        again = [p for p in came if place_of(p) == place_of(tile)]
        check(again or message.count, f"{place_of(tile)} is neither sent again nor gone")
        for packet in again:
            check(packet.payload == tile.payload, f"{place_of(tile)} has other pixels than before")
            check(packet.header.flags & 1, "a tile sent again has no flag RESENT")


@CASES.add("M-RESEND-2", "M-CAM-4", "M-LIVE-2", "M-CREDIT-1")
def all_of_it_on_the_preview(peer: HostPeer) -> None:
    """Credits, counts, and what is sent again are the same on the preview as on the still."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    configured = peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    size = configured.tile_bytes
    peer.call(Capture(PREVIEW, 1), Accepted)
    for limit in (size - 1, 2 * size - 1):
        peer.grant_credits(limit, PLENTY)
        peer.collect(0.15)
        came = count_tile_bytes(peer.log, PREVIEW)
        check(came <= limit, f"{came} bytes of the preview came with a limit of {limit}")
    peer.grant_credits(PLENTY, 0)
    picture = peer.wait_for_frame(PREVIEW)
    check_cover(configured, picture)
    assert picture.end is not None
    end = read_frame_end(picture)
    check(end.tiles == len(picture.tiles), f"{len(picture.tiles)} tiles, FrameEnd says {end.tiles}")
    number = picture.end.id
    first = {place_of(tile): tile.payload for tile in picture.tiles}
    whole = [(0, 0, configured.width, configured.height)]
    _, came_again = ask_again(peer, number, 0, whole, PREVIEW)
    tiles = [p for p in came_again if p.kind == MessageType.TILE]
    for tile in tiles:
        check(tile.header.flags & 1, f"{describe(tile)} is sent again without the flag RESENT")
        check(first.get(place_of(tile)) == tile.payload, f"{describe(tile)} has other pixels")
    reply = peer.grant_credits(PLENTY, PLENTY, PLENTY)
    total = count_tile_bytes(peer.log, PREVIEW)
    check(
        reply.sent == (total, 0, 0), f"sent is {reply.sent}, and {total} bytes of the preview came"
    )
    check(reply.begun == (number + 1, 0, 0), f"begun is {reply.begun} after frame {number}")


def _wait_for_another_frame(peer: HostPeer, number: int) -> Packet | None:
    return peer.wait_for(lambda p: p.kind == MessageType.TILE and p.id != number, 5.0)


@CASES.add("M-RESEND-2")
def pixels_of_an_older_frame(peer: HostPeer) -> None:
    """A tile of a frame that is not the newest has the pixels of its own frame."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    held = 0
    for stream in ALL_STREAMS:
        session = peer.start_session()
        session.open_session()
        mode = session.find_smallest_mode()
        configured = session.configure(stream, 4 * mode.width)
        # The second frame waits behind its first tile, so that a small module holds the first one.
        limits = [0] * MAX_STREAMS
        limits[stream] = configured.frame_bytes + configured.tile_bytes
        session.grant_credits(*limits)
        session.start_capture(2, stream=stream)
        older = session.wait_for_frame(stream)
        assert older.end is not None
        number = older.end.id
        begun = _wait_for_another_frame(session, number)
        check(begun, "the second frame does not begin within 5 s")
        mark = len(session.log)
        places = b"".join(struct.pack("<4H", *place_of(tile)) for tile in older.tiles[-4:])
        session.send(Resend(0, len(older.tiles[-4:]), places), number, stream)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
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


@CASES.add("M-RESEND-3", "M-CAM-2")
def ends_behind_other_requests(peer: HostPeer) -> None:
    """FrameStart and FrameEnd come again as they were, whatever was asked for since."""
    known = 0
    for stream in ALL_STREAMS:
        session = peer.start_session()
        if not session.open_session().capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        session.configure(stream, 4 * session.find_smallest_mode().width)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        session.start_capture(stream=stream)
        picture = session.wait_for_frame(stream)
        if picture.start is None or picture.end is None:
            raise Failed("a frame without its ends")
        session.call(SetSettings(stream), Accepted)
        session.configure(stream)
        session.call(Stop(stream), Accepted)
        mark, number = len(session.log), picture.end.id
        both = ResendFlag.START | ResendFlag.END
        message, came = ask_again(session, number, both, [], stream)
        if message.state != FrameState.ENDED:
            continue
        known += 1
        starts = [p.payload for p in came if p.kind == MessageType.FRAME_START]
        check(starts == [picture.start.payload], "FrameStart sent again differs from the first one")
        end = wait_for_type(session, MessageType.FRAME_END, mark)
        if end is None:
            raise Failed("FrameEnd is not sent again")
        before, after = (read_frame_end(Picture(end=each)) for each in (picture.end, end))
        said = f"FrameEnd was {describe(before)}, and is sent again as {describe(after)}"
        check(replace(after, last_sequence=before.last_sequence) == before, said)
        session.close()
    if not known:
        raise NotClaimed("the module knows no frame behind other requests")


@CASES.add("M-RESEND-3")
def a_frame_under_way_is_known(peer: HostPeer) -> None:
    """Of a frame that waits for credits FrameStart is sent again, and Resent says so."""
    for stream in ALL_STREAMS:
        session = peer.start_session()
        block_frame(session, stream)
        if session.session is None or not session.session.capabilities & Capability.RESEND:
            raise NotClaimed("the module does not send again (no RESEND)")
        start = next(p for p in session.log if p.kind == MessageType.FRAME_START)
        for flags in (ResendFlag.START, ResendFlag.START | ResendFlag.END, 0):
            message, came = ask_again(session, start.id, flags, [], stream)
            check(message.state != FrameState.UNKNOWN, "a frame under way is called UNKNOWN")
            starts = [p for p in came if p.kind == MessageType.FRAME_START]
            said = f"flags {int(flags)} bring {len(starts)} FrameStarts of a frame under way"
            check(len(starts) == flags & ResendFlag.START, said)
            said = f"Resent has flags {message.flags} where flags {int(flags)} were asked for"
            check(message.flags & ResendFlag.START == flags & ResendFlag.START, said)
            are_alike = all(each.payload == start.payload for each in starts)
            check(are_alike, "FrameStart differs from the first one")
        session.close()


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


@CASES.add("M-RESEND-3")
def no_end_before_the_end(peer: HostPeer) -> None:
    """END asks in vain for the FrameEnd of a frame that is under way; it comes when it is due."""
    for stream in ALL_STREAMS:
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
        session.collect(SHORT_WAIT_S)
        ends = sum(p.kind == MessageType.FRAME_END for p in session.log)
        check(not ends, f"FrameEnd of stream {stream} comes before its tiles, as END asked for it")
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        check_cover(configured, session.wait_for_frame(stream))
        session.close()


@CASES.add("M-RESEND-4")
def unknown_frames(peer: HostPeer) -> None:
    """Of a frame that never was, nothing is held."""
    _, _, number = take_resendable_still(peer)
    message, came = ask_again(peer, number + 1000, 3, [(0, 0, 2, 2)])
    check(message.state == FrameState.UNKNOWN, f"a frame that never was: state {message.state}")
    check(not came, f"a frame that never was: {[str(p) for p in came]}")


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
