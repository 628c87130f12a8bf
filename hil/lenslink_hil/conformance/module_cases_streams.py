"""Cases for modules: a stream's states, credits, and what frames state (SPEC.md, 5 and 6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.ids import ConfigureFlag, EndStatus, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    GetManifest,
    ManifestPiece,
    Query,
    QueryReply,
    Resend,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS

from .cases import Cases, Failed, check
from .host_peer import (
    PLENTY,
    PREVIEW,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .module_steps import (
    DATA,
    ask_again,
    block_frame,
    check_cover,
    count_tile_bytes,
    open_lanes,
    place_of,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_START = StartStream(PREVIEW, 20000)
_CAPTURE = Capture(STILL, 1)


@CASES.add("M-STATE-1")
def configured_again_after_a_capture(peer: HostPeer) -> None:
    """After its last frame a Capture leaves its stream CONFIGURED: the next one is accepted."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    for _ in range(3):
        mark = len(peer.log)
        answer = peer.try_call(_CAPTURE)
        check(isinstance(answer, Accepted), f"the next Capture gets {describe(answer)}")
        peer.wait_for_frame(STILL, mark)
    peer.configure(STILL)


@CASES.add("M-STATE-1")
def configured_again_after_stop(peer: HostPeer) -> None:
    """After Stop and after Flush a stream is CONFIGURED: it starts without a new Configure."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    for ending in (Stop(PREVIEW), Flush()):
        answer = peer.try_call(_START)
        check(isinstance(answer, Accepted), f"StartStream gets {describe(answer)}")
        peer.wait_for_frame(PREVIEW, len(peer.log))
        peer.try_call(ending)
    peer.call(_START, Accepted)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-STATE-1")
def streams_have_states_of_their_own(peer: HostPeer) -> None:
    """The still is configured, captured and stopped while the preview streams, which goes on."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.expect_error(_CAPTURE, ErrorCode.STATE)
    peer.configure(STILL)
    peer.call(_CAPTURE, Accepted)
    peer.wait_for_frame(STILL)
    peer.call(Stop(STILL), Accepted)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    peer.expect_error(_START, ErrorCode.STATE)
    peer.expect_error(Configure(PREVIEW, 0, peer.find_smallest_mode().id, 0, 0), ErrorCode.STATE)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-STATE-2")
def a_trial_changes_nothing(peer: HostPeer) -> None:
    """TEST_ONLY on a configured stream leaves its configuration as it was."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    before = peer.configure(STILL, 8 * width)
    trial = Configure(STILL, ConfigureFlag.TEST_ONLY, before.mode, before.pixel_format, 2 * width)
    answer = peer.call(trial, Configured)
    check(answer.flags & ConfigureFlag.TEST_ONLY, f"TEST_ONLY is answered with {describe(answer)}")
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    picture = peer.wait_for_frame()
    longest = max(tile.header.length for tile in picture.tiles)
    said = f"tiles of {longest} bytes after a trial, {before.tile_bytes} were configured"
    check(longest > answer.tile_bytes or before.tile_bytes == answer.tile_bytes, said)
    check_cover(before, picture)


@CASES.add("M-STATE-4")
def nothing_beyond_the_last(peer: HostPeer) -> None:
    """StartStream, Capture, Stop and Configure of a stream from MAX_STREAMS, and of mode 0."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.configure(STILL)
    peer.configure(PREVIEW)
    for stream in (MAX_STREAMS, MAX_STREAMS + 1, 255):
        for message in (
            Configure(stream, 0, mode, 0, 0),
            StartStream(stream, 0),
            Capture(stream, 1),
            Stop(stream),
        ):
            peer.expect_error(message, ErrorCode.UNSUPPORTED)
    for stream in (STILL, PREVIEW):
        peer.expect_error(Capture(stream, 0), ErrorCode.UNSUPPORTED)


@CASES.add("M-STOP-1")
def flush_ends_both_streams(peer: HostPeer) -> None:
    """Flush ends the frames of both streams, and both are CONFIGURED after it."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.configure(PREVIEW, 4 * mode.width)
    peer.configure(STILL, 4 * mode.width)
    peer.grant_credits(PLENTY, PLENTY)
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
    peer.call(_START, Accepted)
    peer.call(_CAPTURE, Accepted)


@CASES.add("M-STOP-1")
def stop_of_an_idle_stream(peer: HostPeer) -> None:
    """Stop of a stream that does not run is accepted, or refused, and does not stop the other."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    answer = peer.try_call(Stop(STILL))
    check(isinstance(answer, (Accepted, Error)), f"Stop gets {describe(answer)}")
    peer.wait_for_frame(PREVIEW, len(peer.log))
    end = read_frame_end(peer.wait_for_frame(PREVIEW, len(peer.log)))
    check(end.status == EndStatus.OK, "Stop of the still aborts a frame of the preview")


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


# --- credits ----------------------------------------------------------------------------------


@CASES.add("M-CREDIT-1")
def credits_do_not_add_up(peer: HostPeer) -> None:
    """A limit that is repeated, or of the other stream, grants nothing more."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    limit = 2 * configured.tile_bytes + 2
    peer.start_capture()
    for _ in range(5):
        peer.grant_credits(PLENTY, limit)
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles where a limit of {limit} was repeated")
    peer.grant_credits(PLENTY, PLENTY)
    peer.wait_for_frame()


@CASES.add("M-CREDIT-1")
def credits_of_later_frames(peer: HostPeer) -> None:
    """The limit counts from the beginning of the session, not from that of a frame."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    limit = configured.frame_bytes + configured.tile_bytes + 3
    peer.grant_credits(0, limit)
    peer.start_capture(2)
    peer.wait_for_frame()
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles in two frames where {limit} were granted")
    mark = len(peer.log)
    peer.grant_credits(0, PLENTY)
    peer.wait_for(lambda p: p.kind == MessageType.FRAME_END, 5.0, mark)


@CASES.add("M-CREDIT-1")
def tiles_sent_again_need_credit(peer: HostPeer) -> None:
    """A tile that is sent again waits for credit as any other, and comes once there is some."""
    take_resendable_still(peer)
    fresh = peer.start_session()
    fresh.open_session()
    configured = fresh.configure(STILL, 4 * fresh.find_smallest_mode().width)
    fresh.grant_credits(0, configured.frame_bytes)
    fresh.start_capture()
    picture = fresh.wait_for_frame()
    assert picture.end is not None
    tile = picture.tiles[-1]
    ask = Resend(0, 1, struct.pack("<4H", *place_of(tile)))
    fresh.send(ask, picture.end.id, STILL)
    # With a byte less than the tile has, it waits too.
    for more in (0, 1, tile.header.length - 1):
        limit = configured.frame_bytes + more
        fresh.grant_credits(0, limit)
        fresh.collect(0.15)
        came = count_tile_bytes(fresh.log, STILL)
        said = f"{came} bytes of tiles, sent again ones included, with {limit} granted"
        check(came <= limit, said)
    fresh.grant_credits(0, PLENTY)
    resent = fresh.wait_for(lambda p: p.kind == MessageType.RESENT, 2.0)
    check(resent, "Resend is not answered once there is credit")


@CASES.add("M-CREDIT-2")
def everything_is_answered_while_tiles_wait(peer: HostPeer) -> None:
    """Query, a refusal, and Stop of the other stream are answered while tiles wait."""
    block_frame(peer)
    peer.call(Query(peer.nonce, 1), QueryReply)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    peer.call(GetManifest(0), ManifestPiece)
    peer.configure(STILL)
    peer.grant_credits(0, PLENTY)
    answer = peer.try_call(Stop(PREVIEW))
    check(isinstance(answer, Accepted), f"Stop of a stream that waits gets {describe(answer)}")


# --- frames -----------------------------------------------------------------------------------


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
