"""Test the measures of the demo on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from lenslink_hil.demo.measures import measure_clipped, measure_noise, measure_sharpness
from lenslink_isp import RawImage

WHOLE = (0.0, 0.0, 1.0, 1.0)


def make_raw(light: np.ndarray) -> RawImage:
    """Return a RAW picture of light from 0 (black, 64) to 1 (white, 4032)."""
    words = np.clip(np.rint(64 + light * 3968), 0, 4032).astype(np.uint16)
    return RawImage(words, "RGGB", (64.0,) * 4, 4032.0, np.eye(3), (1.0, 1.0, 1.0))


def test_noise_is_measured_beside_a_slope(seed: int) -> None:
    random = np.random.default_rng(seed)
    slope = np.linspace(0.2, 0.6, 256)[None] + np.zeros((256, 1))
    noisy = make_raw(slope + random.normal(0, 0.02, slope.shape))
    assert measure_noise(noisy, WHOLE) == pytest.approx(0.02, rel=0.08)
    assert measure_noise(make_raw(slope), WHOLE) < 0.002


def test_only_the_part_counts() -> None:
    stripes = np.full((64, 64), 0.5)
    stripes[:, 32:] += 0.4 * (np.arange(32) // 4 % 2)
    raw = make_raw(stripes)
    assert measure_sharpness(raw, (0, 0, 0.45, 1)) == 0
    assert measure_sharpness(raw, (0.55, 0, 1, 1)) > 0.1


def test_saturated_pixels_are_counted_and_noise_below_black_is_not() -> None:
    light = np.full((8, 8), -0.01)
    light[:2] = 1
    assert measure_clipped(make_raw(light)) == 0.25
