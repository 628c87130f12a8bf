"""Put tiles together to frames, find out what is lost, and hand finished frames on in order.

:class:`Reassembly` is the frame sink of a link (:class:`lenslink_protocol.link.FrameSink`): the
link passes FrameStart, tiles, FrameEnd and Resent. :class:`.batch.Batch` passes many tiles at once.
The session takes finished frames from :attr:`Reassembly.finished_frames`.

A lane may receive a tile straight into the frame's memory, but only where nothing has arrived yet.
A range counts as received only after its CRC was good. So a damaged repeat cannot spoil a good
pixel, and reused memory cannot show an old frame. While one lane receives into a range, the range
is reserved: no other lane writes there.

Lost tiles are requested again while the module may still hold them. :mod:`.lane_progress` proves
that something is lost. A frame whose lost tiles the module does not hold any more is handed on
incomplete: it names its missing ranges.

When a frame is finished (:class:`.assembly.AssemblyState` has the states):

================================================  ==============================================
Situation                                         The frame is finished
================================================  ==============================================
complete, FrameStart and FrameEnd have arrived    at once
complete, FrameStart has arrived                  after END_GRACE_MS without a packet, at the
                                                  latest FRAME_STALE_MS after the last byte
tiles are lost, the module does not hold them     as soon as no lane can still bring them
tiles are lost, the FrameEnd reports a failure    as soon as no lane can still bring them
tiles are lost, the module cannot resend          as soon as no lane can still bring them
tiles are lost, the module holds them             after RESEND_TRIES requests without an answer
the FrameStart is lost                            after RESEND_TRIES requests without an answer;
                                                  earlier if the module holds nothing of the frame
a newer frame needs the memory                    at once, if no lane receives into the frame
nothing arrives                                   after FRAME_STALE_MS, and RESEND_TRIES times
                                                  the module's round trip
================================================  ==============================================
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
from lenslink_protocol.rice import DamagedTile

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
# After this time a frame that has all but its FrameEnd is finished, whatever is repeated.
_HELD_UP_S = FRAME_STALE_MS / 1000
# One of several lanes may lag for longer, because a transport may have a thread for each lane.
_LAG_S = STALL_MS / 1000


class StreamHistory:
    """Which frames of one stream can receive nothing more. None stands for no frame so far."""

    def __init__(self) -> None:
        self.newest_frame: int | None = None
        """The newest frame of which a packet or an announcement has arrived."""
        self.last_ended_frame: int | None = None
        """The newest frame that has ended, handed on or dropped. Packets up to it are late."""
        self.last_dropped_frame: int | None = None
        """The newest frame when the host last ended the stream. That frame was dropped."""
        self.rejected_frame: RejectedFrame | None = None
        """The last frame that was discarded because of its FrameStart."""

    def snapshot(self) -> StreamHistorySnapshot:
        """Return everything that future behaviour depends on, as a hashable value."""
        return StreamHistorySnapshot(
            self.newest_frame, self.last_ended_frame, self.last_dropped_frame, self.rejected_frame
        )


class StreamHistorySnapshot(NamedTuple):
    """A :class:`StreamHistory` as an immutable value."""

    newest_frame: int | None
    last_ended_frame: int | None
    last_dropped_frame: int | None
    rejected_frame: RejectedFrame | None


class ReassemblySnapshot(NamedTuple):
    """The state of a :class:`Reassembly` that decides its future behaviour. Immutable.

    The lanes belong to the link and stand in the link's snapshot.
    """

    open: tuple[AssemblySnapshot, ...]
    """Frames that are not handed on yet, the oldest first."""
    finished: tuple[AssemblySnapshot, ...]
    """Frames that the caller has not taken yet, the oldest first."""
    can_resend: bool
    first_tile_time: float | None
    round_trip_s: float
    histories: tuple[tuple[int, StreamHistorySnapshot], ...]
    """Each stream and its history."""
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
        find_configuration: Returns the configuration of a stream, or None. Memory is taken for
            configured streams only.

    MIN_FRAMES_OPEN frames may be open at once. If frames are small, up to MAX_FRAMES_OPEN may be
    open while a slow lane may still bring missing tiles. :meth:`_find_crowded_out` says which frame
    then makes room for a new one.
    """

    def __init__(
        self,
        pool: Pool,
        discards: Counter[DiscardReason],
        find_configuration: Callable[[int], Configured | None],
    ) -> None:
        self.finished_frames: deque[Assembly] = deque()
        """Frames for the caller to take, the oldest first."""
        self.counters = FrameCounters()
        self.first_tile_time: float | None = None
        """When the first tile arrived since the caller last set this to None, in seconds.

        The caller sets it to None when it sends a request whose first tile is to be timed.
        """
        self.can_resend = False
        """The module has the capability RESEND. The session sets this when it opens."""
        self.mode_sizes: dict[int, tuple[int, int]] = {}
        """Width and height of the module's modes by their number, once the manifest is read."""
        self._pool = pool
        self._discards = discards
        self._find_configuration = find_configuration
        # Frames that are not handed on yet, by number.
        self._open: dict[int, Assembly] = {}
        self._histories: dict[int, StreamHistory] = {}
        self._progress = LaneProgress()
        self._round_trip_s = 0.0
        """The shortest time that the module has taken to answer so far; 0 if none is known."""

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
            histories=tuple(
                [
                    (stream, history.snapshot())
                    for stream, history in sorted(self._histories.items())
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
        expected = self._find_configuration(header.stream)
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
        if assembly.frame_start is not None:
            self._discard(DiscardReason.DUPLICATE, header.stream, header.frame, message)
            return
        assembly.frame_start = message
        assembly.on_packet(now)
        self._pool.on_frame_start(assembly)
        self._finish_if_over(assembly)

    def reserve_buffer(self, header: Header, lane: int = 0) -> memoryview | None:
        """Reserve the bytes of a tile for a lane, and return their memory.

        Return None if the tile is narrower than the frame and higher than a row, if it is coded, or
        if any of its bytes has arrived or is reserved. The lane's earlier reservation ends.
        """
        self.cancel_reservation(lane)
        assembly = self.find_open(header)
        if assembly is None:
            return None
        ranges = assembly.geometry.find_tile_ranges(header)
        if ranges is None or len(ranges) != 1 or not assembly.is_free(ranges):
            return None
        if assembly.geometry.is_coded(header):
            return None
        [(start, end)] = ranges
        assembly.reservations[lane] = (start, end)
        return assembly.memory[start:end]

    def cancel_reservation(self, lane: int) -> None:
        """End the reservation of a lane; may finish the frame."""
        for assembly in list(self._open.values()):
            if assembly.reservations.pop(lane, None) is not None:
                self._finish_if_over(assembly)

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
        if assembly.geometry.is_coded(header):
            try:
                payload = assembly.geometry.decode_tile(header, payload)
            except DamagedTile:
                # Its pixels are missing, and are asked for again as those of a lost tile.
                self._discard(DiscardReason.MALFORMED, header.stream, header.frame, header)
                return
        self._record_tiles(assembly, header.length, now)
        if in_place:
            assembly.reservations.pop(lane, None)
            assembly.add_received(*ranges[0])
        elif not assembly.write_missing(ranges, payload):
            self._discard(DiscardReason.DUPLICATE, header.stream, header.frame, header)
        self._pool.on_progress(assembly)
        if not header.flags & _RESENT:
            self._progress.record_position(lane, header.stream, header.frame, ranges[0][0])
        self._finish_if_over(assembly)

    def on_frame_end(self, header: Header, message: FrameEnd, now: float) -> None:
        """Use a FrameEnd; may finish the frame."""
        assembly = self._find_or_open(header.stream, header.frame, now)
        if assembly is None:
            return
        assembly.frame_end = message
        assembly.on_packet(now)
        self._finish_if_over(assembly)

    def on_frame_announced(self, stream: int, number: int, now: float) -> None:
        """Open a frame that the module says it has begun, if none of its packets has arrived."""
        # A stream that is not configured concerns nobody: no packet of it is used.
        if self._find_configuration(stream) is None or not is_later(
            number, self._get_history(stream).newest_frame
        ):
            return
        assembly = self._find_or_open(stream, number, now)
        if assembly is not None:
            # Heartbeat replies and FrameStarts both travel on lane 0, in order. So the FrameStart
            # was sent before this announcement: if it is missing, it is lost.
            self._progress.record_position(0, stream, number, 0)

    def on_resent(self, header: Header, message: Resent, now: float) -> None:
        """Use the module's answer to a Resend; may finish the frame."""
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream:
            return
        if len(message.gone) < _RANGE.size * message.count or message.count > MAX_RANGES:
            self._discard(DiscardReason.MALFORMED, header.stream, header.frame, message)
            return
        assembly.timer.reset_tries()
        if len(self.lanes) == 1 and assembly.timer.requests:
            del assembly.timer.requests[0]
        if message.state == FrameState.UNKNOWN:
            assembly.unavailable_ranges.add(0, assembly.size)
        for rectangle in _read_rectangles(message):
            for start, end in assembly.geometry.find_ranges(rectangle) or []:
                assembly.unavailable_ranges.add(start, end)
        if message.state != FrameState.UNDER_WAY:
            assembly.is_fully_sent = True
        self._finish_if_over(assembly)

    def on_round_trip(self, seconds: float) -> None:
        """Record the module's round trip. Requests that are sent later wait for it."""
        self._round_trip_s = seconds

    def request_missing(self, now: float) -> list[MissingParts]:
        """Return the parts that the link is to request now, and record each as requested.

        Finishes a frame whose RESEND_TRIES requests are used up.
        """
        patience = _QUIET_S if len(self.lanes) == 1 else _LAG_S
        found = []
        for assembly in list(self._open.values()):
            if assembly.is_finished:
                continue
            timer = assembly.timer
            timer.drop_expired(now)
            has_traffic = bool(assembly.reservations or timer.requests)
            is_quiet = now - timer.last_packet_time > patience and not has_traffic
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
        """Return which of FrameStart and FrameEnd are lost.

        A frame is quiet if no packet of it has arrived for _QUIET_S (with several lanes, _LAG_S),
        no lane is receiving a tile of it, and no request is unanswered. Everything that a quiet
        frame has not received is lost. While a frame is not quiet, a packet is lost only if a lane
        has delivered a packet that was sent after it.
        """
        flags = _NO_FLAG
        has_passed_start = assembly.frame_end is not None or self._progress.has_passed_start(
            assembly.stream, assembly.number
        )
        if assembly.frame_start is None and (is_quiet or has_passed_start):
            flags |= ResendFlag.START
        if assembly.frame_end is None and is_quiet:
            flags |= ResendFlag.END
        return flags

    def expire_frames(self, now: float) -> None:
        """Finish the frames that have received nothing for too long."""
        for assembly in list(self._open.values()):
            if assembly.is_finished:
                continue
            silence = now - assembly.timer.last_packet_time
            has_all = assembly.received_ranges.is_complete and assembly.frame_start is not None
            # On a slow link each of the RESEND_TRIES requests needs time for its answer.
            stale_s = FRAME_STALE_MS / 1000 + RESEND_TRIES * self._round_trip_s
            patience = END_GRACE_MS / 1000 if has_all else stale_s
            # Repeated packets do not hold up a frame that has all but its FrameEnd.
            full_time = assembly.timer.last_byte_time if has_all else None
            is_held_up = full_time is not None and now - full_time > _HELD_UP_S
            if (silence > patience or is_held_up) and not assembly.reservations:
                self._finish(assembly)
            elif silence > _LAG_S and assembly.state is AssemblyState.RECEIVING:
                assembly.set_state(AssemblyState.OVERDUE)
                self._finish_if_over(assembly)

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
        """Return a number of packets that a lane can bring before the frame could be finished.

        Before the FrameEnd arrives that is the frame's size, because each tile has a byte or more.
        After the module has answered a Resend it is 0: each tile may be the last.
        """
        if self._open.get(assembly.number) is not assembly or assembly.is_finished:
            return 0
        if assembly.unavailable_ranges.count or assembly.is_fully_sent:
            return 0
        if assembly.frame_end is None:
            return assembly.size
        return count_outstanding(self.lanes[lane], assembly.frame_end)

    def on_tiles(
        self, assembly: Assembly, ranges: list[ByteRange], last_start: int, now: float, lane: int
    ) -> None:
        """Use tiles that a lane has brought one after the other; may finish their frame.

        Args:
            assembly: The frame.
            ranges: The bytes that the tiles fill. They were free.
            last_start: The first byte of the last tile.
            now: The time in seconds.
            lane: The lane. It has brought no other packet between the tiles, and none is resent.
        """
        self._record_tiles(assembly, sum(end - start for start, end in ranges), now)
        for start, end in ranges:
            assembly.add_received(start, end)
        self._pool.on_progress(assembly)
        self._progress.record_position(lane, assembly.stream, assembly.number, last_start)
        if assembly.received_ranges.is_complete or assembly.frame_end is not None:
            self._finish_if_over(assembly)

    def _record_tiles(self, assembly: Assembly, size: int, now: float) -> None:
        """Record that tiles of *size* bytes have arrived at time *now*, with good CRCs."""
        if self.first_tile_time is None:
            self.first_tile_time = now
        self.counters.tile_bytes += size
        assembly.on_packet(now)
        assembly.timer.reset_tries()

    # --- rejecting frames -----------------------------------------------------------------

    def take_rejection(self, stream: int, request: int) -> str | None:
        """Return what was wrong in the FrameStart of a discarded frame of *request*, or None.

        Each discarded frame is reported once.
        """
        rejected = self._get_history(stream).rejected_frame
        if rejected is None or not self.has_rejection(stream, request):
            return None
        self._get_history(stream).rejected_frame = rejected._replace(is_reported=True)
        return f"frame {rejected.number} contradicts itself or its configuration: {rejected.reason}"

    def has_rejection(self, stream: int, request: int) -> bool:
        """:meth:`take_rejection` would return a reason."""
        rejected = self._get_history(stream).rejected_frame
        return rejected is not None and not rejected.is_reported and rejected.request == request

    def _reject_frame(self, header: Header, message: FrameStart, reason: str) -> None:
        """Discard a frame because of its FrameStart: log it, drop its tiles, and remember it.

        A frame of another stream, or one whose first FrameStart was good, is kept.
        """
        history = self._get_history(header.stream)
        if history.rejected_frame is None or history.rejected_frame.reason != reason:
            # Warn once for each fault of the module, not for each of its frames.
            _log.warning("frame %d of stream %d: %s", header.frame, header.stream, reason)
        assembly = self._open.get(header.frame)
        if assembly is not None:
            if assembly.stream != header.stream or assembly.frame_start is not None:
                return
            del self._open[header.frame]
            assembly.set_state(AssemblyState.FINISHED)
            if not assembly.reservations:
                self._pool.release(assembly.buffer)
        if is_later(header.frame, history.newest_frame):
            history.newest_frame = header.frame
        history.rejected_frame = RejectedFrame(header.frame, message.request, reason)

    # --- opening frames -------------------------------------------------------------------

    def drop_stream(self, stream: int) -> None:
        """Drop all frames of a stream that the host ends, and release their memory."""
        history = self._get_history(stream)
        history.last_dropped_frame = history.last_ended_frame = history.newest_frame
        for assembly in [each for each in self._open.values() if each.stream == stream]:
            del self._open[assembly.number]
            assembly.set_state(AssemblyState.FINISHED)
            # A lane still writes into reserved memory. So that memory is not returned to the pool,
            # but freed when the lane's reference to it is gone.
            if not assembly.reservations:
                self._pool.release(assembly.buffer)
        for assembly in [each for each in self.finished_frames if each.stream == stream]:
            self.finished_frames.remove(assembly)
            self._pool.release(assembly.buffer)

    def _get_history(self, stream: int) -> StreamHistory:
        """Return the history of a stream; it is empty at first."""
        history = self._histories.get(stream)
        if history is None:
            history = self._histories[stream] = StreamHistory()
        return history

    def _find_or_open(self, stream: int, number: int, now: float) -> Assembly | None:
        """Return the frame that a packet is for; open it if it is new.

        If the packet is of no use, discard it and return None.
        """
        assembly = self._open.get(number)
        if assembly is None:
            configuration = self._find_configuration(stream)
            if configuration is None:
                self._discard(DiscardReason.NO_FRAME, stream, number)
                return None
            if self._discard_if_past(stream, number):
                return None
            return self._open_frame(stream, number, configuration, now)
        if assembly.stream != stream or assembly.is_finished:
            reason = DiscardReason.LATE if assembly.is_finished else DiscardReason.GEOMETRY
            self._discard(reason, stream, number)
            return None
        return assembly

    def _discard_if_past(self, stream: int, number: int) -> bool:
        """Discard a packet of a frame that has ended. Return False if the frame may be opened."""
        history = self._get_history(stream)
        has_one_lane = len(self.lanes) == 1
        if history.rejected_frame is not None and history.rejected_frame.number == number:
            self._discard(DiscardReason.GEOMETRY, stream, number)
            return True
        if is_later(number, history.newest_frame if has_one_lane else history.last_ended_frame):
            return False
        # Packets keep their order within a lane only. So tiles on one lane may arrive after the
        # answer to Stop on another lane. Such a tile of a dropped frame is no fault: do not count
        # it.
        if has_one_lane or is_later(number, history.last_dropped_frame):
            self._discard(DiscardReason.LATE, stream, number)
        return True

    def _open_frame(
        self, stream: int, number: int, configuration: Configured, now: float
    ) -> Assembly | None:
        """Open a frame; may finish older ones to make room. Return None if there is no room."""
        history = self._get_history(stream)
        is_newest = is_later(number, history.newest_frame)
        if is_newest:
            history.newest_frame = number
        if not self.can_resend and len(self.lanes) == 1:
            # One lane keeps its packets in order: an earlier frame receives nothing more.
            for earlier in [each for each in self._open.values() if each.stream == stream]:
                self._finish(earlier)
        crowded_out = self._find_crowded_out(configuration)
        if crowded_out is not None:
            if crowded_out.reservations:
                self._discard(DiscardReason.NO_FRAME, stream, number)
                return None
            self._finish(crowded_out)
        geometry = FrameGeometry(configuration)
        buffer = self._pool.acquire(configuration.frame_bytes, number)
        assembly = Assembly(stream, number, geometry, buffer, now)
        self._open[number] = assembly
        if not is_newest:
            # A later frame has overtaken it on another lane. Frames are handed on in order.
            for later in [each for each in self._open if is_later(each, number)]:
                self._open[later] = self._open.pop(later)
        _log.debug("frame %d of stream %d: opened", number, stream)
        self._pool.on_frame_begin(assembly)
        return assembly

    def _find_crowded_out(self, configuration: Configured) -> Assembly | None:
        """Return the open frame that must make room for a frame of that configuration, or None.

        The oldest frame of the stream with the most open frames makes room. So previews make room
        for previews, and a still among them is received to its end.
        """
        count = len(self._open)
        if count < MIN_FRAMES_OPEN:
            return None
        counts = Counter(each.stream for each in self._open.values())
        chosen = max(self._open.values(), key=lambda each: counts[each.stream])
        if count >= MAX_FRAMES_OPEN or len(self.lanes) == 1:
            return chosen
        if chosen.frame_end and self._find_proven_end(chosen) == chosen.size:
            # No lane lags: what is missing would have to be resent.
            return chosen
        taken = sum(each.size for each in self._open.values())
        return chosen if taken + configuration.frame_bytes > MAX_OPEN_BYTES else None

    # --- finishing frames -----------------------------------------------------------------

    def _find_proven_end(self, assembly: Assembly) -> int:
        """Return the end of the bytes that cannot arrive any more without a resend.

        The proof is a Resent, a later frame on the only lane, or the positions of all lanes.
        """
        if assembly.is_fully_sent:
            return assembly.size
        # With one lane, a packet of a later frame proves as much as the FrameEnd.
        newest = self._get_history(assembly.stream).newest_frame
        if len(self.lanes) == 1 and newest is not None and is_later(newest, assembly.number):
            return assembly.size
        return self._progress.find_passed_end(
            assembly.stream, assembly.number, assembly.size, assembly.frame_end
        )

    def _finish_if_over(self, assembly: Assembly) -> None:
        """Finish the frame if nothing more is awaited and no lane receives into it."""
        if assembly.is_finished or assembly.reservations:
            return
        if self._is_over(assembly):
            self._finish(assembly)

    def _is_over(self, assembly: Assembly) -> bool:
        """Return True if nothing more of the frame is awaited: see the module's table."""
        end = assembly.frame_end
        has_all = assembly.received_ranges.is_complete
        if not has_all and self._find_proven_end(assembly) < assembly.size:
            return False
        if assembly.frame_start is None and not assembly.unavailable_ranges.is_complete:
            # request_missing() requests the FrameStart until the module says that the whole frame
            # is unavailable.
            return False
        if has_all:
            return end is not None
        if self._is_lane_awaited(assembly):
            # A Resent travels on lane 0. It may have overtaken tiles on other lanes.
            return False
        if not self.can_resend:
            return True
        if not assembly.find_lost(assembly.size):
            return end is not None or assembly.is_fully_sent
        # The module holds lost tiles. They are not requested if the frame ended early.
        return end is not None and end.status != EndStatus.OK

    def _is_lane_awaited(self, assembly: Assembly) -> bool:
        """Return True if one of several lanes may still bring tiles sent before the FrameEnd."""
        return (
            assembly.frame_end is not None
            and len(self.lanes) > 1
            and assembly.state is not AssemblyState.OVERDUE
            and not self._progress.has_reached_end(assembly.frame_end)
        )

    def _finish(self, assembly: Assembly) -> None:
        """Set the state FINISHED. Hand on the stream's oldest frames up to one not finished."""
        assembly.set_state(AssemblyState.FINISHED)
        for head in [each for each in self._open.values() if each.stream == assembly.stream]:
            if not head.is_finished:
                break
            self._hand_on(head)

    def _hand_on(self, assembly: Assembly) -> None:
        """Queue a finished frame for the caller, or release it if it is of no use."""
        del self._open[assembly.number]
        self._get_history(assembly.stream).last_ended_frame = assembly.number
        end = assembly.frame_end
        was_stopped = end is not None and end.status == EndStatus.ABORTED
        if assembly.frame_start is None or (
            was_stopped and not assembly.received_ranges.is_complete
        ):
            self.counters.aborted_frames += 1
            self._pool.release(assembly.buffer)
            return
        self._pool.on_frame_finish(assembly)
        self.finished_frames.append(assembly)
        self._skip_oldest(assembly.stream)

    def _skip_oldest(self, stream: int) -> None:
        """Drop the oldest frames of a stream that nobody takes, so that their memory is free."""
        waiting = [each for each in self.finished_frames if each.stream == stream]
        # All frames of a bracket may finish in one call of the link, before the caller can take
        # any of them.
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
