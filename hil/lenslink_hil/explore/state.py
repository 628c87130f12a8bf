"""Save, load and compare the states of an exploration.

:func:`save` and :func:`load` keep a whole :class:`.world.World` as bytes. :func:`key`
returns the same bytes for two worlds that behave the same from then on. The key is made of the
machines' snapshots. Times, sequences and credits in it are relative, and a field that influences
nothing is blanked. Every field of a snapshot that is not named here is in the key as it is.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from lensfw import sensor
from lenslink.receive.assembly import AssemblySnapshot
from lenslink.receive.reassembly import ReassemblySnapshot
from lenslink_protocol.framing import ReceiverSnapshot
from lenslink_protocol.ids import MessageType
from lenslink_protocol.link import LinkSnapshot
from lenslink_protocol.messages import BY_TYPE, Flushed, FrameEnd, Heartbeat, HeartbeatReply
from lenslink_protocol.params import HEADER_BYTES

from ..module_snapshot import ModuleReceiverSnapshot, ModuleSnapshot, TileSnapshot, snapshot_module
from .violation import Violation, parse_header
from .world import World

# --- save and load --------------------------------------------------------------------------------


def save(world: World) -> bytes:
    """Return the whole world as bytes, and clear its counters of discarded packets."""
    world.link.discards.clear()
    world.module.link.discards.clear()
    file = io.BytesIO()
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(world)
    return file.getvalue()


def load(saved: bytes) -> World:
    """Return a new copy of a saved world. *saved* must come from this process."""
    world: World = pickle.loads(saved)  # noqa: S301 - made by save() in this process
    return world


def _reduce_view(view: memoryview) -> Any:
    """Tell pickle how to make a view again: from the object that owns the memory."""
    owner = view.obj
    size = memoryview(owner).nbytes
    if view.nbytes in (0, size):
        return _make_view, (owner if view.nbytes else b"", 0, view.nbytes)
    start = _address(view) - _address(owner)
    return _make_view, (owner, start, start + view.nbytes)


def _address(memory: Any) -> int:
    address: int = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    return address


def _make_view(owner: Any, start: int, end: int) -> memoryview:
    return memoryview(owner)[start:end]


_REDUCERS = {**copyreg.dispatch_table, memoryview: _reduce_view}


# --- the key --------------------------------------------------------------------------------------

_HALF = 1 << 31
_SEQUENCED = (MessageType.FRAME_END, MessageType.FLUSHED)
# A time that is over for longer than this is as good as one that is over for this long, in ticks.
_LONG_AGO = -64


def compute_key(world: World) -> bytes:
    """Return 16 bytes that name all that matters of a world's state."""
    return blake2b(repr(_Key(world).parts()).encode(), digest_size=16).digest()


class _Key:
    """Takes the snapshots of a world and makes them relative."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.host = world.link.snapshot()
        self.module = snapshot_module(world.module)
        self.is_same = self.module.link.nonce == world.nonce
        """Both ends are in the same session."""
        self.base = self.module.outbox.sent if self.is_same else self.host.settled_bytes
        """What the host's credits are relative to: bytes of tiles, by stream."""

    def parts(self) -> tuple[Any, ...]:
        world = self.world
        # The monitors of older frames and other sessions can see nothing any more.
        stale = {number for number in world.session_nonces if number < world.module.next_frame - 1}
        sessions = {self.module.link.nonce, world.nonce}
        frames = world.frames.snapshot()
        return (
            (world.nonce, world.has_flushed, world.stage, world.has_frame, world.has_given_up),
            tuple(world.faults_left.values()),
            self.make_link_relative(),
            self.step(self.host.sequence, self.module.link.last_received) if self.is_same else None,
            self.make_frames_relative(frames),
            tuple([self.end(assembly) for assembly in frames.open]),
            self.make_module_relative(),
            world.module.ports.snapshot(),
            sorted((n, v) for n, v in world.session_nonces.items() if n not in stale),
            sorted((n, v) for n, v in world.tile_counts.items() if n not in stale),
            sorted(world.ended_frames - stale),
            sorted(each for each in world.module.executed if each[0] in sessions),
            tuple([self.packet(packet, -1) for packet in world.down]),
            tuple(
                [
                    tuple([self.packet(packet, lane) for packet in channel])
                    for lane, channel in enumerate(world.up)
                ]
            ),
            tuple([self.packet(packet, lane) for lane, packet in world.late_packets]),
        )

    @staticmethod
    def step(a: int, b: int | None) -> int | None:
        """Return a - b on the circle of sequences."""
        return None if b is None else ((a - b + _HALF) & 0xFFFFFFFF) - _HALF

    def ticks(self, moment: float, least: int = 0) -> int:
        """Return how many ticks a time of the host is ahead, and *least* if that is less."""
        return max(round((moment - self.world.now) * 16), least)

    # --- the host -----------------------------------------------------------------------------

    def make_link_relative(self) -> LinkSnapshot:
        host, base = self.host, self.base
        lanes = [
            lane._replace(receiver=self.make_receiver_relative(lane.receiver, lane.number))
            for lane in host.lanes
        ]
        requests = [
            request._replace(
                next_try=self.ticks(request.next_try),
                # No round trip is shorter than 0: then it does not matter when a request was sent.
                sent_time=self.ticks(request.sent_time, _LONG_AGO) if host.round_trip_s else 0.0,
            )
            for request in host.requests
        ]
        return host._replace(
            lanes=tuple(lanes),
            outgoing=(),
            logs=(),
            notices=(),
            events=(),
            requests=tuple(requests),
            # How far the sequence is ahead of the module stands beside the snapshot.
            sequence=0,
            now=0.0,
            last_sign_of_life=self.ticks(host.last_sign_of_life, _LONG_AGO),
            busy_until=self.ticks(host.busy_until),
            next_heartbeat=self.ticks(host.next_heartbeat),
            settled_bytes=tuple([a - b for a, b in zip(host.settled_bytes, base, strict=True)]),
            granted=tuple([max(a - b, -1) for a, b in zip(host.granted, base, strict=True)]),
        )

    def make_receiver_relative(self, receiver: ReceiverSnapshot, lane: int) -> ReceiverSnapshot:
        """Name the last sequences by how far the module is ahead of them."""
        if receiver.header is not None:
            raise Violation("a receiver waits inside a packet")
        return receiver._replace(
            last_sequence=self.count_later(receiver.last_sequence, lane),
            settled_sequence=self.count_later(receiver.settled_sequence, lane),
            progress=0.0,
        )

    def count_later(self, sequence: int | None, lane: int) -> int | None:
        """Return how many packets the module has sent on a lane since that sequence."""
        if sequence is None:
            return None
        if not self.is_same:
            # The module is in another session: it matters only that there was a packet.
            return 0
        return self.step(self.module.link.next_sequences[lane], sequence)

    def make_frames_relative(self, frames: ReassemblySnapshot) -> ReassemblySnapshot:
        assemblies = [
            assembly._replace(
                # The end stands beside the snapshot. The pixels are those of the picture:
                # the world has checked that.
                frame_end=None,
                pixels=(),
                last_packet_time=self.ticks(assembly.last_packet_time, _LONG_AGO),
                requests=tuple(
                    request._replace(expiry=self.ticks(request.expiry))
                    for request in assembly.requests
                ),
            )
            for assembly in frames.open
        ]
        return frames._replace(open=tuple(assemblies), finished=(), first_tile_time=None)

    def end(self, assembly: AssemblySnapshot) -> tuple[Any, ...] | None:
        """Return a frame-end, and how far each lane is from it."""
        end = assembly.frame_end
        if end is None:
            return None
        steps = []
        for lane in self.host.lanes:
            last = lane.receiver.settled_sequence
            ahead = self.step(end.last_sequence[lane.number], -1 if last is None else last)
            steps.append(max(ahead or 0, 0))
        return int(end.status), end.lanes, *steps

    # --- the module ---------------------------------------------------------------------------

    def make_module_relative(self) -> ModuleSnapshot:
        module = self.module
        link, outbox, tiles = module.link, module.outbox, module.tiles
        return module._replace(
            link=link._replace(
                # The other end's snapshot and the packets are relative to these sequences.
                last_received=None,
                next_sequences=(),
                # The host asks for the outcome of no request.
                past=(),
                receiver=ModuleReceiverSnapshot(link.receiver.backlog, 0),
            ),
            outbox=outbox._replace(
                limit=tuple([a - b for a, b in zip(outbox.limit, outbox.sent, strict=True)]),
                sent=(),
            ),
            tiles=tiles._replace(tiles=tuple([self.blank_tile(each) for each in tiles.tiles])),
        )

    @staticmethod
    def blank_tile(tile: TileSnapshot) -> TileSnapshot:
        """Leave out which of the free tiles is taken next, and a CRC that follows from pixels."""
        if tile.state == sensor.FREE:
            return TileSnapshot(sensor.FREE)
        return tile._replace(payload_crc=0)

    # --- the channels -------------------------------------------------------------------------

    def packet(self, packet: bytes, lane: int) -> tuple[Any, ...]:
        """Return what matters of a packet on its way: nothing if it will be discarded."""
        header = parse_header(packet)
        payload: Any = packet[HEADER_BYTES:]
        sequence: int | None = header.sequence
        sent = self.module.link.next_sequences
        if lane >= 0:
            if header.nonce != self.world.nonce:
                # The host never goes back to another session.
                return ()
            last = self.host.lanes[lane].receiver.last_sequence
            if last is not None and (self.step(header.sequence, last) or 0) <= 0:
                return ()
            if self.is_same:
                sequence = self.step(header.sequence, sent[lane])
            if header.type == HeartbeatReply.TYPE:
                reply = HeartbeatReply.decode(payload)
                counts = [a - b for a, b in zip(reply.sent, self.base, strict=True)]
                payload = tuple(counts), reply.begun
            elif header.type in _SEQUENCED:
                # The sequence of lane 0 is the packet's own.
                message = BY_TYPE[header.type].decode(payload)
                assert isinstance(message, (FrameEnd, Flushed))
                others = message.last_sequence[1:]
                ahead = [self.step(a, b) for a, b in zip(others, sent[1:], strict=True)]
                payload = replace(message, last_sequence=(0,) * 4), tuple(ahead)
        elif header.nonce == self.module.link.nonce:
            sequence = self.step(header.sequence, self.module.link.last_received)
            if (sequence or 0) <= 0:
                return ()
            if header.type == Heartbeat.TYPE:
                limits = Heartbeat.decode(payload).limit
                counts = [a - b for a, b in zip(limits, self.module.outbox.sent, strict=True)]
                payload = tuple(counts)
        place = (header.x, header.y, header.width, header.height)
        return (header.type, header.flags, header.stream, header.nonce, sequence, header.frame,
                place, payload)  # fmt: skip
