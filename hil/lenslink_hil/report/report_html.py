"""``report.json`` as one page of HTML: it loads nothing, and needs no JavaScript.

The page is bounded: 500 tests on four boards stay below 1 MB. What is left out is said, and is in
``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from .html_page import make_class, make_facts, make_page, make_table, make_tiles
from .report_document import (
    Figure,
    ResultKind,
    RunReport,
    State,
    TestResult,
    Trend,
    describe_verdict,
    shorten_message,
    sum_counters,
)
from .sparkline import draw_sparkline

MAX_DETAILS: Final = 100
MAX_MESSAGE: Final = 1_200
MAX_PICTURE_BYTES: Final = 200_000
MAX_POINTS: Final = 20
MAX_LINES: Final = 1_200
MAX_CELL_FIGURES: Final = 3
TITLE: Final = "LensLink test report"


def make_html(report: RunReport) -> str:
    """Return the page."""
    pictures = _Pictures()
    wrong = report.list_wrong()
    is_good = report.state is State.FINISHED and not wrong
    counts = report.count_kinds()
    parts = [
        f"<h1>{TITLE}</h1>",
        f"<p class='verdict {'passed' if is_good else 'failed'}'>"
        f"{escape(describe_verdict(report))}</p>",
        make_tiles((counts[kind], str(kind)) for kind in ResultKind),
        _make_boards(report),
    ]
    if wrong:
        parts.append("<h2>What is wrong</h2>")
        parts += [_make_detail(each, pictures) for each in wrong[:MAX_DETAILS]]
        if len(wrong) > MAX_DETAILS:
            parts.append(f"<p>{len(wrong) - MAX_DETAILS} more are in report.json.</p>")
    if report.results:
        parts += ["<h2>Every test on every board</h2>", _make_matrix(report)]
    parts += _make_gallery(report, pictures)
    if reasons := report.count_reasons():
        rows = (f"<td>{count}<td class=detail>{escape(reason)}" for reason, count in reasons)
        parts += ["<h2>Skipped, or in quarantine</h2>", make_table(("Tests", "Reason"), rows)]
    parts.append("<h2>The run</h2>")
    parts += [make_facts(facts.items()) for facts in report.runs]
    return make_page(TITLE, parts)


def _make_boards(report: RunReport) -> str:
    """Return what is known of each board: facts, outcomes, counters of its link."""
    columns: list[tuple[str, Mapping[str, str]]] = []
    for name, facts in report.boards.items():
        counts = report.count_kinds(name)
        rows = dict(facts)
        rows |= {str(kind): str(counts[kind]) for kind in ResultKind if counts[kind]}
        recoveries = sum(each.recoveries for each in report.results if each.board == name)
        if recoveries:
            rows["recoveries"] = str(recoveries)
        rows |= {key: f"{value:,}" for key, value in sum_counters(report, name).items()}
        columns.append((name, rows))
    names = list(dict.fromkeys(key for _, rows in columns for key in rows))
    body = (
        f"<td>{escape(key)}" + "".join(f"<td>{escape(rows.get(key, ''))}" for _, rows in columns)
        for key in names
    )
    return make_table(("Board", *(name or "none" for name, _ in columns)), body)


def _make_detail(result: TestResult, pictures: _Pictures) -> str:
    """Return what is to be known of a failure: message, recording, replay command, pictures."""
    message = shorten_message(result.message, MAX_MESSAGE)
    parts = [
        f"<h3>{escape(result.test)}</h3><p><span class='v {make_class(result.kind)}'>"
        f"{escape(result.kind)}</span> on {escape(result.board or 'no board')}, "
        f"{result.seconds:.1f} s</p>",
        f"<pre>{escape(message)}</pre>",
    ]
    if result.recording:
        parts.append(f"<p>Recording: <code>{escape(result.recording)}</code></p>")
    if result.replay:
        parts.append(f"<p>To replay it without the board:</p><pre>{escape(result.replay)}</pre>")
    return "".join(parts) + pictures.draw(result)


def _make_matrix(report: RunReport) -> str:
    boards = list(report.boards)
    found = {(each.test, each.board): each for each in report.results}
    count = sum(len(each.figures[:MAX_CELL_FIGURES]) for each in report.results)
    has_lines = count <= MAX_LINES
    rows = (
        f"<td>{escape(test)}"
        + "".join(_make_cell(found.get((test, board)), has_lines) for board in boards)
        for test in report.list_tests()
    )
    note = "An empty cell was not run."
    if count:
        note += " A line shows earlier runs and this one." if has_lines else (
            " Only figures that have dropped have a line of earlier runs."
        )  # fmt: skip
    table = make_table(("Test", *(name or "none" for name in boards)), rows, "matrix")
    return f"<p><small>{note}</small></p>{table}"


def _make_cell(result: TestResult | None, has_lines: bool) -> str:
    if result is None:
        return "<td>"
    word = f"<span class='v {make_class(result.kind)}'>{escape(result.kind)}</span>"
    if result.recoveries and result.kind is ResultKind.PASSED:
        word = f"<span class='v recovered'>passed, {result.recoveries} recovered</span>"
    shown = sorted(result.figures, key=lambda each: each.trend is not Trend.DROPPED)
    cell = f"<td>{word}"
    for each in shown[:MAX_CELL_FIGURES]:
        cell += f"<br>{_make_figure(each, has_lines)}"
    if len(shown) > MAX_CELL_FIGURES:
        cell += f"<br><small>{len(shown) - MAX_CELL_FIGURES} more figures</small>"
    return cell


def _make_figure(figure: Figure, has_line: bool) -> str:
    has_dropped = figure.trend is Trend.DROPPED
    kind = " class=dropped" if has_dropped else ""
    text = f"<small{kind}>{escape(figure.name)} {escape(figure.text)}</small>"
    if has_line or has_dropped:
        text += draw_sparkline([*figure.earlier[-MAX_POINTS:], figure.value])
    return text


def _make_gallery(report: RunReport, pictures: _Pictures) -> Iterator[str]:
    """Yield the pictures of tests that did not fail; those of failures stand beside them."""
    wrong = report.list_wrong()
    shown = [
        f"<h3>{escape(each.test)} on {escape(each.board or 'no board')}</h3>{drawn}"
        for each in report.results
        if each.pictures and each not in wrong and (drawn := pictures.draw(each))
    ]
    if shown:
        yield "<h2>Pictures</h2>"
        yield from shown
    if pictures.left_out:
        yield f"<p>{pictures.left_out} more pictures are in report.json.</p>"


class _Pictures:
    """Draws pictures as long as the page has room for them."""

    def __init__(self) -> None:
        self.left_out = 0
        self._room = MAX_PICTURE_BYTES

    def draw(self, result: TestResult) -> str:
        """Return the pictures of a test as HTML."""
        text = ""
        for each in result.pictures:
            if len(each.jpeg) > self._room:
                self.left_out += 1
                continue
            self._room -= len(each.jpeg)
            title = escape(each.title, quote=True)
            text += (
                f'<figure><img alt="{title}" src="data:image/jpeg;base64,{each.jpeg}">'
                f"<figcaption>{title}</figcaption></figure>"
            )
        return text
