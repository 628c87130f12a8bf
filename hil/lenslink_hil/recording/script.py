"""A recording as a script: the module's packets in order, and the requests that they waited for.

:func:`make_script` cuts the recorded bytes into packets. The players (:mod:`.module_player`,
:mod:`.host_player`) and the export (:mod:`.pcapng`) work on its result.
"""

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

# A hostile recording could nest headers in payloads with wrong CRCs. So the CRCs of no more bytes
# are checked than this many times the recording's size.
_CRC_BUDGET = 16


@dataclass(slots=True)
class Packet:
    """A range of a lane's bytes: a packet, or the bytes between two packets.

    ``header`` is None for bytes that are no packet. A packet with a wrong payload CRC has
    ``is_valid`` False, and ``data`` is its header only. The payload follows as bytes of its own,
    because it may contain other packets.
    """

    lane: int
    data: bytearray
    header: Header | None
    is_valid: bool
    position: int
    """Number of the record that holds the first byte."""
    record_ends: list[tuple[int, int]]
    """For each record of this range: where it ends in ``data``, and its time in ns."""


Key = tuple[int, ...]


@dataclass(slots=True)
class ExpectedRequest:
    """A recorded request. The module sent what follows only after this request."""

    id: int
    key: Key
    exact: Key
    """The key, and the mode that the request names."""
    position: int
    time_ns: int


@dataclass(slots=True)
class LaneEnd:
    """The end of a lane."""

    lane: int
    reason: str
    position: int
    time_ns: int


Step = Packet | ExpectedRequest | LaneEnd


@dataclass(slots=True)
class Script:
    """A recording in order. ``nonce`` is the session's, or None without a readable HELLO."""

    steps: list[Step]
    nonce: int | None
    lanes: int
    end_ns: int
    is_intact: bool
    """True if nothing is damaged or missing."""
    host: list[Packet] = field(default_factory=list)
    """The host's packets."""


def make_script(recording: Recording) -> Script:
    """Return the module's side of *recording*, in order."""
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
    """Return the script of the recording at *path*.

    Raises:
        UsageError: the recording holds no HELLO of a host.
        StorageError: the file cannot be read.
    """
    script = make_script(load(path))
    if script.nonce is None:
        raise UsageError(f"{format_path(path)} holds no session: the HELLO of a host is missing")
    return script


def split_packets(data: bytes) -> Iterator[tuple[int, int, Header | None, bool]]:
    """Yield start, end, header and validity of each range of *data*, without a gap.

    The ranges are those that :class:`~lenslink_protocol.framing.Receiver` finds. A payload with a
    wrong CRC is searched for packets again.
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
    """Return the header in *head* if its CRC, version and length are valid, else None."""
    if head[:4] != MAGIC:
        return None
    header = Header._make(HEADER.unpack_from(head)[1:])
    if crc32(head[: HEADER_BYTES - 4]) != header.header_crc:
        return None
    if header.version >> 4 != VERSION_MAJOR or header.length > MAX_PAYLOAD:
        return None
    return header


def make_request_key(header: Header, payload: bytes | memoryview) -> tuple[Key, Key] | None:
    """Return the key that equal requests share, and the key with the mode.

    Return None for a packet that is no request.
    """
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
    """Return a field of a message; None if the message has no such field or is too short."""
    place = _locate_field(kind, name, len(payload), index)
    if place is None:
        return None
    code, at = place
    value: int = struct.unpack_from(code, payload, at)[0]
    return value


def write_field(kind: int, name: str, payload: memoryview, value: int, index: int = 0) -> None:
    """Set a field of a message to *value* modulo its size; do nothing without such a field."""
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
    """Yield the packets of one lane and direction, and the bytes between them."""
    # For each record of the lane: its offset in the stream, its number and its time.
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
    """Yield each request once: the module does not wait for a repeated request."""
    request_ids: set[int] = set()
    for packet in host:
        header = packet.header
        if (
            header is None
            or not packet.is_valid
            or header.nonce != nonce
            or header.frame in request_ids
        ):
            continue
        keys = make_request_key(header, memoryview(packet.data)[HEADER_BYTES:])
        if keys is not None:
            request_ids.add(header.frame)
            yield ExpectedRequest(header.frame, *keys, packet.position, packet.record_ends[0][1])


def _is_intact(packets: list[Packet], closed: bool) -> bool:
    """Return True if a lane delivered all packets.

    A packet that was cut because the host *closed* the session is not missed.
    """
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
    """Return the manifest as it was on the wire, up to the first missing piece."""
    data = b""
    for packet in iterate_packets(recording, 0, Direction.TO_HOST):
        if _is_message(packet, MessageType.MANIFEST):
            piece = ManifestPiece.decode(memoryview(packet.data)[HEADER_BYTES:])
            if piece.offset == len(data):
                data += piece.piece
    return data
