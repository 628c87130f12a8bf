"""Descriptors and a harness for tests of USB: a device with a bulk pair, and no board behind."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from lenslink_hil.usbip import cable
from lenslink_hil.usbip.cable import Kind
from lenslink_hil.usbip.device import VirtualDevice
from lenslink_hil.usbip.urb import Urb

OUT, IN, NOTIFY = 0x03, 0x83, 0x81
DEVICE = struct.pack(
    "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x2E8A, 0x0005, 0x0100, 1, 2, 3, 1
)


def endpoint(address: int, packet: int, kind: int = 2) -> bytes:
    return struct.pack("<BBBBHB", 7, 5, address, kind, packet, 0)


def configuration(packet: int = 64, *more: bytes) -> bytes:
    """Build a configuration with one vendor interface: bulk OUT, bulk IN, then *more*."""
    own = bytes((9, 4, 0, 0, 2, 0xFF, 0x4C, 0x4B, 0))
    own += endpoint(OUT, packet) + endpoint(IN, packet) + b"".join(more)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(own), 1, 1, 0, 0x80, 125) + own


def strings(**texts: str) -> bytes:
    """Build the strings of an ATTACH record, by index: ``_3="serial"``."""
    pairs = [(int(key[1:]), text.encode()) for key, text in texts.items()]
    return b"".join(bytes((index, len(data))) + data for index, data in pairs)


@dataclass
class Harness:
    """A device that a host has opened and configured.

    ``completions`` are the URBs that have ended: number, status, data. ``records`` are those
    for the board: kind, endpoint, generation, value, data.
    """

    packet: int = 64
    rate: float = 0.0
    completions: list[tuple[int, int, bytes]] = field(default_factory=list)
    records: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = VirtualDevice(self._collect_record, self.rate)
        blob = DEVICE + configuration(self.packet) + strings(_1="Maker", _3="S1")
        self.device.handle_record(Kind.ATTACH, 0, 0, 2, blob)
        self.device.open(self._complete)
        self.seqnum = 0
        self.control(0x00, 9, 1, 0)
        self.completions.clear()

    @property
    def generation(self) -> int:
        return self.device.endpoints[IN].generation

    def arm(self, data: bytes, generation: int | None = None) -> None:
        """Arm a transfer of the board with data for the host."""
        at = self.device.endpoints[IN].generation if generation is None else generation
        self.device.handle_record(Kind.ARM, IN, at, 0, data)
        self.device.move_packets(0.0)

    def listen(self, size: int) -> None:
        """Arm a transfer of the board that takes *size* bytes."""
        at = self.device.endpoints[OUT].generation
        self.device.handle_record(Kind.ARM, OUT, at, size, b"")
        self.device.move_packets(0.0)

    def read(self, length: int, flags: int = 0) -> int:
        """Submit a read of the host and return its number."""
        return self._submit(Urb(self._next_seqnum(), IN, length, None, flags))

    def write(self, data: bytes, flags: int = 0) -> int:
        """Submit a write of the host and return its number."""
        return self._submit(Urb(self._next_seqnum(), OUT, len(data), data, flags))

    def control(
        self, kind: int, request: int, value: int, index: int, data: bytes | int = b""
    ) -> tuple[int, bytes] | None:
        """Submit a request, *data* or a length to read; return status and data once it ends."""
        length = data if isinstance(data, int) else len(data)
        setup = struct.pack("<BBHHH", kind, request, value, index, length)
        urb = Urb(self._next_seqnum(), 0, length, None if kind & 0x80 else bytes(data))  # type: ignore[arg-type]
        before = len(self.completions)
        self.device.submit_control(urb, setup)
        found = [
            (status, got)
            for seqnum, status, got in self.completions[before:]
            if seqnum == urb.seqnum
        ]
        return found[0] if found else None

    def take_records(self) -> list[tuple[int, int, int, int, bytes]]:
        """Return the records for the board since the last call."""
        records, self.records[:] = list(self.records), []
        return records

    def _next_seqnum(self) -> int:
        self.seqnum += 1
        return self.seqnum

    def _submit(self, urb: Urb) -> int:
        self.device.submit(urb)
        self.device.move_packets(0.0)
        return urb.seqnum

    def _collect_record(self, data: bytes) -> None:
        header = cable.FAST_HEADER.unpack(data[: cable.HEADER_BYTES])
        self.records.append((*header[:4], data[cable.HEADER_BYTES :]))

    def _complete(self, urb: Urb, status: int) -> None:
        data = (
            b"".join(urb.received_pieces)
            if urb.data is None
            else bytes(urb.data[: urb.actual_length])
        )
        self.completions.append((urb.seqnum, status, data))
