"""Make and open the control socket beside a frame ring.

:class:`.control_server.ControlServer` listens on it, :class:`.module_client.ModuleClient` connects
to it. The socket's file is in the folder of the ring's file, under the same name, and only its
user may open it. Both ends also ask the kernel who the other process belongs to, where the kernel
tells.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from ..deadline import Deadline
from ..errors import NotFound, StorageError, Timeout
from ..frame_ring import segment

_CREDENTIALS: Final = struct.Struct("@3i")  # pid, uid, gid
_BACKLOG: Final = 16


def path_of(name: str) -> Path:
    """Return the socket's path for the frame ring called *name*."""
    return segment.path_of(name).with_suffix(segment.CONTROL_SUFFIX)


def listen(name: str) -> socket.socket:
    """Return the socket that listens for clients of the ring called *name*, non-blocking.

    The caller owns the ring, so a file that is already there was left by a dead process.

    Raises:
        StorageError: The socket cannot be made.
    """
    path, connection = path_of(name), _make_socket()
    try:
        with contextlib.suppress(FileNotFoundError):
            _check_owner(path)
            path.unlink()
        connection.bind(str(path))
        # Before listen(), nobody can connect.
        path.chmod(0o600)
        connection.listen(_BACKLOG)
        connection.setblocking(False)
    except OSError as error:
        close(connection)
        raise StorageError(f"cannot listen on {path}: {error.strerror or error}") from None
    except BaseException:
        close(connection)
        raise
    return connection


def connect(name: str, deadline: Deadline) -> socket.socket:
    """Return a connection to the process that serves the ring called *name*.

    Raises:
        NotFound: No process serves it.
        StorageError: The socket belongs to another user.
        Timeout: The process does not answer.
    """
    path, connection = path_of(name), _make_socket()
    try:
        _check_owner(path)
        connection.settimeout(max(deadline.remaining(), 0.001))
        connection.connect(str(path))
        _check_peer(path, connection)
    except TimeoutError:
        close(connection)
        raise Timeout(f"{path}: no answer within {deadline.seconds:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError):
        close(connection)
        raise NotFound(
            f"no process takes requests for the frame ring {name}: "
            f"start 'lenslink stream -o ring:{name}'"
        ) from None
    except OSError as error:
        close(connection)
        raise StorageError(f"cannot connect to {path}: {error.strerror or error}") from None
    except BaseException:
        close(connection)
        raise
    return connection


def close(connection: socket.socket) -> None:
    """Close *connection*; never raise."""
    with contextlib.suppress(OSError):
        connection.close()


def is_same_user(connection: socket.socket) -> bool:
    """Return True if the other end of *connection* is a process of this user.

    Where the kernel does not tell, the file's permissions have to do. Raises OSError.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    data = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return bool(uid == os.getuid())


def _make_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise StorageError(f"cannot make a control socket: {error.strerror or error}") from None


def _check_peer(path: Path, connection: socket.socket) -> None:
    if not is_same_user(connection):
        raise StorageError(f"{path} is served by another user")


def _check_owner(path: Path) -> None:
    """Raise StorageError for a file that is not this user's socket, and OSError for none."""
    about = path.lstat()
    if about.st_uid != os.getuid() or not stat.S_ISSOCK(about.st_mode):
        raise StorageError(f"{path} is not a socket of this user")
