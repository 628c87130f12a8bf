"""When a session takes its module for gone, or a packet for lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected
from lenslink.session import Session
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.messages import HelloReply, Log


class Line:
    """Always has something to read: what it was given, then noise."""

    private = True
    note = None

    def __init__(self) -> None:
        self.data = b""

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        piece, self.data = self.data[: len(buffers[0])], self.data[len(buffers[0]) :]
        piece = piece or b"noise"
        buffers[0][: len(piece)] = piece
        return len(piece)

    def send(self, data: bytes, deadline: Deadline) -> None:
        pass

    def close(self) -> None:
        pass


def opened() -> tuple[Session, Line]:
    line = Line()
    session = Session(line)
    session.link.session = HelloReply(0x10, 1, 0, 0, 1024, 100, 1, 0)
    session.link.resume(time.monotonic())
    # Silent for as long as it takes, as after a call that took a second.
    session.link._liveness.last_sign -= 5.0
    return session, line


def test_noise_is_no_sign_of_life():
    session, _ = opened()
    with pytest.raises(Disconnected, match="no sign of life"):
        session.run_until(lambda: False, Deadline(5.0, "noise"))


def test_what_came_meanwhile_is_one():
    session, line = opened()
    log = Log(1, 0, b"here")
    line.data = encode_packet(log.TYPE, log.encode(), nonce=session.link.nonce, sequence=0)
    session.run_until(lambda: bool(session.link.logs), Deadline(5.0, "the log"))


def test_a_packet_is_no_stall_where_the_process_did_not_run(monkeypatch: pytest.MonkeyPatch):
    """A machine that is busy may stop it for long between the two halves of a packet."""
    session, line = opened()
    session.link.resume(time.monotonic())
    log = Log(1, 0, b"here")
    line.data = encode_packet(log.TYPE, log.encode(), nonce=session.link.nonce, sequence=0)
    real, receive, stopped = time.monotonic, line.receive_into, 0.0

    def stop(buffers: Sequence[memoryview], seconds: float) -> int:
        nonlocal stopped
        count = receive(buffers, seconds)
        stopped += 0.5
        return count

    monkeypatch.setattr(line, "receive_into", stop)
    monkeypatch.setattr(time, "monotonic", lambda: real() + stopped)
    session.run_until(lambda: bool(session.link.logs), Deadline(50.0, "the log"))
    assert not any(session.discards.values())
