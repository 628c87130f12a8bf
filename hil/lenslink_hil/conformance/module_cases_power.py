"""Cases for modules: the power budget (SPEC.md, 5.5)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.controls import encode_settings
from lenslink_protocol.ids import (
    Capability,
    ControlId,
    EndStatus,
    ErrorCode,
    EventKind,
    MessageType,
)
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Error,
    Event,
    Flush,
    Flushed,
    FrameEnd,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS, SILENCE_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PATIENCE_S, PLENTY, PREVIEW, ROI, STILL, HostPeer, read_frame_end
from .module_steps import (
    ALIVE_S,
    ALL_STREAMS,
    ALL_WITH_EVENTS,
    CAPTURE_A_STILL,
    DATA,
    SESSION_ENDS,
    every,
    get_event_count,
    is_frame_start,
    list_events,
    make_event_test,
    replace_session,
)
from .packets import Packet, describe
from .settings_steps import configure_crops

CASES: Cases[Callable[[HostPeer], None]] = Cases()


def _grant(peer: HostPeer, milliwatts: int) -> None:
    answer = peer.call(SetBudget(milliwatts), Accepted)
    check(answer.stream == 0, f"SetBudget is answered with stream {answer.stream}")


def _read_needs(peer: HostPeer) -> tuple[int, int]:
    """Return what the module may draw without frames, and with frames of the smallest mode."""
    manifest = peer.get_manifest()
    if manifest.power is None:
        raise NotClaimed("the manifest has no PowerEntry")
    mode = peer.find_smallest_mode()
    if not mode.active_mw:
        raise NotClaimed("the manifest states no power of its modes")
    return (
        manifest.power.idle_mw + manifest.power.motor_mw,
        mode.active_mw + manifest.power.motor_mw,
    )


@CASES.add("M-PWR-1")
def budgets_that_are_too_low(peer: HostPeer) -> None:
    """A budget below what an idle module needs is refused, and the one before stays as it was."""
    peer.open_session()
    idle, active = _read_needs(peer)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    refused = (0, idle - 1)
    _grant(peer, active - 1)
    for milliwatts in refused:
        peer.expect_error(SetBudget(milliwatts), ErrorCode.POWER)
    peer.expect_error(CAPTURE_A_STILL, ErrorCode.POWER)
    _grant(peer, active)
    for milliwatts in refused:
        peer.expect_error(SetBudget(milliwatts), ErrorCode.POWER)
    mark = len(peer.log)
    peer.start_capture()
    peer.wait_for_frame(STILL, mark)
    for milliwatts in (idle, 0xFFFFFFFF):
        _grant(peer, milliwatts)


@CASES.add("M-PWR-2")
def frames_beyond_the_budget(peer: HostPeer) -> None:
    """Frames that need more are refused before anything happens; with enough they are taken."""
    peer.open_session()
    idle, active = _read_needs(peer)
    for stream in (PREVIEW, STILL):
        peer.configure(stream)
    peer.grant_credits(PLENTY, PLENTY)
    for milliwatts in (idle, active - 1):
        _grant(peer, milliwatts)
        mark = len(peer.log)
        peer.expect_error(Capture(STILL, 1, b""), ErrorCode.POWER)
        peer.expect_error(StartStream(PREVIEW, 20000, b""), ErrorCode.POWER)
        peer.collect(0.2)
        kinds = {packet.kind for packet in peer.log[mark:]}
        check(MessageType.FRAME_START not in kinds, "a frame that was refused is sent")
        # It is no matter of the configuration.
        mode = peer.find_smallest_mode().id
        peer.call(Configure(STILL, 0, mode, 0, 0), Configured)
    _grant(peer, active)
    mark = len(peer.log)
    peer.start_capture()
    end = read_frame_end(peer.wait_for_frame(STILL, mark))
    check(end.status == EndStatus.OK, f"a frame within the budget ends with {end.status}")


@CASES.add("M-PWR-3")
def a_budget_that_falls(peer: HostPeer) -> None:
    """A stream that needs more ends as with Stop, before Accepted; one that does not goes on."""
    peer.open_session()
    _, active = _read_needs(peer)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW)
    _grant(peer, active)
    mark = len(peer.log)
    peer.wait_for_frame(PREVIEW, mark)
    # A frame is under way when the budget falls.
    mark = len(peer.log)
    begins = peer.wait_for(lambda p: p.kind == MessageType.FRAME_START, PATIENCE_S, mark)
    check(begins is not None, "the stream has no more frames")
    number = peer.send_request(SetBudget(active - 1))
    answer = peer.wait_for_answer(number)
    check(answer is not None and answer.kind == MessageType.ACCEPTED, "SetBudget is not accepted")
    assert answer is not None
    mark = peer.log.index(answer)
    begun = {p.id for p in peer.log if p.kind == MessageType.FRAME_START}
    ended = {p.id for p in peer.log[:mark] if p.kind == MessageType.FRAME_END}
    check(begun <= ended, f"frames {begun - ended} have not ended before Accepted")
    cut = {p.payload[2] for p in peer.log[:mark] if p.kind == MessageType.FRAME_END}
    allowed = {EndStatus.OK, EndStatus.ABORTED}
    check(cut <= allowed, f"a budget ends frames with the status {cut - allowed}")
    peer.collect(0.3)
    late = [p for p in peer.log[mark:] if p.kind in (MessageType.FRAME_START, MessageType.TILE)]
    check(not late, "frames after a budget that is too low for them")
    # The stream is CONFIGURED.
    _grant(peer, active)
    mark = len(peer.log)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW, mark)


_CROP = 64


@CASES.add("M-PWR-3")
def streams_with_needs_of_their_own(peer: HostPeer) -> None:
    """Of streams in modes of different power only those end that need more than a new budget."""
    peer.open_session()
    manifest = peer.get_manifest()
    modes = sorted(manifest.modes, key=lambda mode: -mode.width * mode.height)
    # Of modes of the same power, the smallest one.
    by_power = {mode.active_mw: mode for mode in modes if mode.active_mw}
    if manifest.power is None or len(by_power) < 2:
        raise NotClaimed("the manifest does not state modes of different power")
    least_mw = min(by_power)
    session = peer
    for frugal in ALL_STREAMS:
        others = [stream for stream in ALL_STREAMS if stream != frugal]
        for stream in ALL_STREAMS:
            mode = by_power[least_mw if stream == frugal else max(by_power)]
            # The modes may be large, and their frames are then slow.
            sides = min(mode.width, _CROP) & ~1, min(mode.height, _CROP) & ~1
            session.call(Configure(stream, 0, mode.id, 0, 0, 0, 0, *sides), Configured)
        # Frames of the others wait for credits when the budget falls.
        limits = [0] * MAX_STREAMS
        limits[frugal] = PLENTY
        session.grant_credits(*limits)
        for stream in (frugal, *others):
            session.call(StartStream(stream, 20000), Accepted)
        answer = session.wait_for_answer(
            session.send_request(SetBudget(least_mw + manifest.power.motor_mw))
        )
        if answer is None or answer.kind != MessageType.ACCEPTED:
            raise Failed(f"SetBudget gets {describe(answer)} while the frames of streams wait")
        named = answer.message()
        said = f"SetBudget gets {describe(named)} when it ends streams"
        check(isinstance(named, Accepted) and named.stream == 0, said)
        mark = session.log.index(answer)
        session.grant_credits(PLENTY, PLENTY, PLENTY)
        session.wait_for_frame(frugal, mark, PATIENCE_S)
        ends = [p for p in session.log if p.kind == MessageType.FRAME_END]
        cut = [p.id for p in ends if p.header.stream == frugal and p.payload[2] != EndStatus.OK]
        check(not cut, f"frames {cut} of stream {frugal}, which needs no more, end too")
        late = [p for p in session.log[session.log.index(answer) :] if p.kind in DATA]
        strange = [str(p) for p in late if p.header.stream != frugal]
        check(not strange, f"after a budget that is too low for them: {strange[:3]}")
        for stream in others:
            session.expect_error(StartStream(stream, 20000), ErrorCode.POWER)
        session.expect_error(StartStream(frugal, 20000), ErrorCode.STATE)
        session = replace_session(session, SESSION_ENDS[0])
    session.close()


@CASES.add("M-PWR-4")
def a_budget_ends_with_its_session(peer: HostPeer) -> None:
    """A session begins without a budget, however the session before ended."""
    session = peer
    session.open_session()
    idle, _ = _read_needs(session)
    for how in SESSION_ENDS:
        _grant(session, idle)
        session.configure(STILL)
        session.expect_error(CAPTURE_A_STILL, ErrorCode.POWER)
        session = replace_session(session, how)
        session.configure(STILL)
        answer = session.try_call(CAPTURE_A_STILL)
        said = f"after {how} a Capture gets {describe(answer)}, and the budget was {idle} mW"
        check(isinstance(answer, Accepted), said)
        session.call(Stop(STILL), Accepted)
    session.close()


_STILLS, _STILL_US = 6, 200_000
_REPORT_S = 2.5


def _count_ends(peer: HostPeer, wanted: int, seconds: float) -> int:
    """Wait until *wanted* frames of the session have ended. Return how many have."""

    def count() -> int:
        return sum(packet.kind == MessageType.FRAME_END for packet in peer.log)

    peer.wait_for(lambda _: count() >= wanted, seconds)
    return count()


def _is_report_after(packet: Packet, time_us: int) -> bool:
    """Return True for an Event POWER of the time after *time_us*."""
    if packet.kind != MessageType.EVENT:
        return False
    message = packet.message()
    if not isinstance(message, Event) or message.kind != EventKind.POWER:
        return False
    return message.time_us > time_us


@CASES.add("M-PWR-5")
def energy_of_frames(peer: HostPeer) -> None:
    """The energies of frames, also of some under way together, are within the counter of POWER."""
    peer.open_session(ALL_WITH_EVENTS)
    session = peer.session
    if session is None or not session.capabilities & Capability.EVENTS:
        raise NotClaimed("the module does not report its energy (no EVENTS)")
    peer.configure(STILL)
    peer.configure(PREVIEW)
    peer.grant_credits(0, PLENTY)
    peer.wait_for(make_event_test(EventKind.POWER), SILENCE_MS / 1000)
    first = list_events(peer, EventKind.POWER)
    # A preview waits for credits. A module that reads out one frame after the other takes the
    # stills after it.
    mark = len(peer.log)
    peer.start_capture(stream=PREVIEW)
    check(peer.wait_for(is_frame_start, PATIENCE_S, mark), "no frame of the preview within 5 s")
    peer.start_capture(_STILLS, [every(ControlId.EXPOSURE, _STILL_US)])
    ends = _count_ends(peer, _STILLS, _STILLS * _STILL_US / 1e6 + ALIVE_S)
    peer.grant_credits(PLENTY, PLENTY)
    if ends <= _STILLS:
        ends = _count_ends(peer, _STILLS + 1, PATIENCE_S)
    check(ends == _STILLS + 1, f"{ends} of {_STILLS + 1} frames have ended")
    for _ in range(2):
        aborted = len(peer.log)
        peer.call(StartStream(PREVIEW, 0), Accepted)
        peer.wait_for(is_frame_start, PATIENCE_S, aborted)
        peer.call(Stop(PREVIEW), Accepted)
    # A module reports its supply when that changes, and at least every two seconds.
    ended_us = peer.grant_credits(PLENTY, PLENTY).uptime_us
    peer.wait_for(lambda p: _is_report_after(p, ended_us), _REPORT_S, mark)
    last = list_events(peer, EventKind.POWER)
    check(last[-1].time_us > ended_us, f"no Event POWER in {_REPORT_S} s")
    grown = get_event_count(last[-1]) - get_event_count(first[0])
    messages = [p.message() for p in peer.log if p.kind == MessageType.FRAME_END]
    spent = sum(each.energy_uj for each in messages if isinstance(each, FrameEnd))
    check(spent <= grown, f"frames of {spent} uJ, and the counter has grown by {grown} uJ")


def _expect_power(peer: HostPeer, behind: str) -> None:
    for stream in ALL_STREAMS:
        for message in (Capture(stream, 1), StartStream(stream, 20000)):
            answer = peer.try_call(message)
            is_refused = isinstance(answer, Error) and answer.code == ErrorCode.POWER
            check(is_refused, f"behind {behind}, {describe(message)} gets {describe(answer)}")


@CASES.add("M-PWR-1", "M-PWR-2", "M-PWR-3")
def budgets_of_streams_that_run(peer: HostPeer) -> None:
    """The need is that of one frame, not of all streams; a refused budget ends none of them."""
    peer.open_session()
    idle, active = _read_needs(peer)
    peer.expect_error(CAPTURE_A_STILL, ErrorCode.STATE)
    configure_crops(peer)
    running = (PREVIEW, ROI)
    for stream in running:
        peer.call(StartStream(stream, 20000), Accepted)
    # More than 16 bits.
    for milliwatts in (0x10000 + idle, active):
        _grant(peer, milliwatts)
        peer.expect_error(SetBudget(idle - 1), ErrorCode.POWER)
        mark = len(peer.log)
        peer.start_capture()
        for stream in ALL_STREAMS:
            peer.wait_for_frame(stream, mark)
    slow = [every(ControlId.EXPOSURE, _SLOW_US)] if _has_exposure(peer) else []
    peer.start_capture(9, slow)
    mark = len(peer.log)
    _grant(peer, active - 1)
    peer.collect(0.1)
    ends = [p.message() for p in peer.log[mark:] if p.kind == MessageType.FRAME_END]
    found = {end.status for end in ends if isinstance(end, FrameEnd)}
    check(found <= {EndStatus.OK, EndStatus.ABORTED}, f"a budget ends frames with status {found}")
    _expect_power(peer, "a budget that ends a Capture")


_SLOW_US = 40_000


def _has_exposure(peer: HostPeer) -> bool:
    return peer.get_manifest().find_control(ControlId.EXPOSURE) is not None


@CASES.add("M-PWR-2", "M-PWR-4")
def what_leaves_a_budget_alone(peer: HostPeer) -> None:
    """A budget holds behind Stop, Flush, refusals, frames and a repeated Hello; others work on."""
    peer.open_session()
    idle, active = _read_needs(peer)
    _grant(peer, idle)
    for message in (CAPTURE_A_STILL, StartStream(PREVIEW, 0)):
        peer.expect_error(message, ErrorCode.STATE)
    configure_crops(peer)
    wrong = encode_settings([every(ControlId.SETTLED, 2)])
    for stream in ALL_STREAMS:
        peer.expect_error(Capture(stream, 1, wrong), ErrorCode.UNSUPPORTED)
        peer.expect_error(StartStream(stream, 0, wrong), ErrorCode.UNSUPPORTED)
        peer.call(SetSettings(stream, b""), Accepted)
    peer.call(Stop(STILL), Accepted)
    _expect_power(peer, "Stop")
    peer.call(Flush(), Flushed)
    _expect_power(peer, "Flush")
    peer.expect_error(SetBudget(0), ErrorCode.POWER)
    _expect_power(peer, "a refused budget")
    peer.open_session()
    _expect_power(peer, "a repeated Hello")
    _grant(peer, active)
    mark = len(peer.log)
    peer.start_capture()
    peer.wait_for_frame(STILL, mark)
    _grant(peer, idle)
    _expect_power(peer, "a frame")
