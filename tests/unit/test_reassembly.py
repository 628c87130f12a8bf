"""Frames out of tiles: what is believed, what is refused, and when a frame is handed on."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lenslink import reassembly
from lenslink.pool import Pool
from lenslink.reassembly import Reassembly, pixels
from lenslink_protocol.ids import EndStatus, Flag, FrameState, MessageType, Reject, ResendFlag
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header, Resent
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
    MAX_FRAMES_OPEN,
    MAX_OPEN_BYTES,
    MAX_RANGES,
    MIN_FRAMES_OPEN,
    RESEND_RETRY_MS,
    RESEND_TRIES,
    STALL_MS,
)

WIDTH, HEIGHT = 16, 8
STRIDE = 2 * WIDTH
SIZE = STRIDE * HEIGHT
PLAN = Configured(0, 0, 1, 0x01100010, WIDTH, HEIGHT, STRIDE, SIZE, 64)
START = FrameStart(1, 3, WIDTH, HEIGHT, 1, 6, 12, 0x01100010, STRIDE, 4095, (0,) * 4, *range(5))
POISON = 0xEE
RETRY_S = RESEND_RETRY_MS / 1000


def end_of(status=EndStatus.OK, last=0):
    return FrameEnd(status, 1, 4, 0, (last, 0, 0, 0))


class Poisoned(Pool):
    """Memory as of another frame; counts what is out."""

    def __init__(self):
        super().__init__()
        self.acquired = []
        self.out = 0

    def acquire(self, size, frame=-1):
        self.acquired.append(size)
        self.out += 1
        buffer = super().acquire(size, frame)
        buffer[:] = POISON
        return buffer

    def release(self, buffer):
        self.out -= 1
        super().release(buffer)


class Lane:
    """A lane that has brought everything up to ``last_sequence``."""

    def __init__(self, number=0):
        self.number = number
        self.alive = True
        self.last_sequence = 0


class Bench:
    """A reassembly, and shorthand for what a module sends."""

    def __init__(self, *, resend=False, plans=None, lanes=1):
        self.rejects = Counter()
        self.pool = Poisoned()
        self.plans = {0: PLAN, 1: PLAN} if plans is None else plans
        self.frames = Reassembly(self.pool, self.rejects, self.plans.get)
        self.frames.resend = resend
        self.frames.lanes = [Lane(number) for number in range(lanes)]

    def header(self, kind, frame, stream=0, place=(0, 0, 0, 0), length=0, flags=0):
        return Header(0x10, kind, flags, stream, 0, 0, frame, *place, length, 0, 0)

    def start(self, frame=1, stream=0, now=0.0, message=START):
        self.frames.start(self.header(MessageType.FRAME_START, frame, stream), message, now)

    def end(self, frame=1, stream=0, now=0.0, message=None):
        header = self.header(MessageType.FRAME_END, frame, stream)
        self.frames.end(header, message or end_of(), now)

    def tile(
        self, place, frame=1, stream=0, now=0.0, fill=None, *, length=None, sound=True, flags=0,
        lane=0, pixels_of=None,
    ):  # fmt: skip
        """A tile as a receiver brings it, in place where there is a place; whether it was."""
        _, _, width, height = place
        size = 2 * width * height if length is None else length
        header = self.header(MessageType.TILE, frame, stream, place, size, flags)
        data = (
            content(place, pixels_of or frame)[:size].ljust(size, b"\0")
            if fill is None
            else fill * size
        )
        memory = self.frames.place(header, lane)
        in_place = memory is not None
        if memory is None:
            memory = memoryview(bytearray(size))
        memory[:] = data
        if sound:
            self.frames.tile(header, memory, in_place, now, lane)
        return in_place

    def whole(self, frame=1, stream=0, now=0.0):
        self.start(frame, stream, now)
        for y in range(0, HEIGHT, 2):
            self.tile((0, y, WIDTH, 2), frame, stream, now)
        self.end(frame, stream, now)

    def numbers(self):
        return [assembly.number for assembly in self.frames.finished]

    def only(self):
        (assembly,) = self.frames.finished
        return assembly


def picture(frame):
    return (
        ((np.arange(WIDTH * HEIGHT) * 7 + frame * 1000) % 4096).astype("<u2").reshape(HEIGHT, WIDTH)
    )


def content(place, frame):
    x, y, width, height = place
    return picture(frame)[y : y + height, x : x + width].tobytes()


STRIPS = [(0, y, WIDTH, 2) for y in range(0, HEIGHT, 2)]


# --- frames that are whole -------------------------------------------------------------------


def test_a_whole_frame():
    bench = Bench()
    bench.whole()
    assembly = bench.only()
    assert assembly.coverage.complete
    assert assembly.clear_gaps() == ()
    assert (pixels(assembly) == picture(1)).all()
    assert (assembly.start, assembly.end) == (START, end_of())
    assert bench.frames.bytes == SIZE
    assert not bench.rejects


def test_strips_and_segments_come_in_place_and_rectangles_do_not():
    bench = Bench()
    bench.start()
    assert bench.tile((0, 0, WIDTH, 2))
    assert bench.tile((0, 2, 5, 1))
    assert bench.tile((5, 2, 11, 1))
    assert not bench.tile((0, 3, 8, 5))
    assert not bench.tile((8, 3, 8, 5))
    bench.end()
    assert bench.only().coverage.complete
    assert (pixels(bench.only()) == picture(1)).all()


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_any_order_will_do(order):
    bench = Bench(resend=True)
    bench.start()
    for index in order:
        bench.tile(STRIPS[index])
    bench.end()
    assert (pixels(bench.only()) == picture(1)).all()


def test_the_first_tile_is_timed():
    bench = Bench()
    bench.start(now=1.0)
    assert bench.frames.first_tile is None
    bench.tile(STRIPS[0], now=2.0)
    bench.tile(STRIPS[1], now=3.0)
    assert bench.frames.first_tile == 2.0


def test_two_streams_at_once():
    bench = Bench()
    bench.start(1, 0)
    bench.start(2, 1)
    for place in STRIPS:
        bench.tile(place, 2, 1)
        bench.tile(place, 1, 0)
    bench.end(1, 0)
    bench.end(2, 1)
    assert bench.numbers() == [1, 2]
    for assembly in bench.frames.finished:
        assert (pixels(assembly) == picture(assembly.number)).all()


# --- what repeats, what does not fit ---------------------------------------------------------


def test_a_repeat_goes_to_scratch_and_changes_nothing():
    bench = Bench()
    bench.start()
    bench.tile(STRIPS[0])
    assert not bench.tile(STRIPS[0], fill=b"\x55")
    assert bench.rejects == {Reject.COVERED: 1}
    for place in STRIPS[1:]:
        bench.tile(place)
    bench.end()
    assert (pixels(bench.only()) == picture(1)).all()


def test_a_damaged_tile_leaves_what_was_covered_alone_and_covers_nothing():
    bench = Bench()
    bench.start()
    bench.tile(STRIPS[0])
    bench.tile(STRIPS[0], fill=b"\x55", sound=False)
    assert bench.tile(STRIPS[1], fill=b"\x55", sound=False), "in place"
    bench.tile(STRIPS[2])
    bench.tile(STRIPS[3])
    bench.end()
    assembly = bench.only()
    assert assembly.clear_gaps() == ((2 * STRIDE, 4 * STRIDE),)
    shown = pixels(assembly)
    assert not shown[2:4].any(), "what was damaged is zero"
    assert (shown[:2] == picture(1)[:2]).all()
    assert (shown[4:] == picture(1)[4:]).all()


def test_of_a_tile_that_is_partly_covered_only_the_rest_is_taken():
    bench = Bench()
    bench.start()
    bench.tile((4, 2, 4, 1))
    bench.tile((0, 3, WIDTH, 1))
    # Rows 2 and 3, of another picture: all of row 2 but the four is new.
    assert not bench.tile((0, 2, WIDTH, 2), pixels_of=2)
    assert not bench.rejects
    bench.end()
    assembly = bench.only()
    expected = picture(2)[2:4].copy()
    expected[0, 4:8] = picture(1)[2, 4:8]
    expected[1] = picture(1)[3]
    assert (pixels(assembly)[2:4] == expected).all()
    assert assembly.coverage.count == 2 * STRIDE


def test_of_a_rectangle_that_is_partly_covered_only_the_rest_is_taken():
    bench = Bench()
    bench.start()
    bench.tile((0, 1, WIDTH, 1))
    bench.tile((3, 2, 1, 1))
    assert not bench.tile((2, 0, 4, 3), pixels_of=2)
    assembly = bench.frames._open[1]
    expected = picture(2)[:3, 2:6].copy()
    expected[1] = picture(1)[1, 2:6]
    expected[2, 1] = picture(1)[2, 3]
    assert (pixels(assembly)[:3, 2:6] == expected).all()
    assert (pixels(assembly)[1] == picture(1)[1]).all()
    assert assembly.coverage.count == STRIDE + 16
    assert not bench.tile((2, 0, 4, 3), pixels_of=3)
    assert bench.rejects == {Reject.COVERED: 1}
    assert (pixels(assembly)[:3, 2:6] == expected).all()


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
def test_a_tile_outside_its_frame_or_of_no_size(place):
    bench = Bench()
    bench.start()
    assert not bench.tile(place, length=64)
    # Also where its length is what its size says.
    if 2 * place[2] * place[3] < 10000:
        assert not bench.tile(place)
        assert bench.rejects == {Reject.GEOMETRY: 2}
    assert bench.frames._open[1].coverage.count == 0
    assert bench.frames.bytes == 0


@pytest.mark.parametrize("length", [0, 2, 62, 66, 1024])
def test_a_tile_whose_length_is_not_its_rectangles(length):
    bench = Bench()
    bench.start()
    assert not bench.tile((0, 0, WIDTH, 2), length=length)
    assert bench.rejects == {Reject.GEOMETRY: 1}


@pytest.mark.parametrize(
    "change",
    [
        {"width": WIDTH + 2},
        {"height": HEIGHT + 2},
        {"width": WIDTH - 2},
        {"height": HEIGHT - 2},
        {"stride": STRIDE + 2},
        {"cfa": 4},
        {"bits": 7},
        {"bits": 17},
        {"orientation": 0},
        {"orientation": 9},
        {"white": 0},
        {"white": 1 << 16},
    ],
)
def test_a_frame_that_is_not_as_configured_is_refused_before_memory_is_taken(change):
    bench = Bench()
    bench.start(message=replace(START, **change))
    assert bench.rejects == {Reject.GEOMETRY: 1}
    assert bench.pool.acquired == []


def test_rows_are_whole_in_a_configuration_too():
    padded = replace(PLAN, stride=STRIDE + 8, frame_bytes=(STRIDE + 8) * HEIGHT)
    bench = Bench(plans={0: padded})
    bench.start(message=replace(START, stride=STRIDE + 8))
    assert bench.rejects == {Reject.GEOMETRY: 1}


def test_of_a_stream_that_is_not_configured_nothing_is_taken():
    bench = Bench(plans={})
    bench.start()
    bench.tile(STRIPS[0])
    bench.end()
    assert bench.rejects == {Reject.GEOMETRY: 1, Reject.NO_FRAME: 2}
    assert bench.pool.acquired == []


def test_a_frame_belongs_to_one_stream():
    bench = Bench()
    bench.start(1, 0)
    assert not bench.tile(STRIPS[0], 1, stream=1)
    bench.end(1, stream=1)
    bench.start(1, stream=1)
    assert bench.rejects == {Reject.GEOMETRY: 3}
    assert bench.frames.finished == type(bench.frames.finished)()


def test_a_start_that_comes_twice():
    bench = Bench()
    bench.start()
    bench.tile(STRIPS[0])
    bench.start(message=replace(START, gain_milli=77))
    assert bench.rejects == {Reject.COVERED: 1}
    assert bench.frames._open[1].start == START
    assert bench.frames._open[1].coverage.count == 2 * STRIDE


def test_what_comes_of_a_frame_that_was_handed_on_is_late():
    bench = Bench()
    bench.whole(1)
    bench.tile(STRIPS[0], 1)
    bench.start(1)
    bench.end(1)
    assert bench.rejects == {Reject.LATE: 3}
    assert bench.numbers() == [1]
    bench.start(0)
    assert bench.rejects == {Reject.LATE: 4}


# --- frames that are not whole ---------------------------------------------------------------


def test_an_incomplete_frame_is_handed_on_with_zeros_where_nothing_came():
    bench = Bench()
    for _ in range(3):
        bench.pool.release(bench.pool.acquire(SIZE))
    bench.start()
    bench.tile(STRIPS[1])
    bench.tile((0, 4, 6, 1))
    bench.end()
    assembly = bench.only()
    assert not assembly.coverage.complete
    assert assembly.coverage.count == 2 * STRIDE + 12
    gaps = assembly.clear_gaps()
    assert gaps == ((0, 2 * STRIDE), (4 * STRIDE + 12, SIZE))
    shown = pixels(assembly)
    expected = picture(1).copy()
    expected[:2] = expected[5:] = expected[4, 6:] = 0
    assert (shown == expected).all()


def test_nothing_of_the_frame_before_is_ever_shown():
    bench = Bench()
    bench.whole(1)
    first = bench.frames.finished.popleft()
    buffer = first.buffer
    # Without the poison: the memory comes as it went.
    bench.pool.acquire = lambda size, frame: buffer
    bench.start(2)
    bench.tile(STRIPS[3], 2)
    bench.end(2)
    second = bench.only()
    assert second.buffer is buffer
    second.clear_gaps()
    assert not pixels(second)[:6].any()
    assert (pixels(second)[6:] == picture(2)[6:]).all()


def test_the_next_frame_ends_the_one_before_it():
    bench = Bench()
    bench.start(1)
    bench.tile(STRIPS[0], 1)
    bench.start(2)
    assert bench.numbers() == [1]
    assert bench.only().end is None


def test_the_next_frame_of_another_stream_ends_nothing():
    bench = Bench()
    bench.start(1, 0)
    bench.start(2, 1)
    assert bench.numbers() == []


def test_a_complete_frame_waits_a_moment_for_its_end():
    bench = Bench()
    bench.start(now=1.0)
    for place in STRIPS:
        bench.tile(place, now=1.0)
    bench.frames.poll(0.999 + END_GRACE_MS / 1000)
    assert bench.numbers() == []
    bench.frames.poll(1.001 + END_GRACE_MS / 1000)
    assert bench.numbers() == [1]
    assert bench.only().coverage.complete


def test_an_incomplete_frame_waits_longer():
    bench = Bench()
    bench.start(now=0.0)
    bench.tile(STRIPS[0], now=1.0)
    bench.frames.poll(0.999 + FRAME_STALE_MS / 1000)
    assert bench.numbers() == []
    bench.frames.poll(1.001 + FRAME_STALE_MS / 1000)
    assert bench.numbers() == [1]


def test_time_that_nobody_listened_does_not_count():
    bench = Bench()
    bench.start(now=0.0)
    bench.tile(STRIPS[0], now=0.0)
    bench.frames.resume(1000.0)
    bench.frames.poll(999.999 + FRAME_STALE_MS / 1000)
    assert bench.numbers() == []
    bench.frames.poll(1000.001 + FRAME_STALE_MS / 1000)
    assert bench.numbers() == [1]


def test_a_frame_that_is_being_received_into_is_not_handed_on():
    bench = Bench()
    bench.start()
    header = bench.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    memory = bench.frames.place(header)
    assert memory is not None
    bench.frames.poll(1000.0)
    assert bench.numbers() == []
    # The lane's next packet, or its end, says that nothing is written any more.
    bench.frames.release(0)
    bench.frames.poll(1000.0)
    assert bench.numbers() == [1]
    del memory


def test_what_the_host_stopped_is_dropped_and_its_memory_comes_back():
    bench = Bench()
    bench.start()
    bench.tile(STRIPS[0])
    bench.end(message=end_of(EndStatus.ABORTED))
    assert bench.numbers() == []
    assert bench.frames.aborted == 1
    assert bench.pool.out == 0


def test_what_is_complete_is_kept_even_if_it_was_stopped():
    bench = Bench()
    bench.start()
    for place in STRIPS:
        bench.tile(place)
    bench.end(message=end_of(EndStatus.ABORTED))
    assert bench.numbers() == [1]


def test_a_frame_whose_sensor_failed_is_handed_on():
    bench = Bench()
    bench.start()
    bench.tile(STRIPS[0])
    bench.end(message=end_of(EndStatus.SENSOR))
    assert bench.only().end == end_of(EndStatus.SENSOR)


def test_a_frame_without_its_beginning_is_dropped():
    """Nothing is known of its settings."""
    bench = Bench()
    for place in STRIPS:
        bench.tile(place)
    bench.end()
    assert bench.numbers() == []
    bench.frames.poll(1000.0)
    assert bench.numbers() == []
    assert bench.frames.aborted == 1
    assert bench.pool.out == 0


def test_a_beginning_that_comes_late_is_in_time():
    bench = Bench(resend=True)
    for place in STRIPS:
        bench.tile(place)
    bench.end()
    assert bench.numbers() == []
    bench.start()
    assert (pixels(bench.only()) == picture(1)).all()


def test_abandoning_a_stream():
    bench = Bench()
    bench.whole(1, 0)
    bench.start(2, 0)
    bench.start(3, 1)
    bench.frames.abandon(0)
    assert bench.numbers() == []
    assert bench.pool.out == 1
    bench.tile(STRIPS[0], 2, 0)
    assert bench.rejects == {Reject.LATE: 1}
    bench.end(3, 1)
    assert bench.numbers() == [3]


def test_memory_that_is_received_into_is_not_used_again():
    bench = Bench()
    bench.start()
    header = bench.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    memory = bench.frames.place(header)
    assert memory is not None
    bench.frames.abandon(0)
    bench.start(2)
    memory[:] = b"\x77" * 64
    assert 0x7777 not in pixels(bench.frames._open[2])


@pytest.mark.parametrize(
    ("lanes", "bytes_open", "most"),
    [
        (1, MAX_OPEN_BYTES, MIN_FRAMES_OPEN),
        (2, 0, MIN_FRAMES_OPEN),
        (2, 9 * SIZE, 9),
        (2, MAX_OPEN_BYTES, MAX_FRAMES_OPEN),
    ],
)
def test_no_more_frames_are_open_than_may_be(monkeypatch, lanes, bytes_open, most):
    monkeypatch.setattr(reassembly, "MAX_OPEN_BYTES", bytes_open)
    bench = Bench(resend=True, lanes=lanes)
    for number in range(1, most + 20):
        bench.start(number)
        assert len(bench.frames._open) <= most
    # The oldest were handed on, as they were.
    assert bench.numbers() == [16, 17, 18, 19]
    assert bench.pool.out == most + 4


def test_what_no_lane_brings_any_more_keeps_no_frames_open():
    bench = Bench(resend=True, lanes=2)
    bench.start(1)
    bench.end(1, message=FrameEnd(0, 2, 4, 0, (0, 0, 0, 0)))
    for number in range(2, MIN_FRAMES_OPEN + 1):
        bench.start(number)
    assert 1 in bench.frames._open
    bench.start(MIN_FRAMES_OPEN + 1)
    assert 1 not in bench.frames._open
    assert bench.numbers() == [1]


def test_frames_that_nobody_takes_make_room():
    bench = Bench()
    for number in range(1, 11):
        bench.whole(number)
    assert bench.numbers() == [7, 8, 9, 10]
    assert bench.frames.skipped == 6
    assert bench.pool.out == 4
    bench.whole(11, 1)
    assert 11 in bench.numbers() and 7 in bench.numbers()


# --- resends ---------------------------------------------------------------------------------


def asked(bench, now):
    return [(each.frame, each.flags, each.rectangles) for each in bench.frames.missing(now)]


def test_a_gap_is_asked_for_once_it_is_passed():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    assert asked(bench, 0.0) == []
    bench.tile(STRIPS[2])
    assert asked(bench, 0.0) == [(1, 0, ((0, 2, WIDTH, 2),))]
    assert asked(bench, RETRY_S - 0.001) == []
    assert asked(bench, RETRY_S) == [(1, 0, ((0, 2, WIDTH, 2),))]
    bench.tile(STRIPS[1], flags=Flag.RESENT)
    bench.tile(STRIPS[3])
    bench.end()
    assert (pixels(bench.only()) == picture(1)).all()


def test_after_the_end_all_that_is_missing_is_asked_for():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    bench.end()
    assert bench.numbers() == []
    assert asked(bench, 0.0) == [(1, 0, ((0, 2, WIDTH, 6),))]


def test_parts_of_rows_are_asked_for_as_such():
    bench = Bench(resend=True)
    bench.start()
    bench.tile((0, 0, 6, 1))
    bench.tile((10, 2, 6, 1))
    for place in STRIPS[2:]:
        bench.tile(place)
    bench.end()
    [(_, _, rectangles)] = asked(bench, 0.0)
    assert rectangles == (
        (6, 0, 10, 1),
        (0, 1, WIDTH, 1),
        (0, 2, 10, 1),
        (0, 3, WIDTH, 1),
    )


def test_no_more_is_asked_for_at_once_than_may_be():
    plan = replace(PLAN, height=80, frame_bytes=STRIDE * 80)
    bench = Bench(resend=True, plans={0: plan})
    bench.start(message=replace(START, height=80))
    for y in range(80):
        header = bench.header(MessageType.TILE, 1, 0, (0, y, 8, 1), 16)
        bench.frames.tile(header, memoryview(bytes(16)), False, 0.0)
    bench.end()
    [(_, _, rectangles)] = asked(bench, 0.0)
    assert len(rectangles) == MAX_RANGES


def test_what_is_quiet_is_asked_for_with_its_end():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0], now=1.0)
    assert asked(bench, 1.099) == []
    assert asked(bench, 1.101) == [(1, ResendFlag.END, ((0, 2, WIDTH, 6),))]


def test_a_beginning_that_is_missing_is_asked_for():
    bench = Bench(resend=True)
    bench.tile(STRIPS[0])
    assert asked(bench, 0.0) == [(1, ResendFlag.START, ())]


def test_a_frame_that_has_begun_unseen_is_asked_for():
    bench = Bench(resend=True)
    bench.frames.begun(0, 5, 0.0)
    assert asked(bench, 0.0) == [(5, ResendFlag.START, ())]
    bench.frames.begun(0, 5, 0.0)
    bench.frames.begun(0, 4, 0.0)
    assert len(bench.frames._open) == 1
    assert not bench.rejects


def test_it_is_asked_for_so_often_and_then_handed_on():
    bench = Bench(resend=True)
    bench.start()
    bench.end()
    now = 0.0
    for _ in range(RESEND_TRIES):
        assert asked(bench, now)
        now += RETRY_S
    assert bench.numbers() == []
    assert asked(bench, now) == []
    assert bench.numbers() == [1]


def test_a_slow_tile_is_no_silence_and_its_frame_not_given_up():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[1])
    # The first strip is lost, and of the third bytes come for seconds.
    header = bench.header(MessageType.TILE, 1, 0, STRIPS[2], 64)
    assert bench.frames.place(header) is not None
    now = 0.0
    for _ in range(3 * RESEND_TRIES):
        now += RETRY_S
        for _, flags, rectangles in asked(bench, now):
            assert (flags, rectangles) == (0, ((0, 0, WIDTH, 2),)), "what is under way is not lost"
    assert bench.numbers() == []
    bench.frames.release(0)
    assert asked(bench, now + RETRY_S) == []
    assert bench.numbers() == [1]


def test_any_answer_renews_the_tries():
    bench = Bench(resend=True)
    bench.start()
    bench.end()
    now = 0.0
    for _ in range(5 * RESEND_TRIES):
        assert asked(bench, now)
        now += RETRY_S
        resent(bench, FrameState.ENDED)


def resent(bench, state, *places, frame=1, stream=0, flags=0, count=None):
    tail = b"".join(struct.pack("<4H", *place) for place in places)
    message = Resent(flags, state, len(places) if count is None else count, tail)
    bench.frames.resent(bench.header(MessageType.RESENT, frame, stream), message, 0.0)


def test_what_is_gone_is_not_asked_for_again():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    bench.end()
    resent(bench, FrameState.ENDED, STRIPS[2])
    assert asked(bench, 0.0) == [(1, 0, ((0, 2, WIDTH, 2), (0, 6, WIDTH, 2)))]
    resent(bench, FrameState.ENDED, STRIPS[1], STRIPS[3])
    assembly = bench.only()
    assert assembly.coverage.count == 2 * STRIDE
    assert not assembly.coverage.complete


def test_a_frame_that_the_module_does_not_know_any_more_is_handed_on_as_it_is():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    resent(bench, FrameState.UNKNOWN)
    assert bench.only().coverage.count == 2 * STRIDE


def test_while_a_frame_is_under_way_it_is_waited_for():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    resent(bench, FrameState.UNDER_WAY)
    assert bench.numbers() == []
    for place in STRIPS[1:]:
        bench.tile(place)
    bench.end()
    assert bench.only().coverage.complete


@pytest.mark.parametrize("state", FrameState)
@pytest.mark.parametrize(("places", "count"), [(1, 2), (0, 1), (33, 33), (0, 65535)])
def test_an_answer_whose_rectangles_are_not_there_is_malformed(state, places, count):
    bench = Bench(resend=True)
    bench.start()
    resent(bench, state, *[STRIPS[0]] * places, count=count)
    assert bench.rejects == {Reject.MALFORMED: 1}
    assert bench.numbers() == []


def test_rectangles_outside_the_frame_are_nothing():
    bench = Bench(resend=True)
    bench.start()
    resent(bench, FrameState.UNDER_WAY, (9, 9, 9, 9), (0, 0, 0, 0), (65535,) * 4)
    assert bench.frames._open[1].gone.count == 0


def test_an_answer_for_no_frame_is_nothing():
    bench = Bench(resend=True)
    bench.start()
    resent(bench, FrameState.UNKNOWN, frame=2)
    resent(bench, FrameState.UNKNOWN, stream=1)
    assert bench.numbers() == []


def test_frames_are_handed_on_in_their_order():
    bench = Bench(resend=True)
    bench.start(1)
    bench.tile(STRIPS[0], 1)
    bench.whole(2)
    assert bench.numbers() == [], "the first still waits for what was lost"
    for place in STRIPS[1:]:
        bench.tile(place, 1, flags=Flag.RESENT)
    bench.end(1)
    assert bench.numbers() == [1, 2]


def test_a_tile_of_a_frame_that_waits_for_another_is_late():
    bench = Bench(resend=True)
    bench.start(1)
    bench.whole(2)
    assert not bench.tile(STRIPS[0], 2)
    assert bench.rejects == {Reject.LATE: 1}


def test_what_ended_early_is_not_asked_for():
    bench = Bench(resend=True)
    bench.start()
    bench.tile(STRIPS[0])
    bench.end(message=end_of(EndStatus.SENSOR))
    assert bench.numbers() == [1]


# --- lanes -----------------------------------------------------------------------------------


def test_two_lanes_never_share_memory():
    bench = Bench(lanes=2)
    bench.start()
    header = bench.header(MessageType.TILE, 1, 0, STRIPS[0], 64)
    one, other = bench.frames.place(header, 0), bench.frames.place(header, 1)
    assert one is not None and other is None


def test_frames_that_are_small_wait_for_a_lane_far_behind():
    """Before a thread that reads a lane has its turn, others bring many such frames."""
    bench = Bench(lanes=2)
    bench.frames.lanes[0].last_sequence = 1000
    bench.frames.lanes[1].last_sequence = None
    for number in range(1, 100):
        bench.start(number)
        lost = STRIPS[1:] if number == 1 else STRIPS
        for place in lost:
            bench.tile(place, number)
        bench.end(number, message=FrameEnd(0, 2, 4, 0, (2 * number, 0, 0, 0)))
    assert bench.numbers() == [], "lane 1 is behind"
    bench.tile(STRIPS[0], 1, lane=1)
    bench.frames.lanes[1].last_sequence = 0
    assert bench.frames.skipped == 95
    assert bench.numbers() == [96, 97, 98, 99]
    for frame in bench.frames.finished:
        assert (pixels(frame) == picture(frame.number)).all()
    assert not bench.rejects


@pytest.mark.parametrize(("lanes", "asked_s"), [(1, 2 * RETRY_S), (2, STALL_MS / 1000)])
def test_of_several_lanes_one_may_lag_before_it_is_asked_again(lanes, asked_s):
    bench = Bench(resend=True, lanes=lanes)
    bench.start()
    bench.tile(STRIPS[0])
    assert not bench.frames.missing(asked_s - 0.001)
    [missing] = bench.frames.missing(asked_s + 0.001)
    assert missing.rectangles == ((0, 2, WIDTH, HEIGHT - 2),)


def test_a_frame_that_was_overtaken_is_handed_on_before_the_other():
    """A tile of frame 2 comes by lane 1 ahead of all that lane 0 carried of frame 1."""
    bench = Bench(lanes=2)
    bench.frames.lanes[0].last_sequence = 1000
    bench.tile(STRIPS[0], 2, lane=1)
    bench.whole(1)
    bench.start(2)
    for place in STRIPS[1:]:
        bench.tile(place, 2)
    bench.end(2)
    assert bench.numbers() == [1, 2]
    for frame in bench.frames.finished:
        assert (pixels(frame) == picture(frame.number)).all()
    assert not bench.rejects
    bench.start(1)
    assert bench.rejects == {Reject.LATE: 1}


def test_a_frames_end_waits_for_stragglers():
    bench = Bench(lanes=2)
    bench.frames.lanes[0].last_sequence = 5
    bench.frames.lanes[1].last_sequence = None
    bench.start()
    bench.tile(STRIPS[0])
    bench.tile(STRIPS[2])
    bench.end(message=FrameEnd(0, 2, 4, 0, (4, 1, 0, 0)))
    assert bench.numbers() == [], "lane 1 is behind"
    bench.frames.lanes[1].last_sequence = 0
    bench.tile(STRIPS[1], lane=1)
    assert bench.numbers() == []
    bench.frames.lanes[1].last_sequence = 1
    bench.tile(STRIPS[3], lane=1)
    assert (pixels(bench.only()) == picture(1)).all()


def test_a_frame_begun_of_a_stream_that_is_not_configured_is_no_reject():
    bench = Bench(resend=True, plans={1: PLAN})
    bench.frames.begun(0, 7, 0.0)
    assert not bench.rejects
    bench.frames.begun(1, 7, 0.0)
    assert asked(bench, 10.0)
