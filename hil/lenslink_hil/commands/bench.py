"""``lenslink bench``: what the link costs, measured beside what bounds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lenslink.cli.options import Settings, common_options, pass_settings
from lenslink.cli.screen import Progress, Screen, emit_json

_OUTPUT = click.Path(path_type=Path, dir_okay=False)


@click.group()
@common_options
def bench() -> None:
    """Measure what the host costs, beside the bare transport and what others would use.

    \b
    Examples:
      lenslink bench host --quick
      lenslink bench host --output BENCHMARKS.md
      lenslink bench peers
    """


@bench.command()
@click.option("--quick", is_flag=True, help="Within 40 s: fewer series and repetitions.")
@click.option(
    "--transport",
    "transports",
    type=click.Choice(["unix", "tcp", "shm"]),
    multiple=True,
    help="Only this one; may be repeated.  [default: all three]",
)
@click.option("--output", type=_OUTPUT, metavar="FILE.md", help="Write or renew the report there.")
@click.option("--plot", type=_OUTPUT, metavar="FILE", help="Draw a chart: .png or .txt.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a chart that exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@pass_settings
def host(
    settings: Settings,
    *,
    quick: bool,
    transports: tuple[str, ...],
    output: Path | None,
    plot: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Throughput, latency and memory of the driver, each beside its bound in the same run.

    CPU is user and system time of the host's processes. The sender is another process; every timed
    run holds a damaged tile that must be rejected. A machine that does other things meanwhile
    makes all figures worse, the ratios least.

    \b
    Examples:
      lenslink bench host --quick
      lenslink bench host --quick --json | jq '.targets[] | select(.met | not)'
      lenslink bench host --output BENCHMARKS.md --plot bench.png
    """
    from ..bench import host as run
    from ..bench import plot as drawing
    from ..bench import report

    # What cannot be written is said before minutes are spent on it.
    if plot is not None:
        drawing.check(plot)
    if output is not None:
        report.check(output)
    screen = Screen(settings)
    with screen.progress() as progress:
        result = run.run(transports or run.TRANSPORTS, quick, _saying(progress))
    if plot is not None:
        drawing.write(result, plot, force)
        screen.say(f"wrote {plot}")
    if output is not None:
        report.write(output, "host", report.markdown(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
        return
    for line in drawing.chart(result):
        click.echo(line)
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "NOT MET"
        click.echo(f"{verdict:8} {each['name']}: {each['value']:.2f}, {sign} {each['bound']:g}")
    _not_run(result, screen)


@bench.command()
@click.option("--output", type=_OUTPUT, metavar="FILE.md", help="Write or renew the report there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@pass_settings
def peers(settings: Settings, *, output: Path | None, as_json: bool) -> None:
    """The same payload through what others would use, as far as it is installed.

    The extra 'bench' brings the ones that pip can install; Aravis is a package of the system. What
    is missing is listed as NOT RUN, with how to get it.

    \b
    Examples:
      lenslink bench peers
      lenslink bench peers --output BENCHMARKS.md
    """
    from ..bench import peers as run
    from ..bench import report

    if output is not None:
        report.check(output)
    screen = Screen(settings)
    with screen.progress() as progress:
        result = run.run(_saying(progress))
    if output is not None:
        report.write(output, "peers", run.markdown(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
        return
    for each in result["peers"]:
        rate = f"{each['mb_per_cpu_s']:10.1f} MB per CPU-second"
        click.echo(f"{rate}  {each['name']}: {each['note']}")
    _not_run(result, screen)


def _saying(progress: Progress) -> Any:
    return lambda text: progress.show(f"bench: {text} ...")


def _not_run(result: dict[str, Any], screen: Screen) -> None:
    for each in result["not_run"]:
        screen.say(f"NOT RUN: {each.get('series') or each['name']}: {each['why']}")
