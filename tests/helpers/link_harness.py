"""A host's link for tests: what it sent, what it told its frames, and a module played by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.link import CAPABILITIES, Link, MissingParts, Request
from lenslink_protocol.messages import BY_TYPE, HEADER, AnyMessage, Header, HelloReply
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL

NONCE = 0x12345678
REPLY = HelloReply(VERSION, 1, 0, int(CAPABILITIES), MAX_CONTROL, 10, 1, 5)


class Frames:
    """A frame sink that records each call. :meth:`request_missing` returns ``lost`` once."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.lost: list[MissingParts] = []
        self.lanes: Any = ()
        self.memory: memoryview | None = None
        self.round_trip_s: float | None = None

    def attach_lanes(self, lanes):
        self.lanes = lanes

    def reserve_buffer(self, header, lane=0):
        self.calls.append(("reserve_buffer", header.frame))
        return self.memory

    def cancel_reservation(self, lane):
        self.calls.append(("cancel_reservation", lane))

    def on_frame_start(self, header, message, now):
        self.calls.append(("on_frame_start", header.frame, message, now))

    def on_tile(self, header, payload, in_place, now, lane=0):
        self.calls.append(("on_tile", header.frame, bytes(payload), in_place, now, lane))

    def on_frame_end(self, header, message, now):
        self.calls.append(("on_frame_end", header.frame, message, now))

    def expire_frames(self, now):
        self.calls.append(("expire_frames", now))

    def shift_timers(self, away):
        self.calls.append(("shift_timers", away))

    def on_frame_announced(self, stream, number, now):
        self.calls.append(("on_frame_announced", stream, number, now))

    def on_resent(self, header, message, now):
        self.calls.append(("on_resent", header.frame, message, now))

    def on_round_trip(self, seconds):
        self.round_trip_s = seconds

    def request_missing(self, now):
        lost, self.lost = self.lost, []
        return lost

    def list_calls(self, *kinds: str) -> list[tuple[Any, ...]]:
        """Return the calls of those methods, in order."""
        return [call for call in self.calls if call[0] in kinds]


class Host:
    """A link, what it sent since last asked, and a module that says what it is told to."""

    def __init__(self, lanes: int = 1) -> None:
        self.discards: Counter[DiscardReason] = Counter()
        self.frames = Frames()
        self.link = Link(NONCE, self.frames, self.discards, lanes)
        self.sequences = [0] * lanes

    def sent(self) -> list[tuple[Header, AnyMessage]]:
        """(header, message) of each packet that went out."""
        found = []
        while self.link.outgoing:
            packet = self.link.outgoing.popleft()
            header = Header._make(HEADER.unpack_from(packet)[1:])
            found.append((header, BY_TYPE[header.type].decode(packet[HEADER_BYTES:])))
        return found

    def messages(self) -> list[AnyMessage]:
        """The messages that went out."""
        return [message for _, message in self.sent()]

    def kinds(self) -> list[str]:
        """The names of the messages that went out."""
        return [type(message).__name__ for message in self.messages()]

    def hear(self, kind, payload=b"", now=0.0, lane=0, **header) -> None:
        """Receive a packet from the module, through its lane."""
        sequence = self.sequences[lane]
        self.sequences[lane] += 1
        data = encode_packet(kind, payload, nonce=NONCE, sequence=sequence, **header)
        self.bytes(data, now, lane)

    def bytes(self, data: bytes, now: float, lane: int = 0) -> None:
        """Receive bytes, into the buffers that the lane offers."""
        rest = memoryview(data)
        while rest:
            taken = 0
            for buffer in self.link.lanes[lane].receiver.get_buffers():
                piece = rest[: len(buffer)]
                buffer[: len(piece)] = piece
                rest = rest[len(piece) :]
                taken += len(piece)
            self.link.on_received(taken, now, lane)

    def say(self, message: AnyMessage, number: int = 0, now: float = 0.0, lane: int = 0) -> None:
        """Receive a message from the module."""
        self.hear(message.TYPE, message.encode(), now, lane, frame=number)

    def without_heartbeats(self) -> None:
        """Let the link send no heartbeat any more, so that all else is easy to see."""
        self.link._liveness.next_heartbeat = 1e9


def opened(reply: HelloReply = REPLY, lanes: int = 1) -> Host:
    """A host with a session; what it sent for it has been read."""
    host = Host(lanes)
    request: Request = host.link.send_hello(0.0)
    host.say(reply, request.id)
    host.sent()
    return host
