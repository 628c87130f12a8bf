"""The program ``lenslink``: finds the command, runs it, turns every ending into an exit code.

The console script and ``python -m lenslink`` call :func:`main`. Only this module prints errors and
chooses exit codes; all other modules raise.
"""

from __future__ import annotations

import difflib
import errno
import io
import json
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
from .log_output import show_logs
from .options import CommonOptions, common_options
from .screen import escape_controls, print_line
from .signals import Stopped, stop_on_signals

_GROUP = "lenslink.commands"
_DEFECT, _USAGE, _STORAGE, _INTERRUPTED = 1, 2, 9, 130


class Commands(click.Group):
    """The commands by entry point. A command is imported when it is named, all for --help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in order."""
        return sorted(_find_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return one that reports the error if it cannot be imported."""
        point = _find_commands().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ImportError as error:
            # A broken command of another package must not break --help and the other commands.
            return _make_broken_command(cmd_name, error)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest one with a similar name."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, names, 1)
            suggestion = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(
                f"there is no command '{name}'{suggestion} (known: {', '.join(names)})", ctx
            )
        return super().resolve_command(ctx, args)


def _find_commands() -> dict[str, EntryPoint]:
    own = EntryPoint("completion", f"{__package__}.completion:completion", _GROUP)
    return {own.name: own} | {point.name: point for point in entry_points(group=_GROUP)}


def _make_broken_command(name: str, error: ImportError) -> click.Command:
    def fail(**_: object) -> None:
        raise click.UsageError(f"the command '{name}' cannot be loaded: {error}")

    return click.Command(name, callback=fail, short_help=f"(cannot be loaded: {error})")


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"lenslink {version('lenslink')}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    LENSLINK_URL names the module that commands use when none is given. NO_COLOR is honoured. With
    --json, an error is a JSON object on stderr.
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
    callback=_print_version,
    help="Show the version and exit.",
)
@common_options
def cli() -> None:
    """Find, open and read detachable phone cameras: real ones, or simulated ones ('sim:')."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: the arguments without the program's name; by default those of the process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    common = CommonOptions(json_errors=_has_json_option(args))
    try:
        with stop_on_signals(), show_logs(print_line):
            _prepare_output()
            status = _run(args, common)
            # Flush now, while a full disk or a closed pipe can still be reported.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        status = _report_error(error, common)
    return status


def _has_json_option(args: list[str]) -> bool:
    """Return True if ``--json`` is among the options, even if the rest of them is wrong."""
    return "--json" in (args[: args.index("--")] if "--" in args else args)


def _run(args: list[str], common: CommonOptions) -> int:
    """Run the command that *args* name, or the shell's completion; return the exit code."""
    instruction = os.environ.get(VARIABLE)
    if instruction:
        return shell_complete(cli, {"obj": common}, "lenslink", VARIABLE, instruction)
    if not args:
        # A script whose variable was empty must not take the help for success.
        with cli.make_context("lenslink", [], obj=common, resilient_parsing=True) as ctx:
            click.echo(cli.get_help(ctx), err=True)
        return _USAGE
    try:
        with cli.make_context("lenslink", args, obj=common) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    return 0


def _report_error(error: BaseException, common: CommonOptions) -> int:
    """Print *error*, as one line or as a JSON object, and return its exit code."""
    if isinstance(error, BrokenPipeError):
        # The program that reads our output has read enough. Python must not complain at the exit
        # about what is left in the buffer.
        _discard_stdout()
        return 0
    if common.traceback:
        _print_error("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, KeyboardInterrupt):
        if not common.quiet:
            _print_error("lenslink: interrupted")
        return error.exit_code if isinstance(error, Stopped) else _INTERRUPTED
    code, text = _describe_error(error, common)
    if common.json_errors:
        report = {"schema": "lenslink.error/1", "error": type(error).__name__, "message": text}
        _print_error(json.dumps({**report, "exit_code": code}))
    else:
        _print_error(f"lenslink: error: {escape_controls(text)}")
    return code


def _describe_error(error: BaseException, common: CommonOptions) -> tuple[int, str]:
    """Return the exit code and the text of *error*."""
    if isinstance(error, LensLinkError):
        return error.exit_code, str(error)
    if isinstance(error, click.UsageError):
        name = error.ctx.command_path if error.ctx else "lenslink"
        # click puts the choices of an option on lines of their own.
        message = " ".join(error.format_message().split())
        return _USAGE, f"{message} (see '{name} --help')"
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, OSError):
        # The driver raises LensLinkErrors, so this is a file, or stdout.
        _discard_stdout()
        name = f": {error.filename}" if error.filename else ""
        if error.errno == errno.EBADF and not name:
            return _STORAGE, "standard output is closed"
        return _STORAGE, f"{error.strerror or error}{name}"
    hint = "" if common.traceback else "; run it again with -vv for the traceback"
    what = f"{type(error).__name__}: {error}"
    return _DEFECT, f"unexpected {what} (this is a defect of LensLink{hint})"


def _print_error(text: str) -> None:
    try:
        click.echo(text, err=True)
    except OSError:
        # Nobody reads stderr. The exit code still reports the error.
        return


def _prepare_output() -> None:
    """Make stdout and stderr take every character, and exist even if they were closed."""
    if sys.stdout is None:
        # The program was started with >&-. A descriptor that cannot be written makes the first
        # output an error. It also keeps number 1 from becoming some other file's.
        sys.stdout = _open_null(os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = _open_null(os.O_WRONLY)
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


def _open_null(flags: int) -> TextIO:
    raw = io.FileIO(os.open(os.devnull, flags), "w")
    return io.TextIOWrapper(io.BufferedWriter(raw))


def _discard_stdout() -> None:
    """Send what is left in stdout's buffer nowhere."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        # It has no descriptor (a test's), so nothing is left to go wrong at the exit.
        return


if __name__ == "__main__":
    sys.exit(main())
