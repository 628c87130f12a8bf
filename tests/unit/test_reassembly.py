"""Frames out of tiles: what is believed, what is refused, and when a frame is handed on."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

import pytest
from helpers.reassembly_harness import (
    HEIGHT,
    PLAN,
    SIZE,
    SMALL_SIZE,
    SMALL_STRIDE,
    START,
    STRIDE,
    STRIPS,
    WIDTH,
    Harness,
    SmallHarness,
    asked,
    end_of,
    picture,
)

from lenslink.receive import reassembly
from lenslink.receive.frame_pool import Pool
from lenslink_protocol.ids import DiscardReason, EndStatus, MessageType
from lenslink_protocol.messages import FrameEnd
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
    MAX_FRAMES_OPEN,
    MAX_OPEN_BYTES,
    MIN_FRAMES_OPEN,
    STALL_MS,
)

# --- frames that are whole -------------------------------------------------------------------


def test_a_whole_frame():
    harness = Harness()
    harness.whole()
    assembly = harness.only()
    assert assembly.received_ranges.is_complete
    assert assembly.missing_ranges == ()
    assert (assembly.unpack_pixels() == picture(1)).all()
    assert (assembly.frame_start, assembly.frame_end) == (START, end_of())
    assert harness.frames.counters.tile_bytes == SIZE
    assert not harness.discards


def test_strips_and_segments_come_in_place_and_rectangles_do_not():
    harness = Harness()
    harness.start()
    assert harness.tile((0, 0, WIDTH, 2))
    assert harness.tile((0, 2, 5, 1))
    assert harness.tile((5, 2, 11, 1))
    assert not harness.tile((0, 3, 8, 5))
    assert not harness.tile((8, 3, 8, 5))
    harness.end()
    assert harness.only().received_ranges.is_complete
    assert (harness.only().unpack_pixels() == picture(1)).all()


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_tiles_may_arrive_in_any_order(order):
    harness = Harness(resend=True)
    harness.start()
    for index in order:
        harness.tile(STRIPS[index])
    harness.end()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_the_first_tile_is_timed():
    harness = Harness()
    harness.start(now=1.0)
    assert harness.frames.first_tile_time is None
    harness.tile(STRIPS[0], now=2.0)
    harness.tile(STRIPS[1], now=3.0)
    assert harness.frames.first_tile_time == 2.0


def test_two_streams_at_once():
    harness = Harness()
    harness.start(1, 0)
    harness.start(2, 1)
    for place in STRIPS:
        harness.tile(place, 2, 1)
        harness.tile(place, 1, 0)
    harness.end(1, 0)
    harness.end(2, 1)
    assert harness.numbers() == [1, 2]
    for assembly in harness.frames.finished_frames:
        assert (assembly.unpack_pixels() == picture(assembly.number)).all()


# --- what repeats, what does not fit ---------------------------------------------------------


def test_a_repeated_tile_changes_nothing():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    assert not harness.tile(STRIPS[0], fill=b"\x55")
    assert harness.discards == {DiscardReason.DUPLICATE: 1}
    for place in STRIPS[1:]:
        harness.tile(place)
    harness.end()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_a_damaged_tile_neither_changes_nor_adds_received_bytes():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    harness.tile(STRIPS[0], fill=b"\x55", sound=False)
    assert harness.tile(STRIPS[1], fill=b"\x55", sound=False), "in place"
    harness.tile(STRIPS[2])
    harness.tile(STRIPS[3])
    harness.end()
    assembly = harness.only()
    assert assembly.missing_ranges == ((2 * STRIDE, 4 * STRIDE),)
    shown = assembly.unpack_pixels()
    assert not shown[2:4].any(), "what was damaged is zero"
    assert (shown[:2] == picture(1)[:2]).all()
    assert (shown[4:] == picture(1)[4:]).all()


def test_only_the_missing_part_of_a_tile_is_used():
    harness = Harness()
    harness.start()
    harness.tile((4, 2, 4, 1))
    harness.tile((0, 3, WIDTH, 1))
    # Rows 2 and 3, of another picture: all of row 2 but the four is new.
    assert not harness.tile((0, 2, WIDTH, 2), pixels_of=2)
    assert not harness.discards
    harness.end()
    assembly = harness.only()
    expected = picture(2)[2:4].copy()
    expected[0, 4:8] = picture(1)[2, 4:8]
    expected[1] = picture(1)[3]
    assert (assembly.unpack_pixels()[2:4] == expected).all()
    assert assembly.received_ranges.count == 2 * STRIDE


def test_only_the_missing_part_of_a_rectangle_is_used():
    harness = Harness()
    harness.start()
    harness.tile((0, 1, WIDTH, 1))
    harness.tile((3, 2, 1, 1))
    assert not harness.tile((2, 0, 4, 3), pixels_of=2)
    assembly = harness.frames._open[1]
    expected = picture(2)[:3, 2:6].copy()
    expected[1] = picture(1)[1, 2:6]
    expected[2, 1] = picture(1)[2, 3]
    assert (assembly.unpack_pixels()[:3, 2:6] == expected).all()
    assert (assembly.unpack_pixels()[1] == picture(1)[1]).all()
    assert assembly.received_ranges.count == STRIDE + 16
    assert not harness.tile((2, 0, 4, 3), pixels_of=3)
    assert harness.discards == {DiscardReason.DUPLICATE: 1}
    assert (assembly.unpack_pixels()[:3, 2:6] == expected).all()


@pytest.mark.parametrize(
    "place",
    [
        (1, 0, WIDTH, 1),
        (0, 1, WIDTH, HEIGHT),
        (WIDTH, 0, 1, 1),
        (0, HEIGHT, 1, 1),
        (65535, 65535, 65535, 65535),
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 0, 0, 0),
    ],
)
def test_a_tile_outside_its_frame_or_without_pixels_is_discarded(place):
    harness = Harness()
    harness.start()
    assert not harness.tile(place, length=64)
    # Also where its length is what its size says.
    if 2 * place[2] * place[3] < 10000:
        assert not harness.tile(place)
        assert harness.discards == {DiscardReason.GEOMETRY: 2}
    assert harness.frames._open[1].received_ranges.count == 0
    assert harness.frames.counters.tile_bytes == 0


@pytest.mark.parametrize("length", [0, 2, 62, 66, 1024])
def test_a_tile_whose_length_does_not_fit_its_rectangle_is_discarded(length):
    harness = Harness()
    harness.start()
    assert not harness.tile((0, 0, WIDTH, 2), length=length)
    assert harness.discards == {DiscardReason.GEOMETRY: 1}


CONTRADICTIONS = {
    "width 18, but 16 was configured": {"width": WIDTH + 2},
    "height 10, but 8 was configured": {"height": HEIGHT + 2},
    "width 14, but 16 was configured": {"width": WIDTH - 2},
    "height 6, but 8 was configured": {"height": HEIGHT - 2},
    "stride 34, but 32 was configured": {"stride": STRIDE + 2},
    "mode 2, but 1 was configured": {"mode": 2},
    "pixel format 0x01100011, but GR12 was configured": {"pixel_format": 0x01100011},
    "cfa RGGB, but pixel format GR12": {"cfa": 0},
    "cfa 4, but pixel format GR12": {"cfa": 4},
    "7 bits, but pixel format GR12": {"bits": 7},
    "13 bits, but pixel format GR12": {"bits": 13},
    "orientation 0, which is none of 1 to 8": {"orientation": 0},
    "orientation 9, which is none of 1 to 8": {"orientation": 9},
    "white level 0, but 12 bits": {"white": 0},
    "white level 4096, but 12 bits": {"white": 4096},
    "white level 1024, but 10 bits": {"bits": 10, "white": 1024},
    "black level 4095, but white level 4095": {"black_milli": (0, 0, 4095000, 0)},
    "a crop at (1, 0), which is not even": {"crop_x": 1, "crop_y": 0},
    "a crop at (0, 3), which is not even": {"crop_x": 0, "crop_y": 3},
    "a crop up to (20, 8), but a mode of 18 x 10": {"crop_x": 4, "crop_y": 0},
    "a crop up to (16, 12), but a mode of 18 x 10": {"crop_x": 0, "crop_y": 4},
    "a crop up to (65550, 8), but a mode of 18 x 10": {"crop_x": 65534, "crop_y": 0},
}
MODE_SIZE = (WIDTH + 2, HEIGHT + 2)


@pytest.mark.parametrize("reason", CONTRADICTIONS)
def test_a_frame_start_that_contradicts_is_refused_before_memory_is_taken(reason):
    harness = Harness()
    harness.frames.mode_sizes[START.mode] = MODE_SIZE
    harness.start(message=replace(START, **CONTRADICTIONS[reason]))
    assert harness.discards == {DiscardReason.GEOMETRY: 1}
    assert harness.pool.acquired == []
    expected = f"frame 1 contradicts itself or its configuration: {reason}"
    assert harness.frames.take_rejection(0, START.request) == expected


@pytest.mark.parametrize("crop", [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_a_crop_up_to_the_modes_last_pixel_is_used(crop):
    harness = Harness()
    harness.frames.mode_sizes[START.mode] = MODE_SIZE
    harness.start(message=replace(START, crop_x=crop[0], crop_y=crop[1]))
    assert not harness.discards
    start = harness.frames._open[1].frame_start
    assert start is not None
    assert (start.crop_x, start.crop_y) == crop


def test_a_rejected_frame_is_reported_once_and_to_its_request_only():
    harness = Harness()
    harness.start(message=replace(START, cfa=0))
    assert not harness.frames.has_rejection(0, START.request + 1)
    assert not harness.frames.has_rejection(1, START.request)
    assert harness.frames.has_rejection(0, START.request)
    assert harness.frames.take_rejection(0, START.request + 1) is None
    assert harness.frames.take_rejection(0, START.request) is not None
    assert harness.frames.take_rejection(0, START.request) is None
    assert not harness.frames.has_rejection(0, START.request)


@pytest.mark.parametrize("lanes", [1, 2])
def test_nothing_of_a_rejected_frame_is_used_or_requested(lanes):
    harness = Harness(resend=True, lanes=lanes)
    harness.tile(STRIPS[0])
    harness.start(message=replace(START, cfa=0))
    assert harness.pool.out == 0
    assert not harness.tile(STRIPS[1])
    harness.end()
    assert harness.discards == {DiscardReason.GEOMETRY: 3}
    assert asked(harness, 1.0) == []
    harness.whole(2)
    assert harness.numbers() == [2]


def test_frames_before_a_rejected_frame_are_late():
    harness = Harness()
    harness.start(5, message=replace(START, cfa=0))
    harness.start(4)
    assert harness.discards == {DiscardReason.GEOMETRY: 1, DiscardReason.LATE: 1}


def test_a_rejected_frame_is_finished_for_all_who_hold_it():
    harness = Harness()
    harness.tile(STRIPS[0])
    [assembly] = harness.frames._open.values()
    harness.start(message=replace(START, cfa=0))
    assert assembly.is_finished


def test_a_bad_frame_start_drops_no_frame_of_another_stream():
    harness = Harness()
    harness.tile(STRIPS[0], stream=0)
    harness.start(stream=1, message=replace(START, cfa=0))
    harness.start(stream=0)
    for place in STRIPS[1:]:
        harness.tile(place)
    harness.end()
    assert harness.only().is_intact


def test_a_bad_frame_start_drops_no_frame_that_has_a_good_one():
    harness = Harness()
    harness.start()
    harness.start(message=replace(START, cfa=0))
    for place in STRIPS:
        harness.tile(place)
    harness.end()
    assert harness.only().is_intact


def test_a_dropped_frame_is_finished_for_all_who_hold_it():
    harness = Harness()
    harness.start()
    [assembly] = harness.frames._open.values()
    harness.frames.drop_stream(0)
    assert assembly.is_finished


def test_each_change_of_a_frames_state_is_logged(caplog):
    harness = Harness(resend=True)
    with caplog.at_level(logging.DEBUG, "lenslink.receive.assembly"):
        harness.start(now=0.0)
        harness.frames.expire_frames(STALL_MS / 1000 + 0.001)
        for place in STRIPS:
            harness.tile(place, now=1.0)
        harness.end(now=1.0)
    assert [each.getMessage() for each in caplog.records] == [
        f"frame 1 of stream 0: RECEIVING -> OVERDUE, 0 of {SIZE} bytes",
        f"frame 1 of stream 0: OVERDUE -> RECEIVING, 0 of {SIZE} bytes",
        f"frame 1 of stream 0: RECEIVING -> COMPLETE, {SIZE} of {SIZE} bytes",
        f"frame 1 of stream 0: COMPLETE -> FINISHED, {SIZE} of {SIZE} bytes",
    ]


def test_frames_and_discards_are_logged(caplog):
    harness = Harness()
    with caplog.at_level(logging.DEBUG, "lenslink.receive.reassembly"):
        harness.start(1)
        harness.start(1)
        for number in range(2, 2 + harness.pool.max_waiting_frames):
            harness.whole(number)
    messages = [each.getMessage() for each in caplog.records]
    assert messages[:2] == [
        "frame 1 of stream 0: opened",
        f"frame 1 of stream 0: discarded (duplicate): {START}",
    ]
    assert messages[-1] == "frame 1 of stream 0: skipped"


def test_a_fault_of_all_frames_is_logged_once(caplog):
    harness = Harness()
    for number in range(3):
        harness.start(number, message=replace(START, cfa=0))
    harness.start(4, message=replace(START, bits=7))
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == [
        "frame 0 of stream 0: cfa RGGB, but pixel format GR12",
        "frame 4 of stream 0: 7 bits, but pixel format GR12",
    ]


def test_a_configuration_with_padded_rows_is_rejected():
    padded = replace(PLAN, stride=STRIDE + 8, frame_bytes=(STRIDE + 8) * HEIGHT)
    harness = Harness(plans={0: padded})
    harness.start(message=replace(START, stride=STRIDE + 8))
    assert harness.discards == {DiscardReason.GEOMETRY: 1}


def test_packets_of_a_stream_that_is_not_configured_are_discarded():
    harness = Harness(plans={})
    harness.start()
    harness.tile(STRIPS[0])
    harness.end()
    assert harness.discards == {DiscardReason.GEOMETRY: 1, DiscardReason.NO_FRAME: 2}
    assert harness.pool.acquired == []


def test_a_frame_belongs_to_one_stream():
    harness = Harness()
    harness.start(1, 0)
    assert not harness.tile(STRIPS[0], 1, stream=1)
    harness.end(1, stream=1)
    harness.start(1, stream=1)
    assert harness.discards == {DiscardReason.GEOMETRY: 3}
    assert harness.frames.finished_frames == type(harness.frames.finished_frames)()


def test_a_second_frame_start_is_discarded():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    harness.start(message=replace(START, gain_milli=77))
    assert harness.discards == {DiscardReason.DUPLICATE: 1}
    assert harness.frames._open[1].frame_start == START
    assert harness.frames._open[1].received_ranges.count == 2 * STRIDE


def test_packets_of_a_frame_that_was_handed_on_are_late():
    harness = Harness()
    harness.whole(1)
    harness.tile(STRIPS[0], 1)
    harness.start(1)
    harness.end(1)
    assert harness.discards == {DiscardReason.LATE: 3}
    assert harness.numbers() == [1]
    harness.start(0)
    assert harness.discards == {DiscardReason.LATE: 4}


# --- frames that are not whole ---------------------------------------------------------------


def test_the_missing_bytes_of_an_incomplete_frame_are_zero():
    harness = Harness()
    for _ in range(3):
        harness.pool.release(harness.pool.acquire(SIZE))
    harness.start()
    harness.tile(STRIPS[1])
    harness.tile((0, 4, 6, 1))
    harness.end()
    assembly = harness.only()
    assert not assembly.received_ranges.is_complete
    assert assembly.received_ranges.count == 2 * STRIDE + 12
    gaps = assembly.missing_ranges
    assert gaps == ((0, 2 * STRIDE), (4 * STRIDE + 12, SIZE))
    shown = assembly.unpack_pixels()
    expected = picture(1).copy()
    expected[:2] = expected[5:] = expected[4, 6:] = 0
    assert (shown == expected).all()


def test_reused_memory_never_shows_an_older_frame():
    harness = Harness()
    harness.whole(1)
    first = harness.frames.finished_frames.popleft()
    buffer = first.buffer
    # Without the poison: the memory comes as it went.
    harness.pool.acquire = lambda size, frame: buffer
    harness.start(2)
    harness.tile(STRIPS[3], 2)
    harness.end(2)
    second = harness.only()
    assert second.buffer is buffer
    assert not second.unpack_pixels()[:6].any()
    assert (second.unpack_pixels()[6:] == picture(2)[6:]).all()


def test_a_new_frame_finishes_the_frame_before_it():
    harness = Harness()
    harness.start(1)
    harness.tile(STRIPS[0], 1)
    harness.start(2)
    assert harness.numbers() == [1]
    assert harness.only().frame_end is None


def test_a_new_frame_of_another_stream_finishes_nothing():
    harness = Harness()
    harness.start(1, 0)
    harness.start(2, 1)
    assert harness.numbers() == []


def test_a_complete_frame_waits_a_moment_for_its_end():
    harness = Harness()
    harness.start(now=1.0)
    for place in STRIPS:
        harness.tile(place, now=1.0)
    harness.frames.expire_frames(0.999 + END_GRACE_MS / 1000)
    assert harness.numbers() == []
    harness.frames.expire_frames(1.001 + END_GRACE_MS / 1000)
    assert harness.numbers() == [1]
    assert harness.only().received_ranges.is_complete


def test_repeated_tiles_hold_a_complete_frame_up_for_a_bounded_time():
    harness = Harness()
    harness.start(now=1.0)
    for place in STRIPS:
        harness.tile(place, now=1.0)
    # Half a second in which nobody receives does not count.
    harness.frames.shift_timers(0.5)
    limit = 1.5 + FRAME_STALE_MS / 1000
    now = 1.5
    while now < limit:
        harness.tile(STRIPS[0], now=now)
        harness.frames.expire_frames(now)
        assert harness.numbers() == []
        now += END_GRACE_MS / 2000
    harness.tile(STRIPS[0], now=limit)
    harness.frames.expire_frames(limit + 0.001)
    assert harness.numbers() == [1]
    assert harness.only().received_ranges.is_complete


def test_an_incomplete_frame_waits_longer_for_its_next_packet():
    harness = Harness()
    harness.start(now=0.0)
    harness.tile(STRIPS[0], now=1.0)
    harness.frames.expire_frames(0.999 + FRAME_STALE_MS / 1000)
    assert harness.numbers() == []
    harness.frames.expire_frames(1.001 + FRAME_STALE_MS / 1000)
    assert harness.numbers() == [1]


def test_time_in_which_nobody_received_does_not_count():
    harness = Harness()
    harness.start(now=0.0)
    harness.tile(STRIPS[0], now=0.0)
    harness.frames.shift_timers(1000.0)
    harness.frames.expire_frames(999.999 + FRAME_STALE_MS / 1000)
    assert harness.numbers() == []
    harness.frames.expire_frames(1000.001 + FRAME_STALE_MS / 1000)
    assert harness.numbers() == [1]


def test_a_frame_that_is_being_received_into_is_not_handed_on():
    harness = Harness()
    harness.start()
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    memory = harness.frames.reserve_buffer(header)
    assert memory is not None
    harness.frames.expire_frames(1000.0)
    assert harness.numbers() == []
    # The lane's next packet, or its end, says that nothing is written any more.
    harness.frames.cancel_reservation(0)
    harness.frames.expire_frames(1000.0)
    assert harness.numbers() == [1]
    del memory


def test_an_aborted_frame_is_dropped_and_its_memory_released():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=end_of(EndStatus.ABORTED))
    assert harness.numbers() == []
    assert harness.frames.counters.aborted_frames == 1
    assert harness.pool.out == 0


def test_a_complete_frame_is_handed_on_even_if_it_was_aborted():
    harness = Harness()
    harness.start()
    for place in STRIPS:
        harness.tile(place)
    harness.end(message=end_of(EndStatus.ABORTED))
    assert harness.numbers() == [1]


def test_a_frame_whose_sensor_failed_is_handed_on():
    harness = Harness()
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=end_of(EndStatus.SENSOR))
    assert harness.only().frame_end == end_of(EndStatus.SENSOR)


def test_a_frame_without_its_frame_start_is_dropped():
    """Nothing is known of its settings."""
    harness = Harness()
    for place in STRIPS:
        harness.tile(place)
    harness.end()
    assert harness.numbers() == []
    harness.frames.expire_frames(1000.0)
    assert harness.numbers() == []
    assert harness.frames.counters.aborted_frames == 1
    assert harness.pool.out == 0


def test_a_frame_start_may_arrive_after_its_tiles():
    harness = Harness(resend=True)
    for place in STRIPS:
        harness.tile(place)
    harness.end()
    assert harness.numbers() == []
    harness.start()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_dropping_a_stream_drops_its_frames_only():
    harness = Harness()
    harness.whole(1, 0)
    harness.start(2, 0)
    harness.start(3, 1)
    harness.frames.drop_stream(0)
    assert harness.numbers() == []
    assert harness.pool.out == 1
    harness.tile(STRIPS[0], 2, 0)
    assert harness.discards == {DiscardReason.LATE: 1}
    harness.end(3, 1)
    assert harness.numbers() == [3]


def test_memory_that_a_lane_receives_into_is_not_reused():
    harness = Harness()
    harness.start()
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    memory = harness.frames.reserve_buffer(header)
    assert memory is not None
    harness.frames.drop_stream(0)
    harness.start(2)
    memory[:] = b"\x77" * 64
    assert 0x7777 not in harness.frames._open[2].unpack_pixels()


@pytest.mark.parametrize(
    ("lanes", "bytes_open", "most"),
    [
        (1, MAX_OPEN_BYTES, MIN_FRAMES_OPEN),
        (2, 0, MIN_FRAMES_OPEN),
        (2, 9 * SIZE, 9),
        (2, MAX_OPEN_BYTES, MAX_FRAMES_OPEN),
    ],
)
def test_the_number_of_open_frames_is_bounded(monkeypatch, lanes, bytes_open, most):
    monkeypatch.setattr(reassembly, "MAX_OPEN_BYTES", bytes_open)
    harness = Harness(resend=True, lanes=lanes)
    for number in range(1, most + 20):
        harness.start(number)
        assert len(harness.frames._open) <= most
    # The oldest were handed on, as they were.
    assert harness.numbers() == [16, 17, 18, 19]
    assert harness.pool.out == most + 4


def test_a_frame_that_no_lane_can_complete_makes_room():
    harness = Harness(resend=True, lanes=2)
    harness.start(1)
    harness.end(1, message=FrameEnd(0, 2, 4, 0, (0, 0, 0, 0), 0))
    for number in range(2, MIN_FRAMES_OPEN + 1):
        harness.start(number)
    assert 1 in harness.frames._open
    harness.start(MIN_FRAMES_OPEN + 1)
    assert 1 not in harness.frames._open
    assert harness.numbers() == [1]


def test_frames_that_nobody_takes_are_skipped():
    harness = Harness()
    for number in range(1, 11):
        harness.whole(number)
    assert harness.numbers() == [7, 8, 9, 10]
    assert harness.frames.counters.skipped_frames == 6
    assert harness.pool.out == 4
    harness.whole(11, 1)
    assert 11 in harness.numbers() and 7 in harness.numbers()


# --- to the byte and the bound ---------------------------------------------------------------


def test_a_frame_is_handed_on_at_its_end_and_what_follows_is_late():
    harness = SmallHarness()
    harness.start(now=1.0)
    assert [harness.strip(row, now=2.0) for row in (0, 2, 4)] == [True] * 3
    assert not harness.finished
    harness.end(now=3.0)
    [frame] = harness.finished
    assert frame.received_ranges.is_complete
    assert frame.number == 0
    assert harness.frames.counters.tile_bytes == SMALL_SIZE
    assert harness.frames.first_tile_time == 2.0
    assert harness.frames.counters.aborted_frames == 0
    assert bytes(frame.buffer) == b"".join(bytes([r + 1]) * 2 * SMALL_STRIDE for r in (0, 2, 4))
    assert not any(harness.discards.values())
    harness.end()
    assert harness.discards[DiscardReason.LATE] == 1


@pytest.mark.parametrize(
    "changes", [{"bits": 8, "white": 255}, {"orientation": 8}, {"white": 1}, {"white": 4095}]
)
def test_a_frame_start_at_its_bounds_is_accepted(changes):
    harness = SmallHarness()
    harness.start(**changes)
    assert not +harness.discards
    assert list(harness.frames._open) == [0]


def test_a_rectangle_is_copied_row_by_row():
    harness = SmallHarness()
    harness.start()
    assert not harness.strip(1, 2, x=1, width=2, value=7)
    assembly = harness.frames._open[0]
    assert assembly.received_ranges.count == 8
    assert assembly.received_ranges.find_gaps(0, SMALL_SIZE) == [
        (0, 10),
        (14, 18),
        (22, SMALL_SIZE),
    ]
    assert bytes(assembly.buffer[10:14]) == b"\7" * 4
    assert bytes(assembly.buffer[18:22]) == b"\7" * 4


def test_a_part_of_one_row_is_received_in_place():
    harness = SmallHarness()
    harness.start()
    assert harness.strip(1, 1, x=2, width=2)
    assert harness.frames._open[0].received_ranges.find_gaps(0, 16) == [(0, 12)]


def test_received_ranges_are_not_written_again():
    harness = SmallHarness()
    harness.start()
    harness.strip(0, value=1)
    assert not harness.strip(0, value=9)
    assert harness.discards[DiscardReason.DUPLICATE] == 1
    assert not harness.strip(1, value=5)
    assembly = harness.frames._open[0]
    assert bytes(assembly.buffer[:24]) == b"\1" * 16 + b"\5" * 8
    assert harness.discards[DiscardReason.DUPLICATE] == 1


def test_no_lane_writes_into_memory_that_another_lane_receives_into():
    harness = SmallHarness(2)
    harness.start()
    place = harness.place_strip(0)
    assert place is not None
    assert harness.frames._open[0].reservations == {0: (0, 16)}
    assert not harness.strip(0, lane=1, value=9)
    assert harness.frames._open[0].received_ranges.count == 0
    assert not harness.strip(1, lane=1, value=9)
    assert harness.frames._open[0].received_ranges.find_gaps(0, SMALL_SIZE) == [(0, SMALL_SIZE)]
    # The other lane may write beside it.
    assert harness.strip(2, lane=1, value=9)
    harness.frames.cancel_reservation(0)
    assert harness.frames._open[0].reservations == {}
    assert harness.strip(0, lane=1, value=8)


def test_an_aborted_frame_waits_while_it_is_received_into():
    harness = SmallHarness(2)
    harness.start()
    for row in (0, 2):
        harness.strip(row)
    assert harness.place_strip(4, lane=1) is not None
    harness.end(message=FrameEnd(EndStatus.ABORTED, 2, 3, 0, (0, 0, 0, 0), 0))
    harness.frames.expire_frames(100.0)
    assert not harness.finished
    harness.frames.lanes[0].last_sequence = harness.frames.lanes[1].last_sequence = 0
    harness.frames.cancel_reservation(1)
    assert harness.frames.counters.aborted_frames == 1


def test_a_stream_that_is_not_configured_has_no_memory():
    harness = SmallHarness()
    harness.strip(0, stream=1)
    harness.start(stream=1)
    assert +harness.discards == {DiscardReason.NO_FRAME: 1, DiscardReason.GEOMETRY: 1}
    harness.start()
    assert harness.place_strip(0, stream=1) is None
    harness.end(stream=1)
    assert harness.discards[DiscardReason.GEOMETRY] == 2


def test_an_older_frame_is_not_opened_again():
    harness = SmallHarness()
    harness.strip(0, frame=5)
    harness.strip(0, frame=4)
    assert harness.discards[DiscardReason.LATE] == 1
    assert list(harness.frames._open) == [5]


def test_a_fifth_frame_finishes_the_oldest_unless_a_lane_receives_into_it():
    harness = SmallHarness()
    for frame in range(4):
        harness.start(frame)
    assert list(harness.frames._open) == [0, 1, 2, 3]
    harness.start(4)
    assert list(harness.frames._open) == [1, 2, 3, 4]
    assert [each.number for each in harness.finished] == [0]
    harness.place_strip(0, frame=1)
    harness.start(5)
    assert list(harness.frames._open) == [1, 2, 3, 4]
    assert harness.discards[DiscardReason.NO_FRAME] == 1


def test_without_resends_the_frame_end_finishes_an_incomplete_frame():
    harness = SmallHarness(resend=False)
    harness.start()
    harness.strip(0)
    harness.frames.lanes[0].last_sequence = 0
    harness.end()
    assert len(harness.finished) == 1


def test_an_incomplete_frame_is_stale_after_two_seconds_of_listening():
    harness = SmallHarness()
    harness.start(now=1.0)
    harness.strip(0, now=1.0)
    harness.frames.expire_frames(3.0)
    assert not harness.finished
    harness.frames.shift_timers(1.0)
    harness.frames.expire_frames(4.0)
    assert not harness.finished
    harness.frames.expire_frames(4.01)
    assert len(harness.finished) == 1


def test_an_aborted_frame_is_dropped_unless_it_is_whole():
    aborted = FrameEnd(EndStatus.ABORTED, 1, 3, 0, (0, 0, 0, 0), 0)
    harness = SmallHarness()
    harness.frames.lanes[0].last_sequence = 0
    harness.start()
    harness.strip(0)
    harness.end(message=aborted)
    assert not harness.finished
    assert harness.frames.counters.aborted_frames == 1
    harness.start(1)
    for row in (0, 2, 4):
        harness.strip(row, frame=1)
    harness.end(1, message=aborted)
    assert [each.number for each in harness.finished] == [1]


def test_drop_stream_releases_memory_unless_a_lane_receives_into_it():
    harness = SmallHarness()
    harness.start(0)
    harness.start(1)
    harness.place_strip(0, frame=1)
    harness.frames.drop_stream(1)
    assert list(harness.frames._open) == [0, 1]
    harness.frames.drop_stream(0)
    assert not harness.frames._open
    assert len(harness.pool._free) == 1
    harness = SmallHarness()
    harness.start()
    for row in (0, 2, 4):
        harness.strip(row)
    harness.end()
    harness.frames.drop_stream(1)
    assert len(harness.finished) == 1
    harness.frames.drop_stream(0)
    assert not harness.finished
    assert len(harness.pool._free) == 1


def test_any_packet_of_a_frame_restarts_its_timer():
    harness = Harness(resend=True)
    harness.start(now=1.0)
    assembly = harness.frames._open[1]
    assert assembly.timer.last_packet_time == 1.0
    harness.tile(STRIPS[0], now=2.0)
    assert assembly.timer.last_packet_time == 2.0
    harness.tile(STRIPS[0], now=3.0)
    assert assembly.timer.last_packet_time == 3.0
    harness.end(now=4.0)
    assert assembly.timer.last_packet_time == 4.0
    harness.tile(STRIPS[0], 2, now=5.0)
    harness.start(2, now=6.0)
    assert harness.frames._open[2].timer.last_packet_time == 6.0


def test_a_new_reservation_ends_the_one_before_it():
    harness = Harness()
    harness.start()
    harness.start(2, 1)
    for frame, stream, place in ((1, 0, STRIPS[0]), (1, 0, STRIPS[1]), (2, 1, STRIPS[2])):
        header = harness.header(MessageType.TILE, frame, stream, place, 64)
        assert harness.frames.reserve_buffer(header, 0) is not None
    assert harness.frames._open[1].reservations == {}
    assert harness.frames._open[2].reservations == {0: (128, 192)}


def test_a_copy_leaves_out_rows_that_another_lane_receives():
    harness = Harness(lanes=2)
    harness.start()
    header = harness.header(MessageType.TILE, 1, 0, (0, 1, WIDTH, 1), STRIDE)
    assert harness.frames.reserve_buffer(header, 0) is not None
    harness.tile((0, 0, 4, 3), lane=1)
    assembly = harness.frames._open[1]
    assert assembly.received_ranges.find_gaps(0, 3 * STRIDE) == [
        (8, 2 * STRIDE),
        (2 * STRIDE + 8, 3 * STRIDE),
    ]
    assert not harness.discards
    assert (assembly.unpack_pixels()[0, :4] == picture(1)[0, :4]).all()
    assert (assembly.unpack_pixels()[2, :4] == picture(1)[2, :4]).all()


def test_a_stream_keeps_four_finished_frames_and_releases_the_oldest():
    harness = Harness()
    for number in range(1, 6):
        harness.whole(number, 0)
    harness.whole(6, 1)
    assert harness.numbers() == [2, 3, 4, 5, 6]
    assert harness.frames.counters.skipped_frames == 1
    assert harness.pool.out == 5


def test_dropping_a_stream_keeps_finished_frames_of_another():
    harness = Harness()
    harness.whole(1, 0)
    harness.whole(2, 1)
    harness.frames.drop_stream(0)
    assert harness.numbers() == [2]
    assert harness.pool.out == 1


def test_a_new_reassembly_expects_no_resends():
    fresh = reassembly.Reassembly(Pool(), Counter(), {0: PLAN}.get)
    assert fresh.can_resend is False


@pytest.mark.parametrize(("x", "y"), [(0, 2), (12, 0)])
def test_rows_beside_what_another_lane_receives_are_copied(x, y):
    harness = Harness(lanes=2)
    harness.start()
    place = (0, 1, WIDTH, 1) if y else (0, 2, WIDTH, 1)
    header = harness.header(MessageType.TILE, 1, 0, place, STRIDE)
    assert harness.frames.reserve_buffer(header, 0) is not None
    assert not harness.tile((x, y, 4, 2), lane=1)
    assembly = harness.frames._open[1]
    assert assembly.received_ranges.count == 16
    assert (
        assembly.unpack_pixels()[y : y + 2, x : x + 4] == picture(1)[y : y + 2, x : x + 4]
    ).all()
