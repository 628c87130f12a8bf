"""Frames out of tiles: each tile once, to its place, and nothing believed before its CRC.

The memory of a frame is handed to the receiver only for ground that is not covered yet, and a
range counts as covered only after its CRC held. So a damaged repeat cannot spoil a good pixel,
and a buffer that is used again cannot show old pixels as new.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from lenslink_protocol.ids import Cfa, EndStatus, Reject
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header
from lenslink_protocol.params import (
    END_GRACE_MS,
    FRAME_STALE_MS,
    MAX_FRAMES_OPEN,
)

from .coverage import Coverage
from .pool import Pool

_BYTES_A_PIXEL = 2


class Assembly:
    """A frame under way, then a frame that is as whole as it will be."""

    def __init__(self, header: Header, start: FrameStart, pool: Pool, now: float) -> None:
        self.number = header.frame
        self.stream = header.stream
        self.start = start
        self.end: FrameEnd | None = None
        self.began = now
        """When its first packet came, on the clock of the caller."""
        self.progress = now
        size = start.stride * start.height
        self.coverage = Coverage(size)
        self.buffer = pool.acquire(size)
        self.memory = self.buffer.data

    def segments(self, header: Header) -> list[tuple[int, int]] | None:
        """The byte ranges that a tile is for, a row each or one for all; None if it fits not."""
        start = self.start
        left = header.x * _BYTES_A_PIXEL
        row = header.width * _BYTES_A_PIXEL
        if (
            header.width == 0
            or header.height == 0
            or header.x + header.width > start.width
            or header.y + header.height > start.height
            or header.length != row * header.height
        ):
            return None
        first = header.y * start.stride + left
        if header.height == 1 or row == start.stride:
            return [(first, first + header.length)]
        return [
            (at, at + row)
            for at in range(first, first + header.height * start.stride, start.stride)
        ]

    def clear_gaps(self) -> tuple[tuple[int, int], ...]:
        """Zero what did not arrive, and say which bytes that is."""
        gaps = tuple(self.coverage.gaps(0, self.coverage.size))
        for start, end in gaps:
            self.buffer[start:end] = 0
        return gaps


class Reassembly:
    """A :class:`~lenslink_protocol.link.FrameSink`: finished assemblies queue up in ``finished``.

    *expect* gives the configuration of a stream, or None: a frame that is larger than what was
    configured is refused before memory is taken for it.
    """

    def __init__(
        self,
        pool: Pool,
        rejects: Counter[Reject],
        expect: Callable[[int], Configured | None],
    ) -> None:
        self.finished: deque[Assembly] = deque()
        self.aborted = 0
        """Frames that the host itself stopped."""
        self.bytes = 0
        """Bytes of sound tiles."""
        self.first_tile: float | None = None
        """When the first tile came since this was last set to None."""
        self._pool = pool
        self._rejects = rejects
        self._expect = expect
        self._open: dict[int, Assembly] = {}

    # --- FrameSink ------------------------------------------------------------------------

    def start(self, header: Header, message: FrameStart, now: float) -> None:
        if header.frame in self._open:
            self._rejects[Reject.COVERED] += 1
            return
        if not self._is_possible(header.stream, message):
            self._rejects[Reject.GEOMETRY] += 1
            return
        # One lane keeps its order: the stream's last frame will get nothing more.
        for assembly in [a for a in self._open.values() if a.stream == header.stream]:
            self._finish(assembly)
        if len(self._open) >= MAX_FRAMES_OPEN:
            self._finish(min(self._open.values(), key=lambda a: a.progress))
        self._open[header.frame] = Assembly(header, message, self._pool, now)

    def place(self, header: Header) -> memoryview | None:
        assembly = self._open.get(header.frame)
        if assembly is None:
            return None
        segments = assembly.segments(header)
        if segments is None or len(segments) != 1:
            return None
        [(start, end)] = segments
        if assembly.coverage.gaps(start, end) != [(start, end)]:
            return None
        return assembly.memory[start:end]

    def tile(self, header: Header, payload: memoryview, in_place: bool, now: float) -> None:
        assembly = self._open.get(header.frame)
        if assembly is None:
            self._rejects[Reject.NO_FRAME] += 1
            return
        segments = assembly.segments(header)
        if segments is None:
            self._rejects[Reject.GEOMETRY] += 1
            return
        if self.first_tile is None:
            self.first_tile = now
        assembly.progress = now
        self.bytes += header.length
        if in_place:
            assembly.coverage.add(*segments[0])
        elif not self._copy(assembly, segments, payload):
            self._rejects[Reject.COVERED] += 1

    def end(self, header: Header, message: FrameEnd, now: float) -> None:
        assembly = self._open.get(header.frame)
        if assembly is None:
            self._rejects[Reject.NO_FRAME] += 1
            return
        assembly.end = message
        assembly.progress = now
        self._finish(assembly)

    def poll(self, now: float) -> None:
        for assembly in list(self._open.values()):
            patience = END_GRACE_MS if assembly.coverage.complete else FRAME_STALE_MS
            if now - assembly.progress > patience / 1000:
                self._finish(assembly)

    # --- the rest -------------------------------------------------------------------------

    def abandon(self, stream: int) -> None:
        """Drop what is under way or waiting of a stream that the host ends."""
        for assembly in [a for a in self._open.values() if a.stream == stream]:
            del self._open[assembly.number]
            self._pool.release(assembly.buffer)
        for assembly in [a for a in self.finished if a.stream == stream]:
            self.finished.remove(assembly)
            self._pool.release(assembly.buffer)

    def _is_possible(self, stream: int, message: FrameStart) -> bool:
        expected = self._expect(stream)
        return (
            expected is not None
            and message.width == expected.width
            and message.height == expected.height
            and message.stride == expected.stride == message.width * _BYTES_A_PIXEL
            and message.cfa <= max(Cfa)
            and 8 <= message.bits <= 16
            and 1 <= message.orientation <= 8
            and 0 < message.white < 1 << 16
        )

    def _copy(
        self, assembly: Assembly, segments: list[tuple[int, int]], payload: memoryview
    ) -> bool:
        """Copy what is not covered yet; False if all of it is."""
        at = 0
        fresh = False
        for start, end in segments:
            for low, high in assembly.coverage.gaps(start, end):
                fresh = True
                assembly.memory[low:high] = payload[at + low - start : at + high - start]
                assembly.coverage.add(low, high)
            at += end - start
        return fresh

    def _finish(self, assembly: Assembly) -> None:
        del self._open[assembly.number]
        end = assembly.end
        if end is not None and end.status == EndStatus.ABORTED and not assembly.coverage.complete:
            self.aborted += 1
            self._pool.release(assembly.buffer)
            return
        self.finished.append(assembly)


def pixels(assembly: Assembly) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """(H, W) uint16 over the assembly's own memory."""
    shape = (assembly.start.height, assembly.start.width)
    return assembly.buffer.view("<u2").reshape(shape)
