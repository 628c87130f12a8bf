"""An emulated Pico on a USB/IP server of its own: it can be plugged in and unplugged.

``pico:`` (:mod:`lenslink_hil.benches.pico`) uses it. It writes the flash image, starts the emulator
and the server, and connects the two.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lenslink.deadline import Deadline
from lenslink.errors import RigError, StorageError, UsageError
from lenslink.runtime import make_scratch_dir

from ..usbip.exporter import Exporter
from .emulator_process import EmulatorClock, EmulatorProcess
from .micropython_image import FLASH_BYTES, Image, build_flash, find_bootrom, load_image
from .setup import find_library, find_node


class PicoBoard:
    """A board that is not plugged in yet; :attr:`address` is where USB/IP clients connect.

    Args:
        flash_files: the files on its flash, by path.
        wiring: connects its pins to a plant (plant_pins.mjs has the form); None for no plant.
        pins: the socket to that plant.
        bus: ``ideal`` or ``strict``.
        seed: of the gaps between packets on the strict bus.
        start_us: where its clock starts, in microseconds.
        listener: the listening socket for clients; None for a socket in a private folder.
        serial_port: a socket for the bytes of the board's serial port, which the emulator opens
            then; None leaves the port to the clients.
        chip: the file that stands for the flash chip and keeps its content. It is made with the
            image and *flash_files* if it is missing; None makes each supply begin with them.
    """

    def __init__(
        self,
        flash_files: Mapping[str, bytes],
        *,
        wiring: Mapping[str, object] | None = None,
        pins: socket.socket | None = None,
        bus: str = "ideal",
        seed: int = 1,
        start_us: int = 0,
        listener: socket.socket | None = None,
        serial_port: socket.socket | None = None,
        chip: Path | None = None,
    ) -> None:
        self.image: Image = load_image()
        self.pullup_us = 0
        """When the pull-up came on, in emulated microseconds."""
        self._node, self._library = find_node(), find_library()
        self._options = {"bus": bus, "seed": seed, "start_us": start_us, "pins": wiring}
        self._pins = pins
        self._files = dict(flash_files)
        self._serial_port = serial_port
        self._chip = chip
        if chip is not None:
            self._make_chip(chip)
        self._emulator: EmulatorProcess | None = None
        self._clock = EmulatorClock()
        self._exporter = Exporter(listener)
        self.address = self._exporter.address

    def plug(self, deadline: Deadline) -> None:
        """Power the board, and wait until it has booted and the server exports it."""
        # The server may not have noticed yet that the board was unplugged.
        self.wait_for(lambda counts: counts["boards"] == 0, deadline)
        rom = find_bootrom()
        with make_scratch_dir("pico") as folder:
            flash = self._chip or Path(folder) / "flash.bin"
            if self._chip is None:
                flash.write_bytes(self._build_flash())
            options = self._options | {
                "library": str(self._library),
                "flash": str(flash.absolute()),
                "keeps_flash": self._chip is not None,
                "bootrom": str(rom) if rom else "",
            }
            try:
                with self._exporter.connect_cable() as cable:
                    self._emulator = self._start_emulator(options, cable)
                # The emulator has read the flash image by then.
                self.pullup_us = self.wait_for_event("pullup", deadline)
            except BaseException:
                self.unplug()
                raise
        try:
            self.wait_for_event("attached", deadline)
            if self._serial_port is not None:
                self.wait_for_event("opened", deadline)
            self._exporter.wait_for(lambda counts: counts["boards"] == 1, deadline)
        except BaseException:
            self.unplug()
            raise

    def _start_emulator(
        self, options: Mapping[str, object], cable: socket.socket
    ) -> EmulatorProcess:
        sockets = [cable] if self._pins is None else [cable, self._pins]
        fds = [each.fileno() for each in sockets]
        clock = self._clock.descriptor
        options = {**options, "fds": fds, "clock": clock}
        inherited = [*fds, clock]
        if self._serial_port is not None:
            options["serial_fd"] = self._serial_port.fileno()
            inherited.append(self._serial_port.fileno())
        return EmulatorProcess(self._node, options, inherited)

    def _build_flash(self) -> bytes:
        """Return a new chip's content. Plain MicroPython makes its file system by itself."""
        return build_flash(self.image.flash, self._files) if self._files else self.image.flash

    def _make_chip(self, chip: Path) -> None:
        """Make the file of the flash chip if it is missing, and check its size."""
        try:
            if not chip.exists():
                chip.write_bytes(self._build_flash())
            if chip.stat().st_size != FLASH_BYTES:
                raise UsageError(f"{chip} is not a Pico's flash chip: it has not 2 MiB")
        except OSError as error:
            raise StorageError(f"{chip}: {error.strerror or error}") from None

    @property
    def emulator(self) -> EmulatorProcess:
        """The emulator that runs; RigError while the board is not plugged in."""
        if self._emulator is None:
            raise RigError("the emulated Pico is not plugged in")
        return self._emulator

    def send_command(self, **command: object) -> None:
        """Send a command to the emulator: emulator_commands.mjs has what it takes."""
        self.emulator.send_command(command)

    def request_report(self) -> dict[str, Any]:
        """Ask for emulated time, how much of it the core slept, and the counters of the bus."""
        return self.emulator.request_report()

    def wait_for_event(self, name: str, deadline: Deadline) -> int:
        """Wait for an event of the emulator and return its time, in emulated microseconds."""
        return self.emulator.wait_for_event(name, deadline)

    def list_events(self) -> list[str]:
        """Return the names of the emulator's events that nobody has waited for."""
        return self.emulator.list_events()

    def now(self) -> float:
        """Return the emulated seconds of all the times that the board was plugged in."""
        return self._clock.now()

    def wait_for(self, is_wanted: Callable[[dict[str, int]], bool], deadline: Deadline) -> None:
        """Wait until *is_wanted* holds for the server's ``boards`` (0 or 1) and ``hosts``."""
        self._exporter.wait_for(is_wanted, deadline)

    def unplug(self) -> None:
        """Cut the board's supply: end the emulator. Idempotent."""
        emulator, self._emulator = self._emulator, None
        if emulator is not None:
            emulator.close()
            self._clock.end_run()

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self.unplug()
        self._exporter.close()
        self._clock.close()
