"""The command ``lenslink events``: show what changes on a module while it is attached."""

from __future__ import annotations

import time

import click

from lenslink_protocol.ids import ContactState, EventKind, HeatState
from lenslink_protocol.messages import Event

from .opening import open_device, url_argument
from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json


@click.command()
@url_argument
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each event.")
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@common_options
@pass_common
def events(common: CommonOptions, url: str | None, as_json: bool, duration: float | None) -> None:
    """Show the module's focus ring, contacts, heat and supply as they change, until Ctrl-C.

    The first lines are the present states. URL defaults to $LENSLINK_URL, else to the only module
    that 'lenslink list' finds.

    \b
    Examples:
      lenslink events sim: --duration 3
      lenslink events unix:camera --json | jq -r 'select(.event == "ring").value'
    """
    try:
        with open_device(url, common, Screen(common)) as device:
            end = None if duration is None else time.monotonic() + duration
            while True:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    break
                for event in device.wait_for_events(left):
                    _show_event(event, as_json)
    except KeyboardInterrupt as interrupt:
        # Ctrl-C is the usual end of this command, so it needs no message.
        raise click.exceptions.Exit(getattr(interrupt, "exit_code", 130)) from None


def _show_event(event: Event, as_json: bool) -> None:
    counter = event.counter | event.counter_high << 32
    if as_json:
        report = {"schema": "lenslink.events/1", "event": _get_kind(event.kind)}
        numbers = {"time_us": event.time_us, "value": event.value, "counter": counter}
        emit_json({**report, **numbers})
    else:
        click.echo(f"{event.time_us / 1e6:12.3f} s  {describe_event(event, counter)}")


def describe_event(event: Event, counter: int) -> str:
    """Return an event as words."""
    match event.kind:
        case EventKind.RING:
            return f"ring      at {event.value} ticks, {counter} ticks turned"
        case EventKind.CONTACTS:
            bad = event.value >> 8
            before = f", {name_code(ContactState, bad)} before" if bad else ""
            state = name_code(ContactState, event.value & 0xFF)
            return f"contacts  {state}{before}, {counter} bounces"
        case EventKind.HEAT:
            return f"heat      {name_code(HeatState, event.value)}, {counter} changes"
        case EventKind.POWER:
            return f"power     {event.value} mV, {counter / 1e6:.3f} J"
    return f"{_get_kind(event.kind):<9} {event.value}, {counter}"


def _get_kind(kind: int) -> str:
    return name_code(EventKind, kind)


def name_code(names: type[EventKind | ContactState | HeatState], value: int) -> str:
    """Return the name of a code, as ``half-seated``; ``code-9`` if it is unknown."""
    try:
        return names(value).name.lower().replace("_", "-")
    except ValueError:
        return f"code-{value}"
