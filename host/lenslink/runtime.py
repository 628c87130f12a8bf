"""Find the user's runtime directory and create scratch directories.

The runtime directory holds locks and the registered modules' files. The benches use scratch
directories for sockets and compilers.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

from .errors import StorageError

# The address of a Unix socket has 104 bytes on macOS and 108 on Linux. The names in a scratch
# directory need some of them.
_MAX_BASE_BYTES: Final = 60
_SHORT_BASE: Final = "/tmp"  # noqa: S108 - each directory in it is made by mkdtemp()
_SCRATCH = re.compile(r"lenslink-[a-z]+-(\d+)-\w+")


def runtime_dir() -> Path:
    """Return the runtime directory; create it if it is missing.

    It is $LENSLINK_RUNTIME_DIR, else the system's runtime directory for this user, else a folder in
    the temporary directory. A folder that belongs to another user, or that others may write to, is
    not used: others could replace locks and sockets there.

    Raises:
        StorageError: No directory can be used.
    """
    named = os.environ.get("LENSLINK_RUNTIME_DIR")
    choices: list[Callable[[], Path]] = [_get_platform_dir, _get_fallback]
    if named:
        choices = [lambda: Path(named)]
    reason = ""
    for choose in choices:
        try:
            candidate = choose()
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
            reason = _explain_danger(candidate)
        except OSError as error:
            reason = str(error)
        if not reason:
            return candidate
    raise StorageError(f"no runtime directory: {reason}")


def make_runtime_subdir(name: str) -> Path:
    """Return folder *name* of the runtime directory; create it if it is missing.

    Raises :exc:`~lenslink.errors.StorageError` if it cannot be created.
    """
    folder = runtime_dir() / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {folder}: {error.strerror or error}") from None
    return folder


def make_scratch_dir(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """Create a directory of this process for *purpose*; its path is short enough for sockets.

    The caller calls ``cleanup()``. If the process is killed, :func:`remove_stale_scratch_dirs`
    removes the directory later. Raises :exc:`~lenslink.errors.StorageError` if it cannot be
    created.
    """
    try:
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) > _MAX_BASE_BYTES and Path(_SHORT_BASE).is_dir():
            base = _SHORT_BASE
        return tempfile.TemporaryDirectory(prefix=f"lenslink-{purpose}-{os.getpid()}-", dir=base)
    except OSError as error:
        raise StorageError(
            f"no temporary directory: {error.strerror or error}; set TMPDIR to a folder of your own"
        ) from None


def remove_stale_scratch_dirs() -> list[Path]:
    """Remove this user's scratch directories whose processes are dead; return their paths."""
    removed = []
    with contextlib.suppress(OSError):
        for base in {tempfile.gettempdir(), _SHORT_BASE}:
            for path in Path(base).glob("lenslink-*-*-*"):
                match = _SCRATCH.fullmatch(path.name)
                with contextlib.suppress(OSError):
                    if match and not is_process_alive(int(match[1])) and _is_own(path):
                        shutil.rmtree(path)
                        removed.append(path)
    return removed


def is_process_alive(pid: int) -> bool:
    """Return True if there is a process *pid*."""
    if sys.platform == "win32":  # os.kill() would end the process
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _explain_danger(folder: Path) -> str:
    """Return why other users could replace files in *folder*; "" if they cannot."""
    if not hasattr(os, "getuid"):
        return ""
    # A symbolic link of another user could be pointed elsewhere at any time.
    if folder.lstat().st_uid not in (os.getuid(), 0) or folder.stat().st_uid != os.getuid():
        return f"{folder} belongs to another user; set LENSLINK_RUNTIME_DIR to a folder of your own"
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write to {folder}; type: chmod 700 {folder}"
    # A user who may rename the folder can put another one in its place.
    parent = folder.parent.stat()
    is_shared = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX
    if parent.st_uid not in (os.getuid(), 0) or is_shared:
        return f"other users may replace {folder}; set LENSLINK_RUNTIME_DIR to a folder of your own"
    return ""


def _is_own(path: Path) -> bool:
    return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()


def _get_platform_dir() -> Path:
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR (in a container, in cron) platformdirs prints a warning.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("lenslink")


def _get_fallback() -> Path:
    user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"lenslink-{user}"
