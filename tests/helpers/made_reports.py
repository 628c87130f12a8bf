"""Reports that no run has written: small ones, and one as large as a page must hold."""

from __future__ import annotations

import base64
import io
import random

import numpy as np
from PIL import Image

from lenslink_hil.report.report_document import (
    Figure,
    Picture,
    ResultKind,
    RunReport,
    State,
    TestResult,
    Trend,
)

BOARDS = ("left", "right", "dark-box", "pico-2")


def make_picture(seed: int) -> Picture:
    """Return noise, which no JPEG makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return Picture(f"frame {seed}", base64.b64encode(file.getvalue()).decode())


def make_report(tests: int, boards: int, failures: int, seed: int = 5) -> RunReport:
    """Return a report in which every test has a figure with a history; the first tests fail."""
    generator = random.Random(seed)
    results = []
    for number in range(tests):
        for board in BOARDS[:boards]:
            earlier = tuple(generator.gauss(30, 0.6) for _ in range(20))
            figure = Figure("frames_per_s", 29.8, "1/s", False, Trend.STEADY, earlier)
            is_bad = number < failures
            results.append(
                TestResult(
                    f"tests/test_module.py::test_number_{number}[{'x' * (number % 20)}]",
                    board,
                    ResultKind.FAILED if is_bad else ResultKind.PASSED,
                    1.25,
                    f"AssertionError: <{number}> & 'more'\n" * 200 if is_bad else "",
                    (figure,),
                    (make_picture(number),) if is_bad else (),
                    {"frames": 12, "lost packets": 0},
                    recording=f"out/evidence/{number}.lcap" if is_bad else "",
                    replay=f"pytest test.py --lens replay:{number}.lcap" if is_bad else "",
                )
            )
    facts = {name: {"serial": f"LL-{name}", "kind": "pico"} for name in BOARDS[:boards]}
    run = {"date": "2026-11-30 12:00:00 UTC", "seed": str(seed)}
    return RunReport(State.FINISHED, (run,), facts, tuple(results))
