"""Cases for modules: Stop and Flush (SPEC.md, 5.3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from lenslink_protocol.ids import EndStatus, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Flush,
    Flushed,
    GetManifest,
    Query,
    QueryReply,
    StartStream,
    Stop,
)

from .cases import Cases, Failed, check
from .host_peer import PLENTY, PREVIEW, ROI, STILL, HostPeer, Picture, read_frame_end
from .module_steps import (
    ALL_STREAMS,
    DATA,
    START_50_FPS,
    block_frame,
    check_cover,
    count_tile_bytes,
    is_frame_start,
    open_lanes,
)
from .packets import NO_PACKET, Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_FRAMES = tuple(product(ALL_STREAMS, (False, True)))
"""Streams, and whether a Capture began their frames."""


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


@CASES.add("M-STOP-1")
def stop_inside_a_frame(peer: HostPeer) -> None:
    """A frame that waits for credits is ended by Stop: ABORTED, then the answer, then nothing."""
    for stream, is_capture in _FRAMES:
        session = peer.start_session()
        block_frame(session, stream, is_capture)
        number = session.send_request(Stop(stream))
        answer = _check_ends(session, number)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
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


@CASES.add("M-STOP-1", "M-STOP-2")
def flush_inside_a_frame(peer: HostPeer) -> None:
    """The same by Flush."""
    for stream, is_capture in _FRAMES:
        session = peer.start_session()
        block_frame(session, stream, is_capture)
        _check_ends(session, session.send_request(Flush()))
        session.close()


@CASES.add("M-STOP-1")
def flush_ends_all_streams(peer: HostPeer) -> None:
    """Flush ends the frames of all streams, and each is CONFIGURED after it."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    for stream in ALL_STREAMS:
        peer.configure(stream, 4 * mode.width)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.call(StartStream(ROI, 20000), Accepted)
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    peer.call(Capture(STILL, 200), Accepted)
    peer.wait_for_frame(STILL)
    answer = peer.wait_for_answer(peer.send_request(Flush()))
    check(answer is not None, "Flush is not answered")
    assert answer is not None
    peer.collect()
    after = [str(p) for p in peer.log[peer.log.index(answer) :] if p.kind in DATA]
    check(not after, f"behind Flushed: {after[:3]}")
    before = peer.log[: peer.log.index(answer)]
    started = sorted(p.id for p in before if p.kind == MessageType.FRAME_START)
    ended = sorted(p.id for p in before if p.kind == MessageType.FRAME_END)
    check(started == ended, f"frames {started[-3:]} begin and {ended[-3:]} end before Flushed")
    for stream in ALL_STREAMS:
        peer.call(Capture(stream, 1), Accepted)


@CASES.add("M-STOP-1")
def stop_of_an_idle_stream(peer: HostPeer) -> None:
    """Stop of a stream that does not run is accepted, and does not stop the other."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.call(Stop(STILL), Accepted)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    end = read_frame_end(peer.wait_for_frame(PREVIEW, len(peer.log)))
    check(end.status == EndStatus.OK, "Stop of the still aborts a frame of the preview")


@CASES.add("M-STOP-1")
def stop_beside_a_frame(peer: HostPeer) -> None:
    """Stop of one stream does not touch a frame of the other that waits for credits."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    still = peer.configure(STILL, 4 * width)
    peer.configure(PREVIEW, 4 * width)
    peer.grant_credits(PLENTY, still.tile_bytes)
    peer.start_capture()
    found = peer.wait_for(
        lambda p: p.kind == MessageType.TILE and p.header.stream == STILL, 5.0
    )  # fmt: skip
    check(found, "no tile of the still within 5 s of the credit for it")
    peer.call(START_50_FPS, Accepted)
    peer.call(Stop(PREVIEW), Accepted)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    picture = peer.wait_for_frame(STILL)
    check_cover(still, picture)


@CASES.add("M-STOP-1", "M-CAM-4")
def what_an_aborted_frame_says(peer: HostPeer) -> None:
    """The FrameEnd of an aborted frame states ABORTED, the packet before it, and a bound."""
    block_frame(peer)
    answer = peer.wait_for_answer(peer.send_request(Stop(PREVIEW)))
    check(answer, "Stop inside a frame is not answered")
    ends = [p for p in peer.log if p.kind == MessageType.FRAME_END]
    check(len(ends) == 1, f"{len(ends)} FrameEnds of a frame that Stop ends")
    end = read_frame_end(Picture(end=ends[0]))
    check(end.status == EndStatus.ABORTED, f"a frame that Stop ends has status {end.status}")
    last = (ends[0].header.sequence - 1) & 0xFFFFFFFF
    check(end.last_sequence[0] == last, f"last_sequence {end.last_sequence[0]} after {last}")
    check(end.last_sequence[1:] == (NO_PACKET,) * 3, f"of one lane: {end.last_sequence}")
    tiles = sum(p.kind == MessageType.TILE for p in peer.log)
    check(end.tiles >= tiles, f"{tiles} tiles were sent, FrameEnd says {end.tiles} at most")


@CASES.add("M-STOP-1", "M-STOP-2")
def flush_of_frames_that_wait(peer: HostPeer) -> None:
    """Flush ends frames of all streams that wait for credits. Flushed comes behind their ends."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    for stream in ALL_STREAMS:
        peer.configure(stream, 4 * width)
    for stream in (STILL, PREVIEW, ROI):
        peer.call(Capture(stream, 1), Accepted)
    check(peer.wait_for(is_frame_start, 5.0), "no FrameStart within 5 s")
    # A module that reads several streams at once begins the other frames too.
    peer.collect(0.3)
    answer = peer.wait_for_answer(peer.send_request(Flush()))
    message = answer.message() if answer is not None else None
    if answer is None or not isinstance(message, Flushed):
        raise Failed(f"Flush is answered with {describe(answer)}")
    peer.collect()
    before = peer.log[: peer.log.index(answer)]
    begun = sorted(p.id for p in peer.log if is_frame_start(p))
    ended = sorted(p.id for p in before if p.kind == MessageType.FRAME_END)
    check(begun == ended, f"frames {begun} begin and {ended} end before Flushed")
    told, last = message.last_sequence[0], answer.header.sequence - 1
    check(told == last, f"Flushed names packet {told} of lane 0, and follows packet {last}")


@CASES.add("M-STOP-2")
def flush_is_a_barrier(peer: HostPeer) -> None:
    """Behind Flushed comes nothing of a stream, and it says what the last packet was."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
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


@CASES.add("M-STOP-2")
def flush_on_lanes(peer: HostPeer) -> None:
    """Flushed states the last sequence of each lane, and nothing later follows on any of them."""
    open_lanes(peer)
    peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    request = peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    answer = peer.wait_for_answer(peer.send_request(Flush()))
    if answer is None:
        raise Failed("Flush is not answered")
    message = answer.message()
    if not isinstance(message, Flushed):
        raise Failed(f"Flush is answered with {describe(answer)}")
    check(message.last_request == request, f"last_request {message.last_request}, not {request}")
    peer.collect(0.5)
    for lane in range(1, peer.lanes):
        here = [p.header.sequence for p in peer.log if p.lane == lane]
        told = message.last_sequence[lane]
        last = here[-1] if here else 0xFFFFFFFF
        check(told == last, f"Flushed states {told} for lane {lane}, whose last packet is {last}")


@CASES.add("M-STOP-2")
def flush_names_the_request_before_it(peer: HostPeer) -> None:
    """last_request is the id of the request before the Flush, also of one that has no frames."""
    peer.open_session()
    for _ in range(2):
        number = peer.send_request(GetManifest(0))
        check(peer.wait_for_answer(number), "GetManifest is not answered")
        answer = peer.call(Flush(), Flushed)
        said = f"last_request is {answer.last_request}, and {number} was the request before"
        check(answer.last_request == number, said)


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


@CASES.add("M-STOP-2")
def what_flushed_says(peer: HostPeer) -> None:
    """Flushed states the lanes, and no packet for lanes that the session does not have."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    for _ in range(2):
        number = peer.send_request(Flush())
        answer = peer.wait_for_answer(number)
        message = answer.message() if answer is not None else None
        if answer is None or not isinstance(message, Flushed):
            raise Failed(f"Flush gets {describe(answer)}")
        last = (answer.header.sequence - 1) & 0xFFFFFFFF
        wanted = (last, NO_PACKET, NO_PACKET, NO_PACKET)
        check(message.last_sequence == wanted, f"{describe(message)} after sequence {last}")
        check(message.lanes == 1, f"Flushed states {message.lanes} lanes")
        check(message.last_request == number - 1, f"last_request {message.last_request}")
