"""Write ``report.json`` while the tests run, and the history of the boards at the end.

The file is whole at any time: each writing replaces it. From the start it says that the run was
abandoned. Only a run that reaches its end changes that, so it also holds after SIGKILL.
"""

from __future__ import annotations

import json
import shlex
import time
from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ..report.report_document import (
    Figure,
    ResultKind,
    RunReport,
    State,
    TestResult,
    Trend,
    describe_verdict,
)
from .report_notes import name_history, name_series
from .rig_outcomes import EXIT_RIG
from .run_options import (
    DEFAULT_LENS,
    get_history_folder,
    get_report_path,
    get_seed,
    named_urls,
    worker_input,
)

MAX_MESSAGE: Final = 8_000
MAX_STACK_LINES: Final = 12
_INTERVAL_S: Final = 2.0
_FINISHED: Final = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
    EXIT_RIG,
)
_BOARD_FACTS: Final = (
    "serial", "kind", "firmware", "link", "link_speed", "link_bytes_per_s", "image_sha256"
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the writer, in the process that sees all results."""
    is_wanted = get_report_path(config) or get_history_folder(config)
    if is_wanted and worker_input(config) is None and not config.option.collectonly:
        config.pluginmanager.register(ReportWriter(config), "lenslink-report-writer")


class ReportWriter:
    """Collects the results of all workers."""

    def __init__(self, config: pytest.Config) -> None:
        from lenslink import LensLinkError
        from lenslink.image_files.atomic_file import check_target, make_storage_error

        from ..report.run_facts import list_run_facts

        self._path = get_report_path(config)
        self._history = get_history_folder(config)
        self._results: dict[str, TestResult] = {}
        self._under_way: set[str] = set()
        """Tests that have begun and not ended. They have not passed yet."""
        self._boards: dict[str, dict[str, str]] = {}
        self._worker_boards: dict[str, str] = {}
        """The board of each worker, for the report of a worker that has died."""
        self._written = float("-inf")
        self._problem = ""
        self._report = RunReport(State.ABANDONED, (), {}, ())
        self._facts = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "command": shlex.join(["pytest", *map(str, config.invocation_params.args)]),
            "bench": ", ".join(named_urls(config) or [DEFAULT_LENS]),
            "seed": str(get_seed(config)),
            "pytest": pytest.__version__,
            **list_run_facts(),
        }
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                check_target(self._path, True)
            except OSError as error:
                problem = make_storage_error(self._path, error)
                raise pytest.UsageError(f"--lens-report: {problem}") from None
            except LensLinkError as error:
                raise pytest.UsageError(f"--lens-report: {error}") from None

    def pytest_sessionstart(self) -> None:
        """Write a first document. It tells an old one from that of a run that was killed."""
        self._write(State.ABANDONED)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test."""
        notes = json.loads(getattr(report, "lens_notes", "{}"))
        properties = dict(report.user_properties)
        board = self._find_board(report, notes, properties)
        if report.when == "teardown":
            self._under_way.discard(report.nodeid)
        elif report.when == "setup":
            self._under_way.add(report.nodeid)
        before = self._results.get(report.nodeid)
        if before is None:
            before = TestResult(report.nodeid, board, ResultKind.PASSED)
        result = _add_phase(replace(before, board=board or before.board), report, notes)
        self._results[report.nodeid] = replace(
            result, recoveries=int(str(properties.get("lens_recovered", 0)))
        )
        facts = {key: str(properties.get(f"lens_{key}", "")) for key in _BOARD_FACTS}
        known = self._boards.setdefault(result.board, {})
        known |= {key: value for key, value in facts.items() if value}
        if time.monotonic() - self._written >= _INTERVAL_S:
            self._write(State.ABANDONED)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a file that cannot be collected."""
        if report.failed:
            text = report.longreprtext[-MAX_MESSAGE:]
            self._results[report.nodeid] = TestResult(
                report.nodeid, "", ResultKind.FAILED, message=text
            )
            self._boards.setdefault("", {})

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write the document of a run that has reached its end, and the history of its boards.

        The exit code is known by now: this wrapper is the innermost.
        """
        yield
        is_finished = session.exitstatus in _FINISHED
        reached = sum("::" in each.test for each in self._list_results())
        not_reached = max(0, session.testscollected - reached)
        self._write(State.FINISHED if is_finished else State.ABANDONED, not_reached)
        if is_finished:
            self._append_history()
        if self._problem and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = EXIT_RIG

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the document is, and what could not be written."""
        if self._problem:
            terminalreporter.line(f"the report is not whole: {self._problem}", red=True)
        elif self._path is not None:
            terminalreporter.line(f"report: {self._path}: {describe_verdict(self._report)}")

    def _find_board(
        self, report: pytest.TestReport, notes: Mapping[str, Any], properties: Mapping[str, object]
    ) -> str:
        node = getattr(report, "node", None)
        worker = "" if node is None else node.gateway.id
        board = str(properties.get("lens_board") or notes.get("board") or "")
        if board:
            self._worker_boards[worker] = board
        elif report.when == "call" and not hasattr(report, "lens_notes") and report.failed:
            # A worker that died had no time to say which board it had.
            board = self._worker_boards.get(worker, "")
        return board

    def _write(self, state: State, not_reached: int = 0) -> None:
        from lenslink import StorageError
        from lenslink.image_files.atomic_file import publish

        results = tuple(self._list_results())
        self._report = RunReport(state, (self._facts,), self._boards, results, not_reached)
        self._written = time.monotonic()
        if self._path is None:
            return
        try:
            with publish(self._path, True) as file:
                file.write(json.dumps(self._report.as_json()).encode())
        except StorageError as error:
            self._problem = str(error)
        else:
            self._problem = ""

    def _list_results(self) -> list[TestResult]:
        return [
            each
            for test, each in self._results.items()
            if each.kind is not ResultKind.PASSED or test not in self._under_way
        ]

    def _append_history(self) -> None:
        """Append the figures of tests that have passed, or that failed by a drop alone."""
        if self._history is None:
            return
        from lenslink import StorageError

        from ..report.board_history import append_run, make_history_path

        figures: dict[str, dict[str, float]] = defaultdict(dict)
        for result in self._list_results():
            has_dropped = any(each.trend is Trend.DROPPED for each in result.figures)
            if result.kind is ResultKind.PASSED or has_dropped:
                for each in result.figures:
                    figures[result.board][name_series(result.test, each.name)] = each.value
        for board, values in figures.items():
            facts = self._boards[board]
            kept = {key: facts.get(key, "") for key in ("serial", "link", "firmware")}
            owner = name_history(board, kept["serial"], kept["link"])
            if not owner:
                continue
            try:
                path = make_history_path(self._history, owner)
                append_run(path, self._facts["date"], values, kept)
            except StorageError as error:
                self._problem = str(error)


def _add_phase(
    result: TestResult, report: pytest.TestReport, notes: Mapping[str, Any]
) -> TestResult:
    """Return *result* with what a phase of the test adds: the worst outcome stays."""
    from ..report.report_reader import parse_figure, parse_picture

    kind, message = judge_phase(report)
    order = list(ResultKind)
    if order.index(kind) < order.index(result.kind):
        result = replace(result, kind=kind, message=message[-MAX_MESSAGE:])
    figures: tuple[Figure, ...] = tuple(map(parse_figure, notes.get("figures", ())))
    return replace(
        result,
        seconds=round(result.seconds + report.duration, 3),
        figures=figures or result.figures,
        pictures=tuple(map(parse_picture, notes.get("pictures", ()))) or result.pictures,
        counters=notes.get("counters", result.counters),
        recording=getattr(report, "lens_recording", result.recording),
        replay=getattr(report, "lens_replay", result.replay),
    )


def judge_phase(report: pytest.TestReport) -> tuple[ResultKind, str]:
    """Return the outcome of one phase of a test, and its reason."""
    if hasattr(report, "rig_error"):
        return ResultKind.RIG_ERROR, str(report.rig_error)
    if hasattr(report, "quarantine"):
        return ResultKind.QUARANTINED, str(report.quarantine)
    if report.failed:
        # Without the line that names the worker, which longreprtext has.
        stacks = [text for name, text in report.sections if name == "stacks"]
        # The innermost calls come first.
        lines = "".join(stacks).splitlines()[:MAX_STACK_LINES]
        return ResultKind.FAILED, "\n".join([str(report.longrepr), *lines])
    if report.skipped:
        text = report.longrepr
        reason = text[2] if isinstance(text, tuple) else getattr(report, "wasxfail", str(text))
        return ResultKind.SKIPPED, reason.removeprefix("Skipped: ")
    return ResultKind.PASSED, ""
