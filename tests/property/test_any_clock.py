"""Test the estimate of the module's clock in simulated time: drift, asymmetry, queueing."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenslink.module_clock import MAX_DRIFT, HostTime, ModuleClock
from lenslink.session import QUICK_HEARTBEATS, QUICK_S
from lenslink_protocol.link import ClockSample
from lenslink_protocol.params import HEARTBEAT_MS

SESSION_S = 60.0
FRAME_S = 1 / 30
GOAL_S = 1e-3


@dataclass
class World:
    """A module's clock with a drift, and ways with a constant delay each and random queueing."""

    chance: random.Random
    drift: float
    asymmetry_s: float
    queue_s: float
    base_s: float = 0.3e-3
    origin_us: float = 5e6
    wander: float = 0.0

    def read_module_us(self, host_s: float) -> float:
        bent = self.wander / 2 * host_s**2
        return self.origin_us + (host_s * (1 + self.drift) + bent) * 1e6

    def find_host_s(self, module_us: float) -> float:
        low, high = 0.0, 1e5
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.read_module_us(middle) < module_us else (low, middle)
        return low

    def wait(self) -> float:
        return self.chance.uniform(0, self.queue_s)

    def make_sample(self, sent_s: float) -> ClockSample:
        down = self.base_s + max(0.0, self.asymmetry_s) + self.wait()
        up = self.base_s + max(0.0, -self.asymmetry_s) + self.wait()
        received_s = sent_s + down
        replied_s = received_s + self.chance.uniform(0, 1e-3)
        return ClockSample(
            round(sent_s * 1e6),
            math.floor(self.read_module_us(received_s)),
            math.floor(self.read_module_us(replied_s)),
            round((replied_s + up) * 1e6),
        )

    def iterate_heartbeats(self, seconds: float) -> Iterator[ClockSample]:
        """Yield the heartbeats of a session as the driver sends them, by their arrival."""
        now = 100.0
        end, number, found = now + seconds, 0, []
        while now < end:
            found.append(self.make_sample(now))
            number += 1
            now += QUICK_S if number < QUICK_HEARTBEATS else HEARTBEAT_MS / 1000
        yield from sorted(found, key=lambda sample: sample.arrived_us)


def run(world: World, seconds: float = SESSION_S) -> tuple[list[float], list[HostTime]]:
    """Return the error of each frame's time, and what was said."""
    clock = ModuleClock()
    beats = world.iterate_heartbeats(seconds)
    beat = next(beats, None)
    errors, said = [], []
    # The first frame comes 0.1 s after the session began, as on every bench.
    for frame in range(int((seconds - 0.5) / FRAME_S)):
        row_0_s = 100.1 + frame * FRAME_S
        # The frame has arrived 30 ms after its first row was read.
        while beat is not None and beat.arrived_us < (row_0_s + 0.03) * 1e6:
            clock.add(beat)
            beat = next(beats, None)
        found = clock.convert(world.read_module_us(row_0_s))
        errors.append(abs(found.seconds - row_0_s))
        said.append(found)
    return errors, said


def find_p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def find_covered(errors: list[float], said: list[HostTime]) -> float:
    return sum(e <= each.error_s for e, each in zip(errors, said, strict=True)) / len(errors)


def test_the_worst_that_is_promised(record_property):
    """100 ppm, 1 ms of asymmetry, and up to 30 ms of queueing each way, in both directions.

    The seeds are fixed, because the p99 of six sessions varies by a tenth.
    """
    all_errors: list[float] = []
    for number in range(6):
        sign = 1 if number % 2 else -1
        chance = random.Random(number)
        errors, said = run(World(chance, sign * 100e-6, sign * (number % 3 - 1) * 1e-3, 0.03))
        assert find_covered(errors, said) >= 0.99
        all_errors += errors
    record_property("p99 of the error, ms", round(float(find_p99(all_errors)) * 1e3, 3))
    assert find_p99(all_errors) <= GOAL_S


@given(
    st.floats(-150e-6, 150e-6),
    st.floats(-1e-3, 1e-3),
    st.sampled_from([0.0, 0.002, 0.03]),
    st.floats(-0.01e-6, 0.01e-6),
    st.integers(0, 1 << 32),
)
@settings(max_examples=10, deadline=None)
def test_the_bound_covers_the_truth(drift, asymmetry_s, queue_s, wander, number):
    errors, said = run(
        World(random.Random(number), drift, asymmetry_s, queue_s, wander=wander), 20.0
    )
    assert find_covered(errors, said) == 1
    # Without queueing the bound is half a round trip, and what the asymmetry adds to it.
    if not queue_s:
        assert said[-1].error_s < 0.3e-3 + abs(asymmetry_s) / 2 + 0.6e-3


def test_before_the_first_heartbeat_nothing_is_known():
    assert ModuleClock().convert(5e6).error_s == math.inf
    assert ModuleClock().drift == 0


def test_the_drift_is_found():
    world = World(random.Random(1), 80e-6, 0.5e-3, 0.005)
    clock = ModuleClock()
    clock.add_all(world.iterate_heartbeats(60))
    assert clock.drift == pytest.approx(80e-6, abs=10e-6)


def test_a_clock_that_jumps_is_followed():
    """No line fits the times before and after. The older ones are forgotten."""
    world = World(random.Random(1), 0.0, 0.0, 0.0)
    clock = ModuleClock()
    clock.add_all(world.iterate_heartbeats(10))
    world.origin_us += 50e6
    for sample in world.iterate_heartbeats(10):
        clock.add(
            sample._replace(
                sent_us=sample.sent_us + 10_000_000,
                arrived_us=sample.arrived_us + 10_000_000,
                received_us=sample.received_us + 10_000_000,
                replied_us=sample.replied_us + 10_000_000,
            )
        )
    found = clock.convert(world.read_module_us(119.0))
    assert abs(found.seconds - 119.0) <= found.error_s < 0.01


def test_a_drift_beyond_the_limit_is_no_endless_loop():
    world = World(random.Random(1), 20 * MAX_DRIFT, 0.0, 0.0)
    clock = ModuleClock()
    clock.add_all(world.iterate_heartbeats(10))
    assert clock.convert(5e6).error_s > 0
