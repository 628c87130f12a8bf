"""The commands ``lenslink conform ...``: a verdict for each clause of SPEC.md.

The cases and their peers are in :mod:`lenslink_hil.conformance`. This module chooses the cases,
prints the verdicts and writes the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import emit_json
from lenslink.errors import UsageError

from .verdict_output import (
    FAILED_CODE,
    REPORT_OPTIONS,
    RIG_CODE,
    ReportFiles,
    VerdictOutput,
    make_file_option,
)

if TYPE_CHECKING:
    from ..conformance.cases import Case
    from ..conformance.run_info import RunInfo
    from ..conformance.verdicts import ModuleCase, Verdict

T = TypeVar("T")

# Cases wait for most of their time, so two cores have time for three modules.
_SIM_JOBS = 3


def _complete_clause(_ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the clauses that begin with *incomplete*, for the shell."""
    from ..conformance.clauses import load_clauses

    return [clause for clause in load_clauses() if clause.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class _Options:
    """Which cases to run, and what to write about them."""

    clause: str | None
    case_name: str | None
    seed: int | None
    list_only: bool
    as_json: bool
    junit: Path | None
    html: Path | None
    is_forced: bool = False
    is_fail_fast: bool = False
    is_quick: bool = False
    key: Path | None = None
    transcript: Path | None = None

    files: ReportFiles = field(init=False)

    def __post_init__(self) -> None:
        """Refuse files that cannot be written, before minutes are spent on the cases."""
        files = ReportFiles(self.junit, self.html, self.transcript, self.is_forced)
        object.__setattr__(self, "files", files)

    def read_key(self) -> bytes | None:
        """Return the key of --key, or None without it."""
        from lenslink.authentication import read_key_file

        return None if self.key is None else read_key_file(self.key)


_FAIL_FAST = click.option(
    "--fail-fast", "is_fail_fast", is_flag=True, help="Run nothing after the first failure."
)
_QUICK = click.option(
    "--quick",
    "is_quick",
    is_flag=True,
    help="Run few cases, at least one for each clause. This is no proof of conformance.",
)
_KEY = click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key of HMAC_SHA256, 64 hexadecimal digits. Cases that need it are not run without.",
)
_JOBS = click.option(
    "--jobs",
    type=click.IntRange(1, 16),
    metavar="N",
    help="Test N modules at once, each with a share of the cases. Only for sim:, where each "
    "opening makes a module.  [default: 3 for sim:, else 1]",
)
_TRANSCRIPT = make_file_option("--transcript", "Write the packets of failed cases, decoded.")


def _report_options(*more: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds the common options, and passes them as ``options``."""
    options = (
        click.option(
            "--clause",
            metavar="ID",
            help="Run the cases of this clause only, as in M-HELLO-2.",
            shell_complete=_complete_clause,
        ),
        click.option("--case", "case_name", metavar="NAME", help="Run only this case of --list."),
        click.option("--seed", type=int, help="Draw nonces and challenges from this seed."),
        *REPORT_OPTIONS,
        *more,
    )
    names = {each.name for each in fields(_Options) if each.init}

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            chosen = {name: given.pop(name) for name in names & given.keys()}
            return function(*args, options=_Options(**chosen), **given)

        decorated: Any = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@click.group(epilog="Exit codes: 0 all conforms, 7 a clause failed, 11 a case could not be run.")
@common_options
def conform() -> None:
    """Test whether a module or a host speaks the protocol, with a verdict for each clause.

    \b
    Examples:
      lenslink conform module sim:
      lenslink conform module serial:/dev/ttyACM0 --html report.html
      lenslink conform host tcp:127.0.0.1:0 -- myhost --open {url} --save {out}.npy
      lenslink conform statement results.json -o statement.md
      lenslink conform matrix
      lenslink conform selftest
    """


@conform.command()
@click.argument("url", envvar="LENSLINK_URL", metavar="URL")
@_report_options(_QUICK, _FAIL_FAST, _KEY, _TRANSCRIPT)
@_JOBS
@common_options
@pass_common
@click.pass_context
def module(
    ctx: click.Context,
    common: CommonOptions,
    url: str,
    *,
    jobs: int | None,
    options: _Options,
) -> None:
    """Test the module at URL.

    The kit opens only the transport. It sends all packets itself, correct and incorrect ones. If
    the module lacks an optional capability, the clauses of that capability are "not claimed". If
    the module does not answer, or its manifest is wrong, the cases are "not run".
    """
    from ..conformance.live import run_modules
    from ..conformance.side_by_side import run_side_by_side
    from ..conformance.verdicts import list_module_cases

    jobs = _choose_jobs(url, jobs, options)
    cases = _select_cases(list_module_cases(), options, "module")
    if options.list_only:
        _list_cases(cases, options.as_json)
        return
    info = _describe_run(options, f"{url}, a module", url)
    key = options.read_key()

    def run_share(share: Sequence[ModuleCase]) -> Generator[Verdict]:
        return run_modules(
            url,
            share,
            options.clause,
            common.timeout,
            info=info,
            is_fail_fast=options.is_fail_fast,
            is_transcribed=options.transcript is not None,
            key=key,
        )

    jobs = min(jobs, len(cases))
    found = run_side_by_side(cases, jobs, run_share) if jobs > 1 else run_share(cases)
    ctx.exit(_report(common, options, info, found))


def _choose_jobs(url: str, jobs: int | None, options: _Options) -> int:
    """Return how many modules are tested at once."""
    is_own = url.partition(":")[0] == "sim"
    if jobs is None:
        return _SIM_JOBS if is_own and not options.is_fail_fast else 1
    if jobs > 1 and not is_own:
        raise UsageError(
            f"--jobs {jobs} needs sim:, since each opening of {url} is the same module"
        )
    if jobs > 1 and options.is_fail_fast:
        raise UsageError("--fail-fast tests one module: leave --jobs out")
    return jobs


@conform.command(context_settings={"ignore_unknown_options": True})
@click.argument("listen", metavar="LISTEN-URL")
@_report_options(_QUICK, _FAIL_FAST, _KEY)
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
    options: _Options,
) -> None:
    """Test a host by playing a module, often a misbehaving one, at LISTEN-URL.

    For each case the kit starts COMMAND. It replaces {url} by the URL to open and {out} by a file
    name. COMMAND takes one still, writes it to {out}.npy (H x W, uint16) if it can, and ends. The
    array has the pixels as the sensor reads them, not rotated by the frame's orientation. The exit
    code is 0 if and only if the frame was whole. The kit reads {out}.npy only after exit code 0.
    So COMMAND may write an incomplete still or not.

    If COMMAND has {task} in it, the kit replaces it by "still" or "preview". A preview is
    stream 0: COMMAND starts it, takes three frames, stops it and ends. Its exit code is 0 if all
    three were whole. It writes its last frame to {out}.npy, or nothing. Without {task}, the cases
    of previews are "not claimed". The default is the driver of this installation.

    A host that authenticates refuses a module without AUTH. With --key, the kit plays modules that
    have AUTH and that key, but in cases of sessions without AUTH. The kit does not pass the key
    on: name FILE in COMMAND as well, for instance "myhost --key FILE {url}".

    LISTEN-URL is unix:PATH, shm:PATH or tcp:HOST:PORT (port 0: any free port). With ?lanes=2, a
    link is two connections to that address; the first is lane 0. {url} then has ?lanes=2 too.
    """
    from ..conformance.live import DEFAULT_COMMAND, run_hosts
    from ..conformance.verdicts import list_host_cases
    from .socket_address import open_listener

    cases = _select_cases(list_host_cases(), options, "host")
    if options.list_only:
        _list_cases(cases, options.as_json)
        return
    words = command or DEFAULT_COMMAND
    if not any("{url}" in word for word in words):
        raise UsageError("COMMAND has no {url} in it, so it cannot know what to open")
    info = _describe_run(options, f"{' '.join(words)}, a host", listen)

    def run() -> Iterable[Verdict]:
        with open_listener(listen, several=True) as listener:
            yield from run_hosts(
                listener,
                words,
                cases,
                options.clause,
                is_fail_fast=options.is_fail_fast,
                key=options.read_key(),
            )

    ctx.exit(_report(common, options, info, run()))


@conform.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@click.pass_context
def matrix(ctx: click.Context, *, as_json: bool) -> None:
    """List every clause of SPEC.md with its cases; fail if a clause has no case."""
    from ..conformance.report import MATRIX_SCHEMA
    from ..conformance.verdicts import build_matrix

    found = build_matrix()
    if as_json:
        emit_json({"schema": MATRIX_SCHEMA, "clauses": found})
    else:
        for row in found:
            click.echo(f"{row['id']:14} {', '.join(row['cases']) or 'NO CASE'}")
    empty = [row["id"] for row in found if not row["cases"]]
    if empty:
        click.echo(f"lenslink: clauses without a case: {', '.join(empty)}", err=True)
        ctx.exit(FAILED_CODE)


@conform.command()
@_report_options()
@common_options
@pass_common
@click.pass_context
def selftest(
    ctx: click.Context,
    common: CommonOptions,
    *,
    options: _Options,
) -> None:
    """Test the kit: each case must pass a correct peer, and fail a peer that breaks its clause.

    All peers run in this process, on virtual time.
    """
    from ..conformance.selftest import run_selftest
    from ..conformance.verdicts import list_all_cases

    cases = _select_cases(list_all_cases(), options, None)
    if options.list_only:
        _list_cases(cases, options.as_json)
        return
    info = _describe_run(options, "the conformance kit itself", "")
    found = run_selftest(options.clause, options.case_name, info.seed)
    ctx.exit(_report(common, options, info, found))


@conform.command()
@click.argument("results", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--waivers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML: [[waiver]] tables with clause, reason and owner, for clauses that failed.",
)
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    metavar="FILE",
    help="Write the statement there.  [default: stdout]",
)
@click.option("-f", "--force", "is_forced", is_flag=True, help="Overwrite a file that exists.")
@common_options
@click.pass_context
def statement(
    ctx: click.Context,
    *,
    results: Path,
    waivers: Path | None,
    output: Path | None,
    is_forced: bool,
) -> None:
    """Write a statement of conformance in Markdown, from what module or host --json printed.

    It states classes, capabilities, waivers, the versions of kit and specification, and the hash of
    FILE. The exit code is 7 if a clause failed and has no waiver, and 11 if one was not tested.

    \b
    Examples:
      lenslink conform module usb: --json > results.json
      lenslink conform statement results.json --waivers waivers.toml -o statement.md
    """
    from lenslink.image_files.atomic_file import check_target, publish

    from ..conformance.statement import Standing, format_statement, make_statement

    if output is not None:
        check_target(output, is_forced)
    found = make_statement(results, waivers)
    text = format_statement(found)
    if output is None:
        click.echo(text, nl=False)
    else:
        with publish(output, is_forced) as file:
            file.write(text.encode())
    ctx.exit({Standing.FAILS: FAILED_CODE, Standing.INCOMPLETE: RIG_CODE}.get(found.standing, 0))


def _describe_run(options: _Options, subject: str, url: str) -> RunInfo:
    from ..conformance.run_info import RunInfo, draw_seed

    seed = options.seed if options.seed is not None else draw_seed()
    return RunInfo(subject, url, seed)


def _select_cases(cases: list[Case[T]], options: _Options, side: str | None) -> list[Case[T]]:
    """Return the cases that --clause, --case and --quick leave."""
    from ..conformance.clauses import load_clauses
    from ..conformance.verdicts import choose_quick_cases

    clause, name = options.clause, options.case_name
    kind = f" for a {side}" if side else ""
    known = [each.id for each in load_clauses().values() if side in (None, each.side)]
    if clause is not None and clause not in known:
        raise UsageError(f"there is no clause '{clause}'{kind} ('lenslink conform matrix' has all)")
    if name is not None and name not in [case.name for case in cases]:
        raise UsageError(f"there is no case '{name}'{kind} (--list has all)")
    found = [case for case in cases if clause is None or clause in case.clauses]
    found = [case for case in found if name is None or case.name == name]
    if not found:
        raise UsageError(f"the case '{name}' does not test {clause}")
    return choose_quick_cases(found) if options.is_quick else found


def _list_cases(cases: list[Case[Any]], as_json: bool) -> None:
    if as_json:
        described = [{"case": c.name, "clauses": list(c.clauses), "doc": c.doc} for c in cases]
        emit_json({"schema": "lenslink.conform.cases/1", "cases": described})
        return
    for case in cases:
        click.echo(f"{', '.join(case.clauses):14} {case.name}: {case.doc}")


def _report(
    common: CommonOptions, options: _Options, info: RunInfo, found: Iterable[Verdict]
) -> int:
    """Print and write the verdicts; return the exit code."""
    from ..conformance import report

    output = VerdictOutput(common, options.files, info, report.CONFORMANCE)
    return output.report(found, report.as_json if options.as_json else None, _format_line)


def _format_line(each: Verdict) -> str | None:
    """Return the line of a verdict without its detail; None if nothing is to be said."""
    from ..conformance.verdicts import PASSED

    return None if each.verdict == PASSED else f"{each.verdict:11} {each.clause:14} {each.case}"
