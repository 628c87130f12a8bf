"""An image of MicroPython: is it one for this board, and how does it get there?

Each way is a program of its own, which is started with a list of arguments, or a copy to the drive
that a board in its boot loader shows.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import MissingExtra, NotFound, RigError, StorageError, Timeout, UsageError

from ..benches.board_profile import Board, list_boards, load_board
from .uf2 import Uf2Error, list_families, parse_uf2

_MAX_BYTES: Final = 32 << 20
# An image of ESP-IDF: esp_app_format.h. The chip's number is at byte 12.
_ESP_MAGIC: Final = 0xE9
_ESP_CHIP: Final = struct.Struct("<H")
_ESP_CHIP_AT: Final = 12
_DFU_MAGIC: Final = b"DfuSe"
_INFO: Final = "INFO_UF2.TXT"
_DRIVE_BOARDS: Final = {"RPI-RP2": 0xE48BFF56, "RP2350": 0xE48BFF59}
"""What Board-ID in INFO_UF2.TXT says, and the family: RP2040 and RP2350 datasheets, boot ROM."""
# RP2350, erratum E10: its images have a block of this family (RP2XXX_ABSOLUTE).
_ABSOLUTE: Final = 0xE48BFF57
_POLL_S: Final = 0.1
_COPY_NAME: Final = "lenslink.uf2"


def read_image(path: Path) -> bytes:
    """Read an image; StorageError if that fails, UsageError if it is far too long."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too long to be an image of MicroPython")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from None


def find_image_boards(content: bytes) -> list[str]:
    """Return the boards that an image is for, by the chip that it names.

    A DFU file names none, so the board's own name is looked for in the program.
    """
    found = []
    for name in list_boards():
        identity = load_board(name).identity
        if _is_for(content, identity.get("uf2_family"), identity.get("esp_chip")) or (
            content.startswith(_DFU_MAGIC)
            and any(each.encode() in content for each in identity.get("dfu_names", ()))
        ):
            found.append(name)
    return found


def _is_for(content: bytes, family: int | None, chip: int | None) -> bool:
    if family is not None:
        try:
            return family in list_families(parse_uf2(content))
        except Uf2Error:
            return False
    if chip is None or len(content) < _ESP_CHIP_AT + _ESP_CHIP.size:
        return False
    return content[0] == _ESP_MAGIC and _ESP_CHIP.unpack_from(content, _ESP_CHIP_AT)[0] == chip


def check_image(path: Path, content: bytes, board: Board) -> None:
    """Check that an image is for a board.

    Raises:
        UsageError: it is for another board, or for none that is known.
    """
    boards = find_image_boards(content)
    if board.name in boards:
        return
    if boards:
        raise UsageError(f"{path} is for {' or '.join(boards)}, not for {board.name}")
    raise UsageError(f"{path} is no image of MicroPython for any board that is known here")


def make_command(board: Board, image: Path, port: str | None) -> list[str]:
    """Return the program and the arguments that put an image on a board.

    Raises:
        UsageError: the board's way needs a port, or there is none but the drive.
        MissingExtra: esptool is not installed.
        NotFound: the program is not on PATH.
    """
    programmer = board.image.get("programmer")
    if programmer == "esptool":
        if port is None:
            raise UsageError(f"{board.name}: esptool needs the port: --port")
        address = str(board.image["image_address"])
        return [
            *_find_esptool(), "--chip", board.name, "--port", port, "write-flash", address,
            str(image),
        ]  # fmt: skip
    if programmer == "dfu-util":
        return [find_program("dfu-util"), "--alt", "0", "--download", str(image), "--reset"]
    if programmer == "picotool":
        return [find_program("picotool"), "load", "--verify", "--execute", str(image)]
    raise UsageError(f"{board.name}: there is no program that puts MicroPython on it")


def find_program(name: str) -> str:
    """Return the path of a program; NotFound with the package that has it."""
    path = shutil.which(name)
    if path is None:
        raise NotFound(f"no {name} on PATH: install the package {name}, or use --drive")
    return path


def _find_esptool() -> list[str]:
    beside = shutil.which("esptool", path=str(Path(sys.executable).parent))
    path = beside or shutil.which("esptool")
    if path is None:
        raise MissingExtra("putting MicroPython on an ESP32", "esptool")
    return [path]


def run_program(command: Sequence[str], deadline: Deadline) -> None:
    """Run a program to its end.

    Raises:
        RigError: it fails; the message has its last line.
        Timeout: it did not end in time.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=max(deadline.remaining(), 0.001),
            check=False,
        )
    except OSError as error:
        raise RigError(f"{command[0]}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise Timeout(f"{name} did not end within {deadline.seconds:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise RigError(f"{name} failed: {lines[-1] if lines else 'it gives no reason'}")


def check_drive(drive: Path, board: Board) -> None:
    """Check that a folder is the drive of a board of this kind.

    Raises:
        NotFound: the folder is not the drive of a boot loader.
        UsageError: the drive is another chip's.
    """
    try:
        info = (drive / _INFO).read_text("ascii", "replace")
    except OSError:
        raise NotFound(
            f"{drive} is not a board's drive: it has no {_INFO}; hold BOOTSEL while the board is "
            "plugged in"
        ) from None
    lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    name = lines.get("Board-ID", "").strip()
    family = _DRIVE_BOARDS.get(name)
    if family is None or family != board.identity.get("uf2_family"):
        raise UsageError(f"{drive} is the drive of {name or 'an unknown board'}, not {board.name}")


def copy_to_drive(content: bytes, drive: Path, deadline: Deadline) -> None:
    """Copy a UF2 file to a board's drive, and wait until the board has restarted.

    Raises:
        StorageError: the drive cannot be written.
        RigError: the drive is still there: the boot ROM has ignored the file.
    """
    target = drive / _COPY_NAME
    try:
        target.write_bytes(content)
    except OSError as error:
        # A board that restarts quickly is gone before the file is closed.
        if (drive / _INFO).exists():
            raise StorageError(f"cannot write {target}: {error.strerror or error}") from None
    while (drive / _INFO).exists():
        if not deadline.remaining():
            raise RigError(
                f"{drive} is still there: the board has ignored the file; unplug it, hold BOOTSEL "
                "and plug it in again"
            )
        time.sleep(_POLL_S)
