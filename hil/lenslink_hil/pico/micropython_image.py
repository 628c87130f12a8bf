"""The MicroPython image of the emulated Pico: find it, check it, make a flash image of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from lenslink.errors import RigError

from ..flash.file_system import BLOCK, build_file_system
from ..flash.uf2 import Uf2Error, parse_uf2

FLASH_BYTES: Final = 2 << 20
"""The size of a Raspberry Pi Pico's flash."""
FILES_AT: Final = 640 << 10
"""Where the file system of MicroPython's port starts: it has the last 1408 KiB of the flash."""
BLOCKS: Final = (FLASH_BYTES - FILES_AT) // BLOCK

RP2040_FAMILY: Final = 0xE48BFF56
"""Of its UF2 files: RP2040 datasheet, 2.8.1."""
FLASH_START: Final = 0x1000_0000
_MOST_BYTES: Final = 8 << 20

_CURE: Final = (
    "download RPI_PICO v1.28.0 from https://micropython.org/download/RPI_PICO/ and name the .uf2 "
    "in $LENSLINK_PICO_UF2, or put it at "
)


def cache_folder() -> Path:
    """Return the folder that keeps what ``pico:`` needs between runs; it may not exist yet."""
    return platformdirs.user_cache_path("lenslink") / "pico"


def find_image() -> Path:
    """Return $LENSLINK_PICO_UF2 or RPI_PICO.uf2 in the cache; RigError if there is no such file."""
    named = os.environ.get("LENSLINK_PICO_UF2")
    path = Path(named) if named else cache_folder() / "RPI_PICO.uf2"
    if not path.is_file():
        raise RigError(
            f"no MicroPython image for the emulated Pico at {path}: "
            f"{_CURE}{cache_folder()}/RPI_PICO.uf2"
        )
    return path


def find_bootrom() -> Path | None:
    """Return $LENSLINK_PICO_BOOTROM, or bootrom.bin in the cache, or None for our own boot ROM.

    Raises:
        RigError: there is no file at $LENSLINK_PICO_BOOTROM.
    """
    named = os.environ.get("LENSLINK_PICO_BOOTROM")
    if not named:
        path = cache_folder() / "bootrom.bin"
        return path if path.is_file() else None
    if not Path(named).is_file():
        raise RigError(f"no boot ROM at $LENSLINK_PICO_BOOTROM ({named})")
    return Path(named)


@dataclass(frozen=True, slots=True)
class Image:
    """A MicroPython image; ``flash`` is the content of the whole chip, 2 MiB, without files."""

    path: Path
    sha256: str
    version: str
    """The version that the image names, such as v1.28.0; empty if it names none."""
    flash: bytes

    def describe(self) -> str:
        """Return its hash and its version, for a report."""
        return f"{self.sha256} (MicroPython {self.version or 'of no version'})"


def load_image(path: Path | None = None) -> Image:
    """Read the image; RigError if it is not one for an RP2040."""
    path = path or find_image()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RigError(f"{path} is too long to be a MicroPython image")
        data = path.read_bytes()
    except OSError as error:
        raise RigError(f"{path}: {error.strerror or error}") from None
    flash = _parse_uf2(path, data)
    found = re.search(rb"\bv\d+\.\d+\.\d+[-.\w]*", flash)
    version = found.group().decode("ascii") if found else ""
    return Image(path, hashlib.sha256(data).hexdigest(), version, flash)


def _parse_uf2(path: Path, data: bytes) -> bytes:
    flash = bytearray(b"\xff" * FLASH_BYTES)
    try:
        blocks = parse_uf2(data)
    except Uf2Error as error:
        raise RigError(f"{path}: {error}") from None
    for block in blocks:
        if block.family not in (0, RP2040_FAMILY):
            raise RigError(f"{path} is an image for another chip (family {block.family:#x})")
        start = block.address - FLASH_START
        if not 0 <= start <= FLASH_BYTES - len(block.data):
            raise RigError(f"{path} does not fit a Pico's flash")
        flash[start : start + len(block.data)] = block.data
    return bytes(flash)


def build_flash(flash: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return *flash* with a file system that holds *files*.

    Args:
        flash: an image's content of the chip.
        files: the contents by path: ``lib/x.py``, without a leading slash.

    Raises:
        MissingExtra: littlefs is not installed.
        RigError: the files do not fit.
    """
    return flash[:FILES_AT] + build_file_system(files, BLOCKS, "pico:", "pico")
