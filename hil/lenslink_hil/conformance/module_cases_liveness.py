"""Cases for modules: heartbeats and Busy (SPEC.md, 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import MessageType, TestAction
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Busy,
    Configure,
    Flush,
    Heartbeat,
    HeartbeatReply,
    SetSettings,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import MAX_BUSY_MS

from .cases import Cases, Failed, check
from .host_peer import PLENTY, PREVIEW, ROI, STILL, HostPeer
from .module_steps import (
    ALIVE_S,
    ALL_STREAMS,
    MIN_TIME_SHARE,
    SHORT_WAIT_S,
    START_FASTEST,
    ask_again,
    block_frame,
    configure_all,
    count_tile_bytes,
    is_frame_start,
    open_test_session,
    place_of,
    take_resendable_still,
    wait_for_type,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_BUSY_MS = 700
_BEAT_S = 0.05


@CASES.add("M-LIVE-1")
def heartbeats(peer: HostPeer) -> None:
    """Each Heartbeat is answered in time: idle, while streaming, and while tiles wait."""
    peer.open_session()
    peer.configure(PREVIEW)
    for limit in (0, 0, PLENTY, PLENTY, PLENTY):
        mark = len(peer.log)
        peer.send(Heartbeat((limit, 0, 0), 0))
        peer.wait_for_heartbeat_reply(mark, ALIVE_S)
        if limit == 0:
            peer.try_call(START_FASTEST)
    answered = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log)
    check(answered == 5, f"{answered} answers to 5 heartbeats")


@CASES.add("M-LIVE-1")
def heartbeats_inside_a_frame(peer: HostPeer) -> None:
    """Heartbeats are answered in time while a frame waits for credits, and while tiles pass."""
    configured = block_frame(peer)
    limit = configured.tile_bytes
    for number in range(12):
        mark = len(peer.log)
        # Some of these raise the limit, so that tiles are on their way meanwhile.
        limit += configured.tile_bytes if number % 2 else 0
        peer.send(Heartbeat((limit, 0, 0), 0))
        found = peer.wait_for(lambda p: p.kind == MessageType.HEARTBEAT_REPLY, ALIVE_S, mark)
        check(found, f"Heartbeat {number + 1} inside a frame is not answered in time")


@CASES.add("M-LIVE-1", "M-CREDIT-2")
def answers_to_a_host_in_a_hurry(peer: HostPeer) -> None:
    """Seven Heartbeats at once while tiles wait are answered, each once."""
    block_frame(peer)
    mark = len(peer.log)
    peer.wire.send(b"".join(peer.build_packet(Heartbeat((0, 0, 0), 0)) for _ in range(7)))
    peer.collect(0.4)
    count = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log[mark:])
    check(count == 7, f"{count} answers to seven Heartbeats")


@CASES.add("M-LIVE-1", "M-TEST-2", "M-TIME-1")
def heartbeats_during_busy(peer: HostPeer) -> None:
    """Six Heartbeats that arrive while the module is BUSY are answered when it is over, each.

    ``uptime_us`` of each answer is a time after BUSY, when the answer is sent.
    """
    open_test_session(peer)
    before = peer.grant_credits(0, 0).uptime_us
    mark = len(peer.log)
    peer.call(Test(TestAction.BUSY, 0, 300), Accepted)
    check(wait_for_type(peer, MessageType.BUSY, mark), "BUSY is accepted, and Busy is not said")
    for _ in range(6):
        peer.send(Heartbeat((0, 0, 0), 0))
    last = peer.wait_for(lambda p: _count_replies(peer, mark) == 6, 0.8, mark)
    peer.collect(SHORT_WAIT_S if last is not None else 0.0)
    replies = [p.message() for p in peer.log[mark:] if p.kind == MessageType.HEARTBEAT_REPLY]
    check(len(replies) == 6, f"{len(replies)} answers to six Heartbeats that came during BUSY")
    for reply in replies:
        assert isinstance(reply, HeartbeatReply)
        passed = reply.uptime_us - before
        said = f"uptime_us of an answer behind BUSY of 300 ms is {passed} us after one before BUSY"
        check(passed >= MIN_TIME_SHARE * 300_000, said)


def _count_replies(peer: HostPeer, since: int) -> int:
    return sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log[since:])


@CASES.add("M-LIVE-2")
def what_was_sent(peer: HostPeer) -> None:
    """HeartbeatReply counts the bytes of tiles and names the newest frame, of each stream."""
    peer.open_session()
    reply = peer.grant_credits(0, 0)
    check(not any((*reply.sent, *reply.begun)), f"at the beginning: {describe(reply)}")
    _, picture = peer.take_still()
    reply = peer.grant_credits(PLENTY, PLENTY)
    count = sum(tile.header.length for tile in picture.tiles)
    assert picture.end is not None
    check(reply.sent == (0, count, 0), f"sent {reply.sent} where {count} bytes of the still came")
    check(reply.begun == (0, picture.end.id + 1, 0), f"begun {reply.begun} after {picture.end.id}")


@CASES.add("M-LIVE-2")
def counts_only_rise(peer: HostPeer) -> None:
    """`sent` counts on from capture to capture, and counts tiles that are sent again."""
    _, picture, number = take_resendable_still(peer)
    reply = peer.grant_credits(PLENTY, PLENTY)
    first = count_tile_bytes(peer.log, STILL)
    check(reply.sent[STILL] == first, f"sent is {reply.sent[STILL]}, and {first} bytes came")
    _, came = ask_again(peer, number, 0, [place_of(tile) for tile in picture.tiles[-2:]])
    again = count_tile_bytes(came, STILL)
    reply = peer.grant_credits(PLENTY, PLENTY)
    said = f"sent is {reply.sent[STILL]} after {first} bytes and {again} bytes sent again"
    check(reply.sent[STILL] == first + again, said)
    mark = len(peer.log)
    peer.start_capture()
    second = peer.wait_for_frame(STILL, mark)
    reply = peer.grant_credits(PLENTY, PLENTY)
    total = count_tile_bytes(peer.log, STILL)
    check(reply.sent[STILL] == total, f"sent is {reply.sent[STILL]}, and {total} bytes came in all")
    assert second.end is not None
    wanted = (0, second.end.id + 1, 0)
    check(reply.begun == wanted, f"begun is {reply.begun}, not {wanted}")


@CASES.add("M-LIVE-2")
def counts_behind_other_requests(peer: HostPeer) -> None:
    """`sent` and `begun` stay what they are behind Stop, Flush, Configure and a refusal."""
    peer.open_session()
    configure_all(peer)
    for stream in ALL_STREAMS:
        peer.call(StartStream(stream, 20000), Accepted)
        peer.wait_for_frame(stream)
        peer.call(Stop(stream), Accepted)
        _check_counts(peer, f"Stop of stream {stream}")
    mode = peer.find_smallest_mode().id
    requests: tuple[AnyMessage, ...] = (
        Flush(),
        *(Configure(stream, 0, mode, 0, 0) for stream in ALL_STREAMS),
        Configure(PREVIEW, 0, 65000, 0, 0),
        SetSettings(STILL, b""),
    )
    for message in requests:
        peer.try_call(message)
        _check_counts(peer, describe(message))


def _check_counts(peer: HostPeer, what: str) -> None:
    """Check HeartbeatReply against all frames of the session. None is under way."""
    reply = peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        starts = [p.id for p in peer.log if is_frame_start(p) and p.header.stream == stream]
        wanted = (count_tile_bytes(peer.log, stream), starts[-1] + 1 if starts else 0)
        counted = (reply.sent[stream], reply.begun[stream])
        said = f"behind {what}, sent and begun of stream {stream} are {counted}, not {wanted}"
        check(counted == wanted, said)


@CASES.add("M-LIVE-2")
def counts_of_a_session(peer: HostPeer) -> None:
    """`sent` and `begun` of each stream are 0 in a session that follows one with a frame of it."""
    _open_without_counts(peer)
    for is_closed in (True, False):
        for stream in (PREVIEW, STILL, ROI):
            peer.configure(stream)
            peer.grant_credits(PLENTY, PLENTY, PLENTY)
            peer.start_capture(stream=stream)
            peer.wait_for_frame(stream)
            if is_closed:
                peer.close()
            peer = peer.start_session()
            _open_without_counts(peer)


def _open_without_counts(peer: HostPeer) -> None:
    """Open a session. Fail unless nothing is counted in it yet."""
    peer.open_session()
    reply = peer.grant_credits(0, 0)
    said = f"a session begins with {describe(reply)}"
    check(not any((*reply.sent, *reply.begun)), said)


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
        found = fresh.wait_for(is_frame_start, 5.0)
        if found is None:
            raise Failed(f"no FrameStart of stream {stream} within 5 s")
        begun = fresh.grant_credits(0, 0).begun[stream]
        said = f"frame {found.id} of stream {stream} has begun, and `begun` is {begun}"
        check(begun == found.id + 1, said)
        fresh.close()


@CASES.add("M-LIVE-3", "M-TEST-2")
def busy_is_announced(peer: HostPeer) -> None:
    """BUSY while a stream runs: no silence without a lease, and life again once it is over."""
    open_test_session(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    mark, asked = len(peer.log), peer.wire.now()
    peer.call(Test(TestAction.BUSY, 0, _BUSY_MS), Accepted)
    end = peer.wire.now() + _BUSY_MS / 1000 + ALIVE_S + 0.2
    while peer.wire.now() < end:
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
        peer.collect(_BEAT_S)
    log = peer.log[mark:]
    leases = [(p.at, p.message()) for p in log if p.kind == MessageType.BUSY]
    busy_packet = next((p for p in log if p.kind == MessageType.BUSY), None)
    for before, after in pairwise([*(p.at for p in log), peer.wire.now()]):
        if after - before < ALIVE_S:
            continue
        said = [m for at, m in leases if at <= before and isinstance(m, Busy)]
        check(said, f"{after - before:.2f} s of silence without Busy before it")
        lease = max(m.lease_ms for m in said) / 1000
        check(lease <= MAX_BUSY_MS / 1000, f"a lease of {lease:g} s")
        late = after - before - lease
        check(late <= ALIVE_S, f"silent for {late:.2f} s after the end of its lease")
    if busy_packet is None:
        raise Failed("BUSY is accepted, and Busy is not said")
    _, busy = leases[0]
    assert isinstance(busy, Busy)
    check(busy.lease_ms >= _BUSY_MS, f"a lease of {busy.lease_ms} ms for {_BUSY_MS} ms")
    # Busy came after the Test, so the silence ends no earlier than this.
    first = asked + MIN_TIME_SHARE * _BUSY_MS / 1000
    inside = [str(p) for p in log[log.index(busy_packet) + 1 :] if p.at < first]
    check(not inside, f"not silent while it is BUSY: {inside[:3]}")
