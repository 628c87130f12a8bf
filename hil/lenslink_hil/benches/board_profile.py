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
# The product, not a board.
_MODULE = "module"


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


def board_names() -> list[str]:
    """The boards there are, in order."""
    return sorted(path.stem for path in _BOARDS.glob("*.toml") if path.stem != _MODULE)


def load_board(name: str) -> Board:
    """The profile of that name; :exc:`~lenslink.errors.UsageError` if there is none."""
    if name not in board_names():
        raise UsageError(f"no board '{name}' (there are {', '.join(board_names())})")
    profile = _read(name)
    return Board(
        profile["board"],
        profile["heap"],
        profile["limits"],
        profile.get("sensor", {}),
        profile.get("test", False),
        profile.get("source", {}),
        profile.get("image", {}),
        profile.get("pins", {}),
    )


def configuration(
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
