"""Cases for modules: the module's clock, its power budget and energy, its Events."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

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
    Event,
    FrameEnd,
    Heartbeat,
    HeartbeatReply,
    SetBudget,
    StartStream,
)
from lenslink_protocol.params import SILENCE_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import (
    ALL,
    PATIENCE_S,
    PLENTY,
    PREVIEW,
    STILL,
    HostPeer,
    read_frame_end,
    read_frame_start,
)
from .module_cases_settings import every

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_KINDS = (EventKind.RING, EventKind.CONTACTS, EventKind.HEAT, EventKind.POWER)
_WITH_EVENTS = ALL | Capability.EVENTS
# So much the clocks of the case and of the module may differ over some tenths of a second, on a
# machine that does other things, too.
_TOLERANCE_US = 150_000
_EXPOSURE_US = 30_000


def _beat(peer: HostPeer, time_us: int) -> HeartbeatReply:
    """Send a Heartbeat with a time, and return its answer."""
    mark = len(peer.log)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), time_us))
    return peer.wait_for_heartbeat_reply(mark)


# --- the clock --------------------------------------------------------------------------------


@CASES.add("M-TIME-1")
def times_of_heartbeats(peer: HostPeer) -> None:
    """HeartbeatReply repeats the host's time, and states when that arrived and was answered."""
    peer.open_session()
    before = -1
    for time_us in (7, (1 << 64) - 1, 0, 1 << 40, 8):
        reply = _beat(peer, time_us)
        check(reply.host_us == time_us, f"host_us {reply.host_us} after time_us {time_us}")
        said = f"received_us {reply.received_us}, after a reply at {before}"
        check(reply.received_us >= before, said)
        said = f"received_us {reply.received_us} is after uptime_us {reply.uptime_us}"
        check(reply.received_us <= reply.uptime_us, said)
        before = reply.uptime_us


@CASES.add("M-TIME-1")
def times_go_on(peer: HostPeer) -> None:
    """Between two Heartbeats, both times of the module go on as the time does."""
    peer.open_session()
    sent = peer.wire.now()
    first = _beat(peer, 1)
    peer.collect(0.4)
    again = peer.wire.now()
    second = _beat(peer, 2)
    arrived = peer.wire.now()
    for name in ("received_us", "uptime_us"):
        passed = getattr(second, name) - getattr(first, name)
        least, most = (again - sent) * 1e6, (arrived - sent) * 1e6
        fits = least - _TOLERANCE_US <= passed <= most + _TOLERANCE_US
        check(fits, f"{name} goes on by {passed} us within {least:.0f} to {most:.0f} us")


@CASES.add("M-TIME-2")
def time_of_a_readout(peer: HostPeer) -> None:
    """A readout begins when the exposure is over, and before its FrameStart is sent."""
    peer.open_session()
    peer.configure(STILL)
    for _ in range(2):
        before = _beat(peer, 1).uptime_us
        mark = len(peer.log)
        peer.start_capture(1, [every(ControlId.EXPOSURE, _EXPOSURE_US)])
        start = read_frame_start(peer.wait_for_frame(STILL, mark))
        after = _beat(peer, 2).uptime_us
        earliest = before + start.exposure_us
        said = f"timestamp_us {start.timestamp_us} of a readout between {earliest} and {after}"
        check(earliest <= start.timestamp_us <= after, said)


# --- the budget -------------------------------------------------------------------------------


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


def _grant(peer: HostPeer, milliwatts: int) -> None:
    answer = peer.call(SetBudget(milliwatts), Accepted)
    check(answer.stream == 0, f"SetBudget is answered with stream {answer.stream}")


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


def _list_events(peer: HostPeer, kind: EventKind, since: int = 0) -> list[Event]:
    messages = [p.message() for p in peer.log[since:] if p.kind == MessageType.EVENT]
    return [each for each in messages if isinstance(each, Event) and each.kind == kind]


def _count(event: Event) -> int:
    return event.counter | event.counter_high << 32


@CASES.add("M-PWR-5")
def energy_of_frames(peer: HostPeer) -> None:
    """The energies of frames are no more than the counter of POWER has grown."""
    peer.open_session(_WITH_EVENTS)
    session = peer.session
    if session is None or not session.capabilities & Capability.EVENTS:
        raise NotClaimed("the module does not report its energy (no EVENTS)")
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.wait_for(_is_event(EventKind.POWER), SILENCE_MS / 1000)
    first = _list_events(peer, EventKind.POWER)
    mark = len(peer.log)
    peer.start_capture(3, [every(ControlId.EXPOSURE, _EXPOSURE_US)])
    for _ in range(3):
        end = peer.wait_for_frame(STILL, mark).end
        assert end is not None
        mark = peer.log.index(end) + 1
    # A module reports its supply when that changes, and now and then.
    peer.collect(2.5)
    last = _list_events(peer, EventKind.POWER)
    check(len(last) >= 2, f"{len(last)} Events POWER in more than 2 s")
    grown = _count(last[-1]) - _count(first[0])
    ends = [p.message() for p in peer.log if p.kind == MessageType.FRAME_END]
    spent = sum(each.energy_uj for each in ends if isinstance(each, FrameEnd))
    check(spent <= grown, f"frames of {spent} uJ, and the counter has grown by {grown} uJ")


@CASES.add("M-PWR-5")
def power_within_the_budget(peer: HostPeer) -> None:
    """Over seconds the counter of POWER grows by no more than the budget allows."""
    peer.open_session(_WITH_EVENTS)
    session = peer.session
    if session is None or not session.capabilities & Capability.EVENTS:
        raise NotClaimed("the module does not report its energy (no EVENTS)")
    idle, _ = _read_needs(peer)
    _grant(peer, idle)
    mark = len(peer.log)
    peer.collect(3.5)
    events = _list_events(peer, EventKind.POWER, mark)
    check(len(events) >= 2, f"{len(events)} Events POWER in 3.5 s")
    spent = _count(events[-1]) - _count(events[0])
    passed = events[-1].time_us - events[0].time_us
    most = idle * (passed + 200_000) / 1000
    check(spent <= most, f"{spent} uJ in {passed} us with a budget of {idle} mW")


# --- Events -----------------------------------------------------------------------------------


def _is_event(kind: EventKind) -> Callable[[object], bool]:
    def found(packet: object) -> bool:
        if getattr(packet, "kind", None) != MessageType.EVENT:
            return False
        message = packet.message()  # type: ignore[attr-defined]
        return isinstance(message, Event) and message.kind == kind

    return found


def _open_with_events(peer: HostPeer) -> None:
    answer = peer.open_session(_WITH_EVENTS)
    if not answer.capabilities & Capability.EVENTS:
        raise NotClaimed("the module reports no changes (no EVENTS)")


@CASES.add("M-EVT-1")
def all_states_at_first(peer: HostPeer) -> None:
    """When a session opens, the module reports its four states."""
    _open_with_events(peer)
    for kind in _KINDS:
        found = peer.wait_for(_is_event(kind), SILENCE_MS / 1000)
        if found is None:
            raise Failed(f"no Event {kind.name} within {SILENCE_MS} ms of HelloReply")
        check(found.id == 0, f"Event with {found.id} as frame of its header")


@CASES.add("M-EVT-1")
def no_events_without_the_capability(peer: HostPeer) -> None:
    """A session without EVENTS has no Event, also after a session that had them."""
    first = peer.start_session()
    _open_with_events(first)
    first.collect(0.3)
    first.close()
    peer.open_session()
    peer.take_still()
    peer.collect(1.5)
    kinds = [packet.kind for packet in peer.log]
    check(MessageType.EVENT not in kinds, "an Event in a session without EVENTS")


@CASES.add("M-EVT-2")
def counters_and_times_of_events(peer: HostPeer) -> None:
    """Counters and times never fall, not in the next session either; no time is to come."""
    newest: dict[int, Event] = {}
    for _ in range(2):
        fresh = peer.start_session()
        _open_with_events(fresh)
        fresh.take_still()
        fresh.collect(2.2)
        reply = _beat(fresh, 1)
        found = [p.message() for p in fresh.log if p.kind == MessageType.EVENT]
        for event in found:
            assert isinstance(event, Event)
            before = newest.get(event.kind)
            newest[event.kind] = event
            said = f"Event {event.kind} of time {event.time_us}, at {reply.uptime_us}"
            check(event.time_us <= reply.uptime_us, said)
            if before is not None:
                said = f"counter of kind {event.kind}: {_count(before)}, then {_count(event)}"
                check(_count(before) <= _count(event), said)
                said = f"time of kind {event.kind}: {before.time_us}, then {event.time_us}"
                check(before.time_us <= event.time_us, said)
        fresh.close()
    powers = [newest.get(EventKind.POWER)]
    check(powers[0] is not None, "no Event POWER in two sessions")


@CASES.add("M-EVT-2")
def an_event_says_when(peer: HostPeer) -> None:
    """Events POWER that come a second apart have times a second apart."""
    _open_with_events(peer)
    began = _beat(peer, 1).uptime_us
    mark = len(peer.log)
    peer.collect(3.5)
    times = [each.time_us for each in _list_events(peer, EventKind.POWER, mark)]
    ended = _beat(peer, 2).uptime_us
    check(len(times) >= 2, f"{len(times)} Events POWER in 3.5 s")
    said = f"Events at {times}, and they came between {began} and {ended}"
    check(all(began - _TOLERANCE_US <= each <= ended for each in times), said)
    check(all(a < b for a, b in pairwise(times)), said)
