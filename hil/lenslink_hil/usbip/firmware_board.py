"""A virtual board: the firmware behind a stand-in for ``machine.USBDevice``, exported by USB/IP.

``usbip:`` and ``lenslink usbip`` use it. It has three child processes: the firmware and its plant,
as ``sim:`` has them, and the USB/IP server, which is the cable and the bus. USB is the board's
supply, so unplugging it kills the firmware.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import UsageError
from lenslink_protocol.params import MAX_LANES

from ..benches.board_profile import load_board
from ..benches.sim import OPTIONS as SIM_OPTIONS
from ..benches.sim import Module, start_module
from .exporter import Exporter
from .server_address import SPEED_FULL, SPEED_HIGH

OPTIONS: Final[Mapping[str, str]] = {
    **SIM_OPTIONS,
    "lanes": "bulk IN endpoints that the link is spread over, 1 to 4",
    "speed": "of the bus: full (packets of 64 bytes) or high (of 512)",
}

_SPEEDS = {"full": SPEED_FULL, "high": SPEED_HIGH}


class VirtualBoard:
    """A board that is not plugged in yet; :attr:`address` is where USB/IP clients connect.

    Args:
        options: those of :data:`OPTIONS`.
        serial: its serial number.
        cdc: whether the link goes over the serial port, without an interface of its own.
        device: whether the firmware has ``machine.USBDevice``.
        listener: the listening socket for clients; None for a socket in a private folder.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        serial: str,
        *,
        cdc: bool = False,
        device: bool = True,
        listener: socket.socket | None = None,
    ) -> None:
        self.serial = serial
        self.module: Module | None = None
        self.boots = 0
        profile = load_board(options.get("board", "sim"))
        self._usb = {
            "lanes": 0 if cdc else _parse_lanes(options),
            "speed": _parse_speed(options),
            "device": device,
        }
        self._options = {key: value for key, value in options.items() if key != "speed"}
        self._exporter = Exporter(listener, profile.limits.get("rate", 0))
        self.address = self._exporter.address

    def plug(self, deadline: Deadline) -> None:
        """Power the board, and wait until it has booted and attached."""
        # The server may not have noticed yet that the board was unplugged.
        self.wait_for(lambda counts: counts["boards"] == 0, deadline)
        with self._exporter.connect_cable() as cable:
            self.boots += 1
            self.module = start_module(
                self._options, cable, self.serial, deadline, boot=self.boots, usb=self._usb
            )
        try:
            self.wait_for(lambda counts: counts["boards"] == 1, deadline)
        except BaseException:
            self.unplug()
            raise

    def unplug(self) -> None:
        """Cut the board's supply: end the firmware and its plant. Idempotent."""
        if self.module is not None:
            self.module.close()
            self.module = None

    def wait_for(self, is_wanted: Callable[[dict[str, int]], bool], deadline: Deadline) -> None:
        """Wait until *is_wanted* holds for the server's ``boards`` (0 or 1) and ``hosts``."""
        self._exporter.wait_for(is_wanted, deadline)

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self.unplug()
        self._exporter.close()


def _parse_lanes(options: Mapping[str, str]) -> int:
    text = options.get("lanes", "1")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LANES:
        raise UsageError(f"usbip: lanes={text} is not 1 to {MAX_LANES}")
    return int(text)


def _parse_speed(options: Mapping[str, str]) -> int:
    # An RP2040 has full speed.
    text = options.get("speed", "full" if options.get("board") == "pico" else "high")
    if text not in _SPEEDS:
        raise UsageError(f"usbip: speed={text} is neither full nor high")
    return _SPEEDS[text]
