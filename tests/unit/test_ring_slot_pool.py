"""Test that frames go from the reassembly into a ring's slots, and that slots come back."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest
from helpers.frame_rings import HEIGHT, POISON, SIZE, STRIDE, WIDTH, small_ring

from lenslink import FrameRingReader, FrameStatus
from lenslink.errors import Timeout
from lenslink.frame_ring.slot_pool import SlotPool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import EndStatus, MessageType, PixelFormat
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header
from lenslink_protocol.ringlayout import PAYLOADS_AT

PLAN = Configured(0, 0, 1, PixelFormat.GR12, WIDTH, HEIGHT, STRIDE, SIZE, 64)
START = FrameStart(
    1,
    3,
    5,
    WIDTH,
    HEIGHT,
    1,
    6,
    12,
    PixelFormat.GR12,
    STRIDE,
    4095,
    1,
    (0,) * 4,
    6,
    7,
    8,
    10,
    11,
    12,
    13,
    14,
    16,
    9,
)
END = FrameEnd(EndStatus.OK, 1, 4, 0, (0,) * 4, 0)


class Lane:
    number = 0
    is_alive = True
    last_sequence = 0


class Harness:
    """A reassembly whose memory is a frame ring full of old pixels."""

    def __init__(self, ring, policy="every"):
        self.pool = SlotPool(ring)
        self.pool.nonce = 42
        self.frames = Reassembly(self.pool, Counter(), {0: PLAN, 1: PLAN}.get)
        self.frames.attach_lanes([Lane()])
        self.reader = FrameRingReader(ring.name, policy, early=True, timeout=0)
        for index in range(len(ring._slots)):
            at = PAYLOADS_AT + index * ring.payload_bytes
            ring._map[at : at + SIZE] = bytes([POISON]) * SIZE

    def header(self, kind, frame, stream=0, place=(0, 0, 0, 0), length=0):
        return Header(0x10, kind, 0, stream, 0, 0, frame, *place, length, 0, 0)

    def start(self, frame, stream=0):
        self.frames.on_frame_start(self.header(MessageType.FRAME_START, frame, stream), START, 0)

    def strip(self, frame, first, rows, value, stream=0):
        """Deliver rows as the session does, directly in place where the reassembly says so."""
        payload = bytes([value]) * (rows * STRIDE)
        place = (0, first, WIDTH, rows)
        header = self.header(MessageType.TILE, frame, stream, place, len(payload))
        memory = self.frames.reserve_buffer(header)
        if memory is not None:
            memory[:] = payload
        self.frames.on_tile(header, memoryview(payload), memory is not None, 0)

    def end(self, frame, stream=0):
        self.frames.on_frame_end(self.header(MessageType.FRAME_END, frame, stream), END, 0)


@pytest.fixture
def ring():
    with small_ring(4) as ring:
        yield ring


def test_rows_are_ready_up_to_the_first_missing_one(ring):
    harness = Harness(ring)
    harness.start(1)
    harness.strip(1, 4, 2, 9)
    with pytest.raises(Timeout):
        harness.reader.next()
    harness.strip(1, 0, 2, 9)
    with harness.reader.next() as frame:
        assert frame.rows_ready == 2
        assert (frame.nonce, frame.number, frame.timestamp_us) == (42, 1, 5)
        harness.strip(1, 2, 2, 9)
        assert frame.rows_ready == 6
        harness.strip(1, 6, 2, 9)
        assert frame.rows_ready == 8
        assert not frame.is_finished
        harness.end(1)
        assert frame.is_finished
        assert frame.status is FrameStatus.COMPLETE
        assert np.all(frame.packed == 9)
        [assembly] = harness.frames.finished_frames
        assert np.shares_memory(assembly.buffer, ring_memory(ring))
    harness.reader.close()


def ring_memory(ring):
    return np.frombuffer(ring._map, np.uint8)


def test_missing_bytes_are_zero_and_listed(ring):
    harness = Harness(ring)
    harness.start(1)
    harness.strip(1, 0, 2, 9)
    harness.strip(1, 5, 2, 9)
    harness.end(1)
    with harness.reader.next() as frame:
        frame.wait()
        assert frame.status is FrameStatus.INCOMPLETE
        assert frame.missing_ranges == ((2 * STRIDE, 5 * STRIDE), (7 * STRIDE, SIZE))
        assert frame.received_fraction == 0.5
        assert frame.packed[:, 0].tolist() == [9, 9, 0, 0, 0, 9, 9, 0]
    harness.reader.close()


def test_rows_before_a_late_frame_start_are_shown_with_it(ring):
    harness = Harness(ring)
    harness.frames.can_resend = True
    harness.strip(1, 0, 3, 9)
    with pytest.raises(Timeout):
        harness.reader.next()
    harness.start(1)
    with harness.reader.next() as frame:
        assert frame.rows_ready == 3
    harness.reader.close()


def test_stopping_a_stream_aborts_its_frame(ring):
    harness = Harness(ring)
    harness.start(1)
    harness.strip(1, 0, 3, 9)
    with harness.reader.next() as frame:
        harness.frames.drop_stream(0)
        assert frame.is_finished
        assert frame.status is FrameStatus.INCOMPLETE
        assert frame.packed.shape == (3, STRIDE)
    assert not any(slot.is_in_use for slot in ring._slots)
    harness.reader.close()


def test_memory_is_returned_by_release_or_with_the_last_view(ring):
    harness = Harness(ring, "latest")
    views = []
    for number in range(1, 9):
        harness.start(number)
        harness.strip(number, 0, HEIGHT, number)
        harness.end(number)
        assembly = harness.frames.finished_frames.popleft()
        assert ring.dropped_frames == 0
        if number % 2:
            harness.pool.release(assembly.buffer)
            harness.pool.release(np.empty(1, np.uint8))
        else:
            views.append(assembly.buffer.reshape(HEIGHT, STRIDE)[2:])
            del assembly
            if len(views) == 2:
                assert [view[0, 0] for view in views] == [number - 2, number]
                views.clear()
                gc.collect()
                assert not any(slot.is_in_use for slot in ring._slots)
    harness.reader.close()


def test_without_a_free_slot_the_program_still_gets_its_frames():
    with small_ring(1) as ring:
        harness = Harness(ring)
        for number in (1, 2):
            harness.start(number)
            harness.strip(number, 0, HEIGHT, number)
            harness.end(number)
        # Only one may wait: the older was let go of.
        [second] = harness.frames.finished_frames
        assert second.number == 2
        assert np.all(second.buffer == 2)
        assert (ring.begun_frames, ring.dropped_frames) == (2, 1)
        with harness.reader.next() as frame:
            assert frame.number == 1
        harness.reader.close()


def test_a_finished_frames_array_is_read_only(ring):
    harness = Harness(ring)
    harness.start(1)
    harness.strip(1, 0, HEIGHT, 1)
    harness.end(1)
    [assembly] = harness.frames.finished_frames
    with pytest.raises(ValueError, match="read-only"):
        assembly.buffer[0] = 1
    assert assembly.missing_ranges == ()
    harness.reader.close()
