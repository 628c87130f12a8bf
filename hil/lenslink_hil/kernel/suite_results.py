"""What became of a suite, as JSON: what passed, failed, and was left out, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write(
    path: Path, passed: int, failed: Iterable[str], left_out: Mapping[str, int], notes: list[str]
) -> None:
    """*notes* are figures that tests have measured."""
    ordered = sorted(((count, reason) for reason, count in left_out.items() if count), reverse=True)
    found = {
        "passed": passed,
        "failed": sorted(set(failed)),
        "left_out": {reason: count for count, reason in ordered},
        "notes": notes,
    }
    path.write_text(json.dumps(found), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """What :func:`write` wrote; a failure where it did not come to that."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        failed = ["pytest did not come to its end"]
        return {"passed": 0, "failed": failed, "left_out": {}, "notes": []}
    return found
