"""Look at the readers' entries from the writer's side: who has pinned what, and who died.

:class:`.writer.FrameRing` calls this before it takes a slot.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lenslink_protocol.ringlayout import (
    HEADER,
    PINS,
    READER,
    READERS,
    READERS_AT,
    Asleep,
    Policy,
    SlotState,
)

from . import segment
from .slot import Slot

# Slots in which no frame waits for a slow reader: one for a frame under way, one for the newest
# frame, and one for the frame that a reader with the policy ``latest`` has pinned.
_SPARE_SLOTS = 3
_REAP_S = 1.0
# The words of a reader's entry that RingReaderInfo shows.
_INFO_WORDS = ("pid", "policy", "delivered_frames", "skipped_frames", "dropped_frames")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RingReaderInfo:
    """Describe a reader, as the writer sees it."""

    pid: int
    policy: Policy
    delivered_frames: int
    skipped_frames: int
    dropped_frames: int


class ReaderTable:
    """Read the entries of a ring's readers in *control*, and clear those of dead readers.

    *descriptor* is the ring's file, whose locks tell which readers are alive. *slots* is the ring's
    number of slots.
    """

    def __init__(self, control: memoryview, descriptor: int, slots: int) -> None:
        self._control = control
        self._q = control.cast("Q")
        self._descriptor = descriptor
        self._reap_time = time.monotonic()
        self._max_waiting = max(1, slots - _SPARE_SLOTS)

    def is_pinned(self, index: int) -> bool:
        """Return True if a reader has pinned slot *index*."""
        wanted, pins = index + 1, READER.at["pins"] // 8
        return any(wanted in self._q[at + pins : at + pins + PINS] for at in self._list_entries())

    def is_awaited(self, slot: Slot, slots: Sequence[Slot]) -> bool:
        """Return True if *slot* is kept for a reader that wants every frame and has not read it.

        Only the reader's oldest frames are kept. So a reader that stops cannot fill the whole ring.
        """
        for at in self._list_entries():
            if self._q[at] == Policy.EVERY and self._is_unread(at, slot):
                older = [each for each in slots if each.take_number < slot.take_number]
                if sum(self._is_unread(at, each) for each in older) < self._max_waiting:
                    return True
        return False

    def reap_if_due(self) -> None:
        """Clear the entries of dead readers, at most once a second."""
        if time.monotonic() - self._reap_time > _REAP_S:
            self.reap()

    def reap(self) -> int:
        """Clear the entries of dead readers, and return their number."""
        self._reap_time = time.monotonic()
        count = 0
        for at in self._list_entries():
            if segment.try_lock(self._descriptor, 8 * at):
                for index in range(READER.size // 8 - 1, -1, -1):
                    self._q[at + index] = 0
                number = (8 * at - READERS_AT) // READER.size
                self._control[HEADER.at["asleep"] + number] = Asleep.AWAKE
                segment.unlock(self._descriptor, 8 * at)
                _log.debug("reader %d is dead: its entry is cleared", number)
                count += 1
        return count

    def list_readers(self) -> list[RingReaderInfo]:
        """Return the readers that are attached now."""
        readers = []
        for at in self._list_entries():
            pid, policy, *counts = (self._q[at + READER.at[name] // 8] for name in _INFO_WORDS)
            with contextlib.suppress(ValueError):
                readers.append(RingReaderInfo(pid, Policy(policy), *counts))
        return readers

    def _list_entries(self) -> list[int]:
        """Return the entries in use, as indices of 8-byte words."""
        first, step = READERS_AT // 8, READER.size // 8
        return [at for at in range(first, first + READERS * step, step) if self._q[at]]

    def _is_unread(self, at: int, slot: Slot) -> bool:
        """Return True if the slot's frame has ended, and the reader at *at* has not read it."""
        return (
            slot.state in (SlotState.FINISHED, SlotState.ABORTED)
            and self._q[at + READER.at["streams"] // 8] >> slot.stream & 1 == 1
            and self._q[at + READER.at["last_sequences"] // 8 + slot.stream] < slot.sequence
        )
