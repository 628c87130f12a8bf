"""Send and receive the link's bytes over USB bulk endpoints.

:mod:`.usb` and the benches ``usbip:`` and ``pico:`` create a :class:`UsbTransport` from pyusb's
objects. The session calls the methods of :class:`.base.Transport`. A lane reads large pieces into
its buffer and hands out slices of them.

pyusb's reads block. Each lane is read by a thread of its own, which waits in libusb and rarely
holds the interpreter. Python raises KeyboardInterrupt, and a test runner its time limit, in the
main thread only. So an interrupted call never loses the bytes of a transfer. Neither does it leave
a transfer behind that takes the next answer. The states of such a reader::

    state    event                             next state
    -------  --------------------------------  ----------
    READING  a read brings bytes               FULL
    READING  the endpoint fails for good       ENDED
    FULL     the transport has taken them all  READING
    ENDED    the transport has reported it     CLOSED
    any      close()                           CLOSED
"""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from lenslink_protocol.buffers import scatter

from ..deadline import Deadline
from ..errors import Disconnected, Timeout
from .base import Line

READ_BYTES: Final = 1 << 20
"""Size of a read. A short packet ends it earlier; the kernel takes this much at once."""
LINES: Final = {
    2: Line("full", 19 * 64 * 1000),
    3: Line("high", 13 * 512 * 8000),
    # What the encoding leaves (8b/10b, 128b/132b); packet overhead takes some of it.
    4: Line("super", 500_000_000),
    5: Line("super+", 1_212_000_000),
}
"""The line by libusb's number of the negotiated speed.

Up to high speed, the ceiling counts the bulk packets that fit into a frame of 1 ms or a microframe
of 125 us (USB 2.0, 5.8.4).
"""
_SLICE_S: Final = 0.05
_JOIN_S: Final = 2.0
_MAX_HALTS: Final = 3

_log = logging.getLogger(__name__)


class LaneEnded(Exception):
    """Raised by a lane whose endpoint failed for good; the message says why."""


class UsbLane:
    """Read one bulk IN endpoint, and keep the bytes that have not been taken yet."""

    def __init__(self, device: Any, address: int) -> None:
        self.address = address
        self._device = device
        self._buffer = array.array("B", bytes(READ_BYTES))
        self._view = memoryview(self._buffer)
        self._at = 0
        self._end = 0
        self._halts = 0
        self._is_halted = False

    @property
    def has_bytes(self) -> bool:
        """True if there are bytes to take."""
        return self._at < self._end

    def fill(self, seconds: float) -> bool:
        """Read once for up to *seconds*; return True if bytes came.

        Raises:
            LaneEnded: The endpoint failed for good.
        """
        import usb.core

        # A limit of 0 would wait without end.
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
        """Move bytes into *buffers* in order, and return their number."""
        count = scatter(self._view[self._at : self._end], buffers)
        self._at += count
        return count

    def halt(self) -> None:
        """Halt the endpoint and leave it halted: so the module learns that the lane is not used."""
        import usb.core

        self._is_halted = True
        with contextlib.suppress(usb.core.USBError):
            self._device.ctrl_transfer(0x02, 3, 0, self.address)

    def _recover(self, error: OSError) -> None:
        """Clear a halt of the module's; raise :exc:`LaneEnded` for any other error."""
        import usb.core

        self._halts += 1
        if error.errno == errno.EPIPE and self._halts <= _MAX_HALTS and not self._is_halted:
            _log.debug("endpoint 0x%02x is halted: clear it, attempt %d", self.address, self._halts)
            with contextlib.suppress(usb.core.USBError):
                self._device.clear_halt(self.address)
                return
        raise LaneEnded(describe_error(error)) from None


class WakeUp:
    """Wake one waiting thread. An early wake-up ends the next wait.

    An exception at any moment of :meth:`wait` leaves it usable, unlike a threading.Condition.
    """

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def notify(self) -> None:
        """End the current wait. If nobody waits, end the next wait at once."""
        if self._tokens.empty():
            self._tokens.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for :meth:`notify`, for up to *seconds*."""
        with contextlib.suppress(queue.Empty):
            self._tokens.get(timeout=seconds)


class ReaderState(enum.Enum):
    """Name the states of a :class:`LaneReader`; the module's docstring has the transitions."""

    READING = enum.auto()
    FULL = enum.auto()
    ENDED = enum.auto()
    CLOSED = enum.auto()


class LaneReader(threading.Thread):
    """Fill *lane* whenever it is empty, and notify *news* of each new state that it sets."""

    def __init__(self, lane: UsbLane, news: WakeUp) -> None:
        super().__init__(name=f"usb lane 0x{lane.address:02x}", daemon=True)
        self.lane = lane
        self.state = ReaderState.READING
        self.end_reason = ""
        """Why the lane is ENDED."""
        self._news = news
        self._resumption = WakeUp()
        self._lock = threading.Lock()

    def run(self) -> None:
        try:
            while self.state is not ReaderState.CLOSED:
                if self.lane.fill(_SLICE_S):
                    self._set_state(ReaderState.FULL)
                    self._news.notify()
                # The wait is limited, because an interrupted resume() may not notify.
                while self.state is ReaderState.FULL:
                    self._resumption.wait(_SLICE_S)
        except LaneEnded as error:
            self._end(str(error))
        except Exception as error:  # a reader that dies silently would be a link that hangs
            self._end(f"{type(error).__name__}: {error}")

    def resume(self) -> None:
        """Read on, because the lane is empty."""
        self._set_state(ReaderState.READING)
        self._resumption.notify()

    def close(self) -> None:
        """End the thread after its current read."""
        self._set_state(ReaderState.CLOSED)
        self._resumption.notify()

    def _end(self, reason: str) -> None:
        self.end_reason = reason
        self._set_state(ReaderState.ENDED)
        self._news.notify()

    def _set_state(self, state: ReaderState) -> None:
        with self._lock:
            if self.state is ReaderState.CLOSED:
                return
            self.state = state
        if state in (ReaderState.ENDED, ReaderState.CLOSED):
            _log.debug("%s: %s %s", self.name, state.name, self.end_reason)


class UsbTransport:
    """Send and receive over a module's interface that has been claimed.

    *out* is pyusb's bulk OUT endpoint, *ins* are the addresses of the lanes' bulk IN endpoints. The
    transport owns *device* from now on.
    """

    private = False
    note: str | None = None

    def __init__(self, device: Any, out: Any, ins: Sequence[int]) -> None:
        self.lanes = len(ins)
        self.line = LINES.get(device.speed, Line())
        self._device = device
        self._out: int = out.bEndpointAddress
        self._packet: int = out.wMaxPacketSize
        self._lanes = [UsbLane(device, address) for address in ins]
        self._close_reason: str | None = None
        self._news = WakeUp()
        self._readers = [LaneReader(lane, self._news) for lane in self._lanes]
        for reader in self._readers:
            reader.start()

    def __del__(self) -> None:
        # An interrupt may come before a caller has the transport. The readers do not refer to it.
        for reader in getattr(self, "_readers", ()):
            reader.close()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check_open()
        first = self._readers[0]
        self._wait_until(lambda: first.state is not ReaderState.READING, seconds)
        return self.receive_lane_into(0, buffers) or 0

    def ready(self, seconds: float) -> list[int]:
        self._check_open()
        self._wait_until(lambda: bool(self._list_ready()), seconds)
        return self._list_ready()

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        self._check_open()
        reader = self._readers[lane]
        if reader.state is ReaderState.FULL:
            count = reader.lane.take(buffers)
            if not reader.lane.has_bytes:
                reader.resume()
            return count
        if reader.state is not ReaderState.ENDED:
            return 0
        if lane == 0:
            raise self._disconnect(reader.end_reason)
        self.kill_lane(lane)
        return None

    def kill_lane(self, lane: int) -> None:
        """Stop using a lane, and tell the module by halting its endpoint."""
        self._readers[lane].close()
        self._lanes[lane].halt()

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._check_open()
        self._write(data, deadline)
        if len(data) % self._packet == 0:
            # Without an empty packet, the module's read would wait for more.
            self._write(b"", deadline)

    def _write(self, data: bytes, deadline: Deadline) -> None:
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
                elif error.errno == errno.EPIPE and halts < _MAX_HALTS:
                    halts += 1
                    _log.debug("endpoint OUT is halted: clear it, attempt %d", halts)
                    with contextlib.suppress(usb.core.USBError):
                        self._device.clear_halt(self._out)
                    continue
                else:
                    raise self._disconnect(describe_error(error)) from None
            rest = rest[count:]
            if not rest:
                return
            if deadline.remaining() <= 0:
                raise Timeout(f"the module took no bytes for {deadline.seconds:g} s")

    def close(self) -> None:
        import usb.core
        import usb.util

        for reader in self._readers:
            reader.close()
        end = time.monotonic() + _JOIN_S
        for reader in self._readers:
            reader.join(max(0.0, end - time.monotonic()))
        self._close_reason = self._close_reason or "the module was closed"
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(self._device)

    def _list_ready(self) -> list[int]:
        """Return the lanes that have bytes, and those whose end has not been reported."""
        states = (ReaderState.FULL, ReaderState.ENDED)
        return [lane for lane, reader in enumerate(self._readers) if reader.state in states]

    def _wait_until(self, is_true: Callable[[], bool], seconds: float) -> None:
        """Wait for a reader's news until *is_true* returns True, for up to *seconds*."""
        end = time.monotonic() + seconds
        while not is_true():
            rest = end - time.monotonic()
            if rest <= 0:
                return
            self._news.wait(rest)

    def _check_open(self) -> None:
        if self._close_reason is not None:
            raise Disconnected(self._close_reason)

    def _disconnect(self, reason: str) -> Disconnected:
        """Record why the module is gone, and return the error to raise."""
        _log.debug("%s", reason)
        self._close_reason = reason
        return Disconnected(reason)


def describe_error(error: OSError) -> str:
    """Return what a failed transfer means to the user, in a few words."""
    if error.errno in (errno.ENODEV, errno.EIO):
        return "the module was unplugged"
    return f"the module's USB failed: {error.strerror or error}"
