"""Resends and lanes: what of a frame is asked for again and when, and how long a frame waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.reassembly_harness import (
    HEIGHT,
    PLAN,
    SMALL_STRIDE,
    SMALL_WIDTH,
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

from lenslink_protocol.ids import (
    DiscardReason,
    EndStatus,
    Flag,
    FrameState,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.messages import FrameEnd
from lenslink_protocol.params import (
    FRAME_STALE_MS,
    MAX_RANGES,
    RESEND_RETRY_MS,
    RESEND_TRIES,
    STALL_MS,
)

RETRY_S = RESEND_RETRY_MS / 1000
LAG_S = STALL_MS / 1000


def test_a_gap_is_asked_for_once_it_is_passed():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    assert asked(harness, 0.0) == []
    harness.tile(STRIPS[2])
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 2),))]
    assert asked(harness, RETRY_S - 0.001) == []
    assert asked(harness, RETRY_S) == [(1, 0, ((0, 2, WIDTH, 2),))]
    harness.tile(STRIPS[1], flags=Flag.RESENT)
    harness.tile(STRIPS[3])
    harness.end()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_after_the_end_all_that_is_missing_is_asked_for():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.end()
    assert harness.numbers() == []
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 6),))]


def test_parts_of_rows_are_asked_for_as_such():
    harness = Harness(resend=True)
    harness.start()
    harness.tile((0, 0, 6, 1))
    harness.tile((10, 2, 6, 1))
    for place in STRIPS[2:]:
        harness.tile(place)
    harness.end()
    [(_, _, rectangles)] = asked(harness, 0.0)
    assert rectangles == (
        (6, 0, 10, 1),
        (0, 1, WIDTH, 1),
        (0, 2, 10, 1),
        (0, 3, WIDTH, 1),
    )


def test_no_more_is_asked_for_at_once_than_may_be():
    plan = replace(PLAN, height=80, frame_bytes=STRIDE * 80)
    harness = Harness(resend=True, plans={0: plan})
    harness.start(message=replace(START, height=80))
    for y in range(80):
        header = harness.header(MessageType.TILE, 1, 0, (0, y, 8, 1), 16)
        harness.frames.on_tile(header, memoryview(bytes(16)), False, 0.0)
    harness.end()
    [(_, _, rectangles)] = asked(harness, 0.0)
    assert len(rectangles) == MAX_RANGES


def test_what_is_quiet_is_asked_for_with_its_end():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0], now=1.0)
    assert asked(harness, 1.099) == []
    assert asked(harness, 1.101) == [(1, ResendFlag.END, ((0, 2, WIDTH, 6),))]


def test_a_beginning_that_is_missing_is_asked_for():
    harness = Harness(resend=True)
    harness.tile(STRIPS[0])
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def test_a_frame_that_has_begun_unseen_is_asked_for():
    harness = Harness(resend=True)
    harness.frames.on_frame_announced(0, 5, 0.0)
    assert asked(harness, 0.0) == [(5, ResendFlag.START, ())]
    harness.frames.on_frame_announced(0, 5, 0.0)
    harness.frames.on_frame_announced(0, 4, 0.0)
    assert len(harness.frames._open) == 1
    assert not harness.discards


def test_it_is_asked_for_so_often_and_then_handed_on():
    harness = Harness(resend=True)
    harness.start()
    harness.end()
    now = 0.0
    for _ in range(RESEND_TRIES):
        assert asked(harness, now)
        now += RETRY_S
    assert harness.numbers() == []
    assert asked(harness, now) == []
    assert harness.numbers() == [1]


def test_a_slow_tile_is_no_silence_and_its_frame_not_given_up():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[1])
    # The first strip is lost, and of the third bytes come for seconds.
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[2], 64)
    assert harness.frames.reserve_buffer(header) is not None
    now = 0.0
    for _ in range(3 * RESEND_TRIES):
        now += RETRY_S
        for _, flags, rectangles in asked(harness, now):
            assert (flags, rectangles) == (0, ((0, 0, WIDTH, 2),)), "what is under way is not lost"
    assert harness.numbers() == []
    harness.frames.cancel_reservation(0)
    assert asked(harness, now + RETRY_S) == []
    assert harness.numbers() == [1]


def test_any_answer_renews_the_tries():
    harness = Harness(resend=True)
    harness.start()
    harness.end()
    now = 0.0
    for _ in range(5 * RESEND_TRIES):
        assert asked(harness, now)
        now += RETRY_S
        harness.resent(FrameState.ENDED)


def test_what_is_gone_is_not_asked_for_again():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.end()
    harness.resent(FrameState.ENDED, STRIPS[2])
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 2), (0, 6, WIDTH, 2)))]
    harness.resent(FrameState.ENDED, STRIPS[1], STRIPS[3])
    assembly = harness.only()
    assert assembly.received_ranges.count == 2 * STRIDE
    assert not assembly.received_ranges.is_complete


def test_a_frame_that_the_module_does_not_know_any_more_is_handed_on_as_it_is():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.resent(FrameState.UNKNOWN)
    assert harness.only().received_ranges.count == 2 * STRIDE


def test_while_a_frame_is_under_way_it_is_waited_for():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.resent(FrameState.UNDER_WAY)
    assert harness.numbers() == []
    for place in STRIPS[1:]:
        harness.tile(place)
    harness.end()
    assert harness.only().received_ranges.is_complete


@pytest.mark.parametrize("state", FrameState)
@pytest.mark.parametrize(("places", "count"), [(1, 2), (0, 1), (33, 33), (0, 65535)])
def test_an_answer_whose_rectangles_are_not_there_is_malformed(state, places, count):
    harness = Harness(resend=True)
    harness.start()
    harness.resent(state, *[STRIPS[0]] * places, count=count)
    assert harness.discards == {DiscardReason.MALFORMED: 1}
    assert harness.numbers() == []


def test_rectangles_outside_the_frame_are_nothing():
    harness = Harness(resend=True)
    harness.start()
    harness.resent(FrameState.UNDER_WAY, (9, 9, 9, 9), (0, 0, 0, 0), (65535,) * 4)
    assert harness.frames._open[1].unavailable_ranges.count == 0


def test_an_answer_for_no_frame_is_nothing():
    harness = Harness(resend=True)
    harness.start()
    harness.resent(FrameState.UNKNOWN, frame=2)
    harness.resent(FrameState.UNKNOWN, stream=1)
    assert harness.numbers() == []


def test_frames_are_handed_on_in_their_order():
    harness = Harness(resend=True)
    harness.start(1)
    harness.tile(STRIPS[0], 1)
    harness.whole(2)
    assert harness.numbers() == [], "the first still waits for what was lost"
    for place in STRIPS[1:]:
        harness.tile(place, 1, flags=Flag.RESENT)
    harness.end(1)
    assert harness.numbers() == [1, 2]


def test_a_tile_of_a_frame_that_waits_for_another_is_late():
    harness = Harness(resend=True)
    harness.start(1)
    harness.whole(2)
    assert not harness.tile(STRIPS[0], 2)
    assert harness.discards == {DiscardReason.LATE: 1}


def test_what_ended_early_is_not_asked_for():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=end_of(EndStatus.SENSOR))
    assert harness.numbers() == [1]


def test_a_gap_is_asked_for_until_it_is_filled():
    harness = SmallHarness()
    harness.start(now=0.0)
    harness.strip(0)
    assert asked(harness, 0.0) == []
    harness.strip(4)
    assert asked(harness, 0.0) == [(0, 0, ((0, 2, SMALL_WIDTH, 2),))]
    assert asked(harness, 0.049) == []
    assert asked(harness, 0.05) == [(0, 0, ((0, 2, SMALL_WIDTH, 2),))]
    harness.resent(FrameState.UNDER_WAY, now=0.05)
    harness.strip(2, flags=Flag.RESENT, now=0.05)
    assert asked(harness, 0.1) == []
    # A tile that was sent again says nothing of the lane's position.
    assert harness.frames.snapshot().positions == (((0, 0), (0, 4 * SMALL_STRIDE)),)


def test_a_frame_end_proves_what_is_missing_and_so_does_a_pause():
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    harness.frames.lanes[0].last_sequence = 0
    harness.end()
    assert asked(harness, 0.0) == [(0, 0, ((0, 2, SMALL_WIDTH, 4),))]
    harness = SmallHarness()
    harness.strip(0, now=1.0)
    assert asked(harness, 1.09) == [(0, ResendFlag.START, ())]
    assert asked(harness, 1.2) == [
        (0, ResendFlag.START | ResendFlag.END, ((0, 2, SMALL_WIDTH, 4),))
    ]


def test_gaps_inside_rows_are_asked_for_as_parts_of_rows():
    harness = SmallHarness()
    harness.start()
    harness.strip(0, 1, x=0, width=1)
    harness.strip(2, 1, x=1, width=2)
    harness.strip(5, 1)
    found = asked(harness, 0.0)[0][2]
    assert found == ((1, 0, 3, 1), (0, 1, 4, 1), (0, 2, 1, 1), (3, 2, 1, 1), (0, 3, 4, 2))


def test_the_tries_of_a_resend_end_and_an_answer_renews_them():
    harness = SmallHarness()
    harness.start()
    harness.strip(4)
    for turn in range(RESEND_TRIES):
        assert asked(harness, 0.06 * turn), turn
    harness.resent(FrameState.UNDER_WAY, now=0.5)
    for turn in range(RESEND_TRIES):
        assert asked(harness, 0.5 + 0.06 * turn), turn
    assert not harness.finished
    assert asked(harness, 1.1) == []
    assert len(harness.finished) == 1


def test_an_unknown_frame_is_handed_on_if_it_has_a_start_and_else_dropped():
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    harness.resent(FrameState.UNKNOWN)
    assert len(harness.finished) == 1
    harness = SmallHarness()
    harness.strip(0)
    harness.resent(FrameState.UNKNOWN)
    assert harness.frames.counters.aborted_frames == 1
    assert not harness.finished


def test_a_false_answer_to_a_resend_changes_nothing():
    harness = SmallHarness()
    harness.start()
    harness.resent(FrameState.UNKNOWN, frame=3)
    harness.resent(FrameState.UNKNOWN, stream=1)
    assert not harness.finished
    harness.resent(FrameState.ENDED, [(0, 0, SMALL_WIDTH, 2)], count=2)
    assert +harness.discards == {DiscardReason.MALFORMED: 1}
    harness.resent(FrameState.ENDED, [(0, 0, 1, 1)] * (MAX_RANGES + 1))
    assert +harness.discards == {DiscardReason.MALFORMED: 2}
    harness.resent(FrameState.ENDED, [(0, 9, SMALL_WIDTH, 2)])
    assert harness.frames._open[0].unavailable_ranges.count == 0
    harness.resent(FrameState.ENDED, [(0, 0, 1, 1)] * MAX_RANGES)
    assert harness.frames._open[0].unavailable_ranges.count == 2


@pytest.mark.parametrize(
    ("last", "at", "waits"),
    [(5, 5, False), (5, 4, True), (5, 6, False), (5, None, True), (0xFFFFFFFF, None, False),
     (2, 0xFFFFFFFF, True), (0x80000005, 5, False), (0x80000004, 5, True)],
)  # fmt: skip
def test_a_frame_end_waits_for_each_lane_to_reach_its_sequence(last, at, waits):
    harness = SmallHarness(2)
    harness.start()
    harness.strip(0)
    harness.frames.lanes[0].last_sequence = 7
    harness.frames.lanes[1].last_sequence = at
    harness.end(message=FrameEnd(EndStatus.OK, 2, 3, 0, (7, last, 0, 0)))
    assert bool(asked(harness, 0.0)) is not waits
    harness.frames.lanes[1].is_alive = False
    assert asked(harness, 0.06)


def test_a_lane_that_the_module_does_not_use_is_not_waited_for():
    harness = SmallHarness(2)
    harness.start()
    harness.strip(0)
    harness.frames.lanes[0].last_sequence = 7
    harness.end(message=FrameEnd(EndStatus.OK, 1, 3, 0, (7, 99, 0, 0)))
    assert asked(harness, 0.0)


def test_only_a_newer_frame_of_a_configured_stream_is_begun_unseen():
    harness = SmallHarness()
    harness.frames.on_frame_announced(0, 3, 1.0)
    assert list(harness.frames._open) == [3]
    assert asked(harness, 1.0) == [(3, ResendFlag.START, ())]
    harness.frames.on_frame_announced(0, 3, 1.0)
    harness.frames.on_frame_announced(0, 2, 1.0)
    harness.frames.on_frame_announced(1, 9, 1.0)
    assert list(harness.frames._open) == [3]


def test_a_packet_of_the_next_frame_proves_what_is_missing_of_the_one_before():
    harness = Harness(resend=True)
    harness.start(1)
    harness.tile(STRIPS[0], 1)
    assert asked(harness, 0.0) == []
    harness.start(2)
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 6),))]


def test_a_resume_postpones_the_next_resend():
    harness = Harness(resend=True)
    harness.start()
    harness.end()
    assert asked(harness, 0.0)
    harness.frames.shift_timers(10.0)
    assert asked(harness, 9.999 + RETRY_S) == []
    assert asked(harness, 10.0 + RETRY_S)


def test_a_frame_is_quiet_after_its_patience_and_not_before():
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    assert asked(harness, 2 * RETRY_S) == []
    assert asked(harness, 2 * RETRY_S + 0.0001) == [(0, ResendFlag.END, ((0, 2, SMALL_WIDTH, 4),))]


def test_an_answer_that_calls_everything_gone_ends_a_frame_without_its_end():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.resent(FrameState.ENDED, (0, 2, WIDTH, 6))
    assert harness.only().end is None
    assert harness.pool.out == 1


def test_a_frame_without_its_start_waits_although_its_rest_is_gone():
    harness = SmallHarness()
    harness.strip(0)
    harness.resent(FrameState.ENDED, [(0, 2, SMALL_WIDTH, 4)])
    assert list(harness.frames._open) == [0]
    assert asked(harness, 0.0) == [(0, ResendFlag.START, ())]
    harness.start()
    assert harness.numbers() == [0]


def test_a_range_that_is_gone_and_arrives_after_all_is_received():
    harness = Harness(resend=True)
    harness.start()
    for place in (STRIPS[0], STRIPS[1], STRIPS[3]):
        harness.tile(place)
    harness.resent(FrameState.UNDER_WAY, STRIPS[2])
    assert asked(harness, 0.0) == []
    harness.tile(STRIPS[2], flags=Flag.RESENT)
    harness.end()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_a_tile_of_a_frame_renews_the_tries_of_its_resend():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[1])
    now = 0.0
    for _ in range(RESEND_TRIES):
        assert asked(harness, now)
        now += RETRY_S
    harness.tile(STRIPS[2], now=now)
    for _ in range(RESEND_TRIES):
        assert asked(harness, now)
        now += RETRY_S
    assert harness.numbers() == []


def test_a_frame_begun_unseen_is_given_up_when_it_is_stale():
    harness = Harness(resend=True)
    harness.frames.on_frame_announced(0, 5, 0.0)
    harness.frames.expire_frames(LAG_S + 0.001)
    assert list(harness.frames._open) == [5]
    harness.frames.expire_frames(FRAME_STALE_MS / 1000 + 0.001)
    assert not harness.frames._open
    assert harness.frames.counters.aborted_frames == 1


def test_a_single_lane_is_not_awaited_once_the_rest_is_gone():
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    harness.end(message=FrameEnd(EndStatus.OK, 1, 3, 0, (9, 0, 0, 0)))
    harness.resent(FrameState.ENDED, [(0, 2, SMALL_WIDTH, 4)])
    assert harness.numbers() == [0]


def test_a_frame_whose_gap_is_gone_waits_for_its_end_and_no_longer():
    harness = Harness(resend=True)
    harness.start()
    for place in (STRIPS[0], STRIPS[1], STRIPS[3]):
        harness.tile(place)
    harness.resent(FrameState.UNDER_WAY, STRIPS[2])
    assert harness.numbers() == []
    harness.end()
    assert harness.only().received_ranges.count == 3 * 64


def test_a_frame_that_is_said_to_have_begun_again_changes_nothing():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.tile(STRIPS[2])
    harness.frames.on_frame_announced(0, 1, 0.0)
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 2),))]
    harness.tile(STRIPS[1])
    harness.tile(STRIPS[3])
    harness.end()
    harness.frames.on_frame_announced(0, 1, 0.0)
    assert harness.numbers() == [1]
    assert not harness.discards


# --- lanes -----------------------------------------------------------------------------------


def test_two_lanes_never_share_memory():
    harness = Harness(lanes=2)
    harness.start()
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    one, other = harness.frames.reserve_buffer(header, 0), harness.frames.reserve_buffer(header, 1)
    assert one is not None and other is None


def test_frames_that_are_small_wait_for_a_lane_far_behind():
    """Before a thread that reads a lane has its turn, others bring many such frames."""
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 1000
    harness.frames.lanes[1].last_sequence = None
    for number in range(1, 100):
        harness.start(number)
        lost = STRIPS[1:] if number == 1 else STRIPS
        for place in lost:
            harness.tile(place, number)
        harness.end(number, message=FrameEnd(0, 2, 4, 0, (2 * number, 0, 0, 0)))
    assert harness.numbers() == [], "lane 1 is behind"
    harness.tile(STRIPS[0], 1, lane=1)
    harness.frames.lanes[1].last_sequence = 0
    assert harness.frames.counters.skipped_frames == 95
    assert harness.numbers() == [96, 97, 98, 99]
    for frame in harness.frames.finished_frames:
        assert (frame.unpack_pixels() == picture(frame.number)).all()
    assert not harness.discards


@pytest.mark.parametrize(("lanes", "asked_s"), [(1, 2 * RETRY_S), (2, STALL_MS / 1000)])
def test_of_several_lanes_one_may_lag_before_it_is_asked_again(lanes, asked_s):
    harness = Harness(resend=True, lanes=lanes)
    harness.start()
    harness.tile(STRIPS[0])
    assert not harness.frames.find_missing(asked_s - 0.001)
    [missing] = harness.frames.find_missing(asked_s + 0.001)
    assert missing.rectangles == ((0, 2, WIDTH, HEIGHT - 2),)


def test_a_frame_that_was_overtaken_is_handed_on_before_the_other():
    """A tile of frame 2 comes by lane 1 ahead of all that lane 0 carried of frame 1."""
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 1000
    harness.tile(STRIPS[0], 2, lane=1)
    harness.whole(1)
    harness.start(2)
    for place in STRIPS[1:]:
        harness.tile(place, 2)
    harness.end(2)
    assert harness.numbers() == [1, 2]
    for frame in harness.frames.finished_frames:
        assert (frame.unpack_pixels() == picture(frame.number)).all()
    assert not harness.discards
    harness.start(1)
    assert harness.discards == {DiscardReason.LATE: 1}


def test_a_frames_end_waits_for_stragglers():
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 5
    harness.frames.lanes[1].last_sequence = None
    harness.start()
    harness.tile(STRIPS[0])
    harness.tile(STRIPS[2])
    harness.end(message=FrameEnd(0, 2, 4, 0, (4, 1, 0, 0)))
    assert harness.numbers() == [], "lane 1 is behind"
    harness.frames.lanes[1].last_sequence = 0
    harness.tile(STRIPS[1], lane=1)
    assert harness.numbers() == []
    harness.frames.lanes[1].last_sequence = 1
    harness.tile(STRIPS[3], lane=1)
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_a_frame_begun_of_a_stream_that_is_not_configured_is_no_reject():
    harness = Harness(resend=True, plans={1: PLAN})
    harness.frames.on_frame_announced(0, 7, 0.0)
    assert not harness.discards
    harness.frames.on_frame_announced(1, 7, 0.0)
    assert asked(harness, 10.0)


def test_a_gap_is_proved_once_every_lane_has_passed_it():
    harness = Harness(resend=True, lanes=2)
    harness.start()
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == [], "lane 1 may bring the first strip"
    harness.tile(STRIPS[3], lane=1)
    assert asked(harness, 0.0) == [(1, 0, ((0, 0, WIDTH, 2),))]
    harness.tile(STRIPS[0], 2, lane=0)
    second = (2, ResendFlag.START, ())
    assert asked(harness, RETRY_S) == [(1, 0, ((0, 0, WIDTH, 2), (0, 4, WIDTH, 2))), second]


def test_a_lane_that_is_lost_proves_a_gap_as_if_it_had_passed_it():
    harness = Harness(resend=True, lanes=2)
    harness.start()
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == []
    harness.frames.lanes[1].is_alive = False
    assert asked(harness, 0.0) == [(1, 0, ((0, 0, WIDTH, 2),))]


def test_a_start_is_asked_for_once_lane_0_has_passed_it():
    harness = Harness(resend=True, lanes=2)
    harness.tile(STRIPS[0], lane=1)
    assert asked(harness, 0.0) == []
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def test_a_start_is_asked_for_once_the_frame_end_has_come():
    harness = Harness(resend=True, lanes=2)
    harness.frames.lanes[1].last_sequence = None
    harness.tile(STRIPS[0], lane=1)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 9, 0, 0)))
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def gone_but_awaited():
    """A frame whose rest is gone on lane 0 and may still be on its way on lane 1."""
    harness = Harness(resend=True, lanes=2)
    harness.frames.lanes[1].last_sequence = None
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 3, 0, 0)))
    harness.resent(FrameState.ENDED, *STRIPS[1:])
    assert harness.numbers() == []
    return harness


def test_a_lane_that_is_behind_is_awaited_until_nothing_came_for_a_stall():
    harness = gone_but_awaited()
    harness.frames.expire_frames(LAG_S)
    assert harness.numbers() == []
    harness.frames.expire_frames(LAG_S + 0.0001)
    assert harness.numbers() == [1]


def test_a_tile_has_a_lane_awaited_anew():
    harness = gone_but_awaited()
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[1], 64)
    assert harness.frames.reserve_buffer(header, 1) is not None
    harness.frames.expire_frames(1.0)
    assert harness.numbers() == [], "it is being received into"
    harness.frames.on_tile(header, memoryview(bytes(64)), True, 1.0, 1)
    assert harness.numbers() == []
    harness.frames.expire_frames(1.0 + LAG_S)
    assert harness.numbers() == []
    harness.frames.expire_frames(1.0001 + LAG_S)
    assert harness.numbers() == [1]


def test_a_lane_that_is_lost_is_not_awaited():
    harness = gone_but_awaited()
    harness.frames.lanes[1].is_alive = False
    harness.frames.cancel_reservation(1)
    harness.resent(FrameState.ENDED)
    assert harness.numbers() == [1]


def test_without_resends_a_frame_waits_for_a_lane_that_is_behind():
    harness = Harness(lanes=2)
    harness.frames.lanes[1].last_sequence = 0
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 1, 0, 0)))
    assert harness.numbers() == []
    harness.frames.lanes[1].last_sequence = 1
    harness.tile(STRIPS[1], lane=1)
    assert harness.numbers() == [1]


def test_of_several_lanes_a_later_frame_ends_none():
    harness = Harness(lanes=2)
    harness.start(1)
    harness.start(2)
    assert harness.numbers() == []
    assert list(harness.frames._open) == [1, 2]


def test_what_another_lane_brings_of_an_abandoned_frame_is_no_discard():
    harness = Harness(lanes=2)
    harness.start(3)
    harness.frames.drop_stream(0)
    harness.tile(STRIPS[0], 3, lane=1)
    harness.tile(STRIPS[0], 2, lane=1)
    assert not harness.discards
    assert not harness.frames._open
    harness.whole(4)
    assert harness.numbers() == [4]
    harness.tile(STRIPS[0], 4, lane=1)
    harness.tile(STRIPS[0], 3, lane=1)
    assert harness.discards == {DiscardReason.LATE: 1}
