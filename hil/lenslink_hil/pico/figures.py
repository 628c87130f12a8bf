"""The emulated Pico's figures: ``python -m lenslink_hil.pico.figures [--output tests/PICO.md]``.

Every row of every frame is generated, packed and checked anew by the board, and every pixel
compared by the host. Rates are wire bytes a second of the emulated clock. It ends with 7 if a pixel
was wrong; a figure that is not reached is in the report, and no error.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink.image_files.atomic_file import publish

from ..benches.pico import BoardClocked, PicoModule
from ..benchmark.document import format_machine, format_table
from ..benchmark.link_rate import Effort, measure
from ..benchmark.machine_info import describe_machine
from ..usbip.backend import UsbIpBackend
from ..usbip.tty import Terminal
from .micropython_image import Image, load_image

_PATIENCE_S: Final = 120.0
_WRONG: Final = 7
_FIRST_TILE_MS: Final = 500
# Lanes, bus, and the wire bytes a second to be reached.
_LINKS: Final = ((1, "ideal", 890_000), (4, "ideal", 1_200_000), (4, "strict", 1_050_000))
_CDC: Final = 650_000
_HEADER: Final = ("link", "wire bytes/s, emulated", "to reach", "core busy", "tile", "wrong pixels")


def _link(lanes: int, bus: str, effort: Effort) -> dict[str, Any]:
    with lenslink.open(f"pico:?lanes={lanes}&bus={bus}", timeout=_PATIENCE_S) as device:
        return measure(device, effort, lambda _: None)


def _serial(effort: Effort) -> dict[str, Any]:
    """The link over the built-in serial port alone."""
    import usb.core

    with closing(PicoModule({}, "CDC", Deadline(_PATIENCE_S), cdc=True)) as module:
        raw = usb.core.find(backend=UsbIpBackend(module.board.address, _PATIENCE_S))
        raw.set_configuration()
        with (
            closing(Terminal(raw)) as terminal,
            lenslink.open(
                f"serial:{terminal.path}",
                timeout=_PATIENCE_S,
                wrap=lambda transport: BoardClocked(transport, module),
            ) as device,
        ):
            return measure(device, effort, lambda _: None)


def _first_tile_ms() -> float:
    """From the pull-up to a frame of one tile; the host's own time counts at the world's pace."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(
            PicoModule({"height": "64"}, "FIRST", Deadline(_PATIENCE_S), listener=listener)
        ) as module,
        lenslink.open(f"usbip:127.0.0.1:{listener.getsockname()[1]}", timeout=_PATIENCE_S) as lens,
        lens.capture(packing="lsb"),
    ):
        passed: int = module.board.report()["emulated_us"] - module.board.pulled_us
        return passed / 1000


def _row(name: str, found: dict[str, Any], least: int) -> tuple[str, ...]:
    return (
        name,
        f"{found['wire_bytes_per_s']:,.0f}",
        f"{least:,}",
        f"{found['cpu_busy']:.0%}",
        str(found["tile_bytes"]),
        str(found["wrong_pixels"]),
    )


def _report(image: Image, command: str, rows: list[tuple[str, ...]], first: float) -> Iterator[str]:
    yield "# The emulated Pico"
    yield ""
    yield "Written by a command, not by hand. Time is the emulated clock, on rp2040js with a bus"
    yield "of our own: these are figures of a model, and none of a physical board."
    yield ""
    yield f"- `{command}`"
    yield f"- image: {image.version}, SHA-256 {image.described()}"
    yield from format_machine(describe_machine())
    yield ""
    yield from format_table(_HEADER, rows)
    yield f"From pull-up to first tile: {first:.0f} ms, emulated; at most {_FIRST_TILE_MS} ms."


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.pico.figures")
    parser.add_argument("--frames", type=int, default=8, help="measured on each link")
    parser.add_argument("--output", type=Path, help="write the report there, too")
    arguments = parser.parse_args()
    effort = Effort(packing="lsb", frames=arguments.frames, check="prbs")
    rows, wrong = [], 0
    for lanes, bus, least in _LINKS:
        found = _link(lanes, bus, effort)
        rows.append(_row(f"{lanes} lane{'s' * (lanes > 1)}, {bus}", found, least))
        wrong += found["wrong_pixels"] + found["incomplete"]
    found = _serial(effort)
    rows.append(_row("CDC, ideal", found, _CDC))
    wrong += found["wrong_pixels"]
    command = " ".join(["python -m lenslink_hil.pico.figures", *sys.argv[1:]])
    text = "\n".join(_report(load_image(), command, rows, _first_tile_ms())) + "\n"
    print(text, end="")
    if arguments.output:
        with publish(arguments.output, True) as file:
            file.write(text.encode())
    return _WRONG if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LensLinkError as error:
        print(f"lenslink: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
