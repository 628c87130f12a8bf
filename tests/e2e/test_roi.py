"""A region of interest, read out alone: its pixels, beside a preview, on the move, as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers.bench_scale import Scale
from helpers.cli_process import Cli
from numpy.typing import NDArray

import lenslink
from lenslink import Frame, Settings
from lenslink_hil.plant.patterns import make_pattern

SceneUrl = Callable[..., str]
SEED = 11


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as started:
        yield started


class Sized:
    """A module of one size whose every pixel can be computed."""

    def __init__(self, scene_url: SceneUrl, scale: Scale) -> None:
        size = scale.size(320, 240)
        self.width, self.height = size["width"], size["height"]
        self.url = scene_url(scene="prbs", seed=SEED, **size)

    def cut(self, frame: Frame) -> NDArray[np.uint16]:
        """Return what the frame must show, computed apart from the module."""
        whole = make_pattern(
            "prbs", self.width, self.height, bits=frame.bits, cfa=frame.cfa, seed=SEED,
            frame_number=frame.number,
        )  # fmt: skip
        top, left = frame.crop_y, frame.crop_x
        return whole[top : top + frame.height, left : left + frame.width]


@pytest.fixture
def sized(scene_url: SceneUrl, scale: Scale) -> Sized:
    return Sized(scene_url, scale)


def test_a_region_has_the_pixels_of_its_place(sized: Sized) -> None:
    with lenslink.open(sized.url) as module:
        for roi in ((0, 0, 2, 2), (16, 32, 24, 10), (sized.width - 6, sized.height - 2, 6, 2)):
            with module.capture("full", roi=roi) as frame:
                assert (frame.crop_x, frame.crop_y, frame.width, frame.height) == roi
                assert frame.stream == lenslink.STILL
                assert np.array_equal(frame.pixels, sized.cut(frame))
        with module.capture("full") as whole:
            assert (whole.width, whole.height, whole.crop_x) == (sized.width, sized.height, 0)


def test_a_region_beside_a_preview(sized: Sized, scale: Scale) -> None:
    """Both have their own pixels. No two frames of the region follow each other."""
    with lenslink.open(sized.url) as module:
        numbers = []
        with (
            closing(module.stream("full")) as previews,
            closing(module.stream("full", roi=(32, 16, 16, 8))) as regions,
        ):
            for _ in range(scale.count(12)):
                for frames, stream in ((previews, lenslink.PREVIEW), (regions, lenslink.ROI)):
                    with next(frames) as frame:
                        assert frame.stream == stream
                        assert np.array_equal(frame.pixels, sized.cut(frame))
                        numbers.append((frame.number, stream))
        both = [stream for _, stream in sorted(numbers)]
        assert {lenslink.PREVIEW, lenslink.ROI} == set(both)
        regions_only = {number for number, stream in numbers if stream == lenslink.ROI}
        assert not any(number + 1 in regions_only for number in regions_only)


def test_a_region_on_the_move(sized: Sized) -> None:
    with lenslink.open(sized.url) as module:
        with closing(module.stream("full", roi=(0, 0, 16, 8))) as regions:
            next(regions).release()
            first = module.set(stream=lenslink.ROI, roi_x=18, roi_y=6)
            for frame in regions:
                with frame:
                    moved = frame.number >= first
                    assert (frame.crop_x, frame.crop_y) == ((18, 6) if moved else (0, 0))
                    assert np.array_equal(frame.pixels, sized.cut(frame))
                if moved:
                    break
        places = [Settings(roi_x=x, roi_y=x // 2) for x in (0, 8, 16, 20)]
        frames = module.capture("full", frames=places, roi=(4, 4, 16, 8))
        assert [frame.number - frames[0].number for frame in frames] == [0, 1, 2, 3]
        assert [(each.crop_x, each.crop_y) for each in frames] == [
            (each.roi_x, each.roi_y) for each in places
        ]
        for frame in frames:
            assert np.array_equal(frame.pixels, sized.cut(frame))
            frame.release()


def test_the_command_line(cli: Cli, sized: Sized, tmp_path: Path) -> None:
    roi = ["--mode", "full", "--roi", "16,32,24,10"]
    files = ["-o", str(tmp_path / "part.npy"), "-o", str(tmp_path / "part.dng")]
    shot = cli.run("capture", sized.url, *files, "--json", *roi)
    frame = json.loads(shot.stdout)["frame"]
    assert [frame[name] for name in ("crop_x", "crop_y", "width", "height")] == [16, 32, 24, 10]
    assert np.load(tmp_path / "part.npy").shape == (10, 24)
    streamed = cli.run("stream", sized.url, "--frames", "2", "--json", *roi)
    frames = [json.loads(line) for line in streamed.stdout.splitlines()][:2]
    assert [each["width"] for each in frames] == [24, 24]
    for wrong in ("1,0,4,4", "0,0,4", "0,0,4,x", "0,0,0,4", "-2,0,4,4"):
        refused = cli.run("capture", "sim:", "--roi", wrong)
        assert refused.returncode == 2
        assert "--roi" in refused.stderr
