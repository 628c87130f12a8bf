"""Run MicroPython for tests, with the firmware and this folder on its path."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

import lensfw
from helpers.slowdown import patience
from lenslink.errors import RigError
from lenslink_hil.benches.micropython import find_micropython

TESTS = Path(__file__).resolve().parents[1]
FIRMWARE = Path(lensfw.__file__).resolve().parent
_RUN_S = patience(60.0)


def interpreter() -> str:
    """Return the path of a MicroPython. Skip without one; fail if MICROPYTHON is unusable."""
    try:
        return find_micropython().path
    except RigError as error:
        if os.environ.get("MICROPYTHON"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def environment(*folders: Path) -> dict[str, str]:
    """Return an environment in which MicroPython finds the firmware, these tests and *folders*."""
    paths = (*folders, FIRMWARE.parent, TESTS)
    return {"MICROPYPATH": ":".join(str(path) for path in paths)}


def run(*arguments: str | Path, heap: str = "8m", folders: tuple[Path, ...] = ()) -> str:
    """Run a script to its end and return its output. Fail if its exit code is not 0."""
    done = subprocess.run(
        [interpreter(), "-X", f"heapsize={heap}", *map(str, arguments)],
        env=environment(*folders),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"micropython ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Twin:
    """A MicroPython process that answers lines of JSON with ``helpers/twin.py``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [interpreter(), "-X", "heapsize=8m", TESTS / "helpers/twin.py"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, *question: object) -> object:
        """Return the answer of ``helpers/twin.py``; its exceptions as :exc:`RuntimeError`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        line = self._process.stdout.readline()
        assert line, "MicroPython has ended"
        error, answer = json.loads(line)
        if error:
            raise RuntimeError(error)
        return answer

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(_RUN_S)


@cache
def twin() -> Twin:
    """Return the twin process of this test run."""
    made = Twin()
    atexit.register(made.close)
    return made


@cache
def suite(name: str) -> dict[str, str]:
    """Run ``firmware/suites/NAME.py`` on MicroPython. Return each function's error, or ""."""
    text = run(TESTS / "helpers/suite_runner.py", f"suites.{name}", folders=(TESTS / "firmware",))
    return dict(json.loads(line) for line in text.splitlines())
