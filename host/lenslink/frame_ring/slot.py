"""Write one slot of a frame ring: the frame's description, its rows, and its end.

:class:`.slot_pool.SlotPool` calls :meth:`.writer.FrameRing.take` and then the methods of
:class:`Slot` in their order. The package's docstring has the states and transitions.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.messages import FrameStart
from lenslink_protocol.params import MAX_STREAMS
from lenslink_protocol.ringlayout import (
    GENERATION_SHIFT,
    HEADER,
    MAX_MISSING_RANGES,
    SLOT,
    SLOTS_AT,
    FrameState,
    SlotState,
)

from ..module_clock import FrameTime
from .doorbell import Doorbell
from .sync import order

_DESCRIPTION = struct.Struct("<3I4I2Q")
_ENDING = struct.Struct(f"<QQQII{2 * MAX_MISSING_RANGES}Q")
_STATE_MASK = (1 << GENERATION_SHIFT) - 1

_log = logging.getLogger(__name__)


class Description(NamedTuple):
    """Describe a frame at its start: what its FrameStart says, and what the driver adds."""

    nonce: int
    number: int
    active_area: tuple[int, int, int, int]
    start: FrameStart
    time: FrameTime = FrameTime()


class FrameCounts:
    """Count the frames of each stream in the ring's header, whose words are in *control*.

    The counts are never read back: a reader that damages them cannot mislead the writer.
    """

    def __init__(self, control: memoryview) -> None:
        self._q = control.cast("Q")
        self.begun = [0] * MAX_STREAMS
        self.dropped = [0] * MAX_STREAMS

    def count_begun(self, stream: int) -> None:
        """Count a frame that begins."""
        self.begun[stream] += 1
        self._q[HEADER.at["frame_counts"] // 8 + stream] = self.begun[stream]

    def count_dropped(self, stream: int) -> None:
        """Count a frame that begins and for which there is no slot."""
        self.count_begun(stream)
        self.dropped[stream] += 1
        self._q[HEADER.at["drop_counts"] // 8 + stream] = self.dropped[stream]


class Slot:
    """Write slot number *index*, whose words are in *control*, and notify readers by *doorbell*."""

    def __init__(
        self, index: int, control: memoryview, doorbell: Doorbell, counts: FrameCounts
    ) -> None:
        self.index = index
        self.is_in_use = False
        """True while the writer uses the slot."""
        self.take_number = 0
        """The ring's count of takes when the slot was last taken."""
        self.stream = 0
        self.sequence = 0
        self.memory = np.empty(0, np.uint8)
        """The frame's memory, between :meth:`.writer.FrameRing.take` and :meth:`let_go`."""
        self._control = control
        self._q, self._i = control.cast("Q"), control.cast("I")
        self._doorbell = doorbell
        self._counts = counts
        self._at = SLOTS_AT + index * SLOT.size
        self._rows_at = (self._at + SLOT.at["rows_ready"]) // 8
        self._rows = 0
        self._state_word = 0

    @property
    def state(self) -> SlotState:
        """The slot's state, as the writer last stored it."""
        return SlotState(self._state_word & _STATE_MASK)

    # --- for the ring -----------------------------------------------------------------------

    def advance_generation(self) -> int:
        """Store a state word of the next generation, FREE; return the old one."""
        before = self._state_word
        self._store(((before >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT | SlotState.FREE)
        return before

    def restore(self, state_word: int) -> None:
        """Store an old state word again, because a reader has pinned the slot meanwhile."""
        self._store(state_word)
        self._doorbell.notify_change()

    def prepare(self, memory: NDArray[np.uint8], number: int) -> None:
        """Start the writer's use of the slot, with *memory* for the frame."""
        self.memory = memory
        self.is_in_use = True
        self.take_number = number
        self._rows = 0
        self._set("rows_ready", 0)
        self._set("first_rows_ns", 0)

    # --- the frame --------------------------------------------------------------------------

    def begin(self, stream: int) -> None:
        """Announce a frame of *stream* whose first packet has arrived."""
        self.stream = stream
        self.sequence = self._counts.begun[stream] + 1
        self._i[(self._at + SLOT.at["stream"]) // 4] = stream
        self._set("sequence", self.sequence)
        self._set("begin_ns", time.monotonic_ns())
        self._set_state(SlotState.FILLING)
        # Count the frame last. A reader that joins meanwhile either finds the frame among those
        # under way, or reads a count without the frame and takes it for one that is to begin.
        self._counts.count_begun(stream)
        self._doorbell.count_change()

    def start(self, description: Description) -> None:
        """Publish the frame's description: from now on, readers may read its rows."""
        nonce, number, area, start, time = description
        self._write("nonce", _DESCRIPTION.pack(nonce, number, 0, *area, *time))
        self._write("frame_start", start.encode())
        self._set_state(SlotState.STARTED)
        self._doorbell.count_change()

    def publish_rows(self, count: int) -> None:
        """Publish that the first *count* rows have arrived and passed their CRCs."""
        if count <= self._rows:
            return
        if not self._rows:
            self._set("first_rows_ns", time.monotonic_ns())
        self._rows = count
        order()
        self._q[self._rows_at] = count
        self._doorbell.notify_rows()

    def finish(
        self,
        complete: bool,
        received: int,
        missing: Sequence[tuple[int, int]],
        rows: int,
        energy_uj: int = 0,
    ) -> None:
        """Publish that nothing of the frame will change any more.

        Args:
            complete: All bytes have arrived.
            received: The number of bytes that arrived and passed their CRC.
            missing: Half-open ranges of bytes that did not arrive, which are 0.
            rows: The number of rows that readers may read.
            energy_uj: The energy that the FrameEnd reports; 0 if it is unknown.
        """
        if not self._rows:
            self._set("first_rows_ns", time.monotonic_ns())
        self._rows = rows
        self._set("rows_ready", rows)
        self._store_end(complete, received, missing, energy_uj)
        self._set_state(SlotState.FINISHED)
        self._doorbell.notify_change()

    def let_go(self) -> None:
        """End the writer's use of the slot, and abort a frame that is unfinished. Idempotent."""
        if not self.is_in_use:
            return
        self.is_in_use = False
        self.memory = np.empty(0, np.uint8)
        if self.state in (SlotState.FILLING, SlotState.STARTED):
            self._store_end(False, 0, ())
            self._set_state(SlotState.ABORTED)
            self._doorbell.notify_change()

    def _store_end(
        self,
        complete: bool,
        received: int,
        missing: Sequence[tuple[int, int]],
        energy_uj: int = 0,
    ) -> None:
        ranges = list(missing)
        if len(ranges) > MAX_MISSING_RANGES:
            last = (ranges[MAX_MISSING_RANGES - 1][0], ranges[-1][1])
            ranges = [*ranges[: MAX_MISSING_RANGES - 1], last]
        flat = [byte for both in ranges for byte in both]
        flat += [0] * (2 * MAX_MISSING_RANGES - len(flat))
        status = FrameState.COMPLETE if complete else FrameState.INCOMPLETE
        now = time.monotonic_ns()
        ending = _ENDING.pack(now, received, energy_uj, status, len(ranges), *flat)
        self._write("end_ns", ending)

    def _set_state(self, state: SlotState) -> None:
        order()
        self._store(self._state_word >> GENERATION_SHIFT << GENERATION_SHIFT | state)

    def _store(self, state_word: int) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "slot %d, stream %d sequence %d: %s -> %s, generation %d",
                self.index,
                self.stream,
                self.sequence,
                self.state.name,
                SlotState(state_word & _STATE_MASK).name,
                state_word >> GENERATION_SHIFT,
            )
        self._state_word = self._q[self._at // 8] = state_word

    def _write(self, first: str, data: bytes) -> None:
        """Store *data* in the word called *first* and those that follow it."""
        at = self._at + SLOT.at[first]
        self._control[at : at + len(data)] = data

    def _set(self, name: str, value: int) -> None:
        self._q[(self._at + SLOT.at[name]) // 8] = value
