"""What ``lenslink conform`` prints and writes, and how it ends."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree.ElementTree import Element, XMLPullParser

import pytest

from lenslink.cli.main import main
from lenslink_hil.conformance import clauses as clauses_module
from lenslink_hil.conformance import live, report, verdicts
from lenslink_hil.conformance import selftest as selftest_module
from lenslink_hil.conformance.cases import Case
from lenslink_hil.conformance.clauses import Clause
from lenslink_hil.conformance.run_info import RunInfo
from lenslink_hil.conformance.verdicts import (
    ERROR,
    FAILED,
    NOT_CLAIMED,
    NOT_RUN,
    PASSED,
    Verdict,
)

FOUND = [
    Verdict("M-FRAME-1", "fields_and_sequence", "module", PASSED, "", 0.25),
    Verdict("M-FRAME-2", "damaged_crcs", "module", FAILED, "<b> & \x1b[31m", 0.5),
    Verdict("M-RESEND-1", "sent_again", "module", NOT_CLAIMED, "no RESEND"),
    Verdict("H-HELLO-1", "FreshNonce", "host", ERROR, "it did not connect"),
    Verdict("M-FRAME-3", "found_after_noise", "module", NOT_RUN, "the module is silent"),
]


def info() -> RunInfo:
    found = RunInfo("sim:, <a> module", "sim:", seed=7)
    found.module = {"maker": "M", "model": "L\x1b", "serial": "S-1", "firmware": "1.2"}
    return found


def test_json() -> None:
    found = report.as_json(FOUND, info())
    assert set(found) == {"schema", "run", "verdicts", "summary"}
    assert found["schema"] == "lenslink.conform/2"
    counted = {"passed": 1, "failed": 1, "not_claimed": 1, "not_run": 1, "errors": 1}
    assert found["summary"] == counted
    assert found["run"]["seed"] == 7
    assert found["run"]["module"]["serial"] == "S-1"
    assert all(found["run"][key] for key in ("date", "url", "lenslink", "spec", "host"))
    assert found["run"]["duration_s"] >= 0
    assert found["verdicts"][0] == {
        "clause": "M-FRAME-1",
        "case": "fields_and_sequence",
        "side": "module",
        "verdict": "passed",
        "detail": "",
        "seconds": 0.25,
    }
    json.dumps(found)


def parsed(data: bytes) -> Element:
    parser = XMLPullParser(["end"])
    parser.feed(data)
    parser.close()
    *_, (_, root) = parser.read_events()
    assert root.tag == "testsuites"
    return root


def test_junit() -> None:
    [suite] = parsed(report.as_junit(FOUND, info()))
    counted = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "5", "failures": "1", "errors": "1", "skipped": "2"}
    properties, *cases = suite
    kinds = [[child.tag for child in case] for case in cases]
    assert kinds == [[], ["failure"], ["skipped"], ["error"], ["skipped"]]
    assert cases[1].get("classname") == "conform.module.M-FRAME-2"
    assert {each.get("name") for each in properties} >= {"date", "module", "URL", "seed", "host"}
    assert cases[1][0].get("message") == "<b> & \N{REPLACEMENT CHARACTER}[31m"


def test_html() -> None:
    text = report.as_html(FOUND, info())
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(text)
    assert "sim:, &lt;a&gt; module" in text
    assert "b" in tags
    assert "&lt;b&gt; &amp;" in text
    assert "serial S-1" in text
    # Self-contained: nothing is loaded.
    assert not {"script", "link", "img"} & set(tags)
    # What is wrong stands twice: at the top, and in its place.
    assert text.count("damaged_crcs") == 2
    assert "MUST NOT act on a packet" in text


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Verdict]:
    """What the next selftest finds."""
    wanted: list[Verdict] = []

    def run_selftest(*arguments: object) -> Iterator[Verdict]:
        del arguments
        return iter(wanted)

    monkeypatch.setattr(selftest_module, "run_selftest", run_selftest)
    return wanted


@pytest.mark.parametrize(
    ("index", "status"), [([0], 0), ([0, 2], 0), ([0, 1], 7), ([0, 3], 11), ([1, 3], 7)]
)
def test_exit_codes(found: list[Verdict], index: list[int], status: int) -> None:
    found += [FOUND[i] for i in index]
    assert main(["conform", "selftest"]) == status


def test_files_and_json(
    found: list[Verdict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found += FOUND
    junit, html = tmp_path / "r.xml", tmp_path / "r.html"
    args = ["conform", "selftest", "--json", "--junit", str(junit), "--html", str(html)]
    assert main(args) == 7
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdicts"] == report.as_json(FOUND, info())["verdicts"]
    assert len(parsed(junit.read_bytes())) == 1
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_lines_for_people(found: list[Verdict], capsys: pytest.CaptureFixture[str]) -> None:
    found += FOUND
    main(["conform", "selftest"])
    lines = capsys.readouterr().out.splitlines()
    # What passed is only counted; nothing that a module says commands the terminal.
    assert [line.split()[0] for line in lines] == ["failed", "not", "error", "not", "1"]
    assert "\x1b" not in "".join(lines)


def test_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "matrix", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == {"schema", "clauses"}
    assert all(set(row) == {"id", "side", "text", "cases"} for row in rows["clauses"])
    assert main(["conform", "matrix"]) == 0
    assert capsys.readouterr().out.count("\n") == len(rows["clauses"])


def test_an_empty_row_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = {"M-NEW-1": Clause("M-NEW-1", "module", "A module MUST.")}
    monkeypatch.setattr(verdicts, "load_clauses", lambda: new)
    assert main(["conform", "matrix", "--json"]) == 7
    captured = capsys.readouterr()
    assert json.loads(captured.out)["clauses"][0]["cases"] == []
    assert "M-NEW-1" in captured.err


def test_a_clause_without_a_case_or_peer_fails_the_selftest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = {"M-NEW-1": Clause("M-NEW-1", "module", "A module MUST.")}
    monkeypatch.setattr(selftest_module, "load_clauses", lambda: new)
    found = list(selftest_module.run_selftest("M-NEW-1"))
    assert [each.verdict for each in found] == [FAILED]


@pytest.mark.parametrize("side", ["module", "host", "selftest"])
def test_lists(side: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = {"module": ["sim:"], "host": ["tcp:127.0.0.1:0"]}.get(side, [])
    assert main(["conform", side, *target, "--list", "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    sides = {clauses_module.load_clauses()[each].side for case in cases for each in case["clauses"]}
    assert sides == ({"module", "host"} if side == "selftest" else {side})


@pytest.mark.parametrize(
    "args",
    [
        ["module", "sim:", "--clause", "M-NO-1"],
        ["module", "sim:", "--clause", "H-HELLO-1"],
        ["module", "nosuch:"],
        ["host", "nosuch:"],
        ["host", "tcp:127.0.0.1:0", "--", "myhost", "--url", "nowhere"],
        ["selftest", "--clause", "X"],
    ],
)
def test_what_makes_no_sense(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", *args]) == 2
    assert capsys.readouterr().err.startswith("lenslink: error: ")


def test_a_defect_of_the_kit_is_an_error() -> None:
    def case(peer: object) -> None:
        del peer
        raise ZeroDivisionError("oops")

    broken = Case("oops", ("M-FRAME-1",), "", case)
    wire = SimpleNamespace(lanes=1, now=lambda: 0.0)
    result = verdicts.run_module_case(broken, wire)  # type: ignore[arg-type]
    assert (result.verdict, result.detail) == (ERROR, "ZeroDivisionError: oops")


def test_the_default_host_is_this_installations() -> None:
    assert "{url}" in live.DEFAULT_COMMAND
    assert "{out}.npy" in live.DEFAULT_COMMAND


@pytest.fixture
def conform(
    found: list[Verdict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., int]:
    """Return a function that runs ``conform selftest`` with made verdicts, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path.parent))
    found += FOUND

    def run(*arguments: str) -> int:
        return main(["conform", "selftest", *arguments])

    return run


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_report_overwrites_a_file_only_by_force(
    option: str, conform: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").write_text("mine", encoding="utf-8")
    assert conform(option, "mine") == 9
    captured = capsys.readouterr()
    assert "use --force" in captured.err
    assert captured.out == ""  # no case was run
    assert Path("mine").read_text(encoding="utf-8") == "mine"
    assert conform(option, "mine", "--force") == 7
    assert Path("mine").read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/r.html", "there is no such folder"),
        ("folder", "it is a folder"),
        ("x/", "names a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    name: str, words: str, conform: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    assert conform("--html", name) in (2, 9)
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""  # no case was run


def test_two_reports_need_two_files(conform: Callable[..., int]) -> None:
    assert conform("--html", "r", "--junit", "./r") == 2


def test_the_verdicts_are_printed_even_if_the_report_cannot_be_written(
    conform: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lenslink_hil.conformance.report.as_html", fail)
    assert conform("--html", "r.html") == 9
    captured = capsys.readouterr()
    assert "failed" in captured.out
    assert "the disk is full" in captured.err
    assert not list(Path().iterdir())
