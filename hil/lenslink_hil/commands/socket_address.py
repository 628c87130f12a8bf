"""A socket to listen on, from ``unix:PATH``, ``shm:PATH`` or ``tcp:HOST:PORT``; nothing is left."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lenslink.errors import StorageError, UsageError
from lenslink.runtime import runtime_dir
from lenslink.transports.shm import check_system, offer
from lenslink.url import parse_url
from lenslink_protocol.params import MAX_LANES

from ..benches.shm_bridge import bridge

# Linux has 108 bytes for an address, macOS 104, both with the 0 at the end.
_UNIX_PATH_BYTES = 103
_MAX_PORT = 65535
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - names, not a default
_PROBE_S = 1.0
# The name of the module is a field's below.
_Socket = socket.socket


@dataclass(frozen=True, slots=True)
class Listener:
    """``url`` is what a program on this machine opens."""

    socket: _Socket
    url: str
    lanes: int = 1
    """Connections that make up a link, where more than one was asked for."""

    def accept(self) -> _Socket:
        """The next host, as a stream socket whatever it came by.

        Raises OSError as the socket's own does.
        """
        connection, _ = self.socket.accept()
        if self.url.startswith("shm:"):
            return bridge(offer(connection))
        return connection


@contextlib.contextmanager
def open_listener(text: str | None, *, several: bool = False) -> Iterator[Listener]:
    """Listen at *text*, by default on a socket of this process in the runtime folder.

    Where a link may be made up of *several* connections, the option ``lanes`` says of how many.
    Raises :exc:`~lenslink.errors.UsageError` for an address that makes no sense or is taken, and
    :exc:`~lenslink.errors.StorageError` where a socket cannot be made.
    """
    if text is None:
        if hasattr(socket, "AF_UNIX"):
            text = f"unix:{quote(str(runtime_dir() / f'sim-{os.getpid()}.sock'))}"
        else:
            text = "tcp:127.0.0.1:0"
    url = parse_url(text, ("shm", "tcp", "unix"))
    url.check_options(("lanes",) if several and url.scheme != "shm" else ())
    lanes = url.integer("lanes")
    if url.scheme == "shm":
        check_system()
    with _tcp(url.path) if url.scheme == "tcp" else _unix(url.scheme, url.path) as listener:
        if lanes is None:
            yield listener
        elif 1 <= lanes <= MAX_LANES:
            yield Listener(listener.socket, f"{listener.url}?lanes={lanes}", lanes)
        else:
            raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")


@contextlib.contextmanager
def _unix(scheme: str, name: str) -> Iterator[Listener]:
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("this Python has no Unix sockets: use --listen tcp:127.0.0.1:0")
    if not name:
        raise UsageError(f"{scheme}: needs a path, as in {scheme}:/tmp/lens")
    path = Path(name).absolute()
    size = len(os.fsencode(path))
    if size > _UNIX_PATH_BYTES:
        raise UsageError(
            f"the path of a Unix socket has at most {_UNIX_PATH_BYTES} bytes, this one has {size}: "
            f"{path} (a shorter LENSLINK_RUNTIME_DIR, or --listen unix:PATH, helps)"
        )
    shown = f"{scheme}:{path}"
    _remove_stale(path, shown)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        try:
            # Nobody else's module: connecting needs the right to write.
            before = os.umask(0o177)
            try:
                server.bind(str(path))
            finally:
                os.umask(before)
            server.listen()
        except OSError as error:
            raise StorageError(f"cannot listen at {shown}: {error.strerror}") from None
        made = path.stat()
        try:
            yield Listener(server, f"{scheme}:{quote(str(path))}")
        finally:
            # Somebody may have put another in its place.
            with contextlib.suppress(OSError):
                if os.path.samestat(made, path.lstat()):
                    path.unlink()


def _remove_stale(path: Path, shown: str) -> None:
    """Make room where a socket was left that nobody listens on; refuse all else that is there."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"cannot listen at {shown}: a file of that name is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                path.unlink()
            return
        except OSError:
            pass
    raise UsageError(f"cannot listen at {shown}: another process does")


@contextlib.contextmanager
def _tcp(address: str) -> Iterator[Listener]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT:
        raise UsageError("tcp: needs a host and a port, as in tcp:127.0.0.1:7650")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if os.name == "posix":
            # Else the address stays taken for a minute after the last host has gone.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, int(port)))
            server.listen()
        except OSError as error:
            raise UsageError(f"cannot listen at tcp:{address}: {error.strerror or error}") from None
        shown = _ANY.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        yield Listener(server, f"tcp:{shown}:{server.getsockname()[1]}")
