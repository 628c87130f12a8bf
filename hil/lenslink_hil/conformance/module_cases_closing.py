"""Cases for modules: Close, and what is left of a session (SPEC.md, 3.2)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import (
    CloseReason,
    ControlId,
    ErrorCode,
    MessageType,
    NoticeReason,
    TestAction,
)
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Close,
    GetManifest,
    Heartbeat,
    Notice,
    Test,
)
from lenslink_protocol.params import MAX_STREAMS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer, read_frame_start
from .module_steps import (
    ALL_STREAMS,
    NEAR_MDPT,
    SESSION_ENDS,
    SHORT_WAIT_S,
    START_FASTEST,
    check_answers,
    check_nothing_left,
    configure_all,
    every,
    expect_no_answer,
    grow,
    open_next_connection,
    open_test_session,
    other_value,
    replace_session,
    take_frame,
    take_resendable_still,
    wait_for_type,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_DETACH_MS = 200


@CASES.add("M-CLOSE-1")
def closed(peer: HostPeer) -> None:
    """After Close nothing is answered, and the next session finds nothing configured."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.close()
    peer.collect(0.1)
    number = peer.send_request(GetManifest(0))
    expect_no_answer(peer, number, "a request of a closed session")
    fresh = peer.start_session()
    fresh.open_session()
    fresh.expect_error(START_FASTEST, ErrorCode.STATE)
    fresh.close()


@CASES.add("M-CLOSE-1")
def closed_while_streaming(peer: HostPeer) -> None:
    """Close ends a running stream: no data, no answers, and nothing is configured later."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    peer.close()
    # What the module had sent before Close reached it.
    peer.collect(0.3)
    mark = len(peer.log)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    peer.send_request(GetManifest(0))
    after = [str(p) for p in peer.collect()]
    check(len(peer.log) == mark, f"after Close the module sends {after[:3]}")
    fresh = peer.start_session()
    fresh.open_session()
    fresh.expect_error(START_FASTEST, ErrorCode.STATE)
    fresh.close()


@CASES.add("M-CLOSE-1")
def what_outlives_a_session(peer: HostPeer) -> None:
    """Frame numbers go on in the next session, and settings do not, as Table 5 says."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_capture()
    first = read_frame_start(peer.wait_for_frame())
    mark = len(peer.log)
    peer.start_capture(settings=[every(ControlId.EXPOSURE, other_value(peer, ControlId.EXPOSURE))])
    picture = peer.wait_for_frame(since=mark)
    assert picture.end is not None
    peer.close()
    session = peer.start_session()
    session.open_session()
    session.configure(STILL)
    session.grant_credits(PLENTY, PLENTY, PLENTY)
    session.start_capture()
    later = session.wait_for_frame()
    assert later.end is not None
    number = picture.end.id
    said = f"frame {number} is followed by {later.end.id} in the next session"
    check(later.end.id == (number + 1) & 0xFFFFFFFF, said)
    second = read_frame_start(later)
    reset = second.exposure_us == first.exposure_us
    check(reset, f"{second.exposure_us} us in the next session, {first.exposure_us} in the first")
    session.close()


@CASES.add("M-CLOSE-1")
def the_lens_stays_where_it_is(peer: HostPeer) -> None:
    """However a session ends, the lens stays: a later frame without FOCUS finds it there."""
    session = peer
    session.open_session()
    for share, how in enumerate(SESSION_ENDS, 1):
        focus = other_value(session, ControlId.FOCUS, share / 10)
        configure_all(session)
        take_frame(session, STILL, [every(ControlId.FOCUS, focus)])
        session = replace_session(session, how)
        configure_all(session)
        found = take_frame(session, STILL).focus_mdpt
        said = f"the lens was at {focus} before {how}, and is at {found} after it"
        check(abs(found - focus) <= NEAR_MDPT, said)
    session.close()


@CASES.add("M-CLOSE-1")
def nothing_is_left_by_close(peer: HostPeer) -> None:
    """After Close the next session has no configuration, credits, counts, frames or answers."""
    _, _, number = take_resendable_still(peer)
    peer.close()
    peer.collect(0.05)
    fresh = peer.start_session()
    fresh.open_session()
    check_nothing_left(peer, fresh, number, "Close")
    fresh.close()


@CASES.add("M-CLOSE-1")
def nothing_is_left_by_a_connection(peer: HostPeer) -> None:
    """After the end of a connection the next session finds as little as after Close."""
    peer.open_session()
    _, picture = peer.take_still(4 * peer.find_smallest_mode().width)
    assert picture.end is not None
    peer.configure(PREVIEW)
    peer.start_stream(20000)
    fresh = open_next_connection(peer)
    check_nothing_left(peer, fresh, picture.end.id, "the end of a connection")
    fresh.close()


@CASES.add("M-CLOSE-1")
def every_kind_of_close(peer: HostPeer) -> None:
    """Close ends the session for any reason, an unknown one too, and with more fields."""
    session = peer
    for payload in (
        Close(3).encode(),
        Close(4).encode(),
        Close(255).encode(),
        grow(Close(1)),
    ):
        session.open_session()
        check_answers(session)
        session.wire.send(session.pack_payload(MessageType.CLOSE, payload))
        mark = len(session.log)
        session.send(Heartbeat((0, 0, 0), 0))
        number = session.send_request(GetManifest(0))
        session.collect(SHORT_WAIT_S)
        said = f"request {number} behind the Close {payload.hex(' ')} is answered"
        check(len(session.log) == mark, said)
        session = session.start_session()


@CASES.add("M-CLOSE-1")
def numbers_over_a_connection(peer: HostPeer) -> None:
    """Frame numbers go on over a new connection, if the module was not restarted."""
    peer.open_session()
    _, picture = peer.take_still()
    fresh = open_next_connection(peer)
    fresh.configure(STILL)
    fresh.grant_credits(PLENTY, PLENTY, PLENTY)
    accepted = fresh.call(Capture(STILL, 1), Accepted)
    later = fresh.wait_for_frame()
    assert picture.end is not None and later.end is not None
    wanted = (picture.end.id + 1) & 0xFFFFFFFF
    got = (accepted.first_frame, later.end.id)
    said = f"behind frame {wanted - 1} a new connection has first_frame and frame {got}"
    check(got == (wanted, wanted), said)
    fresh.close()


def _check_close(peer: HostPeer, mark: int, seconds: float) -> None:
    closed = wait_for_type(peer, MessageType.CLOSE, mark, seconds)
    if closed is None:
        raise Failed("a session that the module ends is not closed")
    message = closed.message()
    said = isinstance(message, Close) and message.reason == CloseReason.DETACH
    check(said, f"a module that is detached says {describe(message)}")
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
    peer.send_request(GetManifest(0))
    peer.collect()
    after = [str(p) for p in peer.log[peer.log.index(closed) + 1 :]]
    check(not after, f"behind Close: {after[:3]}")


@CASES.add("M-CLOSE-2", "M-TEST-2")
def detaches_in_order(peer: HostPeer) -> None:
    """DETACH: a notice, then Close with its reason, then nothing; the next session is answered."""
    open_test_session(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_stream()
    mark = len(peer.log)
    peer.call(Test(TestAction.DETACH, 0, _DETACH_MS), Accepted)
    notice = wait_for_type(peer, MessageType.NOTICE, mark)
    message = notice.message() if notice else None
    release = isinstance(message, Notice) and message.reason == NoticeReason.RELEASE
    check(release, f"before it detaches the module says {describe(message)}")
    _check_close(peer, mark, 2.0)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.close()


@CASES.add("M-CLOSE-2")
def taken_off(peer: HostPeer) -> None:
    """The module is taken off while it streams: Close with its reason, then nothing."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    peer.start_stream()
    mark = len(peer.log)
    if not peer.wire.set_attached(False):
        raise NotClaimed("this bench cannot detach the module")
    try:
        _check_close(peer, mark, 2.0)
    finally:
        peer.wire.set_attached(True)
    peer.start_session().open_session()


@CASES.add("M-CLOSE-2", "M-TEST-2")
def detached_inside_a_frame(peer: HostPeer) -> None:
    """DETACH while a frame waits for credits: behind Close comes nothing, not even its end."""
    open_test_session(peer)
    for stream in ALL_STREAMS:
        configured = peer.configure(stream, 4 * peer.find_smallest_mode().width)
        limits = [0] * MAX_STREAMS
        limits[stream] = configured.tile_bytes
        peer.grant_credits(*limits)
        peer.call(Capture(stream, 2), Accepted)
        check(wait_for_type(peer, MessageType.TILE, 0, 5.0), "no tile within 5 s of its credit")
        peer.call(Test(TestAction.DETACH, 0, 100), Accepted)
        closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
        if closed is None:
            raise Failed("DETACH is accepted, and the session is not closed")
        peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), 0))
        peer.collect()
        after = [str(p) for p in peer.log[peer.log.index(closed) + 1 :]]
        check(not after, f"behind Close DETACH inside a frame of stream {stream}: {after[:2]}")
        peer = peer.start_session()
        open_test_session(peer)
    peer.close()
