"""One UF2 file for a new board: MicroPython and the firmware, on a file system behind it.

lenslink firmware build pico --micropython RPI_PICO.uf2 -o pico.uf2
"""

from __future__ import annotations

from lenslink.errors import UsageError

from ..benches.board_profile import Board, load_board
from .board_layout import FIRST_SLOT, MARKER, OWN, encode_marker
from .bundle import Bundle
from .file_system import BLOCK, build_file_system
from .uf2 import build_uf2, parse_uf2, split_pages


def check_has_uf2(board: Board) -> Board:
    """Return the board; UsageError if no UF2 file can be made for it."""
    if "files_at" not in board.image:
        raise UsageError(f"{board.name}: a board of this kind takes no UF2 file with a file system")
    return board


def build_uf2_image(bundle: Bundle, micropython: bytes, serial: str = "") -> bytes:
    """Return the UF2 file of a board with MicroPython and the firmware.

    The board starts the firmware from its first slot, which is not confirmed yet. What the board
    had on its file system is lost, its key too.

    Args:
        bundle: the firmware.
        micropython: the UF2 file of MicroPython. It must be for the board: see
            :func:`~.interpreter.check_image`.
        serial: the module's serial number; empty for the chip's.

    Raises:
        UsageError: the board takes no UF2 file, or MicroPython reaches into the file system.
        MissingExtra: littlefs is not installed.
        RigError: the files do not fit.
    """
    board = check_has_uf2(load_board(bundle.board))
    address, size = board.image["files_at"], board.image["files_bytes"]
    blocks = parse_uf2(micropython)
    if any(address < each.address + len(each.data) and each.address < address + size
           for each in blocks):  # fmt: skip
        raise UsageError(f"this MicroPython has another layout of the flash than {board.name} has")
    files = {
        **bundle.root_files,
        OWN: bundle.encode_own(serial),
        MARKER: encode_marker(FIRST_SLOT, None),
        **{f"{FIRST_SLOT}/{name}": content for name, content in bundle.slot_files.items()},
    }
    content = build_file_system(dict(sorted(files.items())), size // BLOCK)
    return build_uf2([*blocks, *split_pages(board.identity["uf2_family"], address, content)])
