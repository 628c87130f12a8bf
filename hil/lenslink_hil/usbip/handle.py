"""The driver's handle of a USB/IP device: reads that wait in a queue, without libusb."""

from __future__ import annotations

import contextlib
import errno
from typing import Any, Final

import usb.core
import usb.util

from lenslink.transports.usb_handle import OnReadEnd

from . import client
from .setup_packet import ENDPOINT_HALT, StandardRequest

_ENDPOINT_OUT: Final = 0x02


class UsbIpHandle:
    """Implements :class:`lenslink.transports.usb_handle.UsbHandle` for a device of a server.

    Args:
        device: pyusb's device, of a :class:`~lenslink_hil.usbip.backend.UsbIpBackend`.
        connection: its transfers.
    """

    def __init__(self, device: Any, connection: client.Connection) -> None:
        self.speed: int | None = device.speed
        self._device = device
        self._connection = connection

    def claim(self, interface: int) -> None:
        """Configure the device. The client that has imported it has all its interfaces."""
        del interface
        self._device.get_active_configuration()

    def write(self, endpoint: int, data: memoryview, limit_ms: int) -> int:
        """Send; return the number of bytes that the device took within *limit_ms*."""
        return int(self._device.write(endpoint, data, limit_ms))

    def halt(self, endpoint: int) -> None:
        """Halt an endpoint."""
        request = StandardRequest.SET_FEATURE
        self._device.ctrl_transfer(_ENDPOINT_OUT, request, ENDPOINT_HALT, endpoint)

    def clear_halt(self, endpoint: int) -> None:
        """Clear an endpoint's halt."""
        self._device.clear_halt(endpoint)

    def make_read(self, endpoint: int, size: int, on_end: OnReadEnd) -> UsbIpRead:
        """Create a read of at most *size* bytes."""
        return UsbIpRead(self._connection, endpoint, size, on_end)

    def close(self) -> None:
        """Give the device back to the server. Idempotent; never raises."""
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(self._device)


class UsbIpRead:
    """Implements :class:`lenslink.transports.usb_handle.PendingRead`."""

    def __init__(
        self, connection: client.Connection, endpoint: int, size: int, on_end: OnReadEnd
    ) -> None:
        self.buffer = memoryview(bytearray(size))
        self._connection = connection
        self._endpoint = endpoint
        self._on_end = on_end
        self._transfer: client.Transfer | None = None

    def submit(self) -> None:
        """Start the read."""
        try:
            self._transfer = self._connection.submit_read(self._endpoint, self.buffer, self._end)
        except client.DeviceGone:
            raise OSError(errno.ENODEV, "the device is gone") from None

    def cancel(self) -> None:
        """Ask for the end of the read."""
        if self._transfer is not None:
            with contextlib.suppress(client.DeviceGone):
                self._connection.cancel(self._transfer)

    def _end(self, transfer: client.Transfer) -> None:
        self._on_end(transfer.actual_length, -transfer.status)
