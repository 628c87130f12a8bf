"""OpenMV's protocol: the parser of its Python package, as its camera class drives it."""

from __future__ import annotations

from typing import Any

from lenslink.errors import RigError

from . import Need, Receive, time_calls

NAME = "openmv"
NEEDS = (Need("openmv", "openmv"),)
BYTES = 4 << 20
NOTE = "CRC-32 in Python; its log is off, which fails on Python 3.11; packets of 32 KiB"
_PACKET = 32768
_READ = 0x26


class _Line:
    """A serial port: a packet for each read."""

    is_open = True

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.at = 0

    @property
    def in_waiting(self) -> int:
        return len(self.packets[self.at]) if self.at < len(self.packets) else 0

    def read(self, count: int) -> bytes:
        del count
        self.at += 1
        return self.packets[self.at - 1]

    def write(self, data: memoryview) -> None:
        self.packets.append(bytes(data))


def _transport(line: _Line) -> Any:
    from openmv.transport import Transport

    transport = Transport(line, True, True, _PACKET, 10.0, None)
    transport.log = lambda *_, **__: None
    return transport


def prepare(payload: bytes) -> Receive:
    """Packets of *payload*, made by the package itself."""
    line = _Line()
    sender = _transport(line)
    for number, start in enumerate(range(0, len(payload), _PACKET)):
        sender.send_packet(_READ, 1, 0, payload[start : start + _PACKET], sequence=number & 0xFF)

    def receive() -> int:
        line.at = 0
        transport = _transport(line)
        count = 0
        while line.in_waiting:
            count += len(transport.recv_packet())
        return count

    line.at = 0
    if _transport(line).recv_packet() != payload[:_PACKET]:
        raise RigError("openmv delivered something else")
    return time_calls(receive)
