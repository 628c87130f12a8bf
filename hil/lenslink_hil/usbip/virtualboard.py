"""A virtual board: the firmware behind a stand-in for ``machine.USBDevice``, exported by USB/IP.

Three child processes: the firmware and its plant, as ``sim:`` has them, and the USB/IP server,
which is the cable and the bus. Unplugging is what it is to a board that is fed by USB: the
firmware dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError
from lenslink_protocol.params import MAX_LANES

from ..benches.board import load_board
from ..benches.sim import OPTIONS as SIM_OPTIONS
from ..benches.sim import Module, start_module
from .numbers import SPEED_FULL, SPEED_HIGH, Address

OPTIONS: Final[Mapping[str, str]] = {
    **SIM_OPTIONS,
    "lanes": "bulk IN endpoints that the link is spread over, 1 to 4",
    "speed": "of the bus: full (packets of 64 bytes) or high (of 512)",
}

_SPEEDS = {"full": SPEED_FULL, "high": SPEED_HIGH}
_END_S = 2.0


class VirtualBoard:
    """A board that is not plugged in yet; *options* are those of :data:`OPTIONS`.

    With *cdc* it has no interface of its own: the link goes over its serial port. *listener* is
    where USB/IP clients connect; without, a socket in a private folder: :attr:`address`.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        serial: str,
        *,
        cdc: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        self.serial = serial
        self.module: Module | None = None
        self.boots = 0
        profile = load_board(options.get("board", "sim"))
        self._usb = {"lanes": 0 if cdc else _lanes(options), "speed": _speed(options)}
        self._options = {key: value for key, value in options.items() if key != "speed"}
        self._state = {"boards": 0, "hosts": 0}
        self._line = b""
        self._folder = tempfile.TemporaryDirectory(prefix="lenslink-usb-")
        folder = Path(self._folder.name)
        self._cables = str(folder / "cables")
        try:
            with contextlib.ExitStack() as stack:
                cables = stack.enter_context(listening(self._cables))
                if listener is None:
                    self.address: Address = str(folder / "hosts")
                    listener = stack.enter_context(listening(self.address))
                else:
                    self.address = listener.getsockname()[:2]
                self._server = start_server(listener, cables, profile.limits.get("rate", 0))
        except BaseException:
            self._folder.cleanup()
            raise

    def plug(self, deadline: Deadline) -> None:
        """Power it: it boots, and its pull-up comes on."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as cable:
            try:
                cable.connect(self._cables)
            except OSError:
                raise RigError("the USB/IP server is gone") from None
            self.boots += 1
            self.module = start_module(
                self._options, cable, self.serial, deadline, boot=self.boots, usb=self._usb
            )
        try:
            self.wait(lambda state: state["boards"] == 1, deadline)
        except BaseException:
            self.unplug()
            raise

    def unplug(self) -> None:
        """Pull the cable, which is its supply. Idempotent."""
        if self.module is not None:
            self.module.close()
            self.module = None

    def wait(self, until: Callable[[dict[str, int]], bool], deadline: Deadline) -> None:
        """Until the server's ``boards`` (0 or 1) and ``hosts`` are as wanted."""
        output = self._server.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not until(self._state):
                if not selector.select(deadline.remaining()):
                    deadline.check()
                    continue
                piece = os.read(output.fileno(), 65536)
                if not piece:
                    raise RigError("the USB/IP server has ended")
                *lines, self._line = (self._line + piece).split(b"\n")
                if lines:
                    self._state = json.loads(lines[-1])

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self.unplug()
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


def listening(path: str) -> socket.socket:
    """A Unix socket that listens at *path*."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    return listener


def start_server(
    hosts: socket.socket, boards: socket.socket, rate: float
) -> subprocess.Popen[bytes]:
    """The server's process: see :mod:`lenslink_hil.usbip.__main__`."""
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


def _lanes(options: Mapping[str, str]) -> int:
    text = options.get("lanes", "1")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LANES:
        raise UsageError(f"usbip: lanes={text} is not 1 to {MAX_LANES}")
    return int(text)


def _speed(options: Mapping[str, str]) -> int:
    # An RP2040 has full speed.
    text = options.get("speed", "full" if options.get("board") == "pico" else "high")
    if text not in _SPEEDS:
        raise UsageError(f"usbip: speed={text} is neither full nor high")
    return _SPEEDS[text]
