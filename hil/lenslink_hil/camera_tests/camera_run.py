"""Run the camera tests on a module, and make a verdict of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from lenslink import Device
from lenslink.errors import LensLinkError

from ..conformance.cases import Case
from ..conformance.report import ReportForm
from ..conformance.run_info import RunInfo
from ..conformance.verdicts import ERROR, NOT_RUN, CaseResult, Verdict, count_verdicts, judge
from . import dng_cases, exposure_cases, lens_cases, readout_cases
from .camera_under_test import CameraTest, CameraUnderTest

CameraCase = Case[CameraTest]


def list_camera_cases() -> list[CameraCase]:
    """Return every camera test, in the order in which they run.

    >>> list_camera_cases()[0].name
    'exposure_is_applied'
    """
    return [
        case
        for part in (exposure_cases, readout_cases, lens_cases, dng_cases)
        for case in part.CASES.all
    ]


FORM = ReportForm(
    title="LensLink camera tests",
    prefix="its",
    rule="Test",
    get_texts=lambda: {case.name: case.doc for case in list_camera_cases()},
)


def run_camera_tests(
    device: Device,
    cases: Sequence[CameraCase],
    *,
    info: RunInfo,
    flicker_hz: float | None = None,
) -> Iterator[Verdict]:
    """Yield the verdict of each test on an open module.

    If the module does not answer any more, the tests that are left are "not run".

    Args:
        device: the module. No stream runs on it.
        cases: of :func:`list_camera_cases`.
        info: gets the module's identity.
        flicker_hz: the frequency at which the light flickers, if that is known.
    """
    info.note_manifest(device.manifest)
    camera = CameraUnderTest(device, flicker_hz)
    is_there = True
    for case in cases:
        start = time.monotonic()
        if is_there:
            result = judge(partial(case.run, camera))
            is_there = result.verdict != ERROR or _answers(device)
        else:
            result = CaseResult(NOT_RUN, "the module does not answer any more")
        took = time.monotonic() - start
        yield Verdict(case.name, case.name, "module", result.verdict, result.detail, took)


def _answers(device: Device) -> bool:
    """Return True if the module still answers. Its streams end."""
    try:
        device.flush()
    except LensLinkError:
        return False
    return True


def as_json(found: Sequence[Verdict], info: RunInfo) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    return {
        "schema": "lenslink.its/1",
        "run": info.as_dict(),
        "tests": [
            {
                "test": each.case,
                "verdict": each.verdict,
                "detail": each.detail,
                "seconds": round(each.seconds, 3),
            }
            for each in found
        ],
        "summary": count_verdicts(found),
    }
