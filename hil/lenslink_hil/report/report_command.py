"""The command ``lenslink report``: a page for people from the documents of test runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen
from lenslink.errors import UsageError

_SUFFIXES: Final = (".html", ".md")


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(path_type=Path),
)
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    metavar="FILE",
    help="Write a page to read: .html or .md.  [default: Markdown on stdout]",
)
@click.option("-f", "--force", "is_forced", is_flag=True, help="Overwrite a file that exists.")
@common_options
@pass_common
def report(
    common: CommonOptions, *, files: tuple[Path, ...], output: Path | None, is_forced: bool
) -> None:
    """Show the results of test runs: a verdict first, then boards, failures and figures.

    Each FILE is a report.json of pytest --lens-report, or what conform module --json prints.
    Several FILEs make one report: a later result of a test on a board replaces an earlier one.

    \b
    Examples:
      pytest --lens rig: --lens-report report.json
      lenslink report report.json -o report.html
      lenslink report left.json right.json >> "$GITHUB_STEP_SUMMARY"
    """
    from lenslink.image_files.atomic_file import check_target, publish

    from .report_document import describe_verdict, join_reports
    from .report_html import make_html
    from .report_markdown import make_markdown
    from .report_reader import read_report

    if output is not None:
        if output.suffix not in _SUFFIXES:
            raise UsageError(f"{output}: a page is {' or '.join(_SUFFIXES)}")
        check_target(output, is_forced)
    found = join_reports([read_report(file) for file in files])
    if output is None:
        click.echo(make_markdown(found), nl=False)
        return
    text = make_html(found) if output.suffix == ".html" else make_markdown(found)
    with publish(output, is_forced) as file:
        file.write(text.encode())
    Screen(common).say(f"{output}: {describe_verdict(found)}")
