"""An open USB device, as the lanes need it: asynchronous reads, writes, halts.

:class:`UsbHandle` is the interface. :class:`LibusbHandle` implements it for ``usb:`` on
python-libusb1, because pyusb has no asynchronous transfers. The benches ``usbip:`` and ``pico:``
have an implementation of their own, which bypasses the system's USB.

A method that fails raises OSError with an errno of the system: ENODEV when the device is gone or
was closed, EPIPE for a halted endpoint.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    import usb1

_CONTROL_MS: Final = 1000
_TO_ENDPOINT: Final = 0x02
_SET_FEATURE: Final = 3
_ENDPOINT_HALT: Final = 0
_JOIN_S: Final = 2.0
_RETRY_S: Final = 0.01

_log = logging.getLogger(__name__)

OnReadEnd: TypeAlias = Callable[[int, int], None]
"""Takes the result of a read: the number of bytes, and an errno or 0. Both may be set.

The handle calls it once for each submission, in the handle's own thread. It must not block.
"""


class PendingRead(Protocol):
    """A read of one bulk IN endpoint, which can be submitted again after its end."""

    @property
    def buffer(self) -> memoryview:
        """Where the bytes go. They are valid from the read's end until it is submitted again."""

    def submit(self) -> None:
        """Start the read. It has no time limit. Raise OSError if it cannot start."""

    def cancel(self) -> None:
        """Ask for the end of the read. It may still end with bytes."""


class UsbHandle(Protocol):
    """An open device. Reads of the same endpoint end in the order of their submission."""

    @property
    def speed(self) -> int | None:
        """Libusb's number of the negotiated speed; None or 0 if it is unknown."""

    def claim(self, interface: int) -> None:
        """Configure the device if it is not configured, and claim the interface."""

    def write(self, endpoint: int, data: memoryview, limit_ms: int) -> int:
        """Send; return the number of bytes that the device took within *limit_ms*."""

    def halt(self, endpoint: int) -> None:
        """Halt an endpoint, by which the module learns that the host does not use it."""

    def clear_halt(self, endpoint: int) -> None:
        """Clear an endpoint's halt, and reset its data toggles."""

    def make_read(self, endpoint: int, size: int, on_end: OnReadEnd) -> PendingRead:
        """Create a read of at most *size* bytes."""

    def close(self) -> None:
        """Close the device, and with it the reads that have not ended. Idempotent; never raises."""


class LibusbHandle:
    """Open the device at *address* of *bus* through libusb.

    A thread handles libusb's events. It calls the reads' *on_end*.
    """

    def __init__(self, bus: int, address: int) -> None:
        with _system_errors():
            self._context = _open_context()
            try:
                self._handle = _open_device(self._context, bus, address)
            except BaseException:
                self._context.close()
                raise
        self.speed: int | None = self._handle.getDevice().getDeviceSpeed()
        self._is_stopped = False
        self._events = threading.Thread(target=self._handle_events, name="usb events", daemon=True)
        self._events.start()

    def claim(self, interface: int) -> None:
        with self._use_device():
            if not self._handle.getConfiguration():
                first = next(iter(self._handle.getDevice().iterConfigurations()))
                self._handle.setConfiguration(first.getConfigurationValue())
            self._handle.claimInterface(interface)

    def write(self, endpoint: int, data: memoryview, limit_ms: int) -> int:
        import usb1

        with self._use_device():
            try:
                count: int = self._handle.bulkWrite(endpoint, bytes(data), limit_ms)
            except usb1.USBErrorTimeout as error:
                # The caller sends the rest, and not again what the device took.
                count = error.transferred
        return count

    def halt(self, endpoint: int) -> None:
        with self._use_device():
            self._handle.controlWrite(
                _TO_ENDPOINT, _SET_FEATURE, _ENDPOINT_HALT, endpoint, b"", _CONTROL_MS
            )

    def clear_halt(self, endpoint: int) -> None:
        with self._use_device():
            self._handle.clearHalt(endpoint)

    def make_read(self, endpoint: int, size: int, on_end: OnReadEnd) -> LibusbRead:
        return LibusbRead(self._handle.getTransfer(), endpoint, size, on_end)

    def close(self) -> None:
        import usb1

        if self._is_stopped:
            return
        self._is_stopped = True
        self._context.interruptEventHandler()
        self._events.join(_JOIN_S)
        with suppress(usb1.USBError):
            self._handle.close()
        with suppress(usb1.USBError):
            self._context.close()

    @contextmanager
    def _use_device(self) -> Iterator[None]:
        """Raise libusb's errors as OSError, and ENODEV once closed, where libusb would crash."""
        if self._is_stopped:
            raise OSError(errno.ENODEV, "the device was closed")
        with _system_errors():
            yield

    def _handle_events(self) -> None:
        import usb1

        while not self._is_stopped:
            try:
                self._context.handleEvents()
            except usb1.USBErrorInterrupted:
                continue
            except usb1.USBError as error:
                _log.debug("libusb's events: %s", error)
                time.sleep(_RETRY_S)


class LibusbRead:
    """A bulk transfer of libusb's; see :class:`PendingRead`."""

    def __init__(
        self, transfer: usb1.USBTransfer, endpoint: int, size: int, on_end: OnReadEnd
    ) -> None:
        memory = bytearray(size)
        self.buffer = memoryview(memory)
        self._transfer = transfer
        self._on_end = on_end
        transfer.setBulk(endpoint, memory, self._end, timeout=0)

    def submit(self) -> None:
        with _system_errors():
            self._transfer.submit()

    def cancel(self) -> None:
        import usb1

        # A transfer that has ended is not found.
        with _system_errors(), suppress(usb1.USBErrorNotFound):
            self._transfer.cancel()

    def _end(self, transfer: usb1.USBTransfer) -> None:
        self._on_end(transfer.getActualLength(), _ERRNO_OF_STATUS.get(transfer.getStatus(), 0))


# libusb_transfer_status: error, timed out, cancelled, stall, no device, overflow.
_ERRNO_OF_STATUS: Final = {
    1: errno.EIO, 2: errno.ETIMEDOUT, 3: errno.ECANCELED, 4: errno.EPIPE, 5: errno.ENODEV,
    6: errno.EOVERFLOW,
}  # fmt: skip
# libusb_error.
_ERRNO_OF_ERROR: Final = {
    -1: errno.EIO, -2: errno.EINVAL, -3: errno.EACCES, -4: errno.ENODEV, -5: errno.ENOENT,
    -6: errno.EBUSY, -7: errno.ETIMEDOUT, -8: errno.EOVERFLOW, -9: errno.EPIPE, -10: errno.EINTR,
    -11: errno.ENOMEM, -12: errno.ENOSYS,
}  # fmt: skip


@contextmanager
def _system_errors() -> Iterator[None]:
    """Raise libusb's errors as OSError."""
    import usb1

    try:
        yield
    except usb1.USBError as error:
        code = _ERRNO_OF_ERROR.get(error.value, errno.EPROTO)
        raise OSError(code, str(error)) from None


def _open_context() -> Any:
    """Open a context of the libusb that is installed with LensLink."""
    import libusb_package
    import usb1

    usb1.loadLibrary(ctypes.CDLL(str(libusb_package.get_library_path())))
    return usb1.USBContext().open()


def _open_device(context: Any, bus: int, address: int) -> Any:
    for device in context.getDeviceIterator(skip_on_error=True):
        if (device.getBusNumber(), device.getDeviceAddress()) == (bus, address):
            return device.open()
    raise OSError(errno.ENODEV, "the device is gone")
