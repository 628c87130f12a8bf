"""Runs a file on an emulated Pico and shows what it prints: a tool for work on the firmware.

``python -m lenslink_hil.pico.run FILE.py``. With FILE it is run from the REPL; without, the board
boots as it is, with the files that ``--file`` puts on its flash (boot.py, main.py), and its serial
port is shown. The last line, on stderr, has the emulated time and what the bus has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from lenslink.errors import LensLinkError, RigError

from .micropython_image import bootrom_path, load_image, with_files
from .setup import find_library, find_node

_RUN: Final = b"\r\x01exec(open('_run.py').read())\x04"
_READY: Final = b"raw REPL; CTRL-B to exit\r\n>OK"
_END: Final = b"\x04"


def run(
    on_flash: Mapping[str, bytes],
    *,
    script: bytes | None = None,
    seconds: float = 10.0,
    wall: float = 300.0,
    bus: str = "ideal",
    seed: int = 1,
) -> Iterator[bytes | dict[str, object]]:
    """What the board writes, as it comes; lastly the report.

    *seconds* are emulated. RigError if the emulator cannot be run, or has not ended after *wall*
    seconds.
    """
    content = dict(on_flash)
    if script is not None:
        content["_run.py"] = script
    image = load_image()
    deadline = time.monotonic() + wall
    with tempfile.TemporaryDirectory(prefix="lenslink-pico-") as folder:
        flash = Path(folder) / "flash.bin"
        flash.write_bytes(with_files(image.flash, content))
        rom = bootrom_path()
        options = {
            "library": str(find_library()),
            "flash": str(flash),
            "bootrom": str(rom) if rom else "",
            "bus": bus,
            "seed": seed,
            "console": True,
            "seconds": seconds,
        }
        with as_file(files(__package__)) as here:
            process = subprocess.Popen(
                [find_node(), str(here / "emulator.mjs"), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                yield from _console(process, script is not None, deadline)
            finally:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()


def _console(
    process: subprocess.Popen[bytes], scripted: bool, deadline: float
) -> Iterator[bytes | dict[str, object]]:
    assert process.stdin and process.stdout and process.stderr
    if scripted:
        process.stdin.write(_RUN)
        process.stdin.flush()
    begun = not scripted
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise RigError("the emulator has not come to an end in time")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                break
            if not begun:
                pending += piece
                _, ready, piece = pending.partition(_READY)
                begun = bool(ready)
            if begun and scripted:
                piece, ended, rest = piece.partition(_END)
                if ended:
                    # What was raised follows; then the script is over.
                    while _END not in rest and (more := os.read(process.stdout.fileno(), 65536)):
                        rest += more
                    yield piece + rest.partition(_END)[0]
                    break
            if begun and piece:
                yield piece
    process.stdin.close()
    words = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    try:
        report = json.loads(words[-1])
    except (ValueError, IndexError):
        raise RigError(
            f"the emulator has ended: {words[-1] if words else 'without a word'}"
        ) from None
    yield report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.pico.run", description=__doc__)
    parser.add_argument("script", nargs="?", type=Path, help="run from the REPL")
    parser.add_argument("--file", action="append", default=[], metavar="[NAME=]PATH",
                        help="put on the flash; a folder with all that is in it")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10.0, help="emulated")
    parser.add_argument("--wall", type=float, default=300.0, help="seconds until it is given up")
    parser.add_argument("--bus", choices=["ideal", "strict"], default="ideal")
    parser.add_argument("--seed", type=int, default=1, help="of the strict bus")
    arguments = parser.parse_args()
    content: dict[str, bytes] = {}
    for text in arguments.file:
        name, _, path = text.rpartition("=")
        content.update(_read(Path(path), name or Path(path).name))
    script = arguments.script.read_bytes() if arguments.script else None
    for piece in run(
        content,
        script=script,
        seconds=arguments.seconds,
        wall=arguments.wall,
        bus=arguments.bus,
        seed=arguments.seed,
    ):
        if isinstance(piece, bytes):
            sys.stdout.buffer.write(piece.replace(b"\r\n", b"\n"))
            sys.stdout.buffer.flush()
        else:
            print(json.dumps(piece), file=sys.stderr)
    return 0


def _read(path: Path, name: str) -> dict[str, bytes]:
    if not path.is_dir():
        return {name: path.read_bytes()}
    inside = (each for each in sorted(path.rglob("*")) if each.is_file())
    return {f"{name}/{each.relative_to(path).as_posix()}": each.read_bytes() for each in inside}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LensLinkError as error:
        print(f"lenslink: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
