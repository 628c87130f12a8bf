"""``serial:PORT``: a module whose USB is a serial port (CDC), through pyserial.

Linux' cdc_acm throws away what it cannot hand on in time, without a word: so no more is asked for
than the system holds, and what is lost all the same is sent again.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lenslink_protocol.buffers import scatter

from ..deadline import Deadline
from ..errors import DeviceBusy, Disconnected, LensLinkError, NotFound, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo

WINDOW: Final = 24 << 10
"""Of each stream: both, and what is not tiles, stay below the 64 KiB that Linux' tty holds."""

_READ_BYTES: Final = 1 << 16
_BAUD: Final = 115200
"""CDC has no rate; a port wants one."""


class SerialTransport:
    """An open port, which it owns."""

    private = False
    note: str | None = None
    window: int | None = WINDOW

    def __init__(self, port: Any) -> None:
        self._port = port
        self._gone: str | None = None

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check()
        try:
            count = self._port.in_waiting
            first = b""
            if not count:
                self._port.timeout = max(0.0, seconds)
                first = self._port.read(1)
                if not first:
                    return 0
                count = self._port.in_waiting
            room = sum(len(buffer) for buffer in buffers) - len(first)
            self._port.timeout = 0
            data = first + self._port.read(min(count, room, _READ_BYTES))
        # Unplugged: SerialException from a read, a plain OSError from in_waiting.
        except OSError as error:
            raise self._lost(error) from None
        return scatter(data, buffers)

    def send(self, data: bytes, deadline: Deadline) -> None:
        import serial

        self._check()
        try:
            self._port.write_timeout = max(0.001, deadline.remaining())
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise Timeout(f"the module took no bytes for {deadline.seconds:g} s") from None
        except OSError as error:
            raise self._lost(error) from None

    def close(self) -> None:
        self._gone = self._gone or "the module was closed"
        with contextlib.suppress(OSError):
            self._port.close()

    def _check(self) -> None:
        if self._gone is not None:
            raise Disconnected(self._gone)

    def _lost(self, error: OSError) -> Disconnected:
        # What pyserial says of an unplugged port has an errno, or none: it is the same event.
        known = error.errno in (None, errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF)
        self._gone = "the module was unplugged" if known else f"the serial port failed: {error}"
        self.close()
        return Disconnected(self._gone)


class SerialOpener:
    """``serial:/dev/ttyACM0``, ``serial:COM3``."""

    options: Mapping[str, str] = {}

    def open(self, url: Url, deadline: Deadline) -> SerialTransport:
        import serial

        if not url.path:
            raise UsageError("serial: needs a port, as in serial:/dev/ttyACM0 or serial:COM3")
        deadline.check()
        try:
            # Exclusive: two hosts on one port would each get half of the bytes.
            port = serial.Serial(
                url.path, _BAUD, timeout=0, exclusive=None if sys.platform == "win32" else True
            )
            port.reset_input_buffer()
        except (OSError, ValueError) as error:
            raise _opening_error(error, url) from None
        return SerialTransport(port)

    def devices(self) -> list[DeviceInfo]:
        """None: nothing about a serial port tells a module from any other board."""
        return []


def _opening_error(error: Exception, url: Url) -> LensLinkError:
    code = getattr(error, "errno", None)
    text = str(error)
    if code == errno.EACCES or "Permission" in text or "Access is denied" in text:
        return NotFound(
            f"{url.text}: no permission; add yourself to the port's group: "
            "sudo usermod -aG dialout $USER (and log in again)"
        )
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return DeviceBusy(f"{url.text} is in use by another program")
    return NotFound(f"{url.text}: {error}")


SERIAL = SerialOpener()
