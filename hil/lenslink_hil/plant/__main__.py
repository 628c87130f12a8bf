"""``python -m lenslink_hil.plant --rows-fd N [N] --pins-fd M --options JSON``: run the plant.

The process prints one line of JSON on stdout. When the plant serves, it is ``{"ready": true,
"note": ..., "sensor": {...}, "calibrations": [[kind, hex], ...]}``. Otherwise it is ``{"ready":
false, "error": ..., "exit_code": ...}``, and the process exits with that code. The
options are :class:`.scene.SceneOptions`. The protocols are described in :mod:`.row_service`,
:mod:`.pin_records` and, for stdin, :mod:`.plant_process`.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import socket
import sys

from lenslink.errors import LensLinkError, RigError, UsageError
from lenslink_protocol.calibration import encode_calibration, get_kind

from .plant_process import PlantServer
from .scene import Scene, SceneOptions, open_scene


def main(arguments: list[str] | None = None) -> int:
    """Run the plant and return its exit code."""
    # Ctrl-C reaches the whole foreground group. The bench ends the plant by closing its sockets.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.plant")
    parser.add_argument(
        "--rows-fd", type=int, nargs="+", required=True, help="connected socket for each channel"
    )
    parser.add_argument("--pins-fd", type=int, required=True, help="connected socket for pins")
    parser.add_argument("--options", default="{}", help="scene options, a JSON object")
    parser.add_argument("--log", type=int, help="log to stderr from this level of logging on")
    parsed = parser.parse_args(arguments)
    if parsed.log is not None:
        # The format of the command line's -vv, among whose lines these appear.
        line = "[%(name)s] %(levelname)s: %(message)s"
        logging.basicConfig(level=parsed.log, format=line, stream=sys.stderr)
    try:
        scene, server = _start(parsed.rows_fd, parsed.pins_fd, parsed.options)
    except Exception as error:
        code = error.exit_code if isinstance(error, LensLinkError) else 1
        message = str(error) if code != 1 else f"{type(error).__name__}: {error}"
        _print_line({"ready": False, "error": message, "exit_code": code})
        if code == 1:
            raise  # a defect, so with its traceback
        return code
    try:
        calibrations = [
            (get_kind(each), encode_calibration(each).hex()) for each in scene.calibrations
        ]
        sensor = scene.sensor.to_json()
        _print_line(
            {"ready": True, "note": scene.note, "sensor": sensor, "calibrations": calibrations}
        )
    except BrokenPipeError:
        return 0  # the bench has ended meanwhile
    try:
        server.serve()
    except LensLinkError as error:
        print(f"plant: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _start(rows_fds: list[int], pins_fd: int, text: str) -> tuple[Scene, PlantServer]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError(f"scene options are not JSON: {error}") from error
    if not isinstance(values, dict):
        raise UsageError("scene options are not a JSON object")
    options = SceneOptions.from_json(values)
    scene = open_scene(options)
    try:
        rows = [socket.socket(fileno=fd) for fd in rows_fds]
        pins = socket.socket(fileno=pins_fd)
    except OSError as error:
        raise RigError(f"the plant did not receive its sockets: {error}") from error
    return scene, PlantServer(scene, rows, pins, sys.stdin.fileno(), options.seed or 0)


def _print_line(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
