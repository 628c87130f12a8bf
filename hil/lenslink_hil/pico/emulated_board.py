"""An emulated Pico on a USB/IP server: the emulator's process, its pins, its flash."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, Timeout

from ..usbip.exporter import Exporter
from .micropython_image import Image, bootrom_path, load_image, with_files
from .setup import find_library, find_node

_END_S: Final = 2.0
_ANSWER_S: Final = 10.0
_CLOCK: Final = struct.Struct("<d")


class PicoBoard:
    """A board that is not plugged in yet.

    *on_flash* are its files. *wiring* connects its pins to a plant (pins.mjs has its form), at the
    other end of *pins*. *bus* is ``ideal`` or ``strict``, whose gaps have a *seed*; *start_us* is
    what its clock begins at. *listener* is where USB/IP clients connect; without, a socket in a
    private folder: :attr:`address`.
    """

    def __init__(
        self,
        on_flash: Mapping[str, bytes],
        *,
        wiring: Mapping[str, object] | None = None,
        pins: socket.socket | None = None,
        bus: str = "ideal",
        seed: int = 1,
        start_us: int = 0,
        listener: socket.socket | None = None,
    ) -> None:
        self.image: Image = load_image()
        self._node, self._library = find_node(), find_library()
        self._options = {"bus": bus, "seed": seed, "start_us": start_us, "pins": wiring}
        self._pins = pins
        self._files = dict(on_flash)
        self._process: subprocess.Popen[bytes] | None = None
        # Where the emulator writes its time, seconds, as it goes.
        with tempfile.TemporaryFile() as file:
            file.truncate(_CLOCK.size)
            self._clock_fd = os.dup(file.fileno())
            self._clock = mmap.mmap(file.fileno(), _CLOCK.size)
        self._before = 0.0
        self._messages: list[dict[str, Any]] = []
        self._line = b""
        self.pulled_us = 0
        """When its pull-up came on, in emulated microseconds."""
        self._exporter = Exporter(listener)
        self.address = self._exporter.address

    def plug(self, deadline: Deadline) -> None:
        """Power it: it boots, its pull-up comes on, and the host finds out what it is."""
        rom = bootrom_path()
        with tempfile.TemporaryDirectory(prefix="lenslink-pico-") as folder:
            flash = Path(folder) / "flash.bin"
            flash.write_bytes(with_files(self.image.flash, self._files))
            options = self._options | {
                "library": str(self._library),
                "flash": str(flash),
                "bootrom": str(rom) if rom else "",
            }
            with self._exporter.connect_cable() as cable:
                self._start(options, [cable] if self._pins is None else [cable, self._pins])
            try:
                self.pulled_us = self.event("pullup", deadline)
            except BaseException:
                self.unplug()
                raise
        try:
            self.event("attached", deadline)
            self._exporter.wait_for(lambda counts: counts["boards"] == 1, deadline)
        except BaseException:
            self.unplug()
            raise

    def _start(self, options: Mapping[str, object], ends: list[socket.socket]) -> None:
        numbers = [end.fileno() for end in ends]
        told = dict(options) | {"fds": numbers, "clock": self._clock_fd}
        with as_file(files(__package__)) as here:
            self._process = subprocess.Popen(
                [self._node, str(here / "emulator.mjs"), json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[*numbers, self._clock_fd],
                start_new_session=True,
            )

    # --- the emulator ---------------------------------------------------------------------

    def command(self, **command: object) -> None:
        """Tell the emulator something: see served.mjs for what it takes."""
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(command).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise RigError("the emulator has ended") from None

    def report(self) -> dict[str, Any]:
        """Emulated time, how much of it the core slept, and what the bus has seen."""
        self.command(report=True)
        deadline = Deadline(_ANSWER_S, "asking the emulator")
        found = self._until(lambda message: "report" in message, deadline)
        answer: dict[str, Any] = found["report"]
        return answer

    def now(self) -> float:
        """Emulated seconds, of all the times it was plugged in. Cheap; once closed, the last."""
        if self._clock.closed:
            return self._before
        seconds: float = _CLOCK.unpack_from(self._clock)[0]
        return self._before + seconds

    def event(self, name: str, deadline: Deadline) -> int:
        """Wait for an event; when it was, in emulated microseconds."""
        return int(self._until(lambda message: message.get("event") == name, deadline)["us"])

    def events(self) -> list[str]:
        """The names of those that have come and that nobody has waited for."""
        self.report()
        return [message["event"] for message in self._messages if "event" in message]

    def _until(
        self, wanted: Callable[[dict[str, Any]], bool], deadline: Deadline
    ) -> dict[str, Any]:
        output = self._running().stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                for at, message in enumerate(self._messages):
                    if message.get("event") == "stopped":
                        raise RigError(f"the emulated Pico has stopped: {message['reason']}")
                    if wanted(message):
                        del self._messages[at]
                        return message
                if not selector.select(deadline.remaining()):
                    raise Timeout(f"{deadline.what}: nothing from the emulator in time")
                piece = os.read(output.fileno(), 65536)
                if not piece:
                    raise RigError("the emulator has ended")
                *lines, self._line = (self._line + piece).split(b"\n")
                self._messages += [json.loads(line) for line in lines]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RigError("the emulated Pico is not plugged in")
        return self._process

    # --- the end --------------------------------------------------------------------------

    def wait_for(self, is_wanted: Callable[[dict[str, int]], bool], deadline: Deadline) -> None:
        """Wait until *is_wanted* holds for the server's ``boards`` (0 or 1) and ``hosts``."""
        self._exporter.wait_for(is_wanted, deadline)

    def unplug(self) -> None:
        """Pull the cable, which is its supply. Idempotent."""
        process, self._process = self._process, None
        self._messages, self._line = [], b""
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._before = self.now()
        _CLOCK.pack_into(self._clock, 0, 0.0)

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self.unplug()
        self._exporter.close()
        self._clock.close()
        if self._clock_fd >= 0:
            os.close(self._clock_fd)
            self._clock_fd = -1
