"""When the next frame is due: by most of those before it, whatever the machine did to some."""

from __future__ import annotations

import math
import random

import pytest

from lenslink.pace import Pace

_LEAD_S = 0.0025


def due_after(*times: float) -> float:
    """When it is time to get ready for the next one, by the clock of *times*."""
    pace = Pace()
    for at in times:
        pace.came(at)
        pace.came(at)
    now = times[-1]
    return now + pace.wait(now) + _LEAD_S


def test_nothing_is_known_of_one() -> None:
    assert Pace().wait(0.0) == math.inf
    assert due_after(7.0) == math.inf


@pytest.mark.parametrize("interval", [0.005, 1 / 30, 0.4])
def test_a_pace(interval: float) -> None:
    times = [100 + number * interval for number in range(4)]
    assert due_after(*times[:2]) == pytest.approx(times[2])
    assert due_after(*times[:3]) == pytest.approx(times[3])


@pytest.mark.parametrize("interval", [0.001, 0.6])
def test_too_fast_or_too_slow_is_none(interval: float) -> None:
    assert due_after(*(100 + number * interval for number in range(6))) == math.inf


def test_some_late_ones_do_not_matter() -> None:
    """Of eight three are late, the last one among them or not."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        times = [100 + number / 30 for number in range(8)]
        for index in chance.sample(range(8), 3):
            times[index] += chance.uniform(0.001, 0.015)
        assert due_after(*times) == pytest.approx(100 + 8 / 30), times


def test_one_that_did_not_come_does_not_matter() -> None:
    times = [100 + number / 30 for number in (0, 1, 2, 4)]
    assert due_after(*times) == pytest.approx(100 + 5 / 30)


def test_a_pause_is_the_end_of_a_pace() -> None:
    times = [100.0, 100.01, 100.02, 101.005]
    assert due_after(*times) == math.inf
    assert due_after(*times, 101.035) == pytest.approx(101.065)


def test_it_is_got_ready_for_once_and_never_too_late() -> None:
    pace = Pace()
    for at in (1.0, 1.1, 1.2):
        pace.came(at)
    assert pace.wait(1.25) == pytest.approx(0.05 - _LEAD_S)
    assert pace.wait(1.298) == 0
    assert pace.wait(1.2995) == math.inf
    pace.ready()
    assert pace.wait(1.298) == math.inf
    pace.came(1.3)
    assert pace.wait(1.35) == pytest.approx(0.05 - _LEAD_S)
