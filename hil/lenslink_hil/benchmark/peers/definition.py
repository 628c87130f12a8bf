"""LensLink's own packets, parsed by the definition itself: `construct` and nothing else.

It is the slow path of this project, kept as an oracle: this is why the hot one is not it.
"""

from __future__ import annotations

import io

from lenslink.errors import RigError
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.structs import Header

from . import Need, Receive, time_calls

NAME = "construct alone"
NEEDS = (Need("construct", "construct", "it comes with LensLink"),)
BYTES = 32 << 20
NOTE = "our packets of 4 KiB by the definition, CRC-32 by binascii; the usual size of a small board"
_PACKET = 4096


def prepare(payload: bytes) -> Receive:
    """Tiles of *payload*."""
    from binascii import crc32

    from construct import Bytes, Struct, this

    packet = Struct("header" / Header, "payload" / Bytes(this.header.length))
    wire = b"".join(
        encode_packet(
            MessageType.TILE,
            payload[start : start + _PACKET],
            nonce=1,
            sequence=number,
            place=(0, number & 0xFFFF, _PACKET // 2, 1),
        )
        for number, start in enumerate(range(0, len(payload), _PACKET))
    )

    def receive() -> int:
        stream = io.BytesIO(wire)
        frame = bytearray(len(payload))
        count = 0
        while stream.tell() < len(wire):
            began = stream.tell()
            found = packet.parse_stream(stream)
            if crc32(wire[began : began + 36]) != found.header.header_crc:
                raise RigError("construct alone: a header's CRC does not hold")
            if crc32(found.payload) != found.header.payload_crc:
                raise RigError("construct alone: a CRC does not hold")
            frame[count : count + _PACKET] = found.payload
            count += _PACKET
        if frame != payload:
            raise RigError("construct alone delivered something else")
        return count

    return time_calls(receive)
