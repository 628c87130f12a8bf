"""The guest's side of the boards: it has the host start them, and the guest's kernel attach them.

Tests in the guest use it. Its counterpart on the host is host_boards.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError

from . import vhci
from .guest import HOST

VARIABLE: Final = "LENSLINK_KERNEL_BENCH"
"""The environment variable that is 1 in the guest."""
CONTROL_PORT: Final = 3250
USBIP_PORT: Final = 3240
"""The port of slot 0; those of the other slots follow."""
SCENE: Final = {"scene": "prbs", "width": 128, "height": 96}
"""The options of a board where a test asks for none."""
MAX_PIXELS: Final = 1280 * 960
MAX_PIXELS_CDC: Final = 640 * 480
"""The frame sizes that one emulated CPU receives within a test's time limit."""
MAX_LANES: Final = 3
"""A thread reads each lane. One CPU serves more threads so unevenly that tiles are sent again."""
_BUSID: Final = "1-1"
_WAIT_S: Final = 30.0
_slots: list[Slot] = []


def is_in_guest() -> bool:
    """Whether this process runs in the guest."""
    return os.environ.get(VARIABLE) == "1"


def find_slot() -> Slot | None:
    """Return the slot that this process' suite runs on; None outside of the guest."""
    return _slots[-1] if _slots else None


def use_slot(slot: Slot) -> None:
    """Make :func:`find_slot` return *slot* from now on."""
    _slots.append(slot)


def explain_limit(options: Mapping[str, object], cdc: bool) -> str:
    """Say why a board with these options is too much for the guest; empty if it is not."""
    max_pixels = MAX_PIXELS_CDC if cdc else MAX_PIXELS
    if options and not {"width", "board"} & options.keys():
        return "the product's own size: too large for the guest"
    if int(str(options.get("width", 0))) * int(str(options.get("height", 0))) > max_pixels:
        return f"more than {max_pixels:,} pixels: too many for the guest"
    lanes = int(str(options.get("lanes", 1)))
    if cdc and lanes > 1:
        return "a serial port has one lane"
    if lanes > MAX_LANES:
        return f"more than {MAX_LANES} lanes: too many for the guest"
    return ""


class Slot:
    """One board of the host, and the port of the kernel that it is plugged into.

    Args:
        number: 0 for the first board.
        cdc: whether the link goes over its serial port.
    """

    def __init__(self, number: int = 0, *, cdc: bool = False) -> None:
        self.number = number
        self.cdc = cdc
        self.serial = ""
        self._options: dict[str, str] | None = None
        self._port: int | None = None
        self._control = socket.create_connection((HOST, CONTROL_PORT), _WAIT_S)
        self._stream = self._control.makefile("rwb")

    def plug(self, options: Mapping[str, object]) -> str:
        """Have a board with these options plugged in; return its URL once the kernel has it."""
        chosen = {key: str(value) for key, value in options.items()}
        deadline = Deadline(_WAIT_S, "attaching the board")
        if chosen != self._options or self.find_device() is None:
            self.detach()
            request = {"cdc": self.cdc, "options": chosen, "fresh": self._options is None}
            self.serial = self._send_request(do="plug", **request)["serial"]
            self._options = chosen
            self.attach()
        vhci.wait_for(self.find_url, deadline)
        url = self.find_url()
        assert url is not None
        return url

    def restart(self, options: Mapping[str, object]) -> str:
        """Have a board started anew; without *options* it is that of :data:`SCENE`."""
        self._options = None
        return self.plug(options or SCENE)

    def find_url(self) -> str | None:
        """Return the URL of the board, or None while the kernel does not have it."""
        device = self.find_device()
        if device is None:
            return None
        if not self.cdc:
            return f"usb:{self.serial}"
        port = vhci.find_terminal(device)
        return f"serial:{port}" if port is not None else None

    def find_device(self) -> Any:
        """Return the board's folder in sysfs, or None."""
        return vhci.find_device(self.serial) if self._port in vhci.list_used_ports() else None

    def attach(self) -> None:
        """Attach the board; the kernel has it a moment later."""
        self._port = vhci.attach((HOST, USBIP_PORT + self.number), _BUSID, _WAIT_S)

    def detach(self) -> None:
        """Detach the board at the kernel's side, and wait until its port is free."""
        if self._port in vhci.list_used_ports():
            self.start_detach()
            self.wait_until_free()
        self._port = None

    def start_detach(self) -> None:
        """Detach the board without waiting. The board keeps its supply."""
        assert self._port is not None
        vhci.detach(self._port)

    def wait_until_free(self) -> None:
        """Wait until the port that the board was plugged into is free."""
        port = self._port
        vhci.wait_for(
            lambda: port not in vhci.list_used_ports(), Deadline(_WAIT_S, "detaching the board")
        )

    def cut_supply(self) -> None:
        """Cut the board's supply, as when the module is taken off: the device disappears."""
        self._send_request(do="pull")
        self._options = None

    def close(self) -> None:
        """Detach the board, and end the connection to the host."""
        self.detach()
        self._stream.close()
        self._control.close()

    def _send_request(self, **request: object) -> dict[str, Any]:
        self._stream.write(json.dumps(request | {"slot": self.number}).encode() + b"\n")
        self._stream.flush()
        line = self._stream.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the connection has ended"}
        if "error" in answer:
            raise RigError(f"the host's boards: {answer['error']}")
        return answer
