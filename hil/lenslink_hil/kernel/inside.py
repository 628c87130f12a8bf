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
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from . import guest_boards
from .suite_results import read

URLS: Final = {"usb": "usb:", "serial": "serial:/dev/ttyACM0"}
_CONFORM_S: Final = 150.0
# A frame that takes 20 ms elsewhere takes 200 here.
_TEST_S: Final = 120


def run_tests(transport: str, *paths: str) -> dict[str, Any]:
    """pytest with the plugin of this bench."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "tally"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "lenslink_hil.kernel.guest_plugin",
             "--lens", URLS[transport], "--tally", str(path), f"--timeout={_TEST_S}",
             "-v", "-rfE", "--tb=short", "--durations=40",
                "--color=no", "-p", "no:cacheprovider", *paths],
            # Time limits here are the guest's own already.
            env={"LENSLINK_TEST_SLOWDOWN": "1"} | os.environ,
            check=False,
        )  # fmt: skip
        found = read(path)
    if done.returncode and not found["failed"]:
        found["failed"].append(f"pytest ended with {done.returncode}")
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


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.kernel.inside")
    parser.add_argument("--all", action="store_true", help="leave no test out for its time")
    parser.add_argument("out", type=Path)
    parser.add_argument("suites", nargs="+")
    options = parser.parse_args()
    os.environ[guest_boards.VARIABLE] = "1"
    with (options.out / "results.jsonl").open("a", encoding="utf-8", buffering=1) as results:
        for suite in options.suites:
            transport, _, name = suite.partition(":")
            began = time.monotonic()
            if name == "conform":
                with contextlib.closing(guest_boards.Slot(cdc=transport == "serial")) as slot:
                    found = run_conformance(slot.plug(guest_boards.SCENE))
            else:
                # Transfers of every length go through a vendor interface of their own.
                more = ["--all"] if options.all else []
                if suite == "usb:kernel":
                    more += ["--transfers", "tests/e2e/test_usb_transfers.py"]
                found = run_tests(transport, f"tests/{name}", *more)
            found |= {"suite": suite, "seconds": round(time.monotonic() - began, 1)}
            results.write(json.dumps(found) + "\n")
            print(f"{suite}: {found}", flush=True)


if __name__ == "__main__":
    main()
