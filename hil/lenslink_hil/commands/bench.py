"""The commands ``lenslink bench ...``: measure the driver, the link, and other software.

Each command calls its benchmark in :mod:`lenslink_hil.benchmark`, and prints or writes the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenslink.cli.opening import open_device, url_argument
from lenslink.cli.options import CommonOptions, OutputFile, Seconds, common_options, pass_common
from lenslink.cli.screen import Progress, Screen, emit_json, emit_table
from lenslink.errors import UsageError
from lenslink.transports import choose_url
from lenslink_isp.opencv import require_aiohttp, require_opencv
from lenslink_protocol.packings import Packing
from lenslink_protocol.params import MAX_PAYLOAD

if TYPE_CHECKING:
    from ..benchmark.link_rate import Effort

_FAILED = 7
# A sweep has some twenty points, so each is measured for a shorter time than a single link.
_LINK_S = 5.0
_SWEEP_S = 1.0
_OUTPUT = OutputFile()
_OUTPUT_OPTION = click.option(
    "--output",
    type=_OUTPUT,
    metavar="FILE.md",
    help="Write the report, or update it in an existing file.",
)
_JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)


@click.group()
@common_options
def bench() -> None:
    """Measure the driver, beside the bare transport and beside other software.

    \b
    Examples:
      lenslink bench host --quick
      lenslink bench host --output BENCHMARKS.md
      lenslink bench peers
      lenslink bench link usb:
      lenslink bench plant
      lenslink bench control sim:
      lenslink bench viewfinder sim:
      lenslink bench hdr
      lenslink bench denoise
      lenslink bench zoom
      lenslink bench metering
    """


@bench.command()
@click.option("--quick", is_flag=True, help="Take at most 40 s: fewer series and repetitions.")
@click.option(
    "--transport",
    "transports",
    type=click.Choice(["unix", "tcp", "shm"]),
    multiple=True,
    help="Measure only this transport; may be repeated.  [default: all three]",
)
@_OUTPUT_OPTION
@click.option("--plot", type=_OUTPUT, metavar="FILE", help="Draw a chart, as .png or .txt.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a chart that exists.")
@_JSON_OPTION
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
    """Measure throughput, latency and memory of the driver, each beside its bound.

    CPU time is the user and system time of the host's processes. The sender is another process.
    Every timed run holds a damaged tile that the driver must discard. A busy machine makes all
    figures worse, but the ratios least.

    \b
    Examples:
      lenslink bench host --quick
      lenslink bench host --quick --json | jq '.targets[] | select(.met | not)'
      lenslink bench host --output BENCHMARKS.md --plot bench.png
    """
    from ..benchmark import document
    from ..benchmark import host_series as run
    from ..benchmark import plot as drawing

    # A file that cannot be written must show before minutes are spent.
    if plot is not None:
        drawing.check_path(plot)
    if output is not None:
        document.read_parts(output)
    screen = Screen(common)
    with screen.show_progress() as progress:
        result = run.measure_all(transports or run.TRANSPORTS, quick, _make_reporter(progress))
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
    _report_not_run(result, screen)


@bench.command()
@_OUTPUT_OPTION
@_JSON_OPTION
@common_options
@pass_common
def peers(common: CommonOptions, *, output: Path | None, as_json: bool) -> None:
    """Send the same payload through other software, as far as it is installed.

    The extra 'bench' installs what pip can install; Aravis is a package of the system. Software
    that is missing is listed as NOT RUN, with the way to get it.

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
    with screen.show_progress() as progress:
        result = run.measure_all(_make_reporter(progress))
    if output is not None:
        document.write_part(output, "peers", run.format_peers(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
        return
    for each in result["peers"]:
        rate = f"{each['mb_per_cpu_s']:10.1f} MB per CPU-second"
        click.echo(f"{rate}  {each['name']}: {each['note']}")
    _report_not_run(result, screen)


@bench.command(epilog="Exit codes: 0 measured, 7 a pixel was wrong.")
@url_argument
@click.option("--mode", metavar="NAME", help="Readout mode.  [default: the preview's]")
@click.option(
    "--packing",
    type=click.Choice([each.value for each in Packing]),
    help="How pixels are packed on the link.  [default: the module's choice]",
)
@click.option(
    "--tile-bytes",
    type=click.IntRange(min=1, max=MAX_PAYLOAD),
    metavar="N",
    help="Longest tile in bytes.  [default: the module's choice]",
)
@click.option(
    "--duration",
    type=Seconds(),
    metavar="SECONDS",
    help="How long to measure, by the link's clock.  [default: 5; for each point of a sweep 1]",
)
@click.option("--frames", type=click.IntRange(min=2), metavar="N", help="End after N frames.")
@click.option(
    "--check",
    type=click.Choice(["prbs", "ramp", "bars"]),
    help="Compare every pixel with this pattern, which the module shows. This costs host time.",
)
@click.option("--seed", type=int, default=0, help="Seed of the pattern 'prbs'.")
@click.option(
    "--sweep",
    is_flag=True,
    help="Measure lanes, packings and tile sizes in turn, and print the options to use.",
)
@_OUTPUT_OPTION
@_JSON_OPTION
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
    """Measure the link of one module, beside what its line carries at best.

    Wire bytes are all received bytes, headers included. Pixel bytes are those of valid tiles, as
    they are packed on the link. The ceiling is that of the negotiated USB speed, or the board's
    own; for other lines it is unknown. For an emulated board, time is that of the emulated clock.

    --sweep measures the link as URL opens it, then with other numbers of lanes, other packings and
    other tile sizes, as far as URL and the module offer them. Each setting keeps its fastest value
    while the next one is varied. Settings that URL or the options name are not varied. If a setting
    gains 3 % or more, the command prints the options to use. Ctrl-C ends the sweep and reports what
    was measured until then.

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
        raise UsageError("--duration and --frames contradict each other: give one of them")
    if output is not None:
        document.read_parts(output)
    if sweep and output is not None:
        raise UsageError(
            "--sweep and --output contradict each other: the report has no place for a sweep"
        )
    screen = Screen(common)
    seconds = duration or (_SWEEP_S if sweep else _LINK_S)
    effort = run.Effort(mode, packing, tile_bytes or 0, frames, seconds, check, seed)
    if sweep:
        _sweep(choose_url(url), effort, common, screen, as_json)
        return
    with open_device(url, common, screen) as device, screen.show_progress() as progress:
        result = {**run.measure(device, effort, progress.update), "url": device.url}
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


@bench.command()
@click.option(
    "--scene",
    "scenes",
    metavar="NAME",
    multiple=True,
    help="Measure this scene behind the lens; may be repeated.  [default: edges, planes, depth]",
)
@click.option(
    "--stills", is_flag=True, help="Measure stills of the other scenes too, for a minute a scene."
)
@_JSON_OPTION
@common_options
@pass_common
def plant(common: CommonOptions, *, scenes: tuple[str, ...], stills: bool, as_json: bool) -> None:
    """Measure how many frames a second the simulated camera computes, on one core.

    Rates are frames for each second of CPU time. At rest only the noise of a frame is new. While
    the lens moves, the picture is drawn anew. The first frame of a scene also paints it. A still
    has 12 megapixels. By default the scene edges alone has one.

    \b
    Examples:
      lenslink bench plant
      lenslink bench plant --scene coffee --stills
      lenslink bench plant --json | jq '.scenes[].preview'
    """
    from ..benchmark import plant_rate as run

    screen = Screen(common)
    with screen.show_progress() as progress:
        result = run.measure_all(scenes or run.SCENES, stills, _make_reporter(progress))
    if as_json:
        emit_json(result)
    else:
        emit_table(run.format_rows(result), run.HEADER)


@bench.command()
@url_argument
@click.option(
    "--spells",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Spells of each kind.",
)
@click.option(
    "--seconds", type=Seconds(), default=3.0, show_default=True, help="How long a spell lasts."
)
@_JSON_OPTION
@common_options
@pass_common
def control(
    common: CommonOptions, url: str | None, *, spells: int, seconds: float, as_json: bool
) -> None:
    """Measure how fast the owner of a module answers other processes, and what that costs.

    Another process receives the preview into a frame ring. Spells with clients and spells without
    take turns, so that all see the same machine. The exit code is 7 if a figure
    is beyond its limit, as on a busy machine.

    \b
    Examples:
      lenslink bench control sim:
      lenslink bench control 'sim:?scene=prbs&board=fast' --json
    """
    from ..benchmark import control_latency as run

    screen = Screen(common)
    with screen.show_progress() as progress:
        result = run.measure(choose_url(url), spells, seconds, _make_reporter(progress))
    if as_json:
        emit_json(result)
    else:
        for line in run.format_summary(result):
            click.echo(line)
    if not run.is_within_limits(result):
        raise click.exceptions.Exit(_FAILED)


@bench.command("viewfinder")
@url_argument
@click.option(
    "--seconds",
    type=Seconds(),
    default=20.0,
    show_default=True,
    help="How long pictures are shown.",
)
@click.option("--hdr", "is_hdr", is_flag=True, help="Turn the HDR preview on.")
@click.option(
    "--taps",
    type=click.IntRange(0, 1000),
    default=0,
    metavar="N",
    help="Focus on N points first, and measure when the box shows it.",
)
@_JSON_OPTION
@common_options
@pass_common
def measure_viewfinder(
    common: CommonOptions,
    url: str | None,
    *,
    seconds: float,
    is_hdr: bool,
    taps: int,
    as_json: bool,
) -> None:
    """Measure how long a picture of the viewfinder takes from the frame ring to the screen.

    A headless Chromium shows the page. Where there is none, a client answers at once instead, and
    the figure is that of the server alone. It needs the extra viewfinder. A tap is timed by this
    machine's clock, which a busy machine stretches.

    \b
    Examples:
      lenslink bench viewfinder 'sim:?scene=prbs&width=640&height=480'
      lenslink bench viewfinder 'sim:?scene=planes' --hdr --taps 10
      lenslink bench viewfinder sim: --json
    """
    require_opencv()
    require_aiohttp()
    from ..benchmark import viewfinder_delay as run

    screen = Screen(common)
    with screen.show_progress() as progress:
        watch = run.Watch(seconds, is_hdr, taps)
        result = run.measure(choose_url(url), watch, _make_reporter(progress))
    if as_json:
        emit_json(result)
        return
    for line in run.format_summary(result):
        click.echo(line)


@bench.command(epilog="Exit codes: 0 measured, 7 a target was missed.")
@_OUTPUT_OPTION
@_JSON_OPTION
@common_options
@pass_common
def hdr(common: CommonOptions, *, output: Path | None, as_json: bool) -> None:
    """Measure merges of brackets and bursts against the truth of the simulated camera.

    The figures are dynamic range, ghosts of a moving target, noise, sharpness, alignment and CPU
    time on one core. A busy machine makes only the times worse.

    \b
    Examples:
      lenslink bench hdr
      lenslink bench hdr --json | jq '.targets[] | select(.met | not)'
    """
    require_opencv()
    from ..benchmark import merge_quality as run

    _run_quality(common, run, "hdr", output, as_json)


@bench.command(epilog="Exit codes: 0 measured, 7 a target was missed.")
@_OUTPUT_OPTION
@_JSON_OPTION
@common_options
@pass_common
def denoise(common: CommonOptions, *, output: Path | None, as_json: bool) -> None:
    """Measure the RAW denoiser on held-out photographs, beside BM3D.

    The figures are raw and sRGB PSNR at five ISOs, and CPU time on one thread. Those of BM3D were
    measured once on the same crops, because its licence forbids commercial use. A busy machine
    makes only the time worse.

    \b
    Examples:
      lenslink bench denoise
      lenslink bench denoise --json | jq '.targets[] | select(.met | not)'
    """
    require_opencv()
    from ..benchmark import denoise_quality as run

    _run_quality(common, run, "denoise", output, as_json)


@bench.command(epilog="Exit codes: 0 measured, 7 a target was missed.")
@_OUTPUT_OPTION
@_JSON_OPTION
@common_options
@pass_common
def zoom(common: CommonOptions, *, output: Path | None, as_json: bool) -> None:
    """Measure the zoom on known scenes, beside one frame and beside a merged burst.

    The figures are PSNR on held-out photographs, the resolution of an edge, false detail, what
    moves, and CPU time on one thread. A busy machine makes only the time worse.

    \b
    Examples:
      lenslink bench zoom
      lenslink bench zoom --json | jq '.targets[] | select(.met | not)'
    """
    require_opencv()
    from ..benchmark import zoom_quality as run

    _run_quality(common, run, "zoom", output, as_json)


@bench.command()
@_JSON_OPTION
@common_options
@pass_common
def metering(common: CommonOptions, *, as_json: bool) -> None:
    """Measure auto exposure and auto white balance on simulated scenes, beside peers.

    Twenty scenes of the plant are seen in nine lights, of 2300 to 7500 K. The error of the white
    balance is the angle to what a white surface would be. The scenes are held out, except those of
    the group 'chosen on'.

    \b
    Examples:
      lenslink bench metering
      lenslink bench metering --json | jq '.white_balance[]'
    """
    require_opencv()
    from ..benchmark import metering_error as run

    screen = Screen(common)
    with screen.show_progress() as progress:
        result = run.measure_all(_make_reporter(progress))
    if as_json:
        emit_json(result)
        return
    emit_table(run.format_rows(result), run.HEADER)
    for line in run.format_exposure(result):
        click.echo(line)
    click.echo(run.format_verdict(result))


def _sweep(url: str, effort: Effort, common: CommonOptions, screen: Screen, as_json: bool) -> None:
    """Measure every point, then print the table and the options to use."""
    from ..benchmark import sweep as run

    stopped: KeyboardInterrupt | None = None
    with screen.show_progress() as progress:
        sweep = run.Sweep(
            url, effort, lambda each: open_device(each, common, screen), progress.update
        )
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
        # The report shows already that the sweep was interrupted.
        raise click.exceptions.Exit(getattr(stopped, "exit_code", 130))


def _run_quality(
    common: CommonOptions, run: Any, part: str, output: Path | None, as_json: bool
) -> None:
    """Measure with the module *run*, write its part of the report, and exit 7 for a missed target.

    *run* has ``measure_all``, ``format_part`` and ``format_summary``.
    """
    from ..benchmark import document

    if output is not None:
        document.read_parts(output)
    screen = Screen(common)
    with screen.show_progress() as progress:
        result = run.measure_all(_make_reporter(progress))
    if output is not None:
        document.write_part(output, part, run.format_part(result))
        screen.say(f"wrote {output}")
    if as_json:
        emit_json(result)
    else:
        for line in run.format_summary(result):
            click.echo(line)
    if not all(each["met"] for each in result["targets"]):
        raise click.exceptions.Exit(_FAILED)


def _make_reporter(progress: Progress) -> Any:
    return lambda text: progress.show(f"bench: {text} ...")


def _report_not_run(result: dict[str, Any], screen: Screen) -> None:
    for each in result["not_run"]:
        screen.say(f"NOT RUN: {each.get('series') or each['name']}: {each['why']}")
