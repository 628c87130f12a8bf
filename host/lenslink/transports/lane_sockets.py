"""Run a link over several stream sockets, one for each lane; lane 0 carries all but tiles."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
from collections.abc import Sequence

from ..deadline import Deadline
from ..errors import Disconnected
from .os_errors import explain_os_error
from .stream_socket import SocketTransport, register_waker

_log = logging.getLogger(__name__)


class LaneSockets:
    """Send and receive over *connections*, which the transport owns; the first one is lane 0."""

    private = False
    note: str | None = None

    def __init__(self, connections: Sequence[socket.socket]) -> None:
        self.lanes = len(connections)
        self._close_reason: str | None = None
        with contextlib.ExitStack() as abort:
            self._sockets: list[SocketTransport] = []
            for connection in connections:
                self._sockets.append(SocketTransport(connection))
                abort.callback(self._sockets[-1].close)
            try:
                self._selector = selectors.DefaultSelector()
                abort.callback(self._selector.close)
                for lane, connection in enumerate(connections):
                    self._selector.register(connection, selectors.EVENT_READ, lane)
            except OSError as error:
                raise explain_os_error("the connections to the module", error) from None
            abort.pop_all()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        try:
            return self._sockets[0].receive_into(buffers, seconds)
        except Disconnected as error:
            raise self._disconnect(error) from None

    def ready(self, seconds: float) -> list[int]:
        if self._close_reason is not None:
            raise Disconnected(self._close_reason)
        try:
            found = self._selector.select(seconds)
            return [key.data for key, _ in found if key.data is not None]
        except OSError as error:
            reason = f"the module's connections failed: {error.strerror or error}"
            raise self._disconnect(Disconnected(reason)) from None

    def wake_on(self, descriptor: int) -> None:
        register_waker(self._selector, descriptor)
        self._sockets[0].wake_on(descriptor)

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        if lane == 0:
            return self.receive_into(buffers, 0)
        try:
            return self._sockets[lane].receive_into(buffers, 0)
        except Disconnected:
            self.kill_lane(lane)
            return None

    def kill_lane(self, lane: int) -> None:
        """Close a lane's connection, as a contact that opens does."""
        _log.debug("lane %d is closed", lane)
        for key in list(self._selector.get_map().values()):
            if key.data == lane:
                with contextlib.suppress(OSError):
                    self._selector.unregister(key.fileobj)
        self._sockets[lane].close()

    def send(self, data: bytes, deadline: Deadline) -> None:
        try:
            self._sockets[0].send(data, deadline)
        except Disconnected as error:
            raise self._disconnect(error) from None

    def close(self) -> None:
        if self._close_reason is None:
            self._close_reason = "the connection was closed"
        with contextlib.suppress(OSError):
            self._selector.close()
        for each in self._sockets:
            each.close()

    def _disconnect(self, error: Disconnected) -> Disconnected:
        """Record that lane 0 has ended, which ends the connection. Return the error to raise."""
        if self._close_reason is None:
            self._close_reason = self._explain_end(error)
        return Disconnected(self._close_reason)

    def _explain_end(self, error: Disconnected) -> str:
        """Return the message for the end of lane 0; a bench that knows more overrides this."""
        return str(error)
