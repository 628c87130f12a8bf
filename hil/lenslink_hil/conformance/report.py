"""What was found, for programs, for CI and for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from .clauses import clauses
from .run import ERROR, FAILED, NOT_CLAIMED, PASSED, Verdict, summary

SCHEMA = "lenslink.conform/1"
MATRIX_SCHEMA = "lenslink.conform.matrix/1"


def as_json(found: Sequence[Verdict]) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    return {
        "schema": SCHEMA,
        "verdicts": [
            {
                "clause": each.clause,
                "case": each.case,
                "side": each.side,
                "verdict": each.verdict,
                "detail": each.detail,
            }
            for each in found
        ],
        "summary": summary(found),
    }


def as_junit(found: Sequence[Verdict], title: str) -> bytes:
    """A test suite whose classes are the clauses."""
    counted = summary(found)
    suite = Element(
        "testsuite",
        name=_printable(title),
        tests=str(len(found)),
        failures=str(counted["failed"]),
        errors=str(counted["errors"]),
        skipped=str(counted["not_claimed"]),
        time=f"{sum(each.seconds for each in found):.3f}",
    )
    for each in found:
        case = SubElement(
            suite,
            "testcase",
            classname=f"conform.{each.side}.{each.clause}",
            name=each.case,
            time=f"{each.seconds:.3f}",
        )
        kind = {FAILED: "failure", ERROR: "error", NOT_CLAIMED: "skipped"}.get(each.verdict)
        if kind is not None:
            SubElement(case, kind, message=_printable(each.detail))
    root = Element("testsuites")
    root.append(suite)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _printable(text: str) -> str:
    """XML has no way to say a control character."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.sum { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1rem 0; padding: 0; list-style: none; }
.sum li { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .9rem; }
.sum b { font-size: 1.4rem; display: block; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
         border-top: 1px solid var(--line); }
td:first-child { white-space: nowrap; font-family: ui-monospace, monospace; }
.v { white-space: nowrap; font-weight: 600; }
.passed { color: #1a7f37; } .failed, .error { color: #cf222e; } .not-claimed { color: #9a6700; }
.detail { overflow-wrap: anywhere; } small { opacity: .75; }
"""


def as_html(found: Sequence[Verdict], title: str, subject: str) -> str:
    """One page that needs nothing else: failures first, then every clause with its text."""
    counted = summary(found)
    tiles = "".join(
        f"<li><b>{counted[key]}</b> {label}</li>"
        for key, label in (
            ("passed", PASSED),
            ("failed", FAILED),
            ("not_claimed", NOT_CLAIMED),
            ("errors", "errors"),
        )
    )
    bad = [each for each in found if each.verdict in (FAILED, ERROR)]
    parts = [f"<h1>{escape(title)}</h1><p>{escape(subject)}</p><ul class=sum>{tiles}</ul>"]
    if bad:
        parts.append(f"<h2>What is wrong</h2>{_table(bad)}")
    parts.append(f"<h2>Every clause</h2>{_table(found)}")
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _table(found: Sequence[Verdict]) -> str:
    known = clauses()
    rows = [
        f"<tr><td>{each.clause}<td>{_prose(known[each.clause].text)}"
        f"<br><small>{escape(each.case)}, {each.seconds:.1f} s</small>"
        f"<td class='v {each.verdict.replace(' ', '-')}'>{each.verdict}"
        f"<td class=detail>{escape(each.detail)}</tr>"
        for each in found
    ]
    head = "<tr><th>Clause<th>What it demands<th>Verdict<th>Detail</tr>"
    return f"<table>{head}\n" + "\n".join(rows) + "</table>"


def _prose(text: str) -> str:
    """SPEC.md's only markup inside of a clause is `code`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
