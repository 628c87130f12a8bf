"""Packets as a case wants them, right or wrong, and a parser for a stream of bytes.

This is written apart from :mod:`lenslink_protocol.framing`. A kit that shared the product's
receiver would share the receiver's faults.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import Any

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import (
    CloseReason,
    ErrorCode,
    FrameState,
    MessageType,
    Outcome,
)
from lenslink_protocol.messages import BY_TYPE, HEADER, MAGIC, AnyMessage, Header, Malformed
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD

MASK_32 = 0xFFFFFFFF
"""Sequences, ids and frame numbers are counted modulo 2^32."""
NO_PACKET = 0xFFFFFFFF
"""``last_sequence`` of a lane that has carried nothing."""
_SHOWN_BYTES = 16
_NAMES: dict[tuple[str, str], type[enum.IntEnum]] = {
    ("Error", "code"): ErrorCode,
    ("Close", "reason"): CloseReason,
    ("Resent", "state"): FrameState,
    ("QueryReply", "outcome"): Outcome,
}
"""Fields whose values have names."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet whose CRCs hold, and when it arrived, in seconds of the wire's clock."""

    header: Header
    payload: bytes
    at: float = 0.0
    lane: int = 0

    @property
    def kind(self) -> int:
        return self.header.type

    @property
    def id(self) -> int:
        """The id of a request and its answer, or the frame of a data packet."""
        return self.header.frame

    def message(self) -> AnyMessage:
        """Return the decoded message.

        Raises:
            Malformed: The type is unknown, or the payload is shorter than its message.
        """
        if self.kind not in BY_TYPE:
            raise Malformed(f"type {self.kind:#04x} is unknown")
        return BY_TYPE[self.kind].decode(self.payload)

    def encode(self, **changes: Any) -> bytes:
        """Return the packet's bytes with *changes* to header fields or ``payload``, new CRCs."""
        payload: bytes = changes.pop("payload", self.payload)
        changes = {"length": len(payload), "payload_crc": crc32(payload)} | changes
        return append_header_crc(self.header._replace(**changes)) + payload

    def __str__(self) -> str:
        return describe(self)


def describe(value: Packet | AnyMessage | None) -> str:
    """Return a packet or a message in one line, its fields by name and long bytes cut."""
    if value is None:
        return "nothing"
    if not isinstance(value, Packet):
        return _describe_message(value)
    head = value.header
    if value.kind == MessageType.TILE:
        place = f"{head.width}x{head.height} at {head.x},{head.y}"
        again = " RESENT" if head.flags & 1 else ""
        text = f"Tile of frame {head.frame}, {place}, {head.length} bytes{again}"
    else:
        try:
            text = _describe_message(value.message())
        except Malformed as error:
            text = f"type {value.kind:#04x}, malformed ({error}): {_shorten(value.payload)}"
        text = f"{text} [{head.frame}]"
    return f"{text} on lane {value.lane}" if value.lane else text


def _describe_message(message: AnyMessage) -> str:
    name = type(message).__name__
    words = [name]
    for each in fields(message):
        value = getattr(message, each.name)
        names = _NAMES.get((name, each.name))
        if isinstance(value, bytes):
            text = _shorten(value)
        elif names is not None and value in set(names):
            text = names(value).name
        else:
            text = str(value)
        words.append(f"{each.name}={text}")
    return " ".join(words)


def _shorten(data: bytes) -> str:
    """Return *data* as text if it is printable, else as hexadecimal digits, and not all of it."""
    part = data[:_SHOWN_BYTES]
    text = part.decode("ascii", "replace")
    shown = repr(text) if text.isascii() and text.isprintable() else part.hex(" ")
    return shown if len(data) <= _SHOWN_BYTES else f"{shown}... ({len(data)} bytes)"


def append_header_crc(header: Header) -> bytes:
    """Return a header's bytes with the CRC that belongs to them."""
    head: bytes = HEADER.pack(MAGIC, *header[:-1], 0)[:-4]
    return b"".join((head, crc32(head).to_bytes(4, "little")))


def parse(data: bytes) -> Packet | None:
    """Return *data* as a packet if it is exactly one. The payload's CRC may be wrong."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return None
    header = Header._make(HEADER.unpack_from(data)[1:])
    payload = data[HEADER_BYTES:]
    return Packet(header, payload) if len(payload) == header.length else None


class Parser:
    """Finds packets in a lossless stream. ``damage`` says what was not a packet."""

    def __init__(self, lane: int = 0) -> None:
        self.damage: list[str] = []
        self._lane = lane
        self._buffer = bytearray()

    @property
    def waiting_bytes(self) -> int:
        """The bytes of a packet of which more is to come."""
        return len(self._buffer)

    def feed(self, data: bytes, now: float) -> list[Packet]:
        """Return the packets that *data* completes; add what is damaged to ``damage``."""
        self._buffer += data
        found: list[Packet] = []
        while len(self._buffer) >= HEADER_BYTES:
            fault = self._find_fault()
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

    def _find_fault(self) -> str:
        """Return what is wrong with the header at the front of the buffer, "" if nothing is."""
        if self._buffer[:4] != MAGIC:
            return "bytes between packets"
        header = Header._make(HEADER.unpack_from(self._buffer)[1:])
        if crc32(self._buffer[: HEADER_BYTES - 4]) != header.header_crc:
            return "a header's CRC does not hold"
        most = MAX_PAYLOAD if header.type == MessageType.TILE else MAX_CONTROL
        return f"a header announces {header.length} bytes" if header.length > most else ""


def damage_payload_crc(packet: bytes) -> bytes:
    """Return *packet* with a payload CRC that does not hold. Its header stays sound."""
    header = Header._make(HEADER.unpack_from(packet)[1:])
    spoiled = header._replace(payload_crc=header.payload_crc ^ 1)
    return append_header_crc(spoiled) + packet[HEADER_BYTES:]


def announce_length(packet: bytes, length: int) -> bytes:
    """Return the header of *packet* with another length, sound by its CRC."""
    header = Header._make(HEADER.unpack_from(packet)[1:])
    return append_header_crc(header._replace(length=length))


def hide_packet(packet: bytes, version: int, kind: int) -> bytes:
    """Return a sound header in whose middle *packet* begins.

    The header's last 20 bytes are the first 20 of *packet*, so its CRC is what *packet* has there:
    the id of a request. Its sequence is chosen so that the CRC is right. Its length is the nonce of
    *packet*, which is too long for any type.
    """
    half = HEADER_BYTES // 2
    head = bytearray(MAGIC + bytes([version, kind, 0, 0]) + bytes(12) + packet[:half])
    wanted = int.from_bytes(head[36:40], "little")
    head[12:16] = _solve_crc(bytes(head[:36]), 12, wanted).to_bytes(4, "little")
    return bytes(head) + packet[half:]


def _solve_crc(data: bytes, at: int, wanted: int) -> int:
    """Return the four bytes at *at*, as a number, with which the CRC of *data* is *wanted*."""
    base = crc32(data)
    # The CRC is linear: each bit of the four bytes flips the same bits of the CRC.
    rows: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        flipped = data[:at] + (1 << bit).to_bytes(4, "little") + data[at + 4 :]
        effect, choice = crc32(flipped) ^ base, 1 << bit
        while effect and effect.bit_length() in rows:
            other, others = rows[effect.bit_length()]
            effect, choice = effect ^ other, choice ^ others
        if effect:
            rows[effect.bit_length()] = (effect, choice)
    left, found = base ^ wanted, 0
    while left:
        effect, choice = rows[left.bit_length()]
        left, found = left ^ effect, found ^ choice
    return found
