"""The MicroPython image that the emulated Pico runs: where it is, what it is, and as flash."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from lenslink.errors import MissingExtra, RigError

FLASH_BYTES: Final = 2 << 20
"""Of a Raspberry Pi Pico."""
FILES_AT: Final = 640 << 10
"""Where MicroPython's port has its file system: the last 1408 KiB of the flash."""
BLOCK: Final = 4096
BLOCKS: Final = (FLASH_BYTES - FILES_AT) // BLOCK
_PROGRAM: Final = 256
_DISK_VERSION: Final = 0x0002_0000

_UF2: Final = struct.Struct("<8I")
_UF2_BLOCK: Final = 512
_UF2_MAGIC: Final = (0x0A324655, 0x9E5D5157)
_RP2040: Final = 0xE48BFF56
_FLASH_START: Final = 0x1000_0000
_MOST_BYTES: Final = 8 << 20

KNOWN: Final[Mapping[str, str]] = {
    "28800f27401846dfe1e66bf7011331dc916dbbf554b826bcc95a4f516df65a93": (
        "RPI_PICO v1.28.0, built from the sources of that release"
    ),
}
"""Images that the suite has passed on, by SHA-256 of the .uf2."""

_CURE: Final = (
    "download RPI_PICO v1.28.0 from https://micropython.org/download/RPI_PICO/ and name the .uf2 "
    "in $LENSLINK_PICO_UF2, or put it at "
)


def cache() -> Path:
    """Where what ``pico:`` needs is kept between runs; it may not be there yet."""
    return platformdirs.user_cache_path("lenslink") / "pico"


def image_path() -> Path:
    """$LENSLINK_PICO_UF2, or RPI_PICO.uf2 in the cache; RigError if there is none."""
    named = os.environ.get("LENSLINK_PICO_UF2")
    path = Path(named) if named else cache() / "RPI_PICO.uf2"
    if not path.is_file():
        raise RigError(
            f"no MicroPython image for the emulated Pico at {path}: {_CURE}{cache()}/RPI_PICO.uf2"
        )
    return path


def bootrom_path() -> Path | None:
    """$LENSLINK_PICO_BOOTROM, or bootrom.bin in the cache; None is our own. RigError if missing."""
    named = os.environ.get("LENSLINK_PICO_BOOTROM")
    if not named:
        path = cache() / "bootrom.bin"
        return path if path.is_file() else None
    if not Path(named).is_file():
        raise RigError(f"no boot ROM at $LENSLINK_PICO_BOOTROM ({named})")
    return Path(named)


@dataclass(frozen=True, slots=True)
class Image:
    """A MicroPython image: ``flash`` is the whole chip's, 2 MiB, without files."""

    path: Path
    sha256: str
    version: str
    """As the image has it: v1.28.0; empty if it does not say."""
    flash: bytes

    @property
    def known(self) -> str:
        """What it is, if its hash is known."""
        return KNOWN.get(self.sha256, "")

    def described(self) -> str:
        """One line for reports: hash, and whether it is a known one."""
        unknown = f"not a known one, MicroPython {self.version or 'of no version'}"
        return f"{self.sha256} ({self.known or unknown})"


def load_image(path: Path | None = None) -> Image:
    """Read the image; :exc:`~lenslink.errors.RigError` if it is none for an RP2040."""
    path = path or image_path()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RigError(f"{path} is too long for an image of MicroPython")
        data = path.read_bytes()
    except OSError as error:
        raise RigError(f"{path}: {error.strerror or error}") from None
    flash = _flash(path, data)
    found = re.search(rb"\bv\d+\.\d+\.\d+[-.\w]*", flash)
    version = found.group().decode("ascii") if found else ""
    return Image(path, hashlib.sha256(data).hexdigest(), version, flash)


def _flash(path: Path, data: bytes) -> bytes:
    flash = bytearray(b"\xff" * FLASH_BYTES)
    blocks = len(data) // _UF2_BLOCK
    if not blocks or len(data) % _UF2_BLOCK:
        raise RigError(f"{path} is no UF2 file")
    for at in range(0, len(data), _UF2_BLOCK):
        first, second, flags, address, count, _, _, family = _UF2.unpack_from(data, at)
        if (first, second) != _UF2_MAGIC:
            raise RigError(f"{path} is no UF2 file")
        if flags & 0x2000 and family != _RP2040:
            raise RigError(f"{path} is an image for another chip (family {family:#x})")
        start = address - _FLASH_START
        if count > _UF2_BLOCK - _UF2.size - 4 or not 0 <= start <= FLASH_BYTES - count:
            raise RigError(f"{path} does not fit a Pico's flash")
        flash[start : start + count] = data[at + _UF2.size : at + _UF2.size + count]
    return bytes(flash)


def with_files(flash: bytes, files: Mapping[str, bytes]) -> bytes:
    """The flash with a file system that holds *files*, by path: ``lib/x.py``, without a leading /.

    Raises :exc:`~lenslink.errors.MissingExtra`, or RigError where they do not fit.
    """
    try:
        from littlefs import LittleFS, LittleFSError
    except ImportError:
        raise MissingExtra("pico:", "pico") from None
    file_system = LittleFS(
        block_size=BLOCK,
        block_count=BLOCKS,
        prog_size=_PROGRAM,
        read_size=_PROGRAM,
        disk_version=_DISK_VERSION,
    )
    try:
        for name, content in files.items():
            folder = name.rpartition("/")[0]
            if folder:
                file_system.makedirs(folder, exist_ok=True)
            with file_system.open(name, "wb") as file:
                file.write(content)
    except LittleFSError as error:
        raise RigError(f"the files do not fit the Pico's flash: {error}") from None
    return flash[:FILES_AT] + bytes(file_system.context.buffer)
