"""Notice that somebody has changed the firmware's sources, for ``lenslink flash --watch``."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..benches.board_profile import FIRMWARE

_ENDS = (".py", ".toml")


class SourceWatch:
    """The firmware's sources and board files, as they were when has_changed() was last called.

    >>> watch = SourceWatch()
    >>> watch.has_changed()
    False

    Args:
        folder: the folder of the sources.
    """

    def __init__(self, folder: Path = FIRMWARE) -> None:
        self._folder = folder
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Return True if a file was changed, added or removed since the last call."""
        before, self._seen = self._seen, self._look()
        return before != self._seen

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for path in self._folder.rglob("*"):
            # An editor may replace a file at this moment.
            with contextlib.suppress(OSError):
                if path.suffix in _ENDS:
                    status = path.stat()
                    found[path] = (status.st_mtime_ns, status.st_size)
        return found
