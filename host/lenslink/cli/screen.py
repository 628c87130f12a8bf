"""What is said, and where: stdout carries what was asked for, stderr all else."""

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


def escape_controls(text: str) -> str:
    """*text* with all that could break its line, or command a terminal, made visible.

    Names of files and what a module says of itself may contain anything.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def emit_json(value: Mapping[str, object]) -> None:
    """One JSON object on one line of stdout, at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def emit_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """A table on stdout: its columns fit a terminal, and are never cut where there is none."""
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
    # Cells are padded to their column: what is piped has no use for blanks at the end of a line.
    lines = capture.get().splitlines()
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines))
    sys.stdout.flush()


class Progress:
    """A line on the terminal that shows what is going on, or nothing where there is none."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._drawn = float("-inf")

    def show(self, text: str) -> None:
        """Draw it at once."""
        if self._live is not None:
            from rich.text import Text

            self._drawn = time.monotonic()
            line = Text(escape_controls(text), no_wrap=True, overflow="ellipsis")
            self._live.update(line, refresh=True)

    def update(self, text: Callable[[], str]) -> None:
        """Draw it unless that was done a moment ago: for what changes with every frame."""
        if self._live is not None and time.monotonic() - self._drawn >= _REDRAW_S:
            self.show(text())


class Screen:
    """stderr, as talkative as the user wants it."""

    def __init__(self, common: CommonOptions) -> None:
        self._common = common
        self._console: Console | None = None

    @property
    def is_animated(self) -> bool:
        """Whether somebody watches: a progress line would be seen, and can be redrawn."""
        return not self._common.quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """A line that ``-q`` suppresses."""
        if not self._common.quiet:
            self._print(text)

    def detail(self, text: str) -> None:
        """A line that ``-v`` asks for."""
        if self._common.verbose:
            self._print(text)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A line that is redrawn; nothing is left of it at the end.

        Nothing is drawn unless :attr:`is_animated`. It is drawn by the caller's thread: one that
        redraws on its own would slow the receiver down.
        """
        if not self.is_animated:
            yield Progress(None)
            return
        # Half of the time that --help takes.
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False)
        with Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            try:
                yield Progress(live)
            finally:
                self._console = None

    def _print(self, text: str) -> None:
        if self._console is None:
            click.echo(escape_controls(text), err=True)
        else:
            # Above the line that is being redrawn.
            self._console.print(escape_controls(text), soft_wrap=True)
