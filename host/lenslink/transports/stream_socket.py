"""Send and receive the link's bytes over one connected stream socket.

:mod:`.socket` opens these transports for ``unix:`` and ``tcp:``. :mod:`.lane_sockets` uses one for
each lane. The session calls the methods of :class:`.base.Transport`.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import struct
import sys
from collections.abc import Sequence

from ..deadline import Deadline
from ..errors import Disconnected, Timeout
from .os_errors import explain_os_error

_BUFFER_BYTES = 1 << 20
# The kernel applies this timeout, so it costs no system call. Only fill_into() waits this long.
_FILL_TIMEOUT = struct.pack("@ll", 0, 2000)  # s, us
# Where the system has this flag, the socket blocks, and each call that must not wait passes it.
_NO_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)

_log = logging.getLogger(__name__)


class SocketTransport:
    """Send and receive over *connection*, a connected stream socket that the transport owns.

    Raises :exc:`~lenslink.errors.LensLinkError`, and closes the connection, if the system refuses
    its options or selectors.
    """

    private = False
    note: str | None = None

    def __init__(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as abort:
            abort.callback(_close_all, [connection])
            try:
                _set_options(connection)
                self._readable = _make_selector(connection, selectors.EVENT_READ)
                abort.callback(_close_all, [self._readable])
                self._writable = _make_selector(connection, selectors.EVENT_WRITE)
            except OSError as error:
                raise explain_os_error("the connection to the module", error) from None
            abort.pop_all()
        self._socket: socket.socket | None = connection
        self._close_reason = "the connection was closed"

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        connection = self._get_socket()
        try:
            return self._receive(connection, buffers)
        except BlockingIOError:
            pass
        if not self._wait(self._readable, seconds):
            return 0
        try:
            return self._receive(connection, buffers)
        except BlockingIOError:
            return 0

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        flags = socket.MSG_WAITALL if _NO_WAIT else 0
        try:
            return self._receive(self._get_socket(), buffers, flags)
        except BlockingIOError:
            return 0

    def send(self, data: bytes, deadline: Deadline) -> None:
        connection = self._get_socket()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[connection.send(rest, _NO_WAIT) :]
            except BlockingIOError:
                if not self._wait(self._writable, deadline.remaining()):
                    raise Timeout(f"the module took no bytes for {deadline.seconds:g} s") from None
            except OSError as error:
                raise self._disconnect(error) from None

    def wake_on(self, descriptor: int) -> None:
        register_waker(self._readable, descriptor)

    def close(self) -> None:
        if self._socket is not None:
            _close_all([self._readable, self._writable, self._socket])
            self._socket = None

    def _get_socket(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(self._close_reason)
        return self._socket

    def _receive(
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
            raise self._disconnect(error) from None
        if count == 0:
            raise self._disconnect(None)
        return count

    def _wait(self, selector: selectors.BaseSelector, seconds: float) -> bool:
        try:
            return bool(selector.select(seconds))
        except OSError as error:
            raise self._disconnect(error) from None

    def _disconnect(self, error: OSError | None) -> Disconnected:
        """Close the transport, and return the error to raise."""
        reason = f": {error.strerror or error}" if error is not None else ""
        self._close_reason = f"the module closed the connection{reason}"
        _log.debug("%s", self._close_reason)
        self.close()
        return Disconnected(self._close_reason)


def _set_options(connection: socket.socket) -> None:
    connection.setblocking(bool(_NO_WAIT))
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    if _NO_WAIT:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _FILL_TIMEOUT)


def register_waker(selector: selectors.BaseSelector, descriptor: int) -> None:
    """Let *selector* wait for *descriptor* too, with None as its data. Idempotent."""
    # KeyError: it is registered. Without it, the session looks often enough by itself.
    with contextlib.suppress(KeyError, OSError, ValueError):
        selector.register(descriptor, selectors.EVENT_READ)


def _make_selector(connection: socket.socket, events: int) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    try:
        selector.register(connection, events)
    except OSError:
        selector.close()
        raise
    return selector


def _close_all(owned: Sequence[selectors.BaseSelector | socket.socket]) -> None:
    """Close every object, also after one of them has failed."""
    for each in owned:
        with contextlib.suppress(OSError):
            each.close()
