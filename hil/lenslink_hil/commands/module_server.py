"""Serve a simulated module: start a new one for each host, one host at a time.

``lenslink sim`` runs the :class:`Server`. A connection gets a module once its host has sent a
byte, so a silent connection blocks nobody. The states of a connection::

    state     event                                                next state
    --------  ---------------------------------------------------  ----------
    SILENT    the host sends a byte                                WAITING
    SILENT    10 s pass, or the host closes                        closed
    WAITING   there is no module                                   SERVED (a module is started)
    WAITING   the served host has gone, but its module has not     WAITING
    WAITING   the served host has been there for another 0.3 s     closed (Hello is refused)
    SERVED    the module ends, or 1 s passes after its host's end  closed
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import select
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lenslink.cli.screen import Screen
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, UsageError
from lenslink.transports.registry import get_registry_dir

from ..benches.sim import Module, start_module
from .refusal import REFUSE_S, refuse_host
from .socket_address import Listener

_POLL_S = 0.1
_SILENT_S = 10.0
# A module that does not end by itself after its host has gone is killed.
_END_S = 1.0
_MAX_GUESTS = 32
# Where the system has no POLLRDHUP, POLLHUP is always reported.
_HANGUP: int = getattr(select, "POLLRDHUP", 0)

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def registration(url: str, description: str, serial: str) -> Iterator[None]:
    """Let :func:`lenslink.list_devices` find the module at *url* while in the context."""
    entry = {"url": url, "description": description, "serial": serial, "pid": os.getpid()}
    path = get_registry_dir() / f"{url.partition(':')[0]}-{os.getpid()}.json"
    # A process that lists devices at this moment reads the whole file or none.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(json.dumps(entry), encoding="utf-8")
        temporary.replace(path)
        yield
    finally:
        for file in (temporary, path):
            with contextlib.suppress(OSError):
                file.unlink()


@dataclass
class _Guest:
    """A connection whose host has no module yet."""

    connection: socket.socket
    since: float = field(default_factory=time.monotonic)
    """The start of the state, in seconds."""
    is_waiting: bool = False
    """WAITING, otherwise SILENT."""

    def peek(self) -> bytes | None:
        """Return the bytes that the host has sent; b"" if it has closed, None if none have come."""
        try:
            return self.connection.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""


class _ServedHost:
    """A module that runs, and a watch on the connection of its host."""

    def __init__(self, module: Module, connection: socket.socket) -> None:
        self.module = module
        self._connection = connection
        self._hangup = select.poll()
        self._hangup.register(connection, _HANGUP)
        self._gone_since: float | None = None
        self.pidfd = _open_pidfd(module)
        """Readable once the module has ended; None where the system has no such descriptor."""

    @property
    def has_gone(self) -> bool:
        """True once the host has closed its connection."""
        return bool(self._hangup.poll(0))

    def is_overdue(self) -> bool:
        """Return True if the host has been gone for a second, and start that second."""
        if not self.has_gone:
            return False
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        return now - self._gone_since > _END_S

    def close(self) -> None:
        """End the module, and close the connection."""
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.module.close()
        self._connection.close()


class Server:
    """Start a module for every host that connects to *listener*, with the *options* of ``sim:``.

    All modules have the same *serial*: to hosts they are one module that is switched on again and
    again.
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
        self._guests: list[_Guest] = []
        self._served: _ServedHost | None = None
        self._selector = selectors.DefaultSelector()

    def check(self) -> None:
        """Start a module once, so that wrong options show now and not to the first host."""
        ours, theirs = socket.socketpair()
        with ours:
            module = self._start_module(theirs)
            if module.note:
                self._screen.say(f"lenslink: {module.note}")
            module.close()
        self._boot = 0

    def registered(self) -> contextlib.AbstractContextManager[None]:
        """Let :func:`lenslink.list_devices` find the module while in the context."""
        description = f"simulated module ({self._options.get('scene', 'photo')})"
        return registration(self._listener.url, description, self._serial)

    def run(self) -> None:
        """Serve until an exception, from a signal for example, ends it."""
        server = self._listener.socket
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select(self._choose_timeout()):
                    if key.fileobj is server:
                        self._accept()
                self._end_module_if_over()
                for guest in list(self._guests):
                    self._handle_guest(guest)
        finally:
            for guest in list(self._guests):
                self._dismiss(guest, "the server ends")
            if self._served is not None:
                self._served.close()
            self._selector.close()

    def _choose_timeout(self) -> float | None:
        is_watched = self._served is None or self._served.pidfd is not None
        return None if is_watched and not self._guests else _POLL_S

    # --- connections ------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection = self._listener.accept()
        except (OSError, Disconnected):  # the host has closed it already
            return
        connection.setblocking(False)
        guest = _Guest(connection)
        self._guests.append(guest)
        self._selector.register(connection, selectors.EVENT_READ)
        if len(self._guests) > _MAX_GUESTS:
            self._dismiss(self._guests[0], "there are too many connections")

    def _handle_guest(self, guest: _Guest) -> None:
        """Serve, refuse or dismiss a connection, or leave it as it is."""
        data = guest.peek()
        if data == b"":
            self._dismiss(guest, "the host has closed it")
            return
        if not guest.is_waiting:
            if data is None:
                if time.monotonic() - guest.since > _SILENT_S:
                    self._dismiss(guest, "the host sends nothing")
                return
            guest.is_waiting = True
            guest.since = time.monotonic()
            # From now on the connection stays readable until a module reads from it.
            self._selector.unregister(guest.connection)
        if self._served is None:
            self._guests.remove(guest)
            self._serve(guest.connection)
        elif not self._served.has_gone and time.monotonic() - guest.since > REFUSE_S:
            refuse_host(guest.connection, data or b"")
            self._dismiss(guest, "another host has the module")
            self._screen.say_verbose("lenslink: refused a second host")

    def _dismiss(self, guest: _Guest, reason: str) -> None:
        _log.debug("a connection is closed: %s", reason)
        self._guests.remove(guest)
        if not guest.is_waiting:
            self._selector.unregister(guest.connection)
        guest.connection.close()

    # --- the module -------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        watched = connection.dup()
        try:
            module = self._start_module(connection)
        except BaseException as error:
            watched.close()
            # The scene was there when the server started, so the user has to know.
            if isinstance(error, LensLinkError) and not isinstance(error, UsageError):
                self._screen.say(f"lenslink: no module for this host: {error}")
                return
            raise
        self._served = _ServedHost(module, watched)
        if self._served.pidfd is not None:
            self._selector.register(self._served.pidfd, selectors.EVENT_READ)
        self._screen.say_verbose(f"lenslink: a host has opened the module (boot {self._boot})")

    def _start_module(self, link: socket.socket) -> Module:
        """Start a module at the other end of *link*, and close this process's copy of *link*."""
        if link.family != getattr(socket, "AF_UNIX", None):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._boot += 1
        deadline = Deadline(self._timeout, "starting the module")
        with link:
            return start_module(self._options, link, self._serial, deadline, boot=self._boot)

    def _end_module_if_over(self) -> None:
        served = self._served
        if served is None or (served.module.poll() is None and not served.is_overdue()):
            return
        self._screen.say_verbose(f"lenslink: the module was closed: {served.module.describe_end()}")
        if served.pidfd is not None:
            self._selector.unregister(served.pidfd)
        served.close()
        self._served = None


def _open_pidfd(module: Module) -> int | None:
    try:
        return os.pidfd_open(module.firmware.pid)
    except (AttributeError, OSError):  # not Linux, or an old kernel
        return None
