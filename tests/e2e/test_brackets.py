"""Settings travel with the frame: brackets, their proof in the pixels, and the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.bench_scale import Scale
from helpers.cli_process import Cli
from helpers.nine_brackets import check_nine_brackets

import lenslink
from lenslink import Frame, Settings
from lenslink.errors import UsageError

SceneUrl = Callable[..., str]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as started:
        yield started


def asked(frame: Frame) -> tuple[int, int, int]:
    return frame.exposure_us, frame.gain_milli, frame.aperture_milli


def light_of(frame: Frame) -> float:
    """Return the mean level above black of the pixels, in DN."""
    return float(frame.pixels.mean()) - float(np.mean(frame.black))


def test_nine_brackets_are_nine_consecutive_frames(scene_url: SceneUrl) -> None:
    """The pixels prove that each frame was exposed as it says, and not only FrameStart."""
    bracket = [
        Settings(exposure_us=500 + 250 * number, gain_milli=1000 + 125 * (number * 5 % 9))
        for number in range(9)
    ]
    with lenslink.open(scene_url(scene="photo", width=128, height=96)) as module:
        module.start(exposure_us=2000)
        module.next_frame().release()
        frames = module.capture(frames=bracket)
        first = frames[0].number
        assert [frame.number for frame in frames] == list(range(first, first + 9))
        assert [frame.stream for frame in frames] == [lenslink.STILL] * 9
        applied = [Settings(frame.exposure_us, frame.gain_milli) for frame in frames]
        assert applied == bracket
        assert not any(frame.is_adjusted or frame.is_moving for frame in frames)
        rates = [light_of(each) / (each.exposure_us * each.gain_milli) for each in frames]
        assert max(rates) / min(rates) < 1.04, rates
        # The preview beside it keeps its own.
        preview = module.next_frame()
        while preview.number < frames[-1].number:
            preview = module.next_frame()
        assert (preview.exposure_us, preview.gain_milli) == (2000, 1000)


def test_nine_brackets_on_every_bench(scene_url: SceneUrl, scale: Scale) -> None:
    url = scene_url(scene="prbs", seed=3, **scale.size(128, 96))
    with lenslink.open(url, timeout=scale.seconds(30)) as module:
        check_nine_brackets(module, seed=3)


@pytest.mark.parametrize("gain_milli", [1000, 4000])
def test_the_noise_profile_is_that_of_the_pixels(scene_url: SceneUrl, gain_milli: int) -> None:
    """Two frames of one scene differ by noise alone: at each signal by the variance stated."""
    with lenslink.open(scene_url(scene="photo", width=640, height=480)) as module:
        settings = Settings(exposure_us=8_000_000 // gain_milli, gain_milli=gain_milli)
        one, two = module.capture(frames=[settings] * 2)
        assert one.noise_profile is not None
        slope, offset = one.noise_profile
        black = float(np.mean(one.black))
        span = one.white - black
        first, second = ((each.pixels - black) / span for each in (one, two))
        signal, difference = (first + second) / 2, first - second
        for low, high in ((0.02, 0.1), (0.1, 0.3), (0.3, 0.7)):
            inside = (signal >= low) & (signal < high)
            assert inside.sum() > 2000
            wanted = slope * float(signal[inside].mean()) + offset
            # Rounding to whole numbers adds a twelfth of a step squared.
            wanted += 1 / 12 / span**2
            assert float(difference[inside].var()) / 2 == pytest.approx(wanted, rel=0.1)
        assert one.row_time_ns > 0


def test_focus_and_aperture_brackets_wait_for_the_lens(scene_url: SceneUrl) -> None:
    steps = [(0, 1400), (3300, 4000), (1500, 1400), (1600, 11_000)]
    with lenslink.open(scene_url(scene="ramp", width=64, height=64)) as module:
        bracket = [Settings(focus_mdpt=focus, aperture_milli=stop) for focus, stop in steps]
        frames = module.capture(frames=bracket, exposure_us=1000)
        assert [frame.aperture_milli for frame in frames] == [stop for _, stop in steps]
        for frame, (focus, _) in zip(frames, steps, strict=True):
            assert abs(frame.focus_mdpt - focus) <= 3
            assert not frame.is_moving
        (moving,) = module.capture(frames=[Settings(focus_mdpt=0, settled=False)])
        assert moving.is_moving
        assert moving.focus_mdpt > 1000


def test_an_exposure_takes_its_time(scene_url: SceneUrl) -> None:
    with lenslink.open(scene_url(scene="ramp", width=64, height=64)) as module:
        began = time.monotonic()
        one, two = module.capture(frames=[Settings(exposure_us=us) for us in (400_000, 200_000)])
        took = time.monotonic() - began
        assert took >= 0.6
        assert two.timestamp_us - one.timestamp_us >= 200_000
        assert two.interval_us == two.timestamp_us - one.timestamp_us
        assert one.interval_us == 0


def test_a_still_leaves_the_settings_of_a_preview(scene_url: SceneUrl) -> None:
    with lenslink.open(scene_url(scene="ramp", width=64, height=64)) as module:
        with closing(module.stream(exposure_us=3000, gain_milli=2000)) as frames:
            next(frames).release()
            with module.capture(exposure_us=7000, gain_milli=5000, aperture_milli=4000) as still:
                assert (still.exposure_us, still.gain_milli, still.aperture_milli) == (
                    7000,
                    5000,
                    4000,
                )
            for frame in (next(frames), next(frames), next(frames)):
                assert (frame.exposure_us, frame.gain_milli) == (3000, 2000)
        # A still that asks for nothing has what the still before it had.
        with module.capture() as still:
            assert asked(still) == (7000, 5000, 4000)


def test_a_still_beside_a_preview_has_the_lens_and_the_iris(scene_url: SceneUrl) -> None:
    """The preview wants both elsewhere. It waits, and then goes on with its own settings."""
    asked_of_preview = {"exposure_us": 3000, "focus_mdpt": 300, "aperture_milli": 1400}
    url = scene_url(scene="ramp", width=64, height=64)
    with lenslink.open(url) as module, closing(module.stream(**asked_of_preview)) as frames:
        next(frames).release()
        for focus_mdpt, aperture_milli in ((2000, 4000), (900, 1400), (300, 5600)):
            still = module.capture(focus_mdpt=focus_mdpt, aperture_milli=aperture_milli)
            with still:
                assert not still.metadata.is_moving and not still.metadata.is_adjusted
                assert still.aperture_milli == aperture_milli
                assert abs(still.focus_mdpt - focus_mdpt) <= 4
            for _ in range(3):
                with next(frames) as frame:
                    assert frame.aperture_milli == 1400


def test_a_running_stream_takes_settings_by_the_frame(scene_url: SceneUrl) -> None:
    """The pixels prove that each frame has the settings announced for its number."""
    pairs = [(2000, 1000), (4000, 2000), (1000, 4000), (8000, 1000), (500, 1500)]
    firsts = [0]
    rates: list[float] = []
    held = 0
    url = scene_url(scene="photo", width=128, height=96)
    with lenslink.open(url) as module, closing(module.stream(exposure_us=2000)) as frames:
        for frame in frames:
            with frame:
                held = max(at for at, first in enumerate(firsts) if frame.number >= first)
                exposure_us, gain_milli = pairs[held]
                assert (frame.exposure_us, frame.gain_milli) == (exposure_us, gain_milli)
                rates.append(light_of(frame) / (exposure_us * gain_milli))
            if len(firsts) < len(pairs):
                exposure_us, gain_milli = pairs[len(firsts)]
                first = module.set(exposure_us=exposure_us, gain_milli=gain_milli)
                assert first > frame.number
                firsts.append(first)
            elif frame.number > firsts[-1] + 1:
                break
    assert held == len(pairs) - 1
    assert max(rates) / min(rates) < 1.04, rates


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"gain_milli": 999}, "gain_milli=999 is out of range: the module takes 1000 to"),
        ({"focus_mdpt": 99_000}, "focus_mdpt=99000 is out of range: the module takes 0 to 3300"),
        ({"aperture_milli": 1000}, "aperture_milli=1000 is out of range: the module takes 1400 to"),
    ],
)
def test_a_value_beyond_the_modules_range_is_not_sent(
    lens: lenslink.Device, settings: dict[str, Any], text: str
) -> None:
    before = lens._session.link.next_request_id
    for call in (
        lambda: lens.capture(**settings),
        lambda: lens.capture(frames=[Settings(), Settings(**settings)]),
        lambda: lens.start(**settings),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value).startswith(text)
    assert lens._session.link.next_request_id == before


@pytest.mark.parametrize("frames", [[], [Settings()] * 17, ["no"], "no", 3])
def test_a_bracket_is_1_to_16_settings(lens: lenslink.Device, frames: Any) -> None:
    with pytest.raises(UsageError, match="frames"):
        lens.capture(frames=frames)


def test_the_controls_of_a_module(lens: lenslink.Device) -> None:
    names = ["exposure_us", "gain_milli", "focus_mdpt", "aperture_milli", "settled"]
    assert list(lens.controls) == [*names, "roi_x", "roi_y"]
    gain = lens.controls["gain_milli"]
    assert (gain.name, gain.unit, gain.default, gain.step) == ("gain_milli", "1/1000", 1000, 1)
    assert gain.minimum == 1000 < gain.maximum


def test_the_command_line_lists_controls(cli: Cli, scene_url: SceneUrl) -> None:
    url = scene_url(scene="ramp", width=64, height=64)
    run = cli.run("controls", url, "--json")
    found = json.loads(run.stdout)
    assert found["schema"] == "lenslink.controls/1"
    assert [each["name"] for each in found["controls"]][:2] == ["exposure_us", "gain_milli"]
    table = cli.run("controls", url).stdout.splitlines()
    assert table[0].split() == ["NAME", "UNIT", "MINIMUM", "MAXIMUM", "STEP", "DEFAULT"]
    assert len(table) == 8


def test_the_command_line_writes_a_bracket(cli: Cli, scene_url: SceneUrl, tmp_path: Path) -> None:
    url = scene_url(scene="ramp", width=64, height=64)
    run = cli.run(
        "capture", url, "-o", str(tmp_path / "hdr.npy"), "--json",
        "--bracket", "exposure=1ms,4ms,16ms", "--bracket", "aperture=1.4,2.8,f/5.6",
    )  # fmt: skip
    found = json.loads(run.stdout)
    taken = [(each["exposure_us"], each["aperture_milli"]) for each in found["frames"]]
    assert taken == [(1000, 1400), (4000, 2800), (16_000, 5600)]
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".npy")
    assert names == ["hdr-1.npy", "hdr-2.npy", "hdr-3.npy"]
    assert len({each["number"] for each in found["frames"]}) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--bracket", "iso=1,2"], "is no bracket"),
        (["--bracket", "gain="], "is no bracket"),
        (["--bracket", "gain=1,x"], "is not a gain"),
        (["--bracket", "gain=1,2", "--bracket", "focus=1"], "do not go together"),
        (["--bracket", "gain=1,2", "--bracket", "gain=1,3"], "named twice"),
        (["--bracket", "gain=" + ",".join(["1"] * 17)], "more than 16"),
    ],
)
def test_a_wrong_bracket_takes_no_picture(cli: Cli, options: list[str], text: str) -> None:
    run = cli.run("capture", "sim:", *options)
    assert run.returncode == 2
    assert text in run.stderr
