"""What bounds the driver: the transport without a protocol, the CRC alone, and copying memory.

Each of them uses as much memory as the driver's run does, a frame after the other, and takes it in
pieces of a tile, so that what the caches hold is the same.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing

import numpy as np

from lenslink.errors import RigError
from lenslink_protocol.crc import crc32
from lenslink_protocol.params import HEADER_BYTES

from .lines import Gone, Line, connect
from .source import BARE, PING

Spent = tuple[float, float]
"""CPU seconds (user and system) of this process, and wall seconds."""


class Bare:
    """Memory of *buffers* frames, in pieces of a tile."""

    def __init__(self, frame_bytes: int, tile_bytes: int, buffers: int) -> None:
        self.buffers = buffers
        # Written to, so that it is memory of its own and not the one page of zeros.
        self._memory = np.full((buffers, frame_bytes), 0x5A, dtype=np.uint8)
        starts = range(0, frame_bytes, tile_bytes)
        self._frames = [[each.data[at : at + tile_bytes] for at in starts] for each in self._memory]

    def receive(self, url: str, frames: int) -> Spent:
        """Receive as many bytes as *frames* have."""
        with closing(connect(url)) as line:
            line.send(BARE)
            try:
                self._receive(line, 1)  # the first finds nobody sending yet
                began = _now()
                self._receive(line, frames)
            except Gone:
                raise RigError("the source ended in the middle of a measurement") from None
            return _since(began)

    def _receive(self, line: Line, frames: int) -> None:
        fill = line.fill
        for pieces in itertools.islice(itertools.cycle(self._frames), frames):
            for piece in pieces:
                fill(piece)

    def checksum(self, frames: int) -> Spent:
        """The CRC of every tile of *frames*."""
        began = _now()
        for pieces in itertools.islice(itertools.cycle(self._frames), frames):
            for piece in pieces:
                crc32(piece)
        return _since(began)

    def copy(self, frames: int) -> Spent:
        """Copy a frame's memory, *frames* times."""
        target = np.full_like(self._memory[0], 0)
        began = _now()
        for source in itertools.islice(itertools.cycle(self._memory), frames):
            np.copyto(target, source)
        return _since(began)


def _now() -> Spent:
    return time.process_time(), time.monotonic()


def _since(began: Spent) -> Spent:
    cpu, wall = _now()
    return cpu - began[0], wall - began[1]


def ping(url: str, count: int, interval_s: float, tile_bytes: int) -> list[float]:
    """Round trips in seconds: a byte there, the bytes of a first tile with its header back."""
    memory = memoryview(bytearray(HEADER_BYTES + tile_bytes))
    trips = []
    with closing(connect(url)) as line:
        line.send(PING)
        try:
            for _ in range(count):
                # A link at rest is what is measured, so that it is woken up as a paced one is.
                time.sleep(interval_s)
                began = time.monotonic()
                line.send(b".")
                line.fill(memory)
                trips.append(time.monotonic() - began)
        except Gone:
            raise RigError("the source ended in the middle of a measurement") from None
    return trips
