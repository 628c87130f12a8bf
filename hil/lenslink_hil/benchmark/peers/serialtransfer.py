"""pySerialTransfer: packets of at most 254 bytes under a CRC-8."""

from __future__ import annotations

import io
from typing import Any

from lenslink.errors import RigError

from . import Need, Receive, time_calls

NAME = "pySerialTransfer"
NEEDS = (Need("pySerialTransfer", "pySerialTransfer"),)
BYTES = 254 * 3000
NOTE = "CRC-8 in Python; packets of 254 bytes, its most"
_PACKET = 254


class _Line(io.BytesIO):
    """A serial port."""

    is_open = True

    @property
    def in_waiting(self) -> int:
        return len(self.getbuffer()) - self.tell()

    def read(self, count: int | None = 1) -> bytes:
        return super().read(count)


def _link(line: _Line) -> Any:
    from pySerialTransfer.pySerialTransfer import SerialTransfer

    link = SerialTransfer("none", restrict_ports=False, debug=False)
    link.connection = line
    return link


def prepare(payload: bytes) -> Receive:
    """Packets of *payload*, made by the package itself."""
    out = _Line()
    sender = _link(out)
    for start in range(0, len(payload), _PACKET):
        piece = payload[start : start + _PACKET]
        sender.tx_buff[: len(piece)] = piece
        sender.send(len(piece))
    wire = out.getvalue()

    def receive() -> int:
        link = _link(_Line(wire))
        frame = bytearray(len(payload))
        count = 0
        while link.connection.in_waiting:
            size = link.available()
            frame[count : count + size] = bytes(link.rx_buff[:size])
            count += size
        if frame != payload:
            raise RigError("pySerialTransfer delivered something else")
        return count

    return time_calls(receive)
