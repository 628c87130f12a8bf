"""Board profiles: the limits of a board, and the configuration that the firmware gets.

The profiles are the files ``lensfw/boards/*.toml``. The benches call :func:`load_board`.
"""

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
# These files describe the product and the tile sizes; they are no boards.
_MODULE, _TILES = "module", "tiles"


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
    return sorted(names - {_MODULE, _TILES})


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


def make_configuration(
    board: Board, sensor: Mapping[str, Any], serial: str, boot: int
) -> dict[str, Any]:
    """Return the configuration that the firmware reads at its start.

    Args:
        board: the board's profile.
        sensor: the plant's description of its sensor.
        serial: the module's serial number.
        boot: how often the module has started.
    """
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
