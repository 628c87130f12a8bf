"""The RAW denoiser: its network against numpy, its tiles, its noise, and what it must never do."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from helpers.denoiser_reference import read_weights, run_reference

from lenslink.errors import UsageError
from lenslink_hil.benchmark import denoise_quality as quality
from lenslink_isp.denoise import network as networks
from lenslink_isp.denoise import raw_denoiser
from lenslink_isp.denoise.network import WEIGHTS, OnnxRuntimeNetwork, OpenCvNetwork, load_network
from lenslink_isp.denoise.noise_estimate import estimate_profile
from lenslink_isp.denoise.noise_units import FEATURES, NoiseUnits, make_features, pack, unpack
from lenslink_isp.denoise.raw_denoiser import (
    MOST_NOISE,
    QUIET_SHARE,
    DenoiseSettings,
    denoise_raw,
)


@pytest.fixture(scope="module")
def network():
    return OpenCvNetwork()


@pytest.fixture
def rng():
    return np.random.default_rng(14)


def make_smooth(high, wide):
    """Return a clean mosaic: a slope, a bright square and fine stripes."""
    rows, columns = np.mgrid[:high, :wide]
    light = 0.05 + 0.4 * columns / wide
    light[high // 4 : high // 2, wide // 4 : wide // 2] = 0.7
    light += 0.04 * np.sin(rows / 3)
    return light.astype(np.float32)


# -- units ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [(1e-4, 1e-7), (4e-3, 1.6e-3), (0.0, 1e-4), (1e-3, 0.0)])
def test_noise_has_a_standard_deviation_of_one_unit(rng, profile):
    units = NoiseUnits(*profile)
    for light in (0.2, 0.8):
        sigma = (profile[0] * light + profile[1]) ** 0.5
        seen = units.from_light(rng.normal(light, sigma, 40_000).astype(np.float32))
        assert seen.std() == pytest.approx(1, abs=0.03)


def test_taking_the_noise_away_gives_the_light_without_it(rng):
    units = NoiseUnits(1e-3, 1e-5)
    clean = rng.uniform(0.05, 1, 1000).astype(np.float32)
    noisy = clean + rng.normal(0, 0.01, 1000).astype(np.float32)
    seen, true = units.from_light(noisy), units.from_light(clean)
    assert units.to_light(noisy, seen, seen - true) == pytest.approx(clean, abs=1e-6)
    assert np.array_equal(units.to_light(noisy, seen, np.zeros_like(seen)), noisy)


def test_planes_are_red_two_greens_and_blue(rng):
    mosaic = rng.uniform(0, 1, (6, 8)).astype(np.float32)
    planes = pack(mosaic)
    assert planes.shape == (4, 3, 4)
    assert np.array_equal(planes[1], mosaic[0::2, 1::2])
    assert np.array_equal(unpack(planes), mosaic)


def test_features_are_those_of_the_formula(rng):
    units = rng.uniform(5, 40, (4, 12, 14)).astype(np.float32)
    padded = np.pad(units, ((0, 0), (4, 4), (4, 4)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (9, 9), axis=(1, 2))
    mean = windows.mean((3, 4))
    wanted = [(units - mean) / 4, np.log1p(mean) / 2 - 1, np.exp((3 - mean) / 2)]
    assert make_features(units, 3.0) == pytest.approx(np.concatenate(wanted), abs=2e-5)


# -- the network ------------------------------------------------------------------------------


def test_the_network_computes_what_numpy_computes(rng, network):
    features = rng.normal(0, 0.5, (FEATURES, 16, 24)).astype(np.float32)
    wanted = run_reference(read_weights(WEIGHTS), features)
    assert network.find_noise(features) == pytest.approx(wanted, abs=1e-4)
    # Another size, with the same network object.
    assert network.find_noise(features[:, :8, :8]).shape == (4, 8, 8)


def test_onnxruntime_runs_the_same_file_where_it_is_installed(rng, monkeypatch):
    weights = read_weights(WEIGHTS)

    class Session:
        def __init__(self, data, options, providers):
            assert data == WEIGHTS.read_bytes()
            assert options.intra_op_num_threads >= 1
            assert providers == ["CPUExecutionProvider"]

        def run(self, outputs, inputs):
            return [run_reference(weights, inputs["features"][0])[None]]

    runtime = ModuleType("onnxruntime")
    runtime.SessionOptions = SimpleNamespace
    runtime.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: runtime)
    found = load_network()
    assert isinstance(found, OnnxRuntimeNetwork)
    features = rng.normal(0, 0.5, (FEATURES, 8, 8)).astype(np.float32)
    wanted = run_reference(weights, features)
    assert found.find_noise(features) == pytest.approx(wanted)
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    assert isinstance(load_network(), OpenCvNetwork)


def test_the_record_is_that_of_the_network_that_is_shipped():
    record = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    data = WEIGHTS.read_bytes()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["bytes"] == len(data) < 300_000
    weights = read_weights(WEIGHTS)
    assert record["parameters"] == sum(each.size for each in weights.values())
    assert record["losses"][-1][0] == record["steps"]
    begin = 0
    for stage in record["stages"]:
        losses = [loss for step, loss in record["losses"] if begin < step <= stage["end"]]
        assert losses[-1] < losses[0]
        begin = stage["end"]
    assert not {"coffee.png", "china.jpg", "flower.jpg"} & set(record["pictures"])
    assert all(record["pictures"].values())


# -- whole pictures ---------------------------------------------------------------------------


def test_tiles_leave_no_trace(network, monkeypatch):
    raw = quality.add_noise(make_smooth(130, 200), 4e-3, 1)
    whole = denoise_raw(raw, network=network).mosaic
    monkeypatch.setattr(raw_denoiser, "TILE", 64)
    assert denoise_raw(raw, network=network).mosaic == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(("cfa", "top", "left"), [("GRBG", 0, 1), ("GBRG", 1, 0), ("BGGR", 1, 1)])
def test_every_colour_filter_has_the_same_result(network, cfa, top, left):
    raw = quality.add_noise(make_smooth(200, 232), 4e-3, 2)
    levels = (250.0, 256.0, 260.0, 270.0)
    raw = replace(raw, black=levels)
    whole = denoise_raw(raw, network=network).mosaic
    sites = [2 * ((y + top) % 2) + (x + left) % 2 for y in (0, 1) for x in (0, 1)]
    part = replace(
        raw,
        mosaic=raw.mosaic[top : 198 + top, left : 230 + left],
        cfa=cfa,
        black=tuple(levels[site] for site in sites),
    )
    found = denoise_raw(part, network=network).mosaic
    inner = np.s_[64:-64, 64:-64]
    wanted = whole[top : 198 + top, left : 230 + left]
    assert found[inner] == pytest.approx(wanted[inner], abs=1e-5)


@pytest.mark.parametrize("size", [(2, 2), (4, 10), (34, 6)])
def test_the_smallest_pictures_keep_their_size(network, size):
    raw = quality.add_noise(np.full(size, 0.3, np.float32), 1e-3, 3)
    assert denoise_raw(raw, network=network).mosaic.shape == size


def test_the_result_is_linear_light_without_a_noise_profile(network):
    raw = quality.add_noise(make_smooth(64, 64), 1e-3, 4)
    calm = denoise_raw(raw, network=network)
    assert (calm.black, calm.white, calm.noise_profile) == ((0, 0, 0, 0), 1, None)
    assert calm.mosaic.dtype == np.float32
    assert calm.mosaic.max() <= 1
    assert (calm.cfa, calm.neutral) == (raw.cfa, raw.neutral)


def test_strength_is_how_much_is_taken_away(network):
    raw = quality.add_noise(make_smooth(96, 96), 4e-3, 5)
    light = (raw.mosaic - np.float32(256)) / np.float32(4095 - 256)

    def find_change(strength):
        calm = denoise_raw(raw, DenoiseSettings(strength), network)
        return float(np.abs(calm.mosaic - np.minimum(light, 1)).mean())

    none, half, whole = (find_change(strength) for strength in (0, 0.5, 1))
    assert none < 1e-6
    assert 0.4 * whole < half < 0.6 * whole


def test_no_pixel_is_changed_by_more_than_five_deviations():
    class Wild:
        name = "wild"

        def find_noise(self, features):
            return np.full((4, *features.shape[1:]), 1000, np.float32)

    raw = quality.add_noise(np.full((64, 64), 0.5, np.float32), 1e-4, 6)
    light = (raw.mosaic - np.float32(256)) / np.float32(4095 - 256)
    change = np.abs(denoise_raw(raw, network=Wild()).mosaic - light)
    sigma = (1e-4 * light + quality.find_read(1e-4)) ** 0.5
    # So little noise is taken away in part only.
    most = MOST_NOISE * QUIET_SHARE
    assert 0.9 * most < (change / sigma).max() < 1.01 * most


@pytest.mark.parametrize("profile", [(-1e-3, 0.0), (0.0, 0.0), (float("nan"), 1e-6), (2.0, 0.0)])
def test_a_noise_that_makes_no_sense_is_refused(network, profile):
    raw = quality.add_noise(make_smooth(32, 32), 1e-3, 7)
    with pytest.raises(UsageError, match="makes no sense"):
        denoise_raw(replace(raw, noise_profile=profile), network=network)
    with pytest.raises(UsageError, match="makes no sense"):
        DenoiseSettings(noise_profile=profile)


# -- how good it is ---------------------------------------------------------------------------

SAMPLE = (0, 1, 7, 8)
"""Numbers of crops: a roof, a sky, a dark blur, wood. ``lenslink bench denoise`` takes all."""


@pytest.mark.parametrize("shot", [*quality.QUIET_SHOT.values(), *quality.SHOT.values()])
def test_no_crop_is_worse_than_its_input(network, shot):
    crops = quality.load_crops()
    for number in SAMPLE:
        found = quality.measure_crop(crops[number], shot, quality.SEED + number, network)
        assert found["raw"] > found["raw_before"], number
        assert found["srgb"] > found["srgb_before"], number


def test_a_wrong_noise_map_is_found_out(network, monkeypatch):
    def denoise_wrongly(raw, *, network):
        slope, offset = raw.noise_profile
        return denoise_raw(replace(raw, noise_profile=(slope / 16, offset / 16)), network=network)

    def is_met():
        isos = [quality.measure_iso(6600, quality.SHOT[6600], network)]
        speed = {"network": "OpenCV", "cpu_s_per_mpx": 0.1}
        targets = quality.list_targets({"isos": isos, "speed": speed})
        return {each["name"]: each["met"] for each in targets}

    name = "raw PSNR at ISO 6600 over BM3D, dB"
    assert is_met()[name]
    monkeypatch.setattr(quality, "denoise_raw", denoise_wrongly)
    assert not is_met()[name]


@pytest.mark.parametrize(("shot", "read"), [(4e-3, 1.6e-3), (1e-2, 9e-4), (1e-3, 1e-5)])
def test_the_noise_of_a_picture_is_measured(monkeypatch, shot, read):
    monkeypatch.setattr(quality, "find_read", lambda shot: read)
    crops = quality.load_crops()
    clean = np.concatenate([np.concatenate(crops[row : row + 4], 1) for row in (0, 4, 8)])
    raw = replace(quality.add_noise(clean, shot, 8), noise_profile=None)
    slope, offset = estimate_profile(raw)
    for light in (0.05, 0.4):
        sigma = ((slope * light + offset) / (shot * light + read)) ** 0.5
        assert sigma == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("level", [0, 4095])
def test_noise_cannot_be_measured_where_no_light_varies(level):
    raw = quality.add_noise(make_smooth(96, 96), 1e-3, 9)
    raw = replace(raw, mosaic=np.full((96, 96), level, np.uint16), noise_profile=None)
    with pytest.raises(UsageError, match="--noise S,O"):
        denoise_raw(raw)
