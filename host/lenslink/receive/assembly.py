"""Keep one frame while its tiles arrive: its memory, what has arrived, and its state.

:class:`.reassembly.Reassembly` makes an :class:`Assembly` for each frame, passes it the packets of
the frame, and decides when it is finished. Then :mod:`lenslink.device` makes a frame of it.

States of an assembly:

==================  ===================================================  =========
State               Event                                                New state
==================  ===================================================  =========
(new)               the first packet of the frame arrives                RECEIVING
RECEIVING           no packet of the frame for STALL_MS                  OVERDUE
OVERDUE             a packet of the frame arrives                        RECEIVING
RECEIVING, OVERDUE  the last missing byte arrives                        COMPLETE
every state         nothing more can arrive, or nobody waits for more    FINISHED
==================  ===================================================  =========
"""

from __future__ import annotations

import enum
import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import EndStatus
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart

from ..module_clock import FrameTime
from .frame_geometry import FrameGeometry
from .received_ranges import ByteRange, ReceivedRanges, ReceivedRangesSnapshot
from .resend_timer import ResendRequest, ResendTimer
from .unpacking import unpack

_log = logging.getLogger(__name__)


class AssemblyState(enum.Enum):
    """How much of a frame has arrived. See the table in the module's docstring."""

    RECEIVING = "receiving"
    """Bytes are missing, and a lane may still bring them."""
    OVERDUE = "overdue"
    """Bytes have been missing for STALL_MS. Tiles on slow lanes are not waited for any more."""
    COMPLETE = "complete"
    """Every byte of the pixels has arrived. FrameStart or FrameEnd may be missing."""
    FINISHED = "finished"
    """The frame accepts nothing more."""


# Reading a member of an enum takes ten times as long as a name of the module, and each packet reads
# several.
_RECEIVING, _OVERDUE, _COMPLETE, _FINISHED = AssemblyState


class AssemblySnapshot(NamedTuple):
    """The state of an :class:`Assembly` that decides its future behaviour. Immutable.

    Times are absolute, in seconds on the caller's clock.
    """

    stream: int
    number: int
    configuration: Configured
    state: AssemblyState
    frame_start: FrameStart | None
    frame_end: FrameEnd | None
    last_packet_time: float
    """When the last packet of the frame arrived."""
    last_byte_time: float | None
    """When the last missing byte arrived. None while bytes are missing."""
    requests: tuple[ResendRequest, ...]
    tries: int
    is_fully_sent: bool
    reservations: tuple[tuple[int, ByteRange], ...]
    """A lane's number, and the range that the lane is receiving in place."""
    received_ranges: ReceivedRangesSnapshot
    unavailable_ranges: ReceivedRangesSnapshot
    pixels: tuple[bytes, ...]
    """The frame's bytes, a piece for each range of ``received_ranges``."""


class Assembly:
    """One frame and its memory.

    Args:
        stream: The frame's stream.
        number: The frame's number.
        geometry: The geometry of the stream's configuration. A FrameStart that contradicts the
            configuration is rejected, so the geometry never changes.
        buffer: (frame_bytes,) uint8 from the pool, with any content.
        now: The time in seconds.
    """

    def __init__(
        self,
        stream: int,
        number: int,
        geometry: FrameGeometry,
        buffer: NDArray[np.uint8],
        now: float,
    ) -> None:
        self.stream = stream
        self.number = number
        self.geometry = geometry
        self.buffer = buffer
        self.memory = buffer.data
        """The bytes of *buffer* as a memoryview, which is faster to slice than the array."""
        self.state = _RECEIVING
        self.frame_start: FrameStart | None = None
        """The frame's FrameStart, or None while it is missing."""
        self.frame_end: FrameEnd | None = None
        """The frame's FrameEnd, or None while it is missing."""
        self.frame_time: FrameTime | None = None
        """When the frame was exposed. Session.find_time() sets it when it is first asked."""
        self.timer = ResendTimer(now)
        self.is_fully_sent = False
        """The module has answered a Resend after its last tile: it sends more only on request."""
        self.reservations: dict[int, ByteRange] = {}
        """The range that each lane is receiving in place, by lane."""
        size = geometry.configuration.frame_bytes
        self.received_ranges = ReceivedRanges(size)
        """Bytes that arrived and passed their CRC."""
        self.unavailable_ranges = ReceivedRanges(size)
        """Bytes that the module does not hold any more."""

    @property
    def configuration(self) -> Configured:
        """The stream's configuration."""
        return self.geometry.configuration

    @property
    def size(self) -> int:
        """The frame's bytes."""
        return self.received_ranges.size

    @property
    def is_finished(self) -> bool:
        """The frame accepts nothing more."""
        return self.state is _FINISHED

    @property
    def is_intact(self) -> bool:
        """Every byte of the pixels has arrived, and no FrameEnd reports a failure."""
        return self.received_ranges.is_complete and (
            self.frame_end is None or self.frame_end.status == EndStatus.OK
        )

    def set_state(self, state: AssemblyState) -> None:
        """Change the state, and log it."""
        if state is not self.state:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug(
                    "frame %d of stream %d: %s -> %s, %d of %d bytes",
                    *(self.number, self.stream, self.state.name, state.name),
                    *(self.received_ranges.count, self.size),
                )
            self.state = state

    def on_packet(self, now: float) -> None:
        """Record that a packet of the frame has arrived. Change the state OVERDUE to RECEIVING."""
        self.timer.last_packet_time = now
        if self.state is _OVERDUE:
            self.set_state(_RECEIVING)

    def add_received(self, start: int, end: int) -> None:
        """Record that bytes have arrived and are good. May change the state to COMPLETE."""
        self.received_ranges.add(start, end)
        if self.received_ranges.is_complete and not self.is_finished:
            if self.timer.last_byte_time is None:
                # on_packet() comes first, so that is the time of this tile.
                self.timer.last_byte_time = self.timer.last_packet_time
            self.set_state(_COMPLETE)

    def write_missing(self, ranges: list[ByteRange], payload: memoryview) -> bool:
        """Copy the parts of a tile that have not arrived yet. Return False if all have arrived.

        A part that a lane has reserved is not copied: that lane may write there later, and what it
        writes may be damaged.
        """
        offset = 0
        has_new = False
        for start, end in ranges:
            for low, high in self.received_ranges.find_gaps(start, end):
                has_new = True
                if self._is_reserved(low, high):
                    continue
                self.memory[low:high] = payload[offset + low - start : offset + high - start]
                self.add_received(low, high)
            offset += end - start
        return has_new

    def is_free(self, ranges: list[ByteRange]) -> bool:
        """Return True if nothing of *ranges* has arrived and no lane has reserved any of it."""
        for start, end in ranges:
            if self.received_ranges.find_gaps(start, end) != [(start, end)]:
                return False
            if self._is_reserved(start, end):
                return False
        return True

    def _is_reserved(self, start: int, end: int) -> bool:
        return any(start < b and a < end for a, b in self.reservations.values())

    def find_lost(self, end: int) -> list[ByteRange]:
        """Return the bytes below *end* that did not arrive and that the module may still hold."""
        gaps = self.received_ranges.find_gaps(0, end)
        return [lost for low, high in gaps for lost in self.unavailable_ranges.find_gaps(low, high)]

    @property
    def missing_ranges(self) -> tuple[ByteRange, ...]:
        """The bytes that did not arrive. They are zero once the frame is handed on."""
        return tuple(self.received_ranges.find_gaps(0, self.size))

    def clear_missing(self) -> None:
        """Set the bytes that did not arrive to zero. The memory may hold an older frame."""
        for start, end in self.missing_ranges:
            self.buffer[start:end] = 0

    def view_rows(self) -> NDArray[np.uint8]:
        """Return the frame's own memory as (H, stride) uint8: rows as they arrived."""
        return self.buffer.reshape(self.configuration.height, self.configuration.stride)

    def unpack_pixels(self) -> NDArray[np.uint16]:
        """Return the pixels as (H, W) uint16. It is a copy where pixels share bytes."""
        return unpack(self.view_rows(), self.geometry.layout)

    def snapshot(self) -> AssemblySnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Bytes that have not arrived are left out: they are overwritten or zeroed before anyone
        sees them.
        """
        received_ranges = self.received_ranges.snapshot()
        return AssemblySnapshot(
            stream=self.stream,
            number=self.number,
            configuration=self.configuration,
            state=self.state,
            frame_start=self.frame_start,
            frame_end=self.frame_end,
            last_packet_time=self.timer.last_packet_time,
            last_byte_time=self.timer.last_byte_time,
            requests=tuple(self.timer.requests),
            tries=self.timer.tries,
            is_fully_sent=self.is_fully_sent,
            reservations=tuple(sorted(self.reservations.items())),
            received_ranges=received_ranges,
            unavailable_ranges=self.unavailable_ranges.snapshot(),
            pixels=tuple([bytes(self.memory[start:end]) for start, end in received_ranges.ranges]),
        )
