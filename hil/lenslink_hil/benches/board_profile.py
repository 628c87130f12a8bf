"""Board profiles: what a board can do, and the configuration that the firmware is given."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lensfw
from lenslink.errors import UsageError

FIRMWARE = Path(lensfw.__file__).resolve().parent
_BOARDS = FIRMWARE / "boards"
# The product, and the tile sizes of all boards: no boards.
_MODULE, _TILES = "module", "tiles"


@dataclass(frozen=True, slots=True)
class Board:
    """A profile from ``lensfw/boards``."""

    name: str
    heap: str
    limits: Mapping[str, int]
    sensor: Mapping[str, int]
    """Options of the scene that this board's link makes sensible."""
    test: bool = False
    """It claims TEST: a module in use does not."""
    source: Mapping[str, int] = field(default_factory=dict)
    """Options of the scene that make its sensor what it is, whatever the user asks for."""
    image: Mapping[str, Any] = field(default_factory=dict)
    """How a real one is made: ``port``, ``architecture``, ``lanes``; empty if there is none."""
    pins: Mapping[str, int] = field(default_factory=dict)
    """What is wired where, by GPIO number."""


def list_boards() -> list[str]:
    """The boards there are, in order."""
    names = {path.stem for path in _BOARDS.glob("*.toml")}
    return sorted(names - {_MODULE, _TILES})


def load_board(name: str, transport: str = "sim") -> Board:
    """Return the profile of that name, with the tile size that it has on *transport*.

    ``boards/tiles.toml`` lists the transports.

    Raises :exc:`~lenslink.errors.UsageError` if there is no such board.
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
    )


def get_tile_bytes(name: str, transport: str) -> int:
    """Return the default tile size of that board on *transport*, in bytes."""
    size: int = _read(_TILES)[name][transport]
    return size


def make_configuration(
    board: Board, sensor: Mapping[str, Any], serial: str, boot: int
) -> dict[str, Any]:
    """What the firmware is told at its start; *sensor* is the plant's description."""
    module = _read(_MODULE)
    product = module.pop("product")
    pixels = max(mode["width"] * mode["height"] for mode in sensor["modes"])
    return {
        **module,
        "maker": sensor["maker"] or module["maker"],
        "model": sensor["model"] or module["model"],
        "serial": serial,
        "board": board.name,
        "boot_count": boot,
        "reset_reason": 0,
        "limits": dict(board.limits),
        "test": board.test,
        "sensor": dict(sensor),
        "scale": {
            "pixels_milli": pixels * 1000 // product["pixels"],
            "rate_milli": board.limits["rate"] * 1000 // product["rate"],
        },
    }


def _read(name: str) -> dict[str, Any]:
    with (_BOARDS / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
