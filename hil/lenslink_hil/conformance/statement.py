"""A statement of conformance for others: what was tested, by what, and with which result.

It is made from the JSON of a run, and says nothing that the JSON does not have. Waivers are the
maker's: a failure that the maker knows, and why it is accepted.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from lenslink.errors import UsageError
from lenslink.url import suggest

from ..report.json_values import parse_object, read_bytes
from ..report.markdown_text import escape_markdown, make_markdown_table
from .clauses import load_clauses
from .verdict_reader import ConformanceRun, parse_run
from .verdicts import ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED, Verdict

CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "RESEND": (
        "M-RESEND-1", "M-RESEND-2", "M-RESEND-3", "M-RESEND-4",
        "H-RESEND-1", "H-RESEND-2", "H-RESEND-3",
    ),
    "several lanes": ("M-LANE-1", "M-LANE-2", "H-LANE-1", "H-LANE-2"),
    "packed formats": ("M-PACK-1", "H-PACK-2"),
    "calibrations": ("H-CAL-1",),
    "EVENTS": ("M-EVT-1", "M-EVT-2"),
    "AUTH": ("M-AUTH-2", "M-AUTH-3", "H-AUTH-1", "H-AUTH-2", "H-AUTH-3"),
    "TEST": ("M-TEST-2",),
}  # fmt: skip
"""The clauses of each class of SPEC.md. All others are the core's."""
_MAX_WAIVERS: Final = 1 << 20
_KEYS: Final = ("clause", "reason", "owner")


class Standing(StrEnum):
    """How a class, or the whole, stands."""

    CONFORMS = "conforms"
    WAIVED = "conforms with waivers"
    FAILS = "does not conform"
    INCOMPLETE = "not fully tested"
    NOT_CLAIMED = "not claimed"


@dataclass(frozen=True, slots=True)
class Waiver:
    """A clause that is known to fail, and why its maker accepts that."""

    clause: str
    reason: str
    owner: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What a run of the kit says, with the waivers of the maker."""

    run: ConformanceRun
    results_sha256: str
    waivers: tuple[Waiver, ...]

    @property
    def side(self) -> str:
        """``module`` or ``host``."""
        return self.run.verdicts[0].side

    @property
    def standing(self) -> Standing:
        """How the whole stands."""
        return _find_standing(self.run.verdicts, self._list_clauses(None), self.waivers)

    def find_standings(self) -> dict[str, tuple[Standing, int, int]]:
        """Return of each class how it stands, its clauses, and how many of them passed."""
        found = {}
        for name in ("core", *CLASSES):
            clauses = self._list_clauses(name)
            if clauses:
                passed = {
                    each.clause
                    for each in self.run.verdicts
                    if each.clause in clauses and each.verdict == PASSED
                }
                bad = {each.clause for each in self.run.verdicts if each.verdict in (FAILED, ERROR)}
                standing = _find_standing(self.run.verdicts, clauses, self.waivers)
                found[name] = (standing, len(clauses), len(passed - bad))
        return found

    def _list_clauses(self, name: str | None) -> list[str]:
        """Return the clauses of a class for the side that was tested; of all classes for None."""
        optional = {clause for clauses in CLASSES.values() for clause in clauses}
        ours = [each.id for each in load_clauses().values() if each.side == self.side]
        if name is None:
            return ours
        if name == "core":
            return [clause for clause in ours if clause not in optional]
        return [clause for clause in ours if clause in CLASSES[name]]


def make_statement(results: Path, waivers: Path | None) -> Statement:
    """Return the statement of a run.

    Args:
        results: What ``lenslink conform module --json`` has printed.
        waivers: A TOML file of ``[[waiver]]`` tables with clause, reason and owner.

    Raises:
        UsageError: A file cannot be read or is wrong; or a waiver names a clause that did not fail.
    """
    data = read_bytes(results)
    try:
        run = parse_run(parse_object(data))
    except ValueError as error:
        raise UsageError(f"{results}: {error}") from error
    found = [] if waivers is None else _read_waivers(waivers)
    failed = {each.clause for each in run.verdicts if each.verdict == FAILED}
    for each in found:
        if each.clause not in failed:
            raise UsageError(f"{waivers}: {each.clause} did not fail, so remove its waiver")
    return Statement(run, hashlib.sha256(data).hexdigest(), tuple(found))


def _read_waivers(path: Path) -> list[Waiver]:
    try:
        with path.open("rb") as file:
            values = tomllib.loads(file.read(_MAX_WAIVERS).decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    entries = values.pop("waiver", [])
    if values or not isinstance(entries, list):
        raise UsageError(f"{path}: it may have [[waiver]] tables only")
    return [
        _parse_waiver(f"{path}: waiver {number}", each) for number, each in enumerate(entries, 1)
    ]


def _parse_waiver(where: str, entry: object) -> Waiver:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is no table")
    for key in entry:
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown key '{key}'{suggest(key, _KEYS)}")
    for key in _KEYS:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UsageError(f"{where}: {key} is missing or no text")
    if entry["clause"] not in load_clauses():
        raise UsageError(f"{where}: there is no clause '{entry['clause']}'")
    return Waiver(**entry)


def _find_standing(
    verdicts: Sequence[Verdict], clauses: Sequence[str], waivers: Sequence[Waiver]
) -> Standing:
    """Return the standing of *clauses*: a failure decides, then what was not tested."""
    waived = {each.clause for each in waivers}
    by_clause: dict[str, set[str]] = {clause: set() for clause in clauses}
    for each in verdicts:
        if each.clause in by_clause:
            by_clause[each.clause].add(each.verdict)
    if any(FAILED in found and clause not in waived for clause, found in by_clause.items()):
        return Standing.FAILS
    if any(not found or found & {ERROR, NOT_RUN} for found in by_clause.values()):
        return Standing.INCOMPLETE
    if all(found == {NOT_CLAIMED} for found in by_clause.values()):
        return Standing.NOT_CLAIMED
    return Standing.WAIVED if waived & set(clauses) else Standing.CONFORMS


def format_statement(statement: Statement) -> str:
    """Return the statement as Markdown."""
    run = statement.run
    product = ", ".join(f"{key} {value}" for key, value in run.module.items())
    facts = [
        ("product", product or run.facts.get("subject", "")),
        ("tested as", statement.side),
        ("specification", f"LensLink link protocol {run.facts.get('spec', '')}"),
        ("clauses, SHA-256", run.facts.get("clauses_sha256", "")),
        ("kit", f"lenslink {run.facts.get('lenslink', '')}"),
        ("date", run.facts.get("date", "")),
        ("seed", run.facts.get("seed", "")),
        ("results, SHA-256", statement.results_sha256),
    ]
    classes = [
        (name, str(standing), f"{passed} of {count}")
        for name, (standing, count, passed) in statement.find_standings().items()
    ]
    parts = [
        "# Statement of conformance",
        f"**{escape_markdown(_describe(statement))}**",
        make_markdown_table(("", ""), facts),
        "## Classes",
        make_markdown_table(("class", "result", "clauses that passed"), classes),
    ]
    if statement.side == "module":
        parts += ["## Capabilities", ", ".join(run.capabilities) or "none"]
    if wrong := _list_wrong(statement):
        parts += [
            "## Clauses with cases that did not pass",
            make_markdown_table(
                ("clause", "what it demands", "what was found", "waiver", "owner"), wrong
            ),
        ]
    parts.append("The file with the results is part of this statement.")
    return "\n\n".join(parts) + "\n"


def _describe(statement: Statement) -> str:
    standing = str(statement.standing)
    if statement.standing is Standing.INCOMPLETE:
        standing = f"is {standing}"
    count = len(statement.waivers)
    number = f" ({count} waiver{'' if count == 1 else 's'})" if count else ""
    return f"The {statement.side} {standing}{number}."


def _list_wrong(statement: Statement) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each clause with a case that did not pass, failures first."""
    waivers = {each.clause: each for each in statement.waivers}
    known = load_clauses()
    found: dict[str, dict[str, None]] = {}
    order = (FAILED, ERROR, NOT_RUN, NOT_CLAIMED)
    wrong = [each for each in statement.run.verdicts if each.verdict in order]
    for each in sorted(wrong, key=lambda verdict: order.index(verdict.verdict)):
        text = f"{each.verdict}: {each.detail}" if each.detail else each.verdict
        found.setdefault(each.clause, {})[text] = None
    rows = []
    for clause, texts in found.items():
        waiver = waivers.get(clause)
        reason, owner = (waiver.reason, waiver.owner) if waiver else ("", "")
        rows.append((clause, known[clause].text, "; ".join(texts), reason, owner))
    return rows
