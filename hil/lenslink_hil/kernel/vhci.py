"""vhci_hcd, the kernel's USB/IP client: attach and detach devices as ``usbip`` does.

The files are those of Linux' drivers/usb/usbip/vhci_sysfs.c. ``attach`` takes "port socket devid
speed", ``detach`` takes "port". ``status`` has a line for each port: state 4 is free, 6 is in use.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError

from ..usbip.client import ImportRefused, import_device
from ..usbip.server_address import Address

_VHCI: Final = Path("/sys/devices/platform/vhci_hcd.0")
_DEVICES: Final = Path("/sys/bus/usb/devices")
_FREE: Final = "004"
_HIGH_SPEED_HUB: Final = "hs"
_NETLINK_KOBJECT_UEVENT: Final = 15


def is_available() -> bool:
    """Whether this kernel has vhci_hcd, and this process may use it."""
    return os.access(_VHCI / "attach", os.W_OK)


def attach(address: Address, busid: str, seconds: float) -> int:
    """Attach a server's device to this machine and return its port.

    Args:
        address: where the server listens.
        busid: the device.
        seconds: bounds each step.

    Raises:
        RigError: the server does not export the device.
    """
    try:
        connection, device = import_device(address, busid, seconds)
    except ImportRefused as refused:
        raise RigError(f"{busid} cannot be imported: {os.strerror(refused.errno)}") from None
    except OSError as error:
        raise RigError(f"{busid}: {error.strerror or error}") from None
    # The kernel keeps the socket open when this process closes it.
    with connection:
        port = next(each for each, *rest in _list_ports() if rest == [_HIGH_SPEED_HUB, _FREE])
        devid = device.busnum << 16 | device.devnum
        text = f"{port} {connection.fileno()} {devid} {device.speed}"
        (_VHCI / "attach").write_text(text, encoding="ascii")
    return port


def detach(port: int) -> None:
    """Detach the device at a port: the kernel cuts the connection at once."""
    (_VHCI / "detach").write_text(str(port), encoding="ascii")


def list_used_ports() -> list[int]:
    """Return the ports that have a device, or had one a moment ago."""
    return [number for number, _, state in _list_ports() if state != _FREE]


def find_device(serial: str) -> Path | None:
    """Return the sysfs folder of the device with that serial number, once it is configured."""
    for path in _DEVICES.glob("*/serial"):
        try:
            if path.read_text(encoding="utf-8").strip() == serial:
                configured = (path.parent / "bConfigurationValue").read_text(encoding="ascii")
                return path.parent if configured.strip() else None
        except OSError:
            continue  # The device has just been detached.
    return None


def find_terminal(device: Path) -> str | None:
    """Return the /dev/ttyACM of a device, or None."""
    found = next(device.glob("*/tty/ttyACM*"), None)
    path = Path("/dev") / found.name if found is not None else None
    return str(path) if path is not None and path.exists() else None


def wait_for(is_wanted: Callable[[], object], deadline: Deadline) -> None:
    """Wait until *is_wanted* holds. It is called again at each event of the kernel for a device."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, 1))
        while not is_wanted():
            # A port becomes free a moment after the event of its device: ask without events too.
            events.settimeout(min(max(deadline.remaining(), 0.001), 0.05))
            try:
                events.recv(65536)
            except TimeoutError:
                deadline.check()


def _list_ports() -> Iterator[tuple[int, str, str]]:
    """List number, kind of hub and state of each port."""
    for line in (_VHCI / "status").read_text(encoding="ascii").splitlines()[1:]:
        hub, number, state = line.split()[:3]
        yield int(number), hub, state
