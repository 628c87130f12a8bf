"""An early reader asks the scheduler for a short slice, and puts back what was there."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from lab.rings import small_ring

from lenslink import RingReader
from lenslink.isp.timeslice import READER_NS, ShortSlice, slice_ns

T = TypeVar("T")

# An older Linux, and other systems, know nothing of slices: then nothing may happen, nor fail.
KNOWN = slice_ns() is not None
needs_slices = pytest.mark.skipif(not KNOWN, reason="slices are Linux 6.12's")


def in_a_thread(work: Callable[[], T]) -> T:
    """What *work* returns; the slice of the thread that runs the tests stays its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)


def test_a_short_slice_lasts_until_its_end() -> None:
    def work() -> list[int | None]:
        found = [slice_ns()]
        short = ShortSlice(READER_NS)
        found.append(slice_ns())
        short.end()
        short.end()
        return [*found, slice_ns()]

    before, during, after = in_a_thread(work)
    assert after == before
    assert during == (READER_NS if KNOWN else None)


@needs_slices
def test_a_shorter_one_is_kept() -> None:
    def work() -> tuple[int | None, int | None]:
        ShortSlice(READER_NS)
        longer = ShortSlice(2 * READER_NS)
        during = slice_ns()
        longer.end()
        return during, slice_ns()

    assert in_a_thread(work) == (READER_NS, READER_NS)


@needs_slices
def test_another_policy_is_left_alone() -> None:
    def work() -> tuple[int, int | None]:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        ShortSlice(READER_NS).end()
        return os.sched_getscheduler(0), slice_ns()

    assert in_a_thread(work) == (os.SCHED_BATCH, None)


@needs_slices
def test_another_thread_does_not_end_it() -> None:
    def work() -> int | None:
        short = ShortSlice(READER_NS)
        in_a_thread(short.end)
        return slice_ns()

    assert in_a_thread(work) == READER_NS


@needs_slices
def test_an_early_reader_has_a_short_one_and_nobody_else() -> None:
    def work() -> list[int | None]:
        found = [slice_ns()]
        with small_ring() as ring:
            found.append(slice_ns())
            with RingReader(ring.name):
                found.append(slice_ns())
            with RingReader(ring.name, early=True):
                found.append(slice_ns())
        return [*found, slice_ns()]

    before, writer, late, early, after = in_a_thread(work)
    assert before == writer == late == after
    assert early == READER_NS < (before or 0)
