"""The commands ``lenslink conform ...``: a verdict for each clause of SPEC.md.

The cases and their peers are in :mod:`lenslink_hil.conformance`. This module chooses the cases,
prints the verdicts and writes the reports.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, escape_controls
from lenslink.errors import UsageError

if TYPE_CHECKING:
    from ..conformance.cases import Case
    from ..conformance.run import Verdict

F = TypeVar("F", bound=Callable[..., Any])

_NONCONFORMING, _RIG = 7, 11


def _complete_clause(_ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the clauses that begin with *incomplete*, for the shell."""
    from ..conformance.clauses import clauses

    return [clause for clause in clauses() if clause.startswith(incomplete)]


def _report_options(function: F) -> F:
    options = (
        click.option(
            "--clause",
            metavar="ID",
            help="Run the cases of this clause only, as in M-HELLO-2.",
            shell_complete=_complete_clause,
        ),
        click.option("--list", "list_only", is_flag=True, help="List the cases and run none."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
        click.option(
            "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML."
        ),
        click.option(
            "--html",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write a report to read.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(epilog="Exit codes: 0 all conforms, 7 a clause failed, 11 a case could not be run.")
@common_options
def conform() -> None:
    """Test whether a module or a host speaks the protocol, with a verdict for each clause.

    \b
    Examples:
      lenslink conform module sim:
      lenslink conform module serial:/dev/ttyACM0 --html report.html
      lenslink conform host tcp:127.0.0.1:0 -- myhost --open {url} --save {out}.npy
      lenslink conform matrix
      lenslink conform selftest
    """


@conform.command()
@click.argument("url", envvar="LENSLINK_URL", metavar="URL")
@_report_options
@common_options
@pass_common
@click.pass_context
def module(
    ctx: click.Context,
    common: CommonOptions,
    url: str,
    *,
    clause: str | None,
    list_only: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
) -> None:
    """Test the module at URL.

    The kit opens only the transport. It sends all packets itself, correct and incorrect ones. If
    the module lacks an optional capability, the clauses of that capability are "not claimed".
    """
    from ..conformance.live import run_modules
    from ..conformance.run import module_cases

    cases = _select_cases(module_cases(), clause, "module")
    if list_only:
        _list_cases(cases, as_json)
        return
    out = _Output(common, as_json, junit, html, f"{url}, a module")
    ctx.exit(out.report(run_modules(url, cases, clause, common.timeout)))


@conform.command(context_settings={"ignore_unknown_options": True})
@click.argument("listen", metavar="LISTEN-URL")
@_report_options
@common_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_common
@click.pass_context
def host(
    ctx: click.Context,
    common: CommonOptions,
    listen: str,
    *,
    command: tuple[str, ...],
    clause: str | None,
    list_only: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
) -> None:
    """Test a host by playing a module, often a misbehaving one, at LISTEN-URL.

    For each case the kit starts COMMAND. It replaces {url} by the URL to open and {out} by a file
    name. COMMAND takes one still, writes it to {out}.npy (H x W, uint16) if it can, and ends. Its
    exit code is 0 if and only if the frame was whole. The default is the driver of this
    installation.

    LISTEN-URL is unix:PATH, shm:PATH or tcp:HOST:PORT (port 0: any free port). With ?lanes=2, a
    link is two connections to that address; the first is lane 0. {url} then has ?lanes=2 too.
    """
    from ..conformance.live import DEFAULT_COMMAND, HostProcess
    from ..conformance.run import host_cases, run_host_case, verdicts
    from .socket_address import open_listener

    cases = _select_cases(host_cases(), clause, "host")
    if list_only:
        _list_cases(cases, as_json)
        return
    words = command or DEFAULT_COMMAND
    if not any("{url}" in word for word in words):
        raise UsageError("COMMAND has no {url} in it, so it cannot know what to open")
    out = _Output(common, as_json, junit, html, f"{' '.join(words)}, a host")

    def run() -> Iterable[Verdict]:
        with open_listener(listen, several=True) as listener:
            for case in cases:
                start = time.monotonic()
                outcome = run_host_case(case, lambda: HostProcess(listener, words))
                yield from verdicts(case, "host", outcome, time.monotonic() - start, clause)

    ctx.exit(out.report(run()))


@conform.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@click.pass_context
def matrix(ctx: click.Context, *, as_json: bool) -> None:
    """List every clause of SPEC.md with its cases; fail if a clause has no case."""
    from ..conformance.report import MATRIX_SCHEMA
    from ..conformance.run import matrix as rows

    found = rows()
    if as_json:
        emit_json({"schema": MATRIX_SCHEMA, "clauses": found})
    else:
        for row in found:
            click.echo(f"{row['id']:14} {', '.join(row['cases']) or 'NO CASE'}")
    empty = [row["id"] for row in found if not row["cases"]]
    if empty:
        click.echo(f"lenslink: clauses without a case: {', '.join(empty)}", err=True)
        ctx.exit(_NONCONFORMING)


@conform.command()
@_report_options
@common_options
@pass_common
@click.pass_context
def selftest(
    ctx: click.Context,
    common: CommonOptions,
    *,
    clause: str | None,
    list_only: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
) -> None:
    """Test the kit: each case must pass a correct peer, and fail a peer that breaks its clause.

    All peers run in this process, on virtual time.
    """
    from ..conformance.run import all_cases
    from ..conformance.selftest import selftest as run

    cases = _select_cases(all_cases(), clause, None)
    if list_only:
        _list_cases(cases, as_json)
        return
    out = _Output(common, as_json, junit, html, "the conformance kit itself")
    ctx.exit(out.report(run(clause)))


def _select_cases(cases: list[Case[Any]], clause: str | None, side: str | None) -> list[Case[Any]]:
    from ..conformance.clauses import clauses

    if clause is None:
        return cases
    known = [each.id for each in clauses().values() if side in (None, each.side)]
    if clause not in known:
        kind = f" for a {side}" if side else ""
        raise UsageError(f"there is no clause '{clause}'{kind} ('lenslink conform matrix' has all)")
    return [case for case in cases if clause in case.clauses]


def _list_cases(cases: list[Case[Any]], as_json: bool) -> None:
    if as_json:
        described = [{"case": c.name, "clauses": list(c.clauses), "doc": c.doc} for c in cases]
        emit_json({"schema": "lenslink.conform.cases/1", "cases": described})
        return
    for case in cases:
        click.echo(f"{', '.join(case.clauses):14} {case.name}: {case.doc}")


class _Output:
    """Prints the verdicts while the cases run, then writes the reports."""

    def __init__(
        self,
        common: CommonOptions,
        as_json: bool,
        junit: Path | None,
        html: Path | None,
        subject: str,
    ) -> None:
        self._screen = Screen(common)
        self._as_json = as_json
        self._junit = junit
        self._html = html
        self._subject = subject

    def report(self, verdicts: Iterable[Verdict]) -> int:
        """Print and write all *verdicts*; return the exit code."""
        from ..conformance import report
        from ..conformance.run import ERROR, FAILED, PASSED, summary

        start = time.monotonic()
        results = []
        with self._screen.show_progress() as progress:
            for each in verdicts:
                results.append(each)
                progress.show(f"{each.clause} {each.case} ...")
                if self._as_json:
                    continue
                if each.verdict != PASSED:
                    detail = f": {each.detail}" if each.detail else ""
                    line = f"{each.verdict:11} {each.clause:14} {each.case}{detail}"
                    click.echo(escape_controls(line))
        title = "LensLink conformance"
        if self._junit is not None:
            self._junit.write_bytes(report.as_junit(results, f"{title}: {self._subject}"))
        if self._html is not None:
            text = report.as_html(results, title, self._subject)
            self._html.write_text(text, encoding="utf-8")
        counts = summary(results)
        if self._as_json:
            click.echo(json.dumps(report.as_json(results)))
        else:
            text = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items())
            click.echo(f"{text} ({time.monotonic() - start:.1f} s)")
        if any(each.verdict == FAILED for each in results):
            return _NONCONFORMING
        return _RIG if any(each.verdict == ERROR for each in results) else 0
