"""Test what ``make demo`` runs, with a smaller sensor."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import interruptible
from helpers.slowdown import patience
from numpy.typing import NDArray
from PIL import Image

from lenslink.errors import UsageError
from lenslink_hil.demo.__main__ import demo as run_demo
from lenslink_isp import open_raw

Floats = NDArray[np.float64]

COMMAND = (sys.executable, "-m", "lenslink_hil.demo")
FILES = ["demo.dng", "demo.html", "demo.png"]
TITLES = ["Tap to focus", "Auto exposure", "HDR", "Burst", "Noise reduction", "White balance"]


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder with the files of a run, and what the run has printed."""
    folder = tmp_path_factory.mktemp("a demo")
    out = folder / "out"
    out.mkdir()
    for name in FILES:  # left behind by an earlier run
        (out / name).write_text("old")
    done = demo(folder, "--width", "400", "--seconds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    return out, done.stdout


@pytest.fixture(scope="module")
def pairs(run: tuple[Path, str]) -> dict[str, tuple[Floats, Floats]]:
    """Return the pictures before and after of each title, (H, W, 3) from 0 to 1."""
    page = (run[0] / "demo.html").read_text()
    found = {}
    for section in page.split("<h2>")[1:]:
        before, after = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) / 255
            for data in re.findall(r"data:image/jpeg;base64,([^']+)'", section)
        )
        assert before.shape == after.shape == (300, 400, 3)
        found[section.partition("<")[0]] = before, after
    return found


def cut(picture: Floats, left: float, top: float, right: float, bottom: float) -> Floats:
    high, wide = picture.shape[:2]
    return picture[int(top * high) : int(bottom * high), int(left * wide) : int(right * wide)]


def find_edges(picture: Floats) -> float:
    """Return the mean difference of neighbours in the green channel."""
    return float(np.abs(np.diff(picture[..., 1], axis=1)).mean())


def test_the_run_says_what_it_measured_and_replaces_the_files(run: tuple[Path, str]) -> None:
    out, printed = run
    assert sorted(path.name for path in out.iterdir()) == FILES
    lines = printed.splitlines()
    starts = ["Module put on: the contacts closed", "Preview: 400 x 300", *TITLES, "Photograph: "]
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1, start
    assert all(any(char.isdigit() for char in line) for line in lines)
    assert all(str(Path("out", name)) in lines[-1] for name in FILES)


def test_the_sheet_the_page_and_the_raw_file_can_be_read(run: tuple[Path, str]) -> None:
    out, _ = run
    with Image.open(out / "demo.png") as sheet:
        assert sheet.size[0] == 1600
        assert np.asarray(sheet).std() > 30
    assert open_raw(out / "demo.dng").mosaic.shape == (300, 400)
    page = (out / "demo.html").read_text()
    assert re.findall(r"<h2>([^<]+)", page) == TITLES
    assert "http" not in page
    assert "<script" not in page


def test_the_tap_makes_the_nearer_subject_sharp(pairs: dict[str, tuple[Floats, Floats]]) -> None:
    before, after = pairs["Tap to focus"]
    near, far = (0.6, 0.25, 0.9, 0.75), (0.1, 0.25, 0.4, 0.75)
    assert find_edges(cut(after, *near)) > 2 * find_edges(cut(before, *near))
    assert find_edges(cut(before, *far)) > 2 * find_edges(cut(after, *far))


def test_auto_exposure_finds_the_light(pairs: dict[str, tuple[Floats, Floats]]) -> None:
    before, after = pairs["Auto exposure"]
    assert np.percentile(before, 99) < 0.25
    assert 0.7 < np.percentile(after, 99) <= 1
    assert (after.min(axis=2) > 0.99).mean() < 0.01


def test_the_merged_bracket_has_detail_where_one_frame_is_clipped(
    pairs: dict[str, tuple[Floats, Floats]],
) -> None:
    before, after = pairs["HDR"]
    clipped = before.min(axis=2) > 0.99
    assert clipped.mean() > 0.03
    assert (after[clipped].min(axis=1) > 0.99).mean() < 0.1
    assert after[clipped][:, 1].std() > 5 * before[clipped][:, 1].std()
    # The dark parts are as bright as those of the longest frame, roughly.
    assert np.median(after) > 0.5 * np.median(before)


def test_the_merged_burst_has_less_noise_and_no_less_detail(
    pairs: dict[str, tuple[Floats, Floats]],
) -> None:
    before, after = pairs["Burst"]
    # The astronaut's wall, which is out of focus.
    wall = (0.1, 0.28, 0.15, 0.36)
    assert cut(after, *wall).std(axis=(0, 1)).mean() < 0.6 * (
        cut(before, *wall).std(axis=(0, 1)).mean()
    )
    near = (0.6, 0.25, 0.9, 0.75)
    sharp = pairs["Tap to focus"][1]
    assert find_edges(cut(after, *near)) > 0.8 * find_edges(cut(sharp, *near))


def test_the_denoised_frame_has_less_noise_and_its_edges(
    pairs: dict[str, tuple[Floats, Floats]],
) -> None:
    before, after = pairs["Noise reduction"]
    wall = (0.1, 0.28, 0.15, 0.36)
    assert find_edges(cut(after, *wall)) < 0.4 * find_edges(cut(before, *wall))
    near = (0.6, 0.25, 0.9, 0.75)
    sharp = pairs["Tap to focus"][1]
    assert find_edges(cut(after, *near)) > 0.6 * find_edges(cut(sharp, *near))


def test_the_white_cup_becomes_white(pairs: dict[str, tuple[Floats, Floats]]) -> None:
    before, after = pairs["White balance"]
    # The rim of the cup, at its front.
    warm, balanced = (
        cut(each, 0.475, 0.483, 0.525, 0.5).mean(axis=(0, 1)) for each in (before, after)
    )
    assert warm[0] - warm[2] > 0.5
    assert np.ptp(balanced) < 0.5 * np.ptp(warm)


def test_bad_arguments_are_one_line(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    for width, seconds, message in (
        (398, 1.0, "--width 398: must be a multiple of 4 from 400 to 1280"),
        (400, float("nan"), "--seconds nan: must be from 1 to 600"),
    ):
        with pytest.raises(UsageError, match=message):
            run_demo(width, seconds, tmp_path)
    done = demo(tmp_path, "--out", "taken/out")
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr.startswith("lenslink: error: cannot make taken/out: ")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_ends_it_without_files(tmp_path: Path) -> None:
    with interruptible():
        process = subprocess.Popen(
            COMMAND,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("Module put on")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(patience(20)) == 130
        assert process.stderr.read() == "lenslink: interrupted\n"
    assert list((tmp_path / "out").iterdir()) == []
