"""Read the quarantine: tests that are known to fail, each with a reason, an owner and an end.

::

    [[quarantine]]
    test = "tests/test_focus.py::test_*"    # a pattern
    board = "left"                          # a pattern too; absent: any board
    reason = "the lens of this board is loose"
    owner = "ana"
    expires = 2026-12-31

Such tests run. Their failures are reported apart and do not fail the run. An entry that has expired
is an error. Repair the test, or extend the entry.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

_MAX_FILE: Final = 1 << 20
_KEYS: Final = ("test", "board", "reason", "owner", "expires")


class QuarantineError(Exception):
    """Raised if the file is wrong, or if an entry has expired."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One entry."""

    test: str
    board: str
    reason: str
    owner: str
    expires: date

    def __str__(self) -> str:
        return f"{self.reason} ({self.owner}, until {self.expires})"


def read_quarantine(path: Path, today: date) -> list[Quarantine]:
    """Return the entries of the file. Raises :exc:`QuarantineError`."""
    try:
        with path.open("rb") as file:
            values = tomllib.loads(file.read(_MAX_FILE).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise QuarantineError(f"{path}: {error}") from None
    entries = values.pop("quarantine", [])
    if values or not isinstance(entries, list):
        raise QuarantineError(f"{path}: it may have [[quarantine]] tables only")
    return [_read(f"{path}: entry {n}", entry, today) for n, entry in enumerate(entries, 1)]


def _read(where: str, entry: Any, today: date) -> Quarantine:
    from lenslink.url import suggest

    if not isinstance(entry, dict):
        raise QuarantineError(f"{where} is no table")
    for key in entry:
        if key not in _KEYS:
            raise QuarantineError(f"{where}: unknown key '{key}'{suggest(key, _KEYS)}")
    texts = {"board": "*", **entry}
    for key in ("test", "board", "reason", "owner"):
        if not isinstance(texts.get(key), str) or not texts[key].strip():
            raise QuarantineError(f"{where}: {key} is missing or no text")
    expires = entry.get("expires")
    # A datetime is a date too, to Python.
    if type(expires) is not date:
        raise QuarantineError(f"{where}: expires is no date such as 2026-12-31")
    found = Quarantine(texts["test"], texts["board"], texts["reason"], texts["owner"], expires)
    if expires < today:
        raise QuarantineError(
            f"{where} expired on {expires}: {found.test}, {found.owner}: repair the test, "
            "or extend the entry"
        )
    return found


def find_quarantine(entries: Sequence[Quarantine], test: str, board: str) -> Quarantine | None:
    """Return the first entry for the test on the board."""
    for entry in entries:
        # A parameter's brackets are text in a test's name, not a set of characters.
        pattern = entry.test.replace("[", "[[]")
        if fnmatch.fnmatchcase(test, pattern) and fnmatch.fnmatchcase(board, entry.board):
            return entry
    return None
