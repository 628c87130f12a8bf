"""Snapshots of the link machines: each field that future behaviour depends on changes them.

A field that :data:`IRRELEVANT` does not name must change the snapshot. A new field of a machine is
therefore tested as soon as it exists. All machines are those of one exploration, in the middle of
a frame.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NamedTuple

import pytest

from lensfw import sensor
from lensfw.module import Stream
from lensfw.outbox import Item
from lenslink.receive.assembly import Assembly, AssemblyState
from lenslink.receive.frame_geometry import FrameGeometry
from lenslink.receive.frame_start_check import RejectedFrame
from lenslink.receive.lane_progress import LanePosition
from lenslink.receive.received_ranges import ReceivedRanges
from lenslink.receive.resend_timer import ResendRequest
from lenslink_hil.explore.state import load, save
from lenslink_hil.explore.world import Bounds, World, shrink_machines
from lenslink_hil.module_snapshot import snapshot_module
from lenslink_protocol.framing import Receiver, ReceiverState, encode_packet
from lenslink_protocol.ids import DiscardReason, MessageType, ResendFlag
from lenslink_protocol.link import Request
from lenslink_protocol.messages import Busy, Close, Event, Flush, FrameEnd, GetManifest, Log, Notice
from lenslink_protocol.params import HEADER_BYTES


def play(world: World) -> bool:
    """Do the next thing that happens without a fault. Return False if all is done."""
    sound = [action for action in world.list_actions() if action[0] in ("take", "timer")]
    if world.is_done:
        return False
    world.act(sound[0])
    return True


@cache
def saved_world() -> bytes:
    """Return a world in the middle of a frame: a tile has arrived, and others wait."""
    with shrink_machines():
        world = World(Bounds(capacity=1))
        while not any(each.received_ranges.ranges for each in world.frames.snapshot().open):
            assert play(world)
        return save(world)


# --- the machines --------------------------------------------------------------------------------


def host_receiver(world: World) -> Receiver:
    """Return a receiver inside a payload, with bytes in each of its buffers."""
    receiver = Receiver(world.link.lanes[0], 5, Counter())
    packet = encode_packet(MessageType.LOG, b"payload", nonce=5, sequence=1)
    receiver.feed(packet[: HEADER_BYTES + 3], 1.0)
    # These two are filled at other times only.
    receiver._head_fill = 4
    receiver._backlog.data += b"backlog"
    world.spare_receiver = receiver  # type: ignore[attr-defined] # for of_the_receiver()
    return receiver


def open_frame(world: World) -> Assembly:
    return next(iter(world.frames._open.values()))


def waiting_request(world: World) -> Request:
    return world.link.send_request(Flush(), world.now)


def module_receiver(world: World) -> Any:
    receiver = world.module.link.receiver
    receiver.get_space()[:5] = b"bytes"
    receiver.add_received(5, 7)
    return receiver


def used_tile(world: World) -> Any:
    return next(each for each in world.module.tiles._tiles if each.state == sensor.QUEUED)


def waiting_tile(world: World) -> Any:
    return next(item for item in world.module.link.outbox._data if item.tile is not None)


def busy_channel(world: World) -> Any:
    """Return a channel whose readout goes on: here all rows have been read already."""
    [channel] = world.module._channels
    channel.readout = world.module.frame_history._records[0].readout
    return channel


def waiting_exposure(world: World) -> Any:
    """Return the next frame of a channel, which waits for the one that is read."""
    [channel] = world.module._channels
    channel.exposure.choose(0, 5)
    return channel.exposure


def of_itself(_: World, machine: Any) -> Hashable:
    found: Hashable = machine.snapshot()
    return found


def of_the_receiver(world: Any, _: Any) -> Hashable:
    found: Hashable = world.spare_receiver.snapshot()
    return found


def of_the_link(world: World, _: Any) -> Hashable:
    return world.link.snapshot()


def of_the_frames(world: World, _: Any) -> Hashable:
    return world.frames.snapshot()


def of_the_module(world: World, _: Any) -> Hashable:
    return snapshot_module(world.module)


class Machine(NamedTuple):
    """A kind of machine, how to get one, and how its snapshot is taken."""

    get: Callable[[World], Any]
    take: Callable[[World, Any], Hashable]


MACHINES = {
    "host receiver": Machine(host_receiver, of_itself),
    "host packet": Machine(lambda world: host_receiver(world)._packet, of_the_receiver),
    "host backlog": Machine(lambda world: host_receiver(world)._backlog, of_the_receiver),
    "host request": Machine(waiting_request, of_itself),
    "host lane": Machine(lambda world: world.link.lanes[0], of_itself),
    "host link": Machine(lambda world: world.link, of_itself),
    "host credits": Machine(lambda world: world.link._credits, of_the_link),
    "host liveness": Machine(lambda world: world.link._liveness, of_the_link),
    "host requests": Machine(lambda world: world.link._requests, of_the_link),
    "host received ranges": Machine(lambda world: open_frame(world).received_ranges, of_itself),
    "host resend timer": Machine(lambda world: open_frame(world).timer, of_the_frames),
    "host assembly": Machine(open_frame, of_itself),
    "host reassembly": Machine(lambda world: world.frames, of_itself),
    "host stream history": Machine(lambda world: world.frames._histories[0], of_the_frames),
    "host lane progress": Machine(lambda world: world.frames._progress, of_the_frames),
    "module receiver": Machine(module_receiver, of_the_module),
    "module link": Machine(lambda world: world.module.link, of_the_module),
    "module outbox": Machine(lambda world: world.module.link.outbox, of_the_module),
    "module item": Machine(waiting_tile, of_the_module),
    "module tile": Machine(used_tile, of_the_module),
    "module tiles": Machine(lambda world: world.module.tiles, of_the_module),
    "module frames": Machine(lambda world: world.module.frame_history, of_the_module),
    "module record": Machine(lambda world: world.module.frame_history._records[0], of_the_module),
    "module readout": Machine(
        lambda world: world.module.frame_history._records[0].readout, of_the_module
    ),
    "module channel": Machine(busy_channel, of_the_module),
    "module exposure": Machine(waiting_exposure, of_the_module),
    "module stream": Machine(lambda world: world.module.streams[0], of_the_module),
    "module": Machine(lambda world: world.module, of_the_module),
    "module ports": Machine(lambda world: world.module.ports, of_itself),
}

COUNTER = "a counter"
MEMORY = "memory that is written before it is read"
CONSTANT = "constant: it follows from the configuration"
DERIVED = "it follows from other fields"
OTHER = "a machine that has a snapshot or a case of its own"
OUTSIDE = "not part of the machine"

IRRELEVANT: dict[str, dict[str, str]] = {
    "host receiver": {
        "sink": OTHER,
        "discards": COUNTER,
        "lost_packets": COUNTER,
        "valid_headers": COUNTER,
        "_packet": OTHER,
        "_backlog": OTHER,
        "_scratch": MEMORY,
        "_landing": MEMORY,
    },
    "host packet": {},
    "host backlog": {},
    "host request": {},
    "host lane": {"_link": OTHER, "receiver": OTHER},
    "host link": {
        "discards": COUNTER,
        "clock_samples": "kept for the caller: the link does not use them",
        "newest_events": "kept for the caller: the link does not use them",
        "heartbeat_reply": "kept for the caller: the link does not use it",
        "on_event": "the caller's",
        "_frames": OTHER,
        "_credits": OTHER,
        "_liveness": OTHER,
        "_requests": OTHER,
    },
    "host credits": {},
    "host liveness": {},
    "host requests": {},
    "host received ranges": {"count": DERIVED},
    "host resend timer": {},
    "host assembly": {
        "buffer": "the memory of the field memory",
        "timer": OTHER,
        "frame_time": "told to the user: the assembly does not use it",
    },
    "host reassembly": {
        "counters": COUNTER,
        "_discards": COUNTER,
        "_pool": OUTSIDE,
        "_find_configuration": OUTSIDE,
        "mode_sizes": CONSTANT,
        "_histories": OTHER,
        "_progress": OTHER,
    },
    "host stream history": {},
    "host lane progress": {"lanes": OTHER},
    "module receiver": {"discards": COUNTER, "_on_damage": OTHER, "_view": "a view of _buffer"},
    "module link": {
        "discards": COUNTER,
        "dropped_logs": COUNTER,
        "dropped_requests": COUNTER,
        "receiver": OTHER,
        "outbox": OTHER,
        "send_filter": "a module with the test capability has no snapshot",
        "_module": OTHER,
        "_clock": OUTSIDE,
        "_boot_count": CONSTANT,
        "_reset_reason": CONSTANT,
    },
    "module outbox": {},
    "module item": {},
    "module tile": {
        "_idle": OTHER,
        "_item": OTHER,
        "_packets": "views of packet",
        "_pixel_views": "views of packet",
    },
    "module tiles": {},
    "module frames": {"_tiles": OTHER, "_outbox": OTHER},
    "module record": {},
    "module readout": {"_ports": OUTSIDE, "_tiles": OTHER},
    "module channel": {
        "ports": OUTSIDE,
        "began": "of heat, which the ports drive",
        "exposure": OTHER,
    },
    "module exposure": {"_steps": "a count of the motor", "_moves": "a count of the iris"},
    "module stream": {"active_mw": "of the mode"},
    "module": {
        "config": CONSTANT,
        "manifest": CONSTANT,
        "_modes": CONSTANT,
        "_cfa": CONSTANT,
        "_formats": CONSTANT,
        "_black_milli": CONSTANT,
        "_ranges": CONSTANT,
        "_row_time_ns": CONSTANT,
        "_noise": CONSTANT,
        "_schedule": CONSTANT,
        "_authenticate": CONSTANT,
        "_key_holder": CONSTANT,
        "_set_switch": CONSTANT,
        "_fault_injection": "a module with the test capability has no snapshot",
        "ports": OUTSIDE,
        "clock": OUTSIDE,
        "contacts": "driven by the ports alone",
        "power": "driven by the ports alone",
        "heat": "driven by the ports alone",
        "events": "driven by the ports and by time alone",
        "focus_motor": "driven by the ports alone",
        "focus_ring": "driven by the ports alone",
        "iris": "moved by settings, which no explored request has",
        "_waiting_ends": "without a gauge of energy no FrameEnd waits",
        "_ends_since": "without a gauge of energy no FrameEnd waits",
        "_released_at": "driven by the ports alone",
        "link": OTHER,
        "tiles": OTHER,
        "frame_history": OTHER,
        "executed": "of the explorer",
    },
    "module ports": {"_picture": CONSTANT, "_width": CONSTANT},
}


# --- how a field is changed ----------------------------------------------------------------------


def copied(value: Any, **fields: Any) -> Any:
    """Return a shallow copy of an object with other fields."""
    found = copy.copy(value)
    vars(found).update(fields)
    return found


def received(*ranges: tuple[int, int]) -> ReceivedRanges:
    """Return received ranges of a frame of 48 bytes."""
    found = ReceivedRanges(48)
    for start, end in ranges:
        found.add(start, end)
    return found


NEW_VALUES: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("host receiver", "_head"): lambda m: memoryview(bytes(HEADER_BYTES)),
    ("host receiver", "_state"): lambda m: ReceiverState.SEARCH,
    ("host packet", "header"): lambda m: m.header._replace(frame=9),
    ("host packet", "payload"): lambda m: memoryview(b"another"),
    ("host request", "message"): lambda m: GetManifest(0),
    ("host request", "reply"): lambda m: Close(0),
    ("host link", "lanes"): lambda m: [copied(m.lanes[0], is_alive=False)],
    ("host link", "session"): lambda m: dataclasses.replace(m.session, lanes=9),
    ("host link", "close_message"): lambda m: Close(0),
    ("host link", "busy"): lambda m: Busy(1, 100),
    ("host link", "outgoing"): lambda m: deque([b"packet"]),
    ("host link", "logs"): lambda m: deque([Log(1, 0, b"text")]),
    ("host link", "notices"): lambda m: deque([Notice(1, 0)]),
    ("host link", "events"): lambda m: deque([Event(1, 0, 0, 0, 0)]),
    ("host requests", "pending"): lambda m: {7: Request(7, Flush(), 0.0, 1)},
    ("host assembly", "geometry"): lambda m: FrameGeometry(
        dataclasses.replace(m.configuration, mode=9)
    ),
    ("host assembly", "state"): lambda m: AssemblyState.OVERDUE,
    ("host assembly", "frame_start"): lambda m: None,
    ("host assembly", "frame_end"): lambda m: FrameEnd(0, 1, 3, 0, (0, 0, 0, 0), 0),
    ("host assembly", "reservations"): lambda m: {3: (0, 1)},
    ("host assembly", "received_ranges"): lambda m: received((0, 48)),
    ("host assembly", "unavailable_ranges"): lambda m: received((0, 48)),
    ("host assembly", "memory"): lambda m: memoryview(bytes(len(m.memory))),
    ("host reassembly", "finished_frames"): lambda m: deque(m._open.values()),
    ("host reassembly", "_open"): lambda m: {},
    ("host stream history", "rejected_frame"): lambda m: RejectedFrame(1, 3, "cfa"),
    ("host lane progress", "_positions"): lambda m: {(0, 0): LanePosition(9, 9)},
    ("module receiver", "_buffer"): lambda m: bytearray(len(m._buffer)),
    ("module link", "_answers"): lambda m: m._answers[1:],
    ("module link", "_past"): lambda m: [*m._past, (1, 2, {3: 4})],
    ("module link", "_farewell"): lambda m: (memoryview(b"packet"), None),
    ("module outbox", "_control"): lambda m: [*m._control, Item(1, 0, 0, b"payload")],
    ("module outbox", "_data"): lambda m: m._data[::-1],
    ("module item", "tile"): lambda m: m.tile._idle[0],
    ("module tile", "packet"): lambda m: bytearray(len(m.packet)),
    ("module tile", "pixels"): lambda m: memoryview(bytes(len(m.pixels))),
    ("module tiles", "_idle"): lambda m: m._idle[::-1],
    ("module tiles", "_tiles"): lambda m: m._tiles[::-1],
    ("module frames", "_records"): lambda m: [],
    ("module record", "readout"): lambda m: copied(m.readout, tile_count=9),
    ("module record", "end"): lambda m: b"end",
    ("module readout", "plan"): lambda m: copied(m.plan, width=9),
    ("module readout", "_tile"): lambda m: m._tiles._tiles[0],
    ("module channel", "readout"): lambda m: None,
    ("module stream", "mode"): lambda m: {**m.mode, "id": 9},
    ("module stream", "values"): lambda m: [1, *m.values[1:]],
    ("module exposure", "values"): lambda m: [1, *m.values[1:]],
    ("module ports", "events"): lambda m: [(1, 0, 0)],
    ("module ports", "_rows"): lambda m: memoryview(b"rows"),
    ("module", "streams"): lambda m: [Stream() for _ in m.streams],
    ("host resend timer", "requests"): lambda m: [ResendRequest(9.0, ResendFlag.START, ((0, 4),))],
    ("module", "_channels"): lambda m: [copied(each, stream=9) for each in m._channels],
}
"""Another value for each field whose kind :func:`altered` does not know."""


def altered(value: Any) -> Any:
    """Return another value of the same kind.

    Raises:
        TypeError: The kind is not known: the field needs a line in NEW_VALUES.
    """
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return 7
        case bytes() | bytearray():
            return value + b"x"
        case tuple():
            return (*value, 7)
        case [int(first), *rest]:
            return [first + 1, *rest]
        case _:
            raise TypeError(f"{type(value)} needs a line in NEW_VALUES")


def change(name: str, machine: Any, field: str) -> None:
    """Give a field another value."""
    if (name, field) in NEW_VALUES:
        value = NEW_VALUES[name, field](machine)
    else:
        value = altered(getattr(machine, field))
    setattr(machine, field, value)


# --- the tests -----------------------------------------------------------------------------------

FIELDS = [
    (name, field)
    for name, machine in MACHINES.items()
    for field in vars(machine.get(load(saved_world())))
]


@pytest.mark.parametrize(
    ("name", "field"), [each for each in FIELDS if each[1] not in IRRELEVANT[each[0]]]
)
def test_a_field_changes_the_snapshot(name: str, field: str) -> None:
    world = load(saved_world())
    machine = MACHINES[name].get(world)
    before = MACHINES[name].take(world, machine)
    change(name, machine, field)
    assert MACHINES[name].take(world, machine) != before


@pytest.mark.parametrize(
    ("name", "field"),
    [each for each in FIELDS if IRRELEVANT[each[0]].get(each[1]) in (COUNTER, CONSTANT, DERIVED)],
)
def test_a_counter_or_a_constant_does_not(name: str, field: str) -> None:
    world = load(saved_world())
    machine = MACHINES[name].get(world)
    before = MACHINES[name].take(world, machine)
    # The snapshot must not even look at the value.
    setattr(machine, field, object())
    assert MACHINES[name].take(world, machine) == before


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_called_irrelevant_exists(name: str) -> None:
    assert IRRELEVANT[name].keys() <= vars(MACHINES[name].get(load(saved_world()))).keys()


@pytest.mark.parametrize("name", MACHINES)
def test_equal_states_have_equal_snapshots(name: str) -> None:
    taken = []
    for _ in range(2):
        world = load(saved_world())
        taken.append(MACHINES[name].take(world, MACHINES[name].get(world)))
    assert taken[0] == taken[1]
    assert hash(taken[0]) == hash(taken[1])


def snapshots(world: World) -> tuple[Hashable, ...]:
    return world.link.snapshot(), world.frames.snapshot(), snapshot_module(world.module)


def test_a_snapshot_stays_as_it_is_while_the_machines_go_on() -> None:
    with shrink_machines():
        world = World(Bounds(lanes=2, flush=True))
        taken = [snapshots(world)]
        texts = [repr(taken[0])]
        while play(world):
            taken.append(snapshots(world))
            texts.append(repr(taken[-1]))
    assert len(taken) > 10
    assert [repr(each) for each in taken] == texts
    # Time or a packet has changed something at each step.
    assert len(set(taken)) == len(taken)


def test_a_loaded_world_goes_on_as_the_saved_one() -> None:
    with shrink_machines():
        world = World(Bounds())
        while True:
            twin = load(save(world))
            assert snapshots(twin) == snapshots(world)
            if not play(world):
                return
            play(twin)
            assert snapshots(twin) == snapshots(world)


def test_the_size_of_the_pieces_leaves_no_trace_in_a_receiver() -> None:
    packets = b"".join(encode_packet(MessageType.LOG, b"text", nonce=5, sequence=n) for n in (1, 2))
    taken = []
    for size in (1, 7, len(packets)):
        receiver = Receiver(Ignore(), 5, Counter())
        # What went before is counted, and nothing else.
        receiver.discards[DiscardReason.NOISE] = receiver.lost_packets = size
        for start in range(0, len(packets) - 3, size):
            receiver.feed(packets[start : min(start + size, len(packets) - 3)], 1.0)
        taken.append(receiver.snapshot())
    assert taken[0] == taken[1] == taken[2]
    assert taken[0].header is not None
    assert taken[0].payload == b"t"


class Ignore:
    """A sink that takes nothing."""

    def reserve_buffer(self, header: object) -> None:
        del header

    def on_packet(self, header: object, payload: object, in_place: bool) -> None:
        del header, payload, in_place


def test_the_snapshot_of_a_frame_shows_what_has_arrived_and_nothing_else() -> None:
    world = load(saved_world())
    assembly = open_frame(world)
    before = assembly.snapshot()
    [(start, end)] = before.received_ranges.ranges
    assert [len(each) for each in before.pixels] == [end - start]
    assembly.buffer[end] ^= 1
    assert assembly.snapshot() == before
    assembly.buffer[start] ^= 1
    assert assembly.snapshot() != before


def test_a_free_tile_says_only_when_it_is_taken() -> None:
    world = load(saved_world())
    tile = used_tile(world)
    before = snapshot_module(world.module)
    tile.state = sensor.FREE
    after = snapshot_module(world.module)
    number = world.module.tiles._tiles.index(tile)
    assert before.tiles.tiles[number].pixels
    assert after.tiles.tiles[number] == (sensor.FREE, 0, 0, (0, 0, 0, 0), 0, 0, b"", None)


@pytest.mark.parametrize("at", [16 + 4, HEADER_BYTES - 8], ids=["place", "CRC of the payload"])
def test_what_stands_in_the_header_of_a_tile_is_in_the_snapshot(at: int) -> None:
    world = load(saved_world())
    before = snapshot_module(world.module)
    used_tile(world).packet[at] ^= 1
    assert snapshot_module(world.module) != before


def test_the_order_in_which_held_tiles_are_taken_is_in_the_snapshot() -> None:
    world = load(saved_world())
    idle = world.module.tiles._idle
    for tile in idle:
        tile.state = sensor.HELD
    before = snapshot_module(world.module)
    assert len(idle) > 1
    idle.reverse()
    assert snapshot_module(world.module) != before


@pytest.mark.parametrize("field", ["_fault_injection", "send_filter"])
def test_a_module_with_the_test_capability_has_none(field: str) -> None:
    world = load(saved_world())
    owner = world.module if field == "_fault_injection" else world.module.link
    setattr(owner, field, object())
    with pytest.raises(ValueError, match="test capability"):
        snapshot_module(world.module)
