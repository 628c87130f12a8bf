"""Two numbers with a comma between them, as the value of an option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import click

if TYPE_CHECKING:
    _PairType = click.ParamType[tuple[float, float]]
else:
    _PairType = click.ParamType  # generic only in newer versions of click


class NumberPair(_PairType):
    """The base class of options with two numbers."""

    wanted: ClassVar[str]
    """What the value must be, for the message about another value."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return both numbers; fail for anything else."""
        if isinstance(value, tuple):
            return value
        try:
            first, second = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not {self.wanted}", param, ctx)
        return first, second
