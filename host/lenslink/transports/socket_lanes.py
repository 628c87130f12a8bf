"""A link over several stream sockets, a lane each: the first carries everything but tiles."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Sequence

from ..deadline import Deadline
from ..errors import Disconnected
from .socket import SocketTransport


class LaneSockets:
    """Connected stream sockets, which it owns; number 0 is lane 0."""

    private = False
    note: str | None = None

    def __init__(self, connections: Sequence[socket.socket]) -> None:
        self.lanes = len(connections)
        self._sockets = [SocketTransport(each) for each in connections]
        self._gone: str | None = None
        self._selector = selectors.DefaultSelector()
        for number, each in enumerate(connections):
            self._selector.register(each, selectors.EVENT_READ, number)

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        try:
            return self._sockets[0].receive_into(buffers, seconds)
        except Disconnected as error:
            raise self._lost(error) from None

    def ready(self, seconds: float) -> list[int]:
        if self._gone is not None:
            raise Disconnected(self._gone)
        return [key.data for key, _ in self._selector.select(seconds)]

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        if lane == 0:
            return self.receive_into(buffers, 0)
        try:
            return self._sockets[lane].receive_into(buffers, 0)
        except Disconnected:
            self.kill_lane(lane)
            return None

    def kill_lane(self, lane: int) -> None:
        """Cut a lane, as a contact that opens does."""
        for key in list(self._selector.get_map().values()):
            if key.data == lane:
                self._selector.unregister(key.fileobj)
        self._sockets[lane].close()

    def send(self, data: bytes, deadline: Deadline) -> None:
        try:
            self._sockets[0].send(data, deadline)
        except Disconnected as error:
            raise self._lost(error) from None

    def close(self) -> None:
        if self._gone is None:
            self._gone = "the connection was closed"
        with contextlib.suppress(OSError):
            self._selector.close()
        for each in self._sockets:
            each.close()

    def _lost(self, error: Disconnected) -> Disconnected:
        """Lane 0 has ended, and with it the module is gone."""
        if self._gone is None:
            self._gone = self._reason(error)
        return Disconnected(self._gone)

    def _reason(self, error: Disconnected) -> str:
        """What is to be said of it; a bench may know more."""
        return str(error)
