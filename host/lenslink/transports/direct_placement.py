"""Memory for frames that the module writes to itself, as a sensor's DMA does: both sides of it.

It is cut into slots of one frame each. The host grants a slot, by counting up that slot's word in
the shared page; the module says which frame it fills it with, writes the pixels, says where each
tile's are in place of sending them, and gives the slot back (:mod:`.records`). A slot is granted
again once both have done with it.

Nothing keeps a module from writing at another time: what it has written is checked (CRC, coverage)
as if it had come over a wire, but the check holds for that moment, as with any DMA. So a frame that
ends before the module gave its slot back is copied, and what the program has is out of the reach of
a module that keeps its word.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..receive.frame_pool import Buffer, Pool
from .byte_ring import FrameRingError, fence
from .records import Record, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..receive.reassembly import Assembly

MAX_SLOTS = 8
SLOTS = 3
"""One that is filled, the next, and one that the program has in hand."""


class DirectPlacementPool(Pool):
    """The host's side: a pool whose buffers are slots, where the module has taken one for a frame.

    *memory* holds *slots* of them, *words* are the grants. A buffer that is not released goes back
    when the last view of it is gone.
    """

    def __init__(self, memory: NDArray[np.uint8], slots: int, words: memoryview) -> None:
        super().__init__()
        self.memory = memory
        self._slot_bytes = memory.size // slots
        self._words = words
        self._counts = [0] * slots
        # Whose each slot is: nobody's, the module's (granted, then taken for a frame), ours.
        self._idle = list(range(slots))
        self._granted: list[int] = []
        self._frames: dict[int, int] = {}
        self._ours: dict[int, tuple[int, weakref.finalize[..., Buffer]]] = {}
        self._turn = threading.Lock()

    def grant(self) -> None:
        """Let the module have a slot for its next frame, ahead of it; called when the host listens.

        That used last is still in the cache, as far as it fits.
        """
        if self._idle and not self._granted:
            slot = self._idle.pop()
            self._granted.append(slot)
            self._counts[slot] += 1
            fence(self._turn)
            self._words[slot] = self._counts[slot]

    # --- what the module says ---------------------------------------------------------------

    def taken(self, slot: int, frame: int) -> None:
        """The module fills that slot; :exc:`FrameRingError` if it was not granted."""
        if slot not in self._granted:
            raise FrameRingError(f"slot {slot} is taken, and was not granted")
        self._granted.remove(slot)
        self._frames[slot] = frame

    def returned(self, slot: int) -> None:
        """The module writes no more to it; :exc:`FrameRingError` if it did not have it."""
        if self._frames.pop(slot, None) is None:
            raise FrameRingError(f"slot {slot} is returned, and was not taken")
        self._let_go(slot)

    # --- as a pool --------------------------------------------------------------------------

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        for slot, number in self._frames.items():
            if number == frame and size <= self._slot_bytes and not self._is_ours(slot):
                start = slot * self._slot_bytes
                buffer = np.frombuffer(self.memory.data, np.uint8, size, start)
                end = weakref.finalize(buffer, self._release, id(buffer))
                end.atexit = False
                self._ours[id(buffer)] = (slot, end)
                return buffer
        return super().acquire(size, frame)

    def release(self, buffer: Buffer) -> None:
        if id(buffer) in self._ours:
            self._ours[id(buffer)][1]()
        else:
            super().release(buffer)

    def finished(self, assembly: Assembly) -> None:
        """Take it out of the module's reach, if it has not given the slot back."""
        slot, _ = self._ours.get(id(assembly.buffer), (None, None))
        if slot in self._frames:
            kept = assembly.buffer
            assembly.buffer = kept.copy()
            self.release(kept)

    def _release(self, key: int) -> None:
        slot, _ = self._ours.pop(key)
        self._let_go(slot)

    def _let_go(self, slot: int) -> None:
        """One side has done with it."""
        if slot not in self._frames and not self._is_ours(slot):
            self._idle.append(slot)

    def _is_ours(self, slot: int) -> bool:
        return any(slot == each for each, _ in self._ours.values())


class DirectFrame:
    """A frame that the module is about to write to *memory*, the slot that it has taken for it."""

    def __init__(
        self, slot: int, start: int, memory: memoryview, put: Callable[[bytes], None]
    ) -> None:
        self.memory = memory
        self._slot = slot
        self._start = start
        self._put = put

    def tile(self, header: bytes, at: int, length: int) -> None:
        """Say that the payload of a packet is there, from byte *at* of the frame on."""
        self._put(encode(Record.PLACED, length, self._start + at, header))

    def end(self) -> None:
        """Give the slot back, before the frame-end is sent: nothing more is written to it."""
        self._put(encode(Record.RETURNED, self._slot))


class FrameSlots:
    """The module's side; *put* sends a record to the host."""

    def __init__(
        self, memory: memoryview, slots: int, words: memoryview, put: Callable[[bytes], None]
    ) -> None:
        self._memory = memory
        self._slot_bytes = len(memory) // slots
        self._words = words
        self._counts = [0] * slots
        self._put = put
        self._turn = threading.Lock()

    @property
    def used(self) -> bool:
        """Whether the host has granted any: one that has its frames elsewhere never does."""
        return any(self._words)

    def take(self, frame: int, size: int) -> DirectFrame | None:
        """A slot for a frame of *size* bytes that begins now; None if none is granted."""
        if size > self._slot_bytes:
            return None
        for slot, count in enumerate(self._counts):
            if self._words[slot] != count:
                fence(self._turn)
                self._counts[slot] += 1
                self._put(encode(Record.TAKEN, slot, frame))
                start = slot * self._slot_bytes
                return DirectFrame(slot, start, self._memory[start : start + size], self._put)
        return None
