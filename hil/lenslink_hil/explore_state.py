"""One state of an exploration as bytes: to come back to it, and to know it again.

:func:`save` and :func:`load` keep a :class:`~.explore_world.World` whole. :func:`key` is the same
for two worlds that behave the same from then on: in it times, sequences and credits are relative
to each other, and what influences nothing is missing. What is missing is named here; everything
else is in the key, attributes that this file has never heard of included.
"""

from __future__ import annotations

import copyreg
import io
import marshal
import pickle
import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lensfw import framing as module_framing
from lensfw import module as firmware
from lensfw import sensor
from lenslink.coverage import Coverage
from lenslink.reassembly import Assembly
from lenslink_protocol.framing import Receiver
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import HEADER, Header, Heartbeat, HeartbeatReply
from lenslink_protocol.params import HEADER_BYTES

from .virtual import InstantPorts

if TYPE_CHECKING:
    from .explore_world import World


class Violation(AssertionError):
    """Raised where an invariant does not hold. No machine catches it."""


@lru_cache(1 << 16)
def parse(packet: bytes) -> Header:
    """The header of a packet."""
    return Header._make(HEADER.unpack_from(packet)[1:])


def save(world: World) -> bytes:
    """All of it, but for the counters of rejects."""
    world.link.rejects.clear()
    world.module.link.rejects.clear()
    file = io.BytesIO()
    _Pickler(file).dump(world)
    return file.getvalue()


def load(saved: bytes) -> World:
    """What was saved, as often as needed. Only for what this process saved."""
    world: World = _Unpickler(io.BytesIO(saved)).load()
    return world


# --- what pickle cannot: views of memory, and what need not be kept -------------------------------

# Of a module: the same in every world with as many tiles.
_CONSTANT = ("config", "manifest", "_modes")
_constants: dict[int, dict[str, Any]] = {}

_LANDING = memoryview(bytearray(1 << 16))
_RECEIVER_MEMORY = ("_head", "_payload", "_scratch", "_landing")


def _blank(kind: type) -> Any:
    return object.__new__(kind)


# Its memory, views of it, and the item that it waits with: an item in the outbox is saved there.
_TILE_MEMORY = {"packet", "pixels", "_item", "_wholes", "_parts"}


def _make_tile(packet: bytes) -> Any:
    tile = sensor.Tile(len(packet) - HEADER_BYTES, [])
    tile.packet[:] = packet
    return tile


def _save_tile(tile: Any) -> Any:
    # What it knows of the others is set once it is known itself: it is among them.
    state = {k: v for k, v in vars(tile).items() if k not in _TILE_MEMORY}
    return _make_tile, (bytes(tile.packet),), state


def _make_module_receiver(
    rest: bytes, rejects: dict[str, int], spent: Callable[[Any], None]
) -> Any:
    receiver = module_framing.Receiver(rejects, spent)
    receiver._buffer[: len(rest)] = rest
    receiver._count = len(rest)
    return receiver


def _save_module_receiver(receiver: Any) -> Any:
    return _make_module_receiver, (_rest(receiver), receiver.rejects, receiver._spent)


def _rest(receiver: Any) -> bytes:
    return bytes(receiver._buffer[receiver._used : receiver._count])


def _set_receiver(receiver: Receiver, state: dict[str, Any]) -> None:
    vars(receiver).update(state)
    receiver._head = memoryview(bytearray(HEADER_BYTES))
    receiver._payload = memoryview(b"")
    receiver._scratch = bytearray(64)
    receiver._landing = _LANDING


def _save_receiver(receiver: Receiver) -> Any:
    if receiver._header is not None:
        raise Violation("a receiver waits inside a packet")
    state = {k: v for k, v in vars(receiver).items() if k not in _RECEIVER_MEMORY}
    return _blank, (type(receiver),), state, None, None, _set_receiver


def _set_assembly(assembly: Assembly, state: dict[str, Any]) -> None:
    vars(assembly).update(state)
    assembly.memory = assembly.buffer.data


def _save_assembly(assembly: Assembly) -> Any:
    state = {k: v for k, v in vars(assembly).items() if k != "memory"}
    return _blank, (type(assembly),), state, None, None, _set_assembly


def _make_ports(picture: Callable[[int], bytes], rows: bytes) -> InstantPorts:
    ports = InstantPorts(picture)
    ports.events = []
    ports._rows = memoryview(rows)
    return ports


def _save_ports(ports: InstantPorts) -> Any:
    return _make_ports, (ports._picture, bytes(ports._rows))


def _set_module(module: Any, state: dict[str, Any]) -> None:
    vars(module).update(_constants[state.pop("constants")])
    vars(module).update(state)


def _save_module(module: Any) -> Any:
    state = {k: v for k, v in vars(module).items() if k not in _CONSTANT}
    tiles = len(module.tiles._tiles)
    if tiles not in _constants:
        _constants[tiles] = {name: getattr(module, name) for name in _CONSTANT}
    state["constants"] = tiles
    return _blank, (type(module),), state, None, None, _set_module


class _Unpickler(pickle.Unpickler):
    """Of what :func:`save` gave to this process, never of a file."""


_SAVERS: dict[type, Callable[[Any], Any]] = {
    sensor.Tile: _save_tile,
    module_framing.Receiver: _save_module_receiver,
    Receiver: _save_receiver,
    Assembly: _save_assembly,
    InstantPorts: _save_ports,
    firmware.Module: _save_module,
}


class _Pickler(pickle.Pickler):
    """Knows how to save what holds views of memory."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.dispatch_table = _TABLE


_TABLE = {**copyreg.dispatch_table, **_SAVERS}


# --- the key --------------------------------------------------------------------------------------

_HALF = 1 << 31
_SEQUENCED = (MessageType.FRAME_END, MessageType.FLUSHED)
_LONG_AGO = -64
# Attributes that influence nothing, or stand elsewhere in the key.
_DROPPED = {
    "World": {"bounds", "now", "nonce_base", "pool", "link", "frames", "module", "request",
              "down", "up", "late", "left", "configurations", "origin", "tiles_out", "ended"},
    "_Link": {"rejects", "outgoing", "logs", "notices", "_frames", "_sequence", "now",
              "_arrived", "_granted"},
    "Lane": {"number", "_link"},
    "Receiver": {"sink", "nonce", "rejects", "max_payload", "lost", "_head", "_header", "_payload",
                 "_got", "_in_place", "_wanted", "_scratch", "_landing", "_progress",
                 "last_sequence", "settled_sequence"},
    "Reassembly": {"finished", "aborted", "bytes", "first_tile", "_pool", "_rejects", "_expect",
                   "lanes"},
    "Assembly": {"plan", "buffer", "memory", "end"},
    "Coverage": {"size", "count"},
    "Module": {"config", "manifest", "_modes", "ports", "clock", "contacts", "power", "focus",
               "ring", "link", "executed", "tiles", "_cfa", "_format", "_black"},
    "Link": {"rejects", "receiver", "dropped_logs", "_module", "_clock", "_boot_count",
             "_reset_reason", "outbox", "_rx", "_tx", "_past"},
    "Outbox": {"_sent", "_since", "_limit"},
    "Frames": {"_tiles", "_outbox"},
    "Channel": {"ports"},
    "Readout": {"_ports", "_tiles", "settings"},
}  # fmt: skip
# Moments on the host's clock: (attribute, whether it matters by how much it is over).
_MOMENTS = {
    "next_try": False,
    "_next_heartbeat": False,
    "_busy_until": False,
    "next_ask": False,
    "_heard": True,
    "progress": True,
}
_HOST_MOMENTS = {"_Link", "Request", "Assembly"}

_ATOMS = {int, str, bytes, bool, type(None), float}


def key(world: World) -> bytes:
    """16 bytes."""
    return blake2b(marshal.dumps(_Key(world).parts(), 2), digest_size=16).digest()


class _Key:
    """Walks through a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.link = world.module.link
        self.same = self.link.nonce == world.nonce
        """Both ends are in the same session."""
        # Bytes of tiles that the module has sent in its session: what credits are relative to.
        self.sent = self.link.outbox.sent()
        self.tiles = {id(tile): n for n, tile in enumerate(world.module.tiles._tiles)}
        # Which of them is taken next.
        self.rank = {id(tile): n for n, tile in enumerate(world.module.tiles._idle)}

    def parts(self) -> tuple[Any, ...]:
        world, link = self.world, self.link
        host = world.link
        box = link.outbox
        if self.same:
            base, granted = self.sent, host._granted
            arrived = host._arrived
        else:
            base, granted, arrived = host._arrived, host._granted, host._arrived
        stale = {number for number in world.origin if number < world.module.next_frame - 1}
        return (
            self.walk(world),
            tuple(world.left.values()),
            self.walk(host),
            tuple(a - b for a, b in zip(arrived, base, strict=True)),
            tuple(max(a - b, -1) for a, b in zip(granted, base, strict=True)),
            self.step(host._sequence, link._rx) if self.same else None,
            tuple(self.lane(lane.receiver, n) for n, lane in enumerate(host.lanes)),
            self.walk(world.frames),
            tuple(self.end(each) for each in world.frames._open.values()),
            self.walk(world.module),
            self.walk(link),
            self.walk(box),
            tuple(a - b for a, b in zip(box._limit, self.sent, strict=True)),
            tuple(self.tile(tile) for tile in world.module.tiles._tiles),
            _rest(link.receiver),
            bytes(world.module.ports._rows),
            # What the monitors know, of frames and sessions that can still be seen.
            sorted((n, v) for n, v in world.origin.items() if n not in stale),
            sorted((n, v) for n, v in world.tiles_out.items() if n not in stale),
            sorted(world.ended - stale),
            sorted(e for e in world.module.executed if e[0] in {link.nonce, world.nonce}),
            tuple(self.packet(packet, -1) for packet in world.down),
            tuple(
                tuple(self.packet(packet, lane) for packet in channel)
                for lane, channel in enumerate(world.up)
            ),
            tuple(self.packet(packet, lane) for lane, packet in world.late),
        )

    @staticmethod
    def step(a: int, b: int | None) -> int | None:
        """a - b on the circle of sequences."""
        return None if b is None else ((a - b + _HALF) & 0xFFFFFFFF) - _HALF

    def lane(self, receiver: Receiver, number: int) -> tuple[Any, ...]:
        """Where the host's receiver is behind what the module has sent."""
        tx = self.link._tx[number]
        if self.same:
            return self.step(tx, receiver.last_sequence), self.step(tx, receiver.settled_sequence)
        return receiver.last_sequence is None, receiver.settled_sequence is None

    def end(self, assembly: Assembly) -> tuple[Any, ...] | None:
        """A frame-end, and how far each lane is from it."""
        end = assembly.end
        if end is None:
            return None
        steps = []
        for lane in self.world.link.lanes:
            last = -1 if lane.last_sequence is None else lane.last_sequence
            steps.append(max(self.step(end.last_sequence[lane.number], last) or 0, 0))
        return int(end.status), end.lanes, *steps

    def tile(self, tile: Any) -> tuple[Any, ...]:
        if tile.state == sensor.FREE:
            return ()
        pixels = bytes(tile.pixels)
        return tile.state, tile.stream, tile.frame, tile.place(), pixels, self.rank.get(id(tile))

    def packet(self, packet: bytes, lane: int) -> tuple[Any, ...]:
        """A packet on its way; nothing of it where it will be rejected for certain."""
        header = parse(packet)
        payload: Any = packet[HEADER_BYTES:]
        sequence: int | None = header.sequence
        if lane >= 0:
            if header.nonce != self.world.nonce:
                # The host never goes back to another session.
                return ()
            last = self.world.link.lanes[lane].receiver.last_sequence
            if last is not None and (self.step(header.sequence, last) or 0) <= 0:
                return ()
            if self.same:
                sequence = self.step(header.sequence, self.link._tx[lane])
            if header.type == HeartbeatReply.TYPE:
                reply = HeartbeatReply.decode(payload)
                base = self.sent if self.same else self.world.link._arrived
                payload = tuple(a - b for a, b in zip(reply.sent, base, strict=True)), reply.begun
            elif header.type in _SEQUENCED:
                # That of lane 0 is the packet's own.
                last_sequence = struct.unpack("<3I", payload[-12:])
                ahead = [
                    self.step(a, b) for a, b in zip(last_sequence, self.link._tx[1:], strict=True)
                ]
                payload = payload[:-16], tuple(ahead)
        elif header.nonce == self.link.nonce:
            sequence = self.step(header.sequence, self.link._rx)
            if (sequence or 0) <= 0:
                return ()
            if header.type == Heartbeat.TYPE:
                limits = Heartbeat.decode(payload).limit
                payload = tuple(a - b for a, b in zip(limits, self.sent, strict=True))
        place = (header.x, header.y, header.width, header.height)
        return (header.type, header.flags, header.stream, header.nonce, sequence, header.frame,
                place, payload)  # fmt: skip

    def walk(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind in {tuple, list, deque}:
            return tuple([self.walk(each) for each in value])
        if kind is dict:
            return tuple([(name, self.walk(each)) for name, each in value.items()])
        if kind is Counter:
            return ()
        if kind in {set, frozenset}:
            return tuple(sorted(value))
        if kind is bytearray:
            return bytes(value)
        if kind is sensor.Tile:
            return self.tiles[id(value)]
        if kind is firmware.Stream:
            mode = None if value.mode is None else value.mode["id"]
            return mode, *[v for k, v in vars(value).items() if k != "mode"]
        if kind is Coverage:
            return tuple(value._starts), tuple(value._ends)
        if isinstance(value, Enum):
            return value.value
        if is_dataclass(value):
            return kind.__name__, *[self.walk(getattr(value, f.name)) for f in fields(value)]
        name = kind.__name__
        if not hasattr(value, "__dict__"):
            raise TypeError(f"{kind} in a state")
        dropped = _DROPPED.get(name, set())
        found = []
        moments = name in _HOST_MOMENTS
        for attribute, each in vars(value).items():
            if attribute in dropped:
                continue
            if moments and attribute in _MOMENTS:
                left = round((each - self.world.now) * 16)
                found.append(max(left, _LONG_AGO if _MOMENTS[attribute] else 0))
            else:
                try:
                    found.append(self.walk(each))
                except TypeError as error:
                    error.add_note(f"in {name}.{attribute}")
                    raise
        return tuple(found)
