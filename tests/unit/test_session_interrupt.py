"""A session whose caller is interrupted while it receives, on a clock of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, Timeout
from lenslink.session import Session
from lenslink.transports.base import Reading
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    HEADER,
    AnyMessage,
    Flush,
    Flushed,
    Header,
    HeartbeatReply,
    HelloReply,
)
from lenslink_protocol.params import VERSION_MAJOR

PATIENCE_S = 60.0
STEP_S = 0.01
# Of the link's time. A session that recovers needs less than a second of it.
LIMIT_S = 5.0
# Far more than what the module sends in LIMIT_S beside its tiles.
LOST_BYTES = 32 << 10
TILE_BYTES = 2 * LOST_BYTES


class AnsweringModule:
    """The transport to a module that answers hello, heartbeat and flush, and nothing else.

    Its clock is the link's: it advances only while the caller waits for bytes.
    """

    private = True
    note = None

    def __init__(self) -> None:
        self._pending = bytearray()
        self._sequence = 0
        self._seconds = 0.0
        self._loses_next = False

    def begin_tile(self, nonce: int) -> None:
        """Send a tile; KeyboardInterrupt comes with the receive call that takes half of it."""
        self._send(MessageType.TILE, bytes(TILE_BYTES), nonce, frame=0)
        self._loses_next = True

    def now(self) -> float:
        return self._seconds

    def reading(self) -> Reading:
        return Reading(self._seconds)

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if not self._pending:
            self._seconds += min(seconds, STEP_S)
            if self._seconds > LIMIT_S:
                raise Timeout(f"no answer within {LIMIT_S:g} s")
        count = 0
        for buffer in buffers:
            piece = self._pending[: min(len(buffer), LOST_BYTES - count)]
            buffer[: len(piece)] = piece
            del self._pending[: len(piece)]
            count += len(piece)
        if self._loses_next and count == LOST_BYTES:
            self._loses_next = False
            raise KeyboardInterrupt
        return count

    def send(self, data: bytes, deadline: Deadline) -> None:
        header = Header._make(HEADER.unpack_from(data)[1:])
        answer: AnyMessage
        if header.type == MessageType.HELLO:
            answer = HelloReply(VERSION_MAJOR << 4, 1, 0, 0, 1024, 100, 1, 0)
        elif header.type == MessageType.HEARTBEAT:
            answer = HeartbeatReply(round(self._seconds * 1e6), (0, 0, 0), (0, 0, 0), 0, 0)
        elif header.type == MessageType.FLUSH:
            answer = Flushed(1, header.frame, (self._sequence, 0, 0, 0))
        else:
            return
        self._send(answer.TYPE, answer.encode(), header.nonce, header.frame)

    def close(self) -> None:
        pass

    def _send(self, kind: int, payload: bytes, nonce: int, frame: int) -> None:
        place = (0, 0, TILE_BYTES // 2, 1) if kind == MessageType.TILE else (0, 0, 0, 0)
        self._pending += encode_packet(
            kind, payload, nonce=nonce, sequence=self._sequence, frame=frame, place=place
        )
        self._sequence += 1


def test_an_interrupt_that_loses_received_bytes_leaves_a_usable_or_a_closed_session() -> None:
    module = AnsweringModule()
    session = Session(module)
    session.say_hello(Deadline(PATIENCE_S, "hello"))
    module.begin_tile(session.link.nonce)
    with pytest.raises(KeyboardInterrupt):
        session.run_until(lambda: False, Deadline(PATIENCE_S, "the tile"))
    # A session that cannot go on has to say so at once, and not to wait for its deadline.
    with contextlib.suppress(Disconnected):
        session.call(Flush(), Flushed, Deadline(PATIENCE_S, "the flush"))
