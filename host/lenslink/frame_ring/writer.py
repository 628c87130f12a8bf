"""The writer's side of the frame ring: slots that frames are received into, and who may read them.

The layout and the order of loads and stores are those of :mod:`lenslink_protocol.ringlayout`.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.params import MAX_STREAMS
from lenslink_protocol.ringlayout import (
    GENERATION_SHIFT,
    HEADER,
    HOLDS,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    MAX_SLOTS,
    MAX_UNCOVERED,
    PAYLOADS_AT,
    READER,
    READERS,
    READERS_AT,
    SLOT,
    SLOTS_AT,
    VERSION,
    Asleep,
    FrameState,
    Policy,
    SlotState,
    file_bytes,
)

from ..context import ClosesOnExit
from ..errors import StorageError, UsageError
from . import segment
from .sync import fence, order, wake

if TYPE_CHECKING:
    from .slot_pool import SlotPool

_PAGE = 65536
_REAP_S = 1.0
# Slots that are not kept for slow readers: for a frame under way, the newest one, and the one that
# a reader of the newest has in hand.
_SPARE = 3
_ALL_AWAKE = bytes(READERS)
# Linux: pages and their table entries at once, not one by one while a frame is received.
_MADV_POPULATE_WRITE = 23

_DESCRIPTION = struct.Struct("<11I4I4IiiQQ")
_ENDING = struct.Struct(f"<QQII{2 * MAX_UNCOVERED}Q")


class Description(NamedTuple):
    """What is known of a frame when it starts; the fields are those of a slot."""

    nonce: int
    number: int
    pixel_format: int
    width: int
    height: int
    stride: int
    bits: int
    cfa: int
    orientation: int
    white: int
    gain_milli: int
    black_milli: tuple[int, int, int, int]
    active_area: tuple[int, int, int, int]
    focus_mdpt: int
    temperature_mc: int
    timestamp_us: int
    exposure_us: int

    def pack(self) -> bytes:
        head, tail = self[:11], self[13:]
        return _DESCRIPTION.pack(*head, *self.black_milli, *self.active_area, *tail)


@dataclass(frozen=True, slots=True)
class Attached:
    """A reader, as the writer sees it."""

    pid: int
    policy: Policy
    taken: int
    skipped: int
    dropped: int


class FrameRing(ClosesOnExit):
    """A ring of frames that other processes read: a context manager.

    Hand it to :func:`lenslink.open`: frames are then received into its slots, and readers
    (:class:`lenslink.FrameRingReader`, or C by ``lenslink_ring_reader.h``) see them as they arrive.
    At the end readers are told and the ring's name is free; frames they hold stay valid.

    *slots* are taken by frames under way, by one that waits for the program, and by those that
    readers hold. All but three of them, and one at least, wait for readers with the policy
    ``every`` once these are slow. Their memory is taken when it is first needed. Raises
    :exc:`~lenslink.errors.DeviceBusy` if the name has a living writer,
    :exc:`~lenslink.errors.UsageError` for a name or size that cannot be, and
    :exc:`~lenslink.errors.StorageError` if there is no memory.
    """

    def __init__(self, name: str, slots: int = 6, *, frame_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise UsageError(f"a ring has 1 to {MAX_SLOTS} slots, not {slots}")
        if not 1 <= frame_bytes <= MAX_PAYLOAD_BYTES:
            raise UsageError(f"a frame has 1 to {MAX_PAYLOAD_BYTES} bytes, not {frame_bytes}")
        path = segment.path_of(name)
        segment.clean()
        self.name = name
        self.path = path
        self.payload_bytes = -(-frame_bytes // _PAGE) * _PAGE
        """What a slot can hold."""
        size = file_bytes(slots, self.payload_bytes)
        self._descriptor = segment.create(path)
        self._end = weakref.finalize(self, _abandon, self._descriptor, self.path, os.getpid())
        try:
            os.ftruncate(self._descriptor, size)
            self._reserve(0, PAYLOADS_AT)
            self._map = mmap.mmap(self._descriptor, size)
        except OSError as error:
            self._end()
            raise StorageError(f"cannot make {self.path}: {error.strerror}") from None
        control = memoryview(self._map)[:PAYLOADS_AT]
        self._control = control
        self._q = control.cast("Q")
        self._i = control.cast("I")
        # Nothing that we write is read back: a reader that runs wild must not lead us astray.
        self._bell = self._turns = 0
        self._begun = [0] * MAX_STREAMS
        self._dropped = [0] * MAX_STREAMS
        self._bell_at = HEADER.at["bell"] // 4
        self._bell_address = _address(self._map) + HEADER.at["bell"]
        self._asleep = slice(HEADER.at["asleep"], HEADER.at["asleep"] + READERS)
        self._reaped_at = time.monotonic()
        self._takes = 0
        self._most_kept = max(1, slots - _SPARE)
        self._closed = False
        self._slots = [Slot(self, index) for index in range(slots)]
        self._write_header(slots, size)

    def _write_header(self, slots: int, size: int) -> None:
        values = {
            "version": VERSION,
            "header_bytes": HEADER.size,
            "file_bytes": size,
            "slots": slots,
            "readers": READERS,
            "readers_at": READERS_AT,
            "reader_bytes": READER.size,
            "slots_at": SLOTS_AT,
            "slot_bytes": SLOT.size,
            "payloads_at": PAYLOADS_AT,
            "payload_bytes": self.payload_bytes,
            "writer_pid": os.getpid(),
        }
        for word in HEADER.words:
            if word.name in values:
                view = self._q if word.code == "Q" else self._i
                view[word.offset // word.size] = values[word.name]
        order()
        self._q[0] = MAGIC

    # --- slots ----------------------------------------------------------------------------

    def take(self, size: int) -> Slot | None:
        """A slot for a frame of *size* bytes; None where each is in use or waited for.

        :exc:`~lenslink.errors.StorageError` if there is no memory for it.
        """
        if self._closed:
            return None
        if size > self.payload_bytes:
            raise StorageError(
                f"the ring {self.name} has slots of {self.payload_bytes} bytes: a frame has {size}"
            )
        if time.monotonic() - self._reaped_at > _REAP_S:
            self.reap()
        while True:
            # The oldest first: whoever comes late still finds the newest.
            for slot in sorted(self._slots, key=lambda each: each.taken_at):
                if not slot.busy and not self._is_wanted(slot) and self._seize(slot):
                    self._takes += 1
                    slot.prepare(size, self._takes)
                    return slot
            if not self.reap():
                return None

    def drop(self, stream: int) -> None:
        """Count a frame for which there was no slot."""
        self.count_begun(stream)
        self._dropped[stream] += 1
        self._q[HEADER.at["dropped"] // 8 + stream] = self._dropped[stream]

    def count(self, stream: int) -> int:
        """Frames of the stream that were begun, dropped ones included."""
        return self._begun[stream]

    def count_begun(self, stream: int) -> None:
        """Count a frame, also one that is dropped."""
        self._begun[stream] += 1
        self._q[HEADER.at["begun"] // 8 + stream] = self._begun[stream]

    def _seize(self, slot: Slot) -> bool:
        """Make the slot's frame void, unless a reader has it."""
        if self._is_held(slot):
            return False
        before = slot.mark
        slot.mark = ((before >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT | SlotState.FREE
        fence()
        if self._is_held(slot):
            # A reader came at the same moment. It may have seen the old mark, which then holds.
            slot.mark = before
            self.changed()
            return False
        return True

    def _entries(self) -> list[int]:
        """Where the entries of readers are, as indices of 8-byte words."""
        first, step = READERS_AT // 8, READER.size // 8
        return [at for at in range(first, first + READERS * step, step) if self._q[at]]

    def _is_held(self, slot: Slot) -> bool:
        wanted, held = slot.index + 1, READER.at["held"] // 8
        return any(wanted in self._q[at + held : at + held + HOLDS] for at in self._entries())

    def _is_wanted(self, slot: Slot) -> bool:
        """Whether the slot is kept for a reader that wants every frame and has yet to see it.

        Only the oldest of its frames are: a reader that stops must not stop the others.
        """
        for at in self._entries():
            if self._q[at] == Policy.EVERY and self._waits(at, slot):
                older = [each for each in self._slots if each.taken_at < slot.taken_at]
                if sum(self._waits(at, each) for each in older) < self._most_kept:
                    return True
        return False

    def _waits(self, at: int, slot: Slot) -> bool:
        """Whether the slot's frame is over, and one that the reader at *at* has yet to see."""
        return (
            slot.mark & 7 in (SlotState.FINISHED, SlotState.ABORTED)
            and self._q[at + READER.at["streams"] // 8] >> slot.stream & 1 == 1
            and self._q[at + READER.at["seen"] // 8 + slot.stream] < slot.sequence
        )

    def reap(self) -> int:
        """Clear the entries of readers that died; how many there were."""
        self._reaped_at = time.monotonic()
        count = 0
        for at in self._entries():
            if segment.try_lock(self._descriptor, 8 * at):
                for index in range(READER.size // 8 - 1, -1, -1):
                    self._q[at + index] = 0
                number = (8 * at - READERS_AT) // READER.size
                self._control[HEADER.at["asleep"] + number] = Asleep.AWAKE
                segment.unlock(self._descriptor, 8 * at)
                count += 1
        return count

    def _reserve(self, at: int, size: int) -> None:
        """Take the memory now: later, its lack would be a SIGBUS."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._descriptor, at, size)

    def memory(self, at: int, size: int, reserved: int) -> NDArray[np.uint8]:
        """(size,) uint8 of the file, of which *reserved* bytes have been used before."""
        if size > reserved:
            try:
                self._reserve(at, size)
            except OSError as error:
                raise StorageError(
                    f"no memory for a frame of {size} bytes in {self.path.parent}: {error.strerror}"
                ) from None
            with contextlib.suppress(OSError):
                self._map.madvise(_MADV_POPULATE_WRITE, at, -(-size // _PAGE) * _PAGE)
        return np.frombuffer(self._map, np.uint8, size, at)

    # --- readers --------------------------------------------------------------------------

    def changed(self) -> None:
        """A slot's state has changed: wake whom it concerns."""
        self.turned()
        self._count_bell()
        fence()
        if self._map[self._asleep] != _ALL_AWAKE:
            wake(self._bell_address)

    def turned(self) -> None:
        """A slot's state has changed, which concerns nobody who sleeps."""
        self._turns += 1
        self._q[HEADER.at["turns"] // 8] = self._turns

    def grown(self) -> None:
        """A slot has more rows: wake who waits for them. It costs well below a microsecond."""
        self._count_bell()
        if Asleep.STRIP in self._map[self._asleep]:
            wake(self._bell_address)

    def _count_bell(self) -> None:
        self._bell = (self._bell + 1) & 0xFFFFFFFF
        self._i[self._bell_at] = self._bell

    @property
    def readers(self) -> list[Attached]:
        """Who reads at the moment."""
        found = []
        for at in self._entries():
            values = [self._q[at + READER.at[name] // 8] for name in _SHOWN]
            pid, policy, taken, skipped, dropped = values
            with contextlib.suppress(ValueError):
                found.append(Attached(pid, Policy(policy), taken, skipped, dropped))
        return found

    @property
    def begun(self) -> int:
        """Frames begun, dropped ones included."""
        return sum(self._begun)

    @property
    def dropped(self) -> int:
        """Frames that no reader at all got, since no slot was free when they began."""
        return sum(self._dropped)

    def feed(self) -> SlotPool:
        """What a session receives its frames into."""
        from .slot_pool import SlotPool

        return SlotPool(self)

    # --- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """End the ring: readers are told, and its name is free. Idempotent; never raises."""
        if self._closed:
            return
        self._closed = True
        for slot in self._slots:
            slot.let_go()
        self._i[HEADER.at["closed"] // 4] = 1
        self.changed()
        wake(self._bell_address)
        self._end()

    @property
    def closed(self) -> bool:
        return self._closed


_SHOWN = ("pid", "policy", "taken", "skipped", "dropped")


class Slot:
    """One slot, as the writer uses it: :meth:`FrameRing.take`, then the methods in their order."""

    def __init__(self, ring: FrameRing, index: int) -> None:
        self.index = index
        self.busy = False
        """The writer uses it."""
        self.taken_at = 0
        self.stream = 0
        self.sequence = 0
        self.memory = np.empty(0, np.uint8)
        """Where the frame goes, between :meth:`FrameRing.take` and :meth:`let_go`."""
        self._ring = weakref.proxy(ring)
        self._q, self._i, self._control = ring._q, ring._i, ring._control
        self._at = SLOTS_AT + index * SLOT.size
        self._q_at = self._at // 8
        self._rows_at = (self._at + SLOT.at["rows_ready"]) // 8
        self._payload_at = PAYLOADS_AT + index * ring.payload_bytes
        self._reserved = 0
        self._rows = 0
        self._mark = 0

    @property
    def mark(self) -> int:
        return self._mark

    @mark.setter
    def mark(self, value: int) -> None:
        self._mark = self._q[self._q_at] = value

    @property
    def state(self) -> SlotState:
        return SlotState(self.mark & 7)

    def _become(self, state: SlotState) -> None:
        order()
        self.mark = self.mark >> GENERATION_SHIFT << GENERATION_SHIFT | state

    def prepare(self, size: int, now: int) -> None:
        """For the ring: the slot is the writer's, at its count *now*."""
        self.memory = self._ring.memory(self._payload_at, size, self._reserved)
        self._reserved = max(self._reserved, size)
        self.busy = True
        self.taken_at = now
        self._rows = 0
        self._set("rows_ready", 0)
        self._set("first_rows_ns", 0)

    def begin(self, stream: int) -> None:
        """A frame of *stream* is on its way."""
        self.stream = stream
        self.sequence = self._ring.count(stream) + 1
        self._i[(self._at + SLOT.at["stream"]) // 4] = stream
        self._set("sequence", self.sequence)
        self._set("begun_ns", time.monotonic_ns())
        self._become(SlotState.FILLING)
        # Only now: who joins meanwhile finds it among those under way, or as one to come.
        self._ring.count_begun(stream)
        self._ring.turned()

    def start(self, description: Description) -> None:
        """The frame is described: from now on, rows can be read."""
        at = self._at + SLOT.at["nonce"]
        self._control[at : at + _DESCRIPTION.size] = description.pack()
        self._become(SlotState.STARTED)
        self._ring.turned()

    def rows(self, count: int) -> None:
        """So many rows from the top on are there, and passed their CRCs."""
        if count <= self._rows:
            return
        if not self._rows:
            self._set("first_rows_ns", time.monotonic_ns())
        self._rows = count
        order()
        self._q[self._rows_at] = count
        self._ring.grown()

    def finish(
        self, complete: bool, covered: int, uncovered: Sequence[tuple[int, int]], rows: int
    ) -> None:
        """Nothing of the frame changes any more; *uncovered* bytes have been zeroed."""
        if not self._rows:
            self._set("first_rows_ns", time.monotonic_ns())
        self._rows = rows
        self._set("rows_ready", rows)
        self._ends(complete, covered, uncovered)
        self._become(SlotState.FINISHED)
        self._ring.changed()

    def let_go(self) -> None:
        """The writer needs the slot no more: an unfinished frame is given up. Idempotent."""
        if not self.busy:
            return
        self.busy = False
        self.memory = np.empty(0, np.uint8)
        if self.state in (SlotState.FILLING, SlotState.STARTED):
            self._ends(False, 0, ())
            self._become(SlotState.ABORTED)
            self._ring.changed()

    def _ends(self, complete: bool, covered: int, uncovered: Sequence[tuple[int, int]]) -> None:
        ranges = list(uncovered)
        if len(ranges) > MAX_UNCOVERED:
            last = (ranges[MAX_UNCOVERED - 1][0], ranges[-1][1])
            ranges = [*ranges[: MAX_UNCOVERED - 1], last]
        flat = [byte for both in ranges for byte in both]
        flat += [0] * (2 * MAX_UNCOVERED - len(flat))
        status = FrameState.COMPLETE if complete else FrameState.INCOMPLETE
        now = time.monotonic_ns()
        at = self._at + SLOT.at["finished_ns"]
        packed = _ENDING.pack(now, covered, status, len(ranges), *flat)
        self._control[at : at + _ENDING.size] = packed

    def _set(self, name: str, value: int) -> None:
        self._q[(self._at + SLOT.at[name]) // 8] = value


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _abandon(descriptor: int, path: Path, pid: int) -> None:
    """Remove the file and end the writer's lock: also at the program's end, but not in a fork."""
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                path.unlink()
        # Not by closing alone: the mapping has a descriptor of its own, and may live on.
        segment.unlock(descriptor, segment.WRITER)
        os.close(descriptor)
