"""Let the module write pixels straight into the host's frames, as a sensor's DMA does.

This file has both sides of direct placement. :class:`.shm.ShmEnd` creates them. The host's side is
a pool of zero-copy buffers (:class:`DirectPlacementPool`) that the reassembly allocates from. The
module's side is :class:`FrameSlots`. They share memory that is cut into slots of one frame each.

The host grants a slot by counting up that slot's word in the shared page. The module announces
which frame it writes to the slot, writes the pixels, says where each tile lies instead of sending
it, and returns the slot (:mod:`.records`). A slot as the host sees it::

    state      event                               next state
    ---------  ----------------------------------  ----------
    IDLE       grant()                             GRANTED
    GRANTED    the module takes the slot           FILLING
    FILLING    the reassembly acquires its buffer  SHARED
    FILLING    the module returns the slot         IDLE
    SHARED     the module returns the slot         HELD
    SHARED     the buffer is released              FILLING
    HELD       the buffer is released              IDLE

Any other message of the module raises :exc:`ByteRingError`.

Nothing stops a module from writing at another time. Its pixels are checked (CRC, received ranges)
as if they had come over a wire, but the check holds only for that moment, as with any DMA.
Therefore a frame that ends in the state SHARED is copied. The program's copy is then out of reach
of a module that writes until it returns its slot.
"""

from __future__ import annotations

import enum
import logging
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..receive.frame_pool import Buffer, Pool
from .byte_ring import ByteRingError, fence
from .records import Record, encode_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..receive.assembly import Assembly

MAX_SLOTS = 8
SLOTS = 3
"""One slot is being filled, one is next, and the program holds one."""

_log = logging.getLogger(__name__)


class SlotState(enum.Enum):
    """Say who may use a slot; the module's docstring has the transitions."""

    IDLE = enum.auto()
    GRANTED = enum.auto()
    FILLING = enum.auto()
    SHARED = enum.auto()
    HELD = enum.auto()


class DirectPlacementPool(Pool):
    """Hand out slots as buffers where the module has taken one for a frame; the host's side.

    *memory* holds *slots* slots, and *words* are their grants. The slot of a buffer that is never
    released becomes free when the last view of the buffer is gone.
    """

    def __init__(self, memory: NDArray[np.uint8], slots: int, words: memoryview) -> None:
        super().__init__()
        self.memory = memory
        self._slot_bytes = memory.size // slots
        self._words = words
        self._grant_counts = [0] * slots
        self._states = [SlotState.IDLE] * slots
        self._idle_slots = list(range(slots))
        self._frame_numbers = [-1] * slots
        self._buffers: dict[int, tuple[int, weakref.finalize[..., Buffer]]] = {}
        self._fence_lock = threading.Lock()

    def grant(self) -> None:
        """Grant a slot for the module's next frame, unless a slot is granted already.

        The transport calls this whenever the host waits for bytes. The most recently used slot is
        granted first, because part of its memory may still be in the cache.
        """
        if self._idle_slots and SlotState.GRANTED not in self._states:
            slot = self._idle_slots.pop()
            self._set_state(slot, SlotState.GRANTED)
            self._grant_counts[slot] += 1
            fence(self._fence_lock)
            self._words[slot] = self._grant_counts[slot]

    # --- what the module says ---------------------------------------------------------------

    def on_slot_taken(self, slot: int, frame: int) -> None:
        """Record that the module fills *slot*. Raise :exc:`ByteRingError` if it was not granted."""
        if slot >= len(self._states) or self._states[slot] is not SlotState.GRANTED:
            raise ByteRingError(f"slot {slot} is taken, and was not granted")
        self._frame_numbers[slot] = frame
        self._set_state(slot, SlotState.FILLING)

    def on_slot_returned(self, slot: int) -> None:
        """Record that the module returns *slot*. Raise :exc:`ByteRingError` if it had none."""
        state = self._states[slot] if slot < len(self._states) else None
        if state not in (SlotState.FILLING, SlotState.SHARED):
            raise ByteRingError(f"slot {slot} is returned, and was not taken")
        is_shared = state is SlotState.SHARED
        self._set_state(slot, SlotState.HELD if is_shared else SlotState.IDLE)

    # --- as a pool --------------------------------------------------------------------------

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        """Return the zero-copy buffer that the module fills with *frame*.

        If the module sends this frame as bytes, return ordinary memory.
        """
        if size <= self._slot_bytes:
            for slot, state in enumerate(self._states):
                if state is SlotState.FILLING and self._frame_numbers[slot] == frame:
                    self._set_state(slot, SlotState.SHARED)
                    start = slot * self._slot_bytes
                    buffer = np.frombuffer(self.memory.data, np.uint8, size, start)
                    end = weakref.finalize(buffer, self._release_slot, id(buffer))
                    end.atexit = False
                    self._buffers[id(buffer)] = (slot, end)
                    return buffer
        return super().acquire(size, frame)

    def release(self, buffer: Buffer) -> None:
        """Take a buffer back. Its slot is idle as soon as the module has returned the slot too."""
        if id(buffer) in self._buffers:
            self._buffers[id(buffer)][1]()
        else:
            super().release(buffer)

    def on_frame_finish(self, assembly: Assembly) -> None:
        """Copy the frame if the module may still write to its slot; then clear missing bytes."""
        slot, _ = self._buffers.get(id(assembly.buffer), (None, None))
        if slot is not None and self._states[slot] is SlotState.SHARED:
            shared = assembly.buffer
            assembly.buffer = shared.copy()
            self.release(shared)
        super().on_frame_finish(assembly)

    def _release_slot(self, key: int) -> None:
        slot, _ = self._buffers.pop(key)
        is_shared = self._states[slot] is SlotState.SHARED
        self._set_state(slot, SlotState.FILLING if is_shared else SlotState.IDLE)

    def _set_state(self, slot: int, state: SlotState) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "slot %d (frame %d): %s -> %s",
                slot,
                self._frame_numbers[slot],
                self._states[slot].name,
                state.name,
            )
        self._states[slot] = state
        if state is SlotState.IDLE:
            self._idle_slots.append(slot)


class DirectFrame:
    """Write one frame to *memory*, the slot that the module has taken for it."""

    def __init__(
        self, slot: int, start: int, memory: memoryview, send_record: Callable[[bytes], None]
    ) -> None:
        self.memory = memory
        self._slot = slot
        self._start = start
        self._send_record = send_record

    def announce_tile(self, header: bytes, at: int, length: int) -> None:
        """Tell the host that a packet's payload lies in the frame, from byte *at* on."""
        self._send_record(encode_record(Record.TILE, length, self._start + at, header))

    def return_slot(self) -> None:
        """Return the slot to the host: call this before FrameEnd, and write nothing afterwards."""
        self._send_record(encode_record(Record.RETURNED, self._slot))


class FrameSlots:
    """Take slots for frames; the module's side. *send_record* sends a record to the host."""

    def __init__(
        self,
        memory: memoryview,
        slots: int,
        words: memoryview,
        send_record: Callable[[bytes], None],
    ) -> None:
        self._memory = memory
        self._slot_bytes = len(memory) // slots
        self._words = words
        self._grant_counts = [0] * slots
        self._send_record = send_record
        self._fence_lock = threading.Lock()

    @property
    def has_grants(self) -> bool:
        """True if the host has ever granted a slot; a host with memory of its own never does."""
        return any(self._words)

    def take_slot(self, frame: int, size: int) -> DirectFrame | None:
        """Take a slot for a frame of *size* bytes and tell the host; None if none is granted."""
        if size > self._slot_bytes:
            return None
        for slot, count in enumerate(self._grant_counts):
            if self._words[slot] != count:
                fence(self._fence_lock)
                self._grant_counts[slot] += 1
                self._send_record(encode_record(Record.TAKEN, slot, frame))
                start = slot * self._slot_bytes
                memory = self._memory[start : start + size]
                return DirectFrame(slot, start, memory, self._send_record)
        return None
