"""A sample of these tests on two more benches, in a pytest of their own; make nightly runs all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import bench_scale, micropython_process
from helpers.nightly_scale import tell
from helpers.slowdown import VARIABLE, current_slowdown

HERE = Path(__file__).parent
TIMEOUT_S = 400
# Each of them with what it shows that the tests of that bench's own (test_usb_*, test_pico) do not.
SAMPLES = {
    "usbip:": [
        "test_packings.py",
        "test_lane_sockets.py",
        "test_attach.py",
        "test_brackets.py::test_nine_brackets_are_nine_consecutive_frames",
        "test_roi.py::test_a_region_on_the_move",
        "test_frame_times.py::test_a_frame_was_exposed_during_its_request",
    ],
    "pico:": [
        "test_packings.py",
        "test_lane_sockets.py",
        # Its clock: what the driver counts by it, and what it leaves open.
        "test_frames.py::test_the_driver_says_what_it_did",
        "test_frames.py::test_nothing_follows_a_stop_or_a_flush",
        "test_frames.py::test_a_closed_module_leaves_nothing_behind",
    ],
}
FEWEST = {"usbip:": 20, "pico:": 10}


@pytest.mark.timeout(TIMEOUT_S + 20)
@pytest.mark.parametrize("url", SAMPLES)
def test_the_suite_on(url: str, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    micropython_process.interpreter()  # skips where there is none
    if url == "pico:" and (missing := bench_scale.no_pico()):
        pytest.skip(missing)
    files = [str(HERE / name) for name in SAMPLES[url]]
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    # The machine may be busier than when this run began.
    slow = current_slowdown()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", "-x",
         f"--lens={url}", f"--lens-seed={seed}", *files],
        env=outside | {VARIABLE: f"{slow:.1f}"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * slow,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = done.stdout.rstrip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", counts)
    assert passed and int(passed[1]) >= FEWEST[url], done.stdout
    left_out = [line for line in done.stdout.splitlines() if line.startswith("NOT RUN: ")]
    left_out = [line.replace("NOT RUN", f"left out on {url[:-1]}") for line in left_out]
    first = f"[sample; make nightly ARGS='e2e-{url[:-1]}' runs all] {url} {counts}"
    tell(capsys, "\n".join([first, *left_out]))
