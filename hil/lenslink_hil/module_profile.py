"""Module profiles: what a module is, apart from the board that stands in for it.

The profiles are the files ``lensfw/modules/*.toml``: maker and model, lens, motor and power. The
option ``module`` of ``sim:`` names one. The firmware gets its configuration from it, and the plant
its lens.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import lensfw
from lenslink.errors import UsageError

MODULES: Final = Path(lensfw.__file__).resolve().parent / "modules"
DEFAULT: Final = "ll-100"


def list_modules() -> list[str]:
    """Return the names of all module profiles, in order."""
    return sorted(path.stem for path in MODULES.glob("*.toml"))


def load_module(name: str = DEFAULT) -> dict[str, Any]:
    """Return the profile *name*.

    >>> load_module("ll-85")["optics"]["focal_um"]
    85000

    Raises:
        UsageError: there is no module of that name.
    """
    if name not in list_modules():
        raise UsageError(f"no module '{name}' (there are {', '.join(list_modules())})")
    with (MODULES / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
