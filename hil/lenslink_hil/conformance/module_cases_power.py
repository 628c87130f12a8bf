"""Cases for modules: the power budget (SPEC.md, 5.5)."""

from __future__ import annotations

from collections.abc import Callable

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
    FrameEnd,
    SetBudget,
    StartStream,
)
from lenslink_protocol.params import SILENCE_MS

from .cases import Cases, NotClaimed, check
from .host_peer import PATIENCE_S, PLENTY, PREVIEW, STILL, HostPeer, read_frame_end
from .module_steps import (
    ALL_WITH_EVENTS,
    LONG_EXPOSURE_US,
    every,
    get_event_count,
    list_events,
    make_event_test,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()


def _grant(peer: HostPeer, milliwatts: int) -> None:
    answer = peer.call(SetBudget(milliwatts), Accepted)
    check(answer.stream == 0, f"SetBudget is answered with stream {answer.stream}")


def _read_needs(peer: HostPeer) -> tuple[int, int]:
    """Return what the module may draw without frames, and with frames of the smallest mode."""
    manifest = peer.read_manifest()
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
    """A budget below what an idle module needs is refused, and the one before stays."""
    peer.open_session()
    idle, active = _read_needs(peer)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    _grant(peer, active)
    for milliwatts in (0, idle - 1):
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
    peer.collect(0.3)
    late = [p for p in peer.log[mark:] if p.kind in (MessageType.FRAME_START, MessageType.TILE)]
    check(not late, "frames after a budget that is too low for them")
    # The stream is CONFIGURED.
    _grant(peer, active)
    mark = len(peer.log)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW, mark)


@CASES.add("M-PWR-4")
def a_budget_ends_with_its_session(peer: HostPeer) -> None:
    """A session begins without a budget, whatever the session before had."""
    peer.open_session()
    idle, _ = _read_needs(peer)
    _grant(peer, idle)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.expect_error(Capture(STILL, 1, b""), ErrorCode.POWER)
    peer.close()
    again = peer.start_session()
    again.open_session()
    again.take_still()
    again.close()


@CASES.add("M-PWR-5")
def energy_of_frames(peer: HostPeer) -> None:
    """The energies of frames are no more than the counter of POWER has grown."""
    peer.open_session(ALL_WITH_EVENTS)
    session = peer.session
    if session is None or not session.capabilities & Capability.EVENTS:
        raise NotClaimed("the module does not report its energy (no EVENTS)")
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.wait_for(make_event_test(EventKind.POWER), SILENCE_MS / 1000)
    first = list_events(peer, EventKind.POWER)
    mark = len(peer.log)
    peer.start_capture(3, [every(ControlId.EXPOSURE, LONG_EXPOSURE_US)])
    for _ in range(3):
        end = peer.wait_for_frame(STILL, mark).end
        assert end is not None
        mark = peer.log.index(end) + 1
    # A module reports its supply when that changes, and now and then.
    peer.collect(2.5)
    last = list_events(peer, EventKind.POWER)
    check(len(last) >= 2, f"{len(last)} Events POWER in more than 2 s")
    grown = get_event_count(last[-1]) - get_event_count(first[0])
    ends = [p.message() for p in peer.log if p.kind == MessageType.FRAME_END]
    spent = sum(each.energy_uj for each in ends if isinstance(each, FrameEnd))
    check(spent <= grown, f"frames of {spent} uJ, and the counter has grown by {grown} uJ")


@CASES.add("M-PWR-5")
def power_within_the_budget(peer: HostPeer) -> None:
    """Over seconds the counter of POWER grows by no more than the budget allows."""
    peer.open_session(ALL_WITH_EVENTS)
    session = peer.session
    if session is None or not session.capabilities & Capability.EVENTS:
        raise NotClaimed("the module does not report its energy (no EVENTS)")
    idle, _ = _read_needs(peer)
    _grant(peer, idle)
    mark = len(peer.log)
    peer.collect(3.5)
    events = list_events(peer, EventKind.POWER, mark)
    check(len(events) >= 2, f"{len(events)} Events POWER in 3.5 s")
    spent = get_event_count(events[-1]) - get_event_count(events[0])
    passed = events[-1].time_us - events[0].time_us
    most = idle * (passed + 200_000) / 1000
    check(spent <= most, f"{spent} uJ in {passed} us with a budget of {idle} mW")
