"""Board profiles: the limits of a board, and the configuration that the firmware gets.

The profiles are the files ``lensfw/boards/*.toml``. The benches call :func:`load_board`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import lensfw
from lenslink.errors import UsageError
from lenslink_protocol.crc import crc32
from lenslink_protocol.packings import Packing, find_layout

from ..module_profile import DEFAULT, load_module

FIRMWARE = Path(lensfw.__file__).resolve().parent
_BOARDS = FIRMWARE / "boards"
# This file has the tile sizes; it is no board.
_TILES = "tiles"
_CODING_TILES = 3


@dataclass(frozen=True, slots=True)
class Board:
    """A profile from ``lensfw/boards``."""

    name: str
    heap: str
    limits: Mapping[str, int]
    sensor: Mapping[str, int]
    """Default options of the scene, chosen for the rate of this board's link."""
    test: bool = False
    """True if the board claims the capability TEST, which a module in use does not."""
    source: Mapping[str, int] = field(default_factory=dict)
    """Options of the scene that define the board's sensor."""
    image: Mapping[str, Any] = field(default_factory=dict)
    """How the image of a real board is built: ``port``, ``architecture``, ``lanes``; or empty."""
    pins: Mapping[str, int] = field(default_factory=dict)
    """The GPIO number of each signal."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What a board of this kind says about itself: ``machines``, and of its images; or empty."""


def list_boards() -> list[str]:
    """Return the names of all boards, in order."""
    names = {path.stem for path in _BOARDS.glob("*.toml")}
    return sorted(names - {_TILES})


def load_board(name: str, transport: str = "sim") -> Board:
    """Return the profile of the board *name*, with its tile size on *transport*.

    ``boards/tiles.toml`` lists the transports.

    Raises:
        UsageError: there is no board of that name.
    """
    if name not in list_boards():
        raise UsageError(f"no board '{name}' (there are {', '.join(list_boards())})")
    profile = _read(name)
    return Board(
        profile["board"],
        profile["heap"],
        profile["limits"] | {"tile_bytes": get_tile_bytes(name, transport)},
        profile.get("sensor", {}),
        profile.get("test", False),
        profile.get("source", {}),
        profile.get("image", {}),
        profile.get("pins", {}),
        profile.get("identity", {}),
    )


def get_tile_bytes(name: str, transport: str) -> int:
    """Return the default tile size of the board *name* on *transport*, in bytes."""
    size: int = _read(_TILES)[name][transport]
    return size


def list_formats(sensor: Mapping[str, Any], limits: Mapping[str, int]) -> list[int]:
    """Return the pixel formats of a sensor that a board can send; none if the sensor lists none.

    A board codes tiles if the sensor does not compute their CRCs, and if there are tiles in flight
    for the words of both channels and for a code.
    """
    has_codes = not sensor.get("crc") and limits["in_flight"] >= _CODING_TILES
    formats: list[int] = sensor.get("formats", [])
    return [code for code in formats if has_codes or find_layout(code).packing != Packing.RICE]


def make_configuration(
    board: Board,
    sensor: Mapping[str, Any],
    serial: str,
    boot: int,
    calibrations: Sequence[tuple[int, bytes]] = (),
    *,
    module: str = DEFAULT,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the configuration that the firmware reads at its start.

    Args:
        board: the board's profile.
        sensor: the plant's description of its sensor.
        serial: the module's serial number.
        boot: how often the module has started.
        calibrations: kind and bytes of each calibration. They stand in this order in the file that
            the firmware reads them from.
        module: name of the module's profile; see :mod:`..module_profile`.
        limits: the board's limits, if they are not those of its profile.

    Raises:
        UsageError: there is no module of that name.
    """
    profile = load_module(module)
    limits = dict(board.limits if limits is None else limits)
    product = profile.pop("product")
    for section in ("lens", "sensor"):
        profile.pop(section, None)
    starts = accumulate((len(data) for _, data in calibrations), initial=0)
    pixels = max(mode["width"] * mode["height"] for mode in sensor["modes"])
    return {
        **profile,
        "maker": sensor["maker"] or profile["maker"],
        "model": sensor["model"] or profile["model"],
        "serial": serial,
        "board": board.name,
        "boot_count": boot,
        "reset_reason": 0,
        "limits": limits,
        "test": board.test,
        "sensor": {**sensor, "formats": list_formats(sensor, limits)},
        "calibrations": [
            [kind, start, len(data), crc32(data)]
            for (kind, data), start in zip(calibrations, starts, strict=False)
        ],
        "scale": {
            "pixels_milli": pixels * 1000 // product["pixels"],
            "rate_milli": board.limits["rate"] * 1000 // product["rate"],
        },
    }


def _read(name: str) -> dict[str, Any]:
    with (_BOARDS / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
