"""The sensor's noise, against distributions that this file computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.physics_world import World
from helpers.sensor_checks import make_sensor

from lenslink_hil.plant import photon_sensor
from lenslink_hil.plant.photon_sensor import POISSON_BELOW

SIZE = (512, 512)


def draw(mean: float, count: int = 400_000) -> np.ndarray:
    whole, rest, remainder = photon_sensor._split_mean(np.full(count, mean, np.float32))
    random = np.random.Generator(np.random.SFC64(7))
    return photon_sensor._draw_poisson(random, whole, rest) + remainder.astype(np.float64)


@pytest.mark.parametrize("mean", [0.004, 0.1, 0.7, 3.0, 11.37, 49.99])
def test_few_electrons_have_the_moments_of_a_poisson_distribution(mean):
    found = draw(mean)
    # Four standard deviations of each moment's estimate; the variance also differs by 0.4 %.
    assert found.mean() == pytest.approx(mean, abs=4 * (mean / len(found)) ** 0.5)
    spread = ((2 * mean**2 + mean) / len(found)) ** 0.5
    assert found.var() == pytest.approx(mean, abs=4 * spread + 0.005 * mean)
    third = ((found - found.mean()) ** 3).mean()
    assert third == pytest.approx(
        mean, abs=4 * ((15 * mean**3 + 30 * mean**2 + mean) / len(found)) ** 0.5 + 0.01 * mean
    )


def test_each_count_is_as_likely_as_it_should_be():
    mean, count = 6.0, 400_000
    found = np.bincount(draw(mean, count).astype(int), minlength=40)
    for number in range(20):
        likely = math.exp(-mean) * mean**number / math.factorial(number)
        # Each probability is a multiple of 1/65536.
        allowed = 4 * (count * likely) ** 0.5 + count / 65536
        assert abs(found[number] - count * likely) <= allowed


def test_the_noise_does_not_change_where_poisson_becomes_gauss():
    sensor = make_sensor(World(), *SIZE)
    noise = []
    for mean in (POISSON_BELOW - 3, POISSON_BELOW + 3):
        exposure = sensor.expose(
            mean / 0.62 * 1e3, SIZE, (0, SIZE[1]), exposure_us=1000, gain_milli=8000
        )
        frames = [sensor.read_out(exposure, each, SIZE, 0).astype(float) for each in (1, 2)]
        change = (frames[1] - frames[0])[0::2, 1::2] / sensor.get_dn_per_electron(8000)
        read = sensor.get_read_noise(8000) ** 2 + sensor.constants.row_noise**2
        noise.append((change.var() / 2 - read) / mean)
    assert noise == pytest.approx([1, 1], abs=0.03)


def test_the_noise_profile_is_that_of_the_frames():
    sensor = make_sensor(World(), *SIZE)
    a, b = sensor.get_noise_profile(4000)
    for photons in (0.0, 2e5, 1e6):
        exposure = sensor.expose(photons, SIZE, (0, SIZE[1]), exposure_us=1000, gain_milli=4000)
        first, second = (sensor.read_out(exposure, each, SIZE, 0).astype(float) for each in (1, 2))
        green = np.s_[0::2, 1::2]
        level = (first + second)[green].mean() / 2 - 256
        assert (second - first)[green].var() / 2 == pytest.approx(a * level + b, rel=0.03)


def test_temperature_and_time_make_dark_electrons():
    sensor = make_sensor(World(), 64, 64)
    assert sensor.get_dark_current(40.0) == pytest.approx(4.0)
    assert sensor.get_dark_current(46.5) == pytest.approx(8.0)
    assert sensor.get_dark_current(27.0) == pytest.approx(1.0)


def test_a_saturated_pixel_reads_white_and_nothing_reads_more():
    sensor = make_sensor(World(), 64, 64)
    exposure = sensor.expose(1e9, (64, 64), (0, 64), exposure_us=100_000, gain_milli=1000)
    assert set(np.unique(sensor.read_out(exposure, 1, (64, 64), 0))) == {4095}


def test_fixed_patterns_belong_to_the_seed_and_the_size():
    frames = {}
    for seed, size in ((1, 64), (2, 64), (1, 128)):
        sensor = make_sensor(World(), size, size, seed=seed)
        exposure = sensor.expose(1e7, (size, size), (0, size), exposure_us=1000, gain_milli=1000)
        frames[seed, size] = exposure.level[:64, :64]
    assert not np.array_equal(frames[1, 64], frames[2, 64])
    assert not np.array_equal(frames[1, 64], frames[1, 128])
