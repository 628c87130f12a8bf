"""Resends and lanes: what of a frame is asked for again and when, and how long a frame waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.reassembly_harness import (
    HEIGHT,
    PLAN,
    SIZE,
    SMALL_STRIDE,
    SMALL_WIDTH,
    START,
    STRIDE,
    STRIPS,
    TRY_WAITS_S,
    WIDTH,
    Harness,
    SmallHarness,
    asked,
    end_of,
    picture,
)

from lenslink.receive.lane_progress import is_later
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


def test_a_gap_is_requested_once_the_lane_has_passed_it():
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


def test_after_the_frame_end_all_missing_ranges_are_requested():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.end()
    assert harness.numbers() == []
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 6),))]


def test_parts_of_rows_are_requested_as_parts_of_rows():
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


def test_a_resend_names_no_more_rectangles_than_allowed():
    plan = replace(PLAN, height=80, frame_bytes=STRIDE * 80)
    harness = Harness(resend=True, plans={0: plan})
    harness.start(message=replace(START, height=80))
    for y in range(80):
        header = harness.header(MessageType.TILE, 1, 0, (0, y, 8, 1), 16)
        harness.frames.on_tile(header, memoryview(bytes(16)), False, 0.0)
    harness.end()
    [(_, _, rectangles)] = asked(harness, 0.0)
    assert len(rectangles) == MAX_RANGES


def test_a_quiet_frame_is_requested_with_its_frame_end():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0], now=1.0)
    assert asked(harness, 1.099) == []
    assert asked(harness, 1.101) == [(1, ResendFlag.END, ((0, 2, WIDTH, 6),))]


def test_a_missing_frame_start_is_requested():
    harness = Harness(resend=True)
    harness.tile(STRIPS[0])
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def test_an_announced_frame_is_requested():
    harness = Harness(resend=True)
    harness.frames.on_frame_announced(0, 5, 0.0)
    assert asked(harness, 0.0) == [(5, ResendFlag.START, ())]
    harness.frames.on_frame_announced(0, 5, 0.0)
    harness.frames.on_frame_announced(0, 4, 0.0)
    assert len(harness.frames._open) == 1
    assert not harness.discards


def test_a_frame_is_handed_on_after_the_last_try():
    harness = Harness(resend=True)
    harness.start()
    harness.end()
    now = 0.0
    for wait in TRY_WAITS_S:
        assert asked(harness, now)
        now += wait
    assert harness.numbers() == []
    assert asked(harness, now) == []
    assert harness.numbers() == [1]


def test_a_frame_is_not_given_up_while_a_slow_tile_arrives():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[1])
    # The first strip is lost, and of the third bytes come for seconds.
    header = harness.header(MessageType.TILE, 1, 0, STRIPS[2], 64)
    assert harness.frames.reserve_buffer(header) is not None
    now = 0.0
    for _ in range(12 * RESEND_TRIES):
        now += RETRY_S
        for _, flags, rectangles in asked(harness, now):
            assert (flags, rectangles) == (0, ((0, 0, WIDTH, 2),)), "what is under way is not lost"
    assert harness.numbers() == []
    harness.frames.cancel_reservation(0)
    assert asked(harness, now + TRY_WAITS_S[-1]) == []
    assert harness.numbers() == [1]


def test_any_answer_restarts_the_tries():
    harness = Harness(resend=True)
    harness.start()
    harness.end()
    now = 0.0
    for _ in range(5 * RESEND_TRIES):
        assert asked(harness, now)
        now += RETRY_S
        harness.resent(FrameState.ENDED)


def test_an_unavailable_range_is_not_requested_again():
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


def test_a_frame_unknown_to_the_module_is_handed_on_as_it_is():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.resent(FrameState.UNKNOWN)
    assert harness.only().received_ranges.count == 2 * STRIDE


def test_a_frame_under_way_is_waited_for():
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
def test_a_resent_without_its_rectangles_is_malformed(state, places, count):
    harness = Harness(resend=True)
    harness.start()
    harness.resent(state, *[STRIPS[0]] * places, count=count)
    assert harness.discards == {DiscardReason.MALFORMED: 1}
    assert harness.numbers() == []


def test_a_resent_rectangle_outside_the_frame_is_ignored():
    harness = Harness(resend=True)
    harness.start()
    harness.resent(FrameState.UNDER_WAY, (9, 9, 9, 9), (0, 0, 0, 0), (65535,) * 4)
    assert harness.frames._open[1].unavailable_ranges.count == 0


def test_a_resent_for_no_open_frame_is_ignored():
    harness = Harness(resend=True)
    harness.start()
    harness.resent(FrameState.UNKNOWN, frame=2)
    harness.resent(FrameState.UNKNOWN, stream=1)
    assert harness.numbers() == []


def test_frames_are_handed_on_in_order():
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


def test_nothing_of_a_frame_that_ended_early_is_requested():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=end_of(EndStatus.SENSOR))
    assert harness.numbers() == [1]


def test_a_gap_is_requested_until_it_is_filled():
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


def test_a_frame_end_proves_a_gap_and_so_does_a_pause():
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


def test_gaps_inside_rows_are_requested_as_parts_of_rows():
    harness = SmallHarness()
    harness.start()
    harness.strip(0, 1, x=0, width=1)
    harness.strip(2, 1, x=1, width=2)
    harness.strip(5, 1)
    found = asked(harness, 0.0)[0][2]
    assert found == ((1, 0, 3, 1), (0, 1, 4, 1), (0, 2, 1, 1), (3, 2, 1, 1), (0, 3, 4, 2))


def test_the_tries_wait_twice_as_long_each_time_and_an_answer_restarts_them():
    harness = SmallHarness()
    harness.start()
    harness.strip(4)
    for now in (0.0, 0.06, 0.17, 0.38, 0.79, 1.2, 1.61, 2.02):
        assert now == 0.0 or asked(harness, now - 0.02) == [], now
        assert asked(harness, now), now
    harness.resent(FrameState.UNDER_WAY, now=3.0)
    for now in (0.0, 0.06, 0.17, 0.38, 0.79, 1.2, 1.61, 2.02):
        assert asked(harness, 3.0 + now), now
    assert not harness.finished
    assert asked(harness, 5.43) == []
    assert len(harness.finished) == 1


def test_an_answer_that_takes_400_ms_arrives_before_the_tries_run_out():
    harness = SmallHarness()
    harness.start()
    harness.strip(4)
    requests = 0
    for turn in range(80):
        now = turn / 200
        requests += len(asked(harness, now))
    assert not harness.finished
    assert requests < RESEND_TRIES
    harness.strip(0, now=0.4, flags=Flag.RESENT)
    harness.strip(2, now=0.4, flags=Flag.RESENT)
    harness.end(now=0.4)
    assert harness.only().is_intact


def test_what_is_on_its_way_is_not_requested_again():
    first, second = (0, 0, SMALL_WIDTH, 1), (0, 2, SMALL_WIDTH, 1)
    harness = SmallHarness()
    harness.frames.on_round_trip(0.4)
    harness.start()
    harness.strip(1, rows=1)
    assert asked(harness, 0.0) == [(0, 0, (first,))]
    harness.strip(3, rows=1, now=0.01)
    assert asked(harness, 0.01) == [(0, 0, (second,))], "only what was lost since"
    assert asked(harness, 0.39) == []
    # The first answer is that to the first request. The tile before it was damaged again.
    harness.resent(FrameState.UNDER_WAY, now=0.4)
    assert asked(harness, 0.4) == [(0, 0, (first,))]
    harness.resent(FrameState.UNDER_WAY, now=0.41)
    assert asked(harness, 0.41) == [(0, 0, (second,))]
    # Without an answer, the wait is the round trip and RESEND_RETRY_MS.
    assert asked(harness, 0.4 + 0.449) == []
    assert asked(harness, 0.4 + 0.451) == [(0, 0, (first,))]


def test_a_resent_tile_that_is_damaged_too_is_requested_at_once():
    """The tile was sent before the answer, so the answer proves that it is lost again."""
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    harness.strip(4)
    assert asked(harness, 0.001) == [(0, 0, ((0, 2, 4, 2),))]
    assert asked(harness, 0.002) == []
    harness.resent(FrameState.UNDER_WAY, now=0.003)
    assert asked(harness, 0.003) == [(0, 0, ((0, 2, 4, 2),))]


def test_with_several_lanes_the_answer_proves_nothing_of_the_other_lanes():
    harness = SmallHarness(lanes=2)
    harness.start()
    harness.strip(4)
    harness.strip(4, lane=1)
    assert asked(harness, 0.001)
    harness.resent(FrameState.UNDER_WAY, now=0.003)
    assert asked(harness, 0.003) == []
    assert asked(harness, 0.06)


def test_previews_make_room_for_previews_and_not_a_still():
    harness = Harness(resend=True)
    harness.start(1, stream=1)
    harness.tile(STRIPS[0], 1, stream=1)
    for number in range(2, 7):
        harness.start(number)
        harness.tile(STRIPS[0], number)
    assert 1 in harness.frames._open
    assert list(harness.frames._open) == [1, 4, 5, 6]
    assert harness.numbers() == [2, 3]


def test_a_frame_start_that_is_on_its_way_is_not_requested_again():
    harness = Harness(resend=True)
    harness.tile(STRIPS[0])
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]
    assert asked(harness, 0.001) == []


def test_of_two_frames_that_are_half_of_all_numbers_apart_neither_is_later():
    assert is_later(2**31 - 1, 0)
    assert not is_later(2**31, 0)
    assert not is_later(0, 2**31)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("resend", [False, True])
def test_frame_numbers_wrap(lanes, resend):
    """Frame 0 follows frame 0xFFFFFFFF, and is not late."""
    harness = Harness(resend=resend, lanes=lanes)
    numbers = [0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2]
    for number in numbers:
        harness.whole(number)
    assert harness.numbers()[-4:] == numbers[-4:]
    assert all(each.is_intact for each in harness.finished)
    assert not harness.discards
    # The numbers before are late as ever.
    harness.start(0xFFFFFFFF)
    assert harness.discards == {DiscardReason.LATE: 1}


def test_a_gap_is_proven_across_the_wrap_of_frame_numbers():
    harness = Harness(resend=True)
    harness.start(0xFFFFFFFF)
    harness.tile(STRIPS[0], 0xFFFFFFFF)
    harness.start(0)
    assert asked(harness, 0.0) == [(0xFFFFFFFF, 0, ((0, 2, WIDTH, 6),))]
    assert harness.frames.count_packets_before_end(harness.frames._open[0], 0) == SIZE


def test_a_frame_announced_across_the_wrap_is_requested():
    harness = Harness(resend=True)
    harness.whole(0xFFFFFFFF)
    harness.frames.on_frame_announced(0, 0, 0.0)
    assert asked(harness, 0.0) == [(0, ResendFlag.START, ())]


def test_a_frame_overtaken_across_the_wrap_is_handed_on_in_order():
    harness = Harness(resend=True, lanes=2)
    harness.start(0)
    harness.start(0xFFFFFFFF)
    for number in (0, 0xFFFFFFFF):
        for place in STRIPS:
            harness.tile(place, number)
        harness.end(number)
    assert harness.numbers() == [0xFFFFFFFF, 0]


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
    harness.end(message=FrameEnd(EndStatus.OK, 2, 3, 0, (7, last, 0, 0), 0))
    assert bool(asked(harness, 0.0)) is not waits
    harness.frames.lanes[1].is_alive = False
    assert asked(harness, 0.06)


def test_a_lane_that_the_module_does_not_use_is_not_waited_for():
    harness = SmallHarness(2)
    harness.start()
    harness.strip(0)
    harness.frames.lanes[0].last_sequence = 7
    harness.end(message=FrameEnd(EndStatus.OK, 1, 3, 0, (7, 99, 0, 0), 0))
    assert asked(harness, 0.0)


def test_only_a_newer_frame_of_a_configured_stream_is_opened_when_announced():
    harness = SmallHarness()
    harness.frames.on_frame_announced(0, 3, 1.0)
    assert list(harness.frames._open) == [3]
    assert asked(harness, 1.0) == [(3, ResendFlag.START, ())]
    harness.frames.on_frame_announced(0, 3, 1.0)
    harness.frames.on_frame_announced(0, 2, 1.0)
    harness.frames.on_frame_announced(1, 9, 1.0)
    assert list(harness.frames._open) == [3]


def test_a_packet_of_the_next_frame_proves_the_gaps_of_the_frame_before():
    harness = Harness(resend=True)
    harness.start(1)
    harness.tile(STRIPS[0], 1)
    assert asked(harness, 0.0) == []
    harness.start(2)
    assert asked(harness, 0.0) == [(1, 0, ((0, 2, WIDTH, 6),))]


def test_shifted_timers_postpone_the_next_resend():
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


def test_a_frame_of_which_nothing_is_held_is_finished_without_its_end():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[0])
    harness.resent(FrameState.ENDED, (0, 2, WIDTH, 6))
    assert harness.only().frame_end is None
    assert harness.pool.out == 1


def test_a_frame_without_its_start_waits_although_its_rest_is_unavailable():
    harness = SmallHarness()
    harness.strip(0)
    harness.resent(FrameState.ENDED, [(0, 2, SMALL_WIDTH, 4)])
    assert list(harness.frames._open) == [0]
    assert asked(harness, 0.0) == [(0, ResendFlag.START, ())]
    harness.start()
    assert harness.numbers() == [0]


def test_an_unavailable_range_that_arrives_after_all_is_used():
    harness = Harness(resend=True)
    harness.start()
    for place in (STRIPS[0], STRIPS[1], STRIPS[3]):
        harness.tile(place)
    harness.resent(FrameState.UNDER_WAY, STRIPS[2])
    assert asked(harness, 0.0) == []
    harness.tile(STRIPS[2], flags=Flag.RESENT)
    harness.end()
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_a_tile_of_a_frame_restarts_its_tries():
    harness = Harness(resend=True)
    harness.start()
    harness.tile(STRIPS[1])
    now = 0.0
    for wait in TRY_WAITS_S:
        assert asked(harness, now)
        now += wait
    harness.tile(STRIPS[2], now=now)
    for wait in TRY_WAITS_S:
        assert asked(harness, now)
        now += wait
    assert harness.numbers() == []


def test_an_announced_frame_is_given_up_when_it_is_stale():
    harness = Harness(resend=True)
    harness.frames.on_frame_announced(0, 5, 0.0)
    harness.frames.expire_frames(LAG_S + 0.001)
    assert list(harness.frames._open) == [5]
    harness.frames.expire_frames(FRAME_STALE_MS / 1000 + 0.001)
    assert not harness.frames._open
    assert harness.frames.counters.aborted_frames == 1


def test_a_single_lane_is_not_awaited_once_the_rest_is_unavailable():
    harness = SmallHarness()
    harness.start()
    harness.strip(0)
    harness.end(message=FrameEnd(EndStatus.OK, 1, 3, 0, (9, 0, 0, 0), 0))
    harness.resent(FrameState.ENDED, [(0, 2, SMALL_WIDTH, 4)])
    assert harness.numbers() == [0]


def test_a_frame_with_an_unavailable_gap_waits_for_its_end_only():
    harness = Harness(resend=True)
    harness.start()
    for place in (STRIPS[0], STRIPS[1], STRIPS[3]):
        harness.tile(place)
    harness.resent(FrameState.UNDER_WAY, STRIPS[2])
    assert harness.numbers() == []
    harness.end()
    assert harness.only().received_ranges.count == 3 * 64


def test_announcing_a_frame_again_changes_nothing():
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


def test_small_frames_wait_for_a_lane_far_behind():
    """Before a thread that reads a lane has its turn, others bring many such frames."""
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 1000
    harness.frames.lanes[1].last_sequence = None
    for number in range(1, 100):
        harness.start(number)
        lost = STRIPS[1:] if number == 1 else STRIPS
        for place in lost:
            harness.tile(place, number)
        harness.end(number, message=FrameEnd(0, 2, 4, 0, (2 * number, 0, 0, 0), 0))
    assert harness.numbers() == [], "lane 1 is behind"
    harness.tile(STRIPS[0], 1, lane=1)
    harness.frames.lanes[1].last_sequence = 0
    assert harness.frames.counters.skipped_frames == 95
    assert harness.numbers() == [96, 97, 98, 99]
    for frame in harness.frames.finished_frames:
        assert (frame.unpack_pixels() == picture(frame.number)).all()
    assert not harness.discards


@pytest.mark.parametrize(("lanes", "asked_s"), [(1, 2 * RETRY_S), (2, STALL_MS / 1000)])
def test_one_of_several_lanes_may_lag_before_its_tiles_are_requested(lanes, asked_s):
    harness = Harness(resend=True, lanes=lanes)
    harness.start()
    harness.tile(STRIPS[0])
    assert not harness.frames.request_missing(asked_s - 0.001)
    [missing] = harness.frames.request_missing(asked_s + 0.001)
    assert missing.rectangles == ((0, 2, WIDTH, HEIGHT - 2),)


def test_an_overtaken_frame_is_handed_on_first():
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


def test_a_frame_end_waits_for_tiles_on_other_lanes():
    harness = Harness(lanes=2)
    harness.frames.lanes[0].last_sequence = 5
    harness.frames.lanes[1].last_sequence = None
    harness.start()
    harness.tile(STRIPS[0])
    harness.tile(STRIPS[2])
    harness.end(message=FrameEnd(0, 2, 4, 0, (4, 1, 0, 0), 0))
    assert harness.numbers() == [], "lane 1 is behind"
    harness.frames.lanes[1].last_sequence = 0
    harness.tile(STRIPS[1], lane=1)
    assert harness.numbers() == []
    harness.frames.lanes[1].last_sequence = 1
    harness.tile(STRIPS[3], lane=1)
    assert (harness.only().unpack_pixels() == picture(1)).all()


def test_an_announced_frame_of_an_unconfigured_stream_is_no_discard():
    harness = Harness(resend=True, plans={1: PLAN})
    harness.frames.on_frame_announced(0, 7, 0.0)
    assert not harness.discards
    harness.frames.on_frame_announced(1, 7, 0.0)
    assert asked(harness, 10.0)


def test_a_gap_is_proven_once_every_lane_has_passed_it():
    harness = Harness(resend=True, lanes=2)
    harness.start()
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == [], "lane 1 may bring the first strip"
    harness.tile(STRIPS[3], lane=1)
    assert asked(harness, 0.0) == [(1, 0, ((0, 0, WIDTH, 2),))]
    harness.tile(STRIPS[0], 2, lane=0)
    second = (2, ResendFlag.START, ())
    assert asked(harness, RETRY_S) == [(1, 0, ((0, 0, WIDTH, 2), (0, 4, WIDTH, 2))), second]


def test_a_lane_that_has_ended_proves_a_gap():
    harness = Harness(resend=True, lanes=2)
    harness.start()
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == []
    harness.frames.lanes[1].is_alive = False
    assert asked(harness, 0.0) == [(1, 0, ((0, 0, WIDTH, 2),))]


def test_a_frame_start_is_requested_once_lane_0_has_passed_it():
    harness = Harness(resend=True, lanes=2)
    harness.tile(STRIPS[0], lane=1)
    assert asked(harness, 0.0) == []
    harness.tile(STRIPS[1], lane=0)
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def test_a_frame_start_is_requested_once_the_frame_end_has_arrived():
    harness = Harness(resend=True, lanes=2)
    harness.frames.lanes[1].last_sequence = None
    harness.tile(STRIPS[0], lane=1)
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 9, 0, 0), 0))
    assert asked(harness, 0.0) == [(1, ResendFlag.START, ())]


def gone_but_awaited():
    """A frame whose rest is gone on lane 0 and may still be on its way on lane 1."""
    harness = Harness(resend=True, lanes=2)
    harness.frames.lanes[1].last_sequence = None
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 3, 0, 0), 0))
    harness.resent(FrameState.ENDED, *STRIPS[1:])
    assert harness.numbers() == []
    return harness


def test_a_lane_that_lags_is_awaited_until_the_frame_is_overdue():
    harness = gone_but_awaited()
    harness.frames.expire_frames(LAG_S)
    assert harness.numbers() == []
    harness.frames.expire_frames(LAG_S + 0.0001)
    assert harness.numbers() == [1]


def test_a_tile_ends_overdue():
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


def test_a_lane_that_has_ended_is_not_awaited():
    harness = gone_but_awaited()
    harness.frames.lanes[1].is_alive = False
    harness.frames.cancel_reservation(1)
    harness.resent(FrameState.ENDED)
    assert harness.numbers() == [1]


def test_without_resends_a_frame_waits_for_a_lane_that_lags():
    harness = Harness(lanes=2)
    harness.frames.lanes[1].last_sequence = 0
    harness.start()
    harness.tile(STRIPS[0])
    harness.end(message=FrameEnd(EndStatus.OK, 2, 4, 0, (0, 1, 0, 0), 0))
    assert harness.numbers() == []
    harness.frames.lanes[1].last_sequence = 1
    harness.tile(STRIPS[1], lane=1)
    assert harness.numbers() == [1]


def test_with_several_lanes_a_later_frame_finishes_none():
    harness = Harness(lanes=2)
    harness.start(1)
    harness.start(2)
    assert harness.numbers() == []
    assert list(harness.frames._open) == [1, 2]


def test_packets_of_a_dropped_frame_on_another_lane_are_no_discards():
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
