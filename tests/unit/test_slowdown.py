"""Time limits of tests are stretched by a slowdown, which is measured, bounded and handed on."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from helpers import slowdown

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def anew(monkeypatch):
    """Measure again, as a process that has just started; the run's own figure stays as it was."""
    monkeypatch.delenv(slowdown.VARIABLE, raising=False)
    monkeypatch.delenv(f"{slowdown.VARIABLE}_MEASURED", raising=False)
    measured = slowdown.slowdown.__wrapped__
    monkeypatch.setattr(slowdown, "slowdown", measured)
    return measured


@pytest.mark.parametrize(
    ("loop", "load", "cores", "stretched"),
    [
        (0.4, 0.5, 2, 10),  # a quiet machine, and a faster one than the reference
        (4.6, 1.0, 2, 46),  # the load has only begun: the loop knows
        (1.1, 9.0, 2, 45),  # the load pauses just now: the average knows
        (90.0, 3.0, 2, 200),
    ],
)
def test_what_is_measured(anew, monkeypatch, loop, load, cores, stretched):
    monkeypatch.setattr(slowdown, "measure_loop", lambda: loop)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert slowdown.patience(10) == pytest.approx(stretched)
    # Processes that are started from now on need not measure it.
    assert float(os.environ[slowdown.VARIABLE]) == pytest.approx(stretched / 10)


@pytest.mark.parametrize(("text", "factor"), [("1", 1.0), ("7.5", 7.5), ("0.1", 1.0), ("99", 20.0)])
def test_a_slowdown_that_is_given_is_not_measured(anew, monkeypatch, text, factor):
    monkeypatch.setenv(slowdown.VARIABLE, text)
    monkeypatch.setattr(slowdown, "measure_loop", None)
    assert anew() == factor


@pytest.mark.parametrize(("given", "now"), [(None, 4.5), ("2", 2.0)])
def test_a_load_that_grows_during_the_run(anew, monkeypatch, given, now):
    if given:
        monkeypatch.setenv(slowdown.VARIABLE, given)
    monkeypatch.setattr(slowdown, "measure_loop", lambda: 2.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0))
    assert slowdown.current_slowdown() == 2.0
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 0.0, 0.0))
    assert slowdown.current_slowdown() == now
    assert anew() == 2.0


@pytest.mark.parametrize(
    ("given", "workers", "stretched"),
    [(None, 0, 3.0), (None, 2, 3.0), (None, 4, 6.0), (None, 20, 20.0), ("2", 4, 2.0)],
)
def test_workers_that_share_a_core(anew, monkeypatch, given, workers, stretched):
    if given:
        monkeypatch.setenv(slowdown.VARIABLE, given)
    monkeypatch.setattr(slowdown, "slowdown", cache(anew))
    monkeypatch.setattr(slowdown, "measure_loop", lambda: 3.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0))
    assert slowdown.share_cores(workers) == stretched
    # Workers inherit it.
    assert float(os.environ[slowdown.VARIABLE]) == stretched


def test_a_slowdown_that_is_no_number_is_refused(anew, monkeypatch):
    monkeypatch.setenv(slowdown.VARIABLE, "slow")
    with pytest.raises(pytest.UsageError, match="LENSLINK_TEST_SLOWDOWN=slow is not a number"):
        anew()


def test_the_loop_takes_time():
    assert slowdown.measure_loop() > 0.1


@pytest.mark.parametrize(("factor", "outcome"), [("1", "1 failed"), ("20", "1 passed")])
def test_the_time_limit_of_a_test_is_stretched(tmp_path, factor, outcome):
    (tmp_path / "test_slow.py").write_text("import time\n\ndef test_slow():\n    time.sleep(0.5)\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LENSLINK"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "helpers.run_hooks",
            "--timeout=0.2",
            "test_slow.py",
        ],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(TESTS), slowdown.VARIABLE: factor},
        capture_output=True,
        text=True,
        timeout=slowdown.patience(60),
        check=False,
    )
    assert f" {outcome} in " in done.stdout.splitlines()[-1]
    assert f"time limits: times {float(factor):.1f}" in done.stdout
