"""What is printed, and where: stdout carries the result, stderr everything else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_REDRAW_S = 0.1
# The console that redraws a progress line at the moment, if there is one.
_live_console: Console | None = None


def escape_controls(text: str) -> str:
    """Return *text* on one line, with its control characters written as escapes.

    File names and texts from a module may contain anything, even commands for a terminal.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def emit_json(value: Mapping[str, object]) -> None:
    """Write one JSON object as one line to stdout, and flush."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def emit_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print a table on stdout: folded to the terminal's width, or unfolded where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=bool(header), header_style="bold")
    rows = list(rows)
    for column in range(len(header) or max(map(len, rows), default=0)):
        title = header[column] if header else ""
        table.add_column(title, overflow="fold", style="bold" if not (column or header) else "")
    for row in rows:
        table.add_row(*(Text(escape_controls(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)
    with console.capture() as capture:
        console.print(table)
    # rich pads each cell to its column. A program that reads the pipe has no use for the blanks.
    lines = capture.get().splitlines()
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines))
    sys.stdout.flush()


class Progress:
    """A line on the terminal that shows what is going on; nothing where there is no terminal."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._drawn = float("-inf")

    def show(self, text: str) -> None:
        """Draw *text* at once."""
        if self._live is not None:
            from rich.text import Text

            self._drawn = time.monotonic()
            line = Text(escape_controls(text), no_wrap=True, overflow="ellipsis")
            self._live.update(line, refresh=True)

    def update(self, text: Callable[[], str]) -> None:
        """Draw the result of *text*, unless the line was drawn less than 0.1 s ago."""
        if self._live is not None and time.monotonic() - self._drawn >= _REDRAW_S:
            self.show(text())


class Screen:
    """Prints on stderr, as much as ``-q`` and ``-v`` allow."""

    def __init__(self, common: CommonOptions) -> None:
        self._common = common

    @property
    def is_animated(self) -> bool:
        """True if stderr is a terminal, where a progress line can be redrawn."""
        return not self._common.quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Print a line, unless ``-q`` was given."""
        if not self._common.quiet:
            print_line(text)

    def say_verbose(self, text: str) -> None:
        """Print a line if ``-v`` was given."""
        if self._common.verbose:
            print_line(text)

    @contextmanager
    def show_progress(self) -> Iterator[Progress]:
        """Yield a progress line, and remove it at the end of the context.

        Nothing is drawn unless :attr:`is_animated`. The caller's thread draws the line, because a
        thread of its own would slow the receiver down.
        """
        global _live_console  # noqa: PLW0603 - there is one stderr, so there is one progress line
        if not self.is_animated:
            yield Progress(None)
            return
        # rich takes half of the time that --help takes, so it is imported here.
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False, markup=False)
        with Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            _live_console = console
            try:
                yield Progress(live)
            finally:
                _live_console = None


def print_line(text: str) -> None:
    """Print one line on stderr, above the progress line if there is one."""
    if _live_console is None:
        click.echo(escape_controls(text), err=True)
    else:
        _live_console.print(escape_controls(text), soft_wrap=True)
