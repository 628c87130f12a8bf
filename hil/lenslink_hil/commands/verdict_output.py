"""What commands with verdicts share: the options of their reports, the lines and the files.

``lenslink conform`` and ``lenslink its`` use it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lenslink.cli.options import CommonOptions, OutputFile
from lenslink.cli.screen import Screen, escape_controls
from lenslink.errors import UsageError

if TYPE_CHECKING:
    from ..conformance.report import ReportForm
    from ..conformance.run_info import RunInfo
    from ..conformance.verdicts import Verdict

FAILED_CODE: Final = 7
"""Exit code: something failed."""
RIG_CODE: Final = 11
"""Exit code: something could not be run."""


def make_file_option(name: str, text: str) -> Callable[[Any], Any]:
    """Return the option *name* for a file to write; *text* is its help."""
    return click.option(name, type=OutputFile(), metavar="FILE", help=text)


REPORT_OPTIONS: Final = (
    click.option("--list", "list_only", is_flag=True, help="List the cases and run none."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    make_file_option("--junit", "Write JUnit XML."),
    make_file_option("--html", "Write a report to read."),
    click.option("-f", "--force", "is_forced", is_flag=True, help="Overwrite files that exist."),
)
"""``list_only``, ``as_json``, ``junit``, ``html`` and ``is_forced``."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files that reports are written to.

    Raises:
        UsageError: two are the same.
        StorageError: one exists and *is_forced* is False, or it cannot be written.
    """

    junit: Path | None = None
    html: Path | None = None
    transcript: Path | None = None
    is_forced: bool = False

    def __post_init__(self) -> None:
        from lenslink.image_files.atomic_file import check_target

        paths = [path for path in (self.junit, self.html, self.transcript) if path is not None]
        if len({path.absolute() for path in paths}) < len(paths):
            raise UsageError("--junit, --html and --transcript need a file each")
        for path in paths:
            check_target(path, self.is_forced)


class VerdictOutput:
    """Prints verdicts while the cases run, then writes the reports."""

    def __init__(
        self, common: CommonOptions, files: ReportFiles, info: RunInfo, form: ReportForm
    ) -> None:
        self._screen = Screen(common)
        self._files, self._info, self._form = files, info, form

    def report(
        self,
        verdicts: Iterable[Verdict],
        as_json: Callable[[Sequence[Verdict], RunInfo], dict[str, Any]] | None,
        format_line: Callable[[Verdict], str | None],
    ) -> int:
        """Print and write all *verdicts*; return the exit code.

        Args:
            verdicts: they are made while they are printed.
            as_json: makes the object that is printed in place of lines.
            format_line: makes the line of a verdict, to which its detail is added.
        """
        from ..conformance.verdicts import ERROR, FAILED, NOT_RUN

        found: list[Verdict] = []
        reason = ""
        with self._screen.show_progress() as progress:
            for each in verdicts:
                found.append(each)
                progress.show(f"{each.clause} {each.case} ...")
                line = None if as_json is not None else format_line(each)
                if line is None:
                    continue
                detail = f": {each.detail}" if each.detail else ""
                if each.verdict == NOT_RUN:
                    # The reason is the same for all that follow.
                    detail, reason = ("" if each.detail == reason else detail), each.detail
                click.echo(escape_controls(line + detail))
        # The verdicts come first: a file that cannot be written must not cost them.
        if as_json is not None:
            click.echo(json.dumps(as_json(found, self._info)))
        else:
            self._print_summary(found)
        self._write(found)
        if any(each.verdict == FAILED for each in found):
            return FAILED_CODE
        return RIG_CODE if any(each.verdict == ERROR for each in found) else 0

    def _print_summary(self, found: list[Verdict]) -> None:
        from ..conformance.verdicts import count_verdicts

        counts = count_verdicts(found).items()
        text = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts)
        facts = self._info.as_dict()
        click.echo(f"{text} ({facts['duration_s']:.1f} s, seed {facts['seed']})")

    def _write(self, found: list[Verdict]) -> None:
        """Write the reports that were asked for, each whole or not at all."""
        from lenslink.image_files.atomic_file import publish

        from ..conformance import report

        files, info, form = self._files, self._info, self._form
        reports: list[tuple[Path | None, Callable[[], bytes]]] = [
            (files.junit, lambda: report.as_junit(found, info, form)),
            (files.html, lambda: report.as_html(found, info, form).encode()),
            (files.transcript, lambda: report.as_transcript(found, info).encode()),
        ]
        for path, make in reports:
            if path is not None:
                with publish(path, files.is_forced) as file:
                    file.write(make())
