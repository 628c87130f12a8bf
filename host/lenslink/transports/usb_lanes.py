"""Bulk endpoints as a transport: large reads into a buffer, slices of it to whoever receives.

pyusb's reads block, so one lane is read by whoever receives, and each of several by a thread of
its own, which waits in libusb and hardly ever holds the interpreter.
"""

from __future__ import annotations

import array
import contextlib
import errno
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from lenslink_protocol.buffers import scatter

from ..deadline import Deadline
from ..errors import Disconnected, Timeout
from .base import Line

READ_BYTES: Final = 1 << 20
"""A read ends with a short packet, so it is as long as it likes; a kernel takes so much at once."""
LINES: Final = {
    2: Line("full", 19 * 64 * 1000),
    3: Line("high", 13 * 512 * 8000),
    # What the signalling leaves (8b/10b, 128b/132b); packets take some of it.
    4: Line("super", 500_000_000),
    5: Line("super+", 1_212_000_000),
}
"""By libusb's number of the speed that was negotiated. Up to high speed: as many bulk packets as
fit into a frame of 1 ms, or a microframe of 125 us (USB 2.0, 5.8.4)."""
_SLICE_S: Final = 0.05
_JOIN_S: Final = 2.0
_MOST_HALTS: Final = 3


class Gone(Exception):
    """Raised by a lane that has ended; the message says why."""


class Lane:
    """One bulk IN endpoint, and what has been read from it and not been taken."""

    def __init__(self, device: Any, address: int) -> None:
        self.address = address
        self._device = device
        self._buffer = array.array("B", bytes(READ_BYTES))
        self._view = memoryview(self._buffer)
        self._at = 0
        self._end = 0
        self._halts = 0
        self.dropped = False
        """It is halted, and stays so."""

    @property
    def has(self) -> bool:
        """Whether there are bytes to take."""
        return self._at < self._end

    def fill(self, seconds: float) -> bool:
        """Read once what comes within *seconds*; whether anything did. :exc:`Gone` at the end."""
        import usb.core

        # 0 would wait for ever.
        limit = max(1, math.ceil(seconds * 1000))
        try:
            count = self._device.read(self.address, self._buffer, limit)
        except usb.core.USBTimeoutError:
            return False
        except usb.core.USBError as error:
            if error.errno == errno.ETIMEDOUT:
                return False
            self._recover(error)
            return False
        self._at, self._end = 0, count
        self._halts = 0
        return bool(count)

    def take(self, buffers: Sequence[memoryview]) -> int:
        """Move bytes into *buffers*, in order; how many."""
        count = scatter(self._view[self._at : self._end], buffers)
        self._at += count
        return count

    def _recover(self, error: OSError) -> None:
        """A halted endpoint goes on; anything else is the end."""
        import usb.core

        self._halts += 1
        if error.errno == errno.EPIPE and self._halts <= _MOST_HALTS and not self.dropped:
            with contextlib.suppress(usb.core.USBError):
                self._device.clear_halt(self.address)
                return
        raise Gone(reason(error)) from None


class Reader(threading.Thread):
    """Fills a lane whenever it is empty; ``changed`` is told of it."""

    def __init__(self, lane: Lane, changed: threading.Condition) -> None:
        super().__init__(name=f"usb lane 0x{lane.address:02x}", daemon=True)
        self.lane = lane
        self.full = False
        self.gone: str | None = None
        self._changed = changed
        self._closing = False

    def run(self) -> None:
        try:
            while not self._closing:
                if self.lane.fill(_SLICE_S):
                    self._wait_until_taken()
        except Gone as gone:
            self._end(str(gone))
        except Exception as error:  # a reader that dies silently would be a link that hangs
            self._end(f"{type(error).__name__}: {error}")

    def taken(self) -> None:
        """The lane is empty: read on. With ``changed`` held."""
        self.full = False
        self._changed.notify_all()

    def close(self) -> None:
        """With ``changed`` held."""
        self._closing = True
        self._changed.notify_all()

    def _wait_until_taken(self) -> None:
        with self._changed:
            self.full = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.full or self._closing)

    def _end(self, reason: str) -> None:
        with self._changed:
            # One that was closed has been said to be gone already.
            self.gone = "" if self._closing else reason
            self._changed.notify_all()


class UsbTransport:
    """A module's interface that has been claimed; it owns the device from now on.

    *out* is pyusb's bulk OUT endpoint, *ins* are the addresses of the lanes.
    """

    private = False
    note: str | None = None

    def __init__(self, device: Any, out: Any, ins: Sequence[int]) -> None:
        self.lanes = len(ins)
        self.line = LINES.get(device.speed, Line())
        self._device = device
        self._out: int = out.bEndpointAddress
        self._packet: int = out.wMaxPacketSize
        self._lanes = [Lane(device, address) for address in ins]
        self._gone: str | None = None
        self._changed = threading.Condition()
        self._readers: list[Reader] = []
        if self.lanes > 1:
            self._readers = [Reader(lane, self._changed) for lane in self._lanes]
            for reader in self._readers:
                reader.start()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if self._readers:
            return self._receive_lane_0(buffers, seconds)
        self._check()
        lane = self._lanes[0]
        try:
            if not lane.has and not lane.fill(seconds):
                return 0
        except Gone as error:
            raise self._lost(str(error)) from None
        return lane.take(buffers)

    def ready(self, seconds: float) -> list[int]:
        self._check()
        if not self._readers:
            return [0] if self._lanes[0].has or self._filled(seconds) else []
        with self._changed:
            self._changed.wait_for(self._some, seconds)
            return self._some()

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        self._check()
        if not self._readers:
            return self.receive_into(buffers, 0)
        reader = self._readers[lane]
        if reader.full:
            count = self._lanes[lane].take(buffers)
            if not self._lanes[lane].has:
                with self._changed:
                    reader.taken()
            return count
        if reader.gone is None:
            return 0
        if lane == 0:
            raise self._lost(reader.gone)
        # Said once: then nobody asks for it again.
        reason, reader.gone = reader.gone, ""
        if reason:
            self._halt(lane)
        return None if reason else 0

    def kill_lane(self, lane: int) -> None:
        """Stop using a lane; the module is told by a halt."""
        with self._changed:
            self._readers[lane].close()
            self._readers[lane].gone = ""
        self._halt(lane)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._check()
        self._send(data, deadline)
        if len(data) % self._packet == 0:
            # The module's read would wait for more.
            self._send(b"", deadline)

    def _send(self, data: bytes, deadline: Deadline) -> None:
        import usb.core

        rest = memoryview(data)
        halts = 0
        while True:
            limit = max(1, math.ceil(deadline.remaining() * 1000))
            try:
                count = self._device.write(self._out, rest, limit)
            except usb.core.USBError as error:
                if error.errno == errno.ETIMEDOUT:
                    count = 0
                elif error.errno == errno.EPIPE and halts < _MOST_HALTS:
                    halts += 1
                    with contextlib.suppress(usb.core.USBError):
                        self._device.clear_halt(self._out)
                    continue
                else:
                    raise self._lost(reason(error)) from None
            rest = rest[count:]
            if not rest:
                return
            if deadline.remaining() <= 0:
                raise Timeout(f"the module took no bytes for {deadline.seconds:g} s")

    def close(self) -> None:
        import usb.core
        import usb.util

        with self._changed:
            for reader in self._readers:
                reader.close()
        end = time.monotonic() + _JOIN_S
        for reader in self._readers:
            reader.join(max(0.0, end - time.monotonic()))
        self._gone = self._gone or "the module was closed"
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(self._device)

    # --- lanes with a thread each ---------------------------------------------------------

    def _some(self) -> list[int]:
        """Lanes that have bytes, or have ended and not said so."""
        return [number for number, reader in enumerate(self._readers) if reader.full or reader.gone]

    def _receive_lane_0(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check()
        with self._changed:
            first = self._readers[0]
            self._changed.wait_for(lambda: first.full or first.gone, seconds)
        return self.receive_lane_into(0, buffers) or 0

    def _filled(self, seconds: float) -> bool:
        try:
            return self._lanes[0].fill(seconds)
        except Gone as error:
            raise self._lost(str(error)) from None

    def _halt(self, lane: int) -> None:
        import usb.core

        self._lanes[lane].dropped = True
        with contextlib.suppress(usb.core.USBError):
            self._device.ctrl_transfer(0x02, 3, 0, self._lanes[lane].address)

    def _check(self) -> None:
        if self._gone is not None:
            raise Disconnected(self._gone)

    def _lost(self, why: str) -> Disconnected:
        self._gone = why
        return Disconnected(why)


def reason(error: OSError) -> str:
    """Why a lane has ended, in a few words."""
    if error.errno in (errno.ENODEV, errno.EIO):
        return "the module was unplugged"
    return f"the module's USB failed: {error.strerror or error}"
