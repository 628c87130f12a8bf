"""The command ``lenslink its``: tests that a module must pass to be a camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.cli.opening import open_device, url_argument
from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.errors import UsageError

from .verdict_output import REPORT_OPTIONS, ReportFiles, VerdictOutput

if TYPE_CHECKING:
    from ..camera_tests.camera_run import CameraCase
    from ..conformance.verdicts import Verdict


def _report_options(function: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(REPORT_OPTIONS):
        function = option(function)
    return function


@click.command(
    epilog="Exit codes: 0 all that ran passed, 7 a test failed, 11 a test could not be run."
)
@url_argument
@click.option("--case", "name", metavar="NAME", help="Run only this case of --list.")
@click.option(
    "--flicker",
    "flicker_hz",
    type=click.FloatRange(1, 10_000),
    metavar="HZ",
    help="The light flickers at this frequency: measure the row time from its bands.",
)
@_report_options
@common_options
@pass_common
@click.pass_context
def its(
    ctx: click.Context,
    common: CommonOptions,
    url: str | None,
    *,
    name: str | None,
    flicker_hz: float | None,
    list_only: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
    is_forced: bool,
) -> None:
    """Test whether the module at URL is a camera: do its pictures show what it reports?

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. Point the
    module at a still scene with detail, in steady light. What a module does not have is "not
    claimed". What the scene cannot show is "not run".

    \b
    Examples:
      lenslink its 'sim:?scene=planes'
      lenslink its usb: --html report.html
      lenslink its 'sim:?scene=coffee&flicker=100' --flicker 100 --case row_time_is_right
    """
    from ..camera_tests.camera_run import FORM, list_camera_cases, run_camera_tests
    from ..camera_tests.camera_run import as_json as make_json
    from ..conformance.run_info import RunInfo

    cases = _select_cases(list_camera_cases(), name)
    if list_only:
        _list_cases(cases, as_json)
        return
    files = ReportFiles(junit, html, None, is_forced)
    with open_device(url, common, Screen(common)) as device:
        info = RunInfo(f"{device.url}, a module", device.url)
        output = VerdictOutput(common, files, info, FORM)
        verdicts = run_camera_tests(device, cases, info=info, flicker_hz=flicker_hz)
        code = output.report(verdicts, make_json if as_json else None, _format_line)
    ctx.exit(code)


def _select_cases(cases: list[CameraCase], name: str | None) -> list[CameraCase]:
    found = [case for case in cases if name in (None, case.name)]
    if not found:
        raise UsageError(f"there is no case '{name}' (--list has all)")
    return found


def _list_cases(cases: list[CameraCase], as_json: bool) -> None:
    if as_json:
        described = [{"case": case.name, "doc": case.doc} for case in cases]
        emit_json({"schema": "lenslink.its.cases/1", "cases": described})
        return
    for case in cases:
        click.echo(f"{case.name}: {case.doc}")


def _format_line(each: Verdict) -> str:
    return f"{each.verdict:11} {each.case}"
