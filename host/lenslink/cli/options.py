"""The options that every command takes, before or after its name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 30.0


@dataclass(slots=True)
class CommonOptions:
    """What the user wants of all commands alike."""

    verbose: int = 0
    quiet: bool = False
    timeout: float = DEFAULT_TIMEOUT_S
    """Bound of each blocking call, in seconds."""

    @property
    def traceback(self) -> bool:
        """Whether errors come with their traceback."""
        return self.verbose > 1 or bool(os.environ.get("LENSLINK_DEBUG"))


pass_common = click.make_pass_decorator(CommonOptions, ensure=True)


if TYPE_CHECKING:
    _Number = click.ParamType[float]
else:
    _Number = click.ParamType  # generic only in newer versions of click


class Seconds(_Number):
    """A positive, finite number of seconds; a trailing ``s`` is allowed."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(str(value).removesuffix("s"))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not 0 < seconds < math.inf:
            self.fail(f"{value} is not a positive number of seconds", param, ctx)
        return seconds


def _verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(CommonOptions).verbose += value


def _quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(CommonOptions).quiet |= value


def _timeout(ctx: click.Context, _: click.Parameter, value: float | None) -> None:
    if value is not None:
        ctx.ensure_object(CommonOptions).timeout = value


def common_options(function: F) -> F:
    """Add ``-v``, ``-q`` and ``--timeout``: people type them after the command as often as before.

    They are not passed to *function*: :data:`pass_common` gives what was said in both places.
    """
    options = (
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_verbose,
            help="Show the module's log; -vv: tracebacks too.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_quiet,
            help="No progress, no notes, only errors.",
        ),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            expose_value=False,
            callback=_timeout,
            help=f"Give up a call that takes longer.  [default: {DEFAULT_TIMEOUT_S:g}]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
