"""Show a frame in a slot that a reader has pinned.

:meth:`.reader.FrameRingReader.next` creates these frames. They read the slot through the reader's
:class:`.mapped_ring.MappedRing`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.messages import FrameStart, Malformed
from lenslink_protocol.ringlayout import (
    FRAME_START_BYTES,
    GENERATION_SHIFT,
    MAX_MISSING_RANGES,
    SLOT,
    Asleep,
    FrameState,
    SlotState,
)

from ..context import ReleasesOnExit
from ..deadline import Deadline
from ..errors import UsageError
from ..frame import FrameMetadata, FrameStatus, list_row_times
from ..module_clock import FrameTime
from ..receive.unpacking import unpack
from .mapped_ring import DOORBELL, MappedRing
from .sync import order

STATE_MASK = (1 << GENERATION_SHIFT) - 1
ENDED = (SlotState.FINISHED, SlotState.ABORTED)
ROWS = SLOT.at["rows_ready"] // 8
_BEGINNING = struct.Struct("<Q4I4I3Q")
_START = SLOT.at["frame_start"]


class SharedFrame(ReleasesOnExit):
    """Show a frame in a slot that stays pinned until :meth:`release`: a context manager.

    The fields are those of :class:`lenslink.Frame`, and:

    - ``metadata`` is equal to that of the frame in the process that owns the module. Its
      ``energy_uj`` is 0 until the frame has ended;
    - ``sequence`` is the frame's number in its stream in this ring, including dropped frames;
    - ``start`` is the frame's FrameStart, as the module sent it;
    - ``begin_ns`` is the host's ``time.monotonic_ns()`` at the frame's first packet;
    - ``time_ns`` is that clock in the middle of the exposure of row 0, and ``time_bound_ns`` its
      error bound. Both are 0 if the time is unknown. ``row_time_ns`` leads from row to row.

    >>> with lenslink.FrameRing("cam", frame_bytes=8192) as ring:
    ...     with lenslink.open("sim:?width=64&height=64", ring=ring) as device:
    ...         with lenslink.FrameRingReader("cam") as reader:
    ...             device.capture(exposure_us=2000).release()
    ...             with reader.next() as frame:
    ...                 print(frame.pixels.shape, frame.exposure_us)
    (64, 64) 2000
    """

    def __init__(
        self, ring: MappedRing, index: int, pin: int, reader_number: int, timeout: float
    ) -> None:
        """Read the description of the frame in slot *index*.

        *pin* is the index of the reader's 64-bit word that pins the slot, and *reader_number*
        is the reader's entry.
        """
        self._ring = ring
        self._pin = pin
        self._reader_number = reader_number
        self._timeout = timeout
        self._is_released = False
        self._on_release: Callable[[], None] | None = None
        self._word_at = ring.slot_words[index][1]
        self._slot_at = 8 * self._word_at
        self._rows_at = self._word_at + ROWS
        self._rows = 0
        # Sequence to begin_ns in their order; the active area is four words.
        (
            self.sequence,
            self.stream,
            self.nonce,
            self.number,
            _,
            *area,
            self.time_ns,
            self.time_bound_ns,
            self.begin_ns,
        ) = _BEGINNING.unpack_from(ring.control, self._slot_at + SLOT.at["sequence"])
        self.active_area: tuple[int, int, int, int] = (area[0], area[1], area[2], area[3])
        try:
            at = self._slot_at + _START
            start = FrameStart.decode(ring.control[at : at + FRAME_START_BYTES])
        except Malformed:
            raise ring.make_damaged("has no description") from None
        self.start = start
        self.width, self.height, self.stride = start.width, start.height, start.stride
        self.bits, self.orientation = start.bits, start.orientation
        time = FrameTime(self.time_ns, self.time_bound_ns)
        reported = FrameMetadata.from_start(self.stream, self.number, start, time, 0)
        self._reported = reported
        self.timestamp_us = reported.timestamp_us
        self.exposure_us = reported.exposure_us
        self.gain_milli = reported.gain_milli
        self.focus_mdpt = reported.focus_mdpt
        self.aperture_milli = reported.aperture_milli
        self.is_adjusted = reported.is_adjusted
        self.is_moving = reported.is_moving
        self.interval_us = reported.interval_us
        self.row_time_ns = reported.row_time_ns
        self.noise_profile = reported.noise_profile
        self.temperature_mc = reported.temperature_mc
        self.focus_ring = reported.focus_ring
        self.time, self.time_error_s = reported.time, reported.time_error_s
        self.crop_x, self.crop_y = reported.crop_x, reported.crop_y
        self.black = reported.black
        self.white = reported.white
        self.layout, self.cfa, self._memory = ring.get_geometry(index, start)

    @property
    def metadata(self) -> FrameMetadata:
        """All that the module reported about the frame."""
        if not self._is_released and self.is_finished:
            energy_uj = _as_int(self._read_end("energy_uj"))
            self._reported = self._reported._replace(energy_uj=energy_uj)
        return self._reported

    @property
    def energy_uj(self) -> int:
        """Energy of the frame in microjoules; 0 if it is unknown, as it is before the end."""
        return self.metadata.energy_uj

    @property
    def row_times(self) -> NDArray[np.float64]:
        """(H,) float64: ``time`` of the middle of each row's exposure, in seconds."""
        return list_row_times(self.time, self.row_time_ns, self.height)

    # --- pixels ---------------------------------------------------------------------------

    @property
    def rows_ready(self) -> int:
        """Rows from the top that arrived and passed their CRCs; all rows of a finished frame."""
        rows = self._ring.q[self._rows_at]
        order()
        self._rows = max(self._rows, min(rows, self.height))
        return self._rows

    @property
    def packed(self) -> NDArray[np.uint8]:
        """(:attr:`rows_ready`, stride) uint8, read-only: the memory that the rows arrive in."""
        if self._is_released:
            raise UsageError("the frame was released: its memory is another frame's by now")
        return self._memory[: self.rows_ready]

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """(:attr:`rows_ready`, W) uint16, right-justified; 0 where pixels did not arrive.

        It is read-only and shares the frame's memory, unless pixels share bytes.
        """
        return unpack(self.packed, self.layout)

    def wait_rows(self, rows: int, timeout: float | None = None) -> int:
        """Wait until *rows* rows are ready or the frame has ended; return how many are ready.

        There are fewer than *rows* only if the frame was given up. Raises
        :exc:`~lenslink.errors.Disconnected` if the writer is gone and the rows will not come, and
        :exc:`~lenslink.errors.Timeout` after *timeout* seconds (None: the reader's).
        """
        self._wait(min(rows, self.height), Asleep.ROWS, timeout)
        return self.rows_ready

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the frame has ended. Raises the errors of :meth:`wait_rows`."""
        self._wait(self.height + 1, Asleep.FRAME, timeout)

    def _wait(self, rows: int, asleep: Asleep, timeout: float | None) -> None:
        ring = self._ring
        seconds = self._timeout if timeout is None else timeout
        deadline = Deadline(seconds, "waiting for the frame's rows")
        while True:
            doorbell = ring.i[DOORBELL]
            is_over = self.is_finished or ring.is_over()
            if self.rows_ready >= rows or self.is_finished:
                return
            if is_over:
                raise ring.make_disconnected()
            deadline.check()
            ring.sleep(self._reader_number, doorbell, deadline, asleep)

    # --- its end --------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """True if nothing of the frame will change any more."""
        has_ended = self._ring.q[self._word_at] & STATE_MASK in ENDED
        order()
        return has_ended

    @property
    def status(self) -> FrameStatus:
        """COMPLETE or INCOMPLETE.

        This and the following fields raise :exc:`~lenslink.errors.UsageError` while the frame is
        not finished.
        """
        is_complete = self._read_end("status") == FrameState.COMPLETE
        return FrameStatus.COMPLETE if is_complete else FrameStatus.INCOMPLETE

    @property
    def received_fraction(self) -> float:
        """Fraction of the frame's bytes that arrived and passed their CRC."""
        size: int = self.stride * self.height
        return min(_as_int(self._read_end("received_bytes")), size) / size

    @property
    def missing_ranges(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges of bytes that did not arrive, in order.

        There are at most 16. If there were more, the last range spans all that follow it.
        """
        count, flat = _as_int(self._read_end("missing_count")), self._read_end("missing_ranges")
        size = self.stride * self.height
        if count > MAX_MISSING_RANGES or not isinstance(flat, tuple):
            raise self._ring.make_damaged("has too many missing ranges")
        ranges = tuple(zip(flat[0 : 2 * count : 2], flat[1 : 2 * count : 2], strict=True))
        if any(not 0 <= start < end <= size for start, end in ranges):
            raise self._ring.make_damaged("has missing ranges outside itself")
        return ranges

    @property
    def first_rows_ns(self) -> int:
        """The host's ``time.monotonic_ns()`` when the frame's first rows were ready."""
        return self._ring.q[(self._slot_at + SLOT.at["first_rows_ns"]) // 8]

    @property
    def end_ns(self) -> int:
        """The host's ``time.monotonic_ns()`` at the frame's end."""
        return _as_int(self._read_end("end_ns"))

    def _read_end(self, name: str) -> int | tuple[int, ...]:
        if self._is_released or not self.is_finished:
            raise UsageError(f"a frame's {name} is known between its end and its release")
        at = self._slot_at
        return SLOT.unpack(self._ring.control[at : at + SLOT.used])[name]

    def release(self) -> None:
        """Clear the pin: the frame's arrays must not be used any more. Idempotent."""
        if not self._is_released:
            if not self._ring.is_closed:
                self._reported = self.metadata
            self._is_released = True
            order()
            if not self._ring.is_closed:
                self._ring.q[self._pin] = 0
            if self._on_release is not None:
                self._on_release()

    def call_on_release(self, function: Callable[[], None]) -> None:
        """Call *function* once the frame has been released."""
        self._on_release = function


def _as_int(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value
