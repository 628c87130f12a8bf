"""What one builds in an afternoon: COBS for framing, crcmod for the CRC, 64 KiB at a time."""

from __future__ import annotations

from lenslink.errors import RigError

from . import Need, Receive, time_calls

NAME = "cobs + crcmod"
NEEDS = (Need("cobs", "cobs"), Need("crcmod", "crcmod"))
BYTES = 64 << 20
NOTE = "both in C; packets of 64 KiB, no header, so no place, session or sequence"
_PACKET = 65536
_CRC = 4


def prepare(payload: bytes) -> Receive:
    """Packets of *payload*: data, CRC-32, a zero."""
    import crcmod.predefined
    from cobs import cobs

    check = crcmod.predefined.mkCrcFun("crc-32")
    wire = bytearray()
    for start in range(0, len(payload), _PACKET):
        piece = payload[start : start + _PACKET]
        wire += cobs.encode(piece + check(piece).to_bytes(_CRC, "little")) + b"\0"

    def receive() -> int:
        frame = bytearray(len(payload))
        count = at = 0
        while (end := wire.find(b"\0", at)) >= 0:
            packet = cobs.decode(wire[at:end])
            at = end + 1
            data = memoryview(packet)[:-_CRC]
            if check(data) != int.from_bytes(packet[-_CRC:], "little"):
                raise RigError("cobs + crcmod: a CRC does not hold")
            frame[count : count + len(data)] = data
            count += len(data)
        if frame != payload:
            raise RigError("cobs + crcmod delivered something else")
        return count

    return time_calls(receive)
