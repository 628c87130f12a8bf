"""The result of a suite, as JSON: tests passed, failed, and left out with the reason.

guest_plugin writes it; inside reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_results(
    path: Path, passed: int, failed: Iterable[str], left_out: Mapping[str, int], notes: list[str]
) -> None:
    """Write the results. *notes* are the figures that tests have measured."""
    ordered = sorted(((count, reason) for reason, count in left_out.items() if count), reverse=True)
    found = {
        "passed": passed,
        "failed": sorted(set(failed)),
        "left_out": {reason: count for count, reason in ordered},
        "notes": notes,
    }
    path.write_text(json.dumps(found), encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    """Read what :func:`write_results` wrote; a missing file is a failure of the suite."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        failed = ["pytest did not end"]
        return {"passed": 0, "failed": failed, "left_out": {}, "notes": []}
    return found
