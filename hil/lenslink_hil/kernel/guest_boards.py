"""The guest's side of the bench: boards of the host's, plugged into the kernel and pulled again."""

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
"""Set in the guest."""
CONTROL_PORT: Final = 3250
USBIP_PORT: Final = 3240
"""Of slot 0; the others follow."""
SCENE: Final = {"scene": "prbs", "width": 128, "height": 96}
"""What a board shows where a test does not care: its scale."""
MOST_PIXELS: Final = 1280 * 960
MOST_PIXELS_CDC: Final = 640 * 480
"""What one emulated CPU receives within a test's time."""
MOST_LANES: Final = 3
"""A thread reads each: one CPU serves more of them so unevenly that tiles are sent again."""
_SERVED: Final = "1-1"
_WAIT_S: Final = 30.0
_current: list[Slot] = []


def in_guest() -> bool:
    """Whether this process runs in the guest."""
    return os.environ.get(VARIABLE) == "1"


def current() -> Slot | None:
    """The slot that the suite of this process runs on."""
    return _current[-1] if _current else None


def use(slot: Slot) -> None:
    """From now on, *slot* is :func:`current`."""
    _current.append(slot)


def beyond(options: Mapping[str, object], cdc: bool) -> str:
    """Why this bench cannot be so; empty where it can."""
    most = MOST_PIXELS_CDC if cdc else MOST_PIXELS
    if options and not {"width", "board"} & options.keys():
        return "the product's own size: beyond this bench's scale"
    if int(str(options.get("width", 0))) * int(str(options.get("height", 0))) > most:
        return f"more than {most:,} pixels: beyond this bench's scale"
    lanes = int(str(options.get("lanes", 1)))
    if cdc and lanes > 1:
        return "a serial port has one lane"
    if lanes > MOST_LANES:
        return f"more than {MOST_LANES} lanes: beyond this bench's scale"
    return ""


class Slot:
    """A board of the host's, and where it is plugged in here."""

    def __init__(self, number: int = 0, *, cdc: bool = False) -> None:
        self.number = number
        self.cdc = cdc
        self.serial = ""
        self._options: dict[str, str] | None = None
        self._port: int | None = None
        self._control = socket.create_connection((HOST, CONTROL_PORT), _WAIT_S)
        self._stream = self._control.makefile("rwb")

    def plug(self, options: Mapping[str, object]) -> str:
        """Have that board plugged in, and the kernel ready with it; its URL."""
        chosen = {key: str(value) for key, value in options.items()}
        deadline = Deadline(_WAIT_S, "the kernel's taking the board")
        if chosen != self._options or self.device() is None:
            self.detach()
            order = {"cdc": self.cdc, "options": chosen, "fresh": self._options is None}
            self.serial = self._order(do="plug", **order)["serial"]
            self._options = chosen
            self.attach()
        vhci.wait(self.url, deadline)
        url = self.url()
        assert url is not None
        return url

    def restart(self, options: Mapping[str, object]) -> str:
        """A board that has just started; without *options*, with the bench's own scene."""
        self._options = None
        return self.plug(options or SCENE)

    def url(self) -> str | None:
        """What opens the board; None while the kernel has not got it."""
        device = self.device()
        if device is None:
            return None
        if not self.cdc:
            return f"usb:{self.serial}"
        port = vhci.terminal(device)
        return f"serial:{port}" if port is not None else None

    def device(self) -> Any:
        """Its folder in sysfs, if it is there."""
        return vhci.find(self.serial) if self._port in vhci.in_use() else None

    def attach(self) -> None:
        """Put the plug in; the kernel will have it a moment later."""
        self._port = vhci.attach((HOST, USBIP_PORT + self.number), _SERVED, _WAIT_S)

    def detach(self) -> None:
        """Pull the plug out at the kernel's side, and wait until it has let go."""
        if self._port in vhci.in_use():
            self.cut()
            self.wait_gone()
        self._port = None

    def cut(self) -> None:
        """The same without waiting: the board keeps its supply."""
        assert self._port is not None
        vhci.detach(self._port)

    def wait_gone(self) -> None:
        """Until the port that it was plugged into is free again."""
        port = self._port
        vhci.wait(
            lambda: port not in vhci.in_use(), Deadline(_WAIT_S, "the kernel's letting go of it")
        )

    def pull(self) -> None:
        """Cut the board's supply: it disappears, as it does when it is taken off."""
        self._order(do="pull")
        self._options = None

    def close(self) -> None:
        """Pull it and let go of it."""
        self.detach()
        self._stream.close()
        self._control.close()

    def _order(self, **order: object) -> dict[str, Any]:
        self._stream.write(json.dumps(order | {"slot": self.number}).encode() + b"\n")
        self._stream.flush()
        line = self._stream.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it has ended"}
        if "error" in answer:
            raise RigError(f"the host's boards: {answer['error']}")
        return answer
