"""The options that every command takes, before or after its name, and the types of arguments."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .log_output import set_verbosity

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 30.0
# Eleven days: longer than any run, and short enough for every system call that waits.
_MAX_SECONDS = 1_000_000.0


@dataclass(slots=True)
class CommonOptions:
    """The options that are the same for all commands."""

    verbose: int = 0
    quiet: bool = False
    timeout: float = DEFAULT_TIMEOUT_S
    """Bound of each blocking call, in seconds."""
    json_errors: bool = False
    """Report an error as a JSON object, because the user asked for JSON."""

    @property
    def traceback(self) -> bool:
        """True if errors are shown with their traceback."""
        return self.verbose > 1 or bool(os.environ.get("LENSLINK_DEBUG"))


pass_common = click.make_pass_decorator(CommonOptions, ensure=True)


if TYPE_CHECKING:
    _NumberType = click.ParamType[float]
    _PathType = click.ParamType[Path]
else:
    _NumberType = _PathType = click.ParamType  # generic only in newer versions of click


class Seconds(_NumberType):
    """A positive number of seconds; a trailing ``s`` is allowed."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return *value* as a number; fail for text, and outside 0 to a million seconds."""
        try:
            seconds = float(str(value).removesuffix("s"))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not seconds > 0:
            self.fail(f"{value} is not a positive number of seconds", param, ctx)
        if seconds > _MAX_SECONDS:
            self.fail(f"{value} is more than {_MAX_SECONDS:.0f} seconds", param, ctx)
        return seconds


class OutputFile(_PathType):
    """The name of a file to write; a name that ends with a slash is a folder's and is refused."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return *value* as a path. :class:`~pathlib.Path` alone would drop the slash."""
        text = os.fspath(value)
        if text.endswith(tuple(filter(None, (os.sep, os.altsep)))):
            self.fail(f"'{text}' names a folder: name a file", param, ctx)
        return Path(text)


def _set_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    common = ctx.ensure_object(CommonOptions)
    common.verbose += value
    set_verbosity(common.verbose, common.quiet)


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    common = ctx.ensure_object(CommonOptions)
    common.quiet |= value
    set_verbosity(common.verbose, common.quiet)


def _set_timeout(ctx: click.Context, _: click.Parameter, value: float | None) -> None:
    if value is not None:
        ctx.ensure_object(CommonOptions).timeout = value


def common_options(function: F) -> F:
    """Add ``-v``, ``-q`` and ``--timeout`` to a command.

    People type these options after the command as often as before it, so the program takes them in
    both places. *function* does not receive them: :data:`pass_common` passes the merged values.
    """
    options = (
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_set_verbose,
            help="Show the log of module and driver; -vv: debug messages and tracebacks too; "
            "-vvv: every packet too.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Show errors only: no progress, no notes.",
        ),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            expose_value=False,
            callback=_set_timeout,
            help=f"Give up a call that takes longer.  [default: {DEFAULT_TIMEOUT_S:g}]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
