"""Read what ``lenslink conform module --json`` has printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..report.json_values import get_objects, get_texts, get_value
from .clauses import load_clauses
from .report import SCHEMA
from .verdicts import ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED, Verdict

_VERDICTS = (ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED)


@dataclass(frozen=True, slots=True)
class ConformanceRun:
    """A run of the kit."""

    facts: Mapping[str, str]
    """Date, versions, seed and the like, by name."""
    module: Mapping[str, str]
    """Maker, model, serial and firmware; empty for a host."""
    capabilities: tuple[str, ...]
    """The capabilities that the module offers; empty for a host."""
    verdicts: tuple[Verdict, ...]


def parse_run(data: Mapping[str, Any]) -> ConformanceRun:
    """Return the run in a JSON object; raise ValueError if there is none in it."""
    if data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {data.get('schema')!r} and not {SCHEMA}")
    run = get_value(data, "run", dict)
    kinds = (str, int, float)
    facts = {key: str(value) for key, value in run.items() if isinstance(value, kinds)}
    names = get_value(run, "capabilities", list)
    if not all(isinstance(each, str) for each in names):
        raise ValueError("'capabilities' is no list of names")
    verdicts = tuple(_parse_verdict(each) for each in get_objects(data, "verdicts"))
    if not verdicts:
        raise ValueError("it has no verdicts")
    return ConformanceRun(facts, get_texts(run, "module"), tuple(names), verdicts)


def _parse_verdict(data: Mapping[str, Any]) -> Verdict:
    verdict = get_value(data, "verdict", str)
    if verdict not in _VERDICTS:
        raise ValueError(f"{verdict[:40]!r} is no verdict")
    clause = get_value(data, "clause", str)
    if clause not in load_clauses():
        raise ValueError(f"there is no clause {clause[:40]!r}")
    return Verdict(
        clause,
        get_value(data, "case", str),
        get_value(data, "side", str),
        verdict,
        get_value(data, "detail", str),
        get_value(data, "seconds", float),
    )
