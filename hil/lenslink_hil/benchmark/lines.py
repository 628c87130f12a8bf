"""Bytes between two processes without a protocol: the transport that the driver is compared with.

A :class:`Line` is one end of a connection over a socket or over shared memory. It makes as few
calls as possible: sends and receives of whole pieces that wait in the kernel.
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


class LineClosed(Exception):
    """The other end has closed the line, or was idle for too long."""


class Line(Protocol):
    """One end of a connection."""

    slots: FrameSlots | None
    """Memory for frames that both ends share, None if they share none."""

    def send(self, data: bytes | memoryview) -> None:
        """Send all of *data*, or raise :exc:`LineClosed`."""

    def receive(self, seconds: float) -> bytes:
        """Return what arrives within *seconds*, b"" if nothing does."""

    def receive_exactly(self, piece: memoryview) -> None:
        """Fill *piece* with received bytes, or raise :exc:`LineClosed`."""

    def close(self) -> None:
        """Close the line. Idempotent."""


class SocketLine:
    """A connected stream socket. The line owns the socket."""

    slots: FrameSlots | None = None

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setblocking(True)
        # The kernel keeps the timeout. A timeout of Python's would double the number of calls.
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
            raise LineClosed from None

    def receive(self, seconds: float) -> bytes:
        if not select.select([self._connection], [], [], seconds)[0]:
            return b""
        try:
            data = self._connection.recv(65536)
        except OSError:
            raise LineClosed from None
        if not data:
            raise LineClosed
        return data

    def receive_exactly(self, piece: memoryview) -> None:
        try:
            count = self._connection.recv_into(piece, 0, socket.MSG_WAITALL)
        except OSError:
            raise LineClosed from None
        if count != len(piece):
            raise LineClosed

    def close(self) -> None:
        self._connection.close()


class ShmLine:
    """Byte rings in shared memory."""

    def __init__(self, end: ShmEnd) -> None:
        self.slots = end.slots
        self._end = end
        self._memory = memoryview(bytearray(65536))

    def send(self, data: bytes | memoryview) -> None:
        try:
            self._end.send(data, Deadline(_PATIENCE_S))
        except LensLinkError:
            raise LineClosed from None

    def receive(self, seconds: float) -> bytes:
        try:
            count = self._end.receive_into([self._memory], seconds)
        except LensLinkError:
            raise LineClosed from None
        return bytes(self._memory[:count])

    def receive_exactly(self, piece: memoryview) -> None:
        receive = self._end.receive_into
        rest = piece
        try:
            while rest:
                count = receive([rest], _PATIENCE_S)
                if not count:
                    raise LineClosed
                rest = rest[count:]
        except LensLinkError:
            raise LineClosed from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._end.close()


def connect(url: str) -> Line:
    """Connect to ``unix:PATH``, ``tcp:HOST:PORT`` or ``shm:PATH``, and return the host's end."""
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
    """Accept a connection and return the module's end.

    Shared memory is made for frames of *frame_bytes*.
    """
    connection, _ = listener.accept()
    if scheme == "shm":
        return ShmLine(offer(connection, frame_bytes=frame_bytes))
    return SocketLine(connection)


def listen(url: str) -> tuple[socket.socket, str]:
    """Return a listening socket and the URL to open. ``tcp:`` gets a free port."""
    scheme, _, path = url.partition(":")
    if scheme == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        return listener, f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener, url
