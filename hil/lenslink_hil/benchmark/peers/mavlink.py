"""MAVLink 2: pictures as its image protocol carries them, 253 bytes in each message."""

from __future__ import annotations

from typing import Any

from lenslink.errors import RigError

from . import Need, Receive, time_calls

NAME = "pymavlink"
NEEDS = (Need("pymavlink", "pymavlink"),)
BYTES = 253 * 12000
NOTE = "CRC-16; ENCAPSULATED_DATA, 253 bytes, the longest that it has for pictures"
_PACKET = 253
_CHUNK = 65536


def _mav() -> Any:
    from pymavlink.dialects.v20 import common

    return common.MAVLink(None)


def prepare(payload: bytes) -> Receive:
    """Messages of *payload*, made by the package itself."""
    from pymavlink.dialects.v20 import common

    sender = _mav()
    wire = bytearray()
    for number, start in enumerate(range(0, len(payload), _PACKET)):
        piece = payload[start : start + _PACKET].ljust(_PACKET, b"\0")
        message = common.MAVLink_encapsulated_data_message(number & 0xFFFF, list(piece))
        wire += message.pack(sender)
        sender.seq = (sender.seq + 1) & 0xFF

    def receive() -> int:
        mav = _mav()
        frame = bytearray(len(payload))
        count = 0
        for start in range(0, len(wire), _CHUNK):
            for message in mav.parse_buffer(wire[start : start + _CHUNK]) or ():
                frame[count : count + _PACKET] = bytes(message.data)
                count += _PACKET
        if frame[: len(payload)] != payload:
            raise RigError("pymavlink delivered something else")
        return count

    return time_calls(receive)
