"""Many tiles at once: what a lane may still bring, which ranges are free, and what tiles fill."""

from __future__ import annotations

import pytest
from helpers.reassembly_harness import (
    HEIGHT,
    SIZE,
    STRIDE,
    STRIPS,
    TRY_WAITS_S,
    WIDTH,
    Harness,
    asked,
    content,
    end_of,
    picture,
)

from lenslink_protocol.ids import DiscardReason, EndStatus, FrameState, MessageType
from lenslink_protocol.messages import FrameEnd
from lenslink_protocol.params import FRAME_STALE_MS, RESEND_RETRY_MS

RETRY_S = RESEND_RETRY_MS / 1000
STRIP = 2 * STRIDE


def opened(harness, frame=1, stream=0):
    """The frame that a tile is for, as the lane's batch asks for it."""
    header = harness.header(MessageType.TILE, frame, stream, STRIPS[0], STRIP)
    return harness.frames.find_open(header)


def fill(harness, assembly, ranges, last, now=0.0, lane=0):
    """Write the frame's picture into *ranges*, and say that tiles brought it."""
    data = picture(assembly.number).tobytes()
    for start, end in ranges:
        assembly.memory[start:end] = data[start:end]
    harness.frames.on_tiles(assembly, ranges, last, now, lane)


# --- the frame of a tile ---------------------------------------------------------------------


def test_find_open_returns_the_frame_of_a_number_and_a_stream():
    harness = Harness()
    assert opened(harness) is None
    harness.start()
    assert opened(harness) is harness.frames._open[1]
    assert opened(harness, 2) is None
    assert opened(harness, 1, stream=1) is None


def test_find_open_returns_no_finished_frame():
    harness = Harness(resend=True)
    harness.start(1)
    harness.whole(2)
    assert harness.numbers() == []
    assert opened(harness, 2) is None, "it waits for frame 1"
    assert opened(harness, 1) is not None


# --- what a lane may still bring -------------------------------------------------------------


def test_before_the_frame_end_any_number_of_packets_may_arrive():
    harness = Harness()
    harness.start()
    assert harness.frames.count_packets_before_end(opened(harness), 0) == SIZE


def test_after_the_frame_end_a_lane_may_bring_its_outstanding_packets():
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 9
    harness.frames.lanes[1].last_sequence = 5
    harness.start()
    assembly = opened(harness)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (9, 12, 0, 0), 0))
    assert harness.frames.count_packets_before_end(assembly, 0) == 0
    assert harness.frames.count_packets_before_end(assembly, 1) == 7


def test_all_packets_of_a_lane_that_received_nothing_are_outstanding():
    harness = Harness(lanes=2)
    harness.frames.lanes[1].last_sequence = None
    harness.start()
    assembly = opened(harness)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 3, 0, 0), 0))
    assert harness.frames.count_packets_before_end(assembly, 1) == 4, "sequences count from 0"


def test_a_lane_that_the_frame_end_does_not_name_has_nothing_outstanding():
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = None
    harness.start()
    assembly = opened(harness)
    harness.end(message=FrameEnd(EndStatus.OK, 1, 4, 0, (6, 99, 0, 0), 0))
    assert harness.frames.count_packets_before_end(assembly, 0) == 7
    assert harness.frames.count_packets_before_end(assembly, 1) == 0


def test_a_lane_ahead_of_the_frame_end_has_nothing_outstanding():
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = None
    harness.frames.lanes[1].last_sequence = 9
    harness.start()
    assembly = opened(harness)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 5, 0, 0), 0))
    assert harness.frames.count_packets_before_end(assembly, 1) == 0


@pytest.mark.parametrize("gone", [(STRIPS[2],), ()])
def test_once_a_resend_was_answered_each_tile_may_be_the_last(gone):
    harness = Harness(resend=True)
    harness.start()
    assembly = opened(harness)
    harness.resent(FrameState.UNDER_WAY)
    assert harness.frames.count_packets_before_end(assembly, 0) == SIZE, (
        "all of it is still to come"
    )
    harness.resent(FrameState.UNDER_WAY if gone else FrameState.ENDED, *gone)
    assert harness.frames.count_packets_before_end(assembly, 0) == 0
    assert opened(harness) is assembly


def test_no_packet_is_counted_for_a_finished_frame():
    harness = Harness(resend=True)
    harness.start(1)
    harness.start(2)
    first, second = opened(harness, 1), opened(harness, 2)
    for place in STRIPS:
        harness.tile(place, 2)
    harness.end(2)
    assert harness.frames.count_packets_before_end(second, 0) == 0, "it waits for frame 1"
    for place in STRIPS:
        harness.tile(place, 1)
    harness.end(1)
    assert harness.numbers() == [1, 2]
    assert harness.frames.count_packets_before_end(first, 0) == 0


def test_no_packet_is_counted_for_a_frame_that_ended_early_and_waits():
    harness = Harness(resend=True)
    harness.start(1)
    harness.start(2)
    harness.tile(STRIPS[0], 2)
    second = opened(harness, 2)
    # While a lane receives a tile of frame 1, frame 1 does not expire.
    harness.tile(STRIPS[0], 1, sound=False)
    harness.frames.expire_frames(FRAME_STALE_MS / 1000 + 0.001)
    assert harness.numbers() == []
    assert second.is_finished
    assert harness.frames.count_packets_before_end(second, 0) == 0
    later = 2 * FRAME_STALE_MS / 1000
    assert [number for number, *_ in asked(harness, later)] == [1], (
        "nothing of frame 2 is requested"
    )


def test_no_packet_is_counted_for_a_dropped_frame():
    harness = Harness()
    harness.start()
    assembly = opened(harness)
    harness.frames.drop_stream(0)
    assert harness.frames.count_packets_before_end(assembly, 0) == 0


# --- free ranges -----------------------------------------------------------------------------


def test_a_range_is_free_until_any_byte_of_it_was_received():
    harness = Harness()
    harness.start()
    assembly = opened(harness)
    assert assembly.is_free([(0, SIZE)])
    harness.tile(STRIPS[1])
    assert assembly.is_free([(0, STRIP)])
    assert assembly.is_free([(2 * STRIP, SIZE)])
    assert not assembly.is_free([(0, STRIP + 1)])
    assert not assembly.is_free([(2 * STRIP - 1, SIZE)])
    assert not assembly.is_free([(0, STRIP), (STRIP, 2 * STRIP)])
    assert not assembly.is_free([(STRIP, 2 * STRIP), (0, STRIP)])


def test_a_range_is_free_until_a_lane_receives_into_any_byte_of_it():
    harness = Harness(lanes=2)
    harness.start()
    assembly = opened(harness)
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[1], STRIP)
    assert harness.frames.reserve_buffer(header, 1) is not None
    assert assembly.is_free([(0, STRIP), (2 * STRIP, SIZE)])
    assert not assembly.is_free([(0, STRIP + 1)])
    assert not assembly.is_free([(2 * STRIP - 1, SIZE)])
    harness.frames.cancel_reservation(1)
    assert assembly.is_free([(0, SIZE)])


# --- many tiles ------------------------------------------------------------------------------


def test_many_tiles_fill_their_ranges_and_finish_a_frame_after_its_end():
    harness = Harness(resend=True)
    harness.start()
    assembly = opened(harness)
    fill(harness, assembly, [(0, STRIP), (STRIP, 2 * STRIP)], STRIP, now=2.0)
    assert assembly.received_ranges.find_gaps(0, SIZE) == [(2 * STRIP, SIZE)]
    assert harness.frames.counters.tile_bytes == 2 * STRIP
    assert harness.frames.first_tile_time == 2.0
    harness.end()
    assert harness.numbers() == []
    fill(harness, assembly, [(2 * STRIP, SIZE)], 3 * STRIP, now=3.0)
    assert harness.frames.first_tile_time == 2.0
    assert harness.frames.counters.tile_bytes == SIZE
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_many_tiles_complete_a_frame_that_its_end_finishes():
    harness = Harness(resend=True)
    harness.start()
    assembly = opened(harness)
    fill(harness, assembly, [(0, SIZE)], 3 * STRIP)
    assert harness.numbers() == []
    harness.end()
    assert harness.only().received_ranges.is_complete


def test_many_tiles_finish_an_incomplete_frame_that_waited_for_their_lane():
    harness = Harness(lanes=2)
    harness.start()
    assembly = opened(harness)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 2, 0, 0), 0))
    assert harness.numbers() == []
    harness.frames.lanes[1].last_sequence = 2
    fill(harness, assembly, [(0, STRIP), (STRIP, 2 * STRIP)], STRIP, lane=1)
    assert harness.only().received_ranges.count == 2 * STRIP


def test_the_last_of_many_tiles_is_the_position_of_its_lane():
    harness = Harness(resend=True)
    harness.start()
    assembly = opened(harness)
    fill(harness, assembly, [(0, STRIP), (2 * STRIP, 3 * STRIP)], 2 * STRIP)
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 2),))]


def test_many_tiles_restart_the_timer_and_the_tries():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[1])
    assembly = opened(harness)
    now = 0.0
    for wait in TRY_WAITS_S:
        assert asked(harness, now)
        now += wait
    fill(harness, assembly, [(2 * STRIP, 3 * STRIP)], 2 * STRIP, now)
    assert assembly.timer.last_packet_time == now
    for wait in TRY_WAITS_S:
        assert asked(harness, now)
        now += wait
    assert harness.numbers() == []
    assert asked(harness, now) == []
    assert harness.numbers() == [1]


def test_the_pool_is_called_at_each_step_of_a_frame():
    harness = Harness()
    calls = []
    for name in ("on_frame_begin", "on_frame_start", "on_progress", "on_frame_finish"):
        setattr(harness.pool, name, lambda assembly, name=name: calls.append((name, assembly)))
    harness.start()
    assembly = opened(harness)
    assert calls == [("on_frame_begin", assembly), ("on_frame_start", assembly)]
    calls.clear()
    harness.tile(STRIPS[0])
    fill(harness, assembly, [(STRIP, SIZE)], 3 * STRIP)
    assert calls == [("on_progress", assembly)] * 2
    calls.clear()
    harness.end()
    assert calls == [("on_frame_finish", assembly)]


# --- what a frame says of itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "complete"), [(EndStatus.OK, True), (EndStatus.SENSOR, False), (None, True)]
)
def test_a_frame_is_complete_if_all_bytes_arrived_and_its_readout_succeeded(status, complete):
    harness = Harness(resend=True)
    harness.start()
    assembly = opened(harness)
    for place in STRIPS[1:]:
        harness.tile(place)
    assert assembly.is_intact is False
    harness.tile(STRIPS[0])
    if status is not None:
        harness.end(message=end_of(status))
    assert assembly.is_intact is complete


def test_rows_are_the_frames_own_memory_row_by_row():
    harness = Harness()
    harness.whole()
    assembly = harness.only()
    assert assembly.view_rows().shape == (HEIGHT, STRIDE)
    assert assembly.view_rows().tobytes() == picture(1).tobytes()
    assembly.buffer[STRIDE] ^= 1
    assert assembly.view_rows()[1, 0] == picture(1).tobytes()[STRIDE] ^ 1


def test_missing_ranges_are_zero_once_a_frame_is_handed_on():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    harness.end()
    assembly = harness.only()
    assert assembly.missing_ranges == ((STRIP, SIZE),)
    assembly.buffer[SIZE - 1] = 7
    assert assembly.missing_ranges == ((STRIP, SIZE),)
    assert assembly.buffer[SIZE - 1] == 7
    assert content(STRIPS[0], 1) == assembly.buffer[:STRIP].tobytes()
    assert harness.discards[DiscardReason.DUPLICATE] == 0
