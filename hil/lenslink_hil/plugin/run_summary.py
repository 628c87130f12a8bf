"""The last lines of a run: rig errors, quarantine, recoveries, recordings, and what did not run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

_MAX_REPLAYS = 10


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Write after everything else: this is the outermost wrapper."""
    yield
    stats = terminalreporter.stats
    rig_errors = stats.get("rig-error", ())
    _write_counted(terminalreporter, "RIG ERRORS", [f"{report.rig_error}" for report in rig_errors])
    quarantined = stats.get("quarantined", ())
    _write_counted(
        terminalreporter,
        "QUARANTINE",
        [f"{report.nodeid} failed: {report.quarantine}" for report in quarantined],
    )
    _write_recoveries(terminalreporter)
    _write_replays(terminalreporter)
    _write_counted(
        terminalreporter, "NOT RUN", [_reason(report) for report in stats.get("skipped", ())]
    )


def _write_counted(
    terminalreporter: pytest.TerminalReporter, title: str, reasons: Sequence[str]
) -> None:
    if not reasons:
        return
    terminalreporter.section(title, sep="=", yellow=True, bold=True)
    word = title.removesuffix("S") if title == "RIG ERRORS" else title
    for reason, count in Counter(reasons).most_common():
        tests = "test" if count == 1 else "tests"
        terminalreporter.line(f"{word}: {count} {tests}: {reason}", yellow=True)


def _reports(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for found in terminalreporter.stats.values():
        for report in found:
            if isinstance(report, pytest.TestReport):
                yield report


def _write_recoveries(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests needed a recovery of their board before they could begin."""
    recovered = {
        report.nodeid: dict(report.user_properties)
        for report in _reports(terminalreporter)
        if "lens_recovered" in dict(report.user_properties)
    }
    if not recovered:
        return
    boards = Counter(str(facts.get("lens_board")) for facts in recovered.values())
    text = ", ".join(f"{board}: {count}" for board, count in sorted(boards.items()))
    terminalreporter.line(f"boards that had to be recovered before a test: {text}", yellow=True)


def _write_replays(terminalreporter: pytest.TerminalReporter) -> None:
    commands = [
        command
        for report in _reports(terminalreporter)
        if (command := getattr(report, "lens_replay", None))
    ]
    if not commands:
        return
    terminalreporter.section("to replay a failure without the board", sep="-")
    for command in commands[:_MAX_REPLAYS]:
        terminalreporter.line(command)
    if len(commands) > _MAX_REPLAYS:
        terminalreporter.line(f"... and {len(commands) - _MAX_REPLAYS} more, in the reports")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
