"""The CI recipes: each command in them is run, on sim: and on a simulated rig."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.ci_runner import RECIPES, Runner, list_scripts, list_steps, normalise
from helpers.nightly_scale import NIGHTLY
from helpers.rig_harness import RigHarness
from helpers.slowdown import patience

from lenslink_hil.report.report_document import describe_verdict
from lenslink_hil.report.report_reader import read_report

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / ".github/workflows/ci.yml"
TEST = """
def test_takes_a_preview(lens):
    lens.start()
    with lens.next_frame() as frame:
        assert frame.status.value == "complete"
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose path has at most 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        yield Path(folder)


@pytest.fixture
def runner(tmp_path: Path, short_folder: Path) -> Runner:
    return Runner(tmp_path, short_folder, TEST)


def test_gitlab_runs_what_github_runs_on_sim(runner: Runner) -> None:
    # test_run_report.py runs the steps for GitHub. Only what is around them differs.
    steps = normalise("\n".join(list_steps("github-sim.yml", "sim")))
    for script in list_scripts("sim"):
        for command in normalise(script):
            if command.startswith(("pytest", "lenslink")):
                assert command in steps
                script = script.replace(command, ":")  # noqa: PLW2901
        runner.run(script)
    assert runner.pip_log.read_text() == "install lenslink pytest pytest-xdist\n"


def test_the_recipes_for_a_rig_run(
    runner: Runner, tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list_steps("github-rig.yml", "rig")
    if not NIGHTLY:
        # Every word is checked, and no board is asked. test_rig_doctor.py and test_hil_plugin.py
        # run what these commands do.
        for step in [each for each in steps if each not in list_steps("github-sim.yml", "sim")]:
            step = step.replace("pytest ", "pytest --collect-only ")  # noqa: PLW2901
            runner.run(re.sub(r"^lenslink (.*?)( >>.*)?$", r"lenslink \1 --help", step, flags=re.M))
    else:
        # The boards, which are in this process, are found by the same locks.
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(short_folder))
        rig = short_folder / "rig"
        rig.mkdir()
        with RigHarness(rig, ["left"]) as harness:
            for step in steps:
                runner.run(step, LENSLINK_RIG=str(harness.file))
        report = read_report(runner.folder / "out/report.json")
        assert describe_verdict(report) == "Passed: 1 test on 1 board."
        assert (runner.folder / "out/report.html").read_text().startswith("<!doctype html>")
    lines = [line for step in steps for line in normalise(step)]
    for line in normalise("\n".join(list_scripts("rig"))):
        is_around = line.startswith(("python3", ". .venv", "pip install"))
        assert is_around or line in lines, line


def test_every_command_of_a_recipe_is_in_the_document() -> None:
    text = (ROOT / "hil/README.md").read_text(encoding="utf-8")
    for path in RECIPES.glob("*.yml"):
        assert f"(ci/{path.name})" in text


def test_our_own_workflow_runs_what_is_there() -> None:
    jobs = yaml.safe_load(OWN.read_text(encoding="utf-8"))["jobs"]
    assert jobs["systems"]["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": ["3.11", "3.12", "3.13"],
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert steps[0] == ".ci/run"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for step in steps:
        subprocess.run(["/bin/bash", "-n", "-c", step], check=True, timeout=patience(10))
        for name in re.findall(r"\[(\w+)\]", step):
            assert name in project["optional-dependencies"]
        for name in re.findall(r"requirements\.lock|tests/\w+", step):
            assert (ROOT / name).exists()
