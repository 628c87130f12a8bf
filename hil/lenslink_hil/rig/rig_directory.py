"""``rig:NAME``: a board of the test rig, as a URL for every command and for ``lenslink.open()``.

NAME is a board, or a role that one or several boards have. ``rig:`` alone is any board. The board
is reserved while it is open. An opening waits for a free board as long as its timeout allows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink.transports.base import DeviceInfo
from lenslink.url import Url

from .board_lock import BoardLock, make_lock_path
from .rig_file import Rig, find_rig_file, load_rig
from .taken_board import take_board


class RigDirectory:
    """Looks up ``rig:`` URLs in rig.toml."""

    options: Mapping[str, str] = {
        "file": "the rig's file; the default is $LENSLINK_RIG or rig.toml"
    }

    def resolve(self, url: Url, deadline: Deadline) -> tuple[str, Callable[[], None]]:
        """Reserve the board; raise :exc:`~lenslink.RigError` if none is free in time."""
        rig = load_rig(find_rig_file(url.options.get("file")))
        taken = take_board(rig.find_boards(url.path), deadline.remaining(), rig=rig)
        return taken.board.url, taken.release

    def devices(self) -> list[DeviceInfo]:
        """Return the boards of the rig that $LENSLINK_RIG or ./rig.toml describes."""
        with contextlib.suppress(LensLinkError):
            return [_describe(rig, name) for rig in _find_rigs() for name in rig.boards]
        return []


def _find_rigs() -> list[Rig]:
    return [load_rig(find_rig_file())]


def _describe(rig: Rig, name: str) -> DeviceInfo:
    board = rig.boards[name]
    is_busy = BoardLock.is_taken(make_lock_path(board.address, rig.locks))
    text = f"board of the rig {rig.name}"
    return DeviceInfo(f"rig:{name}", text, board.serial or None, is_busy)


RIG = RigDirectory()
