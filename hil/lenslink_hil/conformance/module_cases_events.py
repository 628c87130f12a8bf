"""Cases for modules: Events and their counters (SPEC.md, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import Capability, ContactState, EventKind, HeatState, MessageType
from lenslink_protocol.messages import Accepted, Event, SetBudget
from lenslink_protocol.params import SILENCE_MS, VERSION_MAJOR

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import HostPeer
from .module_steps import (
    ALL_WITH_EVENTS,
    CLOCK_TOLERANCE_US,
    SESSION_ENDS,
    exchange_heartbeat,
    get_event_count,
    list_events,
    make_event_test,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_VALUES: dict[int, tuple[int, ...]] = {
    EventKind.CONTACTS: (ContactState.ATTACHED,),
    EventKind.HEAT: tuple(range(HeatState.SHUTDOWN)),
}
"""The states that a module can have while its session goes on."""

_SOME_S = 4.2
"""Time for two Events POWER of a module that sends as few of them as it may."""
_MOST_BETWEEN_US = 2_300_000

_KINDS = (EventKind.RING, EventKind.CONTACTS, EventKind.HEAT, EventKind.POWER)


def _open_with_events(peer: HostPeer) -> None:
    answer = peer.open_session(ALL_WITH_EVENTS)
    if not answer.capabilities & Capability.EVENTS:
        raise NotClaimed("the module reports no changes (no EVENTS)")


@CASES.add("M-EVT-1")
def all_states_at_first(peer: HostPeer) -> None:
    """When a session opens, the module reports its four states, whatever ended the one before."""
    session = peer
    for how in (*SESSION_ENDS, ""):
        _open_with_events(session)
        for kind in _KINDS:
            found = session.wait_for(make_event_test(kind), SILENCE_MS / 1000)
            if found is None:
                raise Failed(f"no Event {kind.name} within {SILENCE_MS} ms of HelloReply")
            check(found.id == 0, f"Event with {found.id} as frame of its header")
            event = found.message()
            assert isinstance(event, Event)
            if kind in _VALUES:
                state = event.value & 0xFF
                said = f"Event {kind.name} has the value {event.value:#x} in a session that works"
                check(state in _VALUES[kind], said)
        if how == "Close":
            session.close()
        elif how == "a refused Hello":
            newer = (VERSION_MAJOR + 1) << 4
            session.start_session().try_hello(ALL_WITH_EVENTS, (newer, newer), version=newer)
        session = session.start_session()


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
        fresh.wait_for(make_event_test(EventKind.POWER), SILENCE_MS / 1000)
        reply = exchange_heartbeat(fresh, 1)
        found = [p.message() for p in fresh.log if p.kind == MessageType.EVENT]
        for event in found:
            assert isinstance(event, Event)
            before = newest.get(event.kind)
            newest[event.kind] = event
            said = f"Event {event.kind} of time {event.time_us}, at {reply.uptime_us}"
            check(event.time_us <= reply.uptime_us, said)
            if before is not None:
                counts = get_event_count(before), get_event_count(event)
                said = f"counter of kind {event.kind}: {counts[0]}, then {counts[1]}"
                check(counts[0] <= counts[1], said)
                said = f"time of kind {event.kind}: {before.time_us}, then {event.time_us}"
                check(before.time_us <= event.time_us, said)
        fresh.close()
    powers = [newest.get(EventKind.POWER)]
    check(powers[0] is not None, "no Event POWER in two sessions")


@CASES.add("M-EVT-1", "M-EVT-2", "M-PWR-5")
def events_of_some_seconds(peer: HostPeer) -> None:
    """Events POWER come every two seconds at least, say when, and count what a budget allows."""
    _open_with_events(peer)
    peer.take_still()
    power = peer.get_manifest().power
    idle_mw = power.idle_mw + power.motor_mw if power is not None else 0
    if idle_mw:
        peer.call(SetBudget(idle_mw), Accepted)
    began = exchange_heartbeat(peer, 1).uptime_us
    mark = len(peer.log)
    peer.collect(_SOME_S)
    found = list_events(peer, EventKind.POWER, mark)
    times = [each.time_us for each in found]
    ended = exchange_heartbeat(peer, 2).uptime_us
    check(len(times) >= 2, f"{len(times)} Events POWER in {_SOME_S} s")
    said = f"Events at {times}, and they came between {began} and {ended}"
    check(all(began - CLOCK_TOLERANCE_US <= each <= ended for each in times), said)
    check(all(a < b for a, b in pairwise(times)), said)
    check(all(b - a <= _MOST_BETWEEN_US for a, b in pairwise([began, *times, ended])), said)
    counts = [get_event_count(each) for each in found]
    said = f"the counter of POWER stays at {counts}, and a module always draws power"
    check(not counts[0] or all(a < b for a, b in pairwise(counts)), said)
    fresh = peer.start_session()
    _open_with_events(fresh)
    fresh.wait_for(make_event_test(EventKind.POWER), SILENCE_MS / 1000)
    for later in list_events(fresh, EventKind.POWER)[:1]:
        pairs = [(each.time_us, get_event_count(each)) for each in (found[-1], later)]
        said = f"time and counter of POWER are {pairs[0]}, and {pairs[1]} in the next session"
        check(all(a <= b for a, b in zip(*pairs, strict=True)), said)
    fresh.close()
    if idle_mw:
        spent = get_event_count(found[-1]) - get_event_count(found[0])
        passed = found[-1].time_us - found[0].time_us
        most = idle_mw * (passed + 200_000) / 1000
        check(spent <= most, f"{spent} uJ in {passed} us with a budget of {idle_mw} mW")
