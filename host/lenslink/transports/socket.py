"""``unix:PATH`` and ``tcp:HOST:PORT``: a module behind a stream socket."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenslink_protocol.params import MAX_LANES

from ..deadline import Deadline
from ..errors import Disconnected, NotFound, StorageError, Timeout, UsageError
from ..lock import is_locked, key_of
from ..runtime import runtime_dir
from ..url import Url, parse_url
from .base import DeviceInfo, Transport

_BUFFER_BYTES = 1 << 20
# In the kernel, so that it costs no call of its own; bounds fill_into() alone.
_FILL_TIMEOUT = struct.pack("@ll", 0, 2000)  # s, us
# Calls that shall not wait say so themselves, where they can: then one that shall, may.
_NO_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_OPTIONS = {"lanes": "connections that the link is spread over, as many as the module waits for"}


class SocketTransport:
    """A connected stream socket, which it owns."""

    private = False
    note: str | None = None

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(bool(_NO_WAIT))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if _NO_WAIT:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _FILL_TIMEOUT)
        self._socket: socket.socket | None = connection
        self._readable = _selector(connection, selectors.EVENT_READ)
        self._writable = _selector(connection, selectors.EVENT_WRITE)
        self._gone = "the connection was closed"

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        connection = self._connection()
        try:
            return self._read(connection, buffers)
        except BlockingIOError:
            pass
        if not self._readable.select(seconds):
            return 0
        try:
            return self._read(connection, buffers)
        except BlockingIOError:
            return 0

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        try:
            return self._read(self._connection(), buffers, socket.MSG_WAITALL if _NO_WAIT else 0)
        except BlockingIOError:
            return 0

    def send(self, data: bytes, deadline: Deadline) -> None:
        connection = self._connection()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[connection.send(rest, _NO_WAIT) :]
            except BlockingIOError:
                if not self._writable.select(deadline.remaining()):
                    raise Timeout(f"the module took no bytes for {deadline.seconds:g} s") from None
            except OSError as error:
                raise self._lost(error) from None

    def close(self) -> None:
        if self._socket is not None:
            self._readable.close()
            self._writable.close()
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connection(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(self._gone)
        return self._socket

    def _read(
        self, connection: socket.socket, buffers: Sequence[memoryview], flags: int = _NO_WAIT
    ) -> int:
        try:
            if sys.platform == "win32":
                count = connection.recv_into(buffers[0])
            else:
                count = connection.recvmsg_into(buffers, 0, flags)[0]
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._lost(error) from None
        if count == 0:
            raise self._lost(None)
        return count

    def _lost(self, error: OSError | None) -> Disconnected:
        reason = f": {error.strerror or error}" if error is not None else ""
        self._gone = f"the module closed the connection{reason}"
        self.close()
        return Disconnected(self._gone)


def _selector(connection: socket.socket, events: int) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    selector.register(connection, events)
    return selector


def _connect(
    family: int, address: str | tuple[str, int], url: Url, deadline: Deadline
) -> Transport:
    """A connection for each lane; the first is lane 0."""
    given = url.integer("lanes")
    lanes = 1 if given is None else given
    if not 1 <= lanes <= MAX_LANES:
        raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")
    if lanes == 1:
        return SocketTransport(_connection(family, address, url, deadline))
    from .socket_lanes import LaneSockets

    with contextlib.ExitStack() as abort:
        connections = []
        for _ in range(lanes):
            connections.append(_connection(family, address, url, deadline))
            abort.callback(connections[-1].close)
        transport = LaneSockets(connections)
        abort.pop_all()
    return transport


def _connection(
    family: int, address: str | tuple[str, int], url: Url, deadline: Deadline
) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(max(deadline.remaining(), 0.001))
    try:
        connection.connect(address)
        if family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError:
        connection.close()
        raise Timeout(f"{url.text}: no answer within {deadline.seconds:g} s") from None
    except OSError as error:
        connection.close()
        if error.errno is None:  # no address at all: a path too long for AF_UNIX
            raise UsageError(f"{url.text}: {error}") from None
        raise NotFound(f"{url.text}: {error.strerror or error}") from None
    return connection


def registry() -> Path:
    """The folder where ``lenslink sim`` leaves a file for each module it serves."""
    folder = runtime_dir() / "modules"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def registered(scheme: str) -> list[DeviceInfo]:
    """Modules of *scheme* that some process of this user serves; never raises."""
    found = []
    with contextlib.suppress(OSError, StorageError):
        for path in sorted(registry().glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UsageError):
                entry = json.loads(path.read_text(encoding="utf-8"))
                if not _alive(entry["pid"]):
                    path.unlink()
                elif entry["url"].startswith(f"{scheme}:"):
                    url = parse_url(entry["url"], (scheme,))
                    busy = is_locked(key_of(url))
                    info = DeviceInfo(url.text, entry["description"], entry["serial"], busy)
                    found.append(info)
    return found


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill() would end it
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


class UnixOpener:
    """``unix:PATH``."""

    options: Mapping[str, str] = _OPTIONS

    def open(self, url: Url, deadline: Deadline) -> Transport:
        if not hasattr(socket, "AF_UNIX"):
            raise UsageError("this Python has no Unix sockets: use tcp:")
        if not url.path:
            raise UsageError("unix: needs a path, as in unix:/run/user/1000/lens")
        return _connect(socket.AF_UNIX, url.path, url, deadline)

    def devices(self) -> list[DeviceInfo]:
        return registered("unix")


class TcpOpener:
    """``tcp:HOST:PORT``; a module on a network has no other protection than its address."""

    options: Mapping[str, str] = _OPTIONS

    def open(self, url: Url, deadline: Deadline) -> Transport:
        host, _, port = url.path.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError("tcp: needs a host and a port, as in tcp:127.0.0.1:7650")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _connect(family, (host, int(port)), url, deadline)

    def devices(self) -> list[DeviceInfo]:
        return registered("tcp")


UNIX = UnixOpener()
TCP = TcpOpener()
