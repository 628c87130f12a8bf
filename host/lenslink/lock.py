"""Let one process at a time own a module.

:mod:`.device` holds a :class:`ModuleLock` while a module is open. The transports ask
:func:`is_locked` when they list modules.

A lock's file is removed while the lock is held. filelock then refuses the lock of a removed file
and opens the path again, so two processes never hold locks of different files. A child made by fork
neither holds nor removes its parent's lock.

filelock is imported where it is used: it imports asyncio, and no other process can reach ``sim:``.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import DeviceBusy, StorageError
from .runtime import make_runtime_subdir
from .url import Url

if TYPE_CHECKING:
    from filelock import FileLock

# is_locked() and remove_stale_locks() hold each lock for a moment. An owner waits this long before
# it calls a module busy.
_GLANCE_S: Final = 0.05
_POLL_S: Final = 0.005

# The paths of these schemes are files.
_FILE_SCHEMES: Final = ("unix", "shm", "serial")

_log = logging.getLogger(__name__)


class ModuleLock:
    """Hold a module's lock from construction to :meth:`release`.

    The system releases the lock if the process dies. *key* names the module: its URL's
    (:func:`make_lock_key`) before it is open, its serial number once that is known. *shown* is its
    name in messages.

    Raises:
        DeviceBusy: Another process holds the lock and keeps it for *seconds*.
        StorageError: The lock's file cannot be opened.
    """

    def __init__(self, key: str, shown: str, seconds: float = _GLANCE_S) -> None:
        from filelock import FileLock, Timeout

        self._path = _path_of(key)
        self._lock = FileLock(self._path, is_singleton=False)
        try:
            self._lock.acquire(timeout=seconds, poll_interval=_POLL_S)
        except Timeout:
            raise DeviceBusy(f"{shown} is in use by another process") from None
        except PermissionError:
            raise StorageError(
                f"cannot lock {shown}: {self._path} belongs to another user; "
                f"type: sudo rm {self._path}"
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot lock {shown}: {self._path}: {error.strerror or error}"
            ) from None

    def release(self) -> None:
        """Let others have the module, and remove the lock's file. Idempotent."""
        _release(self._lock, self._path)


def make_lock_key(url: Url) -> str:
    """Return the lock's key: the same for every spelling of the same address."""
    path = url.path
    if url.scheme == "tcp":
        path = path.lower()
    # On Linux, a name that begins with a zero byte is a socket's but no file.
    elif url.scheme in _FILE_SCHEMES and "\0" not in path:
        path = os.path.realpath(path)
    return f"{url.scheme}:{path}"


def is_locked(key: str) -> bool:
    """Return True if a process holds the lock of *key* now.

    Raises :exc:`~lenslink.errors.StorageError` if the lock's file cannot be opened.
    """
    path = _path_of(key)
    try:
        if not path.exists():
            return False
    except OSError as error:
        raise StorageError(f"cannot look at {path}: {error.strerror or error}") from None
    try:
        ModuleLock(key, key, 0).release()
    except DeviceBusy:
        return True
    return False


def remove_stale_locks() -> list[Path]:
    """Remove the lock files of processes that died, and return their paths."""
    removed = []
    with contextlib.suppress(OSError, StorageError):
        for path in make_runtime_subdir("locks").glob("*.lock"):
            from filelock import FileLock, Timeout

            lock = FileLock(path, is_singleton=False)
            with contextlib.suppress(OSError, Timeout):
                lock.acquire(timeout=0)
                _release(lock, path)
                removed.append(path)
    return removed


def _path_of(key: str) -> Path:
    # A hash makes any key a file name of bounded length.
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return make_runtime_subdir("locks") / f"{name}.lock"


def _release(lock: FileLock, path: Path) -> None:
    """Remove the file of a lock that is held, and release the lock."""
    if lock.is_locked:
        # Windows does not remove an open file.
        with contextlib.suppress(OSError):
            path.unlink()
    try:
        lock.release()
    except OSError as error:
        _log.debug("releasing %s: %s", path, error)
