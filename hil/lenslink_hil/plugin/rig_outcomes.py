"""Tell four outcomes apart: passed, failed, rig error, skipped.

A :exc:`~lenslink.RigError` is never a failure of the module. It is ``R`` on the terminal and
``<error>`` in JUnit, and the run exits with 11 if nothing failed besides. A test whose module went
away is a rig error too, if the board is not there any more: then the cable, the hub or the power is
to blame. If the board is there, the module went away by itself, and the test has failed.

What a test in quarantine does is reported apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from . import hang_guard
from .lens_fixtures import HELD
from .quarantine_file import Quarantine, QuarantineError, find_quarantine, read_quarantine

EXIT_RIG: Final = 11
_EXAMINE_S: Final = 60.0
_QUARANTINE = pytest.StashKey[Sequence[Quarantine]]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the quarantine."""
    config.stash[_QUARANTINE] = []
    named = config.getoption("--lens-quarantine")
    text = named or config.getini("lens_quarantine")
    if not text:
        return
    base = config.invocation_params.dir if named else config.rootpath
    try:
        today = datetime.now(UTC).date()
        config.stash[_QUARANTINE] = read_quarantine(base / text, today)
    except QuarantineError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn a failure that is the rig's into a rig error, and mark one that is in quarantine."""
    report: pytest.TestReport = yield
    if not report.failed or call.excinfo is None or hasattr(report, "wasxfail"):
        return report
    problem = _find_rig_error(item, call.excinfo.value)
    if problem:
        item.user_properties.append(("lens_outcome", "rig-error"))
        report.rig_error = problem  # type: ignore[attr-defined]
        report.longrepr = f"rig error: {problem}"
        # JUnit then has an <error> and no <failure>.
        report.when = "teardown" if report.when == "teardown" else "setup"
        report.user_properties = list(item.user_properties)
        return report
    held = item.config.stash.get(HELD, None)
    board = held.board.name if held is not None else ""
    entry = find_quarantine(item.config.stash[_QUARANTINE], item.nodeid, board)
    if entry is not None:
        report.sections.append(("failure in quarantine", report.longreprtext))
        report.quarantine = str(entry)  # type: ignore[attr-defined]
        report.outcome = "skipped"
        report.wasxfail = f"in quarantine: {entry}"
    return report


def _find_rig_error(item: pytest.Item, error: BaseException) -> str:
    """Return why the rig is to blame for *error*; "" if it is not."""
    if not isinstance(error, Exception) or type(error).__module__ == "builtins":
        return ""
    from lenslink import Disconnected, NotFound, RigError, Timeout

    if isinstance(error, RigError):
        return str(error)
    held = item.config.stash.get(HELD, None)
    is_gone = isinstance(error, Disconnected | NotFound | Timeout)
    if held is None or held.taken is None or not is_gone:
        return ""
    # What follows is bounded by itself. The test's deadline must not cut it short.
    hang_guard.extend(item.config, _EXAMINE_S)
    before = held.recoveries.total()
    lost = held.examine()
    if recoveries := held.recoveries.total() - before:
        item.user_properties.append(("lens_recovered", recoveries))
    return f"{lost}; the test saw: {error}" if lost else ""


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> Any:
    """Give a rig error and a quarantined failure a letter and a name of their own."""
    if hasattr(report, "rig_error"):
        return "rig-error", "R", ("RIG ERROR", {"red": True})
    if hasattr(report, "quarantine"):
        return "quarantined", "q", ("QUARANTINED", {"yellow": True})
    return None


class OutcomeCounter:
    """Counts failures and rig errors, and chooses the exit code of the run."""

    def __init__(self) -> None:
        self.failed = 0
        self.rig_errors = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of a test."""
        if hasattr(report, "rig_error"):
            self.rig_errors += 1
        elif report.failed:
            self.failed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be collected."""
        self.failed += report.failed

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Exit with 11 if rig errors alone made the run fail."""
        if exitstatus == pytest.ExitCode.TESTS_FAILED and self.rig_errors and not self.failed:
            session.exitstatus = EXIT_RIG


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to count."""
    session.config.pluginmanager.register(OutcomeCounter(), "lenslink-outcomes")
