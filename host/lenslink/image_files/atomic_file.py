"""A file that appears whole or not at all.

:func:`publish` writes the file under a temporary name in the same folder, flushes it to the disk,
and then gives it its name. Whatever ends the writing (a full disk, Ctrl-C, a defect), the temporary
file is removed. The writers of frames, recordings' exports and reports all use it.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
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
    errno.ELOOP: "its symbolic links form a circle",
    errno.EIO: "the disk reports an error",
}


def make_storage_error(path: Path, error: OSError) -> StorageError:
    """Return *error* as a StorageError that names *path*, in plain words and one line."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error) or "unknown error"
    return StorageError(f"cannot write {format_path(path)}: {reason}")


def make_exists_error(path: Path) -> StorageError:
    """Return the error that refuses to overwrite *path*."""
    return StorageError(f"{format_path(path)} exists: use --force to overwrite it")


def format_path(path: Path) -> str:
    """Return *path* for a message, quoted if a newline or another control would break the line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def check_name(path: Path) -> None:
    """Raise StorageError if no file of the system can have the name *path*."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise StorageError(f"cannot write {str(path)!r}: a character cannot be in a file's name")


def check_target(path: Path, force: bool) -> None:
    """Raise the error that :func:`publish` would raise for *path*, before the work is done.

    Raises:
        StorageError: the file exists and *force* is False; or *path* is no regular file; or its
            folder is missing or cannot be written.
    """
    check_name(path)
    try:
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise make_storage_error(path, error) from error
    if not stat.S_ISDIR(mode):
        raise StorageError(
            f"cannot write {format_path(path)}: {format_path(path.parent)} is not a folder"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise make_storage_error(path, error) from error
    else:
        if stat.S_ISDIR(mode):
            raise StorageError(f"cannot write {format_path(path)}: it is a folder")
        if not force:
            raise make_exists_error(path)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise StorageError(f"cannot write {format_path(path)}: it is a device, pipe or socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {format_path(path)}: its folder cannot be written")


class _Output(io.BufferedRandom):
    """The file that is being written, without its descriptor.

    numpy and Pillow write through C to a file with a descriptor, and their errors then lose errno:
    a full disk becomes "3072 requested and 0 written". Through Python the errno stays ENOSPC.
    """

    def fileno(self) -> NoReturn:
        raise io.UnsupportedOperation("writes go through Python, so that errors keep their errno")


@contextmanager
def publish(path: Path, force: bool) -> Iterator[BinaryIO]:
    """Yield a file for reading, writing and seeking that becomes *path* at the end of the context.

    After an exception, *path* is as it was before.

    Args:
        path: the file's final name.
        force: replace a file of that name, or a symbolic link. Without it no file is ever replaced,
            even if the name is taken during the writing.

    Raises:
        StorageError: for every OSError in the context or at its end, and for an impossible name.
    """
    check_name(path)
    # A short name, because the final name may be as long as the file system allows.
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
        with suppress(OSError):  # most often it was renamed, or was never made
            temporary.unlink()


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename *temporary* to *path*; raise StorageError if *path* exists."""
    try:
        # Unlike a rename, a hard link is refused if the name exists.
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise make_exists_error(path) from error
    except (OSError, NotImplementedError):
        # FAT, and some network and FUSE file systems, have no links: claim the name, then rename.
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise make_exists_error(path) from error
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
