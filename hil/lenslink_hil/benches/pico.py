"""``pico:``: the firmware on an emulated Raspberry Pi Pico, over an emulated full-speed bus.

An unmodified MicroPython image runs on rp2040js. The firmware is on the emulated flash, and the
plant is connected to the pins. The board's USB is exported by USB/IP, and the driver's own USB code
opens it. Time is that of the emulated clock, which is several times slower than real time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lenslink.authentication import read_key_file
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, RigError, UsageError
from lenslink.transports.base import DeviceInfo, Reading, Transport
from lenslink.transports.usb import open_module
from lenslink.transports.usb_lanes import UsbTransport
from lenslink.url import Url
from lenslink_protocol.params import MAX_LANES

from ..pico.emulated_board import PicoBoard
from ..plant.body import ADC_MAX, ADC_REFERENCE_MV, VBUS_DIVIDER
from .board_profile import load_board
from .sim import (
    kill_plant,
    make_socket_pair,
    request_plant_report,
    send_plant_command,
    start_plant,
    wait_for_plant,
)
from .usbip import find_board

OPTIONS: Final[Mapping[str, str]] = {
    "bus": "ideal, a greedy host; or strict, with NAKs, bit stuffing, gaps and ends of frames",
    "key": "file with the module's key, 64 hexadecimal digits: it can prove that it is genuine",
    "lanes": "number of bulk IN endpoints for the link, 1 to 4",
    "scene": "prbs, the only one: the board's sensor is a generator",
    "width": "width of the sensor, even, 64 to 12288",
    "height": "height of the sensor, even, 64 to 8192",
    "bits": "bits of a pixel: 10, 12 or 14",
    "seed": "seed of the pattern and of the strict bus",
}

_BOARD: Final = "pico"
_BODY_ONLY: Final = {"scene": "prbs", "width": 64, "height": 64}
"""The plant's scene. It is never read: only the plant's body is wired to the board."""
# RP2040 datasheet, 4.9: channel 0 is GPIO 26, channel 4 is the chip's temperature.
_ADC_FIRST_GPIO: Final = 26
_ADC_TEMPERATURE: Final = 4
_CHIP_MV_AT_27C: Final = 706.0
_CHIP_UV_PER_C: Final = 1721.0
_TMP36_MV_AT_0C: Final = 500.0
_TMP36_MV_PER_C: Final = 10.0
_NUMBERS: Final = ("width", "height", "bits", "seed")
_BUSES: Final = ("ideal", "strict")
_serials = itertools.count(1)


class PicoModule:
    """An emulated Pico that runs the firmware, with the plant on its pins.

    Args:
        options: the options of a ``pico:`` URL.
        serial: the module's serial number.
        deadline: for starting all processes.
        cdc: the link goes over the board's serial port, without a USB interface of its own.
        start_us: where the emulated clock starts.
        more: options of :func:`~lenslink_hil.flash.board_files.board_files`.
        listener: where USB/IP clients connect; by default a socket of this process.
        is_plain: the board has MicroPython only.
        serial_port: a socket for the board's serial port (see :class:`.PicoBoard`).
        chip: the file that keeps the content of the flash chip (see :class:`.PicoBoard`).
    """

    def __init__(
        self,
        options: Mapping[str, str],
        serial: str,
        deadline: Deadline,
        *,
        cdc: bool = False,
        start_us: int = 0,
        more: Mapping[str, Any] | None = None,
        listener: socket.socket | None = None,
        is_plain: bool = False,
        serial_port: socket.socket | None = None,
        chip: Path | None = None,
    ) -> None:
        from ..flash.board_files import board_files

        url = Url("pico:", "pico", "", options)
        lanes, bus = url.integer("lanes") or 1, options.get("bus", _BUSES[0])
        if not 1 <= lanes <= MAX_LANES:
            raise UsageError(f"pico: lanes={lanes} is not 1 to {MAX_LANES}")
        if bus not in _BUSES:
            raise UsageError(f"pico: bus={bus} is neither ideal nor strict")
        if options.get("scene", "prbs") != "prbs":
            raise UsageError("pico: the sensor is a generator, so the scene can only be prbs")
        numbers = {key: url.integer(key) for key in _NUMBERS if key in options}
        seed = numbers.get("seed") or 0
        self.bus = bus
        self._stack = contextlib.ExitStack()
        try:
            # The plant needs a rows socket too, but nobody reads it here.
            _, rows = make_socket_pair(self._stack)
            pins, plant_pins = make_socket_pair(self._stack)
            self.plant: subprocess.Popen[bytes] = start_plant(_BODY_ONLY, [rows], plant_pins)
            self._stack.callback(kill_plant, self.plant)
            wait_for_plant(self.plant, deadline)
            transport = "cdc" if cdc else "usb"
            board_options: dict[str, Any] = {
                **numbers,
                **(more or {}),
                "serial": serial,
                "lanes": lanes,
                "transport": transport,
            }
            if "key" in options:
                board_options["key"] = read_key_file(options["key"])
            self.board = PicoBoard(
                {} if is_plain else board_files(_BOARD, board_options),
                wiring=make_wiring(load_board(_BOARD).pins),
                pins=pins,
                bus=bus,
                seed=seed + 1,
                start_us=start_us,
                listener=listener,
                serial_port=serial_port,
                chip=chip,
            )
            self._stack.callback(self.board.close)
            self.board.plug(deadline)
        except BaseException:
            self._stack.close()
            raise

    def command(self, **command: object) -> None:
        """Send a command to the plant; see :mod:`lenslink_hil.plant.plant_process`.

        The plant's time is the chip's.
        """
        send_plant_command(self.plant, command)

    def request_report(self, timeout: float = 60.0) -> dict[str, Any]:
        """Return the truth of the body; see :meth:`lenslink_hil.plant.body.Body.report`."""
        return request_plant_report(self.plant, Deadline(timeout, "the plant's report"))

    def reading(self) -> Reading:
        """Return the emulated clock, and the time in which the core did not sleep.

        Raises:
            Disconnected: the emulated chip has stopped.
        """
        try:
            report = self.board.request_report()
        except RigError as error:
            raise Disconnected(str(error)) from None
        now, slept = report["emulated_us"] / 1e6, report["slept_us"] / 1e6
        return Reading(now, "emulated", now - slept)

    def close(self) -> None:
        """End all processes. Idempotent; never raises."""
        self._stack.close()


def make_wiring(pins: Mapping[str, int]) -> dict[str, object]:
    """Return how the emulator connects the board's pins (boards/pico.toml) to the plant.

    Each ADC channel is [channel, factor, offset]. Factor and offset convert the plant's counts to
    the counts that the board's own circuit gives.
    """
    counts = ADC_MAX / ADC_REFERENCE_MV
    divider = pins["vbus_divider"]
    vbus = (
        pins["vbus_adc"] - _ADC_FIRST_GPIO,
        VBUS_DIVIDER / divider,
        -pins["vbus_drop_mv"] / divider * counts,
    )
    # From the plant's TMP36 to the chip's own sensor, whose voltage falls with temperature.
    slope = _CHIP_UV_PER_C / 1000 / _TMP36_MV_PER_C
    zero_mv = _CHIP_MV_AT_27C + 27 * _CHIP_UV_PER_C / 1000 + slope * _TMP36_MV_AT_0C
    return {
        "contacts": [
            [pins["power"], 1],
            [pins["contact"], 1],
            [pins["release"], 0],
            [pins["fault"], 0],
            [pins["end_stop"], 0],
        ],
        "enable": pins["enable"],
        "ring": [pins["ring_a"], pins["ring_b"]],
        "adc": [vbus, (_ADC_TEMPERATURE, -slope, zero_mv * counts)],
        "step": pins["step"],
        "direction": pins["dir"],
        "inputs": {str(pins["guard"]): 1},
    }


class PicoTransport(UsbTransport):
    """The driver's end of an emulated Pico, which it has started and owns."""

    private = True

    def __init__(self, module: PicoModule, *opened: Any) -> None:
        self.module = module
        super().__init__(*opened)
        self.line = replace(self.line, bus=module.bus, image_sha256=module.board.image.sha256)

    def now(self) -> float:
        """Return the emulated clock in seconds."""
        return self.module.board.now()

    def reading(self) -> Reading:
        """Return the emulated clock, and the time in which the core did not sleep."""
        return self.module.reading()

    def close(self) -> None:
        super().close()
        self.module.close()

    def _disconnect(self, why: str) -> Disconnected:
        # A chip that has stopped reports the reason.
        try:
            self.module.board.request_report()
        except LensLinkError as error:
            why = str(error)
        return super()._disconnect(why)


class BoardClocked:
    """Another transport to an emulated Pico, with the board's clock for the link's timers.

    >>> lenslink.open("serial:/dev/pts/3", wrap=lambda port: BoardClocked(port, module))
    """

    def __init__(self, transport: Transport, module: PicoModule) -> None:
        self._transport = transport
        self.now, self.reading = module.board.now, module.reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


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
        """Return nothing: an emulated Pico exists only while it is open."""
        return []


PICO = PicoOpener()
