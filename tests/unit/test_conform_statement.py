"""The statement of conformance: its classes are SPEC.md's, and a failure is never hidden."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from lenslink.cli.main import main
from lenslink.errors import UsageError
from lenslink_hil.conformance.clauses import load_clauses
from lenslink_hil.conformance.report import as_json
from lenslink_hil.conformance.run_info import RunInfo
from lenslink_hil.conformance.statement import CLASSES, Standing, format_statement, make_statement
from lenslink_hil.conformance.verdicts import ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED, Verdict

SPEC = Path(__file__).resolve().parents[2] / "protocol/SPEC.md"


def write(
    folder: Path, side: str = "module", changes: Sequence[tuple[str, str]] = (), left_out: str = ""
) -> Path:
    """Write the results of a run in which every clause passed, but for the *changes*."""
    info = RunInfo("unix:/m, a module", "unix:/m", seed=7)
    info.module = {"maker": "M", "model": "L|1", "serial": "S-1", "firmware": "1.2"}
    info.capabilities = ("RESEND", "EVENTS")
    found = dict(changes)
    verdicts = [
        Verdict(each.id, "case", side, found.get(each.id, PASSED), "", 0.5)
        for each in load_clauses().values()
        if each.side == side and each.id != left_out
    ]
    path = folder / "results.json"
    path.write_text(json.dumps(as_json(verdicts, info)))
    return path


def test_the_classes_are_those_of_the_specification() -> None:
    text = SPEC.read_text(encoding="utf-8").split("\n## Conformance classes\n")[1].split("\n## ")[0]
    found = {}
    for name, clauses in re.findall(r"^\| with (.+?) \|.*\| (.+?) \|$", text, re.MULTILINE):
        listed: list[str] = []
        for part in clauses.replace(" and ", ", ").split(", "):
            if match := re.fullmatch(r"([MH]-\w+-)(\d+) to \1(\d+)", part):
                listed += [f"{match[1]}{n}" for n in range(int(match[2]), int(match[3]) + 1)]
            elif part != "none":
                listed.append(part)
        if listed:
            found[name] = listed
    assert found == {name: list(clauses) for name, clauses in CLASSES.items()}
    assert {each for clauses in CLASSES.values() for each in clauses} <= set(load_clauses())


@pytest.mark.parametrize("side", ["module", "host"])
def test_all_passed_conforms(tmp_path: Path, side: str) -> None:
    path = write(tmp_path, side)
    statement = make_statement(path, None)
    assert statement.standing is Standing.CONFORMS
    standings = statement.find_standings()
    assert {standing for standing, _, _ in standings.values()} == {Standing.CONFORMS}
    # Each clause of the side is in one class.
    clauses = [each for each in load_clauses().values() if each.side == side]
    assert sum(count for _, count, _ in standings.values()) == len(clauses)
    text = format_statement(statement)
    assert f"**The {side} conforms.**" in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert "maker M, model L\\|1, serial S-1, firmware 1.2" in text
    assert ("RESEND, EVENTS" in text) == (side == "module")
    assert "did not pass" not in text


@pytest.mark.parametrize(
    ("changes", "whole", "core", "resend"),
    [
        ([("M-FRAME-2", FAILED)], Standing.FAILS, Standing.FAILS, Standing.CONFORMS),
        ([("M-RESEND-2", FAILED)], Standing.FAILS, Standing.CONFORMS, Standing.FAILS),
        ([("M-FRAME-2", ERROR)], Standing.INCOMPLETE, Standing.INCOMPLETE, Standing.CONFORMS),
        ([("M-RESEND-1", NOT_RUN)], Standing.INCOMPLETE, Standing.CONFORMS, Standing.INCOMPLETE),
        (
            [(f"M-RESEND-{n}", NOT_CLAIMED) for n in range(1, 5)],
            Standing.CONFORMS,
            Standing.CONFORMS,
            Standing.NOT_CLAIMED,
        ),
    ],
)
def test_the_worst_clause_decides(
    tmp_path: Path,
    changes: list[tuple[str, str]],
    whole: Standing,
    core: Standing,
    resend: Standing,
) -> None:
    statement = make_statement(write(tmp_path, changes=changes), None)
    standings = statement.find_standings()
    assert (statement.standing, standings["core"][0], standings["RESEND"][0]) == (
        whole,
        core,
        resend,
    )
    assert f"| {changes[0][0]} |" in format_statement(statement)


def test_what_was_not_tried_is_not_conforming(tmp_path: Path) -> None:
    assert make_statement(write(tmp_path, left_out="M-FRAME-2"), None).standing is (
        Standing.INCOMPLETE
    )


WAIVER = '[[waiver]]\nclause = "M-FRAME-2"\nreason = "fixed in 1.3"\nowner = "ana"\n'


def test_a_waiver_is_said_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, changes=[("M-FRAME-2", FAILED)])
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(WAIVER)
    assert main(["conform", "statement", str(path)]) == 7
    target = tmp_path / "a statement.md"
    command = ["conform", "statement", str(path), "--waivers", str(waivers), "-o", str(target)]
    assert main(command) == 0
    text = target.read_text()
    assert "**The module conforms with waivers (1 waiver).**" in text
    assert re.search(r"^\| M-FRAME-2 \|.*\| failed \| fixed in 1\.3 \| ana \|$", text, re.MULTILINE)
    assert main(command) == 9
    capsys.readouterr()
    write(tmp_path, changes=[("M-FRAME-1", ERROR)])
    assert main(["conform", "statement", str(path)]) == 11
    assert "**The module is not fully tested.**" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("M-FRAME-2", "M-FRAME-1", "M-FRAME-1 did not fail, so remove its waiver"),
        ("M-FRAME-2", "M-FRAME-99", "there is no clause 'M-FRAME-99'"),
        ("owner", "ownr", "unknown key 'ownr'; did you mean 'owner'?"),
        ('reason = "fixed in 1.3"\n', "", "reason is missing or no text"),
        ("[[waiver]]", "[waiver]", "it may have [[waiver]] tables"),
        ("[[waiver]]", "[[", "Invalid"),
    ],
)
def test_a_wrong_waiver_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write(tmp_path, changes=[("M-FRAME-2", FAILED)])
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(WAIVER.replace(old, new))
    with pytest.raises(UsageError) as caught:
        make_statement(path, waivers)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lenslink.conform/2", "lenslink.conform/1", "its schema is 'lenslink.conform/1'"),
        ('"passed"', '"fine"', "'fine' is no verdict"),
        ("M-FRAME-2", "M-NONE-1", "there is no clause 'M-NONE-1'"),
        ('["RESEND", "EVENTS"]', "[3]", "'capabilities' is no list of names"),
        ("{", "[", "it holds no JSON"),
    ],
)
def test_wrong_results_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError, match=re.escape(said)):
        make_statement(path, None)
