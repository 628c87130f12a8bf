"""A session's frames into a ring's slots: what the reassembly does to its memory, readers see."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from lenslink_protocol.manifest import Mode

from ..receive.frame_pool import Buffer, Pool
from .writer import Description, FrameRing, Slot

if TYPE_CHECKING:
    from ..receive.assembly import Assembly


class SlotPool(Pool):
    """A pool whose buffers are slots; where none is free, a frame gets memory that no reader sees.

    A buffer that is not released goes back when the last view of it is gone.
    """

    # Those that wait for the program would take the slots from those that come.
    max_waiting_frames = 1

    def __init__(self, ring: FrameRing) -> None:
        super().__init__(capacity=1)
        self.nonce = 0
        """Of the session."""
        self.modes: dict[int, Mode] = {}
        """Of the module, by number."""
        self._ring = ring
        self._slots: dict[int, tuple[Slot, weakref.finalize[..., Buffer]]] = {}

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        slot = self._ring.take(size)
        if slot is None:
            return super().acquire(size, frame)
        buffer, slot.memory = slot.memory, np.empty(0, np.uint8)
        end = weakref.finalize(buffer, self._let_go, id(buffer))
        end.atexit = False
        self._slots[id(buffer)] = (slot, end)
        return buffer

    def release(self, buffer: Buffer) -> None:
        if id(buffer) in self._slots:
            self._slots[id(buffer)][1]()
        else:
            super().release(buffer)

    def _let_go(self, key: int) -> None:
        self._slots.pop(key)[0].let_go()

    def _slot(self, assembly: Assembly) -> Slot | None:
        slot, _ = self._slots.get(id(assembly.buffer), (None, None))
        return slot

    def on_frame_begin(self, assembly: Assembly) -> None:
        slot = self._slot(assembly)
        if slot is None:
            self._ring.drop(assembly.stream)
        else:
            slot.begin(assembly.stream)

    def on_frame_start(self, assembly: Assembly) -> None:
        slot, start = self._slot(assembly), assembly.start
        if slot is None or start is None:
            return
        mode = self.modes.get(start.mode)
        slot.start(
            Description(
                self.nonce,
                assembly.number,
                start.pixel_format,
                start.width,
                start.height,
                start.stride,
                start.bits,
                start.cfa,
                start.orientation,
                start.white,
                start.gain_milli,
                start.black_milli,
                mode.active_area if mode else (0, 0, start.height, start.width),
                start.focus_mdpt,
                start.temperature_mc,
                start.timestamp_us,
                start.exposure_us,
            )
        )
        self.on_progress(assembly)

    def on_progress(self, assembly: Assembly) -> None:
        slot = self._slot(assembly)
        if slot is not None and assembly.start is not None:
            slot.rows(assembly.received_ranges.prefix // assembly.plan.stride)

    def on_frame_finish(self, assembly: Assembly) -> None:
        super().on_frame_finish(assembly)
        slot = self._slot(assembly)
        if slot is not None:
            assembly.buffer.flags.writeable = False
            received_ranges, height = assembly.received_ranges.count, assembly.plan.height
            slot.finish(assembly.is_complete, received_ranges, assembly.missing_ranges, height)
