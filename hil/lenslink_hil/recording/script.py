"""A recording as a script: what the module sent, in order, and which requests it waited for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenslink.errors import UsageError
from lenslink.image_files.atomic_file import format_path
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import ConfigureFlag, MessageType
from lenslink_protocol.layout import list_fields
from lenslink_protocol.link import REPLIES
from lenslink_protocol.messages import HEADER, MAGIC, Header, ManifestPiece
from lenslink_protocol.params import HEADER_BYTES, MAX_PAYLOAD, VERSION_MAJOR
from lenslink_protocol.structs import MESSAGES

from .lcap import Direction, Kind, Recording, load

# A hostile recording could nest headers in payloads whose CRCs fail: so many times its own size
# is checked, and no more.
_CRC_BUDGET = 16


@dataclass(slots=True)
class Packet:
    """A stretch of a lane's bytes: a packet, or what lies between packets.

    ``header`` is None for bytes that are no packet. A packet that is not ``is_valid`` is its header
    only: its payload did not hold, and follows as bytes in which more packets may lie.
    """

    lane: int
    data: bytearray
    header: Header | None
    is_valid: bool
    position: int
    """Number of the record that its first byte is in."""
    record_ends: list[tuple[int, int]]
    """Where each of its records ends in ``data``, and when that came, ns."""


Key = tuple[int, ...]


@dataclass(slots=True)
class ExpectedRequest:
    """A request: what follows was sent after it had come."""

    id: int
    key: Key
    exact: Key
    """The key, and the mode that was asked for."""
    position: int
    time_ns: int


@dataclass(slots=True)
class LaneEnd:
    """A lane ended here."""

    lane: int
    reason: str
    position: int
    time_ns: int


Step = Packet | ExpectedRequest | LaneEnd


@dataclass(slots=True)
class Script:
    """``nonce`` is the recorded session's, or None if no hello can be made out."""

    steps: list[Step]
    nonce: int | None
    lanes: int
    end_ns: int
    is_intact: bool
    """Nothing in it is damaged or missing."""
    host: list[Packet] = field(default_factory=list)
    """What the host sent."""


def make_script(recording: Recording) -> Script:
    """The module's side of *recording*, in the order in which it came."""
    host = list(iterate_packets(recording, 0, Direction.TO_MODULE))
    module = [
        packet
        for lane in range(recording.lanes)
        for packet in iterate_packets(recording, lane, Direction.TO_HOST)
    ]
    nonce = next(
        (p.header.nonce for p in host if _is_message(p, MessageType.HELLO) and p.header), None
    )
    steps: list[Step] = [*module, *_find_requests(host, nonce)]
    for position, record in enumerate(recording.records):
        if record.kind == Kind.LANE_END:
            reason = record.payload.decode("utf-8", "replace")
            steps.append(LaneEnd(record.lane, reason, position, record.time_ns))
    steps.sort(key=lambda step: step.position)
    end = max((record.time_ns for record in recording.records), default=0)
    closed = any(_is_message(packet, MessageType.CLOSE) for packet in host)
    is_intact = all(
        _is_intact([p for p in module if p.lane == lane], closed) for lane in range(recording.lanes)
    )
    return Script(steps, nonce, recording.lanes, end, is_intact, host)


ScriptMaker = Callable[[], Script]


def load_script(path: Path) -> Script:
    """The script of the recording at *path*; :exc:`~lenslink.errors.UsageError` without a hello."""
    script = make_script(load(path))
    if script.nonce is None:
        raise UsageError(f"{format_path(path)} holds no session: no HELLO of a host")
    return script


def split_packets(data: bytes) -> Iterator[tuple[int, int, Header | None, bool]]:
    """Start, end, header and soundness of each stretch of *data*, all of it.

    Packets are found as :class:`~lenslink_protocol.framing.Receiver` finds them: the payload of
    one whose CRC does not hold is searched again.
    """
    view = memoryview(data)
    at = done = 0
    budget = _CRC_BUDGET * len(data) + HEADER_BYTES
    while (start := data.find(MAGIC, at)) >= 0 and start + HEADER_BYTES <= len(data):
        header = parse_valid_header(view[start : start + HEADER_BYTES])
        if header is None:
            at = start + 1
            continue
        if start > done:
            yield done, start, None, False
        at = done = start + HEADER_BYTES
        end = at + header.length
        is_valid = False
        if end <= len(data) and header.length <= budget:
            budget -= header.length
            is_valid = crc32(view[at:end]) == header.payload_crc
        if is_valid:
            at = done = end
        yield start, done, header, is_valid
    if done < len(data):
        yield done, len(data), None, False


def parse_valid_header(head: memoryview | bytes) -> Header | None:
    """A header that may be believed, or None."""
    if head[:4] != MAGIC:
        return None
    header = Header._make(HEADER.unpack_from(head)[1:])
    if crc32(head[: HEADER_BYTES - 4]) != header.header_crc:
        return None
    if header.version >> 4 != VERSION_MAJOR or header.length > MAX_PAYLOAD:
        return None
    return header


def make_request_key(header: Header, payload: bytes | memoryview) -> tuple[Key, Key] | None:
    """What a request has in common with another that is the same; None if it is no request."""
    if header.type not in REPLIES:
        return None
    key: Key = (header.type,)
    for name in ("stream", "offset"):
        value = read_field(header.type, name, payload)
        if value is not None:
            key += (value,)
    if header.type == MessageType.CONFIGURE:
        key += ((read_field(header.type, "flags", payload) or 0) & ConfigureFlag.TEST_ONLY,)
    return key, (*key, read_field(header.type, "mode", payload) or 0)


# --- fields of a payload, in place -----------------------------------------------------------

_FIELDS: dict[int, dict[str, Any]] = {
    message.type: {field.name: field for field in list_fields(message.struct)}
    for message in MESSAGES
}


Payload = bytes | bytearray | memoryview


def read_field(kind: int, name: str, payload: Payload, index: int = 0) -> int | None:
    """A field of a message; None if it has none of that name, or is too short for it."""
    place = _locate_field(kind, name, len(payload), index)
    if place is None:
        return None
    code, at = place
    value: int = struct.unpack_from(code, payload, at)[0]
    return value


def write_field(kind: int, name: str, payload: memoryview, value: int, index: int = 0) -> None:
    """Set a field of a message where it is, as far as it holds *value*; nothing without it."""
    place = _locate_field(kind, name, len(payload), index)
    if place is not None:
        code, at = place
        struct.pack_into(code, payload, at, value & (256 ** struct.calcsize(code) - 1))


def _locate_field(kind: int, name: str, length: int, index: int) -> tuple[str, int] | None:
    found = _FIELDS.get(kind, {}).get(name)
    if found is None or found.is_bytes or index >= found.count:
        return None
    code = f"<{found.code}"
    at = found.offset + index * struct.calcsize(code)
    return (code, at) if at + struct.calcsize(code) <= length else None


# --- from the records ------------------------------------------------------------------------


def iterate_packets(recording: Recording, lane: int, direction: Direction) -> Iterator[Packet]:
    """The packets of one lane and direction, and what lies between them."""
    # Where each record of the lane begins in its stream, its number, and its time.
    starts: list[tuple[int, int, int]] = []
    stream = bytearray()
    for position, record in enumerate(recording.records):
        if (record.kind, record.lane, record.direction) == (Kind.DATA, lane, direction):
            starts.append((len(stream), position, record.time_ns))
            stream += record.payload
    ends = [start for start, _, _ in starts[1:]] + [len(stream)]
    index = 0
    data = bytes(stream)
    for start, end, header, is_valid in split_packets(data):
        while ends[index] <= start:
            index += 1
        position = starts[index][1]
        record_ends = []
        last = index
        while True:
            record_ends.append((min(ends[last], end) - start, starts[last][2]))
            if ends[last] >= end:
                break
            last += 1
        yield Packet(lane, bytearray(data[start:end]), header, is_valid, position, record_ends)


def _is_message(packet: Packet, kind: MessageType) -> bool:
    return packet.is_valid and packet.header is not None and packet.header.type == kind


def _find_requests(host: list[Packet], nonce: int | None) -> Iterator[ExpectedRequest]:
    """The requests, each once: what repeats one waits for nothing new."""
    known: set[int] = set()
    for packet in host:
        header = packet.header
        if header is None or not packet.is_valid or header.nonce != nonce or header.frame in known:
            continue
        keys = make_request_key(header, memoryview(packet.data)[HEADER_BYTES:])
        if keys is not None:
            known.add(header.frame)
            yield ExpectedRequest(header.frame, *keys, packet.position, packet.record_ends[0][1])


def _is_intact(packets: list[Packet], closed: bool) -> bool:
    """Whether a lane brought all; what was under way when the host *closed* it is not missed."""
    if closed:
        while packets and not packets[-1].is_valid:
            packets.pop()
    last: int | None = None
    for packet in packets:
        if packet.header is None or not packet.is_valid:
            return False
        if last is not None and packet.header.sequence != (last + 1) & 0xFFFFFFFF:
            return False
        last = packet.header.sequence
    return True


def extract_manifest(recording: Recording) -> bytes:
    """The manifest as it went over the wire; as much as is there in one piece."""
    data = b""
    for packet in iterate_packets(recording, 0, Direction.TO_HOST):
        if _is_message(packet, MessageType.MANIFEST):
            piece = ManifestPiece.decode(memoryview(packet.data)[HEADER_BYTES:])
            if piece.offset == len(data):
                data += piece.piece
    return data
