"""Reports of verdicts: JSON for programs, JUnit XML for CI, HTML and transcripts for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ..report.html_page import make_class, make_facts, make_page, make_table, make_tiles
from .clauses import load_clauses
from .run_info import RunInfo
from .verdicts import ERROR, FAILED, NOT_CLAIMED, NOT_RUN, PASSED, Verdict, count_verdicts

SCHEMA = "lenslink.conform/2"
MATRIX_SCHEMA = "lenslink.conform.matrix/1"


@dataclass(frozen=True, slots=True)
class ReportForm:
    """What a kit calls its reports and the rules that its verdicts are about."""

    title: str
    prefix: str
    """First word of the class names in JUnit XML."""
    rule: str
    """What one rule is called, with a capital."""
    get_texts: Callable[[], Mapping[str, str]]
    """Returns the text of each rule by the name that verdicts have in ``clause``."""


CONFORMANCE = ReportForm(
    title="LensLink conformance",
    prefix="conform",
    rule="Clause",
    get_texts=lambda: {clause.id: clause.text for clause in load_clauses().values()},
)


def as_json(found: Sequence[Verdict], info: RunInfo) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    return {
        "schema": SCHEMA,
        "run": info.as_dict(),
        "verdicts": [
            {
                "clause": each.clause,
                "case": each.case,
                "side": each.side,
                "verdict": each.verdict,
                "detail": each.detail,
                "seconds": round(each.seconds, 3),
            }
            for each in found
        ],
        "summary": count_verdicts(found),
    }


_JUNIT = {FAILED: "failure", ERROR: "error", NOT_CLAIMED: "skipped", NOT_RUN: "skipped"}


def as_junit(found: Sequence[Verdict], info: RunInfo, form: ReportForm = CONFORMANCE) -> bytes:
    """Return a JUnit test suite whose classes are the clauses and whose properties are the run."""
    counted = count_verdicts(found)
    suite = Element(
        "testsuite",
        name=_replace_control(f"{form.title}: {info.subject}"),
        tests=str(len(found)),
        failures=str(counted["failed"]),
        errors=str(counted["errors"]),
        skipped=str(counted["not_claimed"] + counted["not_run"]),
        timestamp=info.date.replace(" UTC", "").replace(" ", "T"),
        time=f"{sum(each.seconds for each in found):.3f}",
    )
    properties = SubElement(suite, "properties")
    for name, value in info.as_rows():
        SubElement(properties, "property", name=name, value=_replace_control(value))
    for each in found:
        case = SubElement(
            suite,
            "testcase",
            classname=f"{form.prefix}.{each.side}.{each.clause}",
            name=each.case,
            time=f"{each.seconds:.3f}",
        )
        kind = _JUNIT.get(each.verdict)
        if kind is not None:
            message = each.detail if each.verdict != NOT_RUN else f"not run: {each.detail}"
            child = SubElement(case, kind, message=_replace_control(message))
            if each.transcript:
                child.text = "\n".join(_replace_control(line) for line in each.transcript)
        elif each.detail:
            SubElement(case, "system-out").text = _replace_control(each.detail)
    root = Element("testsuites")
    root.append(suite)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _replace_control(text: str) -> str:
    """Return *text* without control characters, which XML cannot hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def as_html(found: Sequence[Verdict], info: RunInfo, form: ReportForm = CONFORMANCE) -> str:
    """Return one page that loads nothing: the run, failures, then every clause with its text."""
    counted = count_verdicts(found)
    tiles = make_tiles(
        (counted[key], label)
        for key, label in (
            ("passed", PASSED),
            ("failed", FAILED),
            ("not_claimed", NOT_CLAIMED),
            ("not_run", NOT_RUN),
            ("errors", "errors"),
        )
    )
    bad = [each for each in found if each.verdict in (FAILED, ERROR)]
    parts = [
        f"<h1>{form.title}</h1><p>{escape(info.subject)}</p>{tiles}",
        make_facts(info.as_rows()),
    ]
    if bad:
        parts.append(f"<h2>What is wrong</h2>{_table(bad, form)}")
    parts.append(f"<h2>Every {form.rule.lower()}</h2>{_table(found, form)}")
    return make_page(form.title, parts)


def _table(found: Sequence[Verdict], form: ReportForm) -> str:
    texts = form.get_texts()
    rows = (
        f"<td>{each.clause}<td>{_prose(texts[each.clause])}"
        f"<br><small>{_name_case(each)}{each.seconds:.1f} s</small>"
        f"<td class='v {make_class(each.verdict)}'>{each.verdict}"
        f"<td class=detail>{escape(each.detail)}"
        for each in found
    )
    return make_table((form.rule, "What it demands", "Verdict", "Detail"), rows)


def _name_case(each: Verdict) -> str:
    """Return the case's name, unless that is the rule's."""
    return "" if each.case == each.clause else f"{escape(each.case)}, "


def _prose(text: str) -> str:
    """Return a clause's text as HTML. The only markup inside a clause is `code`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def as_transcript(found: Sequence[Verdict], info: RunInfo) -> str:
    """Return the packets of every case that failed, decoded, with the run's facts first."""
    lines = [f"{name}: {value}" for name, value in info.as_rows()]
    named: set[str] = set()
    for each in found:
        if each.verdict not in (FAILED, ERROR) or each.case in named:
            continue
        named.add(each.case)
        lines += ["", f"{each.clause} {each.case}: {each.verdict}: {each.detail}"]
        lines += each.transcript or ("(no packets were kept)",)
    if not named:
        lines += ["", "No case failed."]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines) + "\n"
