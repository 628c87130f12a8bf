"""Exports a recording as pcapng, for Wireshark and tshark with the generated dissector.

Each packet of the link is one packet of the file. Bytes that are no packet are one too, with a
comment. The lane is the interface; the direction is the packet's flag, and outbound is to the
module. The time is that of the packet's last byte. Source: IETF draft-ietf-opsawg-pcapng.
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
"""Wireshark's longest packet. Of a longer tile the file holds the beginning and the length."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _IF_NAME, _IF_TSRESOL, _FLAGS, _USERAPPL = 1, 2, 9, 2, 4
_INBOUND, _OUTBOUND = 1, 2


@dataclass(slots=True)
class FilePacket:
    """A packet of the file."""

    lane: int
    direction: Direction
    position: int
    time_ns: int
    data: bytes
    comment: str


def export(recording: Recording, file: BinaryIO) -> int:
    """Write *recording* to *file* and return the number of packets."""
    start_ns = _get_start_ns(recording)
    file.write(
        _make_block(
            _SECTION,
            struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1),
            [(_USERAPPL, f"lenslink {version('lenslink')}".encode())],
        )
    )
    for lane in range(recording.lanes):
        body = struct.pack("<HHI", LINKTYPE_USER0, 0, MAX_CAPTURED)
        options = [(_IF_NAME, f"lane {lane}".encode()), (_IF_TSRESOL, b"\x09")]
        file.write(_make_block(_INTERFACE, body, options))
    count = 0
    for captured in list_packets(recording):
        data = captured.data[:MAX_CAPTURED]
        moment = start_ns + captured.time_ns
        body = struct.pack(
            "<IIIII", captured.lane, moment >> 32, moment & 0xFFFFFFFF, len(data),
            len(captured.data),
        )  # fmt: skip
        towards = _OUTBOUND if captured.direction == Direction.TO_MODULE else _INBOUND
        options = [(_FLAGS, struct.pack("<I", towards))]
        if captured.comment:
            options.append((_COMMENT, captured.comment.encode()))
        file.write(_make_block(_PACKET, body + _pad(data), options))
        count += 1
    return count


def list_packets(recording: Recording) -> list[FilePacket]:
    """Return all packets, in the order of their first bytes."""
    packets = [
        captured
        for lane in range(recording.lanes)
        for direction in Direction
        for captured in _join_damaged(direction, iterate_packets(recording, lane, direction))
    ]
    packets.sort(key=lambda captured: captured.position)
    return packets


def _join_damaged(direction: Direction, stretches: Iterator[Packet]) -> Iterator[FilePacket]:
    """Join the header of a damaged packet with the bytes that follow it."""
    damaged: FilePacket | None = None
    for packet in stretches:
        if damaged is not None and packet.header is None:
            damaged.data += packet.data
            damaged.time_ns = packet.record_ends[-1][1]
            yield damaged
            damaged = None
            continue
        if damaged is not None:
            yield damaged
            damaged = None
        comment = ""
        if packet.header is None:
            comment = "bytes that are no packet"
        elif not packet.is_valid:
            comment = "a packet whose payload is damaged or cut"
        captured = FilePacket(
            packet.lane,
            direction,
            packet.position,
            packet.record_ends[-1][1],
            bytes(packet.data),
            comment,
        )
        if packet.header is not None and not packet.is_valid:
            damaged = captured
        else:
            yield captured
    if damaged is not None:
        yield damaged


def _get_start_ns(recording: Recording) -> int:
    """Return when the recording started, in ns since 1970; 0 if it does not say."""
    try:
        moment = datetime.datetime.fromisoformat(str(recording.info.get("began")))
        return max(0, int(moment.timestamp() * 1000)) * 1_000_000
    except (ValueError, OverflowError):
        return 0


def _make_block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    for code, value in options:
        body += struct.pack("<HH", code, len(value)) + _pad(value)
    body += struct.pack("<HH", 0, 0)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
