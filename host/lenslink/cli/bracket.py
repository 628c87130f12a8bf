"""The option ``--bracket``: values of a setting for the frames of one capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lenslink.errors import UsageError
from lenslink.settings import Settings
from lenslink_protocol.params import MAX_BRACKET

from .values import SETTING_KINDS

if TYPE_CHECKING:
    _Values = click.ParamType[tuple[str, tuple[int, ...]]]
else:
    _Values = click.ParamType  # generic only in newer versions of click


class Bracket(_Values):
    """``exposure=1ms,4ms,16ms``, as a field of Settings and its values."""

    name = "setting=value,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Return the field and the values; a usage error names what is wrong."""
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        if name not in SETTING_KINDS or not text:
            names = ", ".join(f"{each}=" for each in SETTING_KINDS)
            self.fail(f"{value!r} is no bracket: it begins with one of {names}", param, ctx)
        field, kind = SETTING_KINDS[name]
        values = tuple(kind.convert(each, param, ctx) for each in text.split(","))
        if len(values) > MAX_BRACKET:
            self.fail(f"{value!r} has more than {MAX_BRACKET} values", param, ctx)
        return field, values


def make_bracket(brackets: tuple[tuple[str, tuple[int, ...]], ...]) -> list[Settings] | None:
    """Return the settings of each frame, or None without a bracket.

    Raises:
        UsageError: A setting is named twice, or the brackets differ in length.
    """
    if not brackets:
        return None
    fields = [field for field, _ in brackets]
    for field in fields:
        if fields.count(field) > 1:
            raise UsageError(f"--bracket: {field} is named twice")
    lengths = {len(values) for _, values in brackets}
    if len(lengths) > 1:
        counts = " and ".join(str(each) for each in sorted(lengths))
        raise UsageError(f"--bracket: brackets of {counts} values do not go together")
    rows = zip(*(values for _, values in brackets), strict=True)
    return [Settings(**dict(zip(fields, row, strict=True))) for row in rows]
