"""Keep several reads of each USB lane waiting, so that a lane never waits for Python.

A read is a buffer and the transfer that fills it. Each lane has :data:`READS` of them. The device
fills one while the session takes the bytes of another. The bytes stay in the buffer until the
session has taken them.

Three threads meet here. The session's thread takes bytes. Python raises KeyboardInterrupt there,
and a test runner its time limit, at any moment. So it changes two fields only, each in one step:
:attr:`QueuedRead.taken`, and the state of a lane that it closes. The handle's thread calls
:meth:`UsbLane.on_read_end`. The :class:`Submitter` submits reads. The states of a read::

    state      event                                         next state
    ---------  --------------------------------------------  ----------
    IDLE       it is submitted                               IN_FLIGHT
    FULL       all its bytes are taken, and it is submitted  IN_FLIGHT
    FAILED     the halt is cleared, and it is submitted      IN_FLIGHT
    IN_FLIGHT  it ends with bytes                            FULL
    IN_FLIGHT  it ends without bytes and without a fault     IDLE
    IN_FLIGHT  it ends with a fault, or cannot be submitted  FAILED

An empty packet, a cancellation and a time limit are no faults. The states of a lane::

    state   event                          next state
    ------  -----------------------------  ----------
    OPEN    its endpoint fails for good    ENDED
    OPEN    close()                        CLOSED
    ENDED   close()                        CLOSED
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import errno
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from lenslink_protocol.buffers import scatter

from .usb_handle import UsbHandle

READS: Final = 4
"""The number of reads of a lane."""
READ_BYTES: Final = 1 << 17
"""Size of a read, a multiple of every packet size. A short packet ends it earlier."""
_MAX_HALTS: Final = 3
_CANCEL_S: Final = 2.0
_SHUT_DOWN_S: Final = 5.0

_log = logging.getLogger(__name__)


class ReadState(enum.Enum):
    """Name the states of a read; the module's docstring has the transitions."""

    IDLE = enum.auto()
    IN_FLIGHT = enum.auto()
    FULL = enum.auto()
    FAILED = enum.auto()


class LaneState(enum.Enum):
    """Name the states of a lane; the module's docstring has the transitions."""

    OPEN = enum.auto()
    ENDED = enum.auto()
    CLOSED = enum.auto()


class QueuedRead:
    """One of a lane's reads.

    Attributes:
        lane: the lane.
        pending: the handle's read, with the buffer.
        state: the state.
        number: its place in the order in which the lane's reads were submitted.
        length: the number of bytes that have come.
        taken: how many of them the session has.
        code: the errno of a read that FAILED.
    """

    def __init__(self, lane: UsbLane, handle: UsbHandle) -> None:
        self.lane = lane
        self.state = ReadState.IDLE
        self.number = 0
        self.length = 0
        self.taken = 0
        self.code = 0
        self.pending = handle.make_read(lane.address, READ_BYTES, self._end)

    @property
    def has_bytes(self) -> bool:
        """True if there are bytes to take."""
        return self.state is ReadState.FULL and self.taken < self.length

    @property
    def is_emptied(self) -> bool:
        """True if all its bytes are taken, and it can be submitted again."""
        return self.state is ReadState.FULL and self.taken >= self.length

    def _end(self, length: int, code: int) -> None:
        self.lane.on_read_end(self, length, code)


SubmitQueue: TypeAlias = "queue.SimpleQueue[QueuedRead | None]"
"""Reads to submit; None ends the submitter. A read may stand there twice: the second is ignored."""


class UsbLane:
    """Read one bulk IN endpoint.

    Args:
        handle: the open device.
        address: the endpoint's address.
        to_submit: takes the reads that the :class:`Submitter` may submit.
        on_news: called when bytes have come, or the lane has ended; in another thread.
    """

    def __init__(
        self, handle: UsbHandle, address: int, to_submit: SubmitQueue, on_news: Callable[[], None]
    ) -> None:
        self.address = address
        self.state = LaneState.OPEN
        self.end_reason = ""
        """Why the lane is ENDED."""
        self._handle = handle
        self._to_submit = to_submit
        self._on_news = on_news
        self._submissions = 0
        self._halts = 0
        self._change = threading.Condition()
        self._reads = [QueuedRead(self, handle) for _ in range(READS)]
        for read in self._reads:
            to_submit.put(read)

    # --- called by the session's thread, which may be interrupted -------------------------

    @property
    def has_news(self) -> bool:
        """True if there are bytes to take, or the lane has ended."""
        if self.state is LaneState.CLOSED:
            return False
        first = self._find_first()
        return self.state is LaneState.ENDED if first is None else first.has_bytes

    def take(self, buffers: Sequence[memoryview]) -> int:
        """Move bytes of one read into *buffers* in order, and return their number."""
        self._return_emptied()
        read = self._find_first()
        if self.state is LaneState.CLOSED or read is None or not read.has_bytes:
            return 0
        count = scatter(read.pending.buffer[read.taken : read.length], buffers)
        read.taken += count
        if read.is_emptied:
            self._to_submit.put(read)
        return count

    def close(self) -> None:
        """Stop using the lane."""
        self.state = LaneState.CLOSED
        self.cancel()

    def _find_first(self) -> QueuedRead | None:
        """Return the read whose bytes come next; None if none is in flight or full."""
        states = (ReadState.IN_FLIGHT, ReadState.FULL)
        reads = [each for each in self._reads if each.state in states and not each.is_emptied]
        return min(reads, key=lambda each: each.number, default=None)

    def _return_emptied(self) -> None:
        """Return the reads that an interrupted call has emptied and not returned."""
        for read in self._reads:
            if read.is_emptied:
                self._to_submit.put(read)

    # --- called by the handle's thread ----------------------------------------------------

    def on_read_end(self, read: QueuedRead, length: int, code: int) -> None:
        """Take the result of a read: its bytes, and an errno or 0."""
        with self._change:
            read.taken, read.length, read.code = 0, length, code
            if length:
                self._halts = 0
                read.state = ReadState.FULL
            elif code in (0, errno.ECANCELED, errno.ETIMEDOUT):
                read.state = ReadState.IDLE
            else:
                read.state = ReadState.FAILED
            self._change.notify_all()
        if read.state is ReadState.FULL:
            self._on_news()
        else:
            self._to_submit.put(read)

    # --- called by the submitter ----------------------------------------------------------

    def submit(self, read: QueuedRead) -> None:
        """Submit a read if it is free, and clear the halt that it failed for."""
        if self.state is not LaneState.OPEN:
            return
        if read.state is ReadState.FAILED:
            self._recover(read)
        elif read.state is ReadState.IDLE or read.is_emptied:
            self._submit(read)

    def end(self, reason: str) -> None:
        """Cancel the reads, keep the bytes that came, and mark the lane ENDED."""
        self.cancel()
        self.wait_until_idle(_CANCEL_S)
        if self.state is LaneState.OPEN:
            self.end_reason = reason
            self.state = LaneState.ENDED
            _log.debug("endpoint 0x%02x: %s", self.address, reason)
        self._on_news()

    def cancel(self) -> None:
        """Ask for the end of all reads in flight."""
        for read in self._reads:
            if read.state is ReadState.IN_FLIGHT:
                with contextlib.suppress(OSError):
                    read.pending.cancel()

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until no read is in flight, for up to *seconds*."""

        def is_idle() -> bool:
            return all(each.state is not ReadState.IN_FLIGHT for each in self._reads)

        with self._change:
            self._change.wait_for(is_idle, seconds)

    def _submit(self, read: QueuedRead) -> None:
        self._submissions += 1
        read.number = self._submissions
        read.state = ReadState.IN_FLIGHT
        try:
            read.pending.submit()
        except OSError as error:
            self.on_read_end(read, 0, error.errno or errno.EIO)

    def _recover(self, failed: QueuedRead) -> None:
        """If the module halted the endpoint, clear the halt; else end the lane.

        A host controller clears the halt of an endpoint only if no transfer waits there.
        """
        self._halts += 1
        if failed.code != errno.EPIPE or self._halts > _MAX_HALTS:
            self.end(describe_error(failed.code))
            return
        _log.debug("endpoint 0x%02x is halted: clear it, attempt %d", self.address, self._halts)
        self.cancel()
        self.wait_until_idle(_CANCEL_S)
        try:
            self._handle.clear_halt(self.address)
        except OSError as error:
            self.end(describe_error(error.errno or errno.EIO))
            return
        for read in self._reads:
            if read.state in (ReadState.IDLE, ReadState.FAILED):
                self._submit(read)


class Submitter(threading.Thread):
    """Submit reads, until :meth:`stop`; then end all reads and close the handle.

    It refers to the lanes, not to the transport. So the transport can be collected as garbage, and
    stops it then. A program that ends without closing its module stops it too: a read that is
    submitted while libusb is unloaded would crash the program.

    Attributes:
        lanes: the transport adds its lanes.
    """

    def __init__(self, handle: UsbHandle, to_submit: SubmitQueue) -> None:
        super().__init__(name="usb reads", daemon=True)
        self.lanes: list[UsbLane] = []
        self._handle = handle
        self._to_submit = to_submit
        atexit.register(self.shut_down)

    def run(self) -> None:
        while (read := self._to_submit.get()) is not None:
            try:
                read.lane.submit(read)
            except Exception as error:  # a thread that dies silently is a link that hangs
                _log.debug("a read failed", exc_info=True)
                read.lane.end(f"{type(error).__name__}: {error}")
        end = time.monotonic() + _CANCEL_S
        for lane in self.lanes:
            lane.close()
        for lane in self.lanes:
            lane.wait_until_idle(max(0.0, end - time.monotonic()))
        self._handle.close()

    def stop(self) -> None:
        """Ask for the end of the thread, and return at once."""
        atexit.unregister(self.shut_down)
        self._to_submit.put(None)

    def shut_down(self) -> None:
        """End the thread, which closes the handle. Return when that is done, or after 5 s."""
        self.stop()
        self.join(_SHUT_DOWN_S)


def describe_error(code: int) -> str:
    """Return what a transfer that failed with errno *code* means to the user, in a few words."""
    if code in (errno.ENODEV, errno.EIO):
        return "the module was unplugged"
    return f"the module's USB failed: {os.strerror(code)}"
