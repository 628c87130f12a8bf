"""A module with another lens works without a change of code."""

from __future__ import annotations

import json
import subprocess

import pytest
import rawpy
from helpers.cli_process import Cli
from helpers.slowdown import patience

import lenslink
from lenslink.errors import UsageError
from lenslink_hil.conformance.live import run_modules
from lenslink_hil.conformance.verdicts import FAILED, list_module_cases

URL = "sim:?module=ll-85&scene=edges&width=320&seed=2"
CLAUSES = {"M-SET-2", "M-SET-4", "M-CAL-1", "M-CAL-2", "M-MANIFEST-2"}


def test_controls_brackets_and_calibrations():
    with lenslink.open(URL) as module:
        assert module.manifest.model == "LL-85"
        assert module.manifest.optics.focal_um == 85_000
        others = {"exposure_us", "gain_milli", "aperture_milli", "settled"}
        assert set(module.controls) == others | {"roi_x", "roi_y"}
        assert module.manifest.focus == ()
        with pytest.raises(UsageError, match="no such control"):
            module.capture(focus_mdpt=100)
        steps = [lenslink.Settings(exposure_us=us) for us in (1000, 4000)]
        frames = module.capture(frames=steps)
        assert [frame.exposure_us for frame in frames] == [1000, 4000]
        assert frames[1].number == frames[0].number + 1
        assert {(f.cfa, f.focus_mdpt, f.aperture_milli) for f in frames} == {("GBRG", 500, 2800)}
        assert frames[0].pixels.mean() < frames[1].pixels.mean()
        assert module.calibration.gain_map.gain.shape[:2] == (1, 1)
        assert module.calibration.distortion.radial.tolist() == [1, 0.01, 0, 0]
        received = module.stats.bytes
        assert module.calibration.gain_map is not None
        assert module.stats.bytes == received, "it is read once"
        for frame in frames:
            frame.release()


def test_a_dng_has_its_lens_and_its_phase(tool, tmp_path):
    path = tmp_path / "portrait.dng"
    with Cli(tmp_path) as cli:
        done = cli.run("capture", URL, "-o", str(path))
    assert done.returncode == 0, done.stderr
    with rawpy.imread(str(path)) as raw:
        colours = [chr(raw.color_desc[raw.raw_color(y, x)]) for y in (0, 1) for x in (0, 1)]
        assert "".join(colours) == "GBRG"
    command = [tool("exiftool"), "-j", "-n", "-a", "-validate", "-all", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    (tags,) = json.loads(found.stdout)
    assert (tags["FocalLength"], tags["FNumber"], tags["LensModel"]) == (85, 2.8, "LL-85")
    assert tags["SubjectDistance"] == 2
    assert {"NoiseProfile", "OpcodeList2", "OpcodeList3", "ColorMatrix2"} <= tags.keys()
    assert tags["Validate"].split()[0] == "0", "errors, warnings"
    assert tags["Validate"].split()[1] == "0"


def test_it_conforms():
    """A sample of the cases: those of what this module lacks, and of its calibrations."""
    cases = [case for case in list_module_cases() if CLAUSES & set(case.clauses)]
    verdicts = list(run_modules(URL, cases, None, patience(20)))
    assert {each.clause for each in verdicts} >= CLAUSES
    assert [each for each in verdicts if each.verdict == FAILED] == []
