"""pytest's plugin in the guest: a board is plugged in, and each test that does not run is counted.

A process of its own loads it by ``-p``; ``--lens`` says over which transport.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from . import bench
from .tally import write


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the counts go."""
    parser.addoption("--tally", type=Path, metavar="FILE", required=True, help="counts, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Plug a board in."""
    slot = bench.Slot(cdc=config.getoption("--lens").startswith("serial:"))
    config.add_cleanup(slot.close)
    slot.plug(bench.SCENE)
    bench.use(slot)
    config.pluginmanager.register(Tally(config), "tally")


class Tally:
    """Runs what is for the bench, and counts the rest by its reason."""

    def __init__(self, config: pytest.Config) -> None:
        self._path: Path = config.getoption("--tally")
        self.passed = 0
        self.failed: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """What does not ask for the bench is the same everywhere: it runs on the host."""
        others = [each for each in items if not _uses_the_bench(each)]
        self.left_out["use no bench: run on the host"] += len(others)
        config.hook.pytest_deselected(items=others)
        items[:] = [each for each in items if _uses_the_bench(each)]

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


def _uses_the_bench(item: pytest.Item) -> bool:
    return bool({"lens_url", "slot", "through_kernel"} & set(getattr(item, "fixturenames", ())))
