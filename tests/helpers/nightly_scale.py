"""How much of a long test is run: a sample in CI, all of it with LENSLINK_NIGHTLY=1."""

from __future__ import annotations

import os
import sys

import pytest

NIGHTLY = os.environ.get("LENSLINK_NIGHTLY") == "1"


def choose(ci: int, nightly: int) -> int:
    """The count for this run."""
    return nightly if NIGHTLY else ci


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a line past pytest's capture: what was run, and how to get the rest."""
    which = "nightly" if NIGHTLY else "sample; LENSLINK_NIGHTLY=1 runs all"
    tell(capsys, f"[{which}] {text}")


def tell(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a line past pytest's capture: on stderr in a worker of xdist, which has no stdout."""
    with capsys.disabled():
        print(f"\n{text}", file=sys.stderr if "PYTEST_XDIST_WORKER" in os.environ else None)
