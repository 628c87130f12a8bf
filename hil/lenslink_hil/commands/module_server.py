"""Serves a simulated module: a new one for each host, one host at a time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
from collections.abc import Iterator, Mapping

from lenslink.cli.screen import Screen
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, UsageError
from lenslink.transports.socket import registry

from ..benches.sim import Module, start_module
from .socket_address import Listener

_POLL_S = 0.1


@contextlib.contextmanager
def registration(url: str, description: str, serial: str) -> Iterator[None]:
    """Within it, the module at *url* is found by :func:`lenslink.list_devices`."""
    entry = {"url": url, "description": description, "serial": serial, "pid": os.getpid()}
    path = registry() / f"{url.partition(':')[0]}-{os.getpid()}.json"
    # Whoever lists devices at this moment reads all of it or nothing.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(json.dumps(entry), encoding="utf-8")
        temporary.replace(path)
        yield
    finally:
        for file in (temporary, path):
            with contextlib.suppress(OSError):
                file.unlink()


class Server:
    """Starts a module for every host that connects to *listener*, with the *options* of ``sim:``.

    All of them have the same *serial*: they are one module that is switched on again and again.
    """

    def __init__(
        self,
        listener: Listener,
        options: Mapping[str, str],
        serial: str,
        timeout: float,
        screen: Screen,
    ) -> None:
        self._listener = listener
        self._options = options
        self._serial = serial
        self._timeout = timeout
        self._screen = screen
        self._boot = 0

    def check(self) -> None:
        """Start a module once: what is wrong with the options shows now, not to the first host."""
        ours, theirs = socket.socketpair()
        with ours:
            module = self._start(theirs)
            if module.note:
                self._screen.say(f"lenslink: {module.note}")
            module.close()
        self._boot = 0

    def registered(self) -> contextlib.AbstractContextManager[None]:
        """Within it, the module is found by :func:`lenslink.list_devices`."""
        description = f"simulated module ({self._options.get('scene', 'photo')})"
        return registration(self._listener.url, description, self._serial)

    def run(self) -> None:
        """Serve until an exception, a signal's for one, ends it."""
        server = self._listener.socket
        server.setblocking(False)
        module: Module | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            try:
                while True:
                    ready = selector.select(None if module is None else _POLL_S)
                    if module is not None and module.poll() is not None:
                        self._end(module)
                        module = None
                    if ready:
                        module = self._accept(module)
            finally:
                if module is not None:
                    module.close()

    def _accept(self, module: Module | None) -> Module | None:
        try:
            connection = self._listener.accept()
        except (OSError, Disconnected):  # it went away again
            return module
        if module is not None:
            # Hosts on this machine see the lock; one that does not is told at once.
            connection.close()
            self._screen.say_verbose("lenslink: refused a second host")
            return module
        try:
            started = self._start(connection)
        except UsageError:
            raise  # the scene was there when we started: the user has to know
        except LensLinkError as error:
            self._screen.say(f"lenslink: no module for this host: {error}")
            return None
        self._screen.say_verbose(f"lenslink: a host has opened the module (boot {self._boot})")
        return started

    def _start(self, link: socket.socket) -> Module:
        """A module at the other end of *link*, of which this process keeps nothing."""
        if link.family != getattr(socket, "AF_UNIX", None):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._boot += 1
        deadline = Deadline(self._timeout, "starting the module")
        with link:
            return start_module(self._options, link, self._serial, deadline, boot=self._boot)

    def _end(self, module: Module) -> None:
        self._screen.say_verbose(f"lenslink: the module was closed: {module.describe_end()}")
        module.close()
