"""Cases for modules: Events and their counters (SPEC.md, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lenslink_protocol.ids import Capability, EventKind, MessageType
from lenslink_protocol.messages import Event
from lenslink_protocol.params import SILENCE_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import HostPeer
from .module_steps import (
    ALL_WITH_EVENTS,
    CLOCK_TOLERANCE_US,
    exchange_heartbeat,
    get_event_count,
    list_events,
    make_event_test,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_KINDS = (EventKind.RING, EventKind.CONTACTS, EventKind.HEAT, EventKind.POWER)


def _open_with_events(peer: HostPeer) -> None:
    answer = peer.open_session(ALL_WITH_EVENTS)
    if not answer.capabilities & Capability.EVENTS:
        raise NotClaimed("the module reports no changes (no EVENTS)")


@CASES.add("M-EVT-1")
def all_states_at_first(peer: HostPeer) -> None:
    """When a session opens, the module reports its four states."""
    _open_with_events(peer)
    for kind in _KINDS:
        found = peer.wait_for(make_event_test(kind), SILENCE_MS / 1000)
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


@CASES.add("M-EVT-2")
def an_event_says_when(peer: HostPeer) -> None:
    """Events POWER that come a second apart have times a second apart."""
    _open_with_events(peer)
    began = exchange_heartbeat(peer, 1).uptime_us
    mark = len(peer.log)
    peer.collect(3.5)
    times = [each.time_us for each in list_events(peer, EventKind.POWER, mark)]
    ended = exchange_heartbeat(peer, 2).uptime_us
    check(len(times) >= 2, f"{len(times)} Events POWER in 3.5 s")
    said = f"Events at {times}, and they came between {began} and {ended}"
    check(all(began - CLOCK_TOLERANCE_US <= each <= ended for each in times), said)
    check(all(a < b for a, b in pairwise(times)), said)
