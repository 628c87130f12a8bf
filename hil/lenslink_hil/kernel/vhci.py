"""vhci_hcd, the kernel's USB/IP client: what ``usbip attach`` and ``usbip detach`` do, without it.

Linux' drivers/usb/usbip/vhci_sysfs.c: "port socket devid speed" is written to ``attach``, "port" to
``detach``; ``status`` has a line for each port, whose state 4 is free and 6 in use.
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


def available() -> bool:
    """Whether this kernel has it loaded, and this process may use it."""
    return os.access(_VHCI / "attach", os.W_OK)


def attach(address: Address, busid: str, seconds: float) -> int:
    """Plug a server's device into this machine; the port that it is at.

    Raises :exc:`~lenslink.errors.RigError` where the server does not give it.
    """
    try:
        connection, device = import_device(address, busid, seconds)
    except ImportRefused as refused:
        raise RigError(f"{busid} is not to be had: {os.strerror(refused.errno)}") from None
    except OSError as error:
        raise RigError(f"{busid}: {error.strerror or error}") from None
    # The kernel takes the socket over: it lives on when this end is closed.
    with connection:
        port = next(each for each, *rest in _ports() if rest == [_HIGH_SPEED_HUB, _FREE])
        devid = device.busnum << 16 | device.devnum
        text = f"{port} {connection.fileno()} {devid} {device.speed}"
        (_VHCI / "attach").write_text(text, encoding="ascii")
    return port


def detach(port: int) -> None:
    """Pull it. At once: the kernel cuts the connection and takes the device away."""
    (_VHCI / "detach").write_text(str(port), encoding="ascii")


def in_use() -> list[int]:
    """Ports that something is plugged into, or has just been."""
    return [number for number, _, state in _ports() if state != _FREE]


def find(serial: str) -> Path | None:
    """The device of that serial number in sysfs, once the kernel has configured it."""
    for path in _DEVICES.glob("*/serial"):
        try:
            if path.read_text(encoding="utf-8").strip() == serial:
                configured = (path.parent / "bConfigurationValue").read_text(encoding="ascii")
                return path.parent if configured.strip() else None
        except OSError:
            continue  # it has just gone
    return None


def terminal(device: Path) -> str | None:
    """The /dev/ttyACM of a device."""
    found = next(device.glob("*/tty/ttyACM*"), None)
    path = Path("/dev") / found.name if found is not None else None
    return str(path) if path is not None and path.exists() else None


def wait(until: Callable[[], object], deadline: Deadline) -> None:
    """Until that holds; asked again at every event of the kernel's about a device."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, 1))
        while not until():
            # A port is free a moment after the event that its device has gone: ask anyway.
            events.settimeout(min(max(deadline.remaining(), 0.001), 0.05))
            try:
                events.recv(65536)
            except TimeoutError:
                deadline.check()


def _ports() -> Iterator[tuple[int, str, str]]:
    """Number, kind of hub, state."""
    for line in (_VHCI / "status").read_text(encoding="ascii").splitlines()[1:]:
        hub, number, state = line.split()[:3]
        yield int(number), hub, state
