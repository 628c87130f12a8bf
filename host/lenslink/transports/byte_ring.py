"""A ring of bytes in memory that two processes share: one writes, one reads.

Each side has a line of two words that it alone writes, unsigned 64-bit in the machine's own byte
order, aligned, on a cache line of its own:

======  =====================================  =====================================
offset  the writer's line                      the reader's line
======  =====================================  =====================================
0       head: bytes written since the start    tail: bytes read since the start
8       wake: ring when tail reaches this      wake: ring when head reaches this
======  =====================================  =====================================

Byte *n* of the stream is at offset *n* modulo the ring's size, a power of two. The counters start
at 0 and only rise (2^64 bytes take centuries), so head - tail is what is there to read. A side that
has nothing to do stores in ``wake`` the count that it waits for, looks once more, and sleeps. The
other side, whenever it has moved its counter from *before* to *after*, reads that word and rings if
*before* < wake <= *after*; so one sleep costs one ring, and nobody rings for a side that is awake.

Order in memory: a counter is stored after the bytes that it speaks of (release), those bytes are
touched after it was loaded (acquire), and between a store and the load that follows it in the
paragraph above stands a full fence. In C: ``atomic_store_explicit(.., memory_order_release)``,
``atomic_load_explicit(.., memory_order_acquire)``, ``atomic_thread_fence(memory_order_seq_cst)``.
Python has no such words. What is relied on here: an item of a ``memoryview`` of format ``Q`` is
copied by one aligned 8-byte access, and taking and releasing a lock twice is a full fence: a
release is not passed by a later acquire. x86 keeps loads in order, and stores in order, by itself;
there only the full fence is left, for which one locked instruction does.

Nothing that the other side stores is believed: a counter that goes back, or further than the ring
allows, is a :exc:`FrameRingError`. Our own counters are never read back from the shared memory, and
bytes are copied out before anybody judges them, so that they cannot change afterwards.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence

LINE_BYTES = 16
"""Of a side's two words."""
_COUNT, _WAKE = 0, 1
# A reader can begin with the first of what a long write brings while the rest is being copied.
_PIECE = 256 << 10
_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


class FrameRingError(Exception):
    """Raised when the other side's counter cannot be true."""


def fence(turn: threading.Lock) -> None:
    """Nothing passes it in either direction; *turn* is of whoever calls."""
    with turn:
        pass
    if not _X86:
        with turn:
            pass


class _Side:
    """What both sides have: our count, the other's, and the bytes."""

    def __init__(self, data: memoryview, mine: memoryview, theirs: memoryview) -> None:
        self._data = data
        self._size = len(data)
        self._mine = mine.cast("Q")
        self._theirs = theirs.cast("Q")
        self._count = 0
        self._seen = 0
        self._turn = threading.Lock()

    def close(self) -> None:
        """Let go of the memory."""
        for view in (self._mine, self._theirs, self._data):
            view.release()

    def _fence(self) -> None:
        fence(self._turn)

    def _move(self, count: int) -> bool:
        """Say that our count has risen; whether the other side wants to be woken."""
        before = self._count
        if not _X86:
            self._fence()
        # In this order an interrupt between the two loses nothing: the next move says both.
        self._count = after = before + count
        self._mine[_COUNT] = after
        self._fence()
        wake: int = self._theirs[_WAKE]
        return before < wake <= after

    def _views(self, count: int) -> list[memoryview]:
        """The next *count* bytes of the ring, in one piece or two."""
        begin = self._count & (self._size - 1)
        end = begin + count
        if end <= self._size:
            return [self._data[begin:end]] if count else []
        return [self._data[begin:], self._data[: end - self._size]]


class FrameRingReader(_Side):
    """The reader's side; *mine* and *theirs* are the lines, *data* is the ring.

    Every method that looks at the ring raises :exc:`FrameRingError`.
    """

    def available(self) -> int:
        """How many bytes are there."""
        head: int = self._theirs[_COUNT]
        if not self._seen <= head <= self._count + self._size:
            raise FrameRingError(f"{head} bytes written after {self._seen}, {self._count} read")
        self._seen = head
        if not _X86:
            self._fence()
        return head - self._count

    def views(self) -> list[memoryview]:
        """What is there, in place: one piece or two, or none."""
        return self._views(self.available())

    def take(self, count: int) -> bool:
        """The first *count* bytes are done with; whether the writer wants to be woken."""
        return self._move(count)

    def view(self, start: int, count: int) -> memoryview:
        """What is there, *start* bytes on: *count* bytes, or as many as lie in one piece."""
        begin = (self._count + start) & (self._size - 1)
        return self._data[begin : begin + count]

    def copy(self, start: int, target: memoryview) -> None:
        """Copy from what is there, *start* bytes on, as much as *target* holds."""
        data, size = self._data, self._size
        begin = (self._count + start) & (size - 1)
        length = len(target)
        end = begin + length
        if end <= size:
            target[:] = data[begin:end]
        else:
            first = size - begin
            target[:first] = data[begin:]
            target[first:] = data[: length - first]

    def read_into(self, buffers: Sequence[memoryview]) -> int:
        """Fill *buffers*, which are contiguous bytes, in order; how many bytes came.

        They remain in the ring until :meth:`take`.
        """
        left = available = self.available()
        if not left:
            return 0
        data, size = self._data, self._size
        begin = self._count & (size - 1)
        for buffer in buffers:
            length = len(buffer)
            end = begin + length
            if length <= left and end <= size:
                buffer[:] = data[begin:end]
                begin = end
                left -= length
            else:
                length = min(length, left)
                first = min(length, size - begin)
                buffer[:first] = data[begin : begin + first]
                buffer[first:length] = data[: length - first]
                begin = (begin + length) & (size - 1)
                left -= length
                if not left:
                    break
        return available - left

    def is_idle(self) -> bool:
        """Ask to be woken by the next byte; True if none is there, so that one may sleep."""
        return self.is_short(1)

    def is_short(self, count: int) -> bool:
        """The same until *count* bytes are there."""
        if self.available() >= count:
            return False
        self._mine[_WAKE] = self._count + count
        self._fence()
        return self.available() < count


class RingWriter(_Side):
    """The writer's side; *mine* and *theirs* are the lines, *data* is the ring.

    Every method that looks at the ring raises :exc:`FrameRingError`.
    """

    def free(self) -> int:
        """How many bytes have room."""
        tail: int = self._theirs[_COUNT]
        if not self._seen <= tail <= self._count:
            raise FrameRingError(f"{tail} bytes read after {self._seen}, {self._count} written")
        self._seen = tail
        if not _X86:
            self._fence()
        return self._size - (self._count - tail)

    def views(self) -> list[memoryview]:
        """The room, in place: one piece or two, or none."""
        return self._views(self.free())

    def put(self, count: int) -> bool:
        """The first *count* bytes of the room are filled; whether the reader wants to be woken."""
        return self._move(count)

    def write(self, data: memoryview) -> tuple[int, bool]:
        """Put in what has room of *data*, or a first piece of it.

        How many bytes that was, and whether the reader wants to be woken.
        """
        count = min(len(data), self.free(), _PIECE)
        if not count:
            return 0, False
        begin = self._count & (self._size - 1)
        first = min(count, self._size - begin)
        self._data[begin : begin + first] = data[:first]
        if first < count:
            self._data[: count - first] = data[first:count]
        return count, self._move(count)

    def is_full(self) -> bool:
        """Ask to be woken once half of the ring is free; True if nothing is, so as to sleep."""
        self._mine[_WAKE] = max(1, self._count - self._size // 2)
        self._fence()
        return not self.free()
