"""``lenslink merge``, and the options of ``lenslink capture`` that merge."""

from __future__ import annotations

import json
from types import SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.made_frames import make_frame

from lenslink.cli.capture_merge import HdrSteps, load_merge, make_hdr_bracket
from lenslink.cli.main import main
from lenslink.errors import MissingExtra, UsageError
from lenslink.image_files.save import save
from lenslink.module_controls import Control
from lenslink_isp import open_raw
from lenslink_isp.commands import merge as command
from lenslink_isp.merge.captured_merge import CapturedMerge


def run(*arguments):
    return CliRunner().invoke(command.merge, [str(each) for each in arguments])


def make_bracket_frames(exposures_us=(1000, 8000), level=20):
    rng = np.random.default_rng(2)
    return [
        make_frame(
            np.clip(64 + level * us / 1000 + rng.normal(0, 1.5, (64, 96)), 0, 4095).astype("u2"),
            exposure_us=us,
            gain_milli=1000,
            noise_profile=(1e-4, 2e-7),
        )
        for us in exposures_us
    ]


@pytest.fixture
def files(tmp_path):
    found = []
    for number, frame in enumerate(make_bracket_frames()):
        found.append(tmp_path / f"my photo {number}.dng")
        save(frame, found[-1], force=False)
    return found


def test_files_become_one_that_can_be_developed(files, tmp_path):
    target = tmp_path / "the result.dng"
    result = run(*files, "-o", target, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["schema"] == "lenslink.merge/1"
    assert report["reference"] == str(files[1])
    assert [each["path"] for each in report["sources"]] == [str(each) for each in files]
    assert report["baseline_exposure_ev"] == 3
    assert report["files"] == [{"path": str(target), "bytes": target.stat().st_size}]
    raw = open_raw(target)
    # 20 DN above black at 1 ms, of 4031 DN.
    assert raw.mosaic.mean() == pytest.approx(20 / 4031, rel=0.02)
    assert raw.baseline_exposure == 3


def test_what_cannot_work_is_refused_before_a_file_is_read(files, tmp_path):
    missing = tmp_path / "missing.dng"
    assert "2 to 16 frames, not 1" in str(run(missing, "-o", tmp_path / "x.dng").exception)
    assert "written as .dng" in str(run(missing, missing, "-o", tmp_path / "x.jpg").exception)
    assert "exists" in str(run(missing, missing, "-o", files[0]).exception)
    assert "No such file" in str(run(missing, missing, "-o", tmp_path / "x.dng").exception)
    assert list(tmp_path.glob(".lenslink-*")) == []


def test_a_file_without_a_noise_profile_is_one_error(tmp_path):
    path = tmp_path / "plain.dng"
    save(make_frame(np.full((64, 96), 100, "u2")), path, force=False)
    assert "NoiseProfile" in str(run(path, path, "-o", tmp_path / "x.dng").exception)
    assert not (tmp_path / "x.dng").exists()


@pytest.mark.parametrize("text", ["1", "a,b", "-3,0,11", "1,nan", ",".join(["0"] * 17)])
def test_steps_that_make_no_bracket_are_usage_errors(text):
    with pytest.raises(click.BadParameter):
        HdrSteps().convert(text, None, None)
    assert HdrSteps().convert("-3,0,3", None, None) == (-3, 0, 3)


def test_the_exposures_of_a_bracket_stay_in_the_modules_range():
    exposures = Control("exposure_us", "us", 100, 100_000, 1, 10_000)
    module = SimpleNamespace(controls={"exposure_us": exposures})
    found = make_hdr_bracket(module, (-3, 0, 3), None)
    assert [each.exposure_us for each in found] == [1250, 10_000, 80_000]
    found = make_hdr_bracket(module, (-3, 0, 3), 400)
    assert [each.exposure_us for each in found] == [100, 400, 3200]
    with pytest.raises(UsageError, match="cannot vary"):
        make_hdr_bracket(module, (0, 3), 100_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hdr", "--burst", "4"], "--hdr and --burst contradict each other"),
        (["--burst", "4", "--bracket", "gain=1,2"], "--burst and --bracket contradict"),
        (["--hdr-steps", "0,3"], "--hdr-steps needs --hdr"),
        (["--hdr", "-o", "x.npy"], "the extension '.npy'; known are .jpg"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message, capsys):
    assert main(["capture", "sim:", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_the_isp_the_line_to_type_is_named(monkeypatch):
    from lenslink.cli import capture_merge

    monkeypatch.setattr(capture_merge, "entry_points", lambda group: type("N", (), {"names": ()}))
    with pytest.raises(MissingExtra, match="'isp'"):
        load_merge("--hdr")


def test_the_frames_of_a_capture_become_a_raw_and_a_picture(tmp_path):
    frames = make_bracket_frames()
    merge = load_merge("--hdr")
    assert isinstance(merge, CapturedMerge)
    for name in ("a.dng", "b c.png"):
        merge.check_output(tmp_path / name, force=False)
    merge.add_frames(frames)
    assert merge.reference == 1
    assert min(merge.shares) > 0.9
    for name in ("a.dng", "b c.png"):
        size = merge.save(tmp_path / name, force=False, corrections=None)
        assert (tmp_path / name).stat().st_size == size
    assert open_raw(tmp_path / "a.dng").baseline_exposure == 3
