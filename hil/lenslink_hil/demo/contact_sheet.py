"""All pairs of pictures as one picture, two pairs in a row, and what else was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .measures import Part
from .steps import Pair, Rgb

WIDTH: Final = 1600
_MARGIN, _GAP, _COLUMN_GAP = 20, 6, 28
_CELL: Final = (WIDTH - 2 * _MARGIN - 2 * _GAP - _COLUMN_GAP) // 4
"""Width of one picture."""
_TITLE_PX, _TEXT_PX, _LINE_PX = 22, 15, 20
_LINE_CHARACTERS: Final = 112
_PAPER, _INK, _GREY = "#15171a", "#f2f2f2", "#a9b0b8"


def draw_contact_sheet(title: str, pairs: Sequence[Pair], facts: Sequence[str], small: str) -> Rgb:
    """Return the contact sheet, (H, 1600, 3).

    *facts* of the module and the small print stand in the place after the last pair. The sheet ends
    below what is drawn.
    """
    high, wide = pairs[0].before.shape[:2]
    cell = _CELL, round(_CELL * high / wide)
    block = _TITLE_PX + 12 + cell[1] + 3 * _LINE_PX + 20
    rows = len(pairs) // 2 + 1
    top = _MARGIN + _TITLE_PX + 24
    sheet = Image.new("RGB", (WIDTH, top + rows * block), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, _INK, ImageFont.load_default(_TITLE_PX + 4))
    for number in range(len(pairs) + 1):
        row, column = divmod(number, 2)
        place = _MARGIN + column * (2 * _CELL + _GAP + _COLUMN_GAP), top + row * block
        if number < len(pairs):
            _draw_pair(sheet, draw, place, cell, pairs[number])
        else:
            end = _draw_notes(draw, place, [*facts, small])
    end = max(end, top + (len(pairs) + 1) // 2 * block)
    return np.asarray(sheet.crop((0, 0, WIDTH, min(end, sheet.height))))


def _draw_pair(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    cell: tuple[int, int],
    pair: Pair,
) -> None:
    left, top = place
    draw.text((left, top), pair.title, _INK, ImageFont.load_default(_TITLE_PX))
    top += _TITLE_PX + 12
    text = ImageFont.load_default(_TEXT_PX)
    sides = ((pair.before, pair.before_label), (pair.after, pair.after_label))
    for number, (picture, label) in enumerate(sides):
        at = left + number * (cell[0] + _GAP)
        sheet.paste(_fit(picture, pair.detail, cell), (at, top))
        draw.text((at, top + cell[1] + 4), label, _INK, text)
    _draw_lines(draw, (left, top + cell[1] + 4 + _LINE_PX), pair.figures)


def _draw_notes(draw: ImageDraw.ImageDraw, place: tuple[int, int], notes: Sequence[str]) -> int:
    """Draw the notes, and return where they end."""
    left, top = place
    draw.text((left, top), "Put on, preview, photograph", _INK, ImageFont.load_default(_TITLE_PX))
    top += _TITLE_PX + 12
    for note in notes:
        top = _draw_lines(draw, (left, top), note) + _LINE_PX // 2
    return top


def _draw_lines(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> int:
    """Draw text in lines, and return where the next line begins."""
    left, top = place
    for line in textwrap.wrap(text, _LINE_CHARACTERS):
        draw.text((left, top), line, _GREY, ImageFont.load_default(_TEXT_PX))
        top += _LINE_PX
    return top


def _fit(picture: Rgb, part: Part | None, cell: tuple[int, int]) -> Image.Image:
    """Return a picture or a part of it in the size of a cell."""
    high, wide = picture.shape[:2]
    left, top, right, bottom = part or (0, 0, 1, 1)
    box = left * wide, top * high, right * wide, bottom * high
    return Image.fromarray(picture).resize(cell, Image.Resampling.LANCZOS, box)
