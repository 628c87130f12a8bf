"""One owner per module, across processes."""

from __future__ import annotations

import hashlib
import os

from filelock import FileLock
from filelock import Timeout as _Taken

from .errors import DeviceBusy
from .runtime import runtime_dir
from .url import Url

# Whoever lists modules holds each lock for a moment, to see whether it is free: that is no owner.
_GLANCE_S = 0.05
_POLL_S = 0.005


class ModuleLock:
    """Held from construction to :meth:`release`; the system releases it if the process dies.

    *key* names the module: :func:`key_of` its URL before it is open, its serial number once that is
    known.
    Raises :exc:`~lenslink.errors.DeviceBusy` if another process holds it, and goes on holding it
    for *seconds*.
    """

    def __init__(self, key: str, shown: str, seconds: float = _GLANCE_S) -> None:
        folder = runtime_dir() / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        # Any key makes a file name, of bounded length.
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._lock = FileLock(folder / f"{name}.lock", is_singleton=False)
        try:
            self._lock.acquire(timeout=seconds, poll_interval=_POLL_S)
        except _Taken:
            raise DeviceBusy(f"{shown} is in use by another process") from None

    def release(self) -> None:
        """Let others have the module. Idempotent."""
        self._lock.release()


def key_of(url: Url) -> str:
    """The same for all ways to write the same address."""
    path = url.path
    if url.scheme == "tcp":
        path = path.lower()
    elif "\0" not in path:  # Linux has names for sockets that begin with it and are no files
        path = os.path.realpath(path)
    return f"{url.scheme}:{path}"


def is_locked(key: str) -> bool:
    """Whether some process holds the module of that key at the moment."""
    try:
        ModuleLock(key, key, 0).release()
    except DeviceBusy:
        return True
    return False
