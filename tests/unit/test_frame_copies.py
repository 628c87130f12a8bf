"""Frames that share memory with copies, and copies that have memory of their own."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from helpers.made_frames import make_frame, noise

from lenslink.errors import UsageError
from lenslink.frame import Frame, FrameMemory


class Pool:
    """Counts how often the memory of a frame came back."""

    def __init__(self) -> None:
        self.returns = 0
        self.frame = make_frame(noise(), _memory=FrameMemory(self.give_back))

    def give_back(self) -> None:
        self.returns += 1


def brightened(frame: Frame) -> Frame:
    return dataclasses.replace(frame, white=8191)


SHARING = [copy.copy, brightened]
OWNING = [copy.deepcopy, Frame.copy, lambda frame: pickle.loads(pickle.dumps(frame))]  # noqa: S301


@pytest.mark.parametrize("duplicate", SHARING)
def test_shared_memory_returns_once_after_the_last_release(
    duplicate: Callable[[Frame], Frame],
) -> None:
    pool = Pool()
    other = duplicate(pool.frame)
    assert np.shares_memory(other.packed, pool.frame.packed)
    expected = other.pixels.copy()
    pool.frame.release()
    pool.frame.release()
    assert pool.returns == 0
    # A live copy keeps its pixels.
    assert np.array_equal(other.pixels, expected)
    other.release()
    other.release()
    assert pool.returns == 1


@pytest.mark.parametrize("duplicate", SHARING)
def test_a_copy_of_a_released_frame_returns_nothing(duplicate: Callable[[Frame], Frame]) -> None:
    pool = Pool()
    pool.frame.release()
    duplicate(pool.frame).release()
    assert pool.returns == 1


@pytest.mark.parametrize("duplicate", OWNING)
def test_a_copy_with_memory_of_its_own_outlives_the_frame(
    duplicate: Callable[[Frame], Frame],
) -> None:
    pool = Pool()
    pool.frame.packed.flags.writeable = False
    expected = pool.frame.pixels.copy()
    other = duplicate(pool.frame)
    assert not np.shares_memory(other.packed, pool.frame.packed)
    for field in dataclasses.fields(Frame):
        if field.name not in ("packed", "_memory", "_pixels"):
            assert getattr(other, field.name) == getattr(pool.frame, field.name), field.name
    pool.frame.release()
    assert pool.returns == 1
    assert np.array_equal(other.pixels, expected)
    other.packed[:] = 0
    other.release()
    assert pool.returns == 1


@pytest.mark.parametrize("duplicate", OWNING)
def test_a_released_frame_has_nothing_to_copy(duplicate: Callable[[Frame], Frame]) -> None:
    pool = Pool()
    pool.frame.release()
    with pytest.raises(UsageError, match="released"):
        duplicate(pool.frame)
