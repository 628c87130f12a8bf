"""Read what Linux says of the USB port that a board is on: hubs before it, speed, autosuspend."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSFS: Final = Path("/sys/bus/usb/devices")
_BUS_PATH: Final = re.compile(r"\d+-\d+(\.\d+)*")


@dataclass(frozen=True, slots=True)
class UsbPort:
    """A USB device's place on this machine."""

    folder: Path
    path: str
    """Bus and ports: ``1-2.3``."""
    speed: str
    """In Mbit/s: 12, 480, 5000."""
    control: str
    """``on``, or ``auto`` if the kernel may suspend the device."""

    @property
    def hubs(self) -> int:
        """The number of hubs between the machine and the device."""
        return self.path.count(".")

    @property
    def is_suspended(self) -> bool:
        """True if the kernel may suspend the device."""
        return self.control == "auto"


def find_usb_port(scheme: str, path: str, sysfs: Path = SYSFS) -> UsbPort | None:
    """Return the port of the board at ``usb:PATH`` or ``serial:PATH``; None if it has none here."""
    if scheme not in ("usb", "serial") or not sysfs.is_dir():
        return None
    with contextlib.suppress(OSError):
        for folder in sorted(sysfs.iterdir()):
            if _BUS_PATH.fullmatch(folder.name) and _is_board(folder, scheme, path):
                speed, control = _read(folder / "speed"), _read(folder / "power/control")
                return UsbPort(folder, folder.name, speed, control)
    return None


def _is_board(folder: Path, scheme: str, path: str) -> bool:
    if scheme == "serial":
        return any(tty.name == Path(path).name for tty in folder.glob("*:*/tty/tty*"))
    return path in (folder.name, _read(folder / "serial"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
