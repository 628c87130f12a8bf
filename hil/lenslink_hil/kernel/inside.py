"""What runs in the guest: the suites over each transport, and a line of JSON for each of them.

``python -m lenslink_hil.kernel.inside OUT SUITE...``, in the checkout. A suite is a transport and
what is run over it, such as ``usb:e2e``. OUT gets ``results.jsonl``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from .bench import VARIABLE, Slot

# A stand-in for the product's sensor that one emulated CPU can receive: its scale.
SCALE: Final = {"scene": "prbs", "width": 128, "height": 96}
_CONFORM_S: Final = 150.0
# A frame that takes 20 ms elsewhere takes 200 here.
_TEST_S: Final = 60


class Tally:
    """pytest's plugin: runs what is for the bench, and counts the rest by its reason."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """What does not ask for the bench is the same everywhere: it runs on the host."""
        others = [each for each in items if not _uses_the_bench(each)]
        self.left_out["use no bench: run on the host"] += len(others)
        config.hook.pytest_deselected(items=others)
        items[:] = [each for each in items if _uses_the_bench(each)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
            self.left_out[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call":
            self.passed += 1
        if report.when == "call":
            self.notes += [f"{key}: {value}" for key, value in report.user_properties]

    def result(self) -> dict[str, Any]:
        """As JSON."""
        left_out = {reason: count for reason, count in self.left_out.most_common() if count}
        failed = sorted(set(self.failed))
        return {
            "passed": self.passed, "failed": failed, "left_out": left_out, "notes": self.notes,
        }  # fmt: skip


def _uses_the_bench(item: pytest.Item) -> bool:
    return bool({"lens_url", "kernel"} & set(getattr(item, "fixturenames", ())))


def run_tests(url: str, *paths: str) -> dict[str, Any]:
    """pytest in this process, on the bench at *url*."""
    tally = Tally()
    code = pytest.main(
        ["-q", "-rfE", "--lens", url, f"--timeout={_TEST_S}", "-p", "no:cacheprovider",
         "--tb=short", "--durations=8", *paths],
        plugins=[tally],
    )  # fmt: skip
    found = tally.result()
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        found["failed"].append(f"pytest ended with {code!r}")
    return found


def run_conformance(url: str) -> dict[str, Any]:
    """``lenslink conform module``, as a user types it."""
    command = [sys.executable, "-m", "lenslink", "conform", "module", "--json", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CONFORM_S, check=False)
    try:
        verdicts = json.loads(done.stdout)["verdicts"]
    except (ValueError, KeyError):
        return {"passed": 0, "failed": [done.stderr.strip()], "left_out": {}, "notes": []}
    bad = [each for each in verdicts if each["verdict"] in ("failed", "error")]
    claimed = sum(each["verdict"] == "not claimed" for each in verdicts)
    failed = [f"{each['clause']}: {each['detail']}" for each in bad]
    if done.returncode and not failed:
        failed = [done.stderr.strip() or f"exit code {done.returncode}"]
    return {
        "passed": sum(each["verdict"] == "passed" for each in verdicts),
        "failed": failed,
        "left_out": {"the module does not claim": claimed} if claimed else {},
        "notes": [],
    }


@contextlib.contextmanager
def plugged(transport: str) -> Iterator[str]:
    """A board of that kind, at the bench's scale; its URL."""
    slot = Slot(cdc=transport == "serial")
    try:
        yield slot.plug(SCALE)
    finally:
        slot.close()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.kernel.inside")
    parser.add_argument("out", type=Path)
    parser.add_argument("suites", nargs="+")
    options = parser.parse_args()
    os.environ[VARIABLE] = "1"
    with (options.out / "results.jsonl").open("a", encoding="utf-8", buffering=1) as results:
        for suite in options.suites:
            transport, _, name = suite.partition(":")
            began = time.monotonic()
            with plugged(transport) as url:
                if name == "conform":
                    found = run_conformance(url)
                else:
                    found = run_tests(url, f"tests/{name}")
            found |= {"suite": suite, "seconds": round(time.monotonic() - began, 1)}
            results.write(json.dumps(found) + "\n")
            print(f"{suite}: {found}", flush=True)


if __name__ == "__main__":
    main()
