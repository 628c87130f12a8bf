"""Let one process at a time own a module.

:mod:`.device` holds a :class:`ModuleLock` while a module is open. The transports ask
:func:`is_locked` when they list modules.
"""

from __future__ import annotations

import hashlib
import os

from filelock import FileLock
from filelock import Timeout as LockTimeout

from .errors import DeviceBusy
from .runtime import runtime_dir
from .url import Url

# is_locked() holds each lock for a moment. An owner waits this long before it calls a module busy.
_GLANCE_S = 0.05
_POLL_S = 0.005


class ModuleLock:
    """Hold a module's lock from construction to :meth:`release`.

    The system releases the lock if the process dies. *key* names the module: :func:`key_of` its URL
    before it is open, its serial number once that is known. *shown* is its name in messages.

    Raises:
        DeviceBusy: Another process holds the lock and keeps it for *seconds*.
    """

    def __init__(self, key: str, shown: str, seconds: float = _GLANCE_S) -> None:
        folder = runtime_dir() / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        # A hash makes any key a file name of bounded length.
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._lock = FileLock(folder / f"{name}.lock", is_singleton=False)
        try:
            self._lock.acquire(timeout=seconds, poll_interval=_POLL_S)
        except LockTimeout:
            raise DeviceBusy(f"{shown} is in use by another process") from None

    def release(self) -> None:
        """Let other processes have the module. Idempotent."""
        self._lock.release()


def key_of(url: Url) -> str:
    """Return the lock's key: the same for every spelling of the same address."""
    path = url.path
    if url.scheme == "tcp":
        path = path.lower()
    elif "\0" not in path:  # Linux has names for sockets that begin with it and are no files
        path = os.path.realpath(path)
    return f"{url.scheme}:{path}"


def is_locked(key: str) -> bool:
    """Return True if a process holds the lock of *key* now."""
    try:
        ModuleLock(key, key, 0).release()
    except DeviceBusy:
        return True
    return False
