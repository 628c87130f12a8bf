"""A page of HTML that loads nothing: its frame, its style, and the parts that reports share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --warn: #d29922; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
.sum { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1rem 0; padding: 0; list-style: none; }
.sum li { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .9rem; }
.sum b { font-size: 1.4rem; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
         border-top: 1px solid var(--line); }
td:first-child { white-space: nowrap; font-family: ui-monospace, monospace; }
.v { white-space: nowrap; font-weight: 600; }
.passed { color: var(--good); } .failed, .error, .rig-error, .dropped { color: var(--bad); }
.not-claimed, .not-run, .skipped, .quarantined, .recovered { color: var(--warn); }
.run td:first-child { font-family: inherit; }
.detail { overflow-wrap: anywhere; } small { opacity: .75; }
.verdict { font-size: 1.15rem; font-weight: 600; }
.matrix td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
.matrix td { border-left: 1px solid var(--line); } .matrix td small { white-space: nowrap; }
svg { width: 80px; height: 18px; vertical-align: middle; overflow: visible; margin-left: .4rem; }
svg polyline { fill: none; stroke: currentColor; stroke-width: 1.2; opacity: .6; }
svg circle { fill: currentColor; }
pre { overflow-x: auto; border-left: 3px solid var(--line); padding-left: .7rem;
      margin: .4rem 0; font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { display: inline-block; margin: .4rem .8rem .4rem 0; vertical-align: top;
         max-width: 12rem; }
figure img { display: block; max-width: 100%; } figcaption { font-size: .8rem;
         overflow-wrap: anywhere; }
"""


def make_page(title: str, parts: Iterable[str]) -> str:
    """Return a whole document of *parts*, which are HTML already. *title* is plain text."""
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def make_tiles(counts: Iterable[tuple[int, str]]) -> str:
    """Return counts with their labels, as boxes side by side."""
    items = "".join(f"<li><b>{count}</b> {escape(label)}</li>" for count, label in counts)
    return f"<ul class=sum>{items}</ul>"


def make_facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a table."""
    cells = "".join(f"<tr><td>{escape(name)}<td>{escape(value)}</tr>" for name, value in rows)
    return f"<table class=run>{cells}</table>"


def make_table(head: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    """Return a table that scrolls sideways on a narrow screen.

    Args:
        head: Plain texts of the head.
        rows: The inside of each row, as HTML.
        kind: The class of the table.
    """
    first = "".join(f"<th>{escape(name)}" for name in head)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    opening = f"<table class={kind}>" if kind else "<table>"
    return f"<div class=scroll>{opening}<tr>{first}</tr>\n{body}</table></div>"


def make_class(text: str) -> str:
    """Return the class of an outcome in words.

    >>> make_class("not run")
    'not-run'
    """
    return text.replace(" ", "-")
