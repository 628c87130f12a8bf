"""Create, find, lock and remove the shared-memory file that holds a frame ring.

The writer calls :func:`create` and :func:`clean`, a reader :func:`attach` and :func:`remove`. This
is a plain file and not ``multiprocessing.shared_memory``: before Python 3.13, the resource tracker
of that module removes memory that another process still uses.

Kernel locks that end with their holder tell who is alive (:mod:`lenslink_protocol.ringlayout`), so
nothing here looks at process ids. A child made by fork without exec shares its parent's locks:
there, close the ring or use spawn.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import DeviceBusy, NotFound, StorageError, UsageError
from ..runtime import runtime_dir

try:
    import fcntl
except ImportError as error:
    # Windows. Only frames for other processes need these locks; the rest of the driver runs there.
    raise UsageError("frame rings need Linux or macOS: this Python has no fcntl") from error

WRITER: Final = 0
"""The byte that the writer locks."""
CONTROL_SUFFIX: Final = ".control"
"""Of the control socket's file, instead of the ring's suffix (:mod:`lenslink.control`)."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A process that removes a dead writer's ring holds its lock for a moment.
_GLANCE_S = 0.05
_POLL_S = 0.001
_MAC = sys.platform == "darwin"
# The C structure ``flock``. macOS has these locks too, under numbers that Python does not know.
_FLOCK = struct.Struct("@qqihh" if _MAC else "@hhqqi4x")
_SETLK: Final = getattr(fcntl, "F_OFD_SETLK", 90)
_GETLK: Final = getattr(fcntl, "F_OFD_GETLK", 92)


def folder() -> Path:
    """Return the folder of all rings: shared memory, where the system shows it as a folder."""
    memory = Path("/dev") / "shm"
    with contextlib.suppress(OSError):
        if memory.is_dir():
            return memory
    return runtime_dir()


def path_of(name: str) -> Path:
    """Return the file of the ring called *name*.

    Raise :exc:`~lenslink.errors.UsageError` for a bad name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a frame ring: letters, digits, '.', '_', '-', up to 64"
        )
    return folder() / f"lenslink-{os.getuid()}-{name}.ring"


def create(path: Path) -> int:
    """Create the file, lock it as its writer, and return its descriptor.

    A dead writer's file is removed.

    Raises:
        DeviceBusy: A living writer has the file.
        StorageError: The file cannot be created.
    """
    glance = time.monotonic() + _GLANCE_S
    while True:
        try:
            descriptor = _open(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            raise StorageError(f"cannot create {path}: its folder is missing") from None
        with _closing_on_error(descriptor):
            if not try_lock(descriptor, WRITER):
                if time.monotonic() > glance:
                    raise DeviceBusy(f"the frame ring {path} has a writer already")
            elif _is_at(descriptor, path):
                if os.fstat(descriptor).st_size == 0:
                    return descriptor
                path.unlink()
                glance = time.monotonic() + _GLANCE_S
        close(descriptor)
        time.sleep(_POLL_S)


def attach(path: Path) -> int:
    """Open a ring's file; raise :exc:`~lenslink.errors.NotFound` if there is none."""
    try:
        return _open(path, os.O_RDWR)
    except FileNotFoundError:
        raise NotFound(f"there is no frame ring {path}") from None


def remove(descriptor: int, path: Path) -> None:
    """Remove the file behind *descriptor* if it is still at *path* and no writer has it."""
    with contextlib.suppress(OSError, StorageError):
        if is_locked(descriptor, WRITER) or not try_lock(descriptor, WRITER):
            return
        try:
            if _is_at(descriptor, path):
                with contextlib.suppress(OSError):
                    path.with_suffix(CONTROL_SUFFIX).unlink()
                path.unlink()
        finally:
            unlock(descriptor, WRITER)


def clean() -> list[Path]:
    """Remove the rings of dead writers, and return their paths."""
    removed = []
    with contextlib.suppress(OSError, StorageError):
        for path in list(folder().glob(f"lenslink-{os.getuid()}-*.ring")):
            with contextlib.suppress(OSError, StorageError):
                descriptor = _open(path, os.O_RDWR)
                try:
                    remove(descriptor, path)
                    if not path.exists():
                        removed.append(path)
                finally:
                    close(descriptor)
    return removed


def close(descriptor: int) -> None:
    """Close a ring's file; never raise."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def try_lock(descriptor: int, byte: int) -> bool:
    """Lock one byte of the file for this descriptor; return False if another has the lock."""
    try:
        fcntl.fcntl(descriptor, _SETLK, _flock(fcntl.F_WRLCK, byte))
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise _explain_lock_error(error) from None
    return True


def unlock(descriptor: int, byte: int) -> None:
    """Release the lock of one byte. Idempotent."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, _SETLK, _flock(fcntl.F_UNLCK, byte))


def is_locked(descriptor: int, byte: int) -> bool:
    """Return True if another descriptor, of any process, has the lock of one byte."""
    try:
        data = fcntl.fcntl(descriptor, _GETLK, _flock(fcntl.F_WRLCK, byte))
    except OSError as error:
        raise _explain_lock_error(error) from None
    answer = _FLOCK.unpack(data)
    return bool(answer[3 if _MAC else 0] != fcntl.F_UNLCK)


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(*((byte, 1, 0, kind, 0) if _MAC else (kind, 0, byte, 1, 0)))


def _open(path: Path, flags: int) -> int:
    """Open a file of this user in a folder that everybody may write to."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror or error}") from None
    with _closing_on_error(descriptor):
        about = os.fstat(descriptor)
    if about.st_uid != os.getuid() or not stat.S_ISREG(about.st_mode):
        close(descriptor)
        raise StorageError(f"{path} is not a file of this user")
    return descriptor


@contextlib.contextmanager
def _closing_on_error(descriptor: int) -> Iterator[None]:
    """Close *descriptor* if the block raises, and turn an OSError into StorageError."""
    try:
        yield
    except OSError as error:
        close(descriptor)
        raise StorageError(f"cannot use a frame ring's file: {error.strerror or error}") from None
    except BaseException:
        close(descriptor)
        raise


def _explain_lock_error(error: OSError) -> StorageError:
    return StorageError(f"cannot lock a frame ring: {error.strerror or error}")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
