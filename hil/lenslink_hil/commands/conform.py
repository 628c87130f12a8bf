"""``lenslink conform``: a verdict for each clause of SPEC.md."""

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


def _report_options(function: F) -> F:
    options = (
        click.option("--clause", metavar="ID", help="Only this clause, as in M-HELLO-2."),
        click.option("--list", "list_only", is_flag=True, help="List the cases; run none."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
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
    """Prove that a module, or a host, speaks the protocol: a verdict for each clause of SPEC.md.

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

    It is opened by its transport alone: what is said to it, right or wrong, is the kit's. A module
    that lacks an optional capability has its clauses "not claimed".
    """
    from ..conformance.live import run_modules
    from ..conformance.run import module_cases

    cases = _chosen(module_cases(), clause, "module")
    if list_only:
        _list(cases, as_json)
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

    For each case COMMAND is started, {url} in it replaced by what to open and {out} by a file name.
    It takes one still, writes it to {out}.npy (H x W, uint16) if it can, and ends: with exit code 0
    if and only if the frame was whole. The default is the driver of this installation.

    LISTEN-URL is unix:PATH, shm:PATH or tcp:HOST:PORT (port 0: any). With ?lanes=2 a link is two
    connections to that address, the first being lane 0: what {url} then is says so, too.
    """
    from ..conformance.live import DEFAULT_COMMAND, HostProcess
    from ..conformance.run import host_cases, run_host_case, verdicts
    from .socket_address import open_listener

    cases = _chosen(host_cases(), clause, "host")
    if list_only:
        _list(cases, as_json)
        return
    words = command or DEFAULT_COMMAND
    if not any("{url}" in word for word in words):
        raise UsageError("COMMAND has no {url} in it: it would not know what to open")
    out = _Output(common, as_json, junit, html, f"{' '.join(words)}, a host")

    def run() -> Iterable[Verdict]:
        with open_listener(listen, several=True) as listener:
            for case in cases:
                began = time.monotonic()
                outcome = run_host_case(case, lambda: HostProcess(listener, words))
                yield from verdicts(case, "host", outcome, time.monotonic() - began, clause)

    ctx.exit(out.report(run()))


@conform.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@click.pass_context
def matrix(ctx: click.Context, *, as_json: bool) -> None:
    """Every clause of SPEC.md, and the cases that test it; fails if a clause has none."""
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
    """Test the kit: for each clause its case passes a good peer, and fails one that breaks it.

    All peers run in this process, on virtual time.
    """
    from ..conformance.run import all_cases
    from ..conformance.selftest import selftest as run

    cases = _chosen(all_cases(), clause, None)
    if list_only:
        _list(cases, as_json)
        return
    out = _Output(common, as_json, junit, html, "the conformance kit itself")
    ctx.exit(out.report(run(clause)))


def _chosen(cases: list[Case[Any]], clause: str | None, side: str | None) -> list[Case[Any]]:
    from ..conformance.clauses import clauses

    if clause is None:
        return cases
    known = [each.id for each in clauses().values() if side in (None, each.side)]
    if clause not in known:
        kind = f" for a {side}" if side else ""
        raise UsageError(f"there is no clause '{clause}'{kind} ('lenslink conform matrix' has all)")
    return [case for case in cases if clause in case.clauses]


def _list(cases: list[Case[Any]], as_json: bool) -> None:
    if as_json:
        described = [{"case": c.name, "clauses": list(c.clauses), "doc": c.doc} for c in cases]
        emit_json({"schema": "lenslink.conform.cases/1", "cases": described})
        return
    for case in cases:
        click.echo(f"{', '.join(case.clauses):14} {case.name}: {case.doc}")


class _Output:
    """Verdicts as they come, then what was asked for."""

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
        """Show them all; the exit code."""
        from ..conformance import report
        from ..conformance.run import ERROR, FAILED, PASSED, summary

        began = time.monotonic()
        found = []
        with self._screen.progress() as progress:
            for each in verdicts:
                found.append(each)
                progress.show(f"{each.clause} {each.case} ...")
                if self._as_json:
                    continue
                if each.verdict != PASSED:
                    detail = f": {each.detail}" if each.detail else ""
                    line = f"{each.verdict:11} {each.clause:14} {each.case}{detail}"
                    click.echo(escape_controls(line))
        title = "LensLink conformance"
        if self._junit is not None:
            self._junit.write_bytes(report.as_junit(found, f"{title}: {self._subject}"))
        if self._html is not None:
            text = report.as_html(found, title, self._subject)
            self._html.write_text(text, encoding="utf-8")
        counted = summary(found)
        if self._as_json:
            click.echo(json.dumps(report.as_json(found)))
        else:
            said = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counted.items())
            click.echo(f"{said} ({time.monotonic() - began:.1f} s)")
        if any(each.verdict == FAILED for each in found):
            return _NONCONFORMING
        return _RIG if any(each.verdict == ERROR for each in found) else 0
