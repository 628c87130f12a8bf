"""Sockets that listen at ``unix:PATH``, ``shm:PATH`` or ``tcp:HOST:PORT``, and leave no file.

The commands ``sim``, ``usbip``, ``replay`` and ``conform host`` accept their hosts here.
"""

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
from lenslink.url import is_host, is_port, parse_url
from lenslink_protocol.params import MAX_LANES

from ..benches.shm_bridge import bridge

# Linux has 108 bytes for an address and macOS 104, both including a zero at the end.
_UNIX_PATH_BYTES = 103
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - names, not a default
_PROBE_S = 1.0
# Listener has a field of the same name as the module.
_Socket = socket.socket


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and the ``url`` that a program on this machine opens."""

    socket: _Socket
    url: str
    lanes: int = 1
    """Number of connections that make up one link."""

    def accept(self) -> _Socket:
        """Wait for the next host and return its connection, a stream socket for every scheme.

        Raises:
            OSError: as :meth:`socket.socket.accept`.
        """
        connection, _ = self.socket.accept()
        if self.url.startswith("shm:"):
            return bridge(offer(connection))
        return connection


@contextlib.contextmanager
def open_listener(text: str | None, *, several: bool = False) -> Iterator[Listener]:
    """Listen at the URL *text* until the end of the context.

    Args:
        text: the URL; None for a socket of this process in the runtime folder.
        several: accept the option ``lanes``, the number of connections that make up one link.

    Raises:
        UsageError: the address makes no sense or is in use.
        StorageError: the socket cannot be made.
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
    with (
        _listen_tcp(url.path)
        if url.scheme == "tcp"
        else _listen_unix(url.scheme, url.path) as listener
    ):
        if lanes is None:
            yield listener
        elif 1 <= lanes <= MAX_LANES:
            yield Listener(listener.socket, f"{listener.url}?lanes={lanes}", lanes)
        else:
            raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")


@contextlib.contextmanager
def _listen_unix(scheme: str, name: str) -> Iterator[Listener]:
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
            # Connecting needs the right to write, so only this user may open the module.
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
            # Another process may have replaced the file by its own.
            with contextlib.suppress(OSError):
                if os.path.samestat(made, path.lstat()):
                    path.unlink()


def _remove_stale(path: Path, shown: str) -> None:
    """Remove a socket file that nobody listens on; raise UsageError for anything else there."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"cannot listen at {shown}: a file of that name exists and is no socket")
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
    raise UsageError(f"cannot listen at {shown}: another process listens there")


@contextlib.contextmanager
def _listen_tcp(address: str) -> Iterator[Listener]:
    host, colon, port = address.rpartition(":")
    # Port 0 lets the system choose one. An empty host means every address.
    host = host.strip("[]")
    if not colon or not (is_port(port) or port == "0") or not (is_host(host) or not host):
        raise UsageError("tcp: needs a host and a port, as in tcp:127.0.0.1:7650")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if os.name == "posix":
            # Without this, the address stays in use for a minute after the last host has left.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, int(port)))
            server.listen()
        except OSError as error:
            raise UsageError(f"cannot listen at tcp:{address}: {error.strerror or error}") from None
        shown = _ANY.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        yield Listener(server, f"tcp:{shown}:{server.getsockname()[1]}")
