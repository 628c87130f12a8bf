"""Open ``usb:``, ``usb:SERIAL`` and ``usb:BUS-PORT``: a module's vendor interface, through libusb.

The class, subclass and protocol of its interface and the major version in bcdDevice identify a
module. The VID and PID belong to its maker. Other interfaces of the device, a serial port for
example, stay with the programs that use them. :mod:`.usb_lanes` sends and receives.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

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
from ..lock import is_locked, make_lock_key
from ..url import Url, parse_url
from .base import DeviceInfo
from .usb_handle import LibusbHandle, UsbHandle
from .usb_lanes import UsbTransport

T = TypeVar("T", bound=UsbTransport)

_CLASS_VENDOR: Final = 0xFF
_IN: Final = 0x80
_TYPE_MASK: Final = 3
_BULK: Final = 2


@dataclass(frozen=True, slots=True)
class UsbModule:
    """Hold pyusb's objects for a device that has a module's interface."""

    device: Any
    interface: Any

    @property
    def name(self) -> str:
        """VID:PID, as lsusb prints it."""
        return f"{self.device.idVendor:04x}:{self.device.idProduct:04x}"

    def serial(self) -> str | None:
        """Read its serial number; None if it has none.

        Raises USBError or _Unreadable if that fails.
        """
        try:
            serial = self.device.serial_number
        except ValueError:  # pyusb's word for a device whose strings may not be read
            raise _Unreadable from None
        return None if serial is None else str(serial)

    @property
    def bus_path(self) -> str | None:
        """Bus and ports, such as ``1-2.3``, stable across replugs; None if they are unknown."""
        bus, ports = self.device.bus, self.device.port_numbers
        if bus is None or not ports:
            return None
        return f"{bus}-{'.'.join(map(str, ports))}"


class _Unreadable(Exception):
    """Raised for a device that this user may not read."""


def find_modules(backend: Any) -> Iterator[UsbModule]:
    """Yield every device of *backend* that has a module's interface."""
    import usb.core

    for device in usb.core.find(find_all=True, backend=backend):
        # A device that just disappeared, or that another client has, is skipped.
        with contextlib.suppress(usb.core.USBError):
            for interface in device[0] if device.bNumConfigurations else ():
                if (
                    interface.bInterfaceClass,
                    interface.bInterfaceSubClass,
                    interface.bInterfaceProtocol,
                ) == (_CLASS_VENDOR, USB_SUBCLASS, USB_PROTOCOL):
                    yield UsbModule(device, interface)
                    break


def open_module(
    found: UsbModule,
    shown: str,
    lanes: int | None = None,
    make: Callable[[UsbHandle, int, int, list[int]], T] = UsbTransport,  # type: ignore[assignment]
) -> T:
    """Claim a module's interface, clear its endpoints, and return a transport.

    Args:
        found: The module.
        shown: The name of the module in messages.
        lanes: The number of lanes at most; None for all that the interface has.
        make: Creates the transport; the arguments are those of :class:`.usb_lanes.UsbTransport`.

    Clearing an endpoint resets the data toggles of both ends, whatever the last host left there. A
    Hello that is under way at that moment may be lost, and is repeated. The endpoints are not
    halted before. MicroPython 1.28's TinyUSB never gives back an endpoint that is halted during a
    transfer, and a board always has a transfer in flight on OUT.
    """
    import usb.util

    device, interface = found.device, found.interface
    major = device.bcdDevice >> 8
    if major != VERSION_MAJOR:
        raise VersionMismatch(f"{shown}: the module speaks version {major}, not {VERSION_MAJOR}")
    bulk = [each for each in interface if each.bmAttributes & _TYPE_MASK == _BULK]
    outs = [each for each in bulk if not each.bEndpointAddress & _IN]
    ins = [each.bEndpointAddress for each in bulk if each.bEndpointAddress & _IN]
    ins = ins[: lanes or MAX_LANES]
    if len(outs) != 1 or not ins:
        raise ProtocolError(f"{shown}: {len(outs)} bulk OUT and {len(ins)} bulk IN endpoints")
    out = outs[0].bEndpointAddress
    try:
        handle = _open_handle(device)
    except OSError as error:
        usb.util.dispose_resources(device)
        raise explain_open_error(error, found, shown) from None
    try:
        handle.claim(interface.bInterfaceNumber)
        for address in (out, *ins):
            handle.clear_halt(address)
        return make(handle, out, outs[0].wMaxPacketSize, ins)
    except OSError as error:
        handle.close()
        raise explain_open_error(error, found, shown) from None
    except BaseException:
        handle.close()
        raise


def _open_handle(device: Any) -> UsbHandle:
    """Open a device that pyusb has found. A bench's backend opens its own devices."""
    import usb.util

    if make := getattr(device.backend, "open_handle", None):
        opened: UsbHandle = make(device)
        return opened
    usb.util.dispose_resources(device)
    return LibusbHandle(device.bus, device.address)


def explain_open_error(error: OSError, found: UsbModule, shown: str) -> LensLinkError:
    """Return the error to raise for pyusb's *error*, with its cure."""
    if error.errno == errno.EACCES:
        return _explain_no_permission(found, shown)
    if error.errno == errno.EBUSY:
        return DeviceBusy(f"{shown} is in use by another program, or by a driver of the system")
    if error.errno in (errno.ENODEV, errno.EIO):
        return Disconnected(f"{shown}: the module went away while it was opened")
    return RigError(f"{shown}: {error.strerror or error}")


def _explain_no_permission(found: UsbModule, shown: str) -> NotFound:
    vendor = f"{found.device.idVendor:04x}"
    rule = f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", MODE="0660", TAG+="uaccess", '
    rule += 'ENV{ID_MM_DEVICE_IGNORE}="1"'
    return NotFound(
        f"{shown}: no permission for {found.name}; type: echo '{rule}' | "
        "sudo tee /etc/udev/rules.d/70-lenslink.rules && sudo udevadm control --reload "
        "(and plug it in again)"
    )


def load_libusb() -> Any:
    """Return pyusb's backend on the libusb that is installed with LensLink."""
    import libusb_package

    return libusb_package.get_libusb1_backend()


def choose_module(backend: Any, name: str, shown: str) -> UsbModule:
    """Return the only module, or the one with serial number or bus path *name*."""
    import usb.core
    import usb.util

    chosen = []
    unreadable: UsbModule | None = None
    for module in find_modules(backend):
        try:
            if not name or name in (module.bus_path, module.serial()):
                chosen.append(module)
                continue
        except (usb.core.USBError, _Unreadable):
            unreadable = module
        usb.util.dispose_resources(module.device)
    if not chosen:
        if unreadable is not None:
            raise _explain_no_permission(unreadable, shown)
        raise NotFound(
            f"{shown}: no module on USB" + (" has this serial number or bus path" * bool(name))
        )
    if len(chosen) > 1:
        for module in chosen:
            usb.util.dispose_resources(module.device)
        names = ", ".join(_name_modules(chosen))
        raise Ambiguous(f"{shown}: {len(chosen)} modules on USB; name one: {names}")
    return chosen[0]


def _name_modules(modules: list[UsbModule]) -> list[str]:
    """Return a URL for each module: by serial number where that is unique, else by bus path."""
    serials = [_read_serial(module) for module in modules]
    return [
        _make_url(module, serial, serials.count(serial) == 1)
        for module, serial in zip(modules, serials, strict=True)
    ]


def _make_url(module: UsbModule, serial: str | None, is_unique: bool) -> str:
    if serial is not None and (is_unique or module.bus_path is None):
        return f"usb:{quote(serial)}"
    return f"usb:{module.bus_path or ''}"


class UsbOpener:
    """Open ``usb:``, ``usb:SERIAL`` and ``usb:BUS-PORT.PORT``."""

    options: Mapping[str, str] = {"lanes": "endpoints used at most, 1 to 4"}

    def __init__(self) -> None:
        self._serials_by_address: dict[tuple[object, ...], str | None] = {}

    def open(self, url: Url, deadline: Deadline) -> UsbTransport:
        backend = load_libusb()
        if backend is None:
            raise RigError("usb: libusb cannot be used on this machine")
        lanes = get_lanes_option(url)
        found = choose_module(backend, url.path, url.text)
        deadline.check()
        return open_module(found, url.text, lanes)

    def devices(self) -> list[DeviceInfo]:
        import usb.core

        modules: list[UsbModule] = []
        serials: dict[tuple[object, ...], str | None] = {}
        with contextlib.suppress(usb.core.USBError, usb.core.NoBackendError):
            backend = load_libusb()
            for module in find_modules(backend) if backend is not None else ():
                # The serial number is read once after each plug-in. An address is never used twice
                # in a row. So a program that uses the module is not disturbed ten times a second.
                key = _get_address(module)
                if key not in self._serials_by_address:
                    self._serials_by_address[key] = _read_serial(module)
                serials[key] = self._serials_by_address[key]
                modules.append(module)
        self._serials_by_address = serials
        counts = Counter(serials[_get_address(module)] for module in modules)
        return [
            _describe(module, serial, counts[serial] == 1)
            for module in modules
            for serial in [serials[_get_address(module)]]
        ]


def _get_address(module: UsbModule) -> tuple[object, ...]:
    return module.device.bus, module.device.address, module.name


def _describe(module: UsbModule, serial: str | None, is_unique: bool) -> DeviceInfo:
    url = _make_url(module, serial, is_unique)
    key = make_lock_key(parse_url(url, ("usb",))) if serial is None else f"serial:{serial}"
    return DeviceInfo(url, f"module on USB ({module.name})", serial, is_locked(key))


def _read_serial(found: UsbModule) -> str | None:
    import usb.core
    import usb.util

    try:
        return found.serial()
    except (usb.core.USBError, _Unreadable):
        return None
    finally:
        usb.util.dispose_resources(found.device)


def get_lanes_option(url: Url) -> int | None:
    """Return the option ``lanes``, checked; None if it is absent."""
    from ..errors import UsageError

    lanes = url.integer("lanes")
    if lanes is not None and not 1 <= lanes <= MAX_LANES:
        raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")
    return lanes


USB = UsbOpener()
