"""The command ``lenslink watch``: show modules as they arrive and depart."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

import lenslink

from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json, escape_controls


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each change.")
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@common_options
@pass_common
def watch(common: CommonOptions, as_json: bool, duration: float | None) -> None:
    """Show camera modules as they arrive and depart, until Ctrl-C.

    Modules that are present already are shown first. A simulated module is shown while
    'lenslink sim' serves it.

    \b
    Examples:
      lenslink watch
      lenslink watch --json --duration 60 | jq -r 'select(.event == "arrived").device.url'
    """
    screen = Screen(common)
    changes = lenslink.watch(duration)
    if not as_json:
        screen.say("lenslink: watching for modules; Ctrl-C ends it")
    try:
        for change in changes:
            is_arrival = isinstance(change, lenslink.Arrival)
            _show_change(change.device, "arrived" if is_arrival else "departed", as_json)
    except KeyboardInterrupt as interrupt:
        # Ctrl-C is the usual end of this command, so it needs no message.
        raise click.exceptions.Exit(getattr(interrupt, "exit_code", 130)) from None


def _show_change(device: lenslink.DeviceInfo, event: str, as_json: bool) -> None:
    if as_json:
        report = {"schema": "lenslink.watch/1", "event": event, "time": _format_now()}
        emit_json({**report, "device": asdict(device)})
    else:
        serial = device.serial or "unknown"
        text = f"{event:<8}  {device.url}  {device.description}  {serial}"
        click.echo(escape_controls(f"{datetime.now():%H:%M:%S}  {text}"))


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
