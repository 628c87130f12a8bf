"""Auto exposure and white balance on pictures with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.clean_pictures import NAMES, apply_mosaic, load_clean

from lenslink.errors import UsageError
from lenslink_isp import RawImage
from lenslink_isp.metering.auto_exposure import (
    MID_GREY,
    AutoExposure,
    ExposureLimits,
    ExposureState,
    Metering,
)
from lenslink_isp.metering.illuminants import make_curve, make_measured_curve
from lenslink_isp.metering.statistics import Statistics, measure
from lenslink_isp.metering.white_balance import AutoWhiteBalance, estimate

SEED = 20261130
NEUTRALS = ((2850, (0.95, 1.0, 0.33)), (4500, (0.66, 1.0, 0.55)), (6500, (0.5, 1.0, 0.67)))
# The product of exposure and gain, in us / 1000, at which the scenes below are right.
RIGHT = 10_000 * 1000


def expose(light, exposure, neutral=(1.0, 1.0, 1.0), seed=SEED):
    """The RAW of *light* times *exposure*, with the noise of a phone's sensor."""
    random = np.random.default_rng(seed)
    mosaic = apply_mosaic(light * np.array(neutral) * exposure, "RGGB") * 3839 + 256
    noise = random.normal(size=mosaic.shape) * np.sqrt(0.3 * np.maximum(mosaic - 256, 0) + 4)
    pixels = np.clip(np.round(mosaic + noise), 0, 4095).astype(np.uint16)
    return RawImage(pixels, "RGGB", (256.0,) * 4, 4095.0, np.eye(3), neutral)


def scale_for(auto, light):
    """The scale at which *light* has the mean that *auto* aims at."""
    weights = auto.make_weights()
    return MID_GREY / float((measure(expose(light, 0.2)).zones[..., 1] * weights).sum() / 0.2)


def follow(auto, light, start_ev, frames=12, delay=1):
    """Expose frame after frame; return by how many EV each was brighter than the last one."""
    scale = scale_for(auto, light)
    first = auto.limits.choose(RIGHT * 2.0**start_ev)
    queue, levels = [first] * delay, []
    settings = first
    for _ in range(frames):
        product = settings[0] * settings[1]
        levels.append(math.log2(product / RIGHT))
        statistics = measure(expose(light, scale * product / RIGHT))
        queue.append(auto.update(statistics, *settings))
        settings = queue.pop(0)
    return levels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("start_ev", "frames"), [(-6, 4), (-3, 4), (2, 4), (6, 7)])
def test_exposure_settles_within_a_few_frames(name, start_ev, frames):
    """The module applies settings to the frame after the next. Frame 0 has the wrong exposure."""
    auto = AutoExposure(ExposureLimits(longest_us=2_000_000))
    levels = follow(auto, load_clean(name)[:256, :256], start_ev)
    errors = [level - levels[-1] for level in levels]
    assert all(abs(error) <= 0.1 for error in errors[frames:]), errors
    # The picture never goes beyond its target and back.
    assert max(-math.copysign(1, start_ev) * error for error in errors) <= 0.2, errors
    assert abs(levels[-1]) <= 0.1
    assert auto.state is ExposureState.CONVERGED


@pytest.mark.parametrize("clipped", [0.03, 0.1, 0.2])
def test_clipped_light_is_estimated_from_the_end_of_the_histogram(clipped):
    """Light that is distributed exponentially is measured right although a part is clipped."""
    scale = -1 / math.log(clipped)
    light = np.random.default_rng(SEED).exponential(scale, (256, 256, 1)).repeat(3, axis=2)
    auto = AutoExposure(ExposureLimits(longest_us=2_000_000))
    exposure, gain = auto.update(measure(expose(light, 1.0)), 10_000, 1000)
    found = math.log2(exposure * gain / RIGHT)
    assert abs(found - math.log2(MID_GREY / scale)) < 0.15


def test_a_settled_exposure_does_not_flicker():
    auto = AutoExposure(ExposureLimits())
    light = load_clean("coffee.png")[:128, :128]
    scale = scale_for(auto, light)
    settings, levels = (10_000, 1000), []
    for frame in range(300):
        product = settings[0] * settings[1]
        levels.append(math.log2(product))
        statistics = measure(expose(light, scale * product / RIGHT, seed=SEED + frame))
        settings = auto.update(statistics, *settings)
    assert max(levels[4:]) - min(levels[4:]) <= 0.05


def test_highlight_priority_clips_at_most_a_thousandth():
    auto = AutoExposure(ExposureLimits(longest_us=2_000_000), Metering.HIGHLIGHTS)
    light = load_clean("rocket.jpg")
    settings = (160_000, 1000)
    for _ in range(12):
        raw = expose(light, settings[0] * settings[1] / RIGHT)
        statistics = measure(raw)
        settings = auto.update(statistics, *settings)
    greens = np.concatenate([raw.mosaic[0::2, 1::2].ravel(), raw.mosaic[1::2, 0::2].ravel()])
    assert np.mean(greens >= 4095) <= 0.001
    assert np.quantile(greens, 0.999) > 2000, "the highlights are too dark"


def test_a_spot_decides_alone():
    light = np.full((128, 128, 3), 0.05)
    light[:64, :64] = 0.8
    found = {}
    for spot in ((0.25, 0.25), (0.75, 0.75)):
        auto = AutoExposure(ExposureLimits(), Metering.SPOT)
        auto.spot = spot
        found[spot] = math.prod(auto.update(measure(expose(light, 1.0)), 10_000, 1000))
    assert math.log2(found[0.75, 0.75] / found[0.25, 0.25]) == pytest.approx(4, abs=0.1)


def test_compensation_and_lock():
    statistics = measure(expose(np.full((64, 64, 3), MID_GREY), 1.0))
    auto = AutoExposure(ExposureLimits())
    auto.compensation_ev = 1.0
    settings = auto.update(statistics, 10_000, 1000)
    assert math.log2(math.prod(settings) / RIGHT) == pytest.approx(1, abs=0.05)
    auto.lock()
    dark = measure(expose(np.full((64, 64, 3), 0.01), 1.0))
    assert auto.update(dark, 10_000, 1000) == settings
    assert auto.state is ExposureState.LOCKED
    auto.unlock()
    assert auto.update(dark, 10_000, 1000) != settings


@pytest.mark.parametrize("product", [10**5, 10**7, 7 * 10**7, 10**9, 10**12])
def test_limits_keep_their_ranges_and_avoid_flicker(product):
    limits = ExposureLimits(flicker_us=10_000)
    exposure, gain = limits.choose(product)
    assert limits.shortest_us <= exposure <= limits.longest_us
    assert limits.least_gain_milli <= gain <= limits.most_gain_milli
    assert exposure < 10_000 or exposure % 10_000 == 0
    if 10**4 < product < 33_000 * 64_000:
        assert exposure * gain == pytest.approx(product, rel=0.01)


@pytest.mark.parametrize("values", [{"shortest_us": 0}, {"longest_us": 5}, {"most_gain_milli": 1}])
def test_limits_that_are_no_range_are_refused(values):
    with pytest.raises(UsageError, match="is no range"):
        ExposureLimits(**values)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_statistics_are_means_of_the_light(cfa):
    light = np.zeros((64, 96, 3))
    light[:] = (0.1, 0.4, 0.25)
    light[32:] = 1.5
    pixels = np.clip(apply_mosaic(light, cfa) * 3839 + 256, 0, 4095).round().astype(np.uint16)
    found = measure(RawImage(pixels, cfa, (256.0,) * 4, 4095.0, np.eye(3), (1.0, 1.0, 1.0)))
    assert np.allclose(found.zones[:16], (0.1, 0.4, 0.25), atol=2e-3)
    assert np.allclose(found.clipped[:16], 0)
    assert np.allclose(found.clipped[16:], 1)
    assert found.histogram.sum() == pixels.size // 2


def angle(first, second):
    cosine = np.dot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)
    return math.degrees(math.acos(min(1.0, cosine)))


@pytest.mark.parametrize("kelvin", [2850, 3600, 4500, 5500, 6500])
def test_white_balance_finds_the_light_on_things_of_many_colours(kelvin):
    curve = make_measured_curve(NEUTRALS)
    place = int(np.argmin(np.abs(curve.kelvin - kelvin)))
    red, blue = np.exp(curve.chroma[place])
    # A scene of patches: a third of them grey, the others of any colour.
    random = np.random.default_rng(SEED)
    patches = random.uniform(0.05, 0.8, (12, 12, 3))
    is_grey = random.random((12, 12)) < 1 / 3
    patches[is_grey] = patches[is_grey].mean(-1, keepdims=True)
    light = patches.repeat(16, 0).repeat(16, 1)
    auto = AutoWhiteBalance(curve)
    found = auto.update(measure(expose(light, 0.9, (red, 1.0, blue))))
    assert angle(found, (red, 1.0, blue)) < 2.0
    assert abs(1e6 / auto.kelvin - 1e6 / kelvin) < 25


def test_photographs_of_one_colour_are_seen_in_their_light():
    """Wood, a cat, a dusk: where zones decide, the median is 9 degrees, and the worst 23."""
    curve = make_measured_curve(NEUTRALS)
    errors = []
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        picture = load_clean(name)
        light = picture * MID_GREY / picture[..., 1].mean()
        for _, neutral in NEUTRALS:
            found = AutoWhiteBalance(curve).update(measure(expose(light, 1.0, neutral)))
            errors.append(angle(found, neutral))
    assert np.median(errors) < 7.5, errors
    assert max(errors) < 20, errors


@pytest.mark.parametrize("edges", [1, 2])
def test_a_noisy_zone_of_a_flat_picture_does_not_decide_the_light(edges):
    """Before, one difference of two zones that was noise turned the neutral by 3 degrees."""
    curve = make_measured_curve([(2850, (0.8, 1, 0.4)), (6500, (0.5, 1, 0.7))])
    red, blue = np.exp(curve.chroma[len(curve.chroma) // 2])
    neutral = np.array([red, 1.0, blue])
    zones = np.tile(neutral * 0.06, (32, 32, 1))
    zones[5 : 5 + edges, 31] *= (1.20, 1.07, 1.07)
    statistics = Statistics(zones, np.zeros((32, 32)), np.zeros(256, np.int64))
    chroma = estimate(statistics, curve)
    assert angle((np.exp(chroma[0]), 1.0, np.exp(chroma[1])), neutral) < 0.5


def test_white_balance_keeps_its_neutral_in_the_dark_and_when_locked():
    auto = AutoWhiteBalance(make_measured_curve(NEUTRALS))
    before = auto.neutral
    dark = measure(expose(np.zeros((64, 64, 3)), 1.0))
    assert estimate(dark, make_measured_curve(NEUTRALS)) is None
    assert auto.update(dark) == before
    auto.is_locked = True
    assert auto.update(measure(expose(np.full((64, 64, 3), 0.3), 1.0, (0.95, 1, 0.33)))) == before


def test_a_change_of_light_is_followed_at_once():
    auto = AutoWhiteBalance(make_measured_curve(NEUTRALS))
    light = np.full((64, 64, 3), 0.4)
    for _, neutral in NEUTRALS:
        assert angle(auto.update(measure(expose(light, 1.0, neutral))), neutral) < 1.0


def test_the_curve_of_a_matrix_goes_from_warm_to_cool():
    from lenslink.srgb import XYZ_FROM_SRGB

    curve = make_curve([(6504.0, np.linalg.inv(XYZ_FROM_SRGB))])
    # At D65, white light is white for a camera that sees sRGB.
    place = int(np.argmin(np.abs(curve.kelvin - 6504)))
    assert np.abs(curve.chroma[place]).max() < 0.05
    # Lamps and daylight are two curves, which meet at 4000 K with a small step.
    assert (np.diff(curve.chroma[:, 0]) < 0.06).all()
    assert (np.diff(curve.chroma[:, 1]) > -0.06).all()
    assert curve.chroma[0, 0] > 0.4
    assert curve.chroma[-1, 0] < 0
    assert curve.chroma[0, 1] < -1.0
    assert curve.chroma[-1, 1] > 0.1
    with pytest.raises(UsageError, match="at least one"):
        make_curve([])
    with pytest.raises(UsageError, match="at least two"):
        make_measured_curve(NEUTRALS[:1])
