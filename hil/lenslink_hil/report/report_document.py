"""What ``report.json`` holds: runs, boards, and the result of each test on each board.

The plugin writes it, :mod:`.report_reader` reads it, and the pages are rendered from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

SCHEMA: Final = "lenslink.report/1"


class State(StrEnum):
    """Whether a run came to its end. A document says ABANDONED from the start of its run on."""

    ABANDONED = "abandoned"
    FINISHED = "finished"


class ResultKind(StrEnum):
    """What became of a test, from the worst to the best."""

    FAILED = "failed"
    RIG_ERROR = "rig error"
    QUARANTINED = "quarantined"
    SKIPPED = "skipped"
    PASSED = "passed"


class Trend(StrEnum):
    """How a figure compares with earlier runs of its board."""

    UNKNOWN = "unknown"
    STEADY = "steady"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a test has measured.

    >>> Figure("frames_per_s", 29.76, "1/s").text
    '29.8 1/s'
    """

    name: str
    value: float
    unit: str = ""
    is_smaller_better: bool = False
    trend: Trend = Trend.UNKNOWN
    earlier: tuple[float, ...] = ()
    """Values of earlier runs on the same board, the oldest first."""

    @property
    def text(self) -> str:
        """The value with three digits, and its unit."""
        value = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.3g}"
        return f"{value} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame as a small picture: ``jpeg`` in base64."""

    title: str
    jpeg: str


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of one test on one board."""

    __test__ = False
    test: str
    board: str
    kind: ResultKind
    seconds: float = 0.0
    message: str = ""
    """Why the test did not pass."""
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    """Counters of the link at the end of the test."""
    recoveries: int = 0
    """How many steps of recovery the board needed before the test."""
    recording: str = ""
    replay: str = ""
    """The command that replays the recording."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run, or several that were joined."""

    state: State
    runs: tuple[Mapping[str, str], ...]
    """The facts of each run, by name: date, versions, seed."""
    boards: Mapping[str, Mapping[str, str]]
    """The facts of each board, by the board's name: serial, kind, firmware, link."""
    results: tuple[TestResult, ...]
    not_reached: int = 0
    """Tests that were chosen, and have no result."""

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``report.json`` holds."""
        return {"schema": SCHEMA, "verdict": describe_verdict(self), **asdict(self)}

    def count_kinds(self, board: str | None = None) -> Counter[ResultKind]:
        """Return how many results of each kind there are, on *board* or on all boards."""
        return Counter(each.kind for each in self.results if board in (None, each.board))

    def list_tests(self) -> list[str]:
        """Return the names of the tests in the order of their first results."""
        return list(dict.fromkeys(each.test for each in self.results))

    def list_wrong(self) -> list[TestResult]:
        """Return the failures, and the rig errors behind them."""
        return [
            each
            for kind in (ResultKind.FAILED, ResultKind.RIG_ERROR)
            for each in self.results
            if each.kind is kind
        ]

    def count_reasons(self) -> list[tuple[str, int]]:
        """Return why tests were skipped or are in quarantine, the most frequent reason first."""
        kinds = (ResultKind.SKIPPED, ResultKind.QUARANTINED)
        reasons = Counter(each.message for each in self.results if each.kind in kinds)
        return reasons.most_common()


def join_reports(reports: Sequence[RunReport]) -> RunReport:
    """Return one report of several runs. A later result of a test on a board replaces an earlier.

    Args:
        reports: One or more.
    """
    results = {(each.test, each.board): each for report in reports for each in report.results}
    boards: dict[str, Mapping[str, str]] = {}
    for report in reports:
        boards |= report.boards
    is_finished = all(report.state is State.FINISHED for report in reports)
    return RunReport(
        State.FINISHED if is_finished else State.ABANDONED,
        tuple(run for report in reports for run in report.runs),
        boards,
        tuple(results.values()),
        sum(report.not_reached for report in reports),
    )


def describe_verdict(report: RunReport) -> str:
    """Return the outcome of the run as one sentence.

    >>> passed = TestResult("test_still", "left", ResultKind.PASSED)
    >>> describe_verdict(RunReport(State.FINISHED, (), {"left": {}}, (passed,)))
    'Passed: 1 test on 1 board.'
    """
    counts = report.count_kinds()
    failed, rig_errors = counts[ResultKind.FAILED], counts[ResultKind.RIG_ERROR]
    total = len(report.results)
    scope = f"{_count(total, 'test')} on {_count(len(report.boards), 'board')}"
    if report.state is State.ABANDONED:
        found = f"{failed} failed" + (f", {_count(rig_errors, 'rig error')}" if rig_errors else "")
        return f"Abandoned: the run did not reach its end; {found} of {scope}."
    if not total:
        return "Nothing was tested."
    parts = [
        f"{counts[kind]} {word}"
        for kind, word in (
            (ResultKind.SKIPPED, "skipped"),
            (ResultKind.QUARANTINED, "failed in quarantine"),
        )
        if counts[kind]
    ]
    if report.not_reached:
        parts.append(f"{report.not_reached} not reached")
    if failed:
        if rig_errors:
            parts.insert(0, _count(rig_errors, "rig error"))
        head = f"Failed: {failed} of {scope}"
    elif rig_errors:
        head = f"Rig error: {rig_errors} of {scope} could not be judged, none failed"
    else:
        head = f"Passed: {scope}"
        if total == counts[ResultKind.SKIPPED]:
            head = f"Nothing was tested: all of {scope}"
    return f"{head}{'; ' if parts else ''}{', '.join(parts)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sum_counters(report: RunReport, board: str) -> dict[str, int]:
    """Return the counters of the link, summed over the tests on *board*."""
    total: Counter[str] = Counter()
    for each in report.results:
        if each.board == board:
            total.update(each.counters)
    return dict(total)


def shorten_message(text: str, most: int) -> str:
    """Return the last whole lines of *text* that have at most *most* characters.

    >>> shorten_message("a long first line\\nthe end", 10)
    '...\\nthe end'
    """
    if len(text) <= most:
        return text
    end = text[-most:]
    return f"...\n{end.partition(chr(10))[2] or end}"
