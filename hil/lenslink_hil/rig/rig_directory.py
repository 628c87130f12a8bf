"""``rig:NAME``: a board of the test rig, as a URL for every command and for ``lenslink.open()``.

NAME is a board, or a role that one or several boards have. ``rig:`` alone is any board. The board
is reserved while it is open. An opening waits for a free board as long as its timeout allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lenslink.deadline import Deadline
from lenslink.transports.base import DeviceInfo
from lenslink.url import Url

from .rig_file import find_rig_file, load_rig
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
        """Return nothing: the transports of the boards list them, and ``lenslink rig list``."""
        return []


RIG = RigDirectory()
