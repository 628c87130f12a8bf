"""Open ``serial:PORT``: a module whose USB is a serial port (CDC), through pyserial.

Linux' cdc_acm silently discards bytes that it cannot hand on in time. Therefore the host grants no
more credit than the system's buffer holds, and the module resends what is lost all the same.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lenslink_protocol.buffers import scatter

from ..deadline import Deadline
from ..errors import DeviceBusy, Disconnected, LensLinkError, NotFound, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo

WINDOW: Final = 24 << 10
"""Credit for each stream, in bytes.

Both streams and all other packets together stay below the tty's 64 KiB on Linux.
"""

_READ_BYTES: Final = 1 << 16
_BAUD: Final = 115200
"""A CDC port ignores the rate, but the system wants one."""

_log = logging.getLogger(__name__)


class SerialTransport:
    """Send and receive over *port*, an open pyserial port that the transport owns."""

    private = False
    note: str | None = None
    window: int | None = WINDOW

    def __init__(self, port: Any) -> None:
        self._port = port
        self._close_reason: str | None = None

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check_open()
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
        # An unplugged port raises SerialException from read(), and a plain OSError from in_waiting.
        except OSError as error:
            raise self._disconnect(error) from None
        return scatter(data, buffers)

    def send(self, data: bytes, deadline: Deadline) -> None:
        import serial

        self._check_open()
        try:
            self._port.write_timeout = max(0.001, deadline.remaining())
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise Timeout(f"the module took no bytes for {deadline.seconds:g} s") from None
        except OSError as error:
            raise self._disconnect(error) from None

    def close(self) -> None:
        self._close_reason = self._close_reason or "the module was closed"
        with contextlib.suppress(OSError):
            self._port.close()

    def _check_open(self) -> None:
        if self._close_reason is not None:
            raise Disconnected(self._close_reason)

    def _disconnect(self, error: OSError) -> Disconnected:
        """Close the port, and return the error to raise."""
        # pyserial reports an unplugged port with an errno or without. It is the same event.
        codes = (None, errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF)
        is_unplugged = error.errno in codes
        reason = "the module was unplugged" if is_unplugged else f"the serial port failed: {error}"
        _log.debug("%s (errno %s)", reason, error.errno)
        self._close_reason = reason
        self.close()
        return Disconnected(reason)


class SerialOpener:
    """Open ``serial:/dev/ttyACM0`` or ``serial:COM3``."""

    options: Mapping[str, str] = {}

    def open(self, url: Url, deadline: Deadline) -> SerialTransport:
        import serial

        if not url.path:
            raise UsageError("serial: needs a port, as in serial:/dev/ttyACM0 or serial:COM3")
        deadline.check()
        try:
            # The port is opened exclusively: two hosts on one port would each get half of the
            # bytes.
            port = serial.Serial(
                url.path, _BAUD, timeout=0, exclusive=None if sys.platform == "win32" else True
            )
            port.reset_input_buffer()
        except (OSError, ValueError) as error:
            raise _explain_open_error(error, url) from None
        return SerialTransport(port)

    def devices(self) -> list[DeviceInfo]:
        """Return no devices: nothing about a serial port tells a module from any other board."""
        return []


def _explain_open_error(error: Exception, url: Url) -> LensLinkError:
    """Return the error to raise for *error*, with its cure."""
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
