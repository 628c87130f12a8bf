"""Camera tests find a module that is no camera, and pass one that is.

The module is the firmware in front of the plant's camera, in this process and on virtual time.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from helpers.attach_harness import install
from helpers.camera_lens import CameraLens, scale_light
from helpers.nightly_scale import choose

import lenslink
from lenslink.cli.main import main
from lenslink_hil.camera_tests.camera_run import list_camera_cases, run_camera_tests
from lenslink_hil.conformance.run_info import RunInfo
from lenslink_hil.conformance.verdicts import ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED

CASES = {case.name: case for case in list_camera_cases()}
FLICKER_HZ = 1000


class UnevenExposure(CameraLens):
    """Exposes a little more than it reports, the more the longer."""

    def expose(self, number, mode, applied, crop):
        longer = round(applied.exposure_us**1.1)
        return super().expose(number, mode, replace(applied, exposure_us=longer), crop)


class EndOfGain(CameraLens):
    """Has no more gain than 5, and reports what it was asked for."""

    def expose(self, number, mode, applied, crop):
        gain = min(applied.gain_milli, 5000)
        return super().expose(number, mode, replace(applied, gain_milli=gain), crop)


class OneGainForABurst(CameraLens):
    """Keeps the gain of the first frame of a burst."""

    gain = 0

    def expose(self, number, mode, applied, crop):
        if self.frame_index == 0:
            self.gain = applied.gain_milli
        return super().expose(number, mode, replace(applied, gain_milli=self.gain), crop)


class LateInABracket(CameraLens):
    """Exposes a frame of a bracket as the one before was to be."""

    exposure = 0

    def expose(self, number, mode, applied, crop):
        is_later = self.stream == lenslink.STILL and self.frame_index
        late = self.exposure if is_later else applied.exposure_us
        self.exposure = applied.exposure_us
        return super().expose(number, mode, replace(applied, exposure_us=late), crop)


class Breathing(CameraLens):
    """Changes its brightness by 2.5 % from frame to frame."""

    def expose(self, number, mode, applied, crop):
        return scale_light(super().expose(number, mode, applied, crop), 1 - 0.025 * (number % 2))


class LateInAStream(CameraLens):
    """Applies the settings of a stream one frame late."""

    exposure = 0

    def expose(self, number, mode, applied, crop):
        late = self.exposure if self.stream != lenslink.STILL and self.frame_index else 0
        self.exposure = applied.exposure_us
        late = late or applied.exposure_us
        return super().expose(number, mode, replace(applied, exposure_us=late), crop)


class StuckIris(CameraLens):
    """Reports every f-number, and never leaves f/1.4."""

    def expose(self, number, mode, applied, crop):
        return super().expose(number, mode, replace(applied, aperture_milli=1400), crop)


class Bent(CameraLens):
    """Has a response that is bent by 4 % in the middle."""

    def expose(self, number, mode, applied, crop):
        rows = super().expose(number, mode, applied, crop)
        light = np.clip((rows.astype(np.float32) - 256) / 3839, 0, 1)
        bent = light + 0.16 * light * (1 - light)
        return np.clip(np.rint(bent / 1.04 * 3839 + 256), 0, 4095).astype(np.uint16)


class WrongBlack(CameraLens):
    """Reports a black level that is too low."""

    def _configure(self):
        config = super()._configure()
        return config | {"sensor": config["sensor"] | {"black": [248.0] * 4}}


class HidesNoise(CameraLens):
    """Reports two thirds of its noise."""

    def _configure(self):
        config = super()._configure()
        noise = [each * 2 // 3 for each in config["sensor"]["noise"]]
        return config | {"sensor": config["sensor"] | {"noise": noise}}


class UnsteadyFrames(CameraLens):
    """Begins its readouts up to 60 ms late."""

    def __init__(self, clock):
        self.random = random.Random(7)
        super().__init__(clock)

    def delay_readout(self):
        return self.random.randrange(60_000)


class Flickering(CameraLens):
    """Is good, and sees light that flickers."""

    options: ClassVar = {"flicker": FLICKER_HZ}


class WrongRowTime(Flickering):
    """Reports a row time that is a tenth too short."""

    def _configure(self):
        config = super()._configure()
        row_time_ns = config["sensor"]["row_time_ns"] * 9 // 10
        return config | {"sensor": config["sensor"] | {"row_time_ns": row_time_ns}}


class ShiftedRegion(CameraLens):
    """Reads a region two pixels beside the one that it reports."""

    def expose(self, number, mode, applied, crop):
        x = crop.x - 2 if crop.x else crop.x
        return super().expose(number, mode, applied, crop._replace(x=x))


class Backlash(CameraLens):
    """Has a gear with more backlash than its firmware takes up."""

    backlash_mdpt = 900


class LateLens(CameraLens):
    """Says that the lens has settled when it still stands where it was."""

    position = 0

    def expose(self, number, mode, applied, crop):
        late, self.position = self.position, applied.focus_mdpt
        return super().expose(number, mode, replace(applied, focus_mdpt=late), crop)


class WhiteTooLow(CameraLens):
    """Reports a white level that some of its pixels exceed."""

    def expose(self, number, mode, applied, crop):
        rows = super().expose(number, mode, applied, crop).copy()
        rows[3, 5] = 4095
        return rows

    def _configure(self):
        config = super()._configure()
        return config | {"sensor": config["sensor"] | {"white": 4000}}


EXPOSURES = {
    "exposure_is_applied", "bracket_keeps_its_order", "change_comes_with_its_frame",
    "response_is_linear", "black_level_is_right",
}  # fmt: skip
BROKEN = {
    "exposure_is_applied": (UnevenExposure, EXPOSURES | {"iris_is_applied"}),
    "gain_is_applied": (EndOfGain, {"black_level_is_right"}),
    "sensitivity_follows_in_a_burst": (OneGainForABurst, set()),
    "bracket_keeps_its_order": (LateInABracket, set()),
    "exposure_stays_locked": (
        Breathing,
        EXPOSURES | {"noise_is_as_reported", "region_is_part_of_the_frame"},
    ),
    "change_comes_with_its_frame": (LateInAStream, set()),
    "iris_is_applied": (StuckIris, set()),
    "response_is_linear": (Bent, EXPOSURES | {"gain_is_applied", "noise_is_as_reported"}),
    "black_level_is_right": (WrongBlack, EXPOSURES | {"gain_is_applied"}),
    "noise_is_as_reported": (HidesNoise, {"region_is_part_of_the_frame"}),
    "frames_keep_their_interval": (UnsteadyFrames, set()),
    "row_time_is_right": (WrongRowTime, set(CASES)),  # nothing else is meant for such light
    "region_is_part_of_the_frame": (ShiftedRegion, set()),
    "focus_is_repeatable": (Backlash, {"autofocus_succeeds"}),
    "autofocus_succeeds": (LateLens, set()),
    "dng_says_what_was_reported": (WhiteTooLow, set()),
}


def test_every_test_has_a_broken_module():
    assert BROKEN.keys() == CASES.keys()


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run tests on a module of a class, and return the verdicts by name."""

    def run_tests(kind, names, flicker_hz=None):
        bay = install(monkeypatch, tmp_path)
        bay.plug("camera", kind(bay.clock))
        with lenslink.open("camera") as device:
            cases = [CASES[name] for name in names]
            info = RunInfo("a module")
            found = list(run_camera_tests(device, cases, info=info, flicker_hz=flicker_hz))
        assert info.module["serial"] == "CAMERA-1"
        return {each.case: each for each in found}

    return run_tests


def test_a_good_module_passes(run):
    found = run(CameraLens, CASES)
    assert {name: each for name, each in found.items() if each.verdict != PASSED} == {}
    assert all(each.detail for each in found.values())


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_module_fails(run, name, seed):
    """It fails its test; and a sample of those that have nothing to do with what is broken pass."""
    kind, related = BROKEN[name]
    others = sorted(CASES.keys() - related - {name})
    sample = random.Random(f"{seed} {name}").sample(
        others, choose(min(1, len(others)), len(others))
    )
    # What the test itself leaves behind, a moved lens for example, must not disturb the others.
    found = run(kind, [*sample, name], FLICKER_HZ if kind is WrongRowTime else None)
    assert found[name].verdict == FAILED, found[name]
    assert {each: found[each] for each in sample if found[each].verdict == FAILED} == {}


def test_the_bands_of_flickering_light_give_the_row_time(run):
    found = run(Flickering, ["row_time_is_right"], FLICKER_HZ)["row_time_is_right"]
    assert found.verdict == PASSED
    assert "show 12.49 us a row" in found.detail


def test_what_a_scene_cannot_show_is_not_run(run):
    class Dark(CameraLens):
        options: ClassVar = {"lux": 0}

    class Flat(CameraLens):
        options: ClassVar = {"scene": "flat", "lens": "off", "depth": None}

    found = run(Dark, ["gain_is_applied", "response_is_linear"])
    assert {each.verdict for each in found.values()} == {NOT_RUN}
    assert all("the scene is too dark" in each.detail for each in found.values())
    found = run(Flat, ["region_is_part_of_the_frame", "focus_is_repeatable"])
    assert found["region_is_part_of_the_frame"].verdict == NOT_RUN
    assert "the scene is flat" in found["region_is_part_of_the_frame"].detail
    # Nothing is known of a lens that is not there.
    assert found["focus_is_repeatable"].verdict == NOT_CLAIMED
    found = run(CameraLens, ["row_time_is_right"], FLICKER_HZ)["row_time_is_right"]
    assert (found.verdict, "no bands of 1000 Hz" in found.detail) == (NOT_RUN, True)


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run ``lenslink its`` on a module of a class, and return exit code and stdout."""

    def run_command(kind, *arguments):
        bay = install(monkeypatch, tmp_path)
        bay.plug("camera", kind(bay.clock))
        code = main(["its", "camera", *arguments])
        return code, capsys.readouterr().out

    return run_command


def test_the_command_prints_verdicts_and_writes_reports(command, tmp_path):
    page, results = tmp_path / "its.html", tmp_path / "its.xml"
    case = ["--case", "exposure_stays_locked"]
    code, out = command(CameraLens, *case, "--html", str(page), "--junit", str(results))
    assert code == 0
    assert out.startswith("passed      exposure_stays_locked: 8 frames are equally bright")
    assert "1 passed, 0 failed" in out
    text = page.read_text()
    assert "<h1>LensLink camera tests</h1>" in text
    assert CASES["exposure_stays_locked"].doc in text
    assert b'classname="its.module.exposure_stays_locked"' in results.read_bytes()
    assert b"<system-out>8 frames are equally bright" in results.read_bytes()
    # A report that exists is not overwritten, and that shows before the tests run.
    assert command(CameraLens, *case, "--html", str(page)) == (9, "")
    code, out = command(Breathing, *case, "--html", str(page), "--force")
    assert (code, out.split(":")[0]) == (7, "failed      exposure_stays_locked")
    assert "What is wrong" in page.read_text()


def test_the_command_prints_json_and_lists_its_tests(command):
    code, out = command(Breathing, "--case", "exposure_stays_locked", "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["summary"]["failed"]) == (7, "lenslink.its/1", 1)
    assert found["tests"][0]["test"] == "exposure_stays_locked"
    code, out = command(CameraLens, "--list", "--json")
    assert [each["case"] for each in json.loads(out)["cases"]] == list(CASES)
    code, out = command(CameraLens, "--list")
    assert len(out.splitlines()) == len(CASES)
    assert command(CameraLens, "--case", "no_such_case") == (2, "")
    assert command(CameraLens, "--flicker", "0") == (2, "")


def test_a_module_that_goes_away_leaves_tests_that_are_not_run(monkeypatch, tmp_path):
    class PulledOut(CameraLens):
        """Is pulled out while the second burst is read."""

        frames = 0

        def expose(self, number, mode, applied, crop):
            self.frames += self.frame_index > 0
            if self.frames > 8 and "camera" in bay.lenses:
                bay.pull("camera")
            return super().expose(number, mode, applied, crop)

    bay = install(monkeypatch, tmp_path)
    bay.plug("camera", PulledOut(bay.clock))
    names = ["exposure_stays_locked", "bracket_keeps_its_order", "gain_is_applied"]
    with lenslink.open("camera") as device:
        cases = [CASES[name] for name in names]
        found = list(run_camera_tests(device, cases, info=RunInfo("a module")))
    assert [each.verdict for each in found] == [PASSED, ERROR, NOT_RUN]
    assert found[2].detail == "the module does not answer any more"
