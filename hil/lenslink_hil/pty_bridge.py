"""The serial port of a board without hardware: a pseudo-terminal that other programs open.

A simulated board (:mod:`.flash.pty_board`) and an emulated Pico (:mod:`.pico`) have one. The port
outlives a reset of its board.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from typing import Final

from lenslink.errors import UsageError

_PIECE: Final = 65536
_END_S: Final = 5.0
# A board drops what it sends once its host has not read for half a second.
_UNREAD_S: Final = 0.5


class PtyBridge:
    """Copies between the pseudo-terminal :attr:`port` and the socket :attr:`chip_end`.

    >>> bridge = PtyBridge()
    >>> bridge.chip_end.sendall(b"hello")  # a program at bridge.port reads it
    >>> bridge.close()

    The board's program is not on the terminal itself. An interpreter there would drop input
    whenever it changes the terminal's settings, which no board does.

    Raises:
        UsageError: the system has no pseudo-terminals.
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise UsageError("this board needs a pseudo-terminal, which Windows lacks")
        import tty

        self._master, self._slave = os.openpty()
        # Without an open slave, the master would read an error.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._host_end, self.chip_end = socket.socketpair()
        self._thread = threading.Thread(target=self._copy, name="board port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the copying and remove the port. Idempotent; never raises."""
        with contextlib.suppress(OSError):
            # The thread reads the end of the stream.
            self.chip_end.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END_S)
        self.chip_end.close()
        self._host_end.close()
        descriptors, self._master, self._slave = (self._master, self._slave), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _copy(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                host = self._host_end.fileno()
                ready, _, _ = select.select([self._master, host], [], [])
                if self._master in ready:
                    self._host_end.sendall(os.read(self._master, _PIECE))
                if host in ready:
                    data = self._host_end.recv(_PIECE)
                    if not data:
                        return
                    self._write_to_port(data)

    def _write_to_port(self, data: bytes) -> None:
        """Write what the board sends; drop it if no host reads it for a while, as a board does."""
        while data:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                if not select.select([], [self._master], [], _UNREAD_S)[1]:
                    return
