"""Run a script on an emulated Pico and print its output: a tool for work on the firmware.

``python -m lenslink_hil.pico.run FILE.py`` runs FILE from the REPL. Without FILE the board boots
with the files that ``--file`` puts on its flash (boot.py, main.py), and its serial port is printed.
The last line, on stderr, has the emulated time and the counters of the bus.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from lenslink.errors import LensLinkError, RigError
from lenslink.runtime import make_scratch_dir

from .micropython_image import build_flash, find_bootrom, load_image
from .setup import find_library, find_node

_RUN: Final = b"\r\x01exec(open('_run.py').read())\x04"
_READY: Final = b"raw REPL; CTRL-B to exit\r\n>OK"
_END: Final = b"\x04"


def run_script(
    flash_files: Mapping[str, bytes],
    *,
    script: bytes | None = None,
    seconds: float = 10.0,
    wall: float = 300.0,
    bus: str = "ideal",
    seed: int = 1,
) -> Iterator[bytes | dict[str, object]]:
    """Boot an emulated Pico; yield what it writes to its serial port, then the report.

    Args:
        flash_files: the files on its flash, by path.
        script: run from the REPL; None lets the board run main.py.
        seconds: emulated seconds after which the run ends.
        wall: real seconds after which the run is given up.
        bus: ``ideal`` or ``strict``.
        seed: of the strict bus.

    Raises:
        RigError: the emulator cannot be run, or the run was given up.
    """
    content = dict(flash_files)
    if script is not None:
        content["_run.py"] = script
    image = load_image()
    deadline = time.monotonic() + wall
    with make_scratch_dir("pico") as folder:
        flash = Path(folder) / "flash.bin"
        flash.write_bytes(build_flash(image.flash, content))
        rom = find_bootrom()
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
                yield from _read_console(process, script is not None, deadline)
            finally:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()


def _read_console(
    process: subprocess.Popen[bytes], has_script: bool, deadline: float
) -> Iterator[bytes | dict[str, object]]:
    assert process.stdin and process.stdout and process.stderr
    if has_script:
        process.stdin.write(_RUN)
        process.stdin.flush()
    is_output = not has_script  # Before a script's output come the REPL's own words.
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise RigError("the emulator did not end in time")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                break
            if not is_output:
                pending += piece
                _, prompt, piece = pending.partition(_READY)
                is_output = bool(prompt)
            if is_output and has_script:
                piece, end, rest = piece.partition(_END)
                if end:
                    # The traceback follows, up to a second end mark.
                    while _END not in rest and (more := os.read(process.stdout.fileno(), 65536)):
                        rest += more
                    yield piece + rest.partition(_END)[0]
                    break
            if is_output and piece:
                yield piece
    process.stdin.close()
    lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    try:
        report = json.loads(lines[-1])
    except (ValueError, IndexError):
        raise RigError(
            f"the emulator has ended: {lines[-1] if lines else 'it gives no reason'}"
        ) from None
    yield report


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.pico.run", description=__doc__)
    parser.add_argument("script", nargs="?", type=Path, help="a script to run from the REPL")
    parser.add_argument("--file", action="append", default=[], metavar="[NAME=]PATH",
                        help="put this file or folder on the flash")  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="emulated seconds until the run ends"
    )
    parser.add_argument(
        "--wall", type=float, default=300.0, help="real seconds until the run is given up"
    )
    parser.add_argument("--bus", choices=["ideal", "strict"], default="ideal")
    parser.add_argument("--seed", type=int, default=1, help="of the gaps on the strict bus")
    arguments = parser.parse_args()
    content: dict[str, bytes] = {}
    for text in arguments.file:
        name, _, path = text.rpartition("=")
        content.update(_read_files(Path(path), name or Path(path).name))
    script = arguments.script.read_bytes() if arguments.script else None
    for piece in run_script(
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


def _read_files(path: Path, name: str) -> dict[str, bytes]:
    if not path.is_dir():
        return {name: path.read_bytes()}
    paths = (each for each in sorted(path.rglob("*")) if each.is_file())
    return {f"{name}/{each.relative_to(path).as_posix()}": each.read_bytes() for each in paths}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LensLinkError as error:
        print(f"lenslink: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
