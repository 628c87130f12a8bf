"""Direct placement gives the same frames as the same bytes sent packet by packet.

The module and its host share a ring of records and memory for frames, as over ``shm:``, and take
turns in one thread. The faults are those of test_any_batch.py, except the answer that ends a frame
whose packets still arrive. Which of those packets are late depends on how the bytes were cut.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.nightly_scale import choose
from hypothesis import given, settings
from hypothesis import strategies as st
from test_any_batch import (
    EVENTS,
    HEIGHT,
    POISON,
    WIDTH,
    Host,
    encode,
    frame_packets,
    picture,
    plan_of,
    sessions,
)

from lenslink.receive.batch import Batch
from lenslink.transports.byte_ring import LINE_BYTES, ByteRingError, ByteRingReader, ByteRingWriter
from lenslink.transports.direct_placement import (
    DirectFrame,
    DirectPlacementPool,
    FrameSlots,
    SlotState,
)
from lenslink.transports.records import Record, RecordReader
from lenslink.transports.records import encode_record as record
from lenslink_hil.recording.script import parse_valid_header
from lenslink_protocol.ids import DiscardReason, Flag, MessageType, PixelFormat
from lenslink_protocol.messages import Configured, Header
from lenslink_protocol.params import HEADER_BYTES

SLOTS = 3
UP = 1 << 20
END = (0.06, 0.2, 0.3, 0.3, 3.0, 3.0)


class PoisonedPool(DirectPlacementPool):
    """Fill each slot with another frame's pixels when the module gets it."""

    def grant(self) -> None:
        before = list(self._states)
        super().grant()
        for slot, state in enumerate(self._states):
            if state is SlotState.GRANTED and before[slot] is not state:
                size = self._slot_bytes
                self.memory[slot * size : (slot + 1) * size] = POISON


class DirectHost(Host):
    """A host that shares memory with its module and receives in batches, as the session does."""

    def __init__(self, plan: Configured, resend: bool) -> None:
        super().__init__(plan, 1, resend, fast=True)
        self.ends = [Batch(self.link, self.frames, 0, has_direct_placement=True)]
        lines = [memoryview(bytearray(LINE_BYTES)) for _ in range(2)]
        ring = memoryview(bytearray(UP))
        words = memoryview(bytearray(8 * SLOTS)).cast("Q")
        memory = np.full(SLOTS * plan.frame_bytes, POISON, np.uint8)
        self.pool = PoisonedPool(memory, SLOTS, words)
        self.frames._pool = self.pool
        self._up = ByteRingWriter(ring, lines[0], lines[1])
        self._records = RecordReader(ByteRingReader(ring, lines[1], lines[0]), self.pool)
        self.slots = FrameSlots(memory.data, SLOTS, words, self.put)
        self.direct_tiles = 0

    def put(self, data: bytes) -> None:
        """Write *data* to the ring, as the module does."""
        count, _ = self._up.write(memoryview(data))
        assert count == len(data)

    def read(self) -> None:
        """Receive everything in the ring."""
        while True:
            self.pool.grant()
            count, _ = self._records.read_into(self.ends[0].get_buffers())
            if not count:
                return
            self.ends[0].on_received(count, self.now)


def header_of(data: bytes) -> Header | None:
    """Return the packet's header, or None if it is damaged."""
    return parse_valid_header(data[:HEADER_BYTES]) if len(data) >= HEADER_BYTES else None


class Module:
    """Send coded packets, and place their payloads directly where that is allowed."""

    def __init__(self, host: DirectHost, plan: Configured, coded: list[bytes]) -> None:
        self._host = host
        self._plan = plan
        self._last = {}
        for number, data in enumerate(coded):
            header = header_of(data)
            if header is not None and header.type >= MessageType.FRAME_START:
                self._last[header.frame] = number
        self._frames: dict[int, DirectFrame | None] = {}
        self._written: dict[int, np.ndarray] = {}

    def send(self, number: int, data: bytes) -> None:
        header = header_of(data)
        of_frame = header is not None and header.type >= MessageType.FRAME_START
        if of_frame and header.frame not in self._frames:
            frame = self._host.slots.take_slot(header.frame, self._plan.frame_bytes)
            self._frames[header.frame] = frame
            self._written[header.frame] = np.zeros(self._plan.frame_bytes, bool)
        place = self._place(header, data) if of_frame else None
        last = of_frame and self._last[header.frame] == number
        if place is None:
            if last:
                self._end(header.frame)
            self._host.put(record(Record.BYTES, len(data), 0, data))
            return
        frame, at = place
        frame.memory[at : at + header.length] = data[HEADER_BYTES:]
        frame.announce_tile(data[:HEADER_BYTES], at, header.length)
        self._host.direct_tiles += 1
        if last:
            self._end(header.frame)

    def _end(self, number: int) -> None:
        frame = self._frames[number]
        if frame is not None:
            frame.return_slot()
            self._frames[number] = None

    def _place(self, header: Header, data: bytes) -> tuple[DirectFrame, int] | None:
        """Return where the payload goes, or None if it must be sent.

        Only a contiguous piece of the frame that nothing was sent for before is placed directly.
        """
        frame, plan = self._frames[header.frame], self._plan
        if header.type != MessageType.TILE:
            return None
        written = self._written[header.frame].reshape(plan.height, plan.stride)
        left, right = (x * plan.stride // WIDTH for x in (header.x, header.x + header.width))
        ground = written[header.y : header.y + header.height, left:right]
        before = bool(ground.any())
        ground[:] = True
        whole = len(data) == HEADER_BYTES + header.length
        if frame is None or before or not whole or header.flags & Flag.RESENT:
            return None
        if not (header.width == WIDTH or header.height == 1):
            return None
        return frame, header.y * plan.stride + header.x * plan.stride // WIDTH


def compare(plan: Configured, resend: bool, coded: list[bytes], cut) -> DirectHost:
    """Compare both hosts' results, and return the host that shares memory."""
    fast, slow = DirectHost(plan, resend), Host(plan, 1, resend, fast=False)
    fast.read()
    module = Module(fast, plan, coded)
    todo = list(enumerate(coded))
    for turn in itertools.count():
        if not todo:
            break
        count, wait = cut(turn)
        for number, data in todo[:count]:
            module.send(number, data)
        slow.deliver(0, b"".join(data for _, data in todo[:count]))
        todo = todo[count:]
        fast.read()
        for host in (fast, slow):
            host.wait(wait)
    for wait in END:
        for host in (fast, slow):
            host.wait(wait)
    for host in (fast, slow):
        # Bytes that belong to no packet count as stall or noise, depending on how they were cut.
        host.discards[DiscardReason.NOISE] += host.discards.pop(DiscardReason.STALL, 0)
    assert fast.state() == slow.state()
    for _, number, gaps, *_, shown in fast.state()["frames"]:
        mask = np.ones(plan.frame_bytes, bool)
        for start, end in gaps:
            mask[start:end] = False
        source = picture(number, plan).reshape(-1)
        assert (np.frombuffer(shown, np.uint8)[mask] == source[mask]).all()
    for each in list(fast.frames.finished_frames):
        fast.pool.release(each.buffer)
    fast.frames.finished_frames.clear()
    return fast


@pytest.mark.timeout(choose(120, 1200))
@settings(max_examples=choose(150, 20_000), deadline=None)
@given(
    sessions(lanes=[1], events=EVENTS[:-1]), st.lists(st.integers(1, 30), min_size=1, max_size=6)
)
def test_direct_placement_gives_the_same_frames_as_sending(session, counts):
    plan, _, resend, coded, cuts = session
    packets = [data for _, data in coded]
    compare(
        plan, resend, packets, lambda turn: (counts[turn % len(counts)], cuts[turn % len(cuts)][2])
    )


@pytest.mark.parametrize("resend", [False, True])
@pytest.mark.parametrize("burst", [1, 7, 1000])
@pytest.mark.parametrize("pixel_format", [PixelFormat.RG12, PixelFormat.RG12p])
@pytest.mark.parametrize("shape", [(WIDTH, 2), (WIDTH, 5), (8, 1)])
def test_an_undamaged_stream_is_never_copied(pixel_format, shape, burst, resend, monkeypatch):
    """Only the module writes to the frames' memory, and slots are used again."""
    plan = plan_of(pixel_format)
    copies = []
    original = RecordReader.read_into

    def watched(self, buffers):
        before = host.pool.memory.copy()
        found = original(self, buffers)
        copies.append((host.pool.memory != before).any())
        return found

    monkeypatch.setattr(RecordReader, "read_into", watched)
    host = DirectHost(plan, resend)
    host.read()
    sequence = 0
    for number in range(2 * SLOTS):
        packets = frame_packets(number, 0, plan, shape, 1)
        coded = [data for _, data in encode(packets, sequence, 1)]
        sequence += len(packets)
        module = Module(host, plan, coded)
        for first in range(0, len(coded), burst):
            for at in range(first, min(first + burst, len(coded))):
                module.send(at, coded[at])
            host.read()
        [frame] = host.frames.finished_frames
        assert (frame.buffer == picture(number, plan).reshape(-1)).all()
        assert np.shares_memory(frame.buffer, host.pool.memory)
        host.pool.release(frame.buffer)
        host.frames.finished_frames.clear()
        del frame
        host.read()
    sent = host.frames.counters.tile_bytes // (len(coded[1]) - HEADER_BYTES)
    assert host.direct_tiles == sent or shape == (WIDTH, 5)
    assert not any(copies)
    assert not host.discards


def test_a_frame_that_ends_before_its_slot_is_returned_is_copied():
    """The module goes on writing, but not to the program's frame."""
    plan = plan_of(PixelFormat.RG12)
    host = DirectHost(plan, False)
    host.read()
    frame = host.slots.take_slot(0, plan.frame_bytes)
    assert frame is not None
    packets = frame_packets(0, 0, plan, (WIDTH, 2), 1)
    del packets[3]
    for (_, data), packet in zip(encode(packets, 0, 1), packets, strict=True):
        if packet.kind == MessageType.TILE:
            at = packet.place[1] * plan.stride
            frame.memory[at : at + len(packet.payload)] = packet.payload
            frame.announce_tile(data[:HEADER_BYTES], at, len(packet.payload))
        else:
            host.put(record(Record.BYTES, len(data), 0, data))
    host.read()
    host.wait(5.0)
    [assembly] = host.frames.finished_frames
    gap = slice(4 * plan.stride, 6 * plan.stride)
    frame.memory[:] = bytes([0xEE]) * plan.frame_bytes
    expected = picture(0, plan).reshape(-1).copy()
    expected[gap] = 0
    assert (assembly.buffer == expected).all()
    # The slot is not used again before the module returns it.
    host.pool.release(assembly.buffer)
    for number in range(1, SLOTS):
        assert host.slots.take_slot(number, plan.frame_bytes) is not None
        host.read()
        host.read()
    assert host.slots.take_slot(SLOTS, plan.frame_bytes) is None
    frame.return_slot()
    host.read()
    host.read()
    assert host.slots.take_slot(SLOTS, plan.frame_bytes) is not None


def test_a_tile_at_the_wrong_address_is_copied_to_its_place():
    """The header says where a tile belongs, not the record."""
    plan = plan_of(PixelFormat.RG12)
    host = DirectHost(plan, False)
    host.read()
    frame = host.slots.take_slot(0, plan.frame_bytes)
    assert frame is not None
    last = plan.frame_bytes - plan.stride
    for _, data in encode(frame_packets(0, 0, plan, (WIDTH, 1), 1), 0, 1):
        header = header_of(data)
        assert header is not None
        if header.type == MessageType.TILE:
            frame.memory[last:] = data[HEADER_BYTES:]
            frame.announce_tile(data[:HEADER_BYTES], last, header.length)
        else:
            host.put(record(Record.BYTES, len(data), 0, data))
        host.read()
    frame.return_slot()
    host.read()
    [assembly] = host.frames.finished_frames
    assert assembly.is_intact
    assert (assembly.buffer == picture(0, plan).reshape(-1)).all()
    assert not host.discards


def test_a_damaged_repeat_does_not_damage_the_frame():
    """The repeat goes to scratch memory, because those bytes were received before."""
    plan = plan_of(PixelFormat.RG12)
    host = DirectHost(plan, False)
    host.read()
    packets = frame_packets(0, 0, plan, (WIDTH, 1), 1)
    packets.insert(6, packets[4])
    coded = [data for _, data in encode(packets, 0, 1)]
    coded[6] = coded[6][:-1] + bytes([coded[6][-1] ^ 1])
    module = Module(host, plan, coded)
    for number, data in enumerate(coded):
        module.send(number, data)
    host.read()
    [assembly] = host.frames.finished_frames
    assert assembly.is_intact
    assert (assembly.buffer == picture(0, plan).reshape(-1)).all()
    assert host.direct_tiles == HEIGHT
    assert host.discards[DiscardReason.PAYLOAD_CRC] == 1


def test_a_repeat_does_not_damage_the_next_tile():
    """The repeat arrives instead of a predicted tile that already lies in its place."""
    plan = plan_of(PixelFormat.RG12)
    packets = frame_packets(0, 0, plan, (8, 1), 1) + frame_packets(1, 0, plan, (WIDTH, 2), 1)
    coded = [data for _, data in encode(packets, 0, 1)]
    repeated = len(coded) - 5
    coded[repeated] *= 2
    host = compare(plan, True, coded, lambda turn: (2 if turn else 1, 0.0))
    assert host.discards[DiscardReason.SEQUENCE] == 1
    assert not host.discards[DiscardReason.PAYLOAD_CRC]


@pytest.mark.parametrize(
    "impossible_record",
    [
        record(4, 0),
        record(Record.TILE, 577, 2 * 576, bytes(HEADER_BYTES)),
        record(Record.TILE, 1, (1 << 64) - 1, bytes(HEADER_BYTES)),
        record(Record.TAKEN, 1, 0),
        record(Record.TAKEN, SLOTS, 0),
        record(Record.RETURNED, 2),
        record(Record.TAKEN, 2, 0) * 2,
        record(Record.TAKEN, 2, 0) + record(Record.RETURNED, 2) * 2,
    ],
)
def test_an_impossible_record_is_refused(impossible_record):
    host = DirectHost(plan_of(PixelFormat.RG12), False)
    host.read()
    host.put(impossible_record)
    with pytest.raises(ByteRingError):
        host.read()


def test_a_frame_that_is_larger_than_a_slot_gets_none():
    plan = plan_of(PixelFormat.RG12)
    host = DirectHost(plan, False)
    host.read()
    assert host.slots.take_slot(0, plan.frame_bytes + 1) is None
    assert host.slots.take_slot(0, plan.frame_bytes) is not None


def test_a_frame_that_the_program_keeps_does_not_change():
    """The program never releases a frame: the other slots are used, then frames are sent."""
    plan = plan_of(PixelFormat.RG12)
    host = DirectHost(plan, False)
    host.read()
    frames_held, sequence = [], 0
    for number in range(2 * SLOTS):
        packets = frame_packets(number, 0, plan, (WIDTH, 2), 1)
        coded = [data for _, data in encode(packets, sequence, 1)]
        sequence += len(packets)
        module = Module(host, plan, coded)
        for at, data in enumerate(coded):
            module.send(at, data)
            host.read()
        frames_held.append(host.frames.finished_frames.popleft().buffer)
    assert host.direct_tiles == SLOTS * HEIGHT // 2
    for number, buffer in enumerate(frames_held):
        assert (buffer == picture(number, plan).reshape(-1)).all()
    # A buffer that is not released goes back with its last view.
    view = frames_held[0][:5]
    del frames_held[0], buffer
    host.read()
    assert host.slots.take_slot(99, plan.frame_bytes) is None
    del view
    host.read()
    assert host.slots.take_slot(99, plan.frame_bytes) is not None
