"""``lenslink pico``."""

from __future__ import annotations

from collections.abc import Callable

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, emit_table
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError

_PLACES = """
\b
What it needs, and where it is looked for:
  Node.js     18 or newer, on PATH
  rp2040js    in the user's cache: lenslink pico setup puts it there
  image       $LENSLINK_PICO_UF2, or lenslink/pico/RPI_PICO.uf2 in the user's cache:
              MicroPython for the Raspberry Pi Pico, from micropython.org/download/RPI_PICO
  boot ROM    our own; or Raspberry Pi's: $LENSLINK_PICO_BOOTROM, or bootrom.bin beside the image
  littlefs    the extra 'pico'
"""


@click.group(epilog=_PLACES)
@common_options
def pico() -> None:
    """The emulated Raspberry Pi Pico behind pico: URLs.

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
    """Install the emulator, rp2040js, into the user's cache: npm ci, of what a lock file pins."""
    from ..pico.setup import install_library

    path = install_library(Deadline(common.timeout, "npm ci"))
    Screen(common).say(f"lenslink: rp2040js is at {path}")


@pico.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@pass_common
def status(common: CommonOptions, /, as_json: bool) -> None:
    """Say what of it is there. The exit code is 11 if something that is needed is not."""
    del common
    from ..pico.micropython_image import find_bootrom, load_image
    from ..pico.setup import find_library, find_node

    def image() -> str:
        found = load_image()
        return f"{found.path}, SHA-256 {found.describe()}"

    parts: dict[str, Callable[[], object]] = {
        "node": find_node,
        "rp2040js": find_library,
        "image": image,
        "boot ROM": lambda: find_bootrom() or "our own",
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
        raise RigError(f"pico: needs {', '.join(missing)}")
