"""``lenslink``: finds the command, runs it, turns every ending into an exit code."""

from __future__ import annotations

import difflib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import TextIO

import click
from click.shell_completion import shell_complete

from lenslink.errors import LensLinkError

from .completion import VARIABLE
from .options import CommonOptions, common_options
from .screen import escape_controls
from .signals import Stopped, stop_on_signals

_GROUP = "lenslink.commands"
_DEFECT, _USAGE, _STORAGE, _INTERRUPTED = 1, 2, 9, 130


class Commands(click.Group):
    """Commands by entry point: a command is imported when it is named, all of them for --help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = _commands().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ImportError as error:
            # Another package's command must not break --help and all the others.
            return _broken(cmd_name, error)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(
                f"there is no command '{name}'{meant} (known: {', '.join(known)})", ctx
            )
        return super().resolve_command(ctx, args)


def _commands() -> dict[str, EntryPoint]:
    own = EntryPoint("completion", f"{__package__}.completion:completion", _GROUP)
    return {own.name: own} | {point.name: point for point in entry_points(group=_GROUP)}


def _broken(name: str, error: ImportError) -> click.Command:
    def fail(**_: object) -> None:
        raise click.UsageError(f"the command '{name}' cannot be loaded: {error}")

    return click.Command(name, callback=fail, short_help=f"(cannot be loaded: {error})")


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"lenslink {version('lenslink')}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    LENSLINK_URL names the module that commands use when none is given. NO_COLOR is honoured.
    Completion: lenslink completion bash >> ~/.bashrc (or zsh, fish).

    \b
    Exit codes: 0 ok, 1 a defect, 2 usage or bad input, 3 no device, 4 several devices,
    5 disconnected, 6 protocol, 7 test failure, 8 timeout, 9 files and disk, 10 device error,
    11 the bench itself, 130 interrupted, 143 terminated.

    \b
    Examples:
      lenslink doctor
      lenslink info sim:
      lenslink capture sim: -o photo.dng
      lenslink COMMAND --help
    """,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@common_options
def cli() -> None:
    """Find, open and read detachable phone cameras: real ones, or simulated ones ('sim:')."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned."""
    args = list(sys.argv[1:] if argv is None else argv)
    common = CommonOptions()
    try:
        with stop_on_signals():
            _prepare_output()
            status = _run(args, common)
            # Now, while a full disk or a closed pipe can still be told; not at the exit.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        status = _status(error, common)
    return status


def _run(args: list[str], common: CommonOptions) -> int:
    instruction = os.environ.get(VARIABLE)
    if instruction:
        return shell_complete(cli, {"obj": common}, "lenslink", VARIABLE, instruction)
    if not args:
        # A script whose variable was empty must not take this for success.
        with cli.make_context("lenslink", [], obj=common, resilient_parsing=True) as ctx:
            click.echo(cli.get_help(ctx), err=True)
        return _USAGE
    try:
        with cli.make_context("lenslink", args, obj=common) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    return 0


def _status(error: BaseException, common: CommonOptions) -> int:
    """Say what went wrong, in one line, and which exit code that is."""
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has read enough. What is left in the buffer goes nowhere, or
        # Python would complain about it at the exit.
        _discard_stdout()
        return 0
    if common.traceback:
        _say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, KeyboardInterrupt):
        if not common.quiet:
            _say("lenslink: interrupted")
        return error.exit_code if isinstance(error, Stopped) else _INTERRUPTED
    if isinstance(error, LensLinkError):
        code, text = error.exit_code, str(error)
    elif isinstance(error, click.UsageError):
        name = error.ctx.command_path if error.ctx else "lenslink"
        # click sets out choices on lines of their own.
        message = " ".join(error.format_message().split())
        code, text = _USAGE, f"{message} (see '{name} --help')"
    elif isinstance(error, click.ClickException):
        code, text = error.exit_code, error.format_message()
    elif isinstance(error, OSError):
        # The driver's own are LensLinkErrors: this is a file, or stdout on a full disk.
        _discard_stdout()
        name = f": {error.filename}" if error.filename else ""
        code, text = _STORAGE, f"{error.strerror or error}{name}"
    else:
        what = f"{type(error).__name__}: {error}"
        hint = "" if common.traceback else "; run it again with -vv for the traceback"
        code, text = _DEFECT, f"unexpected {what} (this is a defect of LensLink{hint})"
    _say(f"lenslink: error: {escape_controls(text)}")
    return code


def _say(text: str) -> None:
    try:
        click.echo(text, err=True)
    except OSError:
        # Nobody listens on stderr; the exit code still says it.
        return


def _prepare_output() -> None:
    """Let no character of a name be an error, whatever the terminal's encoding; nor its absence."""
    if sys.stdout is None:  # started with >&-
        sys.stdout = _null()
    if sys.stderr is None:
        sys.stderr = _null()
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


def _null() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _discard_stdout() -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        # It has no descriptor (a test's), so nothing is left to go wrong at the exit.
        return


if __name__ == "__main__":
    sys.exit(main())
