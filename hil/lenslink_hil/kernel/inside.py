"""Run suites in the guest, and write a line of JSON for each of them.

``python -m lenslink_hil.kernel.inside OUT SUITE...``, in the checkout. A suite is a transport and
the tests to run over it, such as ``usb:e2e``. The results go to ``OUT/results.jsonl``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from . import guest_boards
from .suite_results import read_results

URLS: Final = {"usb": "usb:", "serial": "serial:/dev/ttyACM0"}
# About 250 cases; a serial port in the guest takes a second for each.
_CONFORM_S: Final = 480.0
# A frame takes ten times as long in the guest: 200 ms instead of 20.
_TEST_S: Final = 120


def run_tests(transport: str, *paths: str) -> dict[str, Any]:
    """Run pytest with the guest's plugin; return the counts."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "tally"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "lenslink_hil.kernel.guest_plugin",
             # One process, for the board is plugged in once. Recordings would fill the memory.
             "-p", "no:xdist", "--lens-evidence", "none",
             "--lens", URLS[transport], "--tally", str(path), f"--timeout={_TEST_S}",
             "-v", "-rfE", "--tb=short", "--durations=40",
                "--color=no", "-p", "no:cacheprovider", *paths],
            check=False,
        )  # fmt: skip
        found = read_results(path)
    if done.returncode and not found["failed"]:
        found["failed"].append(f"pytest ended with {done.returncode}")
    return found


def run_conformance(url: str, *, all_cases: bool) -> dict[str, Any]:
    """Run ``lenslink conform module`` as a user does; return the counts."""
    command = [sys.executable, "-m", "lenslink", "conform", "module", "--json", url]
    if not all_cases:
        command.insert(-1, "--quick")
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


def main() -> None:
    """Read the command line and run the suites."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.kernel.inside")
    parser.add_argument("--all", action="store_true", help="run the slow tests and all cases")
    parser.add_argument("out", type=Path)
    parser.add_argument("suites", nargs="+")
    options = parser.parse_args()
    os.environ[guest_boards.VARIABLE] = "1"
    with (options.out / "results.jsonl").open("a", encoding="utf-8", buffering=1) as results:
        for suite in options.suites:
            transport, _, name = suite.partition(":")
            start = time.monotonic()
            if name == "conform":
                with contextlib.closing(guest_boards.Slot(cdc=transport == "serial")) as slot:
                    url = slot.plug(guest_boards.SCENE)
                    found = run_conformance(url, all_cases=options.all)
            else:
                # Transfers of every length go through a vendor interface of their own.
                more = ["--all"] if options.all else []
                if suite == "usb:kernel":
                    more += ["--transfers", "tests/e2e/test_usb_transfers.py"]
                found = run_tests(transport, f"tests/{name}", *more)
            found |= {"suite": suite, "seconds": round(time.monotonic() - start, 1)}
            results.write(json.dumps(found) + "\n")
            print(f"{suite}: {found}", flush=True)


if __name__ == "__main__":
    main()
