"""Own a frame ring: its file, its slots, and the choice of the slot that is taken next.

A program creates a :class:`FrameRing` and passes it to :func:`lenslink.open`. The device then wraps
the ring in a :class:`.slot_pool.SlotPool`. The layout and the order of loads and stores are those
of :mod:`lenslink_protocol.ringlayout`. The package's docstring has the states of a slot.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ringlayout import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    MAX_SLOTS,
    PAYLOADS_AT,
    READER,
    READERS,
    READERS_AT,
    SLOT,
    SLOTS_AT,
    VERSION,
    file_bytes,
)

from ..arguments import check_whole_number
from ..context import ClosesOnExit
from ..errors import StorageError
from . import segment
from .doorbell import Doorbell
from .reader_table import ReaderTable, RingReaderInfo
from .slot import FrameCounts, Slot
from .sync import fence, order

# Sizes of payloads are rounded up to this: the largest page size of any supported machine.
_ROUNDING_BYTES = 65536
# Linux: map all pages at once, not one by one while a frame is received.
_MADV_POPULATE_WRITE = 23

_log = logging.getLogger(__name__)


class FrameRing(ClosesOnExit):
    """Create a ring of frames that other processes read: a context manager.

    Hand it to :func:`lenslink.open`. Frames are then received into its slots, and readers
    (:class:`lenslink.FrameRingReader`, or C by ``lenslink_ring_reader.h``) see them as they arrive.
    When the block ends, readers learn that the ring has ended, and its name is free. Frames that
    readers have pinned stay valid.

    Slots are used by frames under way, by one frame that waits for the program, and by frames that
    readers have pinned. Finished frames also wait for slow readers with the policy ``every``: in
    all slots but three, and in a ring of fewer than four slots in one. A slot's memory is allocated
    when it is first needed.

    Args:
        name: Letters, digits, '.', '_' and '-', up to 64.
        slots: The number of frames that the ring holds.
        frame_bytes: The size of the largest frame.

    Raises:
        DeviceBusy: The name has a living writer.
        UsageError: The name or a size is impossible.
        StorageError: There is no memory.

    >>> with lenslink.FrameRing("cam", frame_bytes=8192) as ring:
    ...     with lenslink.open("sim:?width=64&height=64", ring=ring) as device:
    ...         device.capture().release()
    ...     print(ring.name)
    cam
    """

    def __init__(self, name: str, slots: int = 6, *, frame_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        slots = check_whole_number("slots", slots, 1, MAX_SLOTS)
        frame_bytes = check_whole_number("frame_bytes", frame_bytes, 1, MAX_PAYLOAD_BYTES)
        path = segment.path_of(name)
        segment.clean()
        self.name = name
        self.path = path
        self.payload_bytes = -(-frame_bytes // _ROUNDING_BYTES) * _ROUNDING_BYTES
        """The number of bytes that a slot can hold."""
        size = file_bytes(slots, self.payload_bytes)
        self._descriptor = segment.create(path)
        self._end = weakref.finalize(self, _abandon, self._descriptor, self.path, os.getpid())
        try:
            os.ftruncate(self._descriptor, size)
            self._reserve(0, PAYLOADS_AT)
            self._map = mmap.mmap(self._descriptor, size)
        except OSError as error:
            self._end()
            raise StorageError(f"cannot make {self.path}: {error.strerror}") from None
        control = memoryview(self._map)[:PAYLOADS_AT]
        self._doorbell = Doorbell(self._map)
        self._counts = FrameCounts(control)
        self._readers = ReaderTable(control, self._descriptor, slots)
        self._slots = [Slot(i, control, self._doorbell, self._counts) for i in range(slots)]
        self._reserved_bytes = [0] * slots
        self._take_count = 0
        self._is_closed = False
        self._write_header(control, slots, size)
        _log.debug("frame ring %s: %d slots of %d bytes", name, slots, self.payload_bytes)

    def _write_header(self, control: memoryview, slots: int, size: int) -> None:
        values = {
            "version": VERSION,
            "header_bytes": HEADER.size,
            "file_bytes": size,
            "slots": slots,
            "readers": READERS,
            "readers_at": READERS_AT,
            "reader_bytes": READER.size,
            "slots_at": SLOTS_AT,
            "slot_bytes": SLOT.size,
            "payloads_at": PAYLOADS_AT,
            "payload_bytes": self.payload_bytes,
            "writer_pid": os.getpid(),
        }
        views = {"Q": control.cast("Q"), "I": control.cast("I")}
        for word in HEADER.words:
            if word.name in values:
                views[word.code][word.offset // word.size] = values[word.name]
        order()
        views["Q"][0] = MAGIC

    # --- slots ----------------------------------------------------------------------------

    def take(self, size: int) -> Slot | None:
        """Take a slot for a frame of *size* bytes. The frame that was in the slot is lost.

        Returns None if all slots are in use, pinned, or kept for a reader. Raises
        :exc:`~lenslink.errors.StorageError` if there is no memory.
        """
        if self._is_closed:
            return None
        if size > self.payload_bytes:
            raise StorageError(
                f"the frame ring {self.name} has slots of {self.payload_bytes} bytes: "
                f"a frame has {size}"
            )
        self._readers.reap_if_due()
        while True:
            # Take the slot of the oldest frame, so that a late reader still finds the newest.
            for slot in sorted(self._slots, key=lambda each: each.take_number):
                if slot.is_in_use or self._readers.is_awaited(slot, self._slots):
                    continue
                if self._void(slot):
                    self._take_count += 1
                    slot.prepare(self._allocate(slot.index, size), self._take_count)
                    return slot
            if not self._readers.reap():
                return None

    def count_dropped(self, stream: int) -> None:
        """Count a frame of *stream* that begins and for which no slot is free."""
        _log.debug("stream %d: no slot is free, a frame is dropped", stream)
        self._counts.count_dropped(stream)

    def _void(self, slot: Slot) -> bool:
        """Make the slot's frame invalid for readers; return False if a reader has pinned it."""
        if self._readers.is_pinned(slot.index):
            return False
        before = slot.advance_generation()
        fence()
        if self._readers.is_pinned(slot.index):
            # A reader pinned the slot between the two checks. It may have read the old state word
            # and then delivers the frame. So the slot stays as it was: restore that word.
            slot.restore(before)
            return False
        return True

    def _reserve(self, at: int, size: int) -> None:
        """Allocate memory now. A later access to memory that is not there would raise SIGBUS."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._descriptor, at, size)

    def _allocate(self, index: int, size: int) -> NDArray[np.uint8]:
        """Return (size,) uint8: the start of a slot's payload, allocated if necessary."""
        at = PAYLOADS_AT + index * self.payload_bytes
        if size > self._reserved_bytes[index]:
            try:
                self._reserve(at, size)
            except OSError as error:
                raise StorageError(
                    f"no memory for a frame of {size} bytes in {self.path.parent}: {error.strerror}"
                ) from None
            self._reserved_bytes[index] = size
            with contextlib.suppress(OSError):
                self._map.madvise(
                    _MADV_POPULATE_WRITE, at, -(-size // _ROUNDING_BYTES) * _ROUNDING_BYTES
                )
        return np.frombuffer(self._map, np.uint8, size, at)

    # --- readers --------------------------------------------------------------------------

    @property
    def readers(self) -> list[RingReaderInfo]:
        """The readers that are attached now."""
        return self._readers.list_readers()

    @property
    def begun_frames(self) -> int:
        """The number of frames begun, including dropped ones."""
        return sum(self._counts.begun)

    @property
    def dropped_frames(self) -> int:
        """The number of frames that no reader got because no slot was free at their start."""
        return sum(self._counts.dropped)

    # --- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """End the ring: tell its readers, and free its name. Idempotent; never raises."""
        if self._is_closed:
            return
        self._is_closed = True
        for slot in self._slots:
            slot.let_go()
        memoryview(self._map)[:PAYLOADS_AT].cast("I")[HEADER.at["closed"] // 4] = 1
        self._doorbell.notify_change()
        self._doorbell.wake_all()
        self._end()
        _log.debug("frame ring %s is closed", self.name)

    @property
    def is_closed(self) -> bool:
        """True once the ring has been closed."""
        return self._is_closed


def _abandon(descriptor: int, path: Path, pid: int) -> None:
    """Remove the file and release the writer's lock.

    close() calls this, and so does the program's end if the ring was not closed.
    """
    # A fork has its own copy of the ring, but the file and the lock are the parent's.
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                path.unlink()
        # Closing the descriptor does not release the lock: the mapping holds the file open.
        segment.unlock(descriptor, segment.WRITER)
        segment.close(descriptor)
