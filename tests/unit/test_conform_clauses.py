"""The clauses of SPEC.md: each has an identifier, a case, and a broken peer that the case fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lenslink_hil.conformance import broken_hosts, broken_modules
from lenslink_hil.conformance.clauses import load_clauses
from lenslink_hil.conformance.selftest import run_selftest
from lenslink_hil.conformance.verdicts import (
    build_matrix,
    find_cases,
    list_host_cases,
    list_module_cases,
)
from lenslink_protocol.codegen import make_clauses_json

SPEC = Path(__file__).resolve().parents[2] / "protocol/SPEC.md"


def test_clauses_are_those_of_the_specification() -> None:
    found = json.loads(make_clauses_json(SPEC.read_text(encoding="utf-8")))
    assert [each["id"] for each in found] == list(load_clauses())
    assert {clause.side for clause in load_clauses().values()} == {"module", "host"}
    assert all(clause.id[0] == clause.side[0].upper() for clause in load_clauses().values())


def test_every_must_stands_in_a_clause() -> None:
    text = SPEC.read_text(encoding="utf-8")
    introduction, rest = text.split("## 1. Overview")
    del introduction
    clause = r"^- \*\*\[[MH]-[A-Z]+-\d+\]\*\* .+?(?=\n- |\n\n)"
    outside = re.sub(clause, "", rest, flags=re.S | re.M)
    assert re.findall(r"[^.]*\bMUST\b[^.]*\.", outside) == []
    assert re.findall(r"\[[MH]-[A-Z]+-\d+\]", outside) == []
    assert all("MUST" in each.text for each in load_clauses().values())


def test_an_identifier_names_one_clause() -> None:
    twice = "- **[M-X-1]** A module MUST.\n- **[M-X-1]** It MUST.\n\n"
    with pytest.raises(ValueError, match="twice"):
        make_clauses_json(twice)


def test_no_row_of_the_matrix_is_empty() -> None:
    assert [row["id"] for row in build_matrix()] == list(load_clauses())
    assert [row["id"] for row in build_matrix() if not row["cases"]] == []
    assert all(case.doc for case in [*list_module_cases(), *list_host_cases()])


def test_cases_name_clauses_of_their_side() -> None:
    for side, cases in (("module", list_module_cases()), ("host", list_host_cases())):
        for case in cases:
            assert {load_clauses()[each].side for each in case.clauses} == {side}, case.name


def test_every_clause_has_three_broken_peers() -> None:
    broken = {**broken_modules.BROKEN, **broken_hosts.BROKEN}
    assert sorted(broken) == sorted(load_clauses())
    few = {clause: len(peers) for clause, peers in broken.items() if len(peers) < 3}
    assert few == {}
    for clause, peers in broken.items():
        names = [peer.name for peer in peers]
        assert len(names) == len(set(names)), clause


@pytest.mark.parametrize("clause", load_clauses())
def test_the_case_passes_the_good_peer_and_fails_the_broken_one(clause: str) -> None:
    found = list(run_selftest(clause))
    assert len(found) >= len(find_cases(clause)) + 1
    assert [each for each in found if each.verdict != "passed"] == []
