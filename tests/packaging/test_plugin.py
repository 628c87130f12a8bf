"""The plugin, in a pytest of its own: a skip is never hidden, a named bench has to be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.slowdown import patience

from lenslink_hil.plugin.rig_outcomes import EXIT_RIG

TESTS = """
import pytest

def test_passes(seed):
    print("seed is", seed)

@pytest.mark.parametrize("n", [1, 2])
def test_needs_a_tool(n):
    pytest.skip("sometool is not on PATH")

@pytest.mark.skip(reason="needs a board")
def test_needs_a_board():
    pass

def test_needs_a_bench(lens):
    assert lens.manifest.serial
"""


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Exit status, and the lines that were printed."""
    return run_python(folder, "-m", "pytest", *arguments, **environment)


def run_python(folder: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    (folder / "test_sample.py").write_text(TESTS)
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LENSLINK", "MICRO"))
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    return done.returncode, [line for line in (done.stdout + done.stderr).splitlines() if line]


def test_what_did_not_run_is_said_last(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "-k", "not bench")
    assert status == 0
    assert "NOT RUN" in lines[-4]
    assert lines[-3:-1] == [
        "NOT RUN: 2 tests: sometool is not on PATH",
        "NOT RUN: 1 test: needs a board",
    ]
    assert "1 passed, 3 skipped" in lines[-1]


def test_nothing_is_said_when_all_ran(tmp_path: Path) -> None:
    _, lines = run(tmp_path, "-k", "passes")
    assert not [line for line in lines if "NOT RUN" in line]


def test_the_seed_is_printed_and_can_be_given(tmp_path: Path) -> None:
    _, lines = run(tmp_path, "-k", "passes", "-s")
    (header,) = (line for line in lines if line.startswith("lens: "))
    assert header.startswith("lens: sim: (default); to repeat this run: --lens-seed=")
    again = header.rpartition("=")[2]
    assert any(f"seed is {again}" in line for line in lines)

    _, lines = run(tmp_path, "-k", "passes", "-s", f"--lens-seed={again}")
    assert any(f"seed is {again}" in line for line in lines)
    _, lines = run(tmp_path, "-k", "passes", "-s", LENSLINK_TEST_SEED="77")
    assert any("seed is 77" in line for line in lines)
    status, lines = run(tmp_path, LENSLINK_TEST_SEED="seven")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert lines[-1].endswith("LENSLINK_TEST_SEED=seven is not a whole number")


def test_a_bench_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "-k", "bench", "--lens", "unix:/nowhere/lens")
    assert status == EXIT_RIG
    (line,) = (line for line in lines if line.startswith("RIG ERROR: "))
    assert "board unix:/nowhere/lens is lost (unix:/nowhere/lens: No such file" in line


def test_the_environment_can_name_the_bench(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "-k", "bench", LENSLINK_URL="nosuch:")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert any(line.startswith("lens: nosuch: (LENSLINK_URL);") for line in lines)
    assert any(line.startswith("LENSLINK_URL nosuch:: unknown device URL") for line in lines)
    # The option wins over the environment.
    _, lines = run(tmp_path, "-k", "passes", "--lens", "sim:", LENSLINK_URL="nosuch:")
    assert any(line.startswith("lens: sim:;") for line in lines)


def test_a_bench_that_is_missing_is_reported_once_a_test(tmp_path: Path) -> None:
    _, lines = run(tmp_path, "-k", "bench", "--lens", "nosuch:")
    assert sum(line.startswith("--lens nosuch:: unknown device URL") for line in lines) == 1
    assert not any("During handling" in line for line in lines)


def test_a_micropython_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    status, lines = run(tmp_path, "-k", "bench", MICROPYTHON="/nowhere/micropython")
    assert status == EXIT_RIG
    assert any("/nowhere/micropython cannot be run" in line for line in lines)


def test_without_a_micropython_the_bench_is_skipped(tmp_path: Path) -> None:
    code = (
        "import shutil, sys, pytest\n"
        "which, shutil.which = shutil.which, lambda n, *a, **k: "
        "None if n == 'micropython' else which(n, *a, **k)\n"
        "sys.exit(pytest.main(['-k', 'bench', 'test_sample.py']))"
    )
    status, lines = run_python(tmp_path, "-c", code)
    assert status == 0
    assert lines[-2].startswith("NOT RUN: 1 test: no micropython found")
