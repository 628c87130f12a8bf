"""The command ``lenslink list``: show the modules that can be found."""

from __future__ import annotations

from dataclasses import asdict

import click

import lenslink

from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json, emit_table


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def list_command(common: CommonOptions, as_json: bool) -> None:
    """List the camera modules that can be found.

    A simulated module is listed while 'lenslink sim' serves it. 'sim:' itself always works and is
    not listed.

    \b
    Examples:
      lenslink list
      lenslink list --json | jq -r '.devices[].url'
    """
    devices = lenslink.list_devices()
    if as_json:
        emit_json({"schema": "lenslink.list/1", "devices": [asdict(d) for d in devices]})
        return
    if not devices:
        Screen(common).say("lenslink: no device found; 'sim:' needs no hardware")
        return
    emit_table(
        (
            (d.url, d.description, d.serial or "unknown", "in use" if d.busy else "free")
            for d in devices
        ),
        header=("URL", "MODULE", "SERIAL", "STATE"),
    )
