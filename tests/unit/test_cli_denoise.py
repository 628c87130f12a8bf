"""``lenslink denoise``, and the options of ``capture`` and ``develop`` that denoise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.made_frames import make_frame

from lenslink.cli.capture_merge import load_merge
from lenslink.cli.main import main
from lenslink.image_files.save import save
from lenslink_isp import open_raw
from lenslink_isp.commands import denoise as command
from lenslink_isp.commands import develop

PROFILE = (1e-3, 4e-6)


def run(*arguments):
    return CliRunner().invoke(command.denoise, [str(each) for each in arguments])


def make_noisy_frame(noise_profile=PROFILE, seed=3):
    rng = np.random.default_rng(seed)
    light = np.full((96, 128), 0.3) + np.linspace(0, 0.2, 128)
    noisy = light + rng.normal(0, np.sqrt(PROFILE[0] * light + PROFILE[1]))
    pixels = np.clip(np.round(noisy * (4095 - 64) + 64), 0, 4095).astype("u2")
    return make_frame(pixels, noise_profile=noise_profile)


def find_noise(path):
    """Return the standard deviation of the noise, in light from 0 to 1."""
    raw = open_raw(path)
    light = (raw.mosaic - np.float32(raw.black[0])) / np.float32(raw.white - raw.black[0])
    return float(np.diff(light[:, ::2], axis=0, n=1)[::2].std() / np.sqrt(2))


@pytest.fixture
def noisy(tmp_path):
    path = tmp_path / "a night.dng"
    save(make_noisy_frame(), path, force=False)
    return path


def test_a_file_becomes_a_dng_with_less_noise(noisy, tmp_path):
    target = tmp_path / "calm.dng"
    result = run(noisy, "-o", target, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["schema"] == "lenslink.denoise/1"
    assert report["noise_profile"] == pytest.approx(PROFILE)
    assert report["noise_source"] == "file"
    assert (report["width"], report["height"]) == (128, 96)
    assert report["files"] == [{"path": str(target), "bytes": target.stat().st_size}]
    assert find_noise(target) < 0.5 * find_noise(noisy)
    assert open_raw(target).noise_profile is None


def test_without_a_noise_profile_the_noise_is_measured(tmp_path):
    path = tmp_path / "plain.dng"
    save(make_noisy_frame(None), path, force=False)
    result = run(path, "-o", tmp_path / "calm.dng")
    assert result.exit_code == 0, result.output
    assert "has no NoiseProfile: S " in result.output
    assert find_noise(tmp_path / "calm.dng") < 0.6 * find_noise(path)
    result = run(path, "-o", tmp_path / "told.dng", "--noise", "1e-3,4e-6", "--json")
    assert json.loads(result.output)["noise_source"] == "option"


def test_what_cannot_work_is_refused_before_a_file_is_read(noisy, tmp_path):
    missing = tmp_path / "missing.dng"
    assert "written as .dng" in str(run(missing, "-o", tmp_path / "x.jpg").exception)
    assert "exists" in str(run(missing, "-o", noisy).exception)
    strong = run(missing, "-o", tmp_path / "x.dng", "--strength", "2")
    assert "a strength of 2 is not from 0 to 1" in str(strong.exception)
    senseless = run(missing, "-o", tmp_path / "x.dng", "--noise=-1,0")
    assert "makes no sense" in str(senseless.exception)
    assert run(missing, "-o", tmp_path / "x.dng", "--noise", "much").exit_code == 2
    assert "No such file" in str(run(missing, "-o", tmp_path / "x.dng").exception)
    assert [each.name for each in tmp_path.iterdir()] == [noisy.name]


def test_force_overwrites(noisy, tmp_path):
    target = tmp_path / "calm.dng"
    target.write_bytes(b"mine")
    assert run(noisy, "-o", target, "--force").exit_code == 0
    assert target.stat().st_size > 10_000


def test_a_picture_can_be_denoised_while_it_is_developed(noisy, tmp_path):
    for name, options in (("plain.png", []), ("calm.png", ["--denoise"])):
        arguments = [str(noisy), "-o", str(tmp_path / name), "--json", *options]
        result = CliRunner().invoke(develop.develop, arguments)
        assert result.exit_code == 0, result.output
        assert json.loads(result.output)["denoised"] == bool(options)
    assert (tmp_path / "calm.png").stat().st_size < (tmp_path / "plain.png").stat().st_size


@pytest.mark.parametrize("count", [1, 3])
def test_the_frames_of_a_capture_are_denoised(tmp_path, noisy, count):
    merge = load_merge("--denoise", is_denoised=True)
    merge.add_frames([make_noisy_frame(seed=number) for number in range(count)])
    for name in ("a.dng", "b c.jpg"):
        size = merge.save(tmp_path / name, force=False, corrections=None)
        assert (tmp_path / name).stat().st_size == size
    assert find_noise(tmp_path / "a.dng") < 0.5 * find_noise(noisy)


def test_a_bracket_is_not_denoised(capsys):
    assert main(["capture", "sim:", "--denoise", "--bracket", "gain=1,2"]) == 2
    assert "--denoise and --bracket contradict each other" in capsys.readouterr().err
