"""A terminal for a board's serial port, where no kernel makes one: CDC-ACM in user space.

It does on a pseudo-terminal what Linux' cdc_acm does for /dev/ttyACM0. Tests open the terminal with
pyserial. When the board is unplugged, the terminal hangs up.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import struct
import threading
import tty
from typing import Any, Final

import usb.core
import usb.util

_CLASS_COMMUNICATION, _CLASS_DATA = 2, 10
_SET_LINE_CODING, _SET_CONTROL_LINE_STATE = 0x20, 0x22
_DTR_RTS: Final = 3
_READ_BYTES: Final = 4096
_WAIT_S: Final = 0.05
_JOIN_S: Final = 2.0


class Terminal:
    """The serial port of *device*, pyusb's, which it owns; open :attr:`path`."""

    def __init__(self, device: Any) -> None:
        """Open the device's serial port and start to copy bytes both ways."""
        self._device = device
        control, data = (_find_interface(device, c) for c in (_CLASS_COMMUNICATION, _CLASS_DATA))
        addresses = [endpoint.bEndpointAddress for endpoint in data]
        self._in = next(each for each in addresses if each & 0x80)
        self._out = next(each for each in addresses if not each & 0x80)
        coding = struct.pack("<IBBB", 115200, 0, 0, 8)
        number = control.bInterfaceNumber
        device.ctrl_transfer(0x21, _SET_LINE_CODING, 0, number, coding)
        device.ctrl_transfer(0x21, _SET_CONTROL_LINE_STATE, _DTR_RTS, number)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        # It stays open, so that the settings survive a host that closes and reopens the port.
        self._slave: int | None = slave
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"tty {name}", daemon=True)
            for name, target in (("in", self._copy_to_terminal), ("out", self._copy_to_board))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Hang up and release the device. Idempotent; never raises."""
        self._hang_up()
        for thread in self._threads:
            thread.join(_JOIN_S)
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(self._device)

    def _copy_to_terminal(self) -> None:
        buffer = array.array("B", bytes(_READ_BYTES))
        view = memoryview(buffer)
        try:
            while not self._ended.is_set():
                try:
                    count = self._device.read(self._in, buffer, int(_WAIT_S * 1000))
                except usb.core.USBTimeoutError:
                    continue
                rest = view[:count]
                while rest:
                    rest = rest[os.write(self._master, rest) :]
        except OSError:
            pass
        finally:
            self._hang_up()

    def _copy_to_board(self) -> None:
        try:
            while not self._ended.is_set():
                if not select.select([self._master], [], [], _WAIT_S)[0]:
                    continue
                try:
                    data = os.read(self._master, _READ_BYTES)
                except OSError as error:
                    if error.errno == errno.EIO:  # no program has the terminal open
                        continue
                    raise
                self._device.write(self._out, data, 1000)
        except OSError:
            pass
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        for descriptor in (self._slave, self._master):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


def _find_interface(device: Any, kind: int) -> Any:
    return next(each for each in device[0] if each.bInterfaceClass == kind)
