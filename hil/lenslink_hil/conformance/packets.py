"""Packets as one wants them, right or wrong, and out of a stream of bytes again.

This is written apart from :mod:`lenslink_protocol.framing`: a kit that shared the product's
receiver would share its faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import BY_TYPE, HEADER, MAGIC, AnyMessage, Header
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Packet:
    """A sound packet, and when it came, in seconds of the wire's clock."""

    header: Header
    payload: bytes
    at: float = 0.0
    lane: int = 0

    @property
    def kind(self) -> int:
        return self.header.type

    @property
    def id(self) -> int:
        """Of a request and its answer; of a data packet its frame."""
        return self.header.frame

    def message(self) -> AnyMessage:
        """Its message; :exc:`~lenslink_protocol.messages.Malformed` where it is none."""
        return BY_TYPE[self.kind].decode(self.payload)

    def encode(self, **changes: Any) -> bytes:
        """Its bytes with *changes* to its header's fields, or to ``payload``, sealed anew."""
        payload: bytes = changes.pop("payload", self.payload)
        changes = {"length": len(payload), "payload_crc": crc32(payload)} | changes
        return seal(self.header._replace(**changes)) + payload

    def __str__(self) -> str:
        name = BY_TYPE[self.kind].__name__ if self.kind in BY_TYPE else f"type 0x{self.kind:02X}"
        if self.kind == MessageType.TILE:
            name = "Tile"
        return f"{name} ({self.header.frame})"


def seal(header: Header) -> bytes:
    """A header's bytes, with the CRC that belongs to them."""
    head: bytes = HEADER.pack(MAGIC, *header[:-1], 0)[:-4]
    return b"".join((head, crc32(head).to_bytes(4, "little")))


def parse(data: bytes) -> Packet | None:
    """*data* if it is one packet, whose payload's CRC may be wrong."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return None
    header = Header._make(HEADER.unpack_from(data)[1:])
    payload = data[HEADER_BYTES:]
    return Packet(header, payload) if len(payload) == header.length else None


class Parser:
    """Sound packets out of a lossless stream; ``damage`` says what was not one."""

    def __init__(self, lane: int = 0) -> None:
        self.damage: list[str] = []
        self._lane = lane
        self._buffer = bytearray()

    def feed(self, data: bytes, now: float) -> list[Packet]:
        self._buffer += data
        found: list[Packet] = []
        while len(self._buffer) >= HEADER_BYTES:
            fault = self._fault()
            if fault:
                self.damage.append(fault)
                at = self._buffer.find(MAGIC, 1)
                del self._buffer[: at if at > 0 else max(1, len(self._buffer) - 3)]
                continue
            header = Header._make(HEADER.unpack_from(self._buffer)[1:])
            end = HEADER_BYTES + header.length
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            if crc32(payload) == header.payload_crc:
                found.append(Packet(header, payload, now, self._lane))
            else:
                self.damage.append("a payload's CRC does not hold")
        return found

    def _fault(self) -> str:
        if self._buffer[:4] != MAGIC:
            return "bytes between packets"
        header = Header._make(HEADER.unpack_from(self._buffer)[1:])
        if crc32(self._buffer[: HEADER_BYTES - 4]) != header.header_crc:
            return "a header's CRC does not hold"
        most = MAX_PAYLOAD if header.type == MessageType.TILE else MAX_CONTROL
        return f"a header announces {header.length} bytes" if header.length > most else ""
