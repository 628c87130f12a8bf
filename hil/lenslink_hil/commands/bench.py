"""``lenslink bench``: what the link costs, measured beside what bounds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenslink.cli.opening import opened, show_logs, url_argument
from lenslink.cli.options import CommonOptions, Seconds, common_options, pass_common
from lenslink.cli.screen import Progress, Screen, emit_json, emit_table
from lenslink.errors import UsageError
from lenslink.transports import choose
from lenslink_protocol.packings import Packing
from lenslink_protocol.params import MAX_PAYLOAD

if TYPE_CHECKING:
    from ..benchmark.link_rate import Effort

_FAILED = 7
# How long a link is measured, and each point of a sweep: there are some twenty.
_LINK_S = 5.0
_SWEEP_S = 1.0
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
      lenslink bench link usb:
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
@pass_common
def host(
    common: CommonOptions,
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
    from ..benchmark import document
    from ..benchmark import host_series as run
    from ..benchmark import plot as drawing

    # What cannot be written is said before minutes are spent on it.
    if plot is not None:
        drawing.check_path(plot)
    if output is not None:
        document.read_parts(output)
    screen = Screen(common)
    with screen.progress() as progress:
        result = run.measure_all(transports or run.TRANSPORTS, quick, _saying(progress))
    if plot is not None:
        drawing.write_chart(result, plot, force)
        screen.say(f"wrote {plot}")
    if output is not None:
        document.write_part(output, "host", document.format_host(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
        return
    for line in drawing.draw_chart(result):
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
@pass_common
def peers(common: CommonOptions, *, output: Path | None, as_json: bool) -> None:
    """The same payload through what others would use, as far as it is installed.

    The extra 'bench' brings the ones that pip can install; Aravis is a package of the system. What
    is missing is listed as NOT RUN, with how to get it.

    \b
    Examples:
      lenslink bench peers
      lenslink bench peers --output BENCHMARKS.md
    """
    from ..benchmark import document
    from ..benchmark import peers as run

    if output is not None:
        document.read_parts(output)
    screen = Screen(common)
    with screen.progress() as progress:
        result = run.measure_all(_saying(progress))
    if output is not None:
        document.write_part(output, "peers", run.format_peers(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
        return
    for each in result["peers"]:
        rate = f"{each['mb_per_cpu_s']:10.1f} MB per CPU-second"
        click.echo(f"{rate}  {each['name']}: {each['note']}")
    _not_run(result, screen)


@bench.command(epilog="Exit codes: 0 measured, 7 a pixel was wrong.")
@url_argument
@click.option("--mode", metavar="NAME", help="Readout mode.  [default: the preview's]")
@click.option(
    "--packing",
    type=click.Choice([each.value for each in Packing]),
    help="How pixels share bytes on the link.  [default: the module's choice]",
)
@click.option(
    "--tile-bytes",
    type=click.IntRange(min=1, max=MAX_PAYLOAD),
    metavar="N",
    help="Longest tile.  [default: the module's choice]",
)
@click.option(
    "--duration",
    type=Seconds(),
    metavar="SECONDS",
    help="Of the link's clock.  [default: 5; for each line of a sweep 1]",
)
@click.option("--frames", type=click.IntRange(min=2), metavar="N", help="End after N frames.")
@click.option(
    "--check",
    type=click.Choice(["prbs", "ramp", "bars"]),
    help="The pattern that the module shows: compare every pixel. Takes time of the host's.",
)
@click.option("--seed", type=int, default=0, help="Of the pattern 'prbs'.")
@click.option(
    "--sweep",
    is_flag=True,
    help="Measure lanes, packings and tile sizes in turn, and print which to pin.",
)
@click.option("--output", type=_OUTPUT, metavar="FILE.md", help="Write or renew the report there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@pass_common
def link(
    common: CommonOptions,
    url: str | None,
    *,
    mode: str | None,
    packing: str | None,
    tile_bytes: int | None,
    duration: float | None,
    frames: int | None,
    check: str | None,
    seed: int,
    sweep: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """What one module's link achieves, beside what its line carries at best.

    Wire bytes are all that comes, headers included; pixel bytes are those of sound tiles, as they
    lie on the link. The ceiling is that of the USB speed that was negotiated, or the board's own;
    of other lines it is unknown. On an emulated board time is the emulated clock's.

    --sweep measures the link as URL opens it, then with other numbers of lanes, other packings and
    other tile sizes, as far as URL and the module offer them. Each keeps its fastest value while
    the next is varied; what URL and options name is not varied. It prints the options to pin, if
    any gains 3 %. Ctrl-C ends it with what has been measured until then.

    \b
    Examples:
      lenslink bench link usb:
      lenslink bench link 'usbip:?scene=prbs&lanes=4' --check prbs --frames 100
      lenslink bench link sim: --packing lsb --json | jq .wire_bytes_per_s
      lenslink bench link usb: --sweep
      lenslink bench link usb: --sweep --json | jq -r .command
    """
    from ..benchmark import document
    from ..benchmark import link_rate as run

    if duration is not None and frames is not None:
        raise UsageError("--duration and --frames: one of them ends the measurement")
    if output is not None:
        document.read_parts(output)
    if sweep and output is not None:
        raise UsageError("--sweep and --output: the report has no place for a sweep")
    screen = Screen(common)
    seconds = duration or (_SWEEP_S if sweep else _LINK_S)
    effort = run.Effort(mode, packing, tile_bytes or 0, frames, seconds, check, seed)
    if sweep:
        _sweep(choose(url), effort, common, screen, as_json)
        return
    with opened(url, common, screen) as device, screen.progress() as progress:

        def say(text: Callable[[], str]) -> None:
            progress.update(text)
            show_logs(device, screen)

        result = {**run.measure(device, effort, say), "url": device.url}
    if output is not None:
        document.write_part(output, "link", run.format_link(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
    else:
        for line in run.format_summary(result):
            click.echo(line)
    if result["wrong_pixels"]:
        raise click.exceptions.Exit(_FAILED)


def _sweep(url: str, effort: Effort, common: CommonOptions, screen: Screen, as_json: bool) -> None:
    """Measure every point, then print the table and what to pin."""
    from ..benchmark import sweep as run

    stopped: KeyboardInterrupt | None = None
    with screen.progress() as progress:
        sweep = run.Sweep(url, effort, lambda each: opened(each, common, screen), progress.update)
        with sweep:
            try:
                sweep.run()
            except KeyboardInterrupt as interrupt:
                if not sweep.rates:
                    raise
                stopped = interrupt
    document = sweep.report(stopped is not None)
    if as_json:
        emit_json(document)
    else:
        emit_table(run.format_rows(document), run.HEADER)
        for line in run.format_summary(document):
            click.echo(line)
    for each in document["not_run"]:
        screen.say(f"NOT RUN: {run.format_settings(each)}: {each['why']}")
    if document["wrong_pixels"]:
        raise click.exceptions.Exit(_FAILED)
    if stopped is not None:
        # The report has said it already.
        raise click.exceptions.Exit(getattr(stopped, "exit_code", 130))


def _saying(progress: Progress) -> Any:
    return lambda text: progress.show(f"bench: {text} ...")


def _not_run(result: dict[str, Any], screen: Screen) -> None:
    for each in result["not_run"]:
        screen.say(f"NOT RUN: {each.get('series') or each['name']}: {each['why']}")
