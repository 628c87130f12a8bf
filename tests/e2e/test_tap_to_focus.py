"""Tap to focus, the whole way: lens, motor, firmware, link, driver and search."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import lenslink
from lenslink_isp.focus.auto_focus import FocusState
from lenslink_isp.focus.tap import find_region, focus_at

# Two pixels of blur in the mode of 25 megapixels.
SHARP_MDPT = 7


def run_focus(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "lenslink", "focus", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_finds_the_focus():
    done = run_focus("sim:?scene=planes&seed=3&depth=1500", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == "lenslink.focus/1"
    assert found["state"] == "reached"
    assert abs(found["focus_mdpt"] - 1500) <= SHARP_MDPT
    assert found["evaluations"] <= 12


def test_a_grey_wall_has_no_focus():
    done = run_focus("sim:?scene=flat")
    assert done.returncode == 10
    assert len(done.stderr.splitlines()) == 1
    assert "nothing at that point" in done.stderr


def test_bad_points_and_modules_without_a_motor_are_refused():
    assert run_focus("sim:", "--at", "2,0").returncode == 2
    done = run_focus("sim:?module=ll-85&scene=planes")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no focus motor" in done.stderr


def test_a_point_is_focused_and_a_point_outside_is_refused():
    with lenslink.open("sim:?scene=planes&seed=3&depth=2200") as module:
        found = focus_at(module, 0.4, 0.6)
        assert found.state is FocusState.REACHED
        assert abs(found.focus_mdpt - 2200) <= SHARP_MDPT
        with pytest.raises(lenslink.UsageError, match="not in the picture"):
            focus_at(module, 1.5, 0.5)
        # The module can be used as before.
        with module.capture(focus_mdpt=found.focus_mdpt) as still:
            assert abs(still.focus_mdpt - 2200) <= SHARP_MDPT
        mode = module.manifest.modes[0]
    assert find_region(mode, 0, 1) == (0, mode.height - 256, 256, 256)
