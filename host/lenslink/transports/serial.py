"""Open ``serial:PORT``: a module whose USB is a serial port (CDC), through pyserial.

Linux' cdc_acm silently discards bytes that it cannot hand on in time. Therefore the host grants no
more credit than the system's buffer holds, and the module resends what is lost all the same.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lenslink_protocol.buffers import scatter

from ..deadline import Deadline
from ..errors import DeviceBusy, Disconnected, LensLinkError, NotFound, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo
from .os_errors import explain_os_error

WINDOW: Final = 24 << 10
"""Credit for each stream, in bytes.

Both streams and all other packets together stay below the tty's 64 KiB on Linux.
"""

_READ_BYTES: Final = 1 << 16
_BAUD: Final = 115200
"""A CDC port ignores the rate, but the system wants one."""

if sys.platform == "win32":
    _PORT_ERRORS: Final = (OSError, ValueError)
else:
    import termios

    # pyserial lets termios.error through, which is no OSError.
    _PORT_ERRORS: Final = (OSError, ValueError, termios.error)

_log = logging.getLogger(__name__)


class SerialTransport:
    """Send and receive over *port*, an open pyserial port that the transport owns.

    On POSIX the transport reads and writes the port's descriptor itself: pyserial waits with
    select(), which fails for descriptors above 1,023.
    """

    private = False
    note: str | None = None
    window: int | None = WINDOW

    def __init__(self, port: Any) -> None:
        self._port = port
        self._close_reason: str | None = None

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check_open()
        room = min(sum(len(buffer) for buffer in buffers), _READ_BYTES)
        try:
            return scatter(_read(self._port, room, max(0.0, seconds)), buffers)
        # An unplugged port raises SerialException, which is an OSError, or a plain OSError.
        except OSError as error:
            raise self._disconnect(error) from None

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._check_open()
        try:
            is_sent = _write(self._port, data, deadline)
        except OSError as error:
            raise self._disconnect(error) from None
        if not is_sent:
            raise Timeout(f"the module took no bytes for {deadline.seconds:g} s")

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


if sys.platform == "win32":

    def _read(port: Any, room: int, seconds: float) -> bytes:
        """Return up to *room* bytes; wait up to *seconds* for the first."""
        count = port.in_waiting
        first = b""
        if not count:
            port.timeout = seconds
            first = port.read(1)
            if not first:
                return b""
            count = port.in_waiting
        port.timeout = 0
        return bytes(first + port.read(min(count, room - len(first))))

    def _write(port: Any, data: bytes, deadline: Deadline) -> bool:
        """Write all of *data*; return False if the deadline passes first."""
        import serial

        try:
            port.write_timeout = max(0.001, deadline.remaining())
            port.write(data)
        except serial.SerialTimeoutException:
            return False
        return True

else:

    def _read(port: Any, room: int, seconds: float) -> bytes:
        """Return up to *room* bytes; wait up to *seconds* for the first."""
        if not _wait(port.fd, select.POLLIN, seconds):
            return b""
        try:
            data = os.read(port.fd, room)
        except BlockingIOError:
            return b""
        if not data:
            # The descriptor is readable, but the port is gone.
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data

    def _write(port: Any, data: bytes, deadline: Deadline) -> bool:
        """Write all of *data*; return False if the deadline passes first."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(port.fd, rest) :]
            except BlockingIOError:
                if not _wait(port.fd, select.POLLOUT, deadline.remaining()):
                    return False
        return True

    def _wait(descriptor: int, event: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(descriptor, event)
        return bool(poll.poll(seconds * 1000))


class SerialOpener:
    """Open ``serial:/dev/ttyACM0`` or ``serial:COM3``."""

    options: Mapping[str, str] = {
        "dtr": "level of the DTR line from the opening on, 0 or 1; some boards reset by it",
        "rts": "level of the RTS line, 0 or 1",
    }

    def open(self, url: Url, deadline: Deadline) -> SerialTransport:
        import serial

        if not url.path:
            raise UsageError("serial: needs a port, as in serial:/dev/ttyACM0 or serial:COM3")
        levels = {name: _get_level(url, name) for name in self.options}
        deadline.check()
        # The port is opened exclusively: two hosts on one port would each get half of the bytes.
        exclusive = None if sys.platform == "win32" else True
        try:
            port = serial.Serial(None, _BAUD, timeout=0, exclusive=exclusive)
            port.port = url.path
            for name, level in levels.items():
                if level is not None:
                    setattr(port, name, level)
            port.open()
        except _PORT_ERRORS as error:
            raise _explain_open_error(error, url) from None
        try:
            port.reset_input_buffer()
        except _PORT_ERRORS as error:
            port.close()
            raise _explain_open_error(error, url) from None
        return SerialTransport(port)

    def devices(self) -> list[DeviceInfo]:
        """Return no devices: nothing about a serial port tells a module from any other board."""
        return []


def _get_level(url: Url, name: str) -> bool | None:
    """Return the level of a control line that the URL asks for; None if it names none."""
    text = url.options.get(name)
    if text not in (None, "0", "1"):
        raise UsageError(f"serial: {name}={text} is neither 0 nor 1")
    return None if text is None else text == "1"


def _find_termios_errno(*errors: BaseException | None) -> int | None:
    """Return the errno of the first termios.error, which is no OSError; None without one."""
    for error in errors:
        if type(error).__module__ == "termios" and error is not None and error.args:
            return int(error.args[0])
    return None


def _explain_open_error(error: Exception, url: Url) -> LensLinkError:
    """Return the error to raise for *error*, with its cure."""
    code = getattr(error, "errno", None)
    if code is None:
        # pyserial puts only the text of termios.error into its own error.
        code = _find_termios_errno(error, error.__context__)
    if code == errno.ENOTTY:
        return NotFound(f"{url.text}: it is no serial port")
    text = str(error)
    if code == errno.EACCES or "Permission" in text or "Access is denied" in text:
        return NotFound(
            f"{url.text}: no permission; add yourself to the port's group: "
            "sudo usermod -aG dialout $USER (and log in again)"
        )
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return DeviceBusy(f"{url.text} is in use by another program")
    if code is not None:
        # pyserial's text repeats the errno and the path.
        return explain_os_error(url.text, OSError(code, os.strerror(code)))
    return NotFound(f"{url.text}: {error}")


SERIAL = SerialOpener()
