"""A pyusb backend that speaks USB/IP, in the place of libusb and of the kernel's USB.

pyusb calls it; it calls :mod:`~lenslink_hil.usbip.client`. The errors are those that libusb has on
Linux: errno 19 once the device is gone, 110 for a timeout, 32 for a halted endpoint, 16 for a
device that another client has.
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
from .descriptors import (
    CONFIGURATION_BYTES,
    CONFIGURATION_TYPE,
    DEVICE_BYTES,
    DEVICE_TYPE,
    IN_FLAG,
    Descriptors,
    Malformed,
    parse_descriptors,
)
from .handle import UsbIpHandle
from .server_address import Address
from .setup_packet import ENDPOINT_HALT, StandardRequest

_CONTROL_MS: Final = 5000
_FOREVER_S: Final = 3600.0
_DEVICE_IN: Final = 0x80
_DEVICE_OUT: Final = 0x00
_INTERFACE_OUT: Final = 0x01
_ENDPOINT_OUT: Final = 0x02
_PORT_OUT: Final = 0x23
_PORT_RESET: Final = 4

# libusb's own numbers, which pyusb keeps as backend_error_code.
_LIBUSB_CODES = {
    errno.EIO: -1, errno.ENODEV: -4, errno.ENOENT: -5, errno.EBUSY: -6, errno.ETIMEDOUT: -7,
    errno.EOVERFLOW: -8, errno.EPIPE: -9,
}  # fmt: skip


@dataclass(eq=False)
class UsbIpDevice:
    """A device of a server. ``connection`` is None while this process has not imported it."""

    backend: UsbIpBackend
    exported: client.ExportedDevice
    connection: client.Connection | None = None
    descriptors: Descriptors | None = None


class UsbIpBackend(usb.backend.IBackend):  # type: ignore[misc]
    """The devices of the server at *address*; *seconds* bounds each step of an import.

    >>> device = usb.core.find(backend=UsbIpBackend(("127.0.0.1", 3240), 5.0))
    """

    def __init__(self, address: Address, seconds: float) -> None:
        super().__init__()
        self._address = address
        self._seconds = seconds

    def enumerate_devices(self) -> Iterator[UsbIpDevice]:
        """Ask the server for its devices. Raise OSError if there is no server."""
        for exported in client.list_devices(self._address, self._seconds):
            yield UsbIpDevice(self, exported)

    def get_parent(self, dev: UsbIpDevice) -> None:
        """Return None, because the hub is the server's."""
        del dev

    # --- descriptors ----------------------------------------------------------------------

    def get_device_descriptor(self, dev: UsbIpDevice) -> Any:
        """Return the device descriptor, from the server's list. The device is not imported."""
        device = dev.exported.device
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
        """Return the configuration descriptor. Import the device to ask it."""
        if config:
            raise IndexError(config)
        return _as_namespace(self._read_descriptors(dev).configuration)

    def get_interface_descriptor(self, dev: UsbIpDevice, intf: int, alt: int, config: int) -> Any:
        """Return the interface descriptor. An IndexError tells pyusb that there are no more."""
        del config
        alternate = self._find_alternates(dev, intf)[alt]
        return _as_namespace(alternate.fields, bytes(alternate.extra))

    def get_endpoint_descriptor(
        self, dev: UsbIpDevice, ep: int, intf: int, alt: int, config: int
    ) -> Any:
        """Return the descriptor of the interface's *ep*-th endpoint."""
        del config
        descriptor = _as_namespace(self._find_alternates(dev, intf)[alt].endpoints[ep])
        descriptor.bRefresh = descriptor.bSynchAddress = 0
        return descriptor

    def _find_alternates(self, dev: UsbIpDevice, index: int) -> list[Any]:
        interfaces = self._read_descriptors(dev).interfaces
        numbers = list(dict.fromkeys(each.fields.bInterfaceNumber for each in interfaces))
        return [each for each in interfaces if each.fields.bInterfaceNumber == numbers[index]]

    def _read_descriptors(self, dev: UsbIpDevice) -> Descriptors:
        """Read the descriptors, once. Import a device that is not open, and release it again."""
        if dev.descriptors is None:
            was_closed = dev.connection is None
            self.open_device(dev)
            try:
                device = self._get_descriptor(dev, DEVICE_TYPE, DEVICE_BYTES)
                head = self._get_descriptor(dev, CONFIGURATION_TYPE, CONFIGURATION_BYTES)
                total = int.from_bytes(head[2:4], "little")
                configuration = self._get_descriptor(dev, CONFIGURATION_TYPE, total)
                dev.descriptors = parse_descriptors(device, configuration, {})
            except Malformed as error:
                raise _build_error(errno.EIO, f"descriptors: {error}") from None
            finally:
                if was_closed:
                    self.close_device(dev)
        return dev.descriptors

    def _get_descriptor(self, dev: UsbIpDevice, kind: int, length: int) -> bytes:
        buffer = array.array("B", bytes(length))
        request = StandardRequest.GET_DESCRIPTOR
        count = self.ctrl_transfer(dev, _DEVICE_IN, request, kind << 8, 0, buffer, 0)
        return buffer[:count].tobytes()

    # --- opening --------------------------------------------------------------------------

    def open_device(self, dev: UsbIpDevice) -> UsbIpDevice:
        """Import the device."""
        if dev.connection is None:
            try:
                dev.connection = client.Connection(
                    self._address, dev.exported.device.busid, self._seconds
                )
            except client.ImportRefused as error:
                raise _build_error(error.errno) from None
            except OSError as error:
                raise _build_error(errno.ENODEV, str(error)) from None
        return dev

    def open_handle(self, device: usb.core.Device) -> UsbIpHandle:
        """Open pyusb's *device* for the driver."""
        device._ctx.managed_open()
        connection = device._ctx.handle.connection
        assert connection is not None
        return UsbIpHandle(device, connection)

    def close_device(self, dev_handle: UsbIpDevice) -> None:
        """Give the device back to the server."""
        if dev_handle.connection is not None:
            dev_handle.connection.close()
            dev_handle.connection = None

    def set_configuration(self, dev_handle: UsbIpDevice, config_value: int) -> None:
        """Choose a configuration."""
        self._request(dev_handle, _DEVICE_OUT, StandardRequest.SET_CONFIGURATION, config_value, 0)

    def get_configuration(self, dev_handle: UsbIpDevice) -> int:
        """Return the configuration. If there is none, choose the first, as a kernel does."""
        buffer = array.array("B", [0])
        request = StandardRequest.GET_CONFIGURATION
        self.ctrl_transfer(dev_handle, _DEVICE_IN, request, 0, 0, buffer, 0)
        if not buffer[0]:
            value = self._read_descriptors(dev_handle).configuration.bConfigurationValue
            self.set_configuration(dev_handle, value)
            return int(value)
        return int(buffer[0])

    def set_interface_altsetting(self, dev_handle: UsbIpDevice, intf: int, altsetting: int) -> None:
        """Choose an alternate setting."""
        self._request(dev_handle, _INTERFACE_OUT, StandardRequest.SET_INTERFACE, altsetting, intf)

    def claim_interface(self, dev_handle: UsbIpDevice, intf: int) -> None:
        """Do nothing: the client that has imported a device has all its interfaces."""

    def release_interface(self, dev_handle: UsbIpDevice, intf: int) -> None:
        """Do nothing, as claim_interface()."""

    def is_kernel_driver_active(self, dev_handle: UsbIpDevice, intf: int) -> bool:
        """Return False, because no kernel is involved."""
        del dev_handle, intf
        return False

    def clear_halt(self, dev_handle: UsbIpDevice, ep: int) -> None:
        """Clear an endpoint's halt."""
        self._request(dev_handle, _ENDPOINT_OUT, StandardRequest.CLEAR_FEATURE, ENDPOINT_HALT, ep)

    def reset_device(self, dev_handle: UsbIpDevice) -> None:
        """Reset the bus, by the request that USB/IP has for that."""
        self._request(dev_handle, _PORT_OUT, StandardRequest.SET_FEATURE, _PORT_RESET, 0)

    def _request(self, dev: UsbIpDevice, kind: int, request: int, value: int, index: int) -> None:
        self.ctrl_transfer(dev, kind, request, value, index, array.array("B"), 0)

    # --- transfers ------------------------------------------------------------------------

    def bulk_write(
        self, dev_handle: UsbIpDevice, ep: int, intf: int, data: array.array[int], timeout: int
    ) -> int:
        """Send, and return how many bytes the device took within *timeout* ms; 0 is no limit."""
        del intf
        return self._transfer(dev_handle, ep, (memoryview(data).cast("B"), None), timeout)

    def bulk_read(
        self, dev_handle: UsbIpDevice, ep: int, intf: int, buff: array.array[int], timeout: int
    ) -> int:
        """Receive, and return how many bytes came within *timeout* ms; 0 is no limit."""
        del intf
        return self._transfer(dev_handle, ep, (None, memoryview(buff).cast("B")), timeout)

    intr_write = bulk_write
    intr_read = bulk_read

    def ctrl_transfer(self, dev_handle: UsbIpDevice, *request: Any) -> int:
        """Do a control transfer; return the number of bytes moved.

        *request* is bmRequestType, bRequest, wValue, wIndex, an array of data, and a timeout in ms.
        """
        *fields, data, timeout = request
        view = memoryview(data).cast("B")
        setup = struct.pack("<BBHHH", *fields, len(view))
        buffers = (None, view) if fields[0] & IN_FLAG else (view, None)
        return self._transfer(dev_handle, 0, buffers, timeout or _CONTROL_MS, setup)

    def _transfer(
        self,
        dev: UsbIpDevice,
        endpoint: int,
        buffers: tuple[memoryview | None, memoryview | None],
        timeout: int,
        setup: bytes = bytes(8),
    ) -> int:
        """Do a transfer. *buffers* are the data to send and the space to fill: one of the two."""
        connection = dev.connection
        if connection is None:
            raise _build_error(errno.ENODEV)
        seconds = timeout / 1000 if timeout else _FOREVER_S
        try:
            transfer = connection.transfer(endpoint, *buffers, seconds, setup)
        except client.DeviceGone:
            raise _build_error(errno.ENODEV) from None
        if transfer.status:
            raise _build_error(-transfer.status)
        return transfer.actual_length


def _as_namespace(fields: Any, extra: bytes = b"") -> SimpleNamespace:
    names = {name: value for name, value in fields.items() if not name.startswith("_")}
    return SimpleNamespace(**names, extra_descriptors=list(extra))


def _build_error(code: int, text: str = "") -> usb.core.USBError:
    kind = usb.core.USBTimeoutError if code == errno.ETIMEDOUT else usb.core.USBError
    return kind(text or os.strerror(code), _LIBUSB_CODES.get(code, -99), code)
