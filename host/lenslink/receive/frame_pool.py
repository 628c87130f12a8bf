"""Memory for frames, used again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .reassembly import Assembly

Buffer = NDArray[np.uint8]


class Pool:
    """Keeps up to *capacity* released buffers; those of another size are let go.

    A buffer that is never released is ordinary memory. Buffers come with whatever they held: the
    reassembly clears what a frame does not cover.
    """

    waiting = 4
    """How many finished frames of a stream may wait to be taken: then the oldest are dropped."""

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._free: list[Buffer] = []

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        """A (size,) uint8 array for frame number *frame*, its contents undefined."""
        # What was used last is still in the cache, as far as it fits.
        for index in range(len(self._free) - 1, -1, -1):
            if self._free[index].size == size:
                return self._free.pop(index)
        return np.empty(size, dtype=np.uint8)

    def clear(self) -> None:
        """Let go of all that is kept."""
        self._free.clear()

    def release(self, buffer: Buffer) -> None:
        """Take a buffer back."""
        self._free.append(buffer)
        if len(self._free) > self._capacity:
            del self._free[0]

    # What is told to those whose memory others see (a ring's); here it concerns nobody.

    def begun(self, assembly: Assembly) -> None:
        """A frame was begun in ``assembly.buffer``."""

    def started(self, assembly: Assembly) -> None:
        """Its frame-start has come."""

    def advanced(self, assembly: Assembly) -> None:
        """More of it is covered: told once a tile, or once for many."""

    def finished(self, assembly: Assembly) -> None:
        """Nothing more of it will come."""
