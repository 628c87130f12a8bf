"""Let one job at a time have a board: a lock of the kernel, and a note of who holds it.

The kernel ends the lock when the last process that inherited it has ended, however it ended. So a
lock is never stale. The lock's file stays, and holds the note.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink.runtime import make_runtime_subdir

_POLL_S: Final = 0.1
_MAX_NOTE: Final = 4096
_MAX_COMMAND: Final = 160


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a board."""

    pid: int
    user: str
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} since {self.since} ({self.command})"


def _describe_self(command: str) -> Holder:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    command = command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return Holder(os.getpid(), user, socket.gethostname(), command[:_MAX_COMMAND], since)


class BoardLock:
    """A board's lock, held from :meth:`try_to_take` to :meth:`release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        """Inheritable by a process that has to hold the lock too."""

    @classmethod
    def try_to_take(cls, path: Path, command: str = "") -> BoardLock | None:
        """Take the lock at *path*; return None if another job has it.

        *command* is noted as what the holder does; by default, how this process was started.

        Raises :exc:`~lenslink.RigError` if the file cannot be opened, or this system has no flock.
        """
        lock = cls._open(path)
        if lock is None:
            return None
        note = json.dumps(asdict(_describe_self(command))).encode()[:_MAX_NOTE]
        try:
            os.ftruncate(lock.descriptor, 0)
            os.pwrite(lock.descriptor, note, 0)
        except OSError as error:
            lock.release()
            raise RigError(f"{path}: {error.strerror or error}; free some space there") from None
        return lock

    @classmethod
    def is_taken(cls, path: Path) -> bool:
        """Return True if a job holds the lock at *path*."""
        if not path.exists():
            return False
        lock = cls._open(path)
        if lock is None:
            return True
        lock.release()
        return False

    @classmethod
    def _open(cls, path: Path) -> BoardLock | None:
        try:
            import fcntl
        except ImportError:
            raise RigError("a rig needs the locks of Linux or macOS") from None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RigError(f"cannot lock a board: {path}: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise RigError(f"cannot lock a board: {path}: {error.strerror or error}") from None
        return cls(path, descriptor)

    def release(self) -> None:
        """Let others have the board. Idempotent; never raises."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1


def make_lock_path(address: str, folder: Path | None = None) -> Path:
    """Return the file of the lock of the board at *address*."""
    # A hash makes any address a file name of bounded length.
    name = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return (folder or make_runtime_subdir("rig")) / f"{name}.lock"


def read_holder(path: Path) -> Holder | None:
    """Return who holds the lock at *path*; None if nobody does, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, RigError):
        if BoardLock.is_taken(path):
            with path.open("rb") as file:
                return Holder(**json.loads(file.read(_MAX_NOTE)))
    return None


def take_first(
    paths: Sequence[Path],
    deadline: Deadline,
    on_wait: Callable[[str], None] | None = None,
    command: str = "",
) -> tuple[int, BoardLock] | None:
    """Take the first of the locks at *paths* that is free, and return its index.

    Wait until *deadline*, then return None. *on_wait* is called once if the call has to wait, with
    a text that names who holds what.
    """
    while True:
        for index, path in enumerate(paths):
            lock = BoardLock.try_to_take(path, command)
            if lock is not None:
                return index, lock
        if deadline.remaining() <= 0:
            return None
        if on_wait is not None:
            on_wait(describe_holders(paths))
            on_wait = None
        time.sleep(min(_POLL_S, deadline.remaining()))


def describe_holders(paths: Sequence[Path]) -> str:
    """Return who holds the locks at *paths*, in one text."""
    holders = [holder for path in paths if (holder := read_holder(path)) is not None]
    return "; ".join(dict.fromkeys(map(str, holders))) or "another process"
