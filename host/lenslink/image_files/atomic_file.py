"""A file that appears whole or not at all.

It is written under a temporary name in the same folder, flushed to the disk, and only then given
its own name. Whatever ends the writing (a full disk, Ctrl-C, a defect) the temporary file goes.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from lenslink.errors import StorageError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large for this disk",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "there is no such folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ELOOP: "its links go round in a circle",
    errno.EIO: "the disk reports an error",
}


def make_storage_error(path: Path, error: OSError) -> StorageError:
    """``error`` in plain words and one line, naming ``path``."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error) or "unknown error"
    return StorageError(f"cannot write {format_path(path)}: {reason}")


def make_exists_error(path: Path) -> StorageError:
    """The refusal to overwrite ``path``."""
    return StorageError(f"{format_path(path)} exists: use --force to overwrite it")


def format_path(path: Path) -> str:
    """``path`` for a message: as it is, or quoted where a newline or the like would break it."""
    text = str(path)
    return text if text.isprintable() else repr(text)


class _Output(io.BufferedRandom):
    """The file being written, without its descriptor.

    numpy and Pillow write through C to a file that has one, and their errors then forget errno:
    a full disk becomes "3072 requested and 0 written". Through Python it stays ENOSPC.
    """

    def fileno(self) -> NoReturn:
        raise io.UnsupportedOperation("writes go through Python, so that errors keep their errno")


@contextmanager
def publish(path: Path, force: bool) -> Iterator[BinaryIO]:
    """A context whose file, readable, writable and seekable, becomes ``path`` at its end.

    With ``force`` it replaces what has that name; a symbolic link is replaced, not followed.
    Without, it never does, even if the name was taken meanwhile. Raises StorageError for every
    OSError in the context or its end; other exceptions pass. After any of them ``path`` is as it
    was.
    """
    # A short name of its own: the final one may be as long as the file system allows.
    temporary = path.parent / f".lenslink-{secrets.token_hex(6)}.tmp"
    try:
        with io.FileIO(temporary, "x+") as raw, _Output(raw) as file:
            yield file
            file.flush()
            os.fsync(raw.fileno())
        if force:
            temporary.replace(path)
        else:
            _rename_new(temporary, path)
    except OSError as error:
        raise make_storage_error(path, error) from error
    finally:
        with suppress(OSError):  # most often it was renamed, or could not be made
            temporary.unlink()


def _rename_new(temporary: Path, path: Path) -> None:
    """Give the file its name unless something has it; raises StorageError then."""
    try:
        # Unlike a rename, a second name is refused where there is a first.
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise make_exists_error(path) from error
    except (OSError, NotImplementedError):
        # No links here (FAT, some network and FUSE file systems): claim the name, then rename.
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise make_exists_error(path) from error
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
