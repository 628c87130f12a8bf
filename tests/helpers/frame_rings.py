"""Make small frame rings for tests, filled by hand; each pixel tells which frame it belongs to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from lenslink import FrameRing
from lenslink.frame_ring.slot import Description, Slot
from lenslink.module_clock import FrameTime
from lenslink_protocol.ids import FrameFlag, PixelFormat
from lenslink_protocol.messages import FrameStart

WIDTH, HEIGHT = 16, 8
STRIDE = 2 * WIDTH
SIZE = STRIDE * HEIGHT
POISON = 0xEE
_count = itertools.count()


def fresh_name() -> str:
    """Return a name that no other test uses, in this run or in one beside it."""
    return f"test-{os.getpid()}-{next(_count)}"


@contextmanager
def small_ring(slots: int = 3) -> Iterator[FrameRing]:
    with FrameRing(fresh_name(), slots, frame_bytes=SIZE) as ring:
        yield ring


def description(number: int = 0, **changes: int) -> Description:
    """Return a frame's description; *changes* are fields of its FrameStart."""
    start = FrameStart(
        mode=3,
        request=4,
        timestamp_us=1 << 40,
        width=WIDTH,
        height=HEIGHT,
        cfa=1,
        orientation=6,
        bits=12,
        pixel_format=PixelFormat.GR12,
        stride=STRIDE,
        white=4095,
        flags=FrameFlag.MOVING,
        black_milli=(1000, 2000, 3000, 4500),
        exposure_us=1 << 29,
        gain_milli=2000,
        focus_mdpt=3300,
        aperture_milli=2800,
        interval_us=40_000,
        row_time_ns=9000,
        noise_slope=11,
        noise_offset=12,
        focus_ring=-14,
        temperature_mc=-5000,
        crop_x=16,
        crop_y=32,
    )
    start = replace(start, **changes)
    return Description(77, number, (0, 0, HEIGHT, WIDTH), start, FrameTime(1 << 41, 250))


def value_of(stream: int, sequence: int) -> int:
    """Return the value of every byte of that frame; it is never POISON."""
    return (sequence * 2 + stream) % 0xEE


def begin(ring: FrameRing, stream: int = 0) -> Slot | None:
    """Begin a frame in poisoned memory; return None if the frame was dropped."""
    slot = ring.take(SIZE)
    if slot is None:
        ring.count_dropped(stream)
        return None
    slot.memory[:] = POISON
    slot.begin(stream)
    return slot


def fill(slot: Slot, rows: int) -> None:
    """Write and publish the first *rows* rows of a started frame."""
    slot.memory[: rows * STRIDE] = value_of(slot.stream, slot.sequence)
    slot.publish_rows(rows)


def publish(ring: FrameRing, stream: int = 0) -> Slot | None:
    """Write and publish a whole frame, and let go of its slot."""
    slot = begin(ring, stream)
    if slot is not None:
        slot.start(description(slot.sequence))
        fill(slot, HEIGHT)
        slot.finish(True, SIZE, (), HEIGHT)
        slot.let_go()
    return slot


def assert_pixels(packed: np.ndarray, stream: int, sequence: int) -> None:
    """Check that no row is poison or belongs to another frame."""
    assert np.all(packed == value_of(stream, sequence)), (stream, sequence, packed[:, 0].tolist())
