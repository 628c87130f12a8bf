"""The clauses of SPEC.md, read from the file that ``make gen`` writes from SPEC.md."""

from __future__ import annotations

import hashlib
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
    return {each["id"]: Clause(**each) for each in json.loads(_read())}


def hash_clauses() -> str:
    """Return the SHA-256 of the clauses: it tells which text a run was judged by."""
    return hashlib.sha256(_read()).hexdigest()


@cache
def _read() -> bytes:
    text = files("lenslink_protocol").joinpath("clauses.json").read_text(encoding="utf-8")
    # Line ends depend on the checkout, and the hash must not.
    return text.encode()
