"""Read the documents that a page is made from: ``report.json``, and the conformance kit's JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lenslink.errors import UsageError

from .json_values import get_choice, get_objects, get_texts, get_value, parse_object, read_bytes
from .report_document import (
    SCHEMA,
    Figure,
    Picture,
    ResultKind,
    RunReport,
    State,
    TestResult,
    Trend,
)


def read_report(path: Path) -> RunReport:
    """Return the report in a file, or the conformance run in it as a report.

    Raises:
        UsageError: It cannot be read, or holds neither.
    """
    from ..conformance.report import SCHEMA as CONFORM_SCHEMA

    try:
        found = parse_object(read_bytes(path))
        schema = found.get("schema")
        if schema == SCHEMA:
            return _parse_report(found)
        if schema == CONFORM_SCHEMA:
            return _parse_conform(found)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    raise UsageError(
        f"{path} has the schema {schema!r}, and a report has {SCHEMA} or {CONFORM_SCHEMA}"
    )


def _parse_report(data: Mapping[str, Any]) -> RunReport:
    boards = get_value(data, "boards", dict)
    runs = get_objects(data, "runs")
    return RunReport(
        get_choice(data, "state", State),
        tuple(get_texts({"run": each}, "run") for each in runs),
        {name: get_texts(boards, name) for name in boards},
        tuple(_parse_result(each) for each in get_objects(data, "results")),
        get_value(data, "not_reached", int),
    )


def _parse_result(data: Mapping[str, Any]) -> TestResult:
    counters = get_value(data, "counters", dict)
    return TestResult(
        get_value(data, "test", str),
        get_value(data, "board", str),
        get_choice(data, "kind", ResultKind),
        get_value(data, "seconds", float),
        get_value(data, "message", str),
        tuple(parse_figure(each) for each in get_objects(data, "figures")),
        tuple(parse_picture(each) for each in get_objects(data, "pictures")),
        {key: get_value(counters, key, int) for key in counters},
        get_value(data, "recoveries", int),
        get_value(data, "recording", str),
        get_value(data, "replay", str),
    )


def parse_figure(data: Mapping[str, Any]) -> Figure:
    """Return a figure of a JSON object; raise ValueError if it is none."""
    earlier = get_value(data, "earlier", list)
    return Figure(
        get_value(data, "name", str),
        get_value(data, "value", float),
        get_value(data, "unit", str),
        get_value(data, "is_smaller_better", bool),
        get_choice(data, "trend", Trend),
        tuple(get_value({"earlier": each}, "earlier", float) for each in earlier),
    )


def parse_picture(data: Mapping[str, Any]) -> Picture:
    """Return a picture of a JSON object; raise ValueError if it is none."""
    jpeg = get_value(data, "jpeg", str)
    try:
        base64.b64decode(jpeg, validate=True)
    except ValueError:
        raise ValueError("'jpeg' is not base64") from None
    return Picture(get_value(data, "title", str), jpeg)


_KINDS: Final = {
    "passed": ResultKind.PASSED,
    "failed": ResultKind.FAILED,
    "error": ResultKind.RIG_ERROR,
}


def _parse_conform(data: Mapping[str, Any]) -> RunReport:
    """Return a run of the conformance kit as a report: a clause and its case make a test."""
    from ..conformance.verdict_reader import parse_run

    run = parse_run(data)
    board = run.module.get("serial") or run.facts.get("subject", "")
    results = []
    for each in run.verdicts:
        kind, detail = _KINDS.get(each.verdict, ResultKind.SKIPPED), each.detail
        if kind is ResultKind.SKIPPED:
            detail = f"{each.verdict}: {detail}"
        name = f"{each.clause} {each.case}"
        results.append(TestResult(name, board, kind, each.seconds, detail))
    facts = {key: value for key, value in run.facts.items() if value}
    return RunReport(State.FINISHED, (facts,), {board: run.module}, tuple(results))
