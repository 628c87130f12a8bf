"""What bounds the driver: the transport without a protocol, the CRC alone, and copying memory.

Each of them uses as much memory as the driver's run does, a frame, and takes it in pieces of a
tile, so that what the caches hold is the same.
"""

from __future__ import annotations

import time
from contextlib import closing

import numpy as np
from isal.isal_zlib import crc32

from lenslink.errors import RigError
from lenslink_protocol.params import HEADER_BYTES

from .lines import Gone, Line, connect
from .source import BARE, PING

Spent = tuple[float, float]
"""CPU seconds (user and system) of this process, and wall seconds."""


class Bare:
    """Memory of a frame, in pieces of a tile."""

    def __init__(self, frame_bytes: int, tile_bytes: int) -> None:
        # Written to, so that it is memory of its own and not the one page of zeros.
        self._memory = np.full(frame_bytes, 0x5A, dtype=np.uint8)
        view = self._memory.data
        starts = range(0, frame_bytes, tile_bytes)
        self._pieces = [view[start : start + tile_bytes] for start in starts]

    def receive(self, url: str, frames: int) -> Spent:
        """Receive as many bytes as *frames* have."""
        with closing(connect(url)) as line:
            line.send(BARE)
            try:
                self._frame(line)  # the first finds nobody sending yet
                began = _now()
                for _ in range(frames):
                    self._frame(line)
            except Gone:
                raise RigError("the source ended in the middle of a measurement") from None
            return _since(began)

    def _frame(self, line: Line) -> None:
        fill = line.fill
        for piece in self._pieces:
            fill(piece)

    def checksum(self, frames: int) -> Spent:
        """The CRC of every tile of *frames*."""
        began = _now()
        for _ in range(frames):
            for piece in self._pieces:
                crc32(piece)
        return _since(began)

    def copy(self, frames: int) -> Spent:
        """Copy a frame's memory, *frames* times."""
        target = np.full_like(self._memory, 0)
        began = _now()
        for _ in range(frames):
            np.copyto(target, self._memory)
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
