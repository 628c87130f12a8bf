"""Bytes between two processes without a protocol: what the driver's figures stand beside.

A :class:`Line` is either end of a connection over a socket or over shared memory, in the fewest
calls that there are: sends and receives of whole pieces that wait in the kernel.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import Protocol

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink.transports.direct_placement import FrameSlots
from lenslink.transports.shm import SHM, ShmEnd, offer
from lenslink.url import Url

BUFFER_BYTES = 1 << 20
"""The socket's buffers, as the driver's transport asks for them."""
_PATIENCE_S = 10


class Gone(Exception):
    """The other end has closed the line, or did nothing for too long."""


class Line(Protocol):
    """One end."""

    slots: FrameSlots | None
    """Memory for frames, where there is some that both ends share."""

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it, or raise :exc:`Gone`."""

    def hear(self, seconds: float) -> bytes:
        """What has come, waiting up to *seconds* for it; b"" if nothing has."""

    def fill(self, piece: memoryview) -> None:
        """Receive exactly as much as *piece* holds, or raise :exc:`Gone`."""

    def close(self) -> None:
        """Let go of it. Idempotent."""


class SocketLine:
    """A connected stream socket, which it owns."""

    slots: FrameSlots | None = None

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setblocking(True)
        # Bounded in the kernel: a timeout of Python's would make two calls of every one.
        limit = struct.pack("@ll", _PATIENCE_S, 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._connection.send(rest) :]
        except OSError:
            raise Gone from None

    def hear(self, seconds: float) -> bytes:
        if not select.select([self._connection], [], [], seconds)[0]:
            return b""
        try:
            data = self._connection.recv(65536)
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        return data

    def fill(self, piece: memoryview) -> None:
        try:
            count = self._connection.recv_into(piece, 0, socket.MSG_WAITALL)
        except OSError:
            raise Gone from None
        if count != len(piece):
            raise Gone

    def close(self) -> None:
        self._connection.close()


class ShmLine:
    """Rings in shared memory."""

    def __init__(self, end: ShmEnd) -> None:
        self.slots = end.slots
        self._end = end
        self._memory = memoryview(bytearray(65536))

    def send(self, data: bytes | memoryview) -> None:
        try:
            self._end.send(data, Deadline(_PATIENCE_S))
        except LensLinkError:
            raise Gone from None

    def hear(self, seconds: float) -> bytes:
        try:
            count = self._end.receive_into([self._memory], seconds)
        except LensLinkError:
            raise Gone from None
        return bytes(self._memory[:count])

    def fill(self, piece: memoryview) -> None:
        receive = self._end.receive_into
        rest = piece
        try:
            while rest:
                count = receive([rest], _PATIENCE_S)
                if not count:
                    raise Gone
                rest = rest[count:]
        except LensLinkError:
            raise Gone from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._end.close()


def connect(url: str) -> Line:
    """The host's end of a line to ``unix:PATH``, ``tcp:HOST:PORT`` or ``shm:PATH``."""
    scheme, _, path = url.partition(":")
    if scheme == "shm":
        return ShmLine(SHM.open(Url(url, scheme, path, {}), Deadline(_PATIENCE_S)))
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
    else:
        host, _, port = path.rpartition(":")
        connection = socket.create_connection((host, int(port)), _PATIENCE_S)
    return SocketLine(connection)


def accept(listener: socket.socket, scheme: str, frame_bytes: int) -> Line:
    """The module's end of the next connection; shared memory has room for such frames."""
    connection, _ = listener.accept()
    if scheme == "shm":
        return ShmLine(offer(connection, frame_bytes=frame_bytes))
    return SocketLine(connection)


def listen(url: str) -> tuple[socket.socket, str]:
    """A listening socket, and the URL to open; the port of ``tcp:`` is any that is free."""
    scheme, _, path = url.partition(":")
    if scheme == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        return listener, f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener, url
