"""``report.json`` as Markdown, for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .report_document import (
    ResultKind,
    RunReport,
    TestResult,
    describe_verdict,
    shorten_message,
    sum_counters,
)

MAX_ROWS: Final = 200
MAX_DETAILS: Final = 20
MAX_MESSAGE: Final = 600
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")


def make_markdown(report: RunReport) -> str:
    """Return the report; below 1 MiB, which is what GitHub takes as a summary."""
    parts = [f"**{_escape(describe_verdict(report))}**", *_make_boards(report)]
    wrong = report.list_wrong()
    if wrong:
        parts.append("### What is wrong")
        parts += [_make_detail(each) for each in wrong[:MAX_DETAILS]]
        if len(wrong) > MAX_DETAILS:
            parts.append(f"{len(wrong) - MAX_DETAILS} more are in report.json.")
    parts += _make_matrix(report)
    if reasons := report.count_reasons():
        rows = [(str(count), reason) for reason, count in reasons[:MAX_ROWS]]
        parts += ["### Skipped, or in quarantine", _make_table(("tests", "reason"), rows)]
    for facts in report.runs:
        parts.append(_make_table(("run", ""), list(facts.items())))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    """Return plain text as Markdown on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _make_block(text: str) -> str:
    """Return *text* as it is, between fences that it cannot close."""
    longest = max((len(each) for each in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _make_boards(report: RunReport) -> list[str]:
    rows = []
    for name, facts in report.boards.items():
        counts = report.count_kinds(name)
        outcomes = ", ".join(f"{counts[kind]} {kind}" for kind in ResultKind if counts[kind])
        counters = sum_counters(report, name)
        link = ", ".join(f"{key} {value:,}" for key, value in counters.items())
        board = ", ".join(f"{key} {value}" for key, value in facts.items())
        rows.append((name or "none", outcomes, link, board))
    return [_make_table(("board", "outcomes", "link", "facts"), rows)] if rows else []


def _make_detail(result: TestResult) -> str:
    message = shorten_message(result.message, MAX_MESSAGE)
    text = (
        f"**{_escape(result.test)}** on {_escape(result.board or 'no board')}: {result.kind}\n\n"
        f"{_make_block(message)}"
    )
    if result.replay:
        text += f"\n\nTo replay it without the board:\n\n{_make_block(result.replay)}"
    return text


def _make_matrix(report: RunReport) -> list[str]:
    """Return every test on every board, or of many tests those that did not pass everywhere."""
    boards = list(report.boards)
    found = {(each.test, each.board): each for each in report.results}
    tests = report.list_tests()
    title = "### Every test on every board"
    if len(tests) > MAX_ROWS:
        bad = {each.test for each in report.results if each.kind is not ResultKind.PASSED}
        tests = [test for test in tests if test in bad][:MAX_ROWS]
        title = f"### Tests that did not pass everywhere (at most {MAX_ROWS})"
    if not tests:
        return []
    rows = [(test, *(_make_cell(found.get((test, board))) for board in boards)) for test in tests]
    head = ("test", *(_escape(name or "none") for name in boards))
    return [title, _make_table(head, rows)]


def _make_cell(result: TestResult | None) -> str:
    if result is None:
        return ""
    figures = [f"{each.name} {each.text}" for each in result.figures]
    return ", ".join([str(result.kind), *figures])
