"""A pyusb backend that speaks USB/IP: pyusb's and the driver's code run, the kernel's USB does not.

The errors are those that libusb has on Linux: errno 19 once the device is gone, 110 for a deadline
that passed, 32 for a halted endpoint, 16 for a device that another client has.
"""

from __future__ import annotations

import array
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import usb.backend
import usb.core

from . import client
from .descriptors import CONFIGURATION_BYTES, IN_FLAG, Descriptors, Malformed, parse
from .server_address import Address

_CONTROL_MS: Final = 5000
_FOREVER_S: Final = 3600.0
Pipe = tuple[int, memoryview | None, memoryview | None]
"""An endpoint, data to send, a buffer to receive into: one of the two."""

# libusb's own numbers, for whoever looks at backend_error_code.
_LIBUSB = {
    errno.EIO: -1, errno.ENODEV: -4, errno.ENOENT: -5, errno.EBUSY: -6, errno.ETIMEDOUT: -7,
    errno.EOVERFLOW: -8, errno.EPIPE: -9,
}  # fmt: skip


@dataclass(eq=False)
class UsbIpDevice:
    """A device of a server; ``connection`` while it is imported."""

    backend: UsbIpBackend
    listed: client.Listed
    connection: client.Connection | None = None
    descriptors: Descriptors | None = None


class UsbIpBackend(usb.backend.IBackend):  # type: ignore[misc]
    """The devices of the server at *address*; *seconds* bounds each step of reaching them."""

    def __init__(self, address: Address, seconds: float) -> None:
        super().__init__()
        self._address = address
        self._seconds = seconds

    def enumerate_devices(self) -> Iterator[UsbIpDevice]:
        """Raises OSError where there is no server."""
        for listed in client.list_devices(self._address, self._seconds):
            yield UsbIpDevice(self, listed)

    def get_parent(self, dev: UsbIpDevice) -> None:
        """There is none that could be reached."""
        del dev

    # --- descriptors ----------------------------------------------------------------------

    def get_device_descriptor(self, dev: UsbIpDevice) -> Any:
        """Of what the list tells, without importing."""
        device = dev.listed.device
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x0200,
            bDeviceClass=device.device_class, bDeviceSubClass=device.device_subclass,
            bDeviceProtocol=device.device_protocol, bMaxPacketSize0=64,
            idVendor=device.vendor, idProduct=device.product, bcdDevice=device.release,
            iManufacturer=1, iProduct=2, iSerialNumber=3,
            bNumConfigurations=device.configurations,
            address=device.devnum, bus=device.busnum, port_number=device.devnum,
            port_numbers=(device.devnum,), speed=device.speed,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: UsbIpDevice, config: int) -> Any:
        """Asked of the device, so it is imported."""
        if config:
            raise IndexError(config)
        return _described(self._descriptors(dev).configuration)

    def get_interface_descriptor(self, dev: UsbIpDevice, intf: int, alt: int, config: int) -> Any:
        """IndexError where there is none: so pyusb knows their number."""
        del config
        found = self._alternates(dev, intf)[alt]
        return _described(found.fields, bytes(found.extra))

    def get_endpoint_descriptor(
        self, dev: UsbIpDevice, ep: int, intf: int, alt: int, config: int
    ) -> Any:
        """The *ep*-th of the interface."""
        del config
        described = _described(self._alternates(dev, intf)[alt].endpoints[ep])
        described.bRefresh = described.bSynchAddress = 0
        return described

    def _alternates(self, dev: UsbIpDevice, index: int) -> list[Any]:
        interfaces = self._descriptors(dev).interfaces
        numbers = list(dict.fromkeys(each.fields.bInterfaceNumber for each in interfaces))
        return [each for each in interfaces if each.fields.bInterfaceNumber == numbers[index]]

    def _descriptors(self, dev: UsbIpDevice) -> Descriptors:
        """Read once; a device that nobody has opened is imported for that, and given back."""
        if dev.descriptors is None:
            opened = dev.connection is None
            self.open_device(dev)
            try:
                device = self._get(dev, 1, 18)
                head = self._get(dev, 2, CONFIGURATION_BYTES)
                total = int.from_bytes(head[2:4], "little")
                dev.descriptors = parse(device, self._get(dev, 2, total), {})
            except Malformed as error:
                raise _error(errno.EIO, f"descriptors: {error}") from None
            finally:
                if opened:
                    self.close_device(dev)
        return dev.descriptors

    def _get(self, dev: UsbIpDevice, kind: int, length: int) -> bytes:
        buffer = array.array("B", bytes(length))
        count = self.ctrl_transfer(dev, 0x80, 6, kind << 8, 0, buffer, 0)
        return buffer[:count].tobytes()

    # --- opening --------------------------------------------------------------------------

    def open_device(self, dev: UsbIpDevice) -> UsbIpDevice:
        """Import it."""
        if dev.connection is None:
            try:
                dev.connection = client.Connection(
                    self._address, dev.listed.device.busid, self._seconds
                )
            except client.Refused as error:
                raise _error(error.errno) from None
            except OSError as error:
                raise _error(errno.ENODEV, str(error)) from None
        return dev

    def close_device(self, dev_handle: UsbIpDevice) -> None:
        """Give it back."""
        if dev_handle.connection is not None:
            dev_handle.connection.close()
            dev_handle.connection = None

    def set_configuration(self, dev_handle: UsbIpDevice, config_value: int) -> None:
        """SET_CONFIGURATION."""
        self._request(dev_handle, 0x00, 9, config_value, 0)

    def get_configuration(self, dev_handle: UsbIpDevice) -> int:
        """GET_CONFIGURATION; a fresh device is given its first, as a kernel does."""
        buffer = array.array("B", [0])
        self.ctrl_transfer(dev_handle, 0x80, 8, 0, 0, buffer, 0)
        if not buffer[0]:
            value = self._descriptors(dev_handle).configuration.bConfigurationValue
            self.set_configuration(dev_handle, value)
            return int(value)
        return int(buffer[0])

    def set_interface_altsetting(self, dev_handle: UsbIpDevice, intf: int, altsetting: int) -> None:
        """SET_INTERFACE."""
        self._request(dev_handle, 0x01, 11, altsetting, intf)

    def claim_interface(self, dev_handle: UsbIpDevice, intf: int) -> None:
        """Nothing to do: whoever has imported the device has all of it."""

    def release_interface(self, dev_handle: UsbIpDevice, intf: int) -> None:
        """As claim_interface()."""

    def is_kernel_driver_active(self, dev_handle: UsbIpDevice, intf: int) -> bool:
        """There is no kernel between."""
        del dev_handle, intf
        return False

    def clear_halt(self, dev_handle: UsbIpDevice, ep: int) -> None:
        """CLEAR_FEATURE(ENDPOINT_HALT)."""
        self._request(dev_handle, 0x02, 1, 0, ep)

    def reset_device(self, dev_handle: UsbIpDevice) -> None:
        """A reset of the port, which usbip passes on as a request."""
        self._request(dev_handle, 0x23, 3, 4, 0)

    def _request(self, dev: UsbIpDevice, kind: int, request: int, value: int, index: int) -> None:
        self.ctrl_transfer(dev, kind, request, value, index, array.array("B"), 0)

    # --- transfers ------------------------------------------------------------------------

    def bulk_write(
        self, dev_handle: UsbIpDevice, ep: int, intf: int, data: array.array[int], timeout: int
    ) -> int:
        """Bytes that the device took before *timeout* ms were over; 0 is no timeout."""
        del intf
        return self._transfer(dev_handle, (ep, memoryview(data).cast("B"), None), timeout)

    def bulk_read(
        self, dev_handle: UsbIpDevice, ep: int, intf: int, buff: array.array[int], timeout: int
    ) -> int:
        """Bytes received before *timeout* ms were over; 0 is no timeout."""
        del intf
        return self._transfer(dev_handle, (ep, None, memoryview(buff).cast("B")), timeout)

    intr_write = bulk_write
    intr_read = bulk_read

    def ctrl_transfer(self, dev_handle: UsbIpDevice, *request: Any) -> int:
        """bmRequestType, bRequest, wValue, wIndex, an array of data, and a timeout in ms."""
        *fields, data, timeout = request
        view = memoryview(data).cast("B")
        setup = struct.pack("<BBHHH", *fields, len(view))
        out, into = (None, view) if fields[0] & IN_FLAG else (view, None)
        return self._transfer(dev_handle, (0, out, into), timeout or _CONTROL_MS, setup)

    def _transfer(self, dev: UsbIpDevice, what: Pipe, timeout: int, setup: bytes = bytes(8)) -> int:
        connection = dev.connection
        if connection is None:
            raise _error(errno.ENODEV)
        seconds = timeout / 1000 if timeout else _FOREVER_S
        try:
            transfer = connection.transfer(*what, seconds, setup)
        except client.Gone:
            raise _error(errno.ENODEV) from None
        if transfer.status:
            raise _error(-transfer.status)
        return transfer.length


def _described(fields: Any, extra: bytes = b"") -> SimpleNamespace:
    names = {name: value for name, value in fields.items() if not name.startswith("_")}
    return SimpleNamespace(**names, extra_descriptors=list(extra))


def _error(code: int, text: str = "") -> usb.core.USBError:
    kind = usb.core.USBTimeoutError if code == errno.ETIMEDOUT else usb.core.USBError
    return kind(text or os.strerror(code), _LIBUSB.get(code, -99), code)
