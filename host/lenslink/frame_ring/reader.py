"""The reader's side of the frame ring, for an ISP in Python: frames without a copy, as they come.

Nothing that stands in the shared memory is believed: places and sizes are checked against the file
before anything is mapped, and each frame's geometry before it is shown.
"""

from __future__ import annotations

import contextlib
import mmap
import operator
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import Cfa
from lenslink_protocol.packings import Layout, layout
from lenslink_protocol.params import MAX_HEIGHT, MAX_STREAMS, MAX_WIDTH
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
    SLOT,
    VERSION,
    Asleep,
    FrameState,
    Policy,
    SlotState,
    file_bytes,
)

from ..context import ClosesOnExit, ReleasesOnExit
from ..deadline import Deadline
from ..errors import DeviceBusy, Disconnected, NotFound, ProtocolError, UsageError, VersionMismatch
from ..frame import FrameStatus
from ..receive.unpacking import unpack
from . import segment
from .sync import fence, order, sleep

_STATE = (1 << GENERATION_SHIFT) - 1
_OVER = (SlotState.FINISHED, SlotState.ABORTED)
# Enumerations and tables of offsets are slow to look things up in, where a first tile waits.
_STARTED, _FINISHED, _LAST = map(int, (SlotState.STARTED, SlotState.FINISHED, max(SlotState)))
_AT = {name: offset // 8 for name, offset in READER.at.items()}
_TURNS, _ROWS = HEADER.at["turns"] // 8, SLOT.at["rows_ready"] // 8
_BELL, _ASLEEP, _AWAKE = HEADER.at["bell"] // 4, HEADER.at["asleep"], int(Asleep.AWAKE)
# How long a writer may be gone before a sleeper knows.
_LOOK_S = 0.1
# While there is no ring yet, it is looked for this often.
_POLL_S = 0.02
_SCANS = 8
_STREAM, _SEQUENCE = SLOT.at["stream"] // 4, SLOT.at["sequence"] // 8
_BEGINNING = struct.Struct("<Q12I4I4IiiQQQ")
# Of these, what says how the pixels lie.
_SHAPE = slice(4, 10)
_CFAS = tuple(cfa.name for cfa in Cfa)
# Sequences may make no sense; counts of ours stay what a word can hold.
_MOST = (1 << 63) - 1


_Shape = tuple[Layout, str, NDArray[np.uint8]]
"""How a frame's pixels lie in its bytes, its CFA, and (height, stride) uint8: those bytes."""


class _Found(NamedTuple):
    slot: int
    mark: int
    stream: int
    sequence: int
    state: int


class FrameRingReader(ClosesOnExit):
    """Reads a ring of frames (:class:`lenslink.FrameRing`) of this machine: a context manager.

    With the policy ``latest`` a reader that is slow skips frames (``skipped``), and the first frame
    is the newest that there is. With ``every`` each one that ends from now on waits for it, as far
    as the ring's slots go; then the newest are dropped for it (``dropped``), while others go on
    seeing them. *early* frames come as soon as their first rows are there:
    :meth:`SharedFrame.wait_rows`. *streams*: 0 is the preview, 1 the still.

    *wait* is how long to wait for the ring to appear. Raises :exc:`~lenslink.errors.NotFound` if it
    does not, :exc:`~lenslink.errors.DeviceBusy` if it has as many readers as it can,
    :exc:`~lenslink.errors.VersionMismatch` for a ring of another version, and
    :exc:`~lenslink.errors.ProtocolError` for a file that is none.
    """

    def __init__(
        self,
        name: str,
        policy: Literal["latest", "every"] = "latest",
        *,
        early: bool = False,
        streams: tuple[int, ...] = tuple(range(MAX_STREAMS)),
        timeout: float = 30.0,
        wait: float = 0.0,
    ) -> None:
        policies = {each.name.lower(): each for each in Policy}
        if policy not in policies:
            raise UsageError(f"a reader's policy is {' or '.join(policies)}, not '{policy}'")
        if not streams or not set(streams) <= set(range(MAX_STREAMS)):
            raise UsageError(f"streams are 0 to {MAX_STREAMS - 1}, not {streams}")
        self.name = name
        self.path: Path = segment.path_of(name)
        self.policy = policies[policy]
        self._is_latest = self.policy is Policy.LATEST
        self.taken = 0
        """Frames that :meth:`next` gave."""
        self.skipped = 0
        """Frames that this reader was too slow for (``latest``)."""
        self.dropped = 0
        """Frames that this reader did not get, since slots were short (``every``)."""
        self._early = early
        self._streams = tuple(sorted(set(streams), reverse=True))
        self._timeout = timeout
        self._closed = False
        self._shapes: dict[int, tuple[tuple[int, ...], _Shape]] = {}
        self._last = dict.fromkeys(self._streams, 0)
        self._begun = False
        self._descriptor, header = _open(self.path, Deadline(wait, f"waiting for the ring {name}"))
        try:
            self._map(header)
            self._join()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _map(self, header: dict[str, int]) -> None:
        self._slots = header["slots"]
        self._slots_at, self._slot_bytes = header["slots_at"], header["slot_bytes"]
        self._places = [
            (slot, (self._slots_at + slot * self._slot_bytes) // 8) for slot in range(self._slots)
        ]
        self._readers_at, self._reader_bytes = header["readers_at"], header["reader_bytes"]
        self.payload_bytes = header["payload_bytes"]
        at, size = header["payloads_at"], self._slots * self.payload_bytes
        self._control = mmap.mmap(self._descriptor, at)
        self._payloads = mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ, offset=at)
        view = memoryview(self._control)
        self._q, self._i = view.cast("Q"), view.cast("I")
        word = np.frombuffer(self._control, np.uint32, 1, HEADER.at["bell"])
        self._bell_address = word.ctypes.data

    def _join(self) -> None:
        for number in range(READERS):
            at = self._readers_at + number * self._reader_bytes
            if segment.try_lock(self._descriptor, at):
                break
        else:
            raise DeviceBusy(f"the ring {self.name} has {READERS} readers, its most")
        self._number, self._entry = number, at // 8
        for index in range(READER.size // 8):
            self._q[self._entry + index] = 0
        self._put("pid", os.getpid())
        self._put("streams", sum(1 << stream for stream in self._streams))
        if self.policy == Policy.EVERY:
            # From now on every frame is held; of those before, the ones that have not ended yet.
            for stream in self._streams:
                self._saw(stream, self._q[HEADER.at["begun"] // 8 + stream])
            self._put("policy", self.policy)
            fence()
            slots = [found for found in self._scan() if found.state not in _OVER]
            for stream in self._streams:
                begun = [found.sequence - 1 for found in slots if found.stream == stream]
                self._saw(stream, min([self._last[stream], *begun]))
        self._put("policy", self.policy)
        fence()

    def _put(self, name: str, value: int, index: int = 0) -> None:
        self._q[self._entry + _AT[name] + index] = value

    def _saw(self, stream: int, sequence: int) -> None:
        self._last[stream] = sequence
        self._put("seen", sequence, stream)

    # --- frames ---------------------------------------------------------------------------

    def next(self, timeout: float | None = None) -> SharedFrame:
        """The next frame: :meth:`SharedFrame.release` it, or use it as a context manager.

        What is whole is handed out also after the writer's end; then
        :exc:`~lenslink.errors.Disconnected` is raised. :exc:`~lenslink.errors.UsageError` if as
        many frames as a reader may hold have not been released.
        """
        deadline = Deadline(self._timeout if timeout is None else timeout, "the ring's next frame")
        hold = self._free_hold()
        over = False
        while True:
            bell = self._bell()
            frame = self._pick(hold)
            if frame is not None:
                return frame
            if over:
                raise Disconnected(self._why())
            over = self._is_over()
            if not over:
                deadline.check()
                what = Asleep.STRIP if self._early else Asleep.FRAME
                self._sleep(bell, deadline, what)

    def __iter__(self) -> Iterator[SharedFrame]:
        """Frames until the writer ends the ring; each is released when the next is asked for."""
        while True:
            try:
                frame = self.next()
            except Disconnected:
                if self._closed or not self._ended:
                    raise
                return
            with frame:
                yield frame

    def _free_hold(self) -> int:
        if self._closed:
            raise UsageError(f"the reader of the ring {self.name} is closed")
        held = self._entry + _AT["held"]
        most = 2 if self._is_latest else HOLDS
        for index in range(most):
            if not self._q[held + index]:
                return held + index
        raise UsageError(f"{most} frames of the ring {self.name} are held: release one first")

    def _scan(self) -> list[_Found]:
        """What is in the slots, at one moment."""
        q, i, last = self._q, self._i, self._last
        found: list[_Found] = []
        for _ in range(_SCANS):
            before = q[_TURNS]
            order()
            found = []
            for slot, at in self._places:
                mark = q[at]
                order()
                state = mark & _STATE
                if 0 < state <= _LAST:
                    stream = i[2 * at + _STREAM]
                    if stream in last:
                        found.append(_Found(slot, mark, stream, q[at + _SEQUENCE], state))
            order()
            if q[_TURNS] == before:
                break
        return found

    def _pick(self, hold: int) -> SharedFrame | None:
        for _ in range(_SCANS):
            choice = self._choose()
            if choice is None:
                return None
            frame = self._claim(choice, hold)
            if frame is not None:
                return frame
        return None

    def _choose(self) -> _Found | None:
        """The frame to read next: a still before a preview, since it is rare."""
        slots = self._scan()
        for stream in self._streams:
            last = self._last[stream]
            new = [each for each in slots if each.stream == stream and each.sequence > last]
            if len(new) > 1:
                new.sort(key=_by_sequence, reverse=self._is_latest)
            for found in new:
                if self._is_ready(found):
                    return found
                if not self._is_latest:
                    if found.state != SlotState.ABORTED:
                        break
                    self._count(found, taken=False)
        return None

    def _is_ready(self, found: _Found) -> bool:
        if found.state == _FINISHED:
            return True
        rows = self._places[found.slot][1] + _ROWS
        return self._early and found.state == _STARTED and self._q[rows] > 0

    def _claim(self, found: _Found, hold: int) -> SharedFrame | None:
        """Hold the slot, then see whether it still is what it was."""
        self._q[hold] = found.slot + 1
        fence()
        mark = self._q[self._places[found.slot][1]]
        order()
        same = mark >> GENERATION_SHIFT == found.mark >> GENERATION_SHIFT
        if not same or mark & _STATE not in (_STARTED, _FINISHED):
            self._q[hold] = 0
            return None
        try:
            frame = SharedFrame(self, found.slot, hold)
        except BaseException:
            self._q[hold] = 0
            raise
        finally:
            # A damaged frame is passed over too, or nothing would ever follow it.
            self._count(found, taken=True)
        return frame

    def _shape(self, slot: int, key: tuple[int, int, int, int, int, int]) -> _Shape:
        """How the pixels in a slot lie, and where; mostly as those of the frame before.

        *key*: pixel format, width, height, stride, bits and CFA.
        """
        known = self._shapes.get(slot)
        if known is not None and known[0] == key:
            return known[1]
        pixel_format, width, height, stride, _, cfa = key
        try:
            form, name = layout(pixel_format), _CFAS[cfa]
        except (KeyError, IndexError):
            raise self._damaged("has pixels of no known kind") from None
        size = stride * height
        if not (
            0 < width <= MAX_WIDTH
            and 0 < height <= MAX_HEIGHT
            and form.bytes_of(width) == stride
            and size <= self.payload_bytes
        ):
            raise self._damaged("has an impossible size")
        memory = np.frombuffer(self._payloads, np.uint8, size, slot * self.payload_bytes)
        shape = form, name, memory.reshape(height, stride)
        self._shapes[slot] = key, shape
        return shape

    def _damaged(self, what: str) -> ProtocolError:
        return ProtocolError(f"the ring {self.name} is damaged: a frame {what}")

    def _count(self, found: _Found, *, taken: bool) -> None:
        missed = found.sequence - self._last[found.stream] - 1
        if missed and not self._is_latest:
            self.dropped = min(self.dropped + missed, _MOST)
            self._put("dropped", self.dropped)
        elif missed and self._last[found.stream]:
            self.skipped = min(self.skipped + missed, _MOST)
            self._put("skipped", self.skipped)
        if taken:
            self.taken += 1
            self._put("taken", self.taken)
        self._saw(found.stream, found.sequence)

    # --- waiting --------------------------------------------------------------------------

    def _bell(self) -> int:
        return self._i[_BELL]

    def _sleep(self, bell: int, deadline: Deadline, what: Asleep) -> None:
        asleep = _ASLEEP + self._number
        self._control[asleep] = what
        fence()
        try:
            if self._bell() == bell:
                sleep(self._bell_address, bell, min(_LOOK_S, deadline.remaining()))
        finally:
            self._control[asleep] = _AWAKE

    @property
    def _ended(self) -> bool:
        """The writer has said that it is the end."""
        return self._i[HEADER.at["closed"] // 4] != 0

    def _is_over(self) -> bool:
        return self._ended or not segment.is_locked(self._descriptor, segment.WRITER)

    def _why(self) -> str:
        ended = "was closed by its writer" if self._ended else "has lost its writer: it is gone"
        return f"the ring {self.name} {ended}"

    def close(self) -> None:
        """Let go of all frames and of the ring. Idempotent.

        What is left of a writer that died is removed. Arrays that were taken from frames stay
        readable, but what they show may change.
        """
        if self._closed:
            return
        self._closed = True
        for index in range(READER.size // 8 - 1, -1, -1):
            self._q[self._entry + index] = 0
        segment.unlock(self._descriptor, 8 * self._entry)
        with contextlib.suppress(OSError):
            segment.remove(self._descriptor, self.path)
        os.close(self._descriptor)


class SharedFrame(ReleasesOnExit):
    """A frame in a slot that is held until :meth:`release`: a context manager.

    The fields are those of :class:`lenslink.Frame`, and:

    - ``sequence`` counts the frames of the stream in this ring, dropped ones included;
    - ``layout`` says how pixels lie in the bytes of ``packed``;
    - ``begun_ns`` is the host's ``time.monotonic_ns()`` when its first packet came.
    """

    def __init__(self, reader: FrameRingReader, index: int, hold: int) -> None:
        self._reader = reader
        self._hold = hold
        self._released = False
        self._mark_at = reader._places[index][1]
        self._slot_at = 8 * self._mark_at
        self._rows_at = self._mark_at + _ROWS
        self._rows = 0
        # Sequence to begun_ns, in their order; black level and active area are four words each.
        fields = _BEGINNING.unpack_from(reader._control, self._slot_at + SLOT.at["sequence"])
        (
            self.sequence,
            self.stream,
            self.nonce,
            self.number,
            self.pixel_format,
            self.width,
            self.height,
            self.stride,
            self.bits,
            _,
            self.orientation,
            self.white,
            self.gain_milli,
        ) = fields[:13]
        self._black_milli: tuple[int, int, int, int] = fields[13:17]
        self.active_area: tuple[int, int, int, int] = fields[17:21]
        (
            self.focus_mdpt,
            self.temperature_mc,
            self.timestamp_us,
            self.exposure_us,
            self.begun_ns,
        ) = fields[21:]
        self.layout, self.cfa, self._memory = reader._shape(index, fields[_SHAPE])

    def _describe(self) -> dict[str, int | tuple[int, ...]]:
        at = self._slot_at
        return SLOT.unpack(self._reader._control[at : at + SLOT.used])

    @property
    def black(self) -> tuple[float, float, float, float]:
        """Black level of the 2 x 2 pixels, DN."""
        a, b, c, d = self._black_milli
        return a / 1000, b / 1000, c / 1000, d / 1000

    # --- pixels ---------------------------------------------------------------------------

    @property
    def rows_ready(self) -> int:
        """Rows from the top on that arrived and passed their CRCs; all, once it is finished."""
        rows = self._reader._q[self._rows_at]
        order()
        self._rows = max(self._rows, min(rows, self.height))
        return self._rows

    @property
    def packed(self) -> NDArray[np.uint8]:
        """(:attr:`rows_ready`, stride) uint8, read-only: the memory that the rows came into."""
        if self._released:
            raise UsageError("the frame was released: its memory is another frame's by now")
        return self._memory[: self.rows_ready]

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """(:attr:`rows_ready`, W) uint16, right-justified; 0 where they did not arrive.

        Read-only and the memory that they came into; a copy where pixels share bytes.
        """
        return unpack(self.packed, self.layout)

    def wait_rows(self, rows: int, timeout: float | None = None) -> int:
        """Wait until so many rows are ready, or the frame is over; how many there are then.

        They are fewer than asked for only if the frame was given up.
        :exc:`~lenslink.errors.Disconnected` if the writer is gone and they will not come.
        """
        self._wait(min(rows, self.height), Asleep.STRIP, timeout)
        return self.rows_ready

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the frame is finished. Raises as :meth:`wait_rows`."""
        self._wait(self.height + 1, Asleep.FRAME, timeout)

    def _wait(self, rows: int, what: Asleep, timeout: float | None) -> None:
        reader = self._reader
        seconds = reader._timeout if timeout is None else timeout
        deadline = Deadline(seconds, "waiting for the frame's rows")
        while True:
            bell = reader._bell()
            over = self.finished or reader._is_over()
            if self.rows_ready >= rows or self.finished:
                return
            if over:
                raise Disconnected(reader._why())
            deadline.check()
            reader._sleep(bell, deadline, what)

    # --- its end --------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether nothing of it changes any more."""
        over = self._reader._q[self._mark_at] & _STATE in _OVER
        order()
        return over

    @property
    def status(self) -> FrameStatus:
        """:exc:`~lenslink.errors.UsageError` while it is not finished, as for all that follow."""
        complete = self._end("status") == FrameState.COMPLETE
        return FrameStatus.COMPLETE if complete else FrameStatus.INCOMPLETE

    @property
    def received_fraction(self) -> float:
        """Fraction of its bytes that arrived and passed their CRC."""
        size: int = self.stride * self.height
        return min(_int(self._end("covered_bytes")), size) / size

    @property
    def uncovered(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges of bytes that did not arrive, in order.

        There are at most 16: of more, the last one spans all that follow it.
        """
        count, flat = _int(self._end("uncovered_count")), self._end("uncovered")
        size = self.stride * self.height
        if count > MAX_UNCOVERED or not isinstance(flat, tuple):
            raise self._reader._damaged("has too many gaps")
        ranges = tuple(zip(flat[0 : 2 * count : 2], flat[1 : 2 * count : 2], strict=True))
        if any(not 0 <= start < end <= size for start, end in ranges):
            raise self._reader._damaged("has gaps outside itself")
        return ranges

    @property
    def first_rows_ns(self) -> int:
        """The host's ``time.monotonic_ns()`` when its first rows were ready."""
        return self._reader._q[(self._slot_at + SLOT.at["first_rows_ns"]) // 8]

    @property
    def finished_ns(self) -> int:
        """The host's ``time.monotonic_ns()`` when it was finished."""
        return _int(self._end("finished_ns"))

    def _end(self, name: str) -> int | tuple[int, ...]:
        if self._released or not self.finished:
            raise UsageError(f"a frame's {name} is known between its end and its release")
        return self._describe()[name]

    def release(self) -> None:
        """Give the slot back: its arrays must not be used any more. Idempotent."""
        if not self._released:
            self._released = True
            order()
            if not self._reader._closed:
                self._reader._q[self._hold] = 0


_by_sequence = operator.attrgetter("sequence")


def _int(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value


def _open(path: Path, deadline: Deadline) -> tuple[int, dict[str, int]]:
    """The ring's file and its header, checked."""
    while True:
        late = not deadline.remaining()
        try:
            descriptor = segment.attach(path)
        except NotFound:
            if late:
                raise
        else:
            try:
                header = _header(descriptor, path)
            except BaseException:
                os.close(descriptor)
                raise
            if header is not None and segment.is_locked(descriptor, segment.WRITER):
                return descriptor, header
            segment.remove(descriptor, path)
            os.close(descriptor)
            if late:
                raise NotFound(f"the ring {path} has no writer")
        time.sleep(min(_POLL_S, deadline.remaining()))


def _header(descriptor: int, path: Path) -> dict[str, int] | None:
    """The header's fields; None while the writer is making it."""
    data = os.pread(descriptor, HEADER.size, 0)
    if len(data) < HEADER.size or not any(data[:8]):
        return None
    found = {name: value for name, value in HEADER.unpack(data).items() if isinstance(value, int)}
    if found["magic"] != MAGIC:
        raise ProtocolError(f"{path} is no ring of frames")
    if found["version"] != VERSION:
        raise VersionMismatch(f"the ring {path} has version {found['version']}, not {VERSION}")
    slots, payload = found["slots"], found["payload_bytes"]
    readers_end = found["readers_at"] + found["readers"] * found["reader_bytes"]
    slots_end = found["slots_at"] + slots * found["slot_bytes"]
    granularity = mmap.ALLOCATIONGRANULARITY
    sound = (
        1 <= slots <= MAX_SLOTS
        and found["readers"] == READERS
        and HEADER.size <= found["header_bytes"] <= found["readers_at"]
        and found["reader_bytes"] >= READER.size
        and found["slot_bytes"] >= SLOT.size
        and readers_end <= found["slots_at"]
        and slots_end <= found["payloads_at"] == PAYLOADS_AT
        and all(found[name] % 8 == 0 for name in ("readers_at", "slots_at"))
        and all(found[name] % 8 == 0 for name in ("reader_bytes", "slot_bytes"))
        and 0 < payload <= MAX_PAYLOAD_BYTES
        and payload % granularity == 0
        and found["file_bytes"] == file_bytes(slots, payload)
        and os.fstat(descriptor).st_size >= found["file_bytes"]
    )
    if not sound:
        raise ProtocolError(f"the ring {path} is damaged: its header makes no sense")
    return found
