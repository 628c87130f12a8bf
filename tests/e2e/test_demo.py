"""Test what ``make demo`` runs, with a smaller scene."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from helpers.slowdown import patience
from PIL import Image

SceneUrl = Callable[..., str]


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lenslink_hil.demo", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


def test_the_demo_writes_two_files_and_prints_its_measurements(
    own_url: SceneUrl, tmp_path: Path
) -> None:
    url = own_url(scene="bars", width=320, height=240)
    # The second run overwrites what the first has left.
    for _ in range(2):
        done = demo(tmp_path, "--url", url, "--seconds", "1.2")
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["demo.dng", "demo.png"]
    assert done.stdout.count(" fps, ") >= 2  # a line each second, and the summary
    assert "MB/s, 0 incomplete, no discards" in done.stdout
    assert "complete: 153.6 kB in " in done.stdout
    with Image.open(tmp_path / "out/demo.png") as picture:
        assert picture.size == (320, 240)
        left, right = picture.getpixel((10, 120)), picture.getpixel((310, 120))
    # White is the first of the bars, black the last.
    assert min(left) > 200
    assert max(right) < 50


def test_an_error_is_one_line(tmp_path: Path) -> None:
    done = demo(tmp_path, "--url", "unix:/nowhere/lens")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    (tmp_path / "taken").write_text("")
    done = demo(tmp_path, "--url", "unix:/nowhere/lens", "--out", "taken/out")
    assert done.returncode == 9
    assert done.stderr.startswith("lenslink: error: cannot make taken/out: ")
