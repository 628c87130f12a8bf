"""The CI recipes: each command in them is run, on sim: and on a simulated rig."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.nightly_scale import NIGHTLY
from helpers.rig_harness import RigHarness
from helpers.slowdown import patience

from lenslink_hil.report.report_document import State
from lenslink_hil.report.report_reader import read_report

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "hil/ci"
OWN = ROOT / ".github/workflows/ci.yml"
TEST = """
def test_takes_a_still(lens):
    lens.start()
    with lens.next_frame() as frame:
        assert frame.status.value == "complete"
"""
# Stand for what a runner has: a Python whose environments have LensLink already, and a pip that
# only notes what it is told.
PYTHON3 = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
cp "$(dirname "$0")/pip" "$3/bin/pip"
: > "$3/bin/activate"
"""
PIP = """#!/bin/sh
echo "$@" >> "$PIP_LOG"
"""


class Runner:
    """A folder with a test, in which the steps of a job run one after the other."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder = folder / "a checkout"
        programs = folder / "programs"
        for path in (self.folder, programs):
            path.mkdir()
        for name, text in (("python3", PYTHON3), ("pip", PIP)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (self.folder / "test_module.py").write_text(TEST)
        self.summary = folder / "summary.md"
        self.pip_log = folder / "pip.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LENSLINK_"))}
        self.environment = kept | {
            "PATH": f"{programs}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_PATH": str(folder / "github path"),
            "PIP_LOG": str(self.pip_log),
            "HOME": str(folder),
            "LENSLINK_RUNTIME_DIR": str(runtime),
        }

    def run(self, script: str, **more: str) -> None:
        """Run a step, as GitHub and GitLab do: in bash, which ends at the first failure."""
        done = subprocess.run(
            ["/bin/bash", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience(100),
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def read(name: str) -> Any:
    return yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))


def list_steps(name: str, job: str) -> list[str]:
    """Return the commands of a job of GitHub's."""
    return [step["run"] for step in read(name)["jobs"][job]["steps"] if "run" in step]


def list_scripts(job: str) -> list[str]:
    """Return the commands of a job of GitLab's: one shell, and another one for what follows."""
    recipe = read("gitlab.yml")
    found = recipe[recipe[job]["extends"]] | recipe[job]
    return ["\n".join(found["before_script"] + found["script"]), "\n".join(found["after_script"])]


def normalise(script: str) -> list[str]:
    """Return the lines of a script without blanks that mean nothing."""
    return [" ".join(line.split()) for line in script.splitlines() if line.strip()]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose path has at most 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        yield Path(folder)


@pytest.fixture
def runner(tmp_path: Path, short_folder: Path) -> Runner:
    return Runner(tmp_path, short_folder)


def check_results(runner: Runner) -> None:
    report = read_report(runner.folder / "out/report.json")
    assert report.state is State.FINISHED
    assert report.results
    assert (runner.folder / "out/junit.xml").stat().st_size > 100
    assert (runner.folder / "out/report.html").read_text().startswith("<!doctype html>")
    for line in runner.pip_log.read_text().splitlines():
        assert line == "install lenslink pytest pytest-xdist"


def test_the_recipes_for_sim_run(runner: Runner) -> None:
    for step in list_steps("github-sim.yml", "sim"):
        runner.run(step)
    assert runner.summary.read_text().startswith("**Passed: 1 test on 1 board.**")
    check_results(runner)
    # GitLab's job has the same commands. What is around them is run.
    test, after = list_scripts("sim")
    steps = normalise("\n".join(list_steps("github-sim.yml", "sim")))
    for script in (test, after):
        for command in normalise(script):
            if command.startswith(("pytest", "lenslink")):
                assert command in steps
                script = script.replace(command, ":")  # noqa: PLW2901
        runner.run(script)


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
        check_results(runner)
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
