"""A runner of CI jobs for tests: it runs the steps of a recipe in a folder."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import yaml

from .slowdown import patience

RECIPES = Path(__file__).resolve().parents[2] / "hil/ci"
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

    def __init__(self, folder: Path, runtime: Path, tests: str) -> None:
        self.folder = folder / "a checkout"
        programs = folder / "programs"
        for path in (self.folder, programs):
            path.mkdir()
        for name, text in (("python3", PYTHON3), ("pip", PIP)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (self.folder / "test_module.py").write_text(tests)
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

    def run(self, script: str, status: int = 0, **more: str) -> str:
        """Run a step, as GitHub and GitLab do: in bash, which ends at the first failure.

        Returns what it printed. Its exit code has to be *status*.
        """
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
        assert done.returncode == status, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


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
