"""The bounds of the driver: the transport without a protocol, the CRC alone, and copying memory.

Each of them uses as much memory as the driver's run, frame after frame and in pieces of one tile.
So the processor's caches hold the same amount of data in all runs.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing

import numpy as np

from lenslink.errors import RigError
from lenslink_protocol.crc import crc32
from lenslink_protocol.params import HEADER_BYTES

from .lines import Line, LineClosed, connect
from .source import BARE, PING

Timing = tuple[float, float]
"""CPU seconds of this process (user and system), and wall seconds."""


class BareTransport:
    """Receives, checks and copies through the memory of *buffers* frames, tile by tile."""

    def __init__(self, frame_bytes: int, tile_bytes: int, buffers: int) -> None:
        self.buffers = buffers
        # Write to the memory, so that it is not the kernel's one page of zeros.
        self._memory = np.full((buffers, frame_bytes), 0x5A, dtype=np.uint8)
        starts = range(0, frame_bytes, tile_bytes)
        self._frames = [[each.data[at : at + tile_bytes] for at in starts] for each in self._memory]

    def receive(self, url: str, frames: int) -> Timing:
        """Receive the bytes of *frames* frames without a protocol, and return the time."""
        with closing(connect(url)) as line:
            line.send(BARE)
            try:
                self._receive_frames(
                    line, 1
                )  # the sender has not started when the first frame is awaited
                start = _now()
                self._receive_frames(line, frames)
            except LineClosed:
                raise RigError("the source ended in the middle of a measurement") from None
            return _elapsed_since(start)

    def _receive_frames(self, line: Line, frames: int) -> None:
        receive = line.receive_exactly
        for pieces in itertools.islice(itertools.cycle(self._frames), frames):
            for piece in pieces:
                receive(piece)

    def compute_crcs(self, frames: int) -> Timing:
        """Compute the CRC of every tile of *frames* frames, and return the time."""
        start = _now()
        for pieces in itertools.islice(itertools.cycle(self._frames), frames):
            for piece in pieces:
                crc32(piece)
        return _elapsed_since(start)

    def copy_frames(self, frames: int) -> Timing:
        """Copy the memory of one frame *frames* times, and return the time."""
        target = np.full_like(self._memory[0], 0)
        start = _now()
        for source in itertools.islice(itertools.cycle(self._memory), frames):
            np.copyto(target, source)
        return _elapsed_since(start)


def _now() -> Timing:
    return time.process_time(), time.monotonic()


def _elapsed_since(start: Timing) -> Timing:
    cpu, wall = _now()
    return cpu - start[0], wall - start[1]


def measure_pings(url: str, count: int, interval_s: float, tile_bytes: int) -> list[float]:
    """Return round trips in seconds: one byte there, the bytes of a first tile back."""
    memory = memoryview(bytearray(HEADER_BYTES + tile_bytes))
    trips = []
    with closing(connect(url)) as line:
        line.send(PING)
        try:
            for _ in range(count):
                # The link rests between pings, as it does between paced frames.
                time.sleep(interval_s)
                start = time.monotonic()
                line.send(b".")
                line.receive_exactly(memory)
                trips.append(time.monotonic() - start)
        except LineClosed:
            raise RigError("the source ended in the middle of a measurement") from None
    return trips
