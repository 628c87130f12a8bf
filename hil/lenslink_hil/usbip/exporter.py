"""The USB/IP server as a child process, and the cables that boards are plugged into it with.

A virtual board and the emulated Pico each have an exporter of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, StorageError
from lenslink.runtime import make_scratch_dir

from .server_address import Address

_END_S: Final = 2.0


class Exporter:
    """A USB/IP server of one's own; :attr:`address` is where its clients connect.

    Args:
        listener: the listening socket for clients; None for a socket in a private folder.
        rate: bounds each board's bulk data, in bytes a second; 0 is no bound.
    """

    def __init__(self, listener: socket.socket | None = None, rate: float = 0.0) -> None:
        """Start the server's process."""
        self._counts = {"boards": 0, "hosts": 0}
        self._partial_line = b""
        self._folder = make_scratch_dir("usb")
        folder = Path(self._folder.name)
        self._cables = str(folder / "cables")
        try:
            with contextlib.ExitStack() as stack:
                cables = stack.enter_context(listen_at(self._cables))
                if listener is None:
                    self.address: Address = str(folder / "hosts")
                    listener = stack.enter_context(listen_at(self.address))
                else:
                    self.address = listener.getsockname()[:2]
                self._server = start_server(listener, cables, rate)
        except OSError as error:
            self._folder.cleanup()
            raise StorageError(
                f"cannot serve the board in {folder}: {error.strerror or error}"
            ) from None
        except BaseException:
            self._folder.cleanup()
            raise

    def connect_cable(self) -> socket.socket:
        """Plug in a cable and return the board's end; RigError if the server is gone."""
        cable = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            cable.connect(self._cables)
        except OSError:
            cable.close()
            raise RigError("the USB/IP server is gone") from None
        return cable

    def wait_for(self, is_wanted: Callable[[dict[str, int]], bool], deadline: Deadline) -> None:
        """Wait until *is_wanted* holds for the counts of the server.

        The counts are ``boards``, those that are attached, and ``hosts``, those that have one.

        Raises:
            RigError: the server has ended.
            Timeout: the deadline has passed.
        """
        output = self._server.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not is_wanted(self._counts):
                if not selector.select(deadline.remaining()):
                    deadline.check()
                    continue
                piece = os.read(output.fileno(), 65536)
                if not piece:
                    raise RigError("the USB/IP server has ended")
                *lines, self._partial_line = (self._partial_line + piece).split(b"\n")
                if lines:
                    self._counts = json.loads(lines[-1])

    def close(self) -> None:
        """End the server. Idempotent; never raises."""
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._server.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        with contextlib.suppress(OSError):
            self._folder.cleanup()


def listen_at(path: str) -> socket.socket:
    """Return a Unix socket that listens at *path*."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    return listener


def start_server(
    hosts: socket.socket, boards: socket.socket, rate: float
) -> subprocess.Popen[bytes]:
    """Start the server's process: see :mod:`lenslink_hil.usbip.__main__`."""
    descriptors = (hosts.fileno(), boards.fileno())
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "lenslink_hil.usbip",
            "--hosts-fd",
            str(descriptors[0]),
            "--boards-fd",
            str(descriptors[1]),
            "--rate",
            str(rate),
        ],
        pass_fds=descriptors,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
