"""A receiver of the host for tests: packets to feed it, and what it hands on."""

from __future__ import annotations

from collections import Counter

from lenslink_protocol.framing import Receiver, encode_packet
from lenslink_protocol.ids import DiscardReason, MessageType
from lenslink_protocol.messages import Header
from lenslink_protocol.params import MAX_PAYLOAD

NONCE = 0x12345678
TILE = MessageType.TILE


def packet(sequence: int, payload: bytes = b"payload", kind: int = MessageType.LOG, **other):
    """A packet of the session, a log line unless *kind* says otherwise."""
    return encode_packet(kind, payload, **{"nonce": NONCE, "sequence": sequence, **other})


class Sink:
    """Keeps the packets it is given; ``memory`` is where tiles go."""

    def __init__(self, memory: memoryview | None = None) -> None:
        self.out: list[tuple[int, bytes, bool]] = []
        self.headers: list[Header] = []
        self.memory = memory
        self.asked: list[int] = []

    def reserve_buffer(self, header: Header) -> memoryview | None:
        self.asked.append(header.sequence)
        return None if self.memory is None else self.memory[: header.length]

    def on_packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        self.headers.append(header)
        self.out.append((header.sequence, bytes(payload), in_place))


class Lane:
    """A receiver with its sink and its counters; tiles go to *memory* if there is one."""

    def __init__(self, memory: bytearray | None = None, max_payload: int = MAX_PAYLOAD) -> None:
        self.sink = Sink(None if memory is None else memoryview(memory))
        self.discards: Counter[DiscardReason] = Counter()
        self.receiver = Receiver(self.sink, NONCE, self.discards, max_payload)

    def feed(self, *pieces: bytes, now: float = 0.0) -> list[int]:
        """Receive *pieces* one after another; the sequences of all packets handed on so far."""
        for piece in pieces:
            self.receiver.feed(piece, now)
        return [sequence for sequence, _, _ in self.sink.out]

    @property
    def payloads(self) -> list[bytes]:
        """The payloads of all packets handed on so far."""
        return [payload for _, payload, _ in self.sink.out]
