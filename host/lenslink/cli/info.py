"""The command ``lenslink info``: show the manifest, the modes and the session of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lenslink_protocol.packings import find_layout

from .opening import open_device, url_argument
from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json, emit_table
from .values import format_focus

if TYPE_CHECKING:
    from lenslink import Device
    from lenslink_protocol.manifest import Manifest, Mode


@click.command()
@url_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def info(common: CommonOptions, url: str | None, as_json: bool) -> None:
    """Show what a module reports about itself: its manifest, its modes, its session.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds.

    \b
    Examples:
      lenslink info sim:
      lenslink info 'sim:?board=pico' --json
    """
    with open_device(url, common, Screen(common)) as device:
        if as_json:
            emit_json(_to_json(device))
            return
        emit_table([*describe_manifest(device.manifest), *_describe_session(device)])
        click.echo()
        emit_table(
            (_make_mode_row(mode) for mode in device.manifest.modes),
            header=("MODE", "SIZE", "BINNING", "DEFAULT FOR"),
        )


def describe_manifest(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the manifest without its modes, as rows of name and value."""
    sensor = manifest.sensor
    yield "maker", manifest.maker
    yield "model", manifest.model
    yield "serial", manifest.serial
    yield "firmware", manifest.firmware
    yield "board", manifest.board
    black = "/".join(f"{level / 1000:g}" for level in sensor.black_milli)
    yield "sensor", f"{sensor.width} x {sensor.height}, {sensor.bits} bit, {manifest.cfa.name}"
    yield "levels", f"black {black}, white {sensor.white}"
    yield "packings", ", ".join(find_layout(code).packing for code in manifest.formats)
    yield "orientation", f"{sensor.orientation} (EXIF)"
    if (optics := manifest.optics) is not None:
        yield (
            "lens",
            f"{optics.focal_um / 1000:g} mm ({optics.focal_35mm_um / 1000:g} mm equivalent), "
            f"f/{optics.aperture_milli / 1000:g}",
        )
        yield "closest focus", format_focus(optics.focus_max_mdpt)
    if (power := manifest.power) is not None:
        frames = max(mode.active_mw for mode in manifest.modes)
        motor = f"up to {power.motor_mw} mW more while lens or iris move"
        yield "power", f"{power.idle_mw} mW idle, up to {frames} mW with frames, {motor}"
    if (scale := manifest.scale) is not None:
        rate = f", {scale.rate_milli / 10:g} % of its link rate" if scale.rate_milli else ""
        yield "stands in at", f"{scale.pixels_milli / 10:g} % of the product's pixels{rate}"


def _describe_session(device: Device) -> Iterator[tuple[str, str]]:
    session = device.session_info
    yield "URL", device.url
    yield (
        "session",
        f"protocol {_format_version(session.version)}, lanes: {session.lanes}, "
        f"boot {session.boot_count}, up {session.uptime_us / 1e6:.1f} s",
    )


def _make_mode_row(mode: Mode) -> tuple[str, str, str, str]:
    uses = " and ".join(_list_uses(mode))
    binning = "none" if mode.binning == 1 else f"{mode.binning} x {mode.binning}"
    return mode.name, f"{mode.width} x {mode.height}", binning, uses


def _list_uses(mode: Mode) -> list[str]:
    return [(use.name or "").lower() for use in mode.use]


def _format_version(version: int) -> str:
    return f"{version >> 4}.{version & 15}"


def _to_json(device: Device) -> dict[str, object]:
    manifest, session = device.manifest, device.session_info
    return {
        "schema": "lenslink.info/1",
        "url": device.url,
        "maker": manifest.maker,
        "model": manifest.model,
        "serial": manifest.serial,
        "firmware": manifest.firmware,
        "board": manifest.board,
        "sensor": {**asdict(manifest.sensor), "cfa": manifest.cfa.name},
        "color": asdict(manifest.color),
        "formats": [
            {"code": code, "name": code.name, "packing": find_layout(code).packing.value}
            for code in manifest.formats
        ],
        "modes": [{**asdict(mode), "use": _list_uses(mode)} for mode in manifest.modes],
        "optics": asdict(manifest.optics) if manifest.optics else None,
        "power": asdict(manifest.power) if manifest.power else None,
        "scale": asdict(manifest.scale) if manifest.scale else None,
        "session": {**asdict(session), "version": _format_version(session.version)},
        "note": device.note,
    }
