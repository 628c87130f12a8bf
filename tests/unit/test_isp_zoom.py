"""Zoom: bursts of made scenes with known shifts, against the scenes; and each step in numpy."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lenslink.errors import UsageError
from lenslink.srgb import XYZ_FROM_SRGB, encode_srgb
from lenslink_isp import RawImage, open_raw
from lenslink_isp.develop.still import StillSettings
from lenslink_isp.zoom import agreement, detail, zoom_burst, zoom_reference
from lenslink_isp.zoom.fine_picture import FinePicture, Samples, predict
from lenslink_isp.zoom.sample_places import find_places
from lenslink_isp.zoom.zoom_burst import Region

PROFILE = (2e-4, 1e-7)
BLACK, WHITE = 256.0, 4095.0
PLAIN = StillSettings(sharpness=0)


def make_scene(high, wide, seed=3):
    """Light of a picture of twice the frames' size: grey detail down to its pixels, and colours."""
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.standard_normal((high, wide)), (0, 0), 1.0)
    color = cv2.GaussianBlur(rng.standard_normal((high, wide, 3)), (0, 0), 12)
    scene = 0.35 + 0.12 * fine[..., None] / fine.std() + 0.08 * color / color.std()
    return np.clip(scene, 0.02, 0.9)


def expose(scene, rng, cfa="RGGB", shift=(0, 0)):
    """A frame: the hand moved the picture by whole pixels of the scene, halves of the sensor's."""
    moved = np.roll(scene, shift[::-1], axis=(0, 1))
    high, wide = (side // 2 for side in scene.shape[:2])
    cells = moved.reshape(high, 2, wide, 2, 3).mean(axis=(1, 3))
    light = np.empty((high, wide))
    for place, color in enumerate(cfa):
        y, x = divmod(place, 2)
        light[y::2, x::2] = cells[y::2, x::2, "RGB".index(color)]
    noisy = light + rng.standard_normal(light.shape) * np.sqrt(PROFILE[0] * light + PROFILE[1])
    words = np.clip(np.round(noisy * (WHITE - BLACK) + BLACK), 0, WHITE).astype(np.uint16)
    matrix = np.linalg.inv(XYZ_FROM_SRGB)
    neutral = (1.0, 1.0, 1.0)
    return RawImage(words, cfa, (BLACK,) * 4, WHITE, matrix, neutral, PROFILE, sensitivity=0.01)


def make_burst(scene, rng, cfa="RGGB", frames=8):
    shifts = [(0, 0), (1, 0), (0, 1), (1, 1), (3, 2), (-2, 3), (5, -4), (-3, -1)]
    return [expose(scene, rng, cfa, each) for each in shifts[:frames]]


def find_psnr(picture, scene, part=np.s_[24:-24, 24:-24]):
    error = picture.astype(float)[part] / 255 - encode_srgb(scene)[part]
    return -10 * np.log10(np.mean(error**2))


def enlarge_one(frame):
    """The reference frame alone, as a zoom without any other frame has it."""
    from lenslink_isp.develop.still import develop_still

    return cv2.resize(develop_still(frame, PLAIN), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_a_zoom_is_nearer_to_the_scene_than_one_frame(rng, cfa):
    scene = make_scene(320, 384)
    frames = make_burst(scene, rng, cfa)
    zoomed = zoom_burst.zoom_burst(frames, settings=PLAIN)
    assert zoomed.picture.shape == scene.shape
    assert min(zoomed.shares) > 0.8
    assert find_psnr(zoomed.picture, scene) > find_psnr(enlarge_one(frames[0]), scene) + 3


def test_what_moves_is_shown_as_the_reference_has_it(rng):
    scene, other = make_scene(320, 384), make_scene(320, 384, seed=4)
    path = np.zeros(scene.shape[:2], bool)
    frames = []
    for number, plain in enumerate(make_burst(scene, rng)):
        left = 100 + 20 * number
        moving = scene.copy()
        moving[80:220, left : left + 80] = other[80:220, 40:120]
        inside = np.s_[40:110, left // 2 : left // 2 + 40]
        frames.append(replace(plain, mosaic=plain.mosaic.copy()))
        frames[-1].mosaic[inside] = expose(moving, rng).mosaic[inside]
        path[80:220, left : left + 80] = True
        if number == 0:
            truth = moving
    zoomed = zoom_burst.zoom_burst(frames, settings=PLAIN)
    assert max(zoomed.shares[1:]) < 0.95
    on_path = find_psnr(zoomed.picture, truth, path)
    assert on_path > find_psnr(enlarge_one(frames[0]), truth, path) - 0.2
    # Elsewhere the frames still help.
    gain = find_psnr(zoomed.picture, truth, ~path) - find_psnr(enlarge_one(frames[0]), truth, ~path)
    assert gain > 1


def test_tiles_and_regions_show_the_same_picture(rng, monkeypatch):
    frames = make_burst(make_scene(320, 384), rng, frames=4)
    whole = zoom_burst.zoom_burst(frames).picture.astype(int)
    part = zoom_burst.zoom_burst(frames, Region(50, 40, 80, 64))
    assert np.abs(part.picture - whole[80:208, 100:260]).max() <= 1
    monkeypatch.setattr(zoom_burst, "_TILE", 64)
    tiled = zoom_burst.zoom_burst(frames)
    assert np.abs(tiled.picture - whole).max() <= 1


def test_another_reference_shows_the_scene_where_that_frame_has_it(rng):
    scene = make_scene(256, 256)
    zoomed = zoom_burst.zoom_burst(make_burst(scene, rng), settings=PLAIN, reference=6)
    moved = np.roll(scene, (-4, 5), axis=(0, 1))
    assert find_psnr(zoomed.picture, moved) > find_psnr(zoomed.picture, scene) + 6
    assert zoomed.shares[6] == 1


def test_noise_is_taken_out_of_flat_parts(rng):
    frames = make_burst(np.full((192, 192, 3), 0.3), rng)
    zoomed = zoom_burst.zoom_burst(frames, settings=StillSettings(sharpness=1))
    one = enlarge_one(frames[0]).astype(float)
    inside = np.s_[16:-16, 16:-16]
    assert zoomed.picture[inside].astype(float).std() < 0.5 * one[inside].std()


def test_frames_without_a_noise_profile_get_one_that_is_measured(rng):
    frames = [replace(each, noise_profile=None) for each in make_burst(make_scene(320, 384), rng)]
    assert min(zoom_burst.zoom_burst(frames).shares) > 0.8


def test_a_camera_of_another_maker_zooms_without_a_fault(data):
    """Parts of one file, moved by whole cells, with new noise: nothing but noise may change."""
    raw = open_raw(data("colorchart.dng"))
    rng = np.random.default_rng(4)
    frames = []
    for right, down in ((0, 0), (2, 0), (-2, 4), (0, -2)):
        part = raw.mosaic[600 - down : 900 - down, 700 - right : 1100 - right].astype(float)
        noisy = np.clip(np.round(part + rng.normal(0, 3, part.shape)), 0, 65535)
        frames.append(replace(raw, mosaic=noisy.astype(np.uint16)))
    zoomed = zoom_burst.zoom_burst(frames, settings=PLAIN)
    assert min(zoomed.shares) > 0.9
    alone = enlarge_one(replace(frames[0], mosaic=raw.mosaic[600:900, 700:1100].copy()))
    inside = np.s_[32:-32, 32:-32]
    difference = zoomed.picture.astype(float)[inside] - alone[inside]
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1
    assert difference.std() < 4


def test_bursts_that_make_no_sense_are_refused(rng):
    frames = make_burst(make_scene(160, 160), rng, frames=2)
    for wrong, message in (
        (lambda: zoom_burst.zoom_burst(frames[:1]), "2 to 16 frames"),
        (lambda: zoom_burst.zoom_burst(frames, reference=2), "reference is 2"),
        (lambda: zoom_burst.zoom_burst(frames, Region(20, 0, 64, 64)), "not inside the frame"),
        (lambda: Region(0, 0, 62, 64), "at least 64 x 64"),
        (lambda: Region(1, 0, 64, 64), "even numbers"),
        (lambda: Region(0, -2, 64, 64), "even numbers"),
        (lambda: Region.find_center((960, 1280), 0.5), "from 1 to 8"),
        (lambda: Region.find_center((960, 1280), float("nan")), "from 1 to 8"),
    ):
        with pytest.raises(UsageError, match=message):
            wrong()
    brighter = [frames[0], replace(frames[1], sensitivity=0.02)]
    with pytest.raises(UsageError, match="one exposure"):
        zoom_burst.zoom_burst(brighter)


@pytest.mark.parametrize("shape", [(960, 1280), (1154, 1734), (98, 130)])
def test_the_middle_of_a_frame_is_even_and_inside(shape):
    for factor in (1, 1.3, 1.5):
        region = Region.find_center(shape, factor)
        assert region.width == pytest.approx(shape[1] / factor, abs=1.01)
        assert abs(2 * region.left + region.width - shape[1]) <= 2
        assert abs(2 * region.top + region.height - shape[0]) <= 2


# --- steps ----------------------------------------------------------------------------------


def make_samples(rng, shape, count=(9, 7)):
    high, wide = shape
    return [
        Samples(
            rng.random(count, np.float32),
            (rng.random(count, np.float32) * (wide - 2) + 0.5).astype(np.float32),
            (rng.random(count, np.float32) * (high - 2) + 0.5).astype(np.float32),
            rng.random(count, np.float32),
        )
        for _ in range(3)
    ]


def as_doubles(samples):
    parts = (samples.values, samples.columns, samples.rows, samples.weights)
    return tuple(each.astype(float) for each in parts)


def test_the_prediction_is_the_mean_of_what_a_pixel_covers(rng):
    plane = rng.random((18, 14), np.float32)
    (samples, _, _) = make_samples(rng, plane.shape)
    found = predict(plane, samples)
    wanted = zoom_reference.predict(plane.astype(float), *as_doubles(samples)[1:3])
    # OpenCV interpolates at 32 places between two pixels.
    assert np.abs(found - wanted).max() < 1 / 32


def test_a_step_of_refinement_is_that_of_the_reference(rng):
    planes = rng.random((3, 20, 16), np.float32) / 2 + np.float32(0.25)
    planes = np.stack([cv2.GaussianBlur(each, (0, 0), 1.5) for each in planes])
    samples = make_samples(rng, planes.shape[1:], (12, 20))
    wanted = zoom_reference.refine(planes.astype(float), [as_doubles(each) for each in samples])
    picture = FinePicture(planes.copy(), samples)
    picture.refine(1)
    assert np.abs(picture.planes - wanted).max() < 1 / 255


def test_detail_and_weights_are_those_of_the_reference(rng):
    plane = cv2.GaussianBlur(rng.random((40, 36), np.float32), (0, 0), 1)
    noise = detail.PerceptualNoise(PROFILE, [1.0])
    density = np.full(plane.shape, 2, np.float32)
    found = detail.sharpen_detail(plane, noise, density, 0.5)
    base = zoom_reference.blur(plane.astype(float), 1.4)
    variance = 1.5 * 1.3 / 2.4 * noise.find(base.astype(np.float32))
    wanted = zoom_reference.sharpen_detail(plane.astype(float), variance, 0.5)
    assert np.abs(found - wanted).max() < 1 / 255

    errors = rng.standard_normal((4, 12, 15)).astype(np.float32)
    errors[:, 4:] *= np.float32(0.3)
    noises = rng.random((4, 12, 15), np.float32)
    slopes = rng.random((12, 15), np.float32) / 8
    found = agreement.weigh_cells(errors, noises / 4, slopes)
    expected = noises.astype(float).mean(axis=0) / 4 + 1.1**2 * slopes
    wanted = zoom_reference.weigh_cells(errors.astype(float), expected)
    assert 0.05 < wanted.mean() < 0.95
    assert np.abs(found - wanted).max() < 1e-4


def test_places_are_where_shifts_lead_back_from():
    columns, rows = (each.astype(np.float32) for each in np.meshgrid(np.arange(128), np.arange(96)))
    down, right = np.mgrid[0:2, 0:2].astype(np.float32)
    shifts = np.stack([2 + 0.6 * right, -1 + 0.4 * down], axis=-1)
    x, y = find_places(shifts, columns, rows)
    across = 2 + 0.6 * np.clip((x + 0.5) / 64 - 0.5, 0, 1)
    along = -1 + 0.4 * np.clip((y + 0.5) / 64 - 0.5, 0, 1)
    assert np.abs(x + across - columns).max() < 0.05
    assert np.abs(y + along - rows).max() < 0.05
