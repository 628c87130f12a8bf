"""A recording as pcapng, for Wireshark and tshark with the generated dissector.

One packet of the link is one packet of the file; what is no packet is one too, with a comment.
The lane is the interface, the direction the packet's flag (outbound is to the module), the time
that of its last byte. Source: IETF draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import BinaryIO

from .lcap import Direction, Recording
from .script import Packet, iterate_packets

LINKTYPE_USER0 = 147
MAX_CAPTURED = 262144
"""Wireshark takes no longer packet: of a longer tile the beginning is kept, and its length."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _IF_NAME, _IF_TSRESOL, _FLAGS, _USERAPPL = 1, 2, 9, 2, 4
_INBOUND, _OUTBOUND = 1, 2


@dataclass(slots=True)
class Captured:
    """A packet of the file."""

    lane: int
    direction: Direction
    position: int
    time_ns: int
    data: bytes
    comment: str


def export(recording: Recording, file: BinaryIO) -> int:
    """Write *recording* to *file*; how many packets that is."""
    began = _began(recording)
    file.write(
        _block(
            _SECTION,
            struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1),
            [(_USERAPPL, f"lenslink {version('lenslink')}".encode())],
        )
    )
    for lane in range(recording.lanes):
        body = struct.pack("<HHI", LINKTYPE_USER0, 0, MAX_CAPTURED)
        options = [(_IF_NAME, f"lane {lane}".encode()), (_IF_TSRESOL, b"\x09")]
        file.write(_block(_INTERFACE, body, options))
    count = 0
    for captured in packets(recording):
        data = captured.data[:MAX_CAPTURED]
        moment = began + captured.time_ns
        body = struct.pack(
            "<IIIII", captured.lane, moment >> 32, moment & 0xFFFFFFFF, len(data),
            len(captured.data),
        )  # fmt: skip
        towards = _OUTBOUND if captured.direction == Direction.TO_MODULE else _INBOUND
        options = [(_FLAGS, struct.pack("<I", towards))]
        if captured.comment:
            options.append((_COMMENT, captured.comment.encode()))
        file.write(_block(_PACKET, body + _padded(data), options))
        count += 1
    return count


def packets(recording: Recording) -> list[Captured]:
    """Everything that was recorded, in the order in which it began."""
    found = [
        captured
        for lane in range(recording.lanes)
        for direction in Direction
        for captured in _joined(direction, iterate_packets(recording, lane, direction))
    ]
    found.sort(key=lambda captured: captured.position)
    return found


def _joined(direction: Direction, stretches: Iterator[Packet]) -> Iterator[Captured]:
    """A damaged packet is one with the bytes behind its header, as far as they are no other."""
    open_: Captured | None = None
    for packet in stretches:
        if open_ is not None and packet.header is None:
            open_.data += packet.data
            open_.time_ns = packet.record_ends[-1][1]
            yield open_
            open_ = None
            continue
        if open_ is not None:
            yield open_
            open_ = None
        comment = ""
        if packet.header is None:
            comment = "bytes that are no packet"
        elif not packet.is_valid:
            comment = "a packet whose payload is damaged or cut"
        captured = Captured(
            packet.lane,
            direction,
            packet.position,
            packet.record_ends[-1][1],
            bytes(packet.data),
            comment,
        )
        if packet.header is not None and not packet.is_valid:
            open_ = captured
        else:
            yield captured
    if open_ is not None:
        yield open_


def _began(recording: Recording) -> int:
    """When it began, ns since 1970; 0 if it does not say."""
    try:
        moment = datetime.datetime.fromisoformat(str(recording.info.get("began")))
        return max(0, int(moment.timestamp() * 1000)) * 1_000_000
    except (ValueError, OverflowError):
        return 0


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    for code, value in options:
        body += struct.pack("<HH", code, len(value)) + _padded(value)
    body += struct.pack("<HH", 0, 0)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
