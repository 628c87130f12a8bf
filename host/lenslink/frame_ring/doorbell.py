"""Count the changes of a frame ring and wake the readers that sleep: the writer's side.

:class:`.writer.FrameRing` and :class:`.slot.Slot` call this. :mod:`.mapped_ring` is the readers'
side.
"""

from __future__ import annotations

import ctypes
import mmap

from lenslink_protocol.ringlayout import HEADER, PAYLOADS_AT, READERS, Asleep

from .sync import fence, wake

_ALL_AWAKE = bytes(READERS)
_GENERATION = HEADER.at["generation_counter"] // 8
_DOORBELL = HEADER.at["doorbell"] // 4
_ASLEEP = slice(HEADER.at["asleep"], HEADER.at["asleep"] + READERS)


class Doorbell:
    """Own the ring's doorbell and generation counter in *memory*.

    The counters are never read back: a reader that damages them cannot mislead the writer.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        control = memoryview(memory)[:PAYLOADS_AT]
        self._memory = memory
        self._q, self._i = control.cast("Q"), control.cast("I")
        self._value = self._generation = 0
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._address = base + HEADER.at["doorbell"]

    def count_change(self) -> None:
        """Count a change of a slot's state without waking anybody: no sleeper waits for it."""
        self._generation += 1
        self._q[_GENERATION] = self._generation

    def notify_change(self) -> None:
        """Count a change of a slot's state, and wake all sleepers."""
        self.count_change()
        self._change_doorbell()
        fence()
        if self._memory[_ASLEEP] != _ALL_AWAKE:
            wake(self._address)

    def notify_rows(self) -> None:
        """Count new rows, and wake the readers that wait for rows.

        There is no fence, so that this takes well below a microsecond. A reader that falls asleep
        at the same moment may therefore sleep until the next rows.
        """
        self._change_doorbell()
        if Asleep.ROWS in self._memory[_ASLEEP]:
            wake(self._address)

    def wake_all(self) -> None:
        """Wake all sleepers, whether or not anybody is marked as asleep."""
        wake(self._address)

    def _change_doorbell(self) -> None:
        self._value = (self._value + 1) & 0xFFFFFFFF
        self._i[_DOORBELL] = self._value
