"""Read the documents that a page is made from: ``report.json``, and the conformance kit's JSON.

A document may come from anywhere. Each value is checked before it is used, and what a page cannot
hold is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from lenslink.errors import UsageError

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

MAX_FILE: Final = 64 << 20
MAX_ITEMS: Final = 100_000
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def read_document(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UsageError: It cannot be read, is longer than 64 MiB, or holds no object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{path}: more than {MAX_FILE >> 20} MiB are no report")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} holds no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object")
    return found


def read_report(path: Path) -> RunReport:
    """Return the report in a file, or the conformance run in it as a report.

    Raises:
        UsageError: It cannot be read, or holds neither.
    """
    from ..conformance.report import SCHEMA as CONFORM_SCHEMA

    found = read_document(path)
    schema = found.get("schema")
    readers = {SCHEMA: _parse_report, CONFORM_SCHEMA: _parse_conform}
    if schema not in readers:
        wanted = " or ".join(readers)
        raise UsageError(f"{path} has the schema {schema!r}, and a report has {wanted}")
    try:
        return readers[schema](found)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _get(data: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = data.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    is_finite = not isinstance(value, int | float) or math.isfinite(value)
    if not isinstance(value, kind) or not is_finite:
        raise ValueError(f"{key!r} is not {kind.__name__}: {str(value)[:40]!r}")
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise ValueError(f"{key!r} has more than {MAX_ITEMS} entries")
    return value


def _get_items(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = _get(data, key, list)
    if not all(isinstance(each, dict) for each in items):
        raise ValueError(f"{key!r} is no list of objects")
    return items


def _get_choice(data: Mapping[str, Any], key: str, kinds: type[E]) -> E:
    text = _get(data, key, str)
    try:
        return kinds(text)
    except ValueError:
        raise ValueError(f"{key!r} is none of {', '.join(kinds)}: {text[:40]!r}") from None


def _parse_texts(data: Mapping[str, Any]) -> dict[str, str]:
    return {key: _get(data, key, str) for key in data}


def _parse_report(data: Mapping[str, Any]) -> RunReport:
    boards = _get(data, "boards", dict)
    return RunReport(
        _get_choice(data, "state", State),
        tuple(_parse_texts(each) for each in _get_items(data, "runs")),
        {name: _parse_texts(_get(boards, name, dict)) for name in boards},
        tuple(_parse_result(each) for each in _get_items(data, "results")),
        _get(data, "not_reached", int),
    )


def _parse_result(data: Mapping[str, Any]) -> TestResult:
    counters = _get(data, "counters", dict)
    return TestResult(
        _get(data, "test", str),
        _get(data, "board", str),
        _get_choice(data, "kind", ResultKind),
        _get(data, "seconds", float),
        _get(data, "message", str),
        tuple(parse_figure(each) for each in _get_items(data, "figures")),
        tuple(parse_picture(each) for each in _get_items(data, "pictures")),
        {key: _get(counters, key, int) for key in counters},
        _get(data, "recoveries", int),
        _get(data, "recording", str),
        _get(data, "replay", str),
    )


def parse_figure(data: Mapping[str, Any]) -> Figure:
    """Return a figure of a JSON object; raise ValueError if it is none."""
    earlier = _get(data, "earlier", list)
    return Figure(
        _get(data, "name", str),
        _get(data, "value", float),
        _get(data, "unit", str),
        _get(data, "is_smaller_better", bool),
        _get_choice(data, "trend", Trend),
        tuple(_get({"earlier": each}, "earlier", float) for each in earlier),
    )


def parse_picture(data: Mapping[str, Any]) -> Picture:
    """Return a picture of a JSON object; raise ValueError if it is none."""
    jpeg = _get(data, "jpeg", str)
    try:
        base64.b64decode(jpeg, validate=True)
    except binascii.Error:
        raise ValueError("'jpeg' is not base64") from None
    return Picture(_get(data, "title", str), jpeg)


_KINDS: Final = {
    "passed": ResultKind.PASSED,
    "failed": ResultKind.FAILED,
    "error": ResultKind.RIG_ERROR,
}


def _parse_conform(data: Mapping[str, Any]) -> RunReport:
    """Return a run of the conformance kit as a report: a clause and its case make a test."""
    run = _get(data, "run", dict)
    module = _parse_texts(_get(run, "module", dict))
    board = module.get("serial") or _get(run, "subject", str)
    facts = {key: str(value) for key, value in run.items() if key != "module" and value != ""}
    results = []
    for each in _get_items(data, "verdicts"):
        verdict, detail = _get(each, "verdict", str), _get(each, "detail", str)
        kind = _KINDS.get(verdict, ResultKind.SKIPPED)
        if kind is ResultKind.SKIPPED:
            detail = f"{verdict}: {detail}"
        name = f"{_get(each, 'clause', str)} {_get(each, 'case', str)}"
        results.append(TestResult(name, board, kind, _get(each, "seconds", float), detail))
    return RunReport(State.FINISHED, (facts,), {board: module}, tuple(results))
