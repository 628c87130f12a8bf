"""The owner's end of one client's connection: lines in, lines out, all of them bounded.

:class:`.control_server.ControlServer` has one for each client. Nothing here waits: a client that
does not read its answers is dropped, and one that sends too much is read later.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

from .control_messages import MAX_LINE

MAX_UNSENT: Final = 65536
"""Bytes that may wait for a client to read them: hundreds of answers."""
_READ_BYTES: Final = 4096

_log = logging.getLogger(__name__)


class ClientConnection:
    """Lines from and to one client over *connection*, which is non-blocking and owned by this.

    ``is_open`` turns False when the client has left, broke the rules, or did not read.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.is_open = True
        self.is_subscribed = False
        """The client wants the module's Events."""
        self.waiting_commands = 0
        """Requests of the client that are neither carried out nor answered."""
        self._unread = bytearray()
        self._unsent = bytearray()

    @property
    def has_unsent(self) -> bool:
        """True if bytes wait for the client to read."""
        return bool(self._unsent)

    @property
    def has_line(self) -> bool:
        """True if a whole line has arrived that nobody has taken."""
        return b"\n" in self._unread

    def receive(self) -> None:
        """Read some of the bytes that are there, unless lines already wait to be taken."""
        if self.has_line or not self.is_open:
            return
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error))
            return
        if not data:
            self.close("it has left")
            return
        self._unread += data

    def take_line(self) -> bytes | None:
        """Return the next line without its end, or None if none has arrived.

        A longer line than allowed is returned as far as it has arrived. The caller must close the
        connection then.
        """
        end = self._unread.find(b"\n")
        if end < 0:
            return bytes(self._unread) if len(self._unread) > MAX_LINE else None
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def send(self, line: bytes) -> None:
        """Send a line, or keep it until the client reads."""
        if not self.is_open:
            return
        if len(self._unsent) + len(line) > MAX_UNSENT:
            self.close("it does not read its answers")
            return
        self._unsent += line
        self.flush()

    def flush(self) -> None:
        """Send as much of what waits as the client's buffer takes."""
        while self._unsent and self.is_open:
            try:
                count = self.socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as error:
                self.close(str(error))
                return
            del self._unsent[:count]

    def close(self, reason: str) -> None:
        """Close the connection; *reason* goes to the log. Idempotent; never raises."""
        if self.is_open:
            _log.debug("client %d is closed: %s", self.socket.fileno(), reason)
            self.is_open = False
