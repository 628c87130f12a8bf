"""Lend memory for frames, and use it again.

:class:`.reassembly.Reassembly` acquires a buffer for each frame. The frame's user releases it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .assembly import Assembly

Buffer = NDArray[np.uint8]


class Pool:
    """Keeps up to *capacity* released buffers; older ones are freed.

    A buffer that is never released is ordinary memory. A buffer comes with any content: the
    reassembly clears the bytes of a frame that do not arrive.

    Pools whose memory others see, as a frame ring's, override the methods ``on_...``.

    >>> pool = Pool()
    >>> first = pool.acquire(100)
    >>> pool.release(first)
    >>> pool.acquire(100) is first
    True
    """

    max_waiting_frames = 4
    """Finished frames of a stream that may wait to be taken. Then the oldest is dropped."""

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._free: list[Buffer] = []

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        """Return a (size,) uint8 array for frame number *frame*, with any content."""
        # Prefer the most recently used buffer: part of it may still be in the cache.
        for index in range(len(self._free) - 1, -1, -1):
            if self._free[index].size == size:
                return self._free.pop(index)
        return np.empty(size, dtype=np.uint8)

    def clear(self) -> None:
        """Free all released buffers that the pool has kept."""
        self._free.clear()

    def release(self, buffer: Buffer) -> None:
        """Take a buffer back."""
        self._free.append(buffer)
        if len(self._free) > self._capacity:
            del self._free[0]

    def on_frame_begin(self, assembly: Assembly) -> None:
        """A frame was opened in ``assembly.buffer``."""

    def on_frame_start(self, assembly: Assembly) -> None:
        """The frame's FrameStart has arrived."""

    def on_progress(self, assembly: Assembly) -> None:
        """More of the frame has arrived: called once for each tile, or once for many."""

    def on_frame_finish(self, assembly: Assembly) -> None:
        """Set the bytes that did not arrive to zero. Nothing more of the frame will arrive."""
        assembly.clear_missing()
