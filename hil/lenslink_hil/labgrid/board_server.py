"""Serve one board of a rig over TCP while its place is acquired: a process of the exporter.

::

    host ──TCP──▶ data port ──▶ the board, opened for each connection
         ──TCP──▶ hold port     open as long as the host has the place; carries nothing

    exporter ──▶ stdin    its end ends this process, however the exporter has ended
             ◀── stdout   ready DATA_PORT HOLD_PORT | open CONNECTIONS | error TEXT

The process has the board's lock. So jobs of this machine and jobs of others exclude each other.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import selectors
import socket
import sys
from pathlib import Path
from typing import Final

from lenslink.connection import ModuleConnection
from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError
from lenslink.transports.base import WakeableTransport
from lenslink.transports.stream_socket import SocketTransport

from ..rig.rig_file import load_rig
from ..rig.taken_board import take_board

LOCK_S: Final = 1.0
"""How long to wait for a board that a job of this machine has."""
_OPEN_S: Final = 10.0
_SEND_S: Final = 10.0
_IDLE_S: Final = 0.5
_BUFFER: Final = 1 << 18
# A wait for the module that the host's next bytes end at once, and one that they do not end.
_WAKEABLE_S: Final = 0.05
_UNWAKEABLE_S: Final = 0.01
# A host whose machine has vanished is noticed after 5 + 3 x 3 s.

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))
_log = logging.getLogger(__name__)


class DataLink(ClosesOnExit):
    """Carries bytes between one host and the board, both opened for this connection.

    Raises what opening the board raises. *connection* is closed then.
    """

    def __init__(self, connection: socket.socket, url: str) -> None:
        self._buffer = memoryview(bytearray(_BUFFER))
        self._wait_s = _UNWAKEABLE_S
        descriptor = connection.fileno()
        self._host = SocketTransport(connection)
        try:
            self._module = ModuleConnection(url, Deadline(_OPEN_S, f"opening {url}"))
        except BaseException:
            self._host.close()
            raise
        transport = self._module.transport
        if isinstance(transport, WakeableTransport):
            transport.wake_on(descriptor)
            self._wait_s = _WAKEABLE_S

    def close(self) -> None:
        """Close both ends. Idempotent."""
        self._module.close()
        self._host.close()

    def move(self) -> bool:
        """Move what is there, or wait for a moment; return False if one end has ended."""
        board = self._module.transport
        try:
            for source, target, seconds in (
                (self._host, board, 0.0),
                (board, self._host, self._wait_s),
            ):
                count = source.receive_into([self._buffer], seconds)
                if count:
                    target.send(bytes(self._buffer[:count]), Deadline(_SEND_S))
        except LensLinkError as error:
            _log.debug("the connection has ended: %s", error)
            return False
        return True


class BoardServer(ClosesOnExit):
    """Two listening ports, and what is connected to them."""

    def __init__(self, url: str, address: str, ports: tuple[int, int]) -> None:
        self._url = url
        self._data = _listen(address, ports[0])
        self._hold = _listen(address, ports[1])
        self._holds: list[socket.socket] = []
        self._link: DataLink | None = None
        self._reported = 0

    @property
    def ports(self) -> tuple[int, int]:
        """Data port and hold port."""
        return self._data.getsockname()[1], self._hold.getsockname()[1]

    def close(self) -> None:
        """Close all connections and both ports. Idempotent."""
        if self._link is not None:
            self._link.close()
        for each in (*self._holds, self._data, self._hold):
            each.close()

    def serve(self) -> None:
        """Serve until stdin ends."""
        with selectors.DefaultSelector() as selector:
            for each in (sys.stdin, self._data, self._hold):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(_IDLE_S if self._link is None else 0):
                    if key.fileobj is sys.stdin:
                        return
                    self._answer(selector, key.fileobj)
                if self._link is not None and not self._link.move():
                    self._link.close()
                    self._link = None
                self._report()

    def _answer(self, selector: selectors.BaseSelector, source: object) -> None:
        if source is self._data:
            self._connect_host(_accept(self._data))
        elif source is self._hold:
            connection = _accept(self._hold)
            connection.setblocking(False)
            self._holds.append(connection)
            selector.register(connection, selectors.EVENT_READ)
        else:
            assert isinstance(source, socket.socket)
            self._drop_if_ended(selector, source)

    def _connect_host(self, connection: socket.socket) -> None:
        if self._link is not None:
            # A place has one owner. So this host opens the module again.
            self._link.close()
            self._link = None
        try:
            self._link = DataLink(connection, self._url)
        except LensLinkError as error:
            print(f"lenslink: {self._url}: {error}", file=sys.stderr, flush=True)

    def _drop_if_ended(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if connection.recv(_BUFFER):
                    return
            except ConnectionError:
                pass
            selector.unregister(connection)
            self._holds.remove(connection)
            connection.close()

    def _report(self) -> None:
        count = len(self._holds) + (self._link is not None)
        if count != self._reported:
            self._reported = count
            _tell(f"open {count}")


def _listen(address: str, port: int) -> socket.socket:
    """Listen at *port*, or at any port if another process has it meanwhile."""
    for each in (port, 0):
        with contextlib.suppress(OSError):
            return socket.create_server((address, each))
    raise RigError(f"cannot listen at {address}; give the exporter another --hostname")


def _accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _tell(line: str) -> None:
    """Tell the exporter. One that has ended is noticed by the end of stdin."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def main() -> int:
    """Serve a board until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rig", type=Path, required=True)
    parser.add_argument("--board", required=True)
    parser.add_argument("--place", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--ports", type=int, nargs=2, required=True)
    options = parser.parse_args()
    try:
        rig = load_rig(options.rig)
        board = rig.boards[options.board]
        command = f"labgrid place {options.place}"
        with (
            take_board([board], LOCK_S, rig=rig, command=command, is_switched_on=False) as taken,
            BoardServer(board.url, options.address, tuple(options.ports)) as server,
        ):
            _tell(f"ready {server.ports[0]} {server.ports[1]}")
            # Behind the answer, because the coordinator does not wait for a slow switch.
            taken.switch_on()
            server.serve()
    except LensLinkError as error:
        _tell(f"error {error}")
        return error.exit_code
    except (KeyError, KeyboardInterrupt):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
