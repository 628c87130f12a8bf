"""``report.json`` as Markdown, for the summary of a CI job."""

from __future__ import annotations

from typing import Final

from .markdown_text import escape_markdown, make_markdown_block, make_markdown_table
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


def make_markdown(report: RunReport) -> str:
    """Return the report; below 1 MiB, which is what GitHub takes as a summary."""
    parts = [f"**{escape_markdown(describe_verdict(report))}**", *_make_boards(report)]
    wrong = report.list_wrong()
    if wrong:
        parts.append("### What is wrong")
        parts += [_make_detail(each) for each in wrong[:MAX_DETAILS]]
        if len(wrong) > MAX_DETAILS:
            parts.append(f"{len(wrong) - MAX_DETAILS} more are in report.json.")
    parts += _make_matrix(report)
    if reasons := report.count_reasons():
        rows = [(str(count), reason) for reason, count in reasons[:MAX_ROWS]]
        parts += ["### Skipped, or in quarantine", make_markdown_table(("tests", "reason"), rows)]
    for facts in report.runs:
        parts.append(make_markdown_table(("run", ""), list(facts.items())))
    return "\n\n".join(parts) + "\n"


def _make_boards(report: RunReport) -> list[str]:
    rows = []
    for name, facts in report.boards.items():
        counts = report.count_kinds(name)
        outcomes = ", ".join(f"{counts[kind]} {kind}" for kind in ResultKind if counts[kind])
        counters = sum_counters(report, name)
        link = ", ".join(f"{key} {value:,}" for key, value in counters.items())
        board = ", ".join(f"{key} {value}" for key, value in facts.items())
        rows.append((name or "none", outcomes, link, board))
    return [make_markdown_table(("board", "outcomes", "link", "facts"), rows)] if rows else []


def _make_detail(result: TestResult) -> str:
    message = shorten_message(result.message, MAX_MESSAGE)
    text = (
        f"**{escape_markdown(result.test)}** on {escape_markdown(result.board or 'no board')}: "
        f"{result.kind}\n\n"
        f"{make_markdown_block(message)}"
    )
    if result.replay:
        text += f"\n\nTo replay it without the board:\n\n{make_markdown_block(result.replay)}"
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
    head = ("test", *(escape_markdown(name or "none") for name in boards))
    return [title, make_markdown_table(head, rows)]


def _make_cell(result: TestResult | None) -> str:
    if result is None:
        return ""
    figures = [f"{each.name} {each.text}" for each in result.figures]
    return ", ".join([str(result.kind), *figures])
