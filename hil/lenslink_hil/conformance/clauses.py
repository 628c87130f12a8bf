"""The clauses of SPEC.md, read from the file that ``make gen`` writes from SPEC.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Clause:
    """One MUST. ``side`` is ``module`` or ``host``."""

    id: str
    side: str
    text: str


@cache
def load_clauses() -> dict[str, Clause]:
    """Return every clause by its identifier, in SPEC.md's order."""
    text = files("lenslink_protocol").joinpath("clauses.json").read_text(encoding="utf-8")
    return {each["id"]: Clause(**each) for each in json.loads(text)}
