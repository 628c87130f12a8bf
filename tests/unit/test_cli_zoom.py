"""``lenslink zoom``, ``lenslink capture --zoom`` and a sample of ``lenslink bench zoom``."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.made_frames import make_frame

from lenslink.cli import capture_merge
from lenslink.cli.main import main
from lenslink.errors import MissingExtra, UsageError
from lenslink.image_files.save import save
from lenslink_hil.benchmark import zoom_quality
from lenslink_isp.commands import zoom as command
from lenslink_isp.zoom.captured_zoom import CapturedZoom


def run(*arguments):
    return CliRunner().invoke(command.zoom, [str(each) for each in arguments])


def make_frames(count=3, orientation=1):
    rng = np.random.default_rng(2)
    light = cv2.GaussianBlur(rng.random((128, 160)), (0, 0), 3) * 1500
    return [
        make_frame(
            np.clip(64 + light + rng.normal(0, 1.5, light.shape), 0, 4095).astype("u2"),
            exposure_us=1000,
            gain_milli=1000,
            noise_profile=(1e-4, 2e-7),
            orientation=orientation,
        )
        for _ in range(count)
    ]


@pytest.fixture
def files(tmp_path):
    found = []
    for number, frame in enumerate(make_frames()):
        found.append(tmp_path / f"my photo {number}.dng")
        save(frame, found[-1], force=False)
    return found


@pytest.mark.parametrize(
    ("options", "size", "region"),
    [
        ([], (320, 256), (0, 0, 160, 128)),
        (["--factor", "1.6"], (200, 160), (30, 24, 100, 80)),
        (["--roi", "21,10,81,64"], (160, 128), (20, 10, 80, 64)),
    ],
)
def test_files_become_a_picture_of_twice_the_size(files, tmp_path, options, size, region):
    target = tmp_path / "the picture.png"
    result = run(*files, "-o", target, "--json", *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["schema"] == "lenslink.zoom/1"
    assert tuple(report["region"].values()) == region
    assert (report["width"], report["height"]) == size
    assert [each["path"] for each in report["sources"]] == [str(each) for each in files]
    assert min(each["share"] for each in report["sources"]) > 0.9
    assert report["files"] == [{"path": str(target), "bytes": target.stat().st_size}]
    picture = cv2.imdecode(np.fromfile(target, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (size[1], size[0], 3)


def test_what_cannot_work_is_refused_before_a_file_is_read(files, tmp_path):
    missing, target = tmp_path / "missing.dng", tmp_path / "x.png"
    for arguments, message in (
        ((missing, "-o", target), "2 to 16 frames, not 1"),
        ((missing, missing, "-o", tmp_path / "x.dng"), "known are .jpg"),
        ((missing, missing, "-o", files[0].with_suffix(".png")), "No such file"),
        ((missing, missing, "-o", target, "--factor", 2, "--roi", "0,0,64,64"), "contradict"),
        ((missing, missing, "-o", target, "--sharpness", 9), "sharpness is 9"),
    ):
        assert message in str(run(*arguments).exception)
    for roi in ("1,2,3", "a,b,c,d"):
        assert "is not left,top,width,height" in run(*files, "-o", target, "--roi", roi).output
    for options, message in (
        (["--roi", "100,0,64,64"], "not inside the frame"),
        (["--roi", "-4,0,64,64"], "not negative"),
        (["--factor", "8"], "at least 64 x 64"),
    ):
        assert message in str(run(*files, "-o", target, *options).exception)
    assert not target.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zoom", "2", "--hdr"], "--zoom and --hdr contradict each other"),
        (["--zoom", "2", "--bracket", "gain=1,2"], "--zoom and --bracket contradict"),
        (["--zoom", "2", "--denoise"], "--zoom and --denoise contradict"),
        (["--zoom", "9"], "--zoom"),
        (["--zoom", "2", "-o", "x.dng"], "a zoom is a picture"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message, capsys):
    assert main(["capture", "sim:", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_the_isp_the_line_to_type_is_named(monkeypatch):
    monkeypatch.setattr(capture_merge, "entry_points", lambda group: type("N", (), {"names": ()}))
    with pytest.raises(MissingExtra, match="'isp'"):
        capture_merge.load_zoom(2)


def test_the_frames_of_a_capture_become_an_upright_picture(tmp_path):
    zoom = capture_merge.load_zoom(1.25)
    assert isinstance(zoom, CapturedZoom)
    target = tmp_path / "near by.jpg"
    zoom.check_output(target, force=False)
    zoom.add_frames(make_frames(2, orientation=6))
    assert zoom.reference == 0
    assert len(zoom.shares) == 2
    assert zoom.save(target, force=False, corrections=None) == target.stat().st_size
    picture = cv2.imdecode(np.fromfile(target, np.uint8), cv2.IMREAD_COLOR)
    # 102 x 128 pixels of the sensor, turned.
    assert picture.shape == (256, 204, 3)
    with pytest.raises(UsageError, match="at least 64"):
        CapturedZoom(factor=4).add_frames(make_frames(2))


def test_a_zoom_shows_more_of_photographs_than_one_frame():
    """A sample of what ``lenslink bench zoom`` measures."""
    found = zoom_quality.measure_iso(550, zoom_quality.SHOTS[550], [3])
    assert found["zoom"] > found["one"] + 1.5
    assert found["zoom"] > found["merged"]
    edge = zoom_quality.measure_edge(300)
    assert edge["mtf10_ratio"] > 1.15
    assert edge["mtf50_ratio"] > 1.2
    assert edge["one"]["overshoot"] == pytest.approx(edge["zoom"]["overshoot"], abs=0.01)
    motion = zoom_quality.measure_motion(1)
    assert motion["zoom"] > motion["one"] - 0.5


def test_the_report_of_the_benchmark_names_each_figure_and_its_goal():
    result = {
        "machine": {
            "memory_bytes": 2**30, "load": None, "cpu": "c", "cores": 2, "system": "s",
            "python": "p", "isal": "1", "numpy": "2", "lenslink": "0", "commit": None, "date": "d",
        },
        "isos": [
            {"iso": 550, "one": 23.0, "merged": 24.0, "zoom": 26.0,
             "scenes": [{"zoom": 26.0, "one": 23.0}]},
        ],
        "edges": [{"mtf10_ratio": 1.2, "mtf50_ratio": 1.1}],
        "star": {"one": 0.2, "zoom": 0.1, "one_contrast_beyond": 0.3, "zoom_contrast_beyond": 0.5},
        "motion": [{"one": 30.0, "zoom": 30.1}],
        "speed": {"cpu_s": 9.0},
    }  # fmt: skip
    result["targets"] = zoom_quality.list_targets(result)
    missed = [each["name"] for each in result["targets"] if not each["met"]]
    assert missed == ["MTF10 over one frame, equal overshoot"]
    lines = zoom_quality.format_summary(result)
    assert "NOT MET  MTF10 over one frame, equal overshoot: 1.2, at least 1.25" in lines
    part = zoom_quality.format_part(result)
    assert "| ISO 550 | 23.00 | 24.00 | 26.00 |" in part
    assert "**not met**" in part
