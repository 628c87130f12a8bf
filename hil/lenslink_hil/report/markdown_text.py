"""Plain text as Markdown: nothing in it is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")


def escape_markdown(text: str) -> str:
    """Return *text* as Markdown on one line.

    >>> print(escape_markdown("a_b <c>"))
    a\\_b \\<c\\>
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def make_markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. The cells of *rows* are plain text; *head* is Markdown."""
    lines = [head, ["---"] * len(head), *([escape_markdown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def make_markdown_block(text: str) -> str:
    """Return *text* as it is, between fences that it cannot close."""
    longest = max((len(each) for each in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
