"""The command ``lenslink controls``: list the settings that a module has, with their ranges."""

from __future__ import annotations

from dataclasses import asdict

import click

from .opening import open_device, url_argument
from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json, emit_table


@click.command()
@url_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def controls(common: CommonOptions, url: str | None, *, as_json: bool) -> None:
    """List the controls of a module: name, unit, range, step and default.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds.

    \b
    Examples:
      lenslink controls sim:
      lenslink controls sim: --json
    """
    screen = Screen(common)
    with open_device(url, common, screen) as device:
        found = list(device.controls.values())
        serial = device.identity.serial
        address = device.url
    if as_json:
        rows = [asdict(each) for each in found]
        emit_json(
            {
                "schema": "lenslink.controls/1",
                "url": address,
                "serial": serial,
                "controls": rows,
            }
        )
        return
    if not found:
        screen.say("the module has no controls")
        return
    emit_table(
        [
            (each.name, each.unit, str(each.minimum), str(each.maximum), str(each.step),
             str(each.default))
            for each in found
        ],
        ("NAME", "UNIT", "MINIMUM", "MAXIMUM", "STEP", "DEFAULT"),
    )  # fmt: skip
