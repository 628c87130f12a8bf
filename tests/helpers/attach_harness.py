"""Modules that are plugged in and pulled out in virtual time, behind the driver's own API.

The modules are the firmware itself; only bytes, time and where modules can be found are fake.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from helpers import module_world
from lensfw import contacts, module
from lenslink import attachment, connection, deadline, device, discovery, reconnector, session
from lenslink.errors import Disconnected, NotFound
from lenslink.transports import DeviceInfo
from lenslink.url import Url

_STEP_US = 1000
_CALL_US = 100


Prove = Callable[[int, bytes], bytes | None]
"""What a module has to prove that it is genuine."""


class Clock:
    """Time that passes when somebody waits, and what is planned to happen in it."""

    def __init__(self) -> None:
        self.us = 1_000_000
        self._plan: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()

    @property
    def seconds(self) -> float:
        return self.us / 1e6

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        heapq.heappush(self._plan, (self.us + round(seconds * 1e6), next(self._order), happens))

    def pass_us(self, us: int) -> None:
        end = self.us + us
        while self._plan and self._plan[0][0] <= end:
            at, _, happens = heapq.heappop(self._plan)
            self.us = max(self.us, at)
            happens()
        self.us = max(self.us, end)

    def sleep(self, seconds: float) -> None:
        self.pass_us(max(1, round(seconds * 1e6)))


class Lens:
    """A module: each start is another boot, with a clock and pictures of its own."""

    def __init__(
        self,
        clock: Clock,
        serial: str,
        boot: int = 0,
        secure: Prove | None = None,
        key: str | None = None,
    ) -> None:
        self.serial = serial
        self.key = key
        self.boot = boot
        self.secure = secure
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Switch it on (again), with its contacts closed."""
        self.boot += 1
        config = module_world.configuration() | {"serial": self.serial, "boot_count": self.boot}
        config["auth_key"] = self.key
        self.ports = module_world.Ports(lambda number, mode: picture(self.boot, number, mode))
        if self.secure is not None:
            self.ports.authenticate = self.secure
        self._since = self._clock.us
        self.time = SimpleNamespace(now=lambda: self._clock.us - self._since)
        self.camera: Any = module.Module(config, self.ports, self.time)
        for pin in (contacts.POWER_PIN, contacts.DETECT_PIN):
            self.contact(pin, 1)

    def contact(self, pin: int, level: int) -> None:
        self.ports.events.append((self.ports.CONTACT, pin, level))

    def interrupt(self, after_s: float, for_s: float, pin: int = contacts.DETECT_PIN) -> None:
        """A contact opens after some time, and closes again after some more."""
        self._clock.after(after_s, lambda: self.contact(pin, 0))
        self._clock.after(after_s + for_s, lambda: self.contact(pin, 1))

    @property
    def exposures(self) -> int:
        return sum(call[0] == "request_rows" for call in self.ports.calls)


class Bay:
    """Where modules are plugged in, by URL."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lenses: dict[str, Lens] = {}
        self.open: list[Wire] = []
        self.private = False
        self.connections = 0
        """Opened so far."""
        self.listed = True
        self.budget: int | None = None
        """Bytes from the module after which the next connection is pulled out."""

    def plug(self, url: str, lens: Lens) -> None:
        self.lenses[url] = lens

    def pull(self, url: str) -> None:
        """The module and the connection to it are gone at once."""
        lens = self.lenses.pop(url)
        for wire in self.open:
            if wire.lens is lens:
                wire.gone = True

    def transport(self, url: Url, _: object) -> Wire:
        if url.text not in self.lenses:
            raise NotFound(f"{url.text}: nothing there")
        wire = Wire(self, self.lenses[url.text], self.budget)
        self.budget = None
        self.open.append(wire)
        self.connections += 1
        return wire

    def devices(self) -> list[DeviceInfo]:
        if not self.listed:
            return []
        found = self.lenses.items()
        return [DeviceInfo(url, "fake", lens.serial) for url, lens in sorted(found)]


class Wire:
    """A transport to a module, which lives only while somebody waits for it."""

    note = None

    def __init__(self, bay: Bay, lens: Lens, budget: int | None) -> None:
        self.lens = lens
        self.gone = False
        self.closed = False
        self.silent = False
        """The module hears and says nothing, as one that hangs."""
        self.private = bay.private
        self._budget = budget
        self._bay = bay
        self._camera = lens.camera
        self._bytes = b""

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        clock = self._bay.clock
        end = clock.us + round(seconds * 1e6)
        clock.pass_us(_CALL_US)
        while True:
            self._check()
            if not self.silent:
                self._run()
                if self._bytes:
                    return self._hand(buffers)
            if clock.us >= end:
                return 0
            clock.pass_us(min(_STEP_US, end - clock.us))

    def send(self, data: bytes, _: object) -> None:
        self._check()
        if self.silent:
            return
        rest = memoryview(data)
        receiver = self._camera.link.receiver
        while rest:
            space = receiver.get_space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            receiver.add_received(count, self.lens.time.now())
            rest = rest[count:]
            self._camera.link.poll()

    def close(self) -> None:
        self.closed = True
        if self in self._bay.open:
            self._bay.open.remove(self)

    def _check(self) -> None:
        if self.gone or self.closed:
            raise Disconnected("it was pulled out" if self.gone else "it was closed")

    def _run(self) -> None:
        link = self._camera.link
        self._camera.step()
        while len(self._bytes) < 4096:
            packet = link.take_packet()
            if packet is None:
                return
            view, tile = packet
            self._bytes += bytes(view)
            if tile is not None:
                link.release_tile(tile)
            self._camera.step()

    def _hand(self, buffers: Sequence[memoryview]) -> int:
        count = 0
        for buffer in buffers:
            piece = self._bytes[: len(buffer)]
            if self._budget is not None:
                piece = piece[: self._budget]
                self._budget -= len(piece)
            buffer[: len(piece)] = piece
            self._bytes = self._bytes[len(piece) :]
            count += len(piece)
        if self._budget == 0:
            self.gone = True
        return count


def picture(boot: int, number: int, mode: int) -> bytearray:
    """Rows that tell one boot's frames from another's, in either of the two modes."""
    width, height = SIZES[mode]
    pixels = np.arange(width * height, dtype=np.uint32) * 13 + number * 517 + boot * 101 + 1
    return bytearray((pixels & 0xFFF).astype("<u2").tobytes())


SIZES = {1: (16, 16), 2: (32, 24)}


def assert_picture(frame: Any, boot: int) -> None:
    """Every pixel is that boot's, of that number."""
    mode = next(mode for mode, (width, _) in SIZES.items() if width == frame.width)
    expected = np.frombuffer(picture(boot, frame.number, mode), "<u2")
    assert np.array_equal(frame.pixels.ravel(), expected)


def install(monkeypatch: Any, tmp_path: Any) -> Bay:
    """Let the driver run on virtual time and find modules in a bay."""
    clock = Clock()
    bay = Bay(clock)
    time = SimpleNamespace(monotonic=lambda: clock.seconds, sleep=clock.sleep)
    for part in (attachment, deadline, device, session, discovery, reconnector):
        monkeypatch.setattr(part, "time", time)
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(connection, "parse", lambda text: Url(text, "fake", text))
    monkeypatch.setattr(connection, "resolve", lambda url, deadline: (url, lambda: None))
    monkeypatch.setattr(connection, "open_transport", bay.transport)
    monkeypatch.setattr(reconnector, "list_devices", bay.devices)
    monkeypatch.setattr(reconnector, "choose_url", lambda text: text)
    monkeypatch.setattr(discovery, "list_devices", bay.devices)
    return bay
