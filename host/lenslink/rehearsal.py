"""The way of a frame's first tile, walked shortly before the frame is due.

Between two frames of a paced stream the caches forget the driver: what takes 60 us when it is done
again and again takes five times as long when it is done once in 33 ms, and the first tile waits for
it. So before the next frame is due, by the pace of those before it, a frame of a few bytes is
received from nobody, by objects of the same kinds as the session's own. It costs as much again as
the first tile does, in time that nobody waits for; it changes nothing, and a frame that comes at
another time is only as slow as without it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import EndStatus, MessageType, PixelFormat
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart

from .batch import Batch
from .reassembly import Reassembly

if TYPE_CHECKING:
    from .pool import Pool

_NONCE: Final = 1
_PLAN: Final = Configured(0, 0, 1, PixelFormat.RG12, 16, 4, 32, 128, 64)
_START: Final = FrameStart(
    1, 0, 16, 4, 0, 1, 12, PixelFormat.RG12, 32, 4095, (0, 0, 0, 0), 0, 0, 0, 0, 0
)  # fmt: skip


class Rehearsal:
    """Receives frames that nobody sent; *pool* is one of the session's kind, and nobody else's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._frames = Reassembly(pool, Counter(), {0: _PLAN}.get)
        self._batch = Batch(Link(_NONCE, self._frames, Counter()), self._frames, 0)
        self._sequence = 0
        self._number = 0

    def play(self, now: float) -> None:
        """Receive a frame."""
        start = self._packet(MessageType.FRAME_START, _START.encode())
        tiles = [self._packet(MessageType.TILE, bytes(64), (0, y, 16, 2)) for y in range(0, 4, 2)]
        last = FrameEnd(EndStatus.OK, 1, 2, 0, (self._sequence - 1, 0, 0, 0))
        end = self._packet(MessageType.FRAME_END, last.encode())
        # As they come: with the head of the first tile, that tile, and the rest.
        for piece in (start + tiles[0][:40], tiles[0][40:], tiles[1] + end):
            self._receive(piece, now)
        self._number += 1
        while self._frames.finished:
            self._pool.release(self._frames.finished.popleft().buffer)

    def _receive(self, data: bytes, now: float) -> None:
        rest = memoryview(data)
        while rest:
            taken = 0
            for buffer in self._batch.buffers():
                piece = rest[: len(buffer)]
                buffer[: len(piece)] = piece
                taken += len(piece)
                rest = rest[len(piece) :]
            self._batch.received(taken, now)

    def _packet(
        self, kind: MessageType, payload: bytes, place: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> bytes:
        data = encode_packet(
            kind,
            payload,
            nonce=_NONCE,
            sequence=self._sequence,
            frame=self._number,
            place=place,
        )
        self._sequence += 1
        return data
