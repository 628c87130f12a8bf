"""Pages of a report: bounded, loading nothing, with the verdict first; and what is no report."""

from __future__ import annotations

import doctest
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.made_reports import make_picture, make_report

from lenslink.cli.main import main
from lenslink.errors import UsageError
from lenslink_hil.conformance.report import as_json
from lenslink_hil.conformance.run_info import RunInfo
from lenslink_hil.conformance.verdicts import ERROR, FAILED, NOT_CLAIMED, PASSED, Verdict
from lenslink_hil.plugin import report_notes, report_writer
from lenslink_hil.report import (
    board_history,
    html_page,
    json_values,
    markdown_text,
    report_document,
    run_facts,
    sparkline,
)
from lenslink_hil.report.json_values import MAX_FILE
from lenslink_hil.report.report_document import (
    Figure,
    ResultKind,
    RunReport,
    State,
    TestResult,
    Trend,
    describe_verdict,
    join_reports,
)
from lenslink_hil.report.report_html import MAX_DETAILS, make_html
from lenslink_hil.report.report_markdown import MAX_ROWS, make_markdown
from lenslink_hil.report.report_reader import read_report

RUN = {"date": "2026-11-30", "seed": "5"}
NAN = float("nan")
EVIL = "</pre><script>alert(1)</script> | `x` <b>"


@pytest.mark.parametrize(
    "module",
    [
        board_history,
        html_page,
        json_values,
        markdown_text,
        report_document,
        report_notes,
        run_facts,
        sparkline,
    ],
    ids=lambda module: module.__name__,
)
def test_the_examples_hold(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert (done.failed, done.attempted > 0) == (0, True)


def test_a_test_that_hangs_is_reported_with_its_innermost_calls() -> None:
    stacks = "\n".join(f'  File "x.py", line {number} in f{number}' for number in range(100))
    phase = pytest.TestReport(
        "test_a", ("x.py", 0, "test_a"), {}, "failed", "it did not end", "call",
        sections=[("stdout", "noise"), ("stacks", stacks)],
    )  # fmt: skip
    kind, message = report_writer.judge_phase(phase)
    assert kind is ResultKind.FAILED
    assert message.startswith("it did not end\n  File")
    assert "in f0" in message
    assert "in f50" not in message
    assert "noise" not in message


def result(kind: ResultKind = ResultKind.PASSED, test: str = "test_a", **more: Any) -> TestResult:
    return TestResult(test, "left", kind, **more)


def report(*results: TestResult, state: State = State.FINISHED, not_reached: int = 0) -> RunReport:
    return RunReport(state, (RUN,), {"left": {"serial": "LL-1"}}, results, not_reached)


def list_tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    tags: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(page)
    return tags


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (report(result()), "Passed: 1 test on 1 board."),
        (report(result(), not_reached=3), "Passed: 1 test on 1 board; 3 not reached."),
        (report(), "Nothing was tested."),
        (
            report(result(ResultKind.SKIPPED)),
            "Nothing was tested: all of 1 test on 1 board; 1 skipped.",
        ),
        (
            report(result(ResultKind.FAILED), result(ResultKind.RIG_ERROR, "test_b")),
            "Failed: 1 of 2 tests on 1 board; 1 rig error.",
        ),
        (
            report(result(ResultKind.RIG_ERROR), result(ResultKind.QUARANTINED, "test_b")),
            "Rig error: 1 of 2 tests on 1 board could not be judged, none failed; "
            "1 failed in quarantine.",
        ),
        (
            report(result(ResultKind.FAILED), state=State.ABANDONED),
            "Abandoned: the run did not reach its end; 1 failed of 1 test on 1 board.",
        ),
    ],
)
def test_the_verdict_comes_first_in_one_sentence(made: RunReport, sentence: str) -> None:
    assert describe_verdict(made) == sentence
    assert make_markdown(made).startswith(f"**{sentence}**")
    page = make_html(made)
    assert re.search(r"<p class='verdict (\w+)'>([^<]*)</p>", page)[2] == sentence  # type: ignore[index]
    assert f"verdict {'passed' if sentence.startswith(('Passed', 'Nothing')) else 'failed'}" in page


def test_a_large_page_is_small_and_loads_nothing() -> None:
    made = make_report(500, 4, 60)
    figures = tuple(Figure(f"a_figure_with_a_long_name_{n}", 1.0, "MB/s") for n in range(20))
    for each in (
        made,
        replace(made, results=tuple(replace(r, figures=figures) for r in made.results)),
    ):
        page = make_html(each)
        assert len(page.encode()) < 1_000_000
        assert f"{240 - MAX_DETAILS} more are in report.json" in page
        assert "more pictures are in report.json" in page
        text = make_markdown(each)
        assert len(text.encode()) < 1 << 20
        assert text.count("\n| tests/") <= MAX_ROWS
    tags = list_tags(page)
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "object"})
    sources = [value for _, attributes in tags for value in (attributes.get("src"),) if value]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in page
    assert "http" not in page


def test_a_failure_has_its_recording_its_command_and_its_frames() -> None:
    page = make_html(make_report(3, 2, 1))
    assert "out/evidence/0.lcap" in page
    assert page.count("pytest test.py --lens replay:0.lcap") == 2
    assert page.count("data:image/jpeg") == 2
    # Three tests on two boards have a line of earlier runs each.
    assert page.count("<svg>") == 6
    assert "frames_per_s 29.8 1/s" in page
    # Counters of the link are summed over the tests.
    assert "<td>lost packets<td>0<td>0" in page
    assert "<td>frames<td>36<td>36" in page


def test_a_drop_is_marked_and_comes_first() -> None:
    steady = tuple(Figure(f"f{number}", 1.0) for number in range(3))
    figure = Figure("late", 25.0, "1/s", False, Trend.DROPPED, (30.0,) * 8)
    page = make_html(report(result(ResultKind.FAILED, figures=(*steady, figure))))
    assert "<small class=dropped>late 25 1/s</small><svg>" in page
    assert "1 more figures" in page


def test_text_of_others_is_text() -> None:
    made = RunReport(
        State.FINISHED,
        ({EVIL: EVIL},),
        {EVIL: {EVIL: EVIL}},
        (
            TestResult(
                EVIL,
                EVIL,
                ResultKind.FAILED,
                message=EVIL,
                figures=(Figure("f", 1.0, EVIL),),
                pictures=(replace(make_picture(1), title=f"' onload=x {EVIL}"),),
                counters={EVIL: 1},
                recording=EVIL,
                replay=EVIL,
            ),
            TestResult("test_b", EVIL, ResultKind.SKIPPED, message=EVIL),
        ),
    )
    tags = list_tags(make_html(made))
    assert {"script", "b"} & {tag for tag, _ in tags} == {"b"}
    # The only b's are ours: the counts of five outcomes.
    assert [tag for tag, _ in tags].count("b") == 5
    assert all(set(attributes) <= {"alt", "src"} for tag, attributes in tags if tag == "img")
    outside = re.sub(r"(`{3,})\n.*?\n\1", "", make_markdown(made), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<", outside)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = make_report(5, 2, 1)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made.as_json()))
    assert read_report(path) == made


def test_a_conformance_run_is_a_report(tmp_path: Path) -> None:
    info = RunInfo("sim:, a module", "sim:", seed=7)
    info.module = {"maker": "M", "model": "L", "serial": "S-1", "firmware": "1.2"}
    verdicts = [
        Verdict("M-FRAME-1", "fields", "module", PASSED),
        Verdict("M-FRAME-2", "crcs", "module", FAILED, "wrong"),
        Verdict("M-RESEND-1", "again", "module", NOT_CLAIMED, "no RESEND"),
        Verdict("M-FRAME-3", "noise", "module", ERROR, "gone"),
    ]
    path = tmp_path / "conform.json"
    path.write_text(json.dumps(as_json(verdicts, info)))
    found = read_report(path)
    kinds = [ResultKind.PASSED, ResultKind.FAILED, ResultKind.SKIPPED, ResultKind.RIG_ERROR]
    assert [each.kind for each in found.results] == kinds
    assert {each.board for each in found.results} == {"S-1"}
    assert found.results[2].message == "not claimed: no RESEND"
    assert "M-FRAME-2 crcs" in make_html(found)
    both = join_reports([found, make_report(2, 1, 0)])
    assert list(both.boards) == ["S-1", "left"]
    assert len(both.runs) == 2


def test_a_later_run_of_a_test_replaces_an_earlier_one() -> None:
    bad, good = report(result(ResultKind.FAILED)), report(result())
    assert [each.kind for each in join_reports([bad, good]).results] == [ResultKind.PASSED]
    abandoned = report(state=State.ABANDONED)
    assert join_reports([good, abandoned]).state is State.ABANDONED


def change(**values: Any) -> str:
    made: dict[str, Any] = json.loads(json.dumps(make_report(1, 1, 1).as_json()))
    made["results"][0] |= {k: v for k, v in values.items() if k in made["results"][0]}
    made |= {k: v for k, v in values.items() if k in made}
    return json.dumps(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no JSON"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "holds no JSON"),
        ('{"schema": "lenslink.report/9"}', "has the schema 'lenslink.report/9'"),
        (change(state="done"), "'state' is none of abandoned, finished: 'done'"),
        (change(results={}), "'results' is not list"),
        (change(results=[3]), "'results' is no list of objects"),
        (change(boards={"left": "x"}), "'left' is not dict"),
        (change(seconds="1"), "'seconds' is not float"),
        (change(kind="fine"), "'kind' is none of failed"),
        (change(counters={"frames": 1.5}), "'frames' is not int"),
        (change(pictures=[{"title": "", "jpeg": '"><script>'}]), "'jpeg' is not base64"),
        (change(figures=[{"name": "x", "value": NAN, "earlier": []}]), "'value' is not float"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_report(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 2)
    with pytest.raises(UsageError, match="more than 64 MiB"):
        read_report(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "report.json"
    made.write_text(json.dumps(make_report(2, 1, 1).as_json()))
    page = tmp_path / "a page.html"
    assert main(["report", str(made), "-o", str(page)]) == 0
    assert "Failed: 1 of 2 tests on 1 board." in capsys.readouterr().err
    assert page.read_text().startswith("<!doctype html>")
    assert main(["report", str(made), "-o", str(page)]) == 9
    assert main(["report", str(made), "-o", str(page), "--force"]) == 0
    assert main(["report", str(made), "-o", str(tmp_path / "x.md")]) == 0
    capsys.readouterr()
    assert main(["report", str(made)]) == 0
    assert capsys.readouterr().out == (tmp_path / "x.md").read_text()
    assert main(["report", str(made), "-o", str(tmp_path / "x.pdf")]) == 2
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert main(["report"]) == 2
