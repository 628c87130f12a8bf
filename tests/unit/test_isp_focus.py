"""Autofocus: on textures with a known depth, on the plant, and where there is nothing to see."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.defocus_scene import LIMITS, DefocusScene
from scipy.special import j1

from lenslink.errors import UsageError
from lenslink.settings import Settings
from lenslink_hil.plant.scene import Crop, SceneOptions, open_scene
from lenslink_isp import RawImage
from lenslink_isp.focus.auto_focus import (
    AutoFocus,
    FocusLimits,
    FocusRequest,
    FocusState,
    Readout,
    find_contrast,
)
from lenslink_isp.focus.blur_model import BlurModel, find_disc_transfer
from lenslink_isp.focus.defocus import DefocusEstimator

SEED = 20261130
# Two pixels of blur in the mode of 25 megapixels: 295 pixels a dioptre.
SHARP_MDPT = 2 / 0.295


def search(shoot, **options):
    """Run a search; *shoot* takes the frame of a request."""
    found = AutoFocus(LIMITS, **options)
    request = found.begin()
    while request is not None:
        request = found.update(shoot(request), request.focus_mdpt)
    return found


def test_the_transfer_function_is_that_of_a_disc():
    products = np.linspace(0.01, 50, 2000)
    truth = 2 * j1(np.pi * products) / (np.pi * products)
    assert np.abs(find_disc_transfer(products) - truth).max() < 1e-4


def test_textures_become_sharp():
    """Ten depths: at most one is missed by more than two pixels of blur."""
    random = np.random.default_rng(SEED)
    errors, evaluations = [], []
    for seed in range(10):
        depth = random.uniform(50, 3250)
        found = search(DefocusScene(depth, seed).shoot)
        errors.append(abs(found.position_mdpt - depth) + 1e9 * (found.state.value != "reached"))
        evaluations.append(found.evaluations)
    assert sum(error <= SHARP_MDPT for error in errors) >= 9, (SEED, errors)
    assert np.median(evaluations) <= 9
    assert np.percentile(evaluations, 95) <= 14


def test_a_small_picture_has_wide_votes():
    """With a blur of 0.007 pixels for a milli-dioptre, one vote is wider than the focus range."""
    estimator = DefocusEstimator(BlurModel(0.007), np.arange(0.0, 3300.0, 10.0))
    for focus in (500.0, 1500.0):
        texture = np.random.default_rng(SEED).uniform(0.2, 0.8, (96, 128))
        estimator.add(focus, texture, 1e-4)
    assert 0 <= estimator.vote(3000.0).depth_mdpt <= 3300


def test_of_two_depths_the_larger_one_is_chosen():
    random = np.random.default_rng(SEED + 1)
    right = 0
    for seed in range(5):
        far = random.uniform(200, 1500)
        near = far + random.uniform(300, 1500)
        found = search(DefocusScene((far, near), seed).shoot)
        right += abs(found.position_mdpt - far) <= SHARP_MDPT
    assert right >= 4, (SEED, right)


@pytest.mark.parametrize("case", ["flat", "dark", "too near"])
def test_where_nothing_can_be_sharp_the_search_fails(case):
    for seed in range(2):
        scene = {
            "flat": DefocusScene(1000, seed, detail=0.0),
            "dark": DefocusScene(1000, seed, light=0.0),
            "too near": DefocusScene(4000, seed),
        }[case]
        assert search(scene.shoot).state is FocusState.FAILED, seed


def test_little_light_costs_frames_and_not_sharpness():
    right = 0
    for seed in range(4):
        depth = 300 + 700 * seed
        found = search(DefocusScene(depth, seed, noise=20.0).shoot)
        right += abs(found.position_mdpt - depth) <= 2 * SHARP_MDPT
    assert right >= 3


@pytest.mark.parametrize(("scene", "depth"), [("planes", 1687)])
def test_the_plant_becomes_sharp(scene, depth):
    opened = open_scene(SceneOptions(scene=scene, depth=str(depth), seed=3))
    sensor = opened.sensor

    def shoot(request: FocusRequest) -> RawImage:
        mode, width, height = (
            (0, 1280, 960) if request.readout is Readout.PREVIEW else (1, 4096, 3072)
        )
        crop = Crop(width // 2 - 128, height // 2 - 128, 256, 256)
        settings = Settings(10_000, 1000, round(request.focus_mdpt))
        pixels = opened.rows(mode, 1, settings, crop)
        white = float(sensor.white)
        neutral = (1.0, 1.0, 1.0)
        return RawImage(pixels, sensor.cfa, sensor.black, white, np.eye(3), neutral, (8e-5, 3e-7))

    found = search(shoot)
    assert found.state is FocusState.REACHED
    assert abs(found.position_mdpt - depth) <= SHARP_MDPT


def test_a_wrong_coarse_depth_is_noticed_and_mended():
    """The contrast beside the depth rises to one side, so the search goes on there."""
    scene = DefocusScene(1500, 3)
    found = AutoFocus(LIMITS)
    found.begin()
    found.position_mdpt = 1718.0
    request: FocusRequest | None = found._refine()
    while request is not None:
        request = found.update(scene.shoot(request), request.focus_mdpt)
    assert found.state is FocusState.REACHED
    assert abs(found.position_mdpt - 1500) <= SHARP_MDPT


def test_a_search_can_be_cancelled_and_begun_again():
    scene = DefocusScene(1000, 1)
    found = AutoFocus(LIMITS)
    request = found.begin()
    found.update(scene.shoot(request), request.focus_mdpt)
    found.cancel()
    assert found.state is FocusState.IDLE
    with pytest.raises(UsageError, match="no search is under way: it is idle"):
        found.update(scene.shoot(request), request.focus_mdpt)
    assert found.begin() == request
    assert found.evaluations == 0


def test_contrast_is_more_for_a_sharper_picture_and_none_for_noise():
    random = np.random.default_rng(SEED)
    noise = 0.2 + random.normal(0, 0.01, (128, 128))
    assert find_contrast(noise, 1e-4) == 0
    stripes = 0.2 + 0.1 * np.sin(np.arange(128) / 3)[None] + random.normal(0, 0.01, (128, 128))
    weak = 0.2 + 0.05 * np.sin(np.arange(128) / 3)[None] + random.normal(0, 0.01, (128, 128))
    assert find_contrast(stripes, 1e-4) > 2 * find_contrast(weak, 1e-4) > 0


def test_wrong_limits_are_refused():
    with pytest.raises(UsageError, match="is no range"):
        FocusLimits(100, 100, 0.1, 0.2)
    with pytest.raises(UsageError, match="must be positive"):
        BlurModel(0.0)
