"""Put tiles together to frames, find out what is lost, and hand finished frames on in order.

:class:`Reassembly` is the frame sink of a link (:class:`lenslink_protocol.link.FrameSink`): the
link passes FrameStart, tiles, FrameEnd and Resent. :class:`.batch.Batch` passes many tiles at once.
The session takes finished frames from :attr:`Reassembly.finished_frames`.

Memory of a frame is lent to a receiver only where nothing has arrived yet, and a range counts as
received only after its CRC was good. So a damaged repeat cannot spoil a good pixel, and memory that
is used again cannot show an old frame. While one lane receives into a range, the range is reserved:
no other lane writes there.

Lost tiles are requested again while the module may still hold them. :mod:`.lane_progress` proves
that something is lost. A frame whose lost tiles the module does not hold any more is incomplete,
and says so.

When a frame is finished (:class:`.assembly.AssemblyState` has the states):

================================================  ==========================================
Situation                                         The frame is finished
================================================  ==========================================
complete, FrameStart and FrameEnd have arrived    at once
complete, FrameStart has arrived                  after END_GRACE_MS without a packet
the module holds none of the lost parts           as soon as no lane can bring them
the FrameEnd reports a failure, parts are lost    as soon as no lane can bring them
parts are lost, the module holds them             after RESEND_TRIES requests without success
the module cannot resend                          as soon as no lane can bring them
a newer frame needs the memory                    at once, if no lane receives into the frame
nothing arrives                                   after FRAME_STALE_MS
================================================  ==========================================
"""

from __future__ import annotations

import logging
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lenslink_protocol.ids import DiscardReason, EndStatus, Flag, FrameState, ResendFlag
from lenslink_protocol.link import Lane, MissingParts, Rectangle
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header, Resent
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
    MAX_BRACKET,
    MAX_FRAMES_OPEN,
    MAX_OPEN_BYTES,
    MAX_RANGES,
    MIN_FRAMES_OPEN,
    RESEND_TRIES,
    STALL_MS,
)

from ..settings import STILL
from .assembly import Assembly, AssemblySnapshot, AssemblyState
from .frame_geometry import FrameGeometry
from .frame_pool import Pool
from .frame_start_check import RejectedFrame, find_contradiction
from .lane_progress import LanePosition, LaneProgress, count_outstanding, is_later
from .received_ranges import ByteRange
from .resend_timer import RETRY_S

_log = logging.getLogger(__name__)

_RANGE = struct.Struct("<4H")
"""A rectangle in Resend and Resent: x, y, width, height."""

# Making and combining flags of an enum takes microseconds.
_RESENT = int(Flag.RESENT)
_NO_FLAG = ResendFlag(0)

# After this time without a packet, a frame has lost its last packets or its module is slow.
_QUIET_S = 2 * RETRY_S
# One of several lanes may lag for longer, because a transport may have a thread for each lane.
_LAG_S = STALL_MS / 1000


class StreamOrder:
    """Which frames of one stream are past. None stands for no frame."""

    def __init__(self) -> None:
        self.newest: int | None = None
        """The newest frame of which anything has arrived."""
        self.last_done: int | None = None
        """The last frame that was handed on or dropped: nothing up to it is of use any more."""
        self.dropped: int | None = None
        """The newest frame when the host last ended the stream. It and older ones are dropped."""
        self.rejected: RejectedFrame | None = None
        """The last frame that was discarded because of its FrameStart."""


class ReassemblySnapshot(NamedTuple):
    """The state of a :class:`Reassembly` that decides its future behaviour. Immutable.

    The lanes belong to the link and stand in the link's snapshot.
    """

    open: tuple[AssemblySnapshot, ...]
    """Frames that are not handed on, the oldest first."""
    finished: tuple[AssemblySnapshot, ...]
    """Frames that the caller has not taken yet, the oldest first."""
    can_resend: bool
    first_tile_time: float | None
    round_trip_s: float
    orders: tuple[tuple[int, int | None, int | None, int | None, RejectedFrame | None], ...]
    """Stream, and its newest, last done, dropped and rejected frame."""
    positions: tuple[tuple[tuple[int, int], LanePosition], ...]
    """Lane and stream, and the last tile that the lane brought."""


class FrameCounters:
    """What a reassembly has counted since the session began."""

    def __init__(self) -> None:
        self.tile_bytes = 0
        """Bytes of tiles with a good CRC."""
        self.aborted_frames = 0
        """Frames that the host itself stopped, or whose FrameStart never arrived."""
        self.skipped_frames = 0
        """Finished frames that were dropped because nobody took them and newer ones arrived."""


class Reassembly:
    """Puts the frames of one session together.

    Args:
        pool: Lends the memory of the frames.
        discards: Counts discards by reason.
        expect: Returns the configuration of a stream, or None. Memory is taken for configured
            streams only.

    MIN_FRAMES_OPEN frames may be open at once. If frames are small, up to MAX_FRAMES_OPEN may be
    open while a slow lane may still bring what the oldest frame lacks.
    """

    def __init__(
        self,
        pool: Pool,
        discards: Counter[DiscardReason],
        expect: Callable[[int], Configured | None],
    ) -> None:
        self.finished_frames: deque[Assembly] = deque()
        """Frames for the caller to take, the oldest first."""
        self.counters = FrameCounters()
        self.first_tile_time: float | None = None
        """When the first tile arrived since this was last set to None."""
        self.can_resend = False
        """The module sends again what is requested."""
        self.mode_sizes: dict[int, tuple[int, int]] = {}
        """Width and height of the module's modes by their number, once the manifest is read."""
        self._pool = pool
        self._discards = discards
        self._expect = expect
        # Frames that are not handed on, by number.
        self._open: dict[int, Assembly] = {}
        self._orders: dict[int, StreamOrder] = {}
        self._progress = LaneProgress()
        self._round_trip_s = 0.0
        """How long the module takes to answer, at least, as far as known."""

    @property
    def lanes(self) -> Sequence[Lane]:
        """The link's lanes."""
        return self._progress.lanes

    def snapshot(self) -> ReassemblySnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two reassemblies with equal snapshots, whose links are in equal states, behave alike.
        Counters are left out.
        """
        return ReassemblySnapshot(
            open=tuple([assembly.snapshot() for assembly in self._open.values()]),
            finished=tuple([assembly.snapshot() for assembly in self.finished_frames]),
            can_resend=self.can_resend,
            first_tile_time=self.first_tile_time,
            round_trip_s=self._round_trip_s,
            orders=tuple(
                [
                    (stream, order.newest, order.last_done, order.dropped, order.rejected)
                    for stream, order in sorted(self._orders.items())
                ]
            ),
            positions=self._progress.snapshot(),
        )

    # --- FrameSink: see there for what each method does -----------------------------------

    def attach_lanes(self, lanes: Sequence[Lane]) -> None:
        """Keep the link's lanes."""
        self._progress.lanes = lanes

    def on_frame_start(self, header: Header, message: FrameStart, now: float) -> None:
        """Use a FrameStart; may open the frame, or finish it if all else has arrived."""
        expected = self._expect(header.stream)
        if expected is None:
            self._discard(DiscardReason.GEOMETRY, header.stream, header.frame, message)
            return
        size = self.mode_sizes.get(message.mode)
        contradiction = find_contradiction(message, expected, size)
        if contradiction is not None:
            self._discard(DiscardReason.GEOMETRY, header.stream, header.frame, message)
            self._reject_frame(header, message, contradiction)
            return
        assembly = self._find_or_open(header.stream, header.frame, now)
        if assembly is None:
            return
        if assembly.start is not None:
            self._discard(DiscardReason.DUPLICATE, header.stream, header.frame, message)
            return
        assembly.start = message
        assembly.on_packet(now)
        self._pool.on_frame_start(assembly)
        self._settle(assembly)

    def reserve_buffer(self, header: Header, lane: int = 0) -> memoryview | None:
        """Reserve the bytes of a tile for a lane, and return their memory.

        Return None if the tile is narrower than the frame and higher than a row, or if any of its
        bytes has arrived or is reserved. The lane's earlier reservation ends.
        """
        self.cancel_reservation(lane)
        assembly = self.find_open(header)
        if assembly is None:
            return None
        ranges = assembly.geometry.find_tile_ranges(header)
        if ranges is None or len(ranges) != 1 or not assembly.is_free(ranges):
            return None
        [(start, end)] = ranges
        assembly.reservations[lane] = (start, end)
        return assembly.memory[start:end]

    def cancel_reservation(self, lane: int) -> None:
        """End the reservation of a lane; may finish the frame."""
        for assembly in list(self._open.values()):
            if assembly.reservations.pop(lane, None) is not None:
                self._settle(assembly)

    def on_tile(
        self, header: Header, payload: memoryview, in_place: bool, now: float, lane: int = 0
    ) -> None:
        """Use a tile with a good CRC; may open or finish its frame."""
        assembly = self._find_or_open(header.stream, header.frame, now)
        if assembly is None:
            return
        ranges = assembly.geometry.find_tile_ranges(header)
        if ranges is None:
            self._discard(DiscardReason.GEOMETRY, header.stream, header.frame, header)
            return
        self._count_tiles(assembly, header.length, now)
        if in_place:
            assembly.reservations.pop(lane, None)
            assembly.add_received(*ranges[0])
        elif not assembly.write_missing(ranges, payload):
            self._discard(DiscardReason.DUPLICATE, header.stream, header.frame, header)
        self._pool.on_progress(assembly)
        if not header.flags & _RESENT:
            self._progress.record_position(lane, header.stream, header.frame, ranges[0][0])
        self._settle(assembly)

    def on_frame_end(self, header: Header, message: FrameEnd, now: float) -> None:
        """Use a FrameEnd; may finish the frame."""
        assembly = self._find_or_open(header.stream, header.frame, now)
        if assembly is None:
            return
        assembly.end = message
        assembly.on_packet(now)
        self._settle(assembly)

    def on_frame_announced(self, stream: int, number: int, now: float) -> None:
        """Open a frame that the module says it has begun, if none of its packets has arrived."""
        # A stream that is not configured concerns nobody: no packet of it is used.
        if self._expect(stream) is None or not is_later(number, self._order(stream).newest):
            return
        assembly = self._find_or_open(stream, number, now)
        if assembly is not None:
            # The announcement came on lane 0, and so after the missing FrameStart.
            self._progress.record_position(0, stream, number, 0)

    def on_resent(self, header: Header, message: Resent, now: float) -> None:
        """Use the module's answer to a Resend; may finish the frame."""
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream:
            return
        if len(message.gone) < _RANGE.size * message.count or message.count > MAX_RANGES:
            self._discard(DiscardReason.MALFORMED, header.stream, header.frame, message)
            return
        assembly.timer.on_answer()
        if len(self.lanes) == 1 and assembly.timer.requests:
            del assembly.timer.requests[0]
        if message.state == FrameState.UNKNOWN:
            assembly.unavailable_ranges.add(0, assembly.size)
        for rectangle in _read_rectangles(message):
            for start, end in assembly.geometry.find_ranges(rectangle) or []:
                assembly.unavailable_ranges.add(start, end)
        if message.state != FrameState.UNDER_WAY:
            assembly.proven_end = assembly.size
        self._settle(assembly)

    def on_round_trip(self, seconds: float) -> None:
        """Wait for so long before anything is requested again."""
        self._round_trip_s = seconds

    def find_missing(self, now: float) -> list[MissingParts]:
        """Return what is to be requested again; may finish frames whose attempts are used up."""
        patience = _QUIET_S if len(self.lanes) == 1 else _LAG_S
        found = []
        for assembly in list(self._open.values()):
            if assembly.is_finished:
                continue
            timer = assembly.timer
            timer.drop_expired(now)
            # A frame is not quiet while a lane receives a tile of it, or an answer is on its way.
            is_expected = assembly.reservations or timer.requests
            is_quiet = now - timer.last_packet > patience and not is_expected
            flags = self._find_missing_flags(assembly, is_quiet)
            if flags:
                flags &= ~timer.flags
            lost = assembly.find_lost(
                assembly.size if is_quiet else self._find_proven_end(assembly)
            )
            rectangles, ranges = assembly.geometry.cover_ranges(
                timer.exclude_requested(lost, assembly.size)
            )
            if not flags and not rectangles:
                continue
            timer.add_request(now, flags, ranges, self._round_trip_s)
            if timer.tries > RESEND_TRIES and not assembly.reservations:
                self._finish(assembly)
            else:
                found.append(MissingParts(assembly.stream, assembly.number, flags, rectangles))
        return found

    def _find_missing_flags(self, assembly: Assembly, is_quiet: bool) -> ResendFlag:
        """Return whether FrameStart and FrameEnd are lost.

        A frame that is quiet (nothing has arrived for _QUIET_S) lacks all that has not arrived.
        Another frame lacks what every lane has passed.
        """
        flags = _NO_FLAG
        has_passed_start = assembly.end is not None or self._progress.has_passed_start(
            assembly.stream, assembly.number
        )
        if assembly.start is None and (is_quiet or has_passed_start):
            flags |= ResendFlag.START
        if assembly.end is None and is_quiet:
            flags |= ResendFlag.END
        return flags

    def expire_frames(self, now: float) -> None:
        """Finish the frames that have received nothing for too long."""
        for assembly in list(self._open.values()):
            if assembly.is_finished:
                continue
            silence = now - assembly.timer.last_packet
            has_all = assembly.received_ranges.is_complete and assembly.start is not None
            patience = (END_GRACE_MS if has_all else FRAME_STALE_MS) / 1000
            if silence > patience and not assembly.reservations:
                self._finish(assembly)
            elif silence > _LAG_S and assembly.state is AssemblyState.RECEIVING:
                assembly.set_state(AssemblyState.OVERDUE)
                self._settle(assembly)

    def shift_timers(self, seconds: float) -> None:
        """Extend the timeouts of all frames by *seconds*, in which the host received nothing."""
        for assembly in self._open.values():
            assembly.timer.shift(seconds)

    # --- many tiles at once: called by the batch ------------------------------------------

    def find_open(self, header: Header) -> Assembly | None:
        """Return the frame that a tile is for, if it is open and not finished."""
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream or assembly.is_finished:
            return None
        return assembly

    def count_packets_before_end(self, assembly: Assembly, lane: int) -> int:
        """Return how many packets a lane may bring before one of them could finish the frame.

        Return 0 if the module has answered a Resend of the frame: then each tile may be the last.
        """
        if self._open.get(assembly.number) is not assembly or assembly.is_finished:
            return 0
        if assembly.unavailable_ranges.count or assembly.proven_end:
            return 0
        if assembly.end is None:
            return assembly.size
        return count_outstanding(self.lanes[lane], assembly.end)

    def on_tiles(
        self, assembly: Assembly, ranges: list[ByteRange], last: int, now: float, lane: int
    ) -> None:
        """Use tiles that a lane has brought one after the other; may finish their frame.

        Args:
            assembly: The frame.
            ranges: The bytes that the tiles fill. They were free.
            last: The first byte of the last tile.
            now: The time in seconds.
            lane: The lane. It has brought no other packet between the tiles, and none is resent.
        """
        self._count_tiles(assembly, sum(end - start for start, end in ranges), now)
        for start, end in ranges:
            assembly.add_received(start, end)
        self._pool.on_progress(assembly)
        self._progress.record_position(lane, assembly.stream, assembly.number, last)
        if assembly.received_ranges.is_complete or assembly.end is not None:
            self._settle(assembly)

    def _count_tiles(self, assembly: Assembly, count: int, now: float) -> None:
        """Count *count* bytes of good tiles, and restart the frame's timers."""
        if self.first_tile_time is None:
            self.first_tile_time = now
        self.counters.tile_bytes += count
        assembly.on_packet(now)
        assembly.timer.on_answer()

    # --- rejecting frames -----------------------------------------------------------------

    def take_rejection(self, stream: int, request: int) -> str | None:
        """Return why a frame of a request was discarded because of its FrameStart, or None.

        Each frame is reported once.
        """
        rejected = self._order(stream).rejected
        if rejected is None or not self.has_rejection(stream, request):
            return None
        self._order(stream).rejected = rejected._replace(is_reported=True)
        return f"frame {rejected.number} contradicts itself or its configuration: {rejected.reason}"

    def has_rejection(self, stream: int, request: int) -> bool:
        """:meth:`take_rejection` would return a reason."""
        rejected = self._order(stream).rejected
        return rejected is not None and not rejected.is_reported and rejected.request == request

    def _reject_frame(self, header: Header, message: FrameStart, reason: str) -> None:
        """Remember and log that a frame is discarded, and drop what has arrived of it."""
        order = self._order(header.stream)
        if order.rejected is None or order.rejected.reason != reason:
            # Once for each fault of the module, not for each of its frames.
            _log.warning("frame %d of stream %d: %s", header.frame, header.stream, reason)
        assembly = self._open.get(header.frame)
        if assembly is not None:
            if assembly.stream != header.stream or assembly.start is not None:
                return
            del self._open[header.frame]
            assembly.set_state(AssemblyState.FINISHED)
            if not assembly.reservations:
                self._pool.release(assembly.buffer)
        if is_later(header.frame, order.newest):
            order.newest = header.frame
        order.rejected = RejectedFrame(header.frame, message.request, reason)

    # --- opening frames -------------------------------------------------------------------

    def drop_stream(self, stream: int) -> None:
        """Drop all frames of a stream that the host ends, and release their memory."""
        order = self._order(stream)
        order.dropped = order.last_done = order.newest
        for assembly in [each for each in self._open.values() if each.stream == stream]:
            del self._open[assembly.number]
            assembly.set_state(AssemblyState.FINISHED)
            # Memory that a lane still receives into must not be used again.
            if not assembly.reservations:
                self._pool.release(assembly.buffer)
        for assembly in [each for each in self.finished_frames if each.stream == stream]:
            self.finished_frames.remove(assembly)
            self._pool.release(assembly.buffer)

    def _order(self, stream: int) -> StreamOrder:
        order = self._orders.get(stream)
        if order is None:
            order = self._orders[stream] = StreamOrder()
        return order

    def _find_or_open(self, stream: int, number: int, now: float) -> Assembly | None:
        """Return the frame that a packet is for; open it if it is new.

        Return None if the packet is of no use, and count it as a discard.
        """
        assembly = self._open.get(number)
        if assembly is None:
            plan = self._expect(stream)
            if plan is None:
                self._discard(DiscardReason.NO_FRAME, stream, number)
                return None
            if self._is_past(stream, number):
                return None
            return self._open_frame(stream, number, plan, now)
        if assembly.stream != stream or assembly.is_finished:
            reason = DiscardReason.LATE if assembly.is_finished else DiscardReason.GEOMETRY
            self._discard(reason, stream, number)
            return None
        return assembly

    def _is_past(self, stream: int, number: int) -> bool:
        """Return True if nothing of a frame is of use any more. Count the discard."""
        order = self._order(stream)
        has_one_lane = len(self.lanes) == 1
        if order.rejected is not None and order.rejected.number == number:
            self._discard(DiscardReason.GEOMETRY, stream, number)
            return True
        if is_later(number, order.newest if has_one_lane else order.last_done):
            return False
        # Order holds within a lane only. What another lane carried when the host ended the stream
        # arrives after the answer to Stop. It is no fault and is not counted.
        if has_one_lane or is_later(number, order.dropped):
            self._discard(DiscardReason.LATE, stream, number)
        return True

    def _open_frame(
        self, stream: int, number: int, plan: Configured, now: float
    ) -> Assembly | None:
        """Open a frame; may finish older ones to make room. Return None if there is no room."""
        order = self._order(stream)
        is_newest = is_later(number, order.newest)
        if is_newest:
            order.newest = number
        if not self.can_resend and len(self.lanes) == 1:
            # One lane keeps its order: an earlier frame gets nothing more.
            for earlier in [each for each in self._open.values() if each.stream == stream]:
                self._finish(earlier)
        crowded_out = self._find_crowded_out(plan)
        if crowded_out is not None:
            if crowded_out.reservations:
                self._discard(DiscardReason.NO_FRAME, stream, number)
                return None
            self._finish(crowded_out)
        geometry = FrameGeometry(plan)
        buffer = self._pool.acquire(plan.frame_bytes, number)
        assembly = Assembly(stream, number, geometry, buffer, now)
        self._open[number] = assembly
        if not is_newest:
            # A later frame has overtaken it on another lane. Frames are handed on in order.
            for later in [each for each in self._open if is_later(each, number)]:
                self._open[later] = self._open.pop(later)
        _log.debug("frame %d of stream %d: opened", number, stream)
        self._pool.on_frame_begin(assembly)
        return assembly

    def _find_crowded_out(self, plan: Configured) -> Assembly | None:
        """Return the frame that must make room for a frame of that configuration, if any.

        It is the oldest frame of the stream with the most open frames. So previews make room for
        previews, and a still among them is received to its end.
        """
        count = len(self._open)
        if count < MIN_FRAMES_OPEN:
            return None
        counts = Counter(each.stream for each in self._open.values())
        chosen = max(self._open.values(), key=lambda each: counts[each.stream])
        if count >= MAX_FRAMES_OPEN or len(self.lanes) == 1:
            return chosen
        if chosen.end and self._find_proven_end(chosen) == chosen.size:
            # No lane lags: what is missing would have to be resent.
            return chosen
        taken = sum(each.size for each in self._open.values())
        return chosen if taken + plan.frame_bytes > MAX_OPEN_BYTES else None

    # --- finishing frames -----------------------------------------------------------------

    def _find_proven_end(self, assembly: Assembly) -> int:
        """Return the first byte that may still arrive without a resend; no byte before it can."""
        if assembly.proven_end == assembly.size:
            return assembly.size
        # With one lane, a packet of a later frame proves as much as the FrameEnd.
        newest = self._order(assembly.stream).newest
        if len(self.lanes) == 1 and newest is not None and is_later(newest, assembly.number):
            return assembly.size
        proven_end = self._progress.find_proven_end(
            assembly.stream, assembly.number, assembly.size, assembly.end
        )
        return max(proven_end, assembly.proven_end)

    def _settle(self, assembly: Assembly) -> None:
        """Finish the frame if nothing more of it can arrive."""
        if assembly.is_finished or assembly.reservations:
            return
        if self._is_settled(assembly):
            self._finish(assembly)

    def _is_settled(self, assembly: Assembly) -> bool:
        """Nothing more of the frame can arrive. See the table in the module's docstring."""
        end = assembly.end
        has_all = assembly.received_ranges.is_complete
        if not has_all and self._find_proven_end(assembly) < assembly.size:
            return False
        if assembly.start is None and not assembly.unavailable_ranges.is_complete:
            # The FrameStart is requested again.
            return False
        if has_all:
            return end is not None
        if self._is_lane_awaited(assembly):
            # Resent came on lane 0 and has overtaken tiles on other lanes.
            return False
        if not self.can_resend:
            return True
        if not assembly.find_lost(assembly.size):
            return end is not None or assembly.proven_end == assembly.size
        # Nobody waits for the rest of a frame that ended early.
        return end is not None and end.status != EndStatus.OK

    def _is_lane_awaited(self, assembly: Assembly) -> bool:
        """One of several lanes may still bring what was sent before the FrameEnd."""
        return (
            assembly.end is not None
            and len(self.lanes) > 1
            and assembly.state is not AssemblyState.OVERDUE
            and not self._progress.has_reached_end(assembly.end)
        )

    def _finish(self, assembly: Assembly) -> None:
        """Set the state FINISHED, and hand on the frames of the stream that are next in order."""
        assembly.set_state(AssemblyState.FINISHED)
        for head in [each for each in self._open.values() if each.stream == assembly.stream]:
            if not head.is_finished:
                break
            self._hand_on(head)

    def _hand_on(self, assembly: Assembly) -> None:
        """Queue a finished frame for the caller, or release it if it is of no use."""
        del self._open[assembly.number]
        self._order(assembly.stream).last_done = assembly.number
        end = assembly.end
        was_stopped = end is not None and end.status == EndStatus.ABORTED
        if assembly.start is None or (was_stopped and not assembly.received_ranges.is_complete):
            self.counters.aborted_frames += 1
            self._pool.release(assembly.buffer)
            return
        self._pool.on_frame_finish(assembly)
        self.finished_frames.append(assembly)
        self._skip_oldest(assembly.stream)

    def _skip_oldest(self, stream: int) -> None:
        """Drop the oldest frames of a stream that nobody takes, so that their memory is free."""
        waiting = [each for each in self.finished_frames if each.stream == stream]
        # The frames of a bracket may end in one turn, and the caller wants each of them.
        most = MAX_BRACKET if stream == STILL else self._pool.max_waiting_frames
        for oldest in waiting[:-most]:
            self.counters.skipped_frames += 1
            _log.debug("frame %d of stream %d: skipped", oldest.number, stream)
            self.finished_frames.remove(oldest)
            self._pool.release(oldest.buffer)

    def _discard(
        self, reason: DiscardReason, stream: int, number: int, what: object = "a packet"
    ) -> None:
        """Count and log a packet that is not used."""
        self._discards[reason] += 1
        _log.debug("frame %d of stream %d: discarded (%s): %s", number, stream, reason, what)


def _read_rectangles(message: Resent) -> Iterator[Rectangle]:
    """Yield the rectangles that a Resent names."""
    for index in range(message.count):
        x, y, width, height = _RANGE.unpack_from(message.gone, _RANGE.size * index)
        yield x, y, width, height
