"""What is said, and where: stdout carries what was asked for, stderr all else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .options import Settings

if TYPE_CHECKING:
    from rich.console import Console

_REDRAW_S = 0.1


def one_line(text: str) -> str:
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
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)
    with console.capture() as capture:
        console.print(table)
    # Cells are padded to their column: what is piped has no use for blanks at the end of a line.
    lines = capture.get().splitlines()
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines))
    sys.stdout.flush()


class Screen:
    """stderr, as talkative as the user wants it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._console: Console | None = None

    @property
    def animated(self) -> bool:
        """Whether somebody watches: a progress line would be seen, and can be redrawn."""
        return not self._settings.quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """A line that ``-q`` suppresses."""
        if not self._settings.quiet:
            self._print(text)

    def detail(self, text: str) -> None:
        """A line that ``-v`` asks for."""
        if self._settings.verbose:
            self._print(text)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """A line that is redrawn, at most ten times a second, by the function this gives.

        Nothing is drawn unless :attr:`animated`; nothing is left of it at the end. It is drawn by
        the caller's thread: one that redraws on its own would slow the receiver down.
        """
        if not self.animated:
            yield lambda text: None
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(stderr=True, highlight=False, markup=False)
        last = float("-inf")
        with Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:

            def update(text: str) -> None:
                nonlocal last
                now = time.monotonic()
                if now - last >= _REDRAW_S:
                    last = now
                    line = Text(one_line(text), no_wrap=True, overflow="ellipsis")
                    live.update(line, refresh=True)

            self._console = console
            try:
                yield update
            finally:
                self._console = None

    def _print(self, text: str) -> None:
        if self._console is None:
            click.echo(one_line(text), err=True)
        else:
            # Above the line that is being redrawn.
            self._console.print(one_line(text), soft_wrap=True)
