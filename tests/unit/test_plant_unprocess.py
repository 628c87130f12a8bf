"""Test picture to RAW against formulas in this file: phases, colours, exposure, noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lenslink.settings import Settings
from lenslink_hil.plant.modes import make_sized_modes
from lenslink_hil.plant.picture import Picture
from lenslink_hil.plant.scene import Scene, SceneOptions, open_scene
from lenslink_hil.plant.sensor_model import CFA_PHASES, make_module_sensor
from lenslink_hil.plant.unprocess import (
    FULL_WELL,
    READ_NOISE,
    XYZ_FROM_SRGB,
    PictureSource,
    apply_mosaic,
    get_noise_profile,
    make_srgb_table,
)


def sensor(width=128, height=96, bits=12, cfa="RGGB"):
    modes = make_sized_modes(width, height)
    return make_module_sensor(width, height, modes, bits=bits, cfa=cfa, pattern=False)


def plain(colour, width=128, height=96):
    return Picture(np.full((height, width, 3), colour, np.uint8))


def sites(rows, cfa):
    """Return the pixels of each colour of a mosaic."""
    found = {"R": [], "G": [], "B": []}
    for site, colour in enumerate(cfa):
        found[colour].append(rows[site // 2 :: 2, site % 2 :: 2].ravel())
    return {colour: np.concatenate(parts) for colour, parts in found.items()}


@pytest.mark.parametrize("cfa", CFA_PHASES)
def test_mosaic_keeps_each_filters_colour(cfa):
    red, green, blue = (np.full((64, 64), value, np.float32) for value in (1, 2, 3))
    for colour, pixels in sites(apply_mosaic((red, green, blue), cfa), cfa).items():
        assert set(pixels.tolist()) == {float("RGB".index(colour) + 1)}


@pytest.mark.parametrize("cfa", CFA_PHASES)
def test_a_sensor_without_crosstalk_sees_red_in_red_only(cfa):
    # A matrix that undoes sRGB's own: its filters are sRGB's primaries.
    inverse = np.linalg.inv(XYZ_FROM_SRGB).ravel()
    pairs = tuple((round(v * 10**6), 10**6) for v in inverse)
    pure = replace(sensor(cfa=cfa), color_matrix=pairs, neutral=((1, 1),) * 3)
    clean = PictureSource(plain((255, 0, 0)), pure, 0).make_clean_mosaic(128, 96)
    found = sites(clean, cfa)
    assert found["R"].min() > 0.999
    assert max(found["G"].max(), found["B"].max()) < 0.001


@pytest.mark.parametrize("cfa", CFA_PHASES)
def test_white_reads_neutral(cfa):
    this = sensor(cfa=cfa)
    found = sites(PictureSource(plain((255, 255, 255)), this, 0).make_clean_mosaic(128, 96), cfa)
    for colour, (num, den) in zip("RGB", this.neutral, strict=True):
        assert found[colour] == pytest.approx(num / den, abs=1e-4)


def test_neutral_is_the_matrix_of_d65():
    this = sensor()
    matrix = np.array([n / d for n, d in this.color_matrix]).reshape(3, 3)
    white = matrix @ XYZ_FROM_SRGB.sum(axis=1)
    assert [n / d for n, d in this.neutral] == pytest.approx(white / white[1], abs=1e-4)


def test_colours_come_back():
    colours = [(200, 30, 40), (20, 160, 60), (40, 60, 210), (128, 128, 128), (240, 220, 180)]
    this = sensor(bits=14)
    matrix = np.array([n / d for n, d in this.color_matrix]).reshape(3, 3) @ XYZ_FROM_SRGB
    gains = matrix.sum(axis=1).max()
    for colour in colours:
        scene = Scene(this, PictureSource(plain(colour), this, 1))
        found = sites(scene.rows(0, 0, Settings(10_000, 1000, 0)).astype(float), "RGGB")
        camera = np.array([found[c].mean() - 1024 for c in "RGB"]) / (16383 - 1024)
        linear = np.linalg.solve(matrix / gains, camera)
        expected = make_srgb_table()[list(colour)]
        assert linear == pytest.approx(expected, abs=0.004), colour


def test_exposure_and_gain_scale_the_light_and_clip_at_white():
    this = sensor()
    scene = Scene(this, PictureSource(plain((120, 120, 120)), this, 1))

    def green(exposure_us, gain_milli):
        rows = scene.rows(0, 3, Settings(exposure_us, gain_milli, 0))
        return sites(rows, "RGGB")["G"].mean() - 256

    nominal = green(10_000, 1000)
    assert nominal == pytest.approx(make_srgb_table()[120] * (4095 - 256), rel=0.005)
    assert green(5_000, 1000) == pytest.approx(nominal / 2, rel=0.01)
    assert green(10_000, 3000) == pytest.approx(nominal * 3, rel=0.01)
    assert green(20_000, 500) == pytest.approx(nominal, rel=0.01)
    assert green(1, 1000) == pytest.approx(0, abs=0.1)
    for extreme in ((10**9, 1000), (2**30 - 1, 10**6)):
        assert set(np.unique(scene.rows(0, 3, Settings(*extreme, 0)))) == {4095}


@pytest.mark.parametrize(("gain_milli", "bits"), [(1000, 12), (4000, 12), (2000, 14)])
def test_noise_has_the_models_mean_and_variance(gain_milli, bits):
    this = sensor(256, 256, bits)
    a, b = get_noise_profile(this, gain_milli)
    span = this.white - this.black[0]
    electron = span / FULL_WELL * gain_milli / 1000
    assert (a, b) == pytest.approx((electron, (electron * READ_NOISE) ** 2))
    for level in (0, 60, 110):
        source = PictureSource(plain((level,) * 3, 256, 256), this, 8)
        # Dark enough that no pixel is clipped at any gain.
        (rows,) = source.iterate_bands(256, 256, 1, Settings(5_000, gain_milli))
        clean = source.make_clean_mosaic(256, 256) * span * 0.5 * gain_milli / 1000
        for colour in "RGB":
            x = float(sites(clean, "RGGB")[colour].mean())
            got = sites(rows.astype(float), "RGGB")[colour] - this.black[0]
            variance = a * x + b + 1 / 12  # and what rounding to whole codes adds
            assert got.mean() == pytest.approx(x, abs=5 * (variance / got.size) ** 0.5)
            assert got.var() == pytest.approx(variance, rel=0.06)


def test_frames_repeat_by_seed_and_number_only():
    this = sensor()
    picture = plain((90, 90, 90))

    def frame(seed, number):
        return Scene(this, PictureSource(picture, this, seed)).rows(
            0, number, Settings(10_000, 1000, 0)
        )

    assert np.array_equal(frame(1, 2), frame(1, 2))
    assert (frame(1, 2) != frame(1, 3)).mean() > 0.5
    assert (frame(1, 2) != frame(2, 2)).mean() > 0.5


def test_four_black_levels_lie_under_their_pixels():
    this = replace(sensor(), black=(100.0, 200.0, 300.0, 400.0))
    (rows,) = PictureSource(plain((0, 0, 0)), this, 0).iterate_bands(
        128, 96, 0, Settings(10_000, 1000)
    )
    means = [rows[y::2, x::2].mean() for y in (0, 1) for x in (0, 1)]
    assert means == pytest.approx([100, 200, 300, 400], abs=0.2)


def test_bands_join_without_a_seam(tmp_path):
    # A smooth slope, enlarged: any seam would be a step in it.
    slope = np.repeat(np.linspace(40, 220, 96)[:, None], 128, 1).astype(np.uint8)
    Image.fromarray(slope).save(tmp_path / "slope.png")
    scene = open_scene(SceneOptions(scene=str(tmp_path / "slope.png"), width=2048, height=1536))
    source = scene.source
    clean = source.make_clean_mosaic(2048, 1536)[0::2, 1::2]  # green
    steps = np.diff(clean.mean(axis=1))
    assert len(list(scene.iterate_bands(0, 0, Settings(10_000, 1000, 0)))) > 5
    # The same part of the slope resized in one go.
    linear = make_srgb_table()[slope]
    whole = Image.fromarray(linear).resize((2048, 1536), Image.Resampling.LANCZOS)
    assert np.abs(clean - np.asarray(whole)[0::2, 1::2]).max() < 1e-4
    assert steps.min() > -1e-4


def test_crop_is_centred_and_keeps_the_aspect():
    wide = Picture(np.zeros((100, 400, 3), np.uint8))
    assert wide.crop_box(4 / 3) == pytest.approx((133.333, 0, 266.667, 100), abs=0.01)
    tall = np.zeros((300, 150, 3), np.uint8)
    assert Picture(tall).crop_box(1.0) == (0, 75, 150, 225)
    assert Picture(tall, anchor=0).crop_box(1.0) == (0, 0, 150, 150)


def test_largest_frame_comes_in_small_bands():
    scene = open_scene(SceneOptions(scene="photo", mode="full"))
    frame = scene.iterate_bands(2, 0, Settings(10_000, 1000, 0))
    band = next(frame)
    assert band.shape[1] == 12288
    assert band.nbytes <= 1 << 20
