"""Frames out of tiles: each tile once, to its place, and nothing believed before its CRC.

The memory of a frame is handed to the receiver only for ground that is not covered yet, and a
range counts as covered only after its CRC held. So a damaged repeat cannot spoil a good pixel,
and a buffer that is used again cannot show old pixels as new.

What is lost is asked for again while the module may still hold it. On each lane tiles come in
raster order, so a gap is proved once every lane has brought something beyond it; a frame-end names
the last packet of each lane and proves the rest. What the module no longer holds stays a gap, and
the frame says so.

With several lanes one may be receiving into a frame while another brings the same ground again:
what is placed for a lane is reserved for it, and counts for nobody else until it is done.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lenslink_protocol.ids import Cfa, DiscardReason, EndStatus, Flag, FrameState, ResendFlag
from lenslink_protocol.link import Lane, Missing, Rectangle
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header, Resent
from lenslink_protocol.packings import layout
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
    MAX_FRAMES_OPEN,
    MAX_OPEN_BYTES,
    MAX_RANGES,
    MIN_FRAMES_OPEN,
    RESEND_RETRY_MS,
    RESEND_TRIES,
    STALL_MS,
)

from .frame_pool import Pool
from .received_ranges import ReceivedRanges, ReceivedRangesSnapshot
from .unpacking import unpack

_LAST_CFA = max(Cfa)
_RETRY_S = RESEND_RETRY_MS / 1000
# A frame of which nothing comes for so long has lost its last packets, or its module is slow.
_QUIET_S = 2 * _RETRY_S
# Of several lanes one may lag for longer than that: each may wait for a thread of its own.
_LAG_S = STALL_MS / 1000


class AssemblySnapshot(NamedTuple):
    """What an :class:`Assembly`'s future behaviour depends on, as an immutable value.

    Times are absolute, in seconds on the caller's clock.
    """

    stream: int
    number: int
    plan: Configured
    start: FrameStart | None
    end: FrameEnd | None
    progress: float
    is_ready: bool
    high: int
    reserved: tuple[tuple[int, tuple[int, int]], ...]
    """Lane, and the range that it receives in place."""
    is_overdue: bool
    next_ask: float
    tries: int
    received_ranges: ReceivedRangesSnapshot
    gone: ReceivedRangesSnapshot
    gaps: tuple[tuple[int, int], ...] | None
    """Ranges that were zeroed; None before that."""
    pixels: tuple[bytes, ...]
    """The frame's bytes, a piece for each range of ``received_ranges``."""


class ReassemblySnapshot(NamedTuple):
    """What a :class:`Reassembly`'s future behaviour depends on, as an immutable value.

    The lanes belong to the link, and stand in the link's snapshot.
    """

    open: tuple[AssemblySnapshot, ...]
    """Frames under way, the oldest first."""
    finished: tuple[AssemblySnapshot, ...]
    """Frames that the caller has not taken yet, the oldest first."""
    resend: bool
    first_tile: float | None
    newest: tuple[tuple[int, int], ...]
    """Stream, and the number of its newest frame."""
    done: tuple[tuple[int, int], ...]
    """Stream, and the last frame of which nothing is of use any more."""
    dropped: tuple[tuple[int, int], ...]
    """Stream, and the newest frame at the moment when the host ended the stream."""
    position: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    """Lane and stream; frame and first byte of the last tile."""


class Assembly:
    """A frame under way, then a frame that is as whole as it will be.

    ``start`` is None while its frame-start is missing: the geometry is the configured one.
    """

    def __init__(self, stream: int, number: int, plan: Configured, pool: Pool, now: float) -> None:
        self.number = number
        self.stream = stream
        self.plan = plan
        self.layout = layout(plan.pixel_format)
        self.start: FrameStart | None = None
        self.end: FrameEnd | None = None
        self.progress = now
        """When its last packet came, on the clock of the caller."""
        self.ready = False
        self.high = 0
        """Every byte below has arrived or been lost, as far as is known without the lanes."""
        self.reserved: dict[int, tuple[int, int]] = {}
        """What is being received in place, by lane."""
        self.overdue = False
        """Nothing of it came for so long that no lane is waited for."""
        self.next_ask = now
        self.tries = 0
        self.received_ranges = ReceivedRanges(plan.frame_bytes)
        self.gone = ReceivedRanges(plan.frame_bytes)
        """What the module no longer holds."""
        self._gaps: tuple[tuple[int, int], ...] | None = None
        self.buffer = pool.acquire(plan.frame_bytes, number)
        self.memory = self.buffer.data

    def came(self, now: float) -> None:
        """A packet of it has come."""
        self.progress = now
        self.overdue = False

    def segments(self, header: Header) -> list[tuple[int, int]] | None:
        """The byte ranges that a tile is for, a row each or one for all; None if it fits not."""
        width = header.width
        row = self.layout.bytes_of(header.x + width) - self.layout.bytes_of(header.x)
        if header.length != row * header.height:
            return None
        return self.ranges((header.x, header.y, width, header.height))

    def ranges(self, rectangle: Rectangle) -> list[tuple[int, int]] | None:
        """The byte ranges of a rectangle in the frame.

        None if it is empty, leads outside, or begins or ends where pixels share a byte.
        """
        x, y, width, height = rectangle
        plan = self.plan
        if not width or not height or x + width > plan.width or y + height > plan.height:
            return None
        if not self.layout.fits(x, width, plan.width):
            return None
        left = self.layout.bytes_of(x)
        row = self.layout.bytes_of(x + width) - left
        first = y * plan.stride + left
        if height == 1 or row == plan.stride:
            return [(first, first + row * height)]
        last = first + height * plan.stride
        return [(at, at + row) for at in range(first, last, plan.stride)]

    def rectangles(self, gaps: list[tuple[int, int]]) -> tuple[Rectangle, ...]:
        """Rectangles that cover *gaps*, at most MAX_RANGES of them."""
        found: list[Rectangle] = []
        width, stride = self.plan.width, self.plan.stride
        for gap_start, end in gaps:
            start = gap_start
            while start < end and len(found) < MAX_RANGES:
                row, left = divmod(start, stride)
                rows = (end - start) // stride
                if left == 0 and rows:
                    found.append((0, row, width, rows))
                    start += rows * stride
                else:
                    stop = min(end, (row + 1) * stride)
                    x = self.layout.pixels_of(left)
                    right = self.layout.pixels_of(left + stop - start)
                    found.append((x, row, right - x, 1))
                    start = stop
        return tuple(found)

    @property
    def complete(self) -> bool:
        """Whether all of it arrived, and its readout ended well as far as is known."""
        return self.received_ranges.complete and (
            self.end is None or self.end.status == EndStatus.OK
        )

    def clear_gaps(self) -> tuple[tuple[int, int], ...]:
        """Zero what did not arrive, once nothing more will, and say which bytes that is."""
        if self._gaps is None:
            self._gaps = tuple(self.received_ranges.gaps(0, self.received_ranges.size))
            for start, end in self._gaps:
                self.buffer[start:end] = 0
        return self._gaps

    def snapshot(self) -> AssemblySnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Bytes that have not arrived are left out: they are overwritten or zeroed before anyone
        sees them.
        """
        received_ranges = self.received_ranges.snapshot()
        return AssemblySnapshot(
            stream=self.stream,
            number=self.number,
            plan=self.plan,
            start=self.start,
            end=self.end,
            progress=self.progress,
            is_ready=self.ready,
            high=self.high,
            reserved=tuple(sorted(self.reserved.items())),
            is_overdue=self.overdue,
            next_ask=self.next_ask,
            tries=self.tries,
            received_ranges=received_ranges,
            gone=self.gone.snapshot(),
            gaps=self._gaps,
            pixels=tuple([bytes(self.memory[start:end]) for start, end in received_ranges.ranges]),
        )


class Reassembly:
    """A :class:`~lenslink_protocol.link.FrameSink`: finished assemblies queue up in ``finished``.

    *expect* gives the configuration of a stream, or None: memory is taken for what was configured
    and nothing else. MIN_FRAMES_OPEN frames may be open at once; up to MAX_FRAMES_OPEN, where they
    are small, while a lane that lags may still bring what the oldest lacks.
    """

    def __init__(
        self,
        pool: Pool,
        discards: Counter[DiscardReason],
        expect: Callable[[int], Configured | None],
    ) -> None:
        self.finished: deque[Assembly] = deque()
        self.aborted = 0
        """Frames that the host itself stopped, or of which not even the beginning was left."""
        self.bytes = 0
        """Bytes of sound tiles."""
        self.first_tile: float | None = None
        """When the first tile came since this was last set to None."""
        self.skipped = 0
        """Finished frames that were dropped because newer ones came and nobody took them."""
        self.resend = False
        """The module sends again what is asked for."""
        self._pool = pool
        self._discards = discards
        self._expect = expect
        self._open: dict[int, Assembly] = {}
        self._newest: dict[int, int] = {}
        # The last that was handed on or dropped: nothing of it, or before it, is of use any more.
        self._done: dict[int, int] = {}
        self.lanes: Sequence[Lane] = ()
        # Where each lane is: frame and byte of its last tile, by lane and stream.
        self._position: dict[tuple[int, int], tuple[int, int]] = {}
        self._dropped: dict[int, int] = {}

    def snapshot(self) -> ReassemblySnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two reassemblies with equal snapshots, whose links are in equal states, behave alike.
        Counters are left out.
        """
        return ReassemblySnapshot(
            open=tuple([assembly.snapshot() for assembly in self._open.values()]),
            finished=tuple([assembly.snapshot() for assembly in self.finished]),
            resend=self.resend,
            first_tile=self.first_tile,
            newest=tuple(sorted(self._newest.items())),
            done=tuple(sorted(self._done.items())),
            dropped=tuple(sorted(self._dropped.items())),
            position=tuple(self._position.items()),
        )

    # --- FrameSink ------------------------------------------------------------------------

    def start(self, header: Header, message: FrameStart, now: float) -> None:
        expected = self._expect(header.stream)
        if expected is None or not _is_possible(message, expected):
            self._discards[DiscardReason.GEOMETRY] += 1
            return
        assembly = self._assembly(header.stream, header.frame, now)
        if assembly is None:
            return
        if assembly.start is not None:
            self._discards[DiscardReason.DUPLICATE] += 1
            return
        assembly.start = message
        assembly.came(now)
        self._pool.started(assembly)
        self._settle(assembly)

    def place(self, header: Header, lane: int = 0) -> memoryview | None:
        self.release(lane)
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream or assembly.ready:
            return None
        segments = assembly.segments(header)
        if segments is None or len(segments) != 1:
            return None
        [(start, end)] = segments
        if not self.is_free(assembly, segments):
            return None
        assembly.reserved[lane] = (start, end)
        return assembly.memory[start:end]

    def release(self, lane: int) -> None:
        for assembly in list(self._open.values()):
            if assembly.reserved.pop(lane, None) is not None:
                self._settle(assembly)

    def tile(
        self, header: Header, payload: memoryview, in_place: bool, now: float, lane: int = 0
    ) -> None:
        assembly = self._assembly(header.stream, header.frame, now)
        if assembly is None:
            return
        segments = assembly.segments(header)
        if segments is None:
            self._discards[DiscardReason.GEOMETRY] += 1
            return
        if self.first_tile is None:
            self.first_tile = now
        assembly.came(now)
        assembly.tries = 0
        self.bytes += header.length
        if in_place:
            assembly.reserved.pop(lane, None)
            assembly.received_ranges.add(*segments[0])
        elif not _copy(assembly, segments, payload):
            self._discards[DiscardReason.DUPLICATE] += 1
        self._pool.advanced(assembly)
        if not header.flags & Flag.RESENT:
            self._position[lane, header.stream] = (header.frame, segments[0][0])
        self._settle(assembly)

    def end(self, header: Header, message: FrameEnd, now: float) -> None:
        assembly = self._assembly(header.stream, header.frame, now)
        if assembly is None:
            return
        assembly.end = message
        assembly.came(now)
        self._settle(assembly)

    def begun(self, stream: int, number: int, now: float) -> None:
        # Of a stream that the host has not configured it concerns nobody: no packet of it has come.
        if number > self._newest.get(stream, -1) and self._expect(stream) is not None:
            assembly = self._assembly(stream, number, now)
            if assembly is not None:
                # Said on lane 0, and so after the frame-start that did not come.
                self._position[0, stream] = (number, 0)

    def resent(self, header: Header, message: Resent, now: float) -> None:
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream:
            return
        if len(message.gone) < 8 * message.count or message.count > MAX_RANGES:
            self._discards[DiscardReason.MALFORMED] += 1
            return
        assembly.tries = 0
        if message.state == FrameState.UNKNOWN:
            assembly.gone.add(0, assembly.gone.size)
        for index in range(message.count):
            x, y, width, height = np.frombuffer(message.gone, "<u2", 4, 8 * index).tolist()
            for start, end in assembly.ranges((x, y, width, height)) or []:
                assembly.gone.add(start, end)
        if message.state != FrameState.UNDER_WAY:
            assembly.high = assembly.received_ranges.size
        self._settle(assembly)

    def missing(self, now: float) -> list[Missing]:
        found = []
        patience = _QUIET_S if len(self.lanes) == 1 else _LAG_S
        for assembly in list(self._open.values()):
            if assembly.ready or now < assembly.next_ask:
                continue
            # Of a tile that takes longer than that, bytes still come.
            quiet = now - assembly.progress > patience and not assembly.reserved
            high = assembly.received_ranges.size if quiet else self._high(assembly)
            flags = ResendFlag(0)
            if assembly.start is None and (quiet or self._passed(assembly)):
                flags |= ResendFlag.START
            if assembly.end is None and quiet:
                flags |= ResendFlag.END
            rectangles = assembly.rectangles(self._lost(assembly, high))
            if not flags and not rectangles:
                continue
            assembly.next_ask = now + _RETRY_S
            assembly.tries += 1
            if assembly.tries > RESEND_TRIES and not assembly.reserved:
                self._finish(assembly)
            else:
                found.append(Missing(assembly.stream, assembly.number, flags, rectangles))
        return found

    def poll(self, now: float) -> None:
        for assembly in list(self._open.values()):
            whole = assembly.received_ranges.complete and assembly.start is not None
            patience = END_GRACE_MS if whole else FRAME_STALE_MS
            late = now - assembly.progress > patience / 1000
            if late and not assembly.ready and not assembly.reserved:
                self._finish(assembly)
            elif now - assembly.progress > _LAG_S and not assembly.overdue:
                assembly.overdue = True
                self._settle(assembly)

    def resume(self, away: float) -> None:
        for assembly in self._open.values():
            assembly.progress += away
            assembly.next_ask += away

    # --- many tiles at once ---------------------------------------------------------------

    def open_for(self, header: Header) -> Assembly | None:
        """The frame that a tile is for, if it has begun and not ended."""
        assembly = self._open.get(header.frame)
        if assembly is None or assembly.stream != header.stream or assembly.ready:
            return None
        return assembly

    def may_come(self, assembly: Assembly, lane: int) -> int:
        """How many packets that lane may still bring before one of them could end the frame.

        0 where part of the frame was asked for and is gone: then each tile may be its last.
        """
        if self._open.get(assembly.number) is not assembly or assembly.ready:
            return 0
        if assembly.gone.count or assembly.high:
            return 0
        if assembly.end is None:
            return assembly.received_ranges.size
        return _behind(self.lanes[lane], assembly.end)

    def is_free(self, assembly: Assembly, ground: list[tuple[int, int]]) -> bool:
        """Whether nothing of those ranges is covered, or being received by any lane."""
        reserved = list(assembly.reserved.values())
        for start, end in ground:
            if assembly.received_ranges.gaps(start, end) != [(start, end)]:
                return False
            if reserved and any(start < b and a < end for a, b in reserved):
                return False
        return True

    def tiles(
        self, assembly: Assembly, ground: list[tuple[int, int]], last: int, now: float, lane: int
    ) -> None:
        """Sound tiles fill *ground*, which was free; the last of them begins at byte *last*.

        None was sent again, and no other packet came between them.
        """
        if self.first_tile is None:
            self.first_tile = now
        assembly.came(now)
        assembly.tries = 0
        for start, end in ground:
            self.bytes += end - start
            assembly.received_ranges.add(start, end)
        self._pool.advanced(assembly)
        self._position[lane, assembly.stream] = (assembly.number, last)
        if assembly.received_ranges.complete or assembly.end is not None:
            self._settle(assembly)

    # --- the rest -------------------------------------------------------------------------

    def abandon(self, stream: int) -> None:
        """Drop what is under way or waiting of a stream that the host ends."""
        self._dropped[stream] = self._done[stream] = self._newest.get(stream, -1)
        for assembly in [a for a in self._open.values() if a.stream == stream]:
            del self._open[assembly.number]
            if not assembly.reserved:
                # Memory that is still being received into is let go, never used again.
                self._pool.release(assembly.buffer)
        for assembly in [a for a in self.finished if a.stream == stream]:
            self.finished.remove(assembly)
            self._pool.release(assembly.buffer)

    def _assembly(self, stream: int, number: int, now: float) -> Assembly | None:
        """The frame that a packet belongs to, begun if it is new; None if it has no place."""
        assembly = self._open.get(number)
        if assembly is not None:
            if assembly.stream != stream or assembly.ready:
                self._discards[
                    DiscardReason.LATE if assembly.ready else DiscardReason.GEOMETRY
                ] += 1
                return None
            return assembly
        plan = self._expect(stream)
        if plan is None:
            self._discards[DiscardReason.NO_FRAME] += 1
            return None
        newest = self._newest.get(stream, -1)
        if number <= (newest if len(self.lanes) == 1 else self._done.get(stream, -1)):
            # Order holds within a lane only: what was on another when the host ended the stream
            # comes after the answer that says so, and is nobody's fault.
            if len(self.lanes) == 1 or number > self._dropped.get(stream, -1):
                self._discards[DiscardReason.LATE] += 1
            return None
        self._newest[stream] = max(number, newest)
        if not self.resend and len(self.lanes) == 1:
            # One lane keeps its order: an earlier frame gets nothing more.
            for earlier in [a for a in self._open.values() if a.stream == stream]:
                self._finish(earlier)
        if self._is_full(plan):
            oldest = next(iter(self._open.values()))
            if oldest.reserved:
                self._discards[DiscardReason.NO_FRAME] += 1
                return None
            self._finish(oldest)
        assembly = Assembly(stream, number, plan, self._pool, now)
        self._open[number] = assembly
        if number < newest:
            # All that came of it so far was overtaken on another lane: it is handed on in order.
            for later in sorted(each for each in self._open if each > number):
                self._open[later] = self._open.pop(later)
        self._pool.begun(assembly)
        return assembly

    def _is_full(self, plan: Configured) -> bool:
        """Whether another frame of that size has the oldest make room."""
        count = len(self._open)
        if count < MIN_FRAMES_OPEN or count >= MAX_FRAMES_OPEN:
            return count >= MIN_FRAMES_OPEN
        oldest = next(iter(self._open.values()))
        if len(self.lanes) == 1 or (
            oldest.end and self._high(oldest) == oldest.received_ranges.size
        ):
            # No lane is behind: what is missing would have to be sent again.
            return True
        taken = sum(each.received_ranges.size for each in self._open.values())
        return taken + plan.frame_bytes > MAX_OPEN_BYTES

    def _lost(self, assembly: Assembly, high: int) -> list[tuple[int, int]]:
        """What below *high* did not arrive and may still be held."""
        gaps = assembly.received_ranges.gaps(0, high)
        return [left for start, end in gaps for left in assembly.gone.gaps(start, end)]

    def _high(self, assembly: Assembly) -> int:
        """Every byte below has arrived, or is lost: no lane can still bring it by itself."""
        size = assembly.received_ranges.size
        if assembly.high == size:
            return size
        high = size
        for lane in self.lanes:
            if not lane.alive or (assembly.end is not None and _reached(lane, assembly.end)):
                continue
            frame, at = self._position.get((lane.number, assembly.stream), (-1, 0))
            if frame <= assembly.number:
                high = min(high, at if frame == assembly.number else 0)
        # With one lane, a packet of a later frame is as good as the end of this one.
        if len(self.lanes) == 1 and self._newest.get(assembly.stream, -1) > assembly.number:
            return size
        return max(high, assembly.high)

    def _awaited(self, assembly: Assembly) -> bool:
        """Whether a lane may still bring what was sent before the frame-end; see :meth:`poll`."""
        end = assembly.end
        return (
            end is not None
            and len(self.lanes) > 1
            and not assembly.overdue
            and not all(_reached(lane, end) for lane in self.lanes if lane.alive)
        )

    def _passed(self, assembly: Assembly) -> bool:
        """Whether lane 0 has brought something that was sent after the frame-start."""
        return assembly.end is not None or (
            self._position.get((0, assembly.stream), (-1, 0))[0] >= assembly.number
        )

    def _settle(self, assembly: Assembly) -> None:
        """Finish the frame if nothing more of it is to come."""
        if assembly.ready or assembly.reserved:
            return
        if (
            not assembly.received_ranges.complete
            and self._high(assembly) < assembly.received_ranges.size
        ):
            return
        if assembly.start is None and assembly.gone.count < assembly.gone.size:
            return
        lost = self._lost(assembly, assembly.received_ranges.size)
        if assembly.received_ranges.complete:
            if assembly.end is not None:
                self._finish(assembly)
        elif self._awaited(assembly):
            # The answer on lane 0 has overtaken it: what is gone there may be on its way here.
            return
        elif (not lost and assembly.end is not None) or not self.resend:
            self._finish(assembly)
        elif not lost and assembly.high == assembly.received_ranges.size:
            # Asked for, and gone: its end is not waited for either.
            self._finish(assembly)
        elif assembly.end is not None and assembly.end.status != EndStatus.OK:
            # Nobody will wait for the rest of a frame that ended early.
            self._finish(assembly)

    def _finish(self, assembly: Assembly) -> None:
        """Nothing more is to come; hand frames on in their order."""
        assembly.ready = True
        for head in [a for a in self._open.values() if a.stream == assembly.stream]:
            if not head.ready:
                break
            del self._open[head.number]
            self._done[head.stream] = head.number
            stopped = head.end is not None and head.end.status == EndStatus.ABORTED
            if head.start is None or (stopped and not head.received_ranges.complete):
                self.aborted += 1
                self._pool.release(head.buffer)
            else:
                self._pool.finished(head)
                self.finished.append(head)
                self._skip(head.stream)

    def _skip(self, stream: int) -> None:
        """Drop the oldest frames of a stream that nobody takes: a still must not wait for them."""
        waiting = [each for each in self.finished if each.stream == stream]
        for oldest in waiting[: -self._pool.waiting]:
            self.skipped += 1
            self.finished.remove(oldest)
            self._pool.release(oldest.buffer)


def _reached(lane: Lane, end: FrameEnd) -> bool:
    """Whether all that the lane carried before the frame-end was sent has come, or is lost."""
    return _behind(lane, end) == 0


def _behind(lane: Lane, end: FrameEnd) -> int:
    """How many packets that the lane carried before the frame-end was sent are still to come."""
    if lane.number >= end.lanes:
        return 0
    # Lanes count from 0, so one that carried nothing yet stands at the number before.
    last = 0xFFFFFFFF if lane.last_sequence is None else lane.last_sequence
    behind = (end.last_sequence[lane.number] - last) & 0xFFFFFFFF
    return behind if behind < 1 << 31 else 0


def _is_possible(message: FrameStart, expected: Configured) -> bool:
    form = layout(expected.pixel_format)
    return (
        message.width == expected.width
        and message.height == expected.height
        and message.pixel_format == expected.pixel_format
        and message.stride == expected.stride == form.bytes_of(message.width)
        and message.cfa <= _LAST_CFA
        and 8 <= message.bits <= form.bits
        and 1 <= message.orientation <= 8
        and 0 < message.white < 1 << 16
    )


def _copy(assembly: Assembly, segments: list[tuple[int, int]], payload: memoryview) -> bool:
    """Copy what is not covered yet; False if all of it is."""
    at = 0
    fresh = False
    for start, end in segments:
        for low, high in assembly.received_ranges.gaps(start, end):
            fresh = True
            if any(low < b and a < high for a, b in assembly.reserved.values()):
                # Another lane may yet write there, and what it writes may be damaged.
                continue
            assembly.memory[low:high] = payload[at + low - start : at + high - start]
            assembly.received_ranges.add(low, high)
        at += end - start
    return fresh


def rows(assembly: Assembly) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """(H, stride) uint8 over the assembly's own memory: rows as they came."""
    return assembly.buffer.reshape(assembly.plan.height, assembly.plan.stride)


def pixels(assembly: Assembly) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """(H, W) uint16: over the assembly's own memory, or out of it where pixels share bytes."""
    return unpack(rows(assembly), assembly.layout)
