"""Accept clients on a frame ring's control socket, and turn their lines into commands.

:class:`.control_service.ControlService` owns a server. It calls :meth:`ControlServer.poll` often,
from the thread that receives frames, and carries out the commands that :meth:`take_command`
returns. No call here waits for a client.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ..context import ClosesOnExit
from ..errors import DeviceBusy, LensLinkError, StorageError, UsageError
from . import control_socket
from .client_connection import ClientConnection
from .control_messages import (
    MAX_LINE,
    AskState,
    Command,
    Subscribe,
    decode_line,
    encode_error,
    encode_line,
    read_command,
    read_id,
)

MAX_CLIENTS: Final = 16
MAX_WAITING: Final = 8
"""Requests of one client that may wait to be carried out."""
# A client that floods the socket gets no more of a turn than this.
_LINES_A_TURN: Final = 4

_log = logging.getLogger(__name__)


if sys.platform == "linux":
    make_selector = selectors.EpollSelector
else:  # macOS
    make_selector = selectors.KqueueSelector


class WaitingCommand(NamedTuple):
    """A command that waits until the device is between two frames."""

    client: ClientConnection
    id: int
    command: Command


class ControlServer(ClosesOnExit):
    """Serve the control socket of the frame ring called *name*.

    Args:
        name: The ring's name. The caller owns the ring.
        describe: Returns the state, as the answer to ``state``.
        list_events: Returns the lines that a new subscriber gets first.
    """

    def __init__(
        self,
        name: str,
        describe: Callable[[], Mapping[str, object]],
        list_events: Callable[[], list[bytes]],
    ) -> None:
        self.path = control_socket.path_of(name)
        self._describe = describe
        self._list_events = list_events
        self._clients: list[ClientConnection] = []
        self._waiting: deque[WaitingCommand] = deque()
        self._listener = control_socket.listen(name)
        try:
            self._selector = make_selector()
            self._selector.register(self._listener, selectors.EVENT_READ)
            self.descriptor = self._selector.fileno()
            """Readable while :meth:`poll` has something to do, for the selector of a transport."""
        except OSError as error:
            control_socket.close(self._listener)
            raise StorageError(f"cannot serve {self.path}: {error.strerror or error}") from None
        self._is_open = True

    @property
    def clients(self) -> int:
        """The number of clients that are connected."""
        return len(self._clients)

    @property
    def has_commands(self) -> bool:
        """True if a command waits to be carried out."""
        return bool(self._waiting)

    def take_command(self) -> WaitingCommand | None:
        """Return the oldest command whose client is still there."""
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.client.waiting_commands -= 1
            if waiting.client.is_open:
                return waiting
        return None

    # --- a turn -----------------------------------------------------------------------------

    def poll(self, seconds: float = 0.0) -> None:
        """Accept clients, read their lines, and answer those that only ask.

        Wait up to *seconds* for the first of these. Never raises for what a client does.
        """
        if not self._is_open:
            return
        try:
            ready = self._selector.select(seconds)
        except OSError as error:
            _log.debug("the control socket cannot be polled: %s", error)
            return
        has_waited_lines = any(client.has_line for client in self._clients)
        if not ready and not has_waited_lines:
            return
        for key, mask in ready:
            client: ClientConnection | None = key.data
            if client is None:
                self._accept()
            elif mask & selectors.EVENT_WRITE:
                client.flush()
            if client is not None and mask & selectors.EVENT_READ:
                client.receive()
        for client in list(self._clients):
            self._read_lines(client)
            self._watch(client)

    def publish(self, line: bytes) -> None:
        """Send a line to all clients that have asked for events."""
        for client in list(self._clients):
            if client.is_subscribed:
                client.send(line)
                self._watch(client)

    def answer(self, client: ClientConnection, number: int, result: Mapping[str, object]) -> None:
        """Answer request *number* with its result."""
        self.send(client, {"id": number, "ok": True, "result": result})

    def refuse(self, client: ClientConnection, number: int | None, error: LensLinkError) -> None:
        """Answer request *number* with an error."""
        self.send(client, {"id": number, "ok": False, "error": encode_error(error)})

    def send(self, client: ClientConnection, message: Mapping[str, object]) -> None:
        """Send *message* to a client, unless the client has left."""
        client.send(encode_line(message))
        self._watch(client)

    def close(self) -> None:
        """Drop all clients, and remove the socket. Idempotent; never raises."""
        if not self._is_open:
            return
        self._is_open = False
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self.path.unlink()
        for client in self._clients:
            client.close("the owner ends")
            control_socket.close(client.socket)
        self._clients.clear()
        with contextlib.suppress(OSError):
            self._selector.close()
        control_socket.close(self._listener)

    # --- clients ----------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # the client has left again, or there are no descriptors
            _log.debug("no client was accepted: %s", error)
            return
        client = ClientConnection(connection)
        try:
            connection.setblocking(False)
            if not control_socket.is_same_user(connection):
                client.close("it belongs to another user")
            elif len(self._clients) >= MAX_CLIENTS:
                busy = DeviceBusy(f"{MAX_CLIENTS} processes control the module, the most it takes")
                self.refuse(client, None, busy)
                client.close("there are too many clients")
            else:
                self._selector.register(connection, selectors.EVENT_READ, client)
        except (OSError, ValueError) as error:
            client.close(str(error))
        if client.is_open:
            self._clients.append(client)
            _log.debug("client %d has come", connection.fileno())
        else:
            control_socket.close(connection)

    def _watch(self, client: ClientConnection) -> None:
        """Wait for what the client needs next, or forget a client that has left."""
        if client not in self._clients:
            return
        if not client.is_open:
            self._clients.remove(client)
            with contextlib.suppress(OSError, KeyError, ValueError):
                self._selector.unregister(client.socket)
            control_socket.close(client.socket)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.has_unsent else 0)
        if self._selector.get_key(client.socket).events != events:
            with contextlib.suppress(OSError, KeyError, ValueError):
                self._selector.modify(client.socket, events, client)

    def _read_lines(self, client: ClientConnection) -> None:
        for _ in range(_LINES_A_TURN):
            line = client.take_line() if client.is_open else None
            if line is None:
                return
            if len(line) >= MAX_LINE:
                self.refuse(client, None, UsageError(f"the line is longer than {MAX_LINE} bytes"))
                client.close("its line is too long")
                return
            self._read_line(client, line)

    def _read_line(self, client: ClientConnection, line: bytes) -> None:
        number: int | None = None
        try:
            message = decode_line(line)
            number = read_id(message)
            command = read_command(message)
            match command:
                case AskState():
                    self.answer(client, number, self._describe())
                case Subscribe():
                    client.is_subscribed = True
                    self.answer(client, number, {})
                    for each in self._list_events():
                        client.send(each)
                case _:
                    self._keep(WaitingCommand(client, number, command))
        except LensLinkError as error:
            self.refuse(client, number, error)

    def _keep(self, waiting: WaitingCommand) -> None:
        if waiting.client.waiting_commands >= MAX_WAITING:
            raise DeviceBusy(
                f"{MAX_WAITING} requests of this client wait already: read the answers"
            )
        waiting.client.waiting_commands += 1
        self._waiting.append(waiting)
