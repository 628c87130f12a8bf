"""Pass a stream of bytes between two processes through shared memory: one writes, one reads.

:mod:`.shm` makes a ring for each direction. :mod:`.records` reads one of them. Each side has a line
of two words that only that side writes. A word is an unsigned 64-bit number in the machine's byte
order, aligned, and the two lines lie on separate cache lines:

======  =====================================  =====================================
offset  the writer's line                      the reader's line
======  =====================================  =====================================
0       head: bytes written since the start    tail: bytes read since the start
8       wake: notify when tail reaches this    wake: notify when head reaches this
======  =====================================  =====================================

Byte *n* of the stream is at offset *n* modulo the ring's size, which is a power of two. The
counters start at 0 and only rise (2^64 bytes take centuries). The reader may read head - tail
bytes.

Before a side sleeps, it stores in ``wake`` the count that it waits for and looks once more. When
the other side moves its counter from *before* to *after*, it reads that word. It notifies the
sleeper if *before* < wake <= *after*. So each sleep costs one notification, and a side that is
awake gets none.

Memory order: a counter is stored after the bytes that it counts (release). Those bytes are touched
after the counter was loaded (acquire). A full fence stands between a store and the following load
of the other side's word. In C: ``atomic_store_explicit(.., memory_order_release)``,
``atomic_load_explicit(.., memory_order_acquire)``, ``atomic_thread_fence(memory_order_seq_cst)``.
Python has no such operations, so this module relies on two facts. CPython copies an item of a
``memoryview`` of format ``Q`` with one aligned 8-byte access. Taking and releasing a lock twice is
a full fence, because a later acquire cannot pass a release. x86 keeps loads in order and stores in
order by itself. There one locked instruction is enough for the full fence.

The peer's words are not trusted. A counter that goes back, or moves further than the ring allows,
raises :exc:`ByteRingError`. A side never reads its own counters back from the shared memory. Bytes
are copied out before they are checked, so that they cannot change afterwards.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence

LINE_BYTES = 16
"""Size of one side's two words."""
_COUNT, _WAKE = 0, 1
# A write is split into pieces of this size. The reader can start on the first piece while the next
# one is being copied.
_PIECE = 256 << 10
_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


class ByteRingError(Exception):
    """Raised when the peer's counter is impossible."""


def fence(lock: threading.Lock) -> None:
    """Execute a full memory fence; *lock* must belong to the caller."""
    with lock:
        pass
    if not _X86:
        with lock:
            pass


class _Side:
    """Hold what both sides have: their own count, the peer's count, and the bytes."""

    def __init__(self, data: memoryview, own_words: memoryview, peer_words: memoryview) -> None:
        self._data = data
        self._size = len(data)
        self._own_words = own_words.cast("Q")
        self._peer_words = peer_words.cast("Q")
        self._count = 0
        self._last_peer_count = 0
        self._fence_lock = threading.Lock()

    def close(self) -> None:
        """Release the memory."""
        for view in (self._own_words, self._peer_words, self._data):
            view.release()

    def _fence(self) -> None:
        fence(self._fence_lock)

    def _advance(self, count: int) -> bool:
        """Publish that the own count has risen; return True if the peer wants to be notified."""
        before = self._count
        if not _X86:
            self._fence()
        # The count is stored before it is published. An interrupt between the two loses nothing,
        # because the next call publishes both steps.
        self._count = after = before + count
        self._own_words[_COUNT] = after
        self._fence()
        wake: int = self._peer_words[_WAKE]
        return before < wake <= after

    def _split(self, count: int) -> list[memoryview]:
        """Return the next *count* bytes of the ring, in one or two pieces."""
        begin = self._count & (self._size - 1)
        end = begin + count
        if end <= self._size:
            return [self._data[begin:end]] if count else []
        return [self._data[begin:], self._data[: end - self._size]]


class ByteRingReader(_Side):
    """Read from a byte ring.

    *data* is the ring. *own_words* is the reader's line, *peer_words* the writer's. Every method
    that looks at the ring raises :exc:`ByteRingError` if the writer's count is impossible.
    """

    def count_readable(self) -> int:
        """Return how many bytes can be read."""
        head: int = self._peer_words[_COUNT]
        if not self._last_peer_count <= head <= self._count + self._size:
            raise ByteRingError(
                f"{head} bytes written after {self._last_peer_count}, {self._count} read"
            )
        self._last_peer_count = head
        if not _X86:
            self._fence()
        return head - self._count

    def get_views(self) -> list[memoryview]:
        """Return the readable bytes in place: two pieces, one, or none."""
        return self._split(self.count_readable())

    def consume(self, count: int) -> bool:
        """Free the first *count* readable bytes; return True if the writer wants to be notified."""
        return self._advance(count)

    def get_view(self, start: int, count: int) -> memoryview:
        """Return readable bytes from *start* on: *count* bytes, or fewer where the ring wraps."""
        begin = (self._count + start) & (self._size - 1)
        return self._data[begin : begin + count]

    def copy_to(self, start: int, target: memoryview) -> None:
        """Fill *target* with readable bytes from *start* on."""
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
        """Fill *buffers* in order, and return the number of bytes copied.

        *buffers* are contiguous. The bytes stay in the ring until :meth:`consume`.
        """
        left = readable = self.count_readable()
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
        return readable - left

    def prepare_sleep(self, count: int = 1) -> bool:
        """Ask for a notification once *count* bytes are readable; return False if they are."""
        if self.count_readable() >= count:
            return False
        self._own_words[_WAKE] = self._count + count
        self._fence()
        return self.count_readable() < count


class ByteRingWriter(_Side):
    """Write to a byte ring.

    *data* is the ring. *own_words* is the writer's line, *peer_words* the reader's. Every method
    that looks at the ring raises :exc:`ByteRingError` if the reader's count is impossible.
    """

    def count_free(self) -> int:
        """Return how many bytes can be written."""
        tail: int = self._peer_words[_COUNT]
        if not self._last_peer_count <= tail <= self._count:
            raise ByteRingError(
                f"{tail} bytes read after {self._last_peer_count}, {self._count} written"
            )
        self._last_peer_count = tail
        if not _X86:
            self._fence()
        return self._size - (self._count - tail)

    def get_views(self) -> list[memoryview]:
        """Return the free bytes in place: two pieces, one, or none."""
        return self._split(self.count_free())

    def commit(self, count: int) -> bool:
        """Publish the first *count* free bytes; return True if the reader wants to be notified."""
        return self._advance(count)

    def write(self, data: memoryview) -> tuple[int, bool]:
        """Write a first piece of *data*: as much as fits, but at most 256 KiB.

        Returns:
            The number of bytes written, and whether the reader wants to be notified.
        """
        count = min(len(data), self.count_free(), _PIECE)
        if not count:
            return 0, False
        begin = self._count & (self._size - 1)
        first = min(count, self._size - begin)
        self._data[begin : begin + first] = data[:first]
        if first < count:
            self._data[: count - first] = data[first:count]
        return count, self._advance(count)

    def prepare_sleep(self) -> bool:
        """Ask for a notification once half of the ring is free; return False if a byte is."""
        self._own_words[_WAKE] = max(1, self._count - self._size // 2)
        self._fence()
        return not self.count_free()
