"""Receive a session's frames into the slots of a frame ring, where readers see them arrive.

:class:`lenslink.Device` creates the pool. The reassembly acquires buffers from it and reports each
step of a frame, which the pool passes on to the frame's :class:`.slot.Slot`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lenslink_protocol.manifest import Mode

from ..frame import find_active_area
from ..module_clock import FrameTime
from ..receive.frame_pool import Buffer, Pool
from .slot import Description, Slot
from .writer import FrameRing

if TYPE_CHECKING:
    from ..receive.assembly import Assembly


class SlotPool(Pool):
    """Hand out the slots of *ring* as buffers.

    When no slot is free, a frame gets memory that no reader sees. The slot of a buffer that is
    never released becomes free when the last view of the buffer is gone.
    """

    # Each frame that waits for the program occupies a slot that arriving frames need.
    max_waiting_frames = 1

    def __init__(self, ring: FrameRing) -> None:
        super().__init__(capacity=1)
        self.nonce = 0
        """The nonce of the session."""
        self.modes: dict[int, Mode] = {}
        """The module's modes by number."""
        self.find_time: Callable[[Assembly], FrameTime] = _find_no_time
        """Returns when a frame was exposed. The device sets it to Session.find_time()."""
        self._ring = ring
        self._slots: dict[int, tuple[Slot, weakref.finalize[..., Buffer]]] = {}

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        """Take a slot and return its memory; ordinary memory if no slot is free."""
        slot = self._ring.take(size)
        if slot is None:
            return super().acquire(size, frame)
        buffer, slot.memory = slot.memory, np.empty(0, np.uint8)
        end = weakref.finalize(buffer, self._let_go, id(buffer))
        end.atexit = False
        self._slots[id(buffer)] = (slot, end)
        return buffer

    def release(self, buffer: Buffer) -> None:
        """Take a buffer back, and end the writer's use of its slot."""
        if id(buffer) in self._slots:
            self._slots[id(buffer)][1]()
        else:
            super().release(buffer)

    def _let_go(self, key: int) -> None:
        self._slots.pop(key)[0].let_go()

    def _find_slot(self, assembly: Assembly) -> Slot | None:
        slot, _ = self._slots.get(id(assembly.buffer), (None, None))
        return slot

    def on_frame_begin(self, assembly: Assembly) -> None:
        slot = self._find_slot(assembly)
        if slot is None:
            self._ring.count_dropped(assembly.stream)
        else:
            slot.begin(assembly.stream)

    def on_frame_start(self, assembly: Assembly) -> None:
        slot, start = self._find_slot(assembly), assembly.frame_start
        if slot is None or start is None:
            return
        area = find_active_area(self.modes.get(start.mode), start)
        time = self.find_time(assembly)
        slot.start(Description(self.nonce, assembly.number, area, start, time))
        self.on_progress(assembly)

    def on_progress(self, assembly: Assembly) -> None:
        slot = self._find_slot(assembly)
        if slot is not None and assembly.frame_start is not None:
            slot.publish_rows(assembly.received_ranges.prefix // assembly.configuration.stride)

    def on_frame_finish(self, assembly: Assembly) -> None:
        super().on_frame_finish(assembly)
        slot = self._find_slot(assembly)
        if slot is not None:
            missing = assembly.missing_ranges
            assembly.buffer.flags.writeable = False
            received, height = assembly.received_ranges.count, assembly.configuration.height
            energy_uj = 0 if assembly.frame_end is None else assembly.frame_end.energy_uj
            slot.finish(assembly.is_intact, received, missing, height, energy_uj)


def _find_no_time(assembly: Assembly) -> FrameTime:
    del assembly
    return FrameTime()
