"""The plugin as people use it: what a failed test leaves, quarantine, requires(), and workers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.inner_pytest import InnerPytest
from helpers.slowdown import patience

from lenslink_hil.plugin.rig_outcomes import EXIT_RIG
from lenslink_hil.recording.lcap import load

SIM = "sim:?scene=ramp&width=64&height=64"
TESTS = """
import pytest
from lenslink import RigError

def test_passes(lens, lens_board, seed):
    lens.start(); lens.next_frame().release()

def test_is_stopped_and_reset(lens):
    assert lens.configuration() is None
    lens.capture().release()

def test_fails(lens):
    with lens.capture(exposure_us=8000) as frame:
        assert frame.exposure_us == 8001, f"exposure {frame.exposure_us}"

def test_is_known_to_fail(lens):
    assert False, "loose lens"

@pytest.mark.requires("focus", "mode:full", board="sim")
def test_has_focus(lens):
    pass

@pytest.mark.requires(transport="usb")
def test_needs_usb(lens):
    pass

@pytest.mark.requires("mode:panorama")
def test_needs_a_mode(lens):
    pass

def test_knows_the_world(lens, lens_plant):
    assert lens_plant.request_report()

def test_over_a_new_connection(lens_fresh):
    lens_fresh.capture().release()

@pytest.fixture(scope="module")
def darkest(lens_begin):
    with lens_begin().capture(exposure_us=100) as frame:
        return frame.exposure_us

def test_uses_what_a_wider_fixture_has_measured(darkest, lens):
    assert darkest == 100
    assert lens.configuration() is None

def test_has_no_power_switch(lens_power):
    pass
"""
QUARANTINE = """
[[quarantine]]
test = "*::test_is_known_to_fail"
reason = "the lens is loose"
owner = "ana"
expires = 2999-01-01
"""


def test_a_run_is_reported_and_its_failure_can_be_replayed(tmp_path: Path) -> None:
    home = tmp_path / "my tests"
    home.mkdir()
    (home / "quarantine.toml").write_text(QUARANTINE)
    run = InnerPytest(home, TESTS, "--lens", SIM, "--lens-quarantine", "quarantine.toml")
    assert run.wait() == pytest.ExitCode.TESTS_FAILED, run.text
    assert run.outcomes() == {
        "test_passes": "passed",
        "test_is_stopped_and_reset": "passed",
        "test_fails": "failure",
        "test_is_known_to_fail": "skipped",
        "test_has_focus": "passed",
        "test_needs_usb": "skipped",
        "test_needs_a_mode": "skipped",
        "test_knows_the_world": "passed",
        "test_over_a_new_connection": "passed",
        "test_uses_what_a_wider_fixture_has_measured": "passed",
        "test_has_no_power_switch": "error",
    }
    lines = run.text.splitlines()
    assert "1 failed, 6 passed, 2 skipped, 1 quarantined, 1 rig-error" in run.text
    assert any("test_is_known_to_fail failed: the lens is loose (ana, until" in x for x in lines)
    assert "NOT RUN: 1 test: requires transport usb; this is sim" in lines
    assert "NOT RUN: 1 test: requires mode:panorama: the module has none" in lines
    assert sum("--lens-seed=" in line and line.startswith("lens: ") for line in lines) == 1
    assert "one worker process, so that a test that hangs can be killed" in run.text
    properties = run.properties("test_passes")
    assert {"lens_serial", "lens_firmware", "lens_link", "lens_board"} <= set(properties)

    # One recording for each failure; none is left of tests that passed.
    recordings = {path.name.split("-")[3]: path for path in (home / "out/evidence").iterdir()}
    assert set(recordings) == {"test_fails", "test_is_known_to_fail"}
    files = load(recordings["test_fails"]).files
    facts = json.loads(files["test.json"])
    assert "exposure 8000" in facts["message"]
    assert facts["lens_firmware"] == properties["lens_firmware"]
    assert "PATH" not in facts

    # In another folder, with the command that was printed, and without a rig.
    (command,) = (line for line in lines if line.startswith("pytest ") and "test_fails-" in line)
    other = tmp_path / "elsewhere"
    other.mkdir()
    words = shlex.split(command)
    replayed = subprocess.run(
        [sys.executable, "-m", *words, "-p", "no:cacheprovider", "-p", "no:timeout"],
        cwd=other,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert replayed.returncode == pytest.ExitCode.TESTS_FAILED, replayed.stdout
    assert "AssertionError: exposure 8000" in replayed.stdout


def test_an_expired_quarantine_and_a_wrong_time_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text(QUARANTINE.replace("2999", "2020"))
    run = InnerPytest(tmp_path, TESTS, "--lens-quarantine", "old.toml")
    assert run.wait() == pytest.ExitCode.USAGE_ERROR
    assert "entry 1 expired on 2020-01-01" in run.text
    run = InnerPytest(tmp_path, TESTS, "--lens-wait", "soon")
    assert run.wait() == pytest.ExitCode.USAGE_ERROR
    assert "--lens-wait: 'soon' is no time such as 90s" in run.text


def test_several_boards_have_a_worker_each_and_one_seed(tmp_path: Path) -> None:
    tests = (
        "import os\n"
        "def test_one(lens_board, seed): print('ran', seed, lens_board.name)\n"
        "def test_two(lens_board, seed): print('ran', seed, lens_board.name)\n"
    )
    run = InnerPytest(
        tmp_path, tests, "--lens", "unix:/a/lens", "--lens", "unix:/b/lens", "-rA",
        "--lens-seed", "77",
    )  # fmt: skip
    # lens_board needs no open module: a lock is enough.
    assert run.wait() == 0, run.text
    assert "2 workers" in run.text
    assert sum("ran 77 unix:/" in line for line in run.text.splitlines()) == 2


def test_a_rig_error_exits_with_11_and_a_failure_beside_it_with_1(tmp_path: Path) -> None:
    rig = "from lenslink import RigError\ndef test_rig(): raise RigError('the box is open')\n"
    run = InnerPytest(tmp_path, rig)
    assert run.wait() == EXIT_RIG
    assert "RIG ERROR: 1 test: the box is open" in run.text
    assert run.outcomes() == {"test_rig": "error"}
    run = InnerPytest(tmp_path, rig + "def test_fails(): assert False\n")
    assert run.wait() == pytest.ExitCode.TESTS_FAILED
    assert run.outcomes() == {"test_rig": "error", "test_fails": "failure"}
