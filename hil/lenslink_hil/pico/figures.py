"""Measure the emulated Pico: ``python -m lenslink_hil.pico.figures [--output tests/PICO.md]``.

The board generates and packs every row of every frame; the host compares every pixel. Rates are
bytes on the wire per second of the emulated clock. The exit code is 7 if a pixel was wrong. A rate
below its goal stands in the report and is no error.
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

_TIMEOUT_S: Final = 120.0
_EXIT_WRONG: Final = 7
_FIRST_TILE_MS: Final = 500
# Lanes, bus, and the rate to reach, in bytes a second on the wire.
_LINKS: Final = ((1, "ideal", 890_000), (4, "ideal", 1_200_000), (4, "strict", 1_050_000))
_CDC: Final = 650_000
_HEADER: Final = ("link", "wire bytes/s, emulated", "to reach", "core busy", "tile", "wrong pixels")


def _measure_link(lanes: int, bus: str, effort: Effort) -> dict[str, Any]:
    with lenslink.open(f"pico:?lanes={lanes}&bus={bus}", timeout=_TIMEOUT_S) as device:
        return measure(device, effort, lambda _: None)


def _measure_serial(effort: Effort) -> dict[str, Any]:
    """Measure the link over the built-in serial port."""
    import usb.core

    with closing(PicoModule({}, "CDC", Deadline(_TIMEOUT_S), cdc=True)) as module:
        raw = usb.core.find(backend=UsbIpBackend(module.board.address, _TIMEOUT_S))
        raw.set_configuration()
        with (
            closing(Terminal(raw)) as terminal,
            lenslink.open(
                f"serial:{terminal.path}",
                timeout=_TIMEOUT_S,
                wrap=lambda transport: BoardClocked(transport, module),
            ) as device,
        ):
            return measure(device, effort, lambda _: None)


def _measure_first_tile_ms() -> float:
    """Return the time from the pull-up to a frame of one tile, in emulated milliseconds.

    The host's own time is part of it, because emulated time goes on meanwhile.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(
            PicoModule({"height": "64"}, "FIRST", Deadline(_TIMEOUT_S), listener=listener)
        ) as module,
        lenslink.open(f"usbip:127.0.0.1:{listener.getsockname()[1]}", timeout=_TIMEOUT_S) as lens,
        lens.capture(packing="lsb"),
    ):
        end_us: int = module.board.request_report()["emulated_us"]
        return (end_us - module.board.pullup_us) / 1000


def _format_row(name: str, found: dict[str, Any], goal: int) -> tuple[str, ...]:
    return (
        name,
        f"{found['wire_bytes_per_s']:,.0f}",
        f"{goal:,}",
        f"{found['cpu_busy']:.0%}",
        str(found["tile_bytes"]),
        str(found["wrong_pixels"]),
    )


def _format_report(
    image: Image, command: str, rows: list[tuple[str, ...]], first_tile_ms: float
) -> Iterator[str]:
    yield "# The emulated Pico"
    yield ""
    yield "A command writes this file. Time is the emulated clock, on rp2040js with our own bus."
    yield "These are figures of a model, not of a physical board."
    yield ""
    yield f"- `{command}`"
    yield f"- image: {image.version}, SHA-256 {image.describe()}"
    yield from format_machine(describe_machine())
    yield ""
    yield from format_table(_HEADER, rows)
    limit = f"at most {_FIRST_TILE_MS} ms"
    yield f"From pull-up to first tile: {first_tile_ms:.0f} ms, emulated; {limit}."


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.pico.figures")
    parser.add_argument("--frames", type=int, default=8, help="frames to measure on each link")
    parser.add_argument("--output", type=Path, help="write the report to this file, too")
    arguments = parser.parse_args()
    effort = Effort(packing="lsb", frames=arguments.frames, check="prbs")
    rows, wrong = [], 0
    for lanes, bus, goal in _LINKS:
        found = _measure_link(lanes, bus, effort)
        rows.append(_format_row(f"{lanes} lane{'s' * (lanes > 1)}, {bus}", found, goal))
        wrong += found["wrong_pixels"] + found["incomplete"]
    found = _measure_serial(effort)
    rows.append(_format_row("CDC, ideal", found, _CDC))
    wrong += found["wrong_pixels"]
    command = " ".join(["python -m lenslink_hil.pico.figures", *sys.argv[1:]])
    text = "\n".join(_format_report(load_image(), command, rows, _measure_first_tile_ms())) + "\n"
    print(text, end="")
    if arguments.output:
        with publish(arguments.output, True) as file:
            file.write(text.encode())
    return _EXIT_WRONG if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LensLinkError as error:
        print(f"lenslink: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
