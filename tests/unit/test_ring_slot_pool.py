"""Frames from the reassembly into a ring's slots: strips as they come, memory that comes back."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest
from helpers.frame_rings import HEIGHT, POISON, SIZE, STRIDE, WIDTH, small_ring

from lenslink import FrameRingReader, FrameStatus
from lenslink.errors import Timeout
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import EndStatus, MessageType, PixelFormat
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header

PLAN = Configured(0, 0, 1, PixelFormat.GR12, WIDTH, HEIGHT, STRIDE, SIZE, 64)
START = FrameStart(
    1, 3, WIDTH, HEIGHT, 1, 6, 12, PixelFormat.GR12, STRIDE, 4095, (0,) * 4, 5, 6, 7, 8, 9
)
END = FrameEnd(EndStatus.OK, 1, 4, 0, (0,) * 4)


class Lane:
    number = 0
    is_alive = True
    last_sequence = 0


class Harness:
    """A reassembly whose memory is a ring, full of old pixels."""

    def __init__(self, ring, policy="every"):
        self.feed = ring.feed()
        self.feed.nonce = 42
        self.frames = Reassembly(self.feed, Counter(), {0: PLAN, 1: PLAN}.get)
        self.frames.attach_lanes([Lane()])
        self.reader = FrameRingReader(ring.name, policy, early=True, timeout=0)
        for index in range(len(ring._slots)):
            at = ring._slots[index]._payload_at
            ring._map[at : at + SIZE] = bytes([POISON]) * SIZE

    def header(self, kind, frame, stream=0, place=(0, 0, 0, 0), length=0):
        return Header(0x10, kind, 0, stream, 0, 0, frame, *place, length, 0, 0)

    def start(self, frame, stream=0):
        self.frames.on_frame_start(self.header(MessageType.FRAME_START, frame, stream), START, 0)

    def strip(self, frame, first, rows, value, stream=0):
        """Rows as a receiver brings them: in place where the reassembly says so."""
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


def test_rows_are_ready_as_far_as_nothing_is_missing(ring):
    bench = Harness(ring)
    bench.start(1)
    bench.strip(1, 4, 2, 9)
    with pytest.raises(Timeout):
        bench.reader.next()
    bench.strip(1, 0, 2, 9)
    with bench.reader.next() as frame:
        assert frame.rows_ready == 2
        assert (frame.nonce, frame.number, frame.timestamp_us) == (42, 1, 5)
        bench.strip(1, 2, 2, 9)
        assert frame.rows_ready == 6
        bench.strip(1, 6, 2, 9)
        assert frame.rows_ready == 8
        assert not frame.finished
        bench.end(1)
        assert frame.finished
        assert frame.status is FrameStatus.COMPLETE
        assert np.all(frame.packed == 9)
        [assembly] = bench.frames.finished_frames
        assert np.shares_memory(assembly.buffer, ring_memory(ring))
    bench.reader.close()


def ring_memory(ring):
    return np.frombuffer(ring._map, np.uint8)


def test_what_did_not_arrive_is_zero_and_said(ring):
    bench = Harness(ring)
    bench.start(1)
    bench.strip(1, 0, 2, 9)
    bench.strip(1, 5, 2, 9)
    bench.end(1)
    with bench.reader.next() as frame:
        frame.wait()
        assert frame.status is FrameStatus.INCOMPLETE
        assert frame.uncovered == ((2 * STRIDE, 5 * STRIDE), (7 * STRIDE, SIZE))
        assert frame.received_fraction == 0.5
        assert frame.packed[:, 0].tolist() == [9, 9, 0, 0, 0, 9, 9, 0]
    bench.reader.close()


def test_a_frame_whose_start_was_late_shows_its_rows_then(ring):
    bench = Harness(ring)
    bench.frames.can_resend = True
    bench.strip(1, 0, 3, 9)
    with pytest.raises(Timeout):
        bench.reader.next()
    bench.start(1)
    with bench.reader.next() as frame:
        assert frame.rows_ready == 3
    bench.reader.close()


def test_a_stream_that_is_stopped_gives_its_frame_up(ring):
    bench = Harness(ring)
    bench.start(1)
    bench.strip(1, 0, 3, 9)
    with bench.reader.next() as frame:
        bench.frames.drop_stream(0)
        assert frame.finished
        assert frame.status is FrameStatus.INCOMPLETE
        assert frame.packed.shape == (3, STRIDE)
    assert not any(slot.busy for slot in ring._slots)
    bench.reader.close()


def test_memory_comes_back_by_release_and_with_the_last_view(ring):
    bench = Harness(ring, "latest")
    views = []
    for number in range(1, 9):
        bench.start(number)
        bench.strip(number, 0, HEIGHT, number)
        bench.end(number)
        assembly = bench.frames.finished_frames.popleft()
        assert ring.dropped == 0
        if number % 2:
            bench.feed.release(assembly.buffer)
            bench.feed.release(np.empty(1, np.uint8))
        else:
            views.append(assembly.buffer.reshape(HEIGHT, STRIDE)[2:])
            del assembly
            if len(views) == 2:
                assert [view[0, 0] for view in views] == [number - 2, number]
                views.clear()
                gc.collect()
                assert not any(slot.busy for slot in ring._slots)
    bench.reader.close()


def test_without_a_slot_frames_still_come_to_the_program():
    with small_ring(1) as ring:
        bench = Harness(ring)
        for number in (1, 2):
            bench.start(number)
            bench.strip(number, 0, HEIGHT, number)
            bench.end(number)
        # Only one may wait: the older was let go of.
        [second] = bench.frames.finished_frames
        assert second.number == 2
        assert np.all(second.buffer == 2)
        assert (ring.begun, ring.dropped) == (2, 1)
        with bench.reader.next() as frame:
            assert frame.number == 1
        bench.reader.close()


def test_nobody_writes_into_a_finished_frame_by_its_array(ring):
    bench = Harness(ring)
    bench.start(1)
    bench.strip(1, 0, HEIGHT, 1)
    bench.end(1)
    [assembly] = bench.frames.finished_frames
    with pytest.raises(ValueError, match="read-only"):
        assembly.buffer[0] = 1
    assert assembly.missing_ranges == ()
    bench.reader.close()
