"""pytest's plugin in the guest: a board is plugged in, and each test that does not run is counted.

A process of its own loads it by ``-p``; ``--lens`` says over which transport.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from . import guest_boards
from .suite_results import write


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the counts go."""
    parser.addoption("--tally", type=Path, metavar="FILE", required=True, help="counts, as JSON")
    parser.addoption("--transfers", action="store_true", help="tests of transfers, too")
    parser.addoption("--all", action="store_true", help="leave none out for its time")


def pytest_configure(config: pytest.Config) -> None:
    """Plug a board in."""
    slot = guest_boards.Slot(cdc=config.getoption("--lens").startswith("serial:"))
    config.add_cleanup(slot.close)
    slot.plug(guest_boards.SCENE)
    guest_boards.use(slot)
    config.pluginmanager.register(Tally(config), "tally")


MOST_PARAMETERS: Final = 2
MOST_PROGRAMS: Final = 1
"""A program takes two seconds to start on one emulated CPU."""


class Tally:
    """Runs what is for the bench, and counts the rest by its reason."""

    def __init__(self, config: pytest.Config) -> None:
        self._path: Path = config.getoption("--tally")
        self._transfers: bool = config.getoption("--transfers")
        self._whole: bool = config.getoption("--all")
        self.passed = 0
        self.failed: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Choose what runs here, and say of the rest why it does not."""
        chosen: list[pytest.Item] = []
        others: list[pytest.Item] = []
        seen: Counter[str] = Counter()
        for item in items:
            why = _elsewhere(item, self._transfers)
            if not why and not self._whole:
                why = _beyond(item, seen)
            if why:
                self.left_out[why] += 1
            (others if why else chosen).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = chosen

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

    def pytest_sessionfinish(self) -> None:
        """All is known."""
        write(self._path, self.passed, self.failed, self.left_out, self.notes)


def _elsewhere(item: pytest.Item, transfers: bool) -> str:
    """Why a test runs elsewhere; empty where it is for this bench."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if "slot" in fixtures:
        return ""
    if "through_kernel" in fixtures:
        return "" if transfers else "of transfers: in the suite usb:kernel"
    # The same everywhere.
    return "" if "lens_url" in fixtures else "use no bench: run on the host"


def _beyond(item: pytest.Item, seen: Counter[str]) -> str:
    """Why a test is one too many for CI; empty where it is not. *seen* counts those."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if "lens_url" not in fixtures:
        return ""
    function = item.nodeid.partition("[")[0]
    if seen[function] >= MOST_PARAMETERS:
        return f"more than {MOST_PARAMETERS} parameters of one test: beyond this bench's scale"
    if "cli" in fixtures and seen[item.path.name] >= MOST_PROGRAMS:
        return f"more than {MOST_PROGRAMS} test of a file that starts programs: beyond its scale"
    seen[function] += 1
    seen[item.path.name] += "cli" in fixtures
    return ""
