"""``pico:``: the firmware on an emulated Raspberry Pi Pico, over an emulated full-speed bus.

An unmodified MicroPython image runs on rp2040js; our firmware is on its flash, the plant on its
pins. Its USB is exported by USB/IP, and the driver's own USB code opens it. Its time is the
emulated clock, several times slower than the world's when it works.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, UsageError
from lenslink.transports.base import DeviceInfo
from lenslink.transports.usb import open_module
from lenslink.transports.usblanes import UsbTransport
from lenslink.url import Url
from lenslink_protocol.params import MAX_LANES

from ..pico.picoboard import PicoBoard
from .board import Board, configuration, load_board
from .sim import kill_plant, plant_ready, socket_pair, start_plant
from .usbip import find_board

OPTIONS: Final[Mapping[str, str]] = {
    "bus": "ideal, a greedy host, or strict: NAKs, stuffed bits, gaps and a frame's end charged",
    "lanes": "bulk IN endpoints that the link is spread over, 1 to 4",
    "scene": "prbs: the board's sensor is a generator",
    "width": "of the sensor, even, 64 to 12288",
    "height": "of the sensor, even, 64 to 8192",
    "bits": "of a pixel, 10, 12 or 14",
    "cfa": "RGGB, GRBG, GBRG or BGGR",
    "mode": "the mode used unless another is asked for: preview, still, full, binned",
    "seed": "of the pattern, and of the strict bus",
}

_BOARD: Final = "pico"
_NUMBERS: Final = ("width", "height", "bits", "seed")
_BUSES: Final = ("ideal", "strict")
_serials = itertools.count(1)


class PicoModule:
    """An emulated Pico that runs the firmware, with the plant on its pins; *options* as a URL's.

    With *cdc* it has no interface of its own: the link goes over its serial port.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        serial: str,
        deadline: Deadline,
        *,
        cdc: bool = False,
        start_us: int = 0,
        listener: socket.socket | None = None,
    ) -> None:
        from ..flash.image import board_files

        url = Url("pico:", "pico", "", options)
        lanes, bus = url.integer("lanes") or 1, options.get("bus", _BUSES[0])
        if not 1 <= lanes <= MAX_LANES:
            raise UsageError(f"pico: lanes={lanes} is not 1 to {MAX_LANES}")
        if bus not in _BUSES:
            raise UsageError(f"pico: bus={bus} is neither ideal nor strict")
        profile = load_board(_BOARD)
        scene = _scene(url, profile)
        self._stack = contextlib.ExitStack()
        try:
            # The plant has rows too; here nobody reads them.
            _, rows = socket_pair(self._stack)
            pins, plant_pins = socket_pair(self._stack)
            self.plant: subprocess.Popen[bytes] = start_plant(scene, [rows], plant_pins)
            self._stack.callback(kill_plant, self.plant)
            ready = plant_ready(self.plant, deadline)
            told = configuration(profile, ready["sensor"], serial, 1)
            told |= {"usb": {"lanes": 0 if cdc else lanes}, "seed": scene.get("seed", 0)}
            self.board = PicoBoard(
                board_files(_BOARD, told),
                wiring=wiring(profile),
                pins=pins,
                bus=bus,
                seed=scene.get("seed", 0) + 1,
                start_us=start_us,
                listener=listener,
            )
            self._stack.callback(self.board.close)
            self.board.plug(deadline)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self._stack.close()


def _scene(url: Url, profile: Board) -> dict[str, Any]:
    if url.options.get("scene", "prbs") != "prbs":
        raise UsageError("pico: has a generator for a sensor: scene=prbs, or none")
    scene: dict[str, Any] = {"scene": "prbs", **profile.sensor}
    for key, value in url.options.items():
        if key not in ("bus", "lanes"):
            scene[key] = url.integer(key) if key in _NUMBERS else value
    return scene


def wiring(profile: Board) -> dict[str, object]:
    """The board's pins as the emulator connects them to the plant."""
    del profile
    return {}


class PicoTransport(UsbTransport):
    """The driver's end of an emulated Pico that it started itself, and owns."""

    private = True

    def __init__(self, module: PicoModule, device: Any, out: Any, ins: list[int]) -> None:
        self.module = module
        super().__init__(device, out, ins)

    def close(self) -> None:
        super().close()
        self.module.close()

    def _lost(self, why: str) -> Disconnected:
        with contextlib.suppress(LensLinkError):
            self.module.board.report()
        return super()._lost(why)


class PicoOpener:
    """``pico:`` with the options above."""

    options: Mapping[str, str] = OPTIONS

    def open(self, url: Url, deadline: Deadline) -> UsbTransport:
        if url.path:
            raise UsageError(f"pico: takes options only, as in pico:?lanes=2, not '{url.path}'")
        module = PicoModule(url.options, f"PICO-{os.getpid()}-{next(_serials)}", deadline)
        try:
            found = find_board(module.board.address, "", url.text, deadline)
            return open_module(found, url.text, None, lambda *parts: PicoTransport(module, *parts))
        except BaseException:
            module.close()
            raise

    def devices(self) -> list[DeviceInfo]:
        """None: an emulated Pico exists only while it is open."""
        return []


PICO = PicoOpener()
