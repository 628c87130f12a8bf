"""``usb:`` and ``usb:SERIAL``: a module's vendor interface, through pyusb and libusb.

A module is found by the class, subclass and protocol of its interface, and the major version in
bcdDevice: its VID and PID are its maker's. Its other interfaces, a serial port for one, stay with
whoever has them.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lenslink_protocol.params import (
    MAX_LANES,
    USB_PROTOCOL,
    USB_SUBCLASS,
    VERSION_MAJOR,
)

from ..deadline import Deadline
from ..errors import (
    Ambiguous,
    DeviceBusy,
    Disconnected,
    LensLinkError,
    NotFound,
    ProtocolError,
    RigError,
    VersionMismatch,
)
from ..lock import is_locked
from ..url import Url
from .base import DeviceInfo
from .usb_lanes import UsbTransport

T = TypeVar("T", bound=UsbTransport)

_CLASS_VENDOR: Final = 0xFF
_IN: Final = 0x80
_KIND: Final = 3
_BULK: Final = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A device with an interface that is a module's: pyusb's objects."""

    device: Any
    interface: Any

    @property
    def name(self) -> str:
        """VID:PID, as lsusb has it."""
        return f"{self.device.idVendor:04x}:{self.device.idProduct:04x}"

    def serial(self) -> str | None:
        """Its serial number; USBError where it cannot be read."""
        try:
            return str(self.device.serial_number)
        except ValueError:  # pyusb's word for a device whose strings may not be read
            raise _UNREADABLE from None


class _Unreadable(Exception):
    """Raised for a device that this user may not read."""


_UNREADABLE = _Unreadable()


def find_modules(backend: Any) -> Iterator[Found]:
    """Every device of *backend* that has a module's interface."""
    import usb.core

    for device in usb.core.find(find_all=True, backend=backend):
        # One that has just gone, or that another client has, is none of ours.
        with contextlib.suppress(usb.core.USBError):
            for interface in device[0] if device.bNumConfigurations else ():
                if (
                    interface.bInterfaceClass,
                    interface.bInterfaceSubClass,
                    interface.bInterfaceProtocol,
                ) == (_CLASS_VENDOR, USB_SUBCLASS, USB_PROTOCOL):
                    yield Found(device, interface)
                    break


def open_module(
    found: Found,
    shown: str,
    lanes: int | None = None,
    make: Callable[[Any, Any, list[int]], T] = UsbTransport,  # type: ignore[assignment]
) -> T:
    """Take the interface; *lanes* at most, else all that it has.

    Clearing each endpoint makes both ends' toggles begin anew, whatever the last host left there; a
    hello that is on its way at that moment may be lost, and is repeated. They are not halted before
    that: MicroPython 1.28's TinyUSB never gives an endpoint back that is halted while a transfer
    is in flight, and a board has one in flight on OUT all the time.
    """
    import usb.core
    import usb.util

    device, interface = found.device, found.interface
    major = device.bcdDevice >> 8
    if major != VERSION_MAJOR:
        raise VersionMismatch(f"{shown}: the module speaks version {major}, not {VERSION_MAJOR}")
    bulk = [each for each in interface if each.bmAttributes & _KIND == _BULK]
    outs = [each for each in bulk if not each.bEndpointAddress & _IN]
    ins = [each.bEndpointAddress for each in bulk if each.bEndpointAddress & _IN]
    ins = ins[: lanes or MAX_LANES]
    if len(outs) != 1 or not ins:
        raise ProtocolError(f"{shown}: {len(outs)} bulk OUT and {len(ins)} bulk IN endpoints")
    try:
        # pyusb: an error where the device has no configuration, as after a reset.
        try:
            device.get_active_configuration()
        except usb.core.USBError as error:
            if error.errno is not None:
                raise
            device.set_configuration()
        usb.util.claim_interface(device, interface.bInterfaceNumber)
        for address in (outs[0].bEndpointAddress, *ins):
            device.clear_halt(address)
    except usb.core.USBError as error:
        usb.util.dispose_resources(device)
        raise opening_error(error, found, shown) from None
    return make(device, outs[0], ins)


def opening_error(error: OSError, found: Found, shown: str) -> LensLinkError:
    """What an error of pyusb means to the user."""
    if error.errno == errno.EACCES:
        return _denied(found, shown)
    if error.errno == errno.EBUSY:
        return DeviceBusy(f"{shown} is in use by another program, or by a driver of the system")
    if error.errno in (errno.ENODEV, errno.EIO):
        return Disconnected(f"{shown}: the module went away while it was opened")
    return RigError(f"{shown}: {error.strerror or error}")


def _denied(found: Found, shown: str) -> NotFound:
    vendor = f"{found.device.idVendor:04x}"
    rule = f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", MODE="0660", TAG+="uaccess"'
    return NotFound(
        f"{shown}: no permission for {found.name}; type: echo '{rule}' | "
        "sudo tee /etc/udev/rules.d/70-lenslink.rules && sudo udevadm control --reload "
        "(and plug it in again)"
    )


def libusb() -> Any:
    """pyusb's backend on the libusb that is installed with us."""
    import libusb_package

    return libusb_package.get_libusb1_backend()


def choose_module(backend: Any, serial: str, shown: str) -> Found:
    """The only one, or the one with that serial number."""
    import usb.core
    import usb.util

    found = []
    denied: Found | None = None
    for each in find_modules(backend):
        if not serial:
            found.append(each)
            continue
        try:
            if each.serial() == serial:
                found.append(each)
                continue
        except (usb.core.USBError, _Unreadable):
            denied = each
        usb.util.dispose_resources(each.device)
    if not found:
        if denied is not None:
            raise _denied(denied, shown)
        raise NotFound(f"{shown}: no module on USB" + (" has this serial number" * bool(serial)))
    if len(found) > 1:
        raise Ambiguous(f"{shown}: {len(found)} modules on USB; name one as usb:SERIAL")
    return found[0]


class UsbOpener:
    """``usb:`` and ``usb:SERIAL``."""

    options: Mapping[str, str] = {"lanes": "endpoints used at most, 1 to 4"}

    def __init__(self) -> None:
        self._serials: dict[tuple[object, ...], str | None] = {}

    def open(self, url: Url, deadline: Deadline) -> UsbTransport:
        backend = libusb()
        if backend is None:
            raise RigError("usb: libusb cannot be used on this machine")
        lanes = lanes_of(url)
        found = choose_module(backend, url.path, url.text)
        deadline.check()
        return open_module(found, url.text, lanes)

    def devices(self) -> list[DeviceInfo]:
        import usb.core

        listed: list[DeviceInfo] = []
        serials: dict[tuple[object, ...], str | None] = {}
        with contextlib.suppress(usb.core.USBError, usb.core.NoBackendError):
            backend = libusb()
            for each in find_modules(backend) if backend is not None else ():
                # Asked once for each time it is plugged in: the address is never used twice in a
                # row, and whoever uses the module is not disturbed ten times a second.
                device = each.device
                key = (device.bus, device.address, each.name)
                serial = self._serials[key] if key in self._serials else _serial(each)
                serials[key] = serial
                busy = serial is not None and is_locked(f"serial:{serial}")
                description = f"module on USB ({each.name})"
                listed.append(DeviceInfo(f"usb:{serial or ''}", description, serial, busy))
        self._serials = serials
        return listed


def _serial(found: Found) -> str | None:
    import usb.core
    import usb.util

    try:
        return found.serial()
    except (usb.core.USBError, _Unreadable):
        return None
    finally:
        usb.util.dispose_resources(found.device)


def lanes_of(url: Url) -> int | None:
    """The option, checked."""
    from ..errors import UsageError

    lanes = url.integer("lanes")
    if lanes is not None and not 1 <= lanes <= MAX_LANES:
        raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")
    return lanes


USB = UsbOpener()
