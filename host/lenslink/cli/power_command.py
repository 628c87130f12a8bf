"""The command ``lenslink power``: measure the energy of frames, and how warm the module gets."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from lenslink_protocol.ids import ErrorCode, EventKind
from lenslink_protocol.messages import Event

from ..errors import DeviceError, MissingExtra, UsageError
from ..image_files.atomic_file import check_target, publish
from .opening import open_device, url_argument
from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json

if TYPE_CHECKING:
    from ..device import Device

_STILLS = 3
_SUFFIXES = (".png", ".svg")
_HOUR_S = 3600


@dataclass
class Measurement:
    """What one run has seen. Energies are in microjoules, times in seconds since its start."""

    preview_s: float = 0.0
    frames_uj: list[int] = field(default_factory=list)
    stills_uj: list[int] = field(default_factory=list)
    temperatures: list[tuple[float, float]] = field(default_factory=list)
    """Seconds and degrees Celsius, of each frame."""
    counters: list[tuple[int, int]] = field(default_factory=list)
    """Microseconds of the module's clock, and all energy at that time."""

    def add_events(self, events: list[Event]) -> None:
        """Take the energies that the module has reported."""
        for event in events:
            if event.kind == EventKind.POWER:
                counter = event.counter | event.counter_high << 32
                self.counters.append((event.time_us, counter))

    @property
    def powers(self) -> list[tuple[float, float]]:
        """Seconds since the first report, and watts between two reports."""
        found = []
        for (before_us, before), (after_us, after) in zip(
            self.counters, self.counters[1:], strict=False
        ):
            if after_us > before_us:
                middle_s = ((before_us + after_us) / 2 - self.counters[0][0]) / 1e6
                found.append((middle_s, (after - before) / (after_us - before_us)))
        return found

    def report(self) -> dict[str, Any]:
        """Return the results as JSON-compatible values; None where nothing is known."""
        first, last = self.counters[0], self.counters[-1]
        passed_us = last[0] - first[0]
        watts = (last[1] - first[1]) / passed_us if passed_us else None
        degrees = [each for _, each in self.temperatures]
        return {
            "preview_s": round(self.preview_s, 3),
            "frames": len(self.frames_uj),
            "frame_uj": _mean(self.frames_uj),
            "stills": len(self.stills_uj),
            "still_uj": _mean(self.stills_uj),
            "preview_mw": None if watts is None else round(watts * 1000, 1),
            "preview_hour_j": None if watts is None else round(watts * _HOUR_S, 1),
            "temperature_c": [degrees[0], max(degrees), degrees[-1]] if degrees else None,
        }


def _mean(energies: list[int]) -> int | None:
    known = [each for each in energies if each]
    return round(mean(known)) if known else None


@click.command()
@url_argument
@click.option(
    "--session",
    type=Seconds(),
    default=10.0,
    show_default="10 s",
    metavar="SECONDS",
    help="Duration of the preview that is measured.",
)
@click.option(
    "--budget",
    type=click.IntRange(0, 0xFFFFFFFF),
    metavar="MW",
    help="Grant the module so many milliwatts.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw power and temperature into FILE.png or FILE.svg.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("--force", "-f", is_flag=True, help="Overwrite a file that exists.")
@common_options
@pass_common
def power(
    common: CommonOptions,
    url: str | None,
    *,
    session: float,
    budget: int | None,
    output: Path | None,
    as_json: bool,
    force: bool,
) -> None:
    """Measure the energy of a preview and of three stills, and the sensor's temperature.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The preview
    runs as fast as the module goes.

    \b
    Examples:
      lenslink power sim: --session 60
      lenslink power sim: --budget 1500 --json
      lenslink power sim: --session 60 -o power.png
    """
    if output is not None:
        _check_output(output, force)
    screen = Screen(common)
    with open_device(url, common, screen) as device:
        if budget is not None:
            device.grant_power(budget)
        found = measure(device, session)
        serial, address, state = device.identity.serial, device.url, device.power
    report = found.report()
    if output is not None:
        _draw(found, output, force)
    if as_json:
        head = {"schema": "lenslink.power/1", "url": address, "serial": serial}
        heat = None if state.heat is None else state.heat.name.lower()
        emit_json({**head, **report, "supply_mv": state.supply_mv, "heat": heat})
        return
    for line in _describe(report):
        click.echo(line)


def measure(device: Device, seconds: float) -> Measurement:
    """Run a preview for so long, and take stills after it.

    Raises:
        DeviceError: The module does not report its energy.
    """
    device.wait_for_events(1.0)
    if device.power.energy_uj is None:
        raise DeviceError("the module does not report its energy", ErrorCode.UNSUPPORTED)
    found = Measurement()
    began = time.monotonic()
    with closing(device.stream()) as frames:
        for frame in frames:
            with frame:
                found.frames_uj.append(frame.energy_uj)
                passed = time.monotonic() - began
                found.temperatures.append((passed, frame.temperature_mc / 1000))
            found.add_events(device.take_events())
            if passed >= seconds and len(found.counters) > 1:
                break
    found.preview_s = time.monotonic() - began
    for _ in range(_STILLS):
        with device.capture() as still:
            found.stills_uj.append(still.energy_uj)
    return found


def _describe(report: dict[str, Any]) -> list[str]:
    """Return the results as lines."""

    def energy(microjoules: int | None) -> str:
        return "unknown" if microjoules is None else f"{microjoules / 1000:.1f} mJ"

    lines = [
        f"a frame          {energy(report['frame_uj'])}, mean of {report['frames']}"
        f" in {report['preview_s']:.1f} s",
        f"a still          {energy(report['still_uj'])}, mean of {report['stills']}",
    ]
    if report["preview_mw"] is not None:
        joules = report["preview_hour_j"]
        lines.append(f"preview          {report['preview_mw']:.0f} mW")
        lines.append(f"preview, an hour {joules:.0f} J = {joules / _HOUR_S:.2f} Wh")
    if report["temperature_c"] is not None:
        first, highest, last = report["temperature_c"]
        lines.append(f"temperature      {first:.1f} degC, up to {highest:.1f}, at last {last:.1f}")
    return lines


def _check_output(path: Path, force: bool) -> None:
    """Raise before anything is opened if the chart cannot be drawn."""
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path.name}: a chart is a file named .png or .svg")
    check_target(path, force)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("a chart", "bench") from None


def _draw(found: Measurement, path: Path, force: bool) -> None:
    """Draw power and temperature over the time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    upper.plot([at for at, _ in found.powers], [watts for _, watts in found.powers], "o-")
    upper.set_ylabel("power, W")
    upper.set_ylim(bottom=0)
    lower.plot([at for at, _ in found.temperatures], [each for _, each in found.temperatures])
    lower.set_ylabel("sensor, degC")
    lower.set_xlabel("time, s")
    with publish(path, force) as file:
        figure.savefig(file, format=path.suffix[1:])
