"""Serves the module of a recording to other programs, to each host from its beginning.

``lenslink replay --listen`` calls :func:`serve`. There is one host at a time. The states of a
connection::

    state    event                                     next state
    -------  ----------------------------------------  ----------
    SILENT   the host sends a byte                     WAITING
    SILENT   the host closes, or 32 others connect     closed
    WAITING  no host is served                         SERVED
    WAITING  0.3 s pass while another host is served   closed (Hello is refused)
    SERVED   the host closes, or the recording ends    closed
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

from lenslink.cli.screen import Screen
from lenslink.errors import Disconnected

from ..commands.refusal import REFUSE_S, refuse_host
from ..commands.socket_address import Listener
from .module_player import ModulePlayer
from .script import ScriptMaker

_READ_BYTES = 65536
_IDLE_S = 0.1
_MAX_SILENT = 32


def serve(listener: Listener, make: ScriptMaker, speed: float, screen: Screen) -> None:
    """Serve one host after the other, until an exception ends the loop (Ctrl-C, for example).

    Args:
        listener: where hosts connect.
        make: returns a new script for each host.
        speed: 1 as recorded, 0 as fast as possible.
        screen: where ``-v`` reports hosts.
    """
    with contextlib.closing(Guests(listener, screen)) as guests:
        while True:
            with guests.wait_for_host() as connection:
                screen.say_verbose("lenslink: a host has opened the recording")
                with contextlib.suppress(OSError):
                    play(connection, ModulePlayer(make(), speed), guests)
                screen.say_verbose("lenslink: the host has left")


class Guests:
    """The connections to *listener* that are not served: SILENT and WAITING ones."""

    def __init__(self, listener: Listener, screen: Screen) -> None:
        self._listener = listener
        self._screen = screen
        self._silent: list[socket.socket] = []
        self._waiting: dict[socket.socket, float] = {}
        """The WAITING connections, the first at first, and when each began to wait."""
        self._looked = 0.0

    def wait_for_host(self) -> socket.socket:
        """Return the connection whose host sent a byte first, so that no silent one blocks."""
        while not self._waiting:
            self._look(None)
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        return connection

    def refuse_others(self) -> None:
        """Tell hosts that the module is busy. The caller serves a host, and calls this often."""
        now = time.monotonic()
        if now - self._looked < _IDLE_S:
            return
        self._looked = now
        self._look(0)
        for connection, since in list(self._waiting.items()):
            if now - since > REFUSE_S:
                del self._waiting[connection]
                with connection, contextlib.suppress(OSError):
                    connection.setblocking(False)
                    refuse_host(connection, connection.recv(4096, socket.MSG_PEEK))
                self._screen.say_verbose("lenslink: refused a second host")

    def close(self) -> None:
        """Close all connections that are not served."""
        for connection in (*self._silent, *self._waiting):
            connection.close()

    def _look(self, seconds: float | None) -> None:
        """Accept connections, and find those that send or end, for up to *seconds*."""
        with selectors.DefaultSelector() as selector:
            for each in (self._listener.socket, *self._silent):
                selector.register(each, selectors.EVENT_READ)
            readable = [key.fileobj for key, _ in selector.select(seconds)]
        for connection in [each for each in self._silent if each in readable]:
            self._silent.remove(connection)
            if _has_sent(connection):
                self._waiting[connection] = time.monotonic()
            else:
                connection.close()
        if self._listener.socket in readable:
            with contextlib.suppress(OSError, Disconnected):  # the host has left already
                self._silent.append(self._listener.accept())
        if len(self._silent) > _MAX_SILENT:
            self._silent.pop(0).close()


def _has_sent(connection: socket.socket) -> bool:
    """Return True if a connection that is readable has bytes, and not an end."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def play(connection: socket.socket, player: ModulePlayer, guests: Guests) -> None:
    """Play to one host, until it closes the connection or the recording ends."""
    connection.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            peek = player.peek(now)
            if peek is None and (0 in player.lane_ends or player.is_over(now)):
                _drain(connection)
                return
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peek is not None else 0)
            selector.modify(connection, events)
            wait = 0.0 if peek is not None else max(0.0, player.get_next_due(now) - now)
            for _, ready in selector.select(_IDLE_S if peek is not None else min(wait, _IDLE_S)):
                if ready & selectors.EVENT_READ:
                    data = connection.recv(_READ_BYTES)
                    if not data:
                        return
                    player.receive(data, time.monotonic())
                if ready & selectors.EVENT_WRITE and peek is not None:
                    player.take(connection.send(peek[1]), time.monotonic())
            guests.refuse_others()


def _drain(connection: socket.socket) -> None:
    """Wait until the host closes. Closing with unread bytes would discard what was sent."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    while connection.recv(_READ_BYTES):
        pass
