"""``lenslink capture --hdr``, ``--burst`` and ``--zoom``: one picture of several frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import Cli
from PIL import Image

from lenslink_isp import open_raw

SceneUrl = Callable[..., str]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as started:
        yield started


def test_a_bracket_and_a_burst_become_one_file_each(
    cli: Cli, scene_url: SceneUrl, only_sim: None, tmp_path: Path
) -> None:
    url = scene_url(scene="edges", width=128, height=96, shake=30, seed=3)
    run = cli.run("capture", url, "-o", "a hdr.dng", "--hdr", "--exposure", "2ms", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    exposures = [frame["exposure_us"] for frame in report["frames"]]
    assert exposures == [250, 2000, 16_000]
    assert (report["merge"]["reference"], len(report["merge"]["shares"])) == (1, 3)
    raw = open_raw(tmp_path / "a hdr.dng")
    assert raw.mosaic.dtype == np.float32
    assert raw.baseline_exposure == 3
    run = cli.run("capture", url, "-o", "burst.dng", "--burst", "4", "--gain", "8", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert len(report["frames"]) == len(report["merge"]["shares"]) == 4
    assert open_raw(tmp_path / "burst.dng").baseline_exposure == 0
    # What was merged can be merged and developed like any file.
    run = cli.run("develop", "a hdr.dng", "-o", "a picture.jpg")
    assert run.returncode == 0, run.stderr


def test_a_zoom_has_twice_the_pixels_of_the_part_that_it_shows(
    cli: Cli, scene_url: SceneUrl, only_sim: None, tmp_path: Path
) -> None:
    url = scene_url(scene="edges", width=160, height=128, shake=30, seed=3)
    run = cli.run("capture", url, "-o", "a zoom.png", "--zoom", "1.25", "--burst", "3", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert len(report["frames"]) == len(report["merge"]["shares"]) == 3
    assert report["merge"]["reference"] == 0
    with Image.open(tmp_path / "a zoom.png") as picture:
        assert picture.size == (256, 204)
