"""Make the file system of a board: littlefs, as MicroPython's port to the RP2040 mounts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lenslink.errors import MissingExtra, RigError

BLOCK: Final = 4096
PROGRAM_BYTES: Final = 256
_DISK_VERSION: Final = 0x0002_0000


def build_file_system(
    files: Mapping[str, bytes],
    blocks: int,
    purpose: str = "making a file system",
    extra: str = "flash",
) -> bytes:
    """Return the content of a flash that holds *files*, the same bytes for the same files.

    Args:
        files: the contents by path: ``lib/x.py``, without a leading slash.
        blocks: the size, in blocks of :data:`BLOCK` bytes.
        purpose: what needs it, and
        extra: the extra with littlefs, for the message if littlefs is missing.

    Raises:
        MissingExtra: littlefs is not installed.
        RigError: the files do not fit.
    """
    try:
        from littlefs import LittleFS, LittleFSError
    except ImportError:
        raise MissingExtra(purpose, extra) from None
    file_system = LittleFS(
        block_size=BLOCK,
        block_count=blocks,
        prog_size=PROGRAM_BYTES,
        read_size=PROGRAM_BYTES,
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
        raise RigError(f"the files do not fit the board's flash: {error}") from None
    return bytes(file_system.context.buffer)
