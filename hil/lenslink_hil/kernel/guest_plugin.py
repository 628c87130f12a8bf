"""The pytest plugin of the guest: it plugs a board in, and counts each test by its result.

``inside`` starts pytest with ``-p lenslink_hil.kernel.guest_plugin``. ``--lens`` chooses the
transport. ``--tally`` names the file for the counts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from ..plugin.run_options import named_urls
from . import guest_boards
from .suite_results import write_results


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the guest."""
    parser.addoption(
        "--tally", type=Path, metavar="FILE", required=True, help="write the counts there, as JSON"
    )
    parser.addoption("--transfers", action="store_true", help="run the tests of transfers too")
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    """Plug a board in, for all tests."""
    slot = guest_boards.Slot(cdc=named_urls(config)[0].startswith("serial:"))
    config.add_cleanup(slot.close)
    slot.plug(guest_boards.SCENE)
    guest_boards.use_slot(slot)
    config.pluginmanager.register(Tally(config), "tally")


MAX_PROGRAMS: Final = 2
"""Tests that start programs: a program takes seconds to start on one emulated CPU."""


class Tally:
    """Chooses the tests that run in the guest, and counts the others by their reason."""

    def __init__(self, config: pytest.Config) -> None:
        self._path: Path = config.getoption("--tally")
        self._with_transfers: bool = config.getoption("--transfers")
        self._all_tests: bool = config.getoption("--all")
        self.passed = 0
        self.failed: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the tests that run here, and count the others with the reason."""
        chosen: list[pytest.Item] = []
        others: list[pytest.Item] = []
        counts: Counter[str] = Counter()
        for item in items:
            reason = _explain_elsewhere(item, self._with_transfers)
            if not reason and not self._all_tests:
                reason = _explain_limit(item, counts)
            if reason:
                self.left_out[reason] += 1
            (others if reason else chosen).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = chosen

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the result of one phase of a test."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
            self.left_out[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call":
            self.passed += 1
        if report.when == "call":
            properties = dict(report.user_properties)
            self.notes += [
                f"{key}: {value}"
                for key, value in properties.items()
                if not key.startswith("lens_")
            ]

    def pytest_sessionfinish(self) -> None:
        """Write the counts."""
        write_results(self._path, self.passed, self.failed, self.left_out, self.notes)


def _explain_elsewhere(item: pytest.Item, with_transfers: bool) -> str:
    """Say why a test runs on the host only; empty if it runs in the guest."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if "slot" in fixtures:
        return ""
    if "through_kernel" in fixtures:
        return "" if with_transfers else "of transfers: in the suite usb:kernel"
    # A test without a bench gives the same result everywhere.
    return "" if "lens_url" in fixtures else "use no bench: run on the host"


def _explain_limit(item: pytest.Item, counts: Counter[str]) -> str:
    """Say why a test is one too many for CI; empty if it is not.

    *counts* has the tests before: by function, and under ``cli`` those that start programs.
    """
    fixtures = set(getattr(item, "fixturenames", ()))
    if "lens_url" not in fixtures:
        return ""
    function = item.nodeid.partition("[")[0]
    if counts[function]:
        return "more than one parameter of a test: too many for the guest"
    if "cli" in fixtures and counts["cli"] >= MAX_PROGRAMS:
        return f"more than {MAX_PROGRAMS} tests that start programs: too many for the guest"
    counts[function] += 1
    counts["cli"] += "cli" in fixtures
    return ""
