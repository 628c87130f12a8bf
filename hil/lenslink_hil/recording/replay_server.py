"""Serves the module of a recording to other programs, to each host from its beginning.

``lenslink replay --listen`` calls :func:`serve`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

from lenslink.cli.screen import Screen
from lenslink.errors import Disconnected

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
    silent: list[socket.socket] = []
    while True:
        with _wait_for_host(listener, silent) as connection:
            screen.say_verbose("lenslink: a host has opened the recording")
            with contextlib.suppress(OSError):
                play(connection, ModulePlayer(make(), speed))
            screen.say_verbose("lenslink: the host has left")


def _wait_for_host(listener: Listener, silent: list[socket.socket]) -> socket.socket:
    """Return the next connection whose host has sent a byte, so that no silent one blocks others.

    Connections that have sent nothing yet are kept in *silent*.
    """
    while True:
        with selectors.DefaultSelector() as selector:
            for each in (listener.socket, *silent):
                selector.register(each, selectors.EVENT_READ)
            readable = [key.fileobj for key, _ in selector.select()]
        for connection in [each for each in silent if each in readable]:
            silent.remove(connection)
            with contextlib.suppress(OSError):
                if connection.recv(1, socket.MSG_PEEK):
                    return connection
            connection.close()
        if listener.socket in readable:
            with contextlib.suppress(Disconnected):  # the host has left already
                silent.append(listener.accept())
        if len(silent) > _MAX_SILENT:
            silent.pop(0).close()


def play(connection: socket.socket, player: ModulePlayer) -> None:
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
            for _, ready in selector.select(None if peek is not None else min(wait, _IDLE_S)):
                if ready & selectors.EVENT_READ:
                    data = connection.recv(_READ_BYTES)
                    if not data:
                        return
                    player.receive(data, time.monotonic())
                if ready & selectors.EVENT_WRITE and peek is not None:
                    player.take(connection.send(peek[1]), time.monotonic())


def _drain(connection: socket.socket) -> None:
    """Wait until the host closes. Closing with unread bytes would discard what was sent."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    while connection.recv(_READ_BYTES):
        pass
