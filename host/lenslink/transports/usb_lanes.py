"""Send and receive the link's bytes over USB bulk endpoints.

:mod:`.usb` and the benches ``usbip:`` and ``pico:`` create a :class:`UsbTransport` from an open
device. The session calls the methods of :class:`.base.Transport`. :mod:`.usb_reads` keeps reads of
each lane waiting, and holds the bytes until the session takes them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import queue
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from ..deadline import Deadline
from ..errors import Disconnected, Timeout
from .base import Line
from .usb_handle import UsbHandle
from .usb_reads import LaneState, SubmitQueue, Submitter, UsbLane, describe_error

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
_MAX_HALTS: Final = 3

_log = logging.getLogger(__name__)


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


class UsbTransport:
    """Send and receive over a module's interface that has been claimed.

    Args:
        handle: the open device. The transport owns it from now on.
        out: the address of the bulk OUT endpoint.
        packet_bytes: the OUT endpoint's longest packet, wMaxPacketSize.
        ins: the addresses of the lanes' bulk IN endpoints.
    """

    private = False
    note: str | None = None

    def __init__(self, handle: UsbHandle, out: int, packet_bytes: int, ins: Sequence[int]) -> None:
        self.lanes = len(ins)
        self.line = LINES.get(handle.speed or 0, Line())
        self._handle = handle
        self._out = out
        self._packet_bytes = packet_bytes
        self._close_reason: str | None = None
        self._news = WakeUp()
        to_submit: SubmitQueue = queue.SimpleQueue()
        self._submitter = Submitter(handle, to_submit)
        self._submitter.start()
        self._lanes = self._submitter.lanes
        for address in ins:
            self._lanes.append(UsbLane(handle, address, to_submit, self._news.notify))

    def __del__(self) -> None:
        # An interrupt may come before a caller has the transport.
        if submitter := getattr(self, "_submitter", None):
            submitter.stop()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check_open()
        first = self._lanes[0]
        self._wait_until(lambda: first.has_news, seconds)
        return self.receive_lane_into(0, buffers) or 0

    def ready(self, seconds: float) -> list[int]:
        self._check_open()
        self._wait_until(lambda: bool(self._list_ready()), seconds)
        return self._list_ready()

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        self._check_open()
        found = self._lanes[lane]
        count = found.take(buffers)
        if count or found.state is not LaneState.ENDED or not found.has_news:
            return count
        if lane == 0:
            raise self._disconnect(found.end_reason)
        self.kill_lane(lane)
        return None

    def kill_lane(self, lane: int) -> None:
        """Stop using a lane. Halt its endpoint and leave it halted: so the module learns of it."""
        self._lanes[lane].close()
        with contextlib.suppress(OSError):
            self._handle.halt(self._lanes[lane].address)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._check_open()
        self._write(data, deadline)
        if len(data) % self._packet_bytes == 0:
            # Without an empty packet, the module's read would wait for more.
            self._write(b"", deadline)

    def _write(self, data: bytes, deadline: Deadline) -> None:
        rest = memoryview(data)
        halts = 0
        while True:
            limit = max(1, math.ceil(deadline.remaining() * 1000))
            try:
                count = self._handle.write(self._out, rest, limit)
            except OSError as error:
                if error.errno == errno.ETIMEDOUT:
                    count = 0
                elif error.errno == errno.EPIPE and halts < _MAX_HALTS:
                    halts += 1
                    _log.debug("endpoint OUT is halted: clear it, attempt %d", halts)
                    with contextlib.suppress(OSError):
                        self._handle.clear_halt(self._out)
                    continue
                else:
                    raise self._disconnect(describe_error(error.errno or errno.EIO)) from None
            rest = rest[count:]
            if not rest:
                return
            if deadline.remaining() <= 0:
                raise Timeout(f"the module took no bytes for {deadline.seconds:g} s")

    def close(self) -> None:
        self._submitter.shut_down()
        self._close_reason = self._close_reason or "the module was closed"

    def _list_ready(self) -> list[int]:
        """Return the lanes that have bytes, and those whose end has not been reported."""
        return [number for number, lane in enumerate(self._lanes) if lane.has_news]

    def _wait_until(self, is_true: Callable[[], bool], seconds: float) -> None:
        """Wait for a lane's news until *is_true* returns True, for up to *seconds*."""
        end = monotonic() + seconds
        while not is_true():
            rest = end - monotonic()
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
