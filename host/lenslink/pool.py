"""Memory for frames, used again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Buffer = NDArray[np.uint8]


class Pool:
    """Keeps up to *capacity* released buffers; those of another size are let go.

    A buffer that is never released is ordinary memory. Buffers come with whatever they held: the
    reassembly clears what a frame does not cover.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._free: list[Buffer] = []

    def acquire(self, size: int) -> Buffer:
        """A (size,) uint8 array, its contents undefined."""
        for index, buffer in enumerate(self._free):
            if buffer.size == size:
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
