"""Cases for modules: rules that hold at one moment only, where they are easily overlooked."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.ids import Capability, MessageType, Outcome, ResendFlag, TestAction
from lenslink_protocol.messages import (
    Accepted,
    Flush,
    Flushed,
    GetManifest,
    Query,
    QueryReply,
    Resend,
    Resent,
    Stop,
    Test,
)
from lenslink_protocol.params import HEADER_BYTES, RESEND_TRIES, STALL_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer, read_frame_end
from .module_cases_demand import open_test_session, wait_for_type
from .module_steps import (
    ask_again,
    check_answers,
    count_tile_bytes,
    expect_no_answer,
    place_of,
    take_resendable_still,
)
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-FRAME-5")
def a_sequence_of_a_packet_that_stopped(peer: HostPeer) -> None:
    """A packet that stopped inside and was given up has used up its sequence."""
    peer.open_session()
    number = peer.take_id()
    packet = peer.build_packet(GetManifest(0), number)
    peer.wire.send(packet[:-1])
    peer.collect(1.5 * STALL_MS / 1000)
    peer.wire.send(packet)
    expect_no_answer(peer, number, "a packet under the sequence of one that stopped inside")
    check_answers(peer)


@CASES.add("M-LIVE-2")
def begun_before_the_end(peer: HostPeer) -> None:
    """A frame of which only FrameStart was sent counts as begun, on either stream."""
    for stream in (STILL, PREVIEW):
        fresh = peer.start_session()
        fresh.open_session()
        fresh.configure(stream)
        if stream == STILL:
            fresh.start_capture()
        else:
            fresh.start_stream()
        found = fresh.wait_for(_is_start, 5.0)
        if found is None:
            raise Failed(f"no FrameStart of stream {stream} within 5 s")
        begun = fresh.grant_credits(0, 0).begun[stream]
        said = f"frame {found.id} of stream {stream} has begun, and `begun` is {begun}"
        check(begun == found.id + 1, said)
        fresh.close()


@CASES.add("M-QUERY-1")
def query_of_a_pending_request(peer: HostPeer) -> None:
    """The outcome of a request that is under way is UNKNOWN, and later DONE.

    A newer request, which the host makes once it has given up the first one, changes nothing.
    """
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 600))
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    for when in ("that is under way", "that is under way, behind a newer one,"):
        outcome = peer.call(Query(peer.nonce, number), QueryReply).outcome
        said = f"the outcome of a request {when} is {outcome}, not UNKNOWN"
        check(outcome == Outcome.UNKNOWN, said)
        check_answers(peer)
    check(peer.wait_for_answer(number, 2.0, mark), "a pending request is never answered")
    outcome = peer.call(Query(peer.nonce, number), QueryReply).outcome
    check(outcome == Outcome.DONE, f"after Accepted the outcome is {outcome}, not DONE")
    # One that was executed while it was pending is pushed out before it, and was done all the same.
    done = number + 2
    for _ in range(3):
        check_answers(peer)
    outcome = peer.call(Query(peer.nonce, done), QueryReply).outcome
    said = f"request {done}, answered before an older one that was pending, has outcome {outcome}"
    check(outcome != Outcome.NOT_DONE, said)


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


@CASES.add("M-TEST-2")
def what_passes_a_flush(peer: HostPeer) -> None:
    """Flush does not wait for a pending request that the host has given up, and does not end it."""
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 500))
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    flush = peer.send_request(Flush())
    check(peer.wait_for_answer(flush, 0.4), "Flush waits for a pending request")
    answer = peer.wait_for_answer(number, 1.0, mark)
    accepted = answer is not None and answer.kind == MessageType.ACCEPTED
    check(accepted, "a pending request is not answered after a Flush")


@CASES.add("M-STOP-1", "M-STOP-2")
def flush_of_frames_that_wait(peer: HostPeer) -> None:
    """Flush ends frames of both streams that wait for credits. Flushed comes behind their ends."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    peer.configure(STILL, 4 * width)
    peer.configure(PREVIEW, 4 * width)
    peer.start_capture()
    peer.start_stream()
    check(peer.wait_for(_is_start, 5.0), "no FrameStart within 5 s")
    # A module that reads both streams at once begins the other frame too.
    peer.collect(0.3)
    answer = peer.wait_for_answer(peer.send_request(Flush()))
    message = answer.message() if answer is not None else None
    if answer is None or not isinstance(message, Flushed):
        raise Failed(f"Flush is answered with {describe(answer)}")
    peer.collect()
    before = peer.log[: peer.log.index(answer)]
    begun = sorted(p.id for p in peer.log if _is_start(p))
    ended = sorted(p.id for p in before if p.kind == MessageType.FRAME_END)
    check(begun == ended, f"frames {begun} begin and {ended} end before Flushed")
    told, last = message.last_sequence[0], answer.header.sequence - 1
    check(told == last, f"Flushed names packet {told} of lane 0, and follows packet {last}")


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
        found = peer.wait_for(_is_start, 5.0, mark)
        if found is None:
            raise Failed(f"no FrameStart of stream {stream} within 5 s")
        numbers.append(found.id)
        peer.call(Stop(stream), Accepted)
    rises = numbers == sorted(set(numbers))
    check(rises, f"frames that were stopped before their first tile have the numbers {numbers}")


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


@CASES.add("M-TEST-2")
def stalls_inside_the_header(peer: HostPeer) -> None:
    """STALL: half of the next header comes, and no more until the time is over."""
    open_test_session(peer)
    peer.call(Test(TestAction.STALL, 0, 600), Accepted)
    number = peer.send_request(GetManifest(0))
    end = peer.wire.now() + 0.4
    while peer.wire.now() < end:
        peer.listen(0.05)
    count = peer.waiting_bytes
    check(count == HEADER_BYTES // 2, f"a stall lets {count} bytes of the next packet pass")
    check(peer.wait_for_answer(number, 2.0), "the packet of a STALL never comes whole")


@CASES.add("M-MANIFEST-2", is_first=True)
def the_manifest_after_a_frame(peer: HostPeer) -> None:
    """The manifest is the same before and after frames, refusals and a Flush."""
    peer.open_session()
    first = peer.read_manifest_bytes()
    peer.take_still()
    peer.configure(PREVIEW)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW)
    peer.try_call(Stop(9))
    check(first == peer.read_manifest_bytes(), "the manifest changes while the preview runs")
    peer.call(Flush(), Flushed)
    fresh = peer.start_session()
    fresh.open_session()
    check(first == fresh.read_manifest_bytes(), "the manifest changes behind frames and a Flush")
    fresh.close()


def _is_start(packet: Packet) -> bool:
    return packet.kind == MessageType.FRAME_START
