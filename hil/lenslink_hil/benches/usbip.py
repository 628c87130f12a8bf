"""``usbip:`` and ``usbip:HOST:PORT``: the driver's USB code over USB/IP, without the kernel."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping
from typing import Any

from lenslink.deadline import Deadline
from lenslink.errors import (
    Ambiguous,
    Disconnected,
    LensLinkError,
    NotFound,
    Timeout,
    UsageError,
)
from lenslink.transports.base import DeviceInfo
from lenslink.transports.registry import list_registered
from lenslink.transports.usb import UsbModule, explain_open_error, get_lanes_option, open_module
from lenslink.transports.usb_lanes import UsbTransport
from lenslink.url import Url, is_host, is_port
from lenslink_protocol.params import USB_PROTOCOL, USB_SUBCLASS

from ..usbip.firmware_board import OPTIONS, VirtualBoard
from ..usbip.server_address import PORT, Address

_SERIAL = "serial"
_END_S = 0.1
_serials = itertools.count(1)


class BoardTransport(UsbTransport):
    """The driver's end of a virtual board, which it has started and owns."""

    private = True

    def __init__(self, board: VirtualBoard, *opened: Any) -> None:
        self.board = board
        assert board.module is not None
        self.module = board.module
        self.note = board.module.note
        super().__init__(*opened)

    def close(self) -> None:
        super().close()
        self.board.close()

    def _disconnect(self, why: str) -> Disconnected:
        # The cable closes a moment before the process ends.
        with contextlib.suppress(LensLinkError, ValueError):
            self.module.wait(_END_S)
            why = self.module.describe_end()
        return super()._disconnect(why)


class UsbIpOpener:
    """Opens a virtual board; a named server takes the options ``lanes`` and ``serial`` only."""

    options: Mapping[str, str] = {
        **OPTIONS,
        _SERIAL: "serial number of the board, if a server has several",
    }

    def open(self, url: Url, deadline: Deadline) -> UsbTransport:
        if url.path:
            return self._open_server(url, deadline)
        board = VirtualBoard(
            {key: value for key, value in url.options.items() if key != _SERIAL},
            url.options.get(_SERIAL) or f"USBIP-{os.getpid()}-{next(_serials)}",
        )
        try:
            board.plug(deadline)
            found = find_board(board.address, "", url.text, deadline)
            return open_module(found, url.text, None, lambda *parts: BoardTransport(board, *parts))
        except BaseException:
            board.close()
            raise

    def _open_server(self, url: Url, deadline: Deadline) -> UsbTransport:
        host, _, port = url.path.rpartition(":") if ":" in url.path else (url.path, "", str(PORT))
        if not is_host(host.strip("[]")) or not is_port(port):
            raise UsageError("usbip: needs a host and a port, as in usbip:127.0.0.1:3240")
        others = sorted(url.options.keys() - {_SERIAL, "lanes"})
        if others:
            raise UsageError(
                f"{url.text}: {others[0]} is an option of the board, which its server has chosen"
            )
        address = (host.strip("[]"), int(port))
        found = find_board(address, url.options.get(_SERIAL, ""), url.text, deadline)
        return open_module(found, url.text, get_lanes_option(url))

    def devices(self) -> list[DeviceInfo]:
        """Return the boards that ``lenslink usbip`` serves; other servers are unknown."""
        return list_registered("usbip")


def find_board(address: Address, serial: str, shown: str, deadline: Deadline) -> UsbModule:
    """Import a module from a USB/IP server, the only one or the one with that serial number.

    Raises:
        Ambiguous: the server exports several modules, and *serial* is empty.
        NotFound: there is no server, or it exports no such module.
        Timeout: the server does not answer in time.
    """
    import usb.core
    import usb.util

    from ..usbip.backend import UsbIpBackend

    backend = UsbIpBackend(address, max(deadline.remaining(), 0.001))
    try:
        devices = [
            device
            for device in usb.core.find(find_all=True, backend=backend)
            if any(
                (each.cls, each.subclass, each.protocol) == (0xFF, USB_SUBCLASS, USB_PROTOCOL)
                for each in device._ctx.dev.exported.interfaces
            )
        ]
    except TimeoutError:
        raise Timeout(f"{shown}: no answer within {deadline.seconds:g} s") from None
    except OSError as error:
        raise NotFound(f"{shown}: {error.strerror or error}") from None
    if not serial and len(devices) > 1:
        raise Ambiguous(f"{shown}: {len(devices)} modules; name one by serial=")
    for device in devices:
        try:
            if not serial or device.serial_number == serial:
                return UsbModule(device, _find_interface(device))
        except usb.core.USBError as error:
            if not serial:
                raise explain_open_error(error, UsbModule(device, None), shown) from None
        usb.util.dispose_resources(device)
    raise NotFound(f"{shown}: no such module is exported")


def _find_interface(device: Any) -> Any:
    for interface in device[0]:
        kind = (
            interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol
        )  # fmt: skip
        if kind == (0xFF, USB_SUBCLASS, USB_PROTOCOL):
            return interface
    raise NotFound("the interfaces of the device are not those that the server lists")


USBIP = UsbIpOpener()
