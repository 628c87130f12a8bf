"""A board without hardware: a simulated module that keeps running when its hosts come and go.

``lenslink sim`` starts a new module for each host. A board on a rig runs on, and only its power
starts it anew. :class:`SimulatedBoard` is such a board. It listens on two Unix sockets: one is the
link, the other takes the commands that a power switch and a test need::

    command   effect                                             answer
    --------  -------------------------------------------------  -----------------
    on        the module starts, unless it runs                  on
    off       the module is killed; nobody can connect           off
    state     none                                               on or off
    unplug    as off, though the power stays on                  unplugged
    plug      the end of unplug: the module starts anew          plugged
    wedge     no byte passes, until the power was off            wedged

A module that ends by itself starts anew, as a board with a watchdog does.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError

from ..benches.sim import Module, start_module

_START_S: Final = 60.0
_POLL_S: Final = 0.1
_COMMAND_S: Final = 1.0
_PIECE: Final = 65536
_log = logging.getLogger(__name__)


class Relay:
    """Carries bytes between the module and the host that is connected at the moment.

    A side is read only while the other side takes what was read before. Without a host, what the
    module sends is dropped, as on a serial port that nobody has opened.
    """

    def __init__(self) -> None:
        self.host: socket.socket | None = None
        self.link: socket.socket | None = None
        self.is_wedged = False
        self._to_host = b""
        self._to_module = b""

    def list_waits(self) -> dict[socket.socket, int]:
        """Return the events to wait for."""
        waits: dict[socket.socket, int] = {}
        if self.is_wedged:
            return waits
        if self.host is not None:
            reading = 0 if self._to_module else selectors.EVENT_READ
            waits[self.host] = reading | (selectors.EVENT_WRITE if self._to_host else 0)
        if self.link is not None:
            reading = 0 if self._to_host else selectors.EVENT_READ
            waits[self.link] = reading | (selectors.EVENT_WRITE if self._to_module else 0)
        return {end: events for end, events in waits.items() if events}

    def move(self) -> bool:
        """Move what can be moved without waiting; return False if the module has ended."""
        if self.host is not None and not self._to_module:
            data = _receive(self.host)
            if data == b"":
                self.drop_host()
            self._to_module = data or b""
        if self.link is not None and not self._to_host:
            data = _receive(self.link)
            if data == b"":
                return False
            self._to_host = data or b"" if self.host is not None else b""
        if self.host is not None and self._to_host:
            self._to_host = _send(self.host, self._to_host)
        if self.link is not None and self._to_module:
            self._to_module = _send(self.link, self._to_module)
        return True

    def drop_host(self) -> None:
        """Close the host's connection."""
        if self.host is not None:
            self.host.close()
        self.host, self._to_host, self._to_module = None, b"", b""

    def close(self) -> None:
        """Close both ends."""
        self.drop_host()
        if self.link is not None:
            self.link.close()
        self.link, self.is_wedged = None, False


def _receive(end: socket.socket) -> bytes | None:
    """Return what is there; b"" if the other end has closed, None if nothing is there."""
    try:
        return end.recv(_PIECE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _send(end: socket.socket, data: bytes) -> bytes:
    """Send what fits, and return the rest; nothing is left for an end that has closed."""
    try:
        return data[end.send(data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""


class SimulatedBoard:
    """A board at the Unix socket *path*, whose power is switched at the socket *control*.

    *options* are those of a ``sim:`` URL. Raises :exc:`~lenslink.RigError` if a socket cannot be
    made.
    """

    def __init__(
        self, path: str, control: str, serial: str, options: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self._serial = serial
        self._options = dict(options or {})
        self._boot = 0
        self._is_on = False
        self._is_plugged = True
        self._module: Module | None = None
        self._listener: socket.socket | None = None
        self._relay = Relay()
        self._control_path = control
        self._control = _listen(control)

    def serve(self, stop: socket.socket) -> None:
        """Switch the board on, and serve until *stop* can be read."""
        try:
            self._set(is_on=True)
            while self._serve_once(stop):
                pass
        finally:
            self.close()

    def close(self) -> None:
        """End the module and remove the sockets. Idempotent."""
        self._is_on = False
        self._follow()
        self._control.close()
        with contextlib.suppress(OSError):
            Path(self._control_path).unlink()

    def _serve_once(self, stop: socket.socket) -> bool:
        waits = {**self._relay.list_waits(), stop: selectors.EVENT_READ}
        waits[self._control] = selectors.EVENT_READ
        if self._listener is not None:
            waits[self._listener] = selectors.EVENT_READ
        with selectors.DefaultSelector() as selector:
            for end, events in waits.items():
                selector.register(end, events)
            ready = {key.fileobj for key, _ in selector.select(_POLL_S)}
        if stop in ready:
            return False
        if self._control in ready:
            self._obey()
        if self._listener in ready:
            self._accept()
        if not self._relay.is_wedged and not self._relay.move():
            _log.debug("board %s: the module has ended", self.path)
            self._stop_module()
            self._follow()
        return True

    def _obey(self) -> None:
        connection, _ = self._control.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_COMMAND_S)
            command = connection.recv(256).decode("ascii", "replace").strip()
            try:
                answer = self._run(command)
            except LensLinkError as error:
                answer = str(error)
            connection.sendall(f"{answer}\n".encode())

    def _run(self, command: str) -> str:
        if command in ("on", "off"):
            self._set(is_on=command == "on")
        elif command in ("unplug", "plug"):
            self._is_plugged = command == "plug"
            self._follow()
            return f"{command}ged"
        elif command == "wedge":
            self._relay.is_wedged = True
            return "wedged"
        elif command != "state":
            return f"unknown command '{command[:20]}'"
        return "on" if self._is_on else "off"

    def _set(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._follow()

    def _follow(self) -> None:
        """Start or end the module, as power and plug say."""
        has_power = self._is_on and self._is_plugged
        if has_power and self._module is None:
            self._start_module()
        elif not has_power:
            self._stop_module()
            if self._listener is not None:
                self._listener.close()
                self._listener = None
                with contextlib.suppress(OSError):
                    Path(self.path).unlink()

    def _start_module(self) -> None:
        ours, theirs = socket.socketpair()
        self._boot += 1
        try:
            with theirs:
                deadline = Deadline(_START_S, "starting the simulated board")
                self._module = start_module(
                    self._options, theirs, self._serial, deadline, boot=self._boot
                )
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._relay.link = ours
        if self._listener is None:
            self._listener = _listen(self.path)

    def _stop_module(self) -> None:
        self._relay.close()
        if self._module is not None:
            self._module.close()
            self._module = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        connection, _ = self._listener.accept()
        # Locks keep two hosts apart. So the last host has gone, and its end was not seen yet.
        self._relay.drop_host()
        connection.setblocking(False)
        self._relay.host = connection


def _listen(path: str) -> socket.socket:
    """Listen at a path. A socket that a killed process has left there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if Path(path).is_socket():
                _check_unused(path)
                Path(path).unlink()
        listener.bind(path)
        listener.listen()
    except OSError as error:
        listener.close()
        raise RigError(f"cannot listen at {path}: {error.strerror or error}") from None
    except RigError:
        listener.close()
        raise
    return listener


def _check_unused(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_COMMAND_S)
        with contextlib.suppress(OSError):
            probe.connect(path)
            raise RigError(f"another process listens at {path}")
