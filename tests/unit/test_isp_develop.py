"""Develop: the fast stages against the slow ones, and pictures against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.clean_pictures import NAMES, apply_mosaic, load_clean, psnr

from lenslink.errors import UsageError
from lenslink.srgb import XYZ_FROM_SRGB, decode_srgb, encode_srgb
from lenslink_isp import RawImage, open_raw
from lenslink_isp.develop import reference, still
from lenslink_isp.develop.color import make_gains, make_srgb_matrix
from lenslink_isp.develop.picture_files import turn_upright
from lenslink_isp.develop.preview import Preview
from lenslink_isp.develop.still import Quality, StillSettings, develop_still
from lenslink_isp.develop.tone import make_tone_table

CFAS = ("RGGB", "GRBG", "GBRG", "BGGR")
SRGB_CAMERA = np.linalg.inv(XYZ_FROM_SRGB)
# A camera that sees sRGB, but half of the red and two thirds of the blue.
TINTED = np.diag((0.5, 1.0, 2 / 3)) @ SRGB_CAMERA
NEUTRAL = (0.5, 1.0, 2 / 3)


def smooth_raw(cfa="RGGB", shape=(96, 132), black=(256.0, 256.0, 256.0, 256.0)):
    """A RAW picture with every level, some of it saturated, and 2 DN of noise."""
    random = np.random.default_rng(7)
    high, wide = shape
    waves = np.sin(np.arange(wide) / 9)[None] * np.cos(np.arange(high) / 7)[:, None]
    mosaic = 2200 + 2300 * waves + random.normal(0, 2, shape)
    pixels = np.clip(np.round(mosaic), 0, 4095).astype(np.uint16)
    return RawImage(pixels, cfa, black, 4095.0, TINTED, NEUTRAL)


def raw_of(light, cfa="RGGB", white=4095, black=256):
    """The RAW of a clean picture, as the tinted camera sees it at 12 bits."""
    camera = light * np.array(NEUTRAL)
    pixels = np.round(apply_mosaic(camera, cfa) * (white - black) + black).astype(np.uint16)
    return RawImage(pixels, cfa, (float(black),) * 4, float(white), TINTED, NEUTRAL)


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("black", [(256.0,) * 4, (250.0, 256.0, 257.0, 240.5)])
def test_the_preview_is_within_one_level_of_the_reference(cfa, black):
    raw = smooth_raw(cfa, black=black)
    fast, slow = Preview().develop(raw), reference.develop_reference(raw)
    assert np.abs(fast.astype(int) - slow).max() <= 1


def test_a_preview_of_floats_is_that_of_integers():
    raw = smooth_raw()
    floats = replace(raw, mosaic=raw.mosaic.astype(np.float32))
    difference = Preview().develop(floats).astype(int) - Preview().develop(raw)
    assert np.abs(difference).max() <= 1


def test_a_preview_follows_a_new_frame_and_writes_where_it_is_told():
    preview, raw = Preview(), smooth_raw()
    first = preview.develop(raw).copy()
    out = np.empty((*raw.mosaic.shape, 3), np.uint8)
    assert preview.develop(replace(raw, neutral=(1.0, 1.0, 1.0)), out=out) is not first
    assert not np.array_equal(out, first)
    assert np.array_equal(preview.develop(raw), first)
    with pytest.raises(UsageError, match="out must be"):
        preview.develop(raw, out=out[1:])


def test_saturated_pixels_are_white_in_every_colour():
    raw = replace(smooth_raw(), mosaic=np.full((16, 16), 4095, np.uint16))
    assert (Preview().develop(raw) == 255).all()
    assert (develop_still(raw) == 255).all()


@pytest.mark.parametrize("ev", [0.0, 1.0, 2.5])
def test_a_filmic_curve_rises_and_ends_at_white(ev):
    table = make_tone_table(ev, is_filmic=True).astype(int)
    assert (np.diff(table) >= 0).all()
    assert (table[0], table[-1]) == (0, 255)


def test_a_grey_card_is_grey_and_as_bright_as_it_was():
    raw = raw_of(np.full((32, 32, 3), 0.18))
    for picture in (Preview().develop(raw), develop_still(raw)):
        assert np.abs(picture.astype(int) - round(255 * float(encode_srgb(0.18)))).max() <= 1


def test_colours_of_a_known_camera_come_back():
    matrix = make_srgb_matrix(TINTED, NEUTRAL)
    assert np.allclose(matrix, np.eye(3), atol=1e-6)
    assert make_gains(NEUTRAL) == pytest.approx((2.0, 1.0, 1.5))
    with pytest.raises(UsageError, match="no inverse"):
        make_srgb_matrix(np.zeros((3, 3)), NEUTRAL)
    with pytest.raises(UsageError, match="not positive"):
        make_gains((1.0, 0.0, 1.0))


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize(("quality", "least_db"), [(Quality.FAST, 32.5), (Quality.BEST, 33.0)])
def test_a_still_is_as_good_as_promised(cfa, quality, least_db):
    """The goals hold for the mean of four pictures; CI measures one phase of each."""
    name = NAMES[CFAS.index(cfa)]
    results = []
    for each in NAMES if cfa == "RGGB" else (name,):
        truth = load_clean(each)
        picture = develop_still(raw_of(truth, cfa), StillSettings(quality, sharpness=0.0))
        results.append(psnr(picture, truth))
    mean = sum(results) / len(results)
    # A single picture may be harder than the mean.
    assert mean >= (least_db if cfa == "RGGB" else least_db - 1.5), results


def test_bands_join_without_a_seam(monkeypatch):
    raw = smooth_raw(shape=(200, 64))
    whole = develop_still(raw)
    monkeypatch.setattr(still, "BAND_ROWS", 32)
    assert np.array_equal(develop_still(raw), whole)


def test_hot_and_dead_pixels_go_and_details_stay():
    light = np.full((64, 64, 3), 0.2)
    light[:, 40:] = 0.6
    raw = raw_of(light)
    clean = develop_still(raw)
    damaged = raw.mosaic.copy()
    damaged[20, 20], damaged[31, 10], damaged[44, 50] = 4095, 4095, 0
    assert np.array_equal(develop_still(replace(raw, mosaic=damaged)), clean)
    slow = reference.replace_defects(reference.scale_levels(replace(raw, mosaic=damaged)))
    assert np.allclose(slow, reference.scale_levels(raw))


def test_shading_is_a_gain_on_light():
    raw = raw_of(np.full((32, 32, 3), 0.2))
    gain = np.full((32, 32), 1.5, np.float32)
    picture = develop_still(raw, StillSettings(sharpness=0.0), gain)
    assert np.abs(picture.astype(int) - round(255 * float(encode_srgb(0.3)))).max() <= 1
    with pytest.raises(UsageError, match="shading is"):
        develop_still(raw, None, gain[1:])
    assert reference.correct_shading(np.array([0.5, 0.9]), np.array([1.5, 1.5])).tolist() == [
        0.75,
        1,
    ]


def test_sharpening_is_that_of_the_reference():
    picture = np.random.default_rng(3).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    fast = still._sharpen(picture, 0.7).astype(int)
    # OpenCV rounds the blurred picture to 8 bits first.
    assert np.abs(fast - reference.sharpen(picture, 0.7)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_pillow_does(orientation):
    from PIL import Image, ImageOps

    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image = Image.fromarray(picture)
    image.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turn_upright(picture, orientation), upright)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"exposure_ev": 9.0}, "exposure_ev is 9"), ({"sharpness": float("nan")}, "sharpness is nan")],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        StillSettings(**change)


def test_srgb_goes_there_and_back():
    values = np.linspace(0, 1, 1001)
    assert np.allclose(encode_srgb(decode_srgb(values)), values)


def test_a_real_camera_is_developed_as_libraw_does_it(data):
    """Both convert the same DNG. They differ in demosaicing, but not in levels or colours."""
    import rawpy

    path = data("colorchart.dng")
    picture = develop_still(open_raw(path), StillSettings(sharpness=0.0)).astype(float)
    with rawpy.imread(str(path)) as raw:
        other = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, gamma=(2.4, 12.92)
        ).astype(float)
    high, wide = (min(a, b) for a, b in zip(picture.shape[:2], other.shape[:2], strict=True))
    blocks = [
        part[: high // 32 * 32, : wide // 32 * 32]
        .reshape(high // 32, 32, wide // 32, 32, 3)
        .mean((1, 3))
        for part in (picture, other)
    ]
    # LibRaw keeps the colours of clipped light apart, so the brightest blocks may differ.
    is_unclipped = blocks[0].max(-1) < 230
    assert np.abs(blocks[0] - blocks[1])[is_unclipped].mean() < 2.5
