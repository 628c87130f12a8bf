"""The pairs of pictures as one page of HTML, which loads nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Final

from lenslink_isp.develop.picture_files import encode_picture

from ..report.html_page import make_page
from .steps import Pair, Rgb

_STYLE: Final = """<style>
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.pair figure { display: block; margin: 0; max-width: none; }
.pair img { width: 100%; height: auto; }
@media (max-width: 40rem) { .pair { grid-template-columns: 1fr; } }
</style>"""


def make_demo_page(title: str, pairs: Sequence[Pair], facts: Sequence[str], small: str) -> str:
    """Return the page: *facts* of the module, each pair with its figures, and the small print."""
    parts = [_STYLE, f"<h1>{escape(title)}</h1>"]
    parts += [f"<p>{escape(fact)}</p>" for fact in facts]
    for pair in pairs:
        parts.append(
            f"<h2>{escape(pair.title)}</h2><p>{escape(pair.figures)}</p><div class=pair>"
            f"{_make_figure(pair.before, pair.before_label)}"
            f"{_make_figure(pair.after, pair.after_label)}</div>"
        )
    return make_page(title, [*parts, f"<p><small>{escape(small)}</small></p>"])


def _make_figure(picture: Rgb, label: str) -> str:
    file = io.BytesIO()
    encode_picture(picture, file, "JPEG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    high, wide = picture.shape[:2]
    text = escape(label)
    return (
        f"<figure><img src='data:image/jpeg;base64,{data}' width={wide} height={high} "
        f"alt='{text}'><figcaption>{text}</figcaption></figure>"
    )
