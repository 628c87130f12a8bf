"""Memory for frames, used again."""

from __future__ import annotations

import numpy as np

from lenslink.receive.frame_pool import Pool


def test_a_released_buffer_is_used_again():
    pool = Pool()
    first = pool.acquire(100)
    assert first.shape == (100,)
    assert first.dtype == np.uint8
    assert pool.acquire(100) is not first
    pool.release(first)
    assert pool.acquire(100) is first
    assert pool.acquire(100) is not first


def test_a_buffer_of_another_size_is_not():
    pool = Pool()
    first = pool.acquire(100)
    pool.release(first)
    assert pool.acquire(99).size == 99
    assert pool.acquire(101).size == 101
    assert pool.acquire(100) is first


def test_no_more_are_kept_than_it_may():
    pool = Pool(capacity=2)
    buffers = [pool.acquire(10) for _ in range(3)]
    for buffer in buffers:
        pool.release(buffer)
    again = [pool.acquire(10) for _ in range(3)]
    assert sum(any(one is other for other in buffers) for one in again) == 2
    # The one that was let go is the one that was released first.
    assert not any(one is buffers[0] for one in again)


def test_clearing_keeps_none():
    pool = Pool()
    first = pool.acquire(10)
    pool.release(first)
    pool.clear()
    assert pool.acquire(10) is not first
