"""What all tests share: hypothesis' profiles and the fixtures that look for tools and data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from lenslink_hil.kernel import guest_boards

# Time limits, and the order of a parallel run.
pytest_plugins = ["helpers.run_hooks"]

# No deadline: a busy machine is no defect, and every test has its time limit anyway. In CI the
# examples are the same for the same code, so that a change is judged by what it changed.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("ffmpeg")`` gives the path of a program, or skips the test where it is missing."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not on PATH")
        return found

    return find


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """``data("colorchart.dng")`` gives a file that is too large for the repository, or skips.

    Looked for in the folder that LENSLINK_DATA names, else in shared/data beside the checkout.
    """
    folder = Path(os.environ.get("LENSLINK_DATA") or ROOT.parent / "shared/data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"{name} is in neither $LENSLINK_DATA nor ../shared/data")
        return path

    return find


@pytest.fixture(scope="session")
def through_kernel() -> bool:
    """Whether USB is the kernel's: in the guest of ``make test-kernel``."""
    return guest_boards.is_in_guest()


@pytest.fixture(scope="session")
def slot(through_kernel: bool) -> guest_boards.Slot:
    """Where boards are plugged into that kernel, which is what ``--lens`` opens there."""
    found = guest_boards.find_slot()
    if not through_kernel or found is None:
        pytest.skip("it needs a kernel that boards can be plugged into: make test-kernel")
    return found
