"""A board that sends back what it receives (usb_echo.py), on a USB/IP server of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import usb.core
import usb.util

from helpers.slowdown import patience
from lenslink.deadline import Deadline
from lenslink.transports.usb import load_libusb
from lenslink_hil.kernel import vhci
from lenslink_hil.usbip.backend import UsbIpBackend
from lenslink_hil.usbip.client import list_devices
from lenslink_hil.usbip.exporter import listen_at, start_server

from . import micropython_process

OUT, IN = 0x03, 0x83
WAIT_MS = 5000
_SERIAL = "ECHO"
_PLUG_S = patience(20.0)


class Bus:
    """A USB/IP server for one board at a time."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "hosts")
        self.cables = str(folder / "cables")
        with listen_at(self.address) as hosts, listen_at(self.cables) as boards:
            self.server = start_server(hosts, boards, 0)

    def wait_for_boards(self, boards: int) -> None:
        """Wait until so many boards are attached: the server prints each change."""
        assert self.server.stdout is not None
        while json.loads(self.server.stdout.readline())["boards"] != boards:
            pass

    def close(self) -> None:
        for pipe in (self.server.stdin, self.server.stdout):
            assert pipe is not None
            pipe.close()
        self.server.wait(5)


class EchoBoard:
    """The board. ``device`` is pyusb's: on our backend, or on libusb if *through_kernel*."""

    def __init__(self, bus: Bus, speed: int, through_kernel: bool) -> None:
        self.address = bus.address
        self._bus = bus
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as cable:
            cable.connect(bus.cables)
            cable.setblocking(False)
            self.firmware = subprocess.Popen(
                [
                    micropython_process.interpreter(),
                    micropython_process.TESTS / "helpers/usb_echo.py",
                    str(cable.fileno()),
                    str(speed),
                ],
                pass_fds=[cable.fileno()],
                env=micropython_process.environment(),
            )
        bus.wait_for_boards(1)
        [listed] = list_devices(bus.address, _PLUG_S)
        busid = listed.device.busid
        self._port = vhci.attach(bus.address, busid, _PLUG_S) if through_kernel else None
        if self._port is None:
            found = usb.core.find(find_all=True, backend=UsbIpBackend(self.address, 5))
            self.device = next(iter(found))
            self.device.set_configuration()
        else:
            self.device = _find_on_libusb()

    def write(self, data: bytes) -> int:
        return self.device.write(OUT, data, WAIT_MS)

    def read(self, length: int = 1 << 17, limit: int = WAIT_MS) -> bytes:
        return self.device.read(IN, length, limit).tobytes()

    def close(self) -> None:
        usb.util.dispose_resources(self.device)
        self.firmware.kill()
        self.firmware.wait()
        self._bus.wait_for_boards(0)
        if self._port is not None:
            vhci.wait_for(
                lambda: self._port not in vhci.list_used_ports(),
                Deadline(_PLUG_S, "detaching the board"),
            )


def _find_on_libusb() -> Any:
    deadline = Deadline(_PLUG_S, "attaching the board")
    vhci.wait_for(lambda: vhci.find_device(_SERIAL), deadline)
    backend = load_libusb()
    # libusb learns of the device by an event of the kernel, which may not have arrived yet.
    while True:
        for device in usb.core.find(find_all=True, backend=backend):
            if device.idVendor == 0x2E8A and device.serial_number == _SERIAL:
                return device
            usb.util.dispose_resources(device)
        deadline.check()
        time.sleep(0.01)
