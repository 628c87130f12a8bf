"""``lenslink develop``, and ``capture -o photo.jpg``."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.dng_scene import noise_rows, write_dng
from PIL import Image, ImageCms

from lenslink_isp.commands import develop as command


def run(*arguments):
    return CliRunner().invoke(command.develop, [str(each) for each in arguments])


@pytest.fixture
def dng(tmp_path):
    return write_dng(tmp_path / "my photo.dng", noise_rows())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_a_picture_is_written_upright_and_in_srgb(dng, tmp_path, suffix):
    target = tmp_path / f"a picture{suffix}"
    result = run(dng, "-o", target, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    with Image.open(target) as image:
        # The file's Orientation of 6 turns 120 x 92 pixels of the active area.
        assert image.size == (report["width"], report["height"]) == (92, 120)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert report["schema"] == "lenslink.develop/1"
    assert report["files"] == [{"path": str(target), "bytes": target.stat().st_size}]


def test_the_default_is_a_jpeg_beside_the_file(dng):
    assert run(dng).exit_code == 0
    assert dng.with_suffix(".jpg").is_file()


def test_exposure_brightens(dng, tmp_path):
    levels = []
    for ev in ("-1", "0", "1"):
        target = tmp_path / f"{ev}.png"
        assert run(dng, "-o", target, f"--exposure={ev}").exit_code == 0
        levels.append(np.asarray(Image.open(target)).mean())
    assert levels == sorted(levels)
    assert levels[0] < levels[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "x.gif"), "known are .jpg"),
        (("--exposure", "99"), "exposure_ev is 99"),
    ],
)
def test_bad_arguments_are_refused_before_the_file_is_read(tmp_path, arguments, message):
    result = run(tmp_path / "missing.dng", *arguments)
    assert message in str(result.exception)


def test_a_file_is_never_overwritten_unasked(dng):
    target = dng.with_suffix(".jpg")
    target.write_bytes(b"mine")
    assert "exists" in str(run(dng).exception)
    assert target.read_bytes() == b"mine"
    assert run(dng, "--force").exit_code == 0


def test_a_missing_or_damaged_file_is_one_error(tmp_path):
    assert "No such file" in str(run(tmp_path / "missing.dng").exception)
    bad = tmp_path / "bad.dng"
    bad.write_bytes(b"II*\0" + bytes(40))
    result = run(bad)
    assert "bad.dng" in str(result.exception)
    assert not bad.with_suffix(".jpg").exists()


def test_without_opencv_the_line_to_type_is_said(monkeypatch, dng):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the extra 'isp'" in str(run(dng).exception)
