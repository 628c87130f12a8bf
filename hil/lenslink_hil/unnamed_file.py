"""Open a file without a name, which vanishes with its last descriptor."""

from __future__ import annotations

import secrets
from typing import BinaryIO

from lenslink.runtime import runtime_dir


def open_unnamed_file() -> BinaryIO:
    """Return a new empty file for reading and writing, in the runtime folder.

    An exception at any moment, such as Ctrl-C, leaves no descriptor open. With
    tempfile.TemporaryFile it may: there the descriptor is a number before a file object owns it.
    """
    path = runtime_dir() / f"unnamed-{secrets.token_hex(8)}"
    try:
        return path.open("x+b")
    finally:
        path.unlink(missing_ok=True)
