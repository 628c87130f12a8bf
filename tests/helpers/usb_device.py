"""Descriptors and a bus for tests of USB: a device with a bulk pair, without a board behind it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from lenslink_hil.usbip import cable
from lenslink_hil.usbip.cable import Kind
from lenslink_hil.usbip.device import Board, Urb

OUT, IN, NOTIFY = 0x03, 0x83, 0x81
DEVICE = struct.pack(
    "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x2E8A, 0x0005, 0x0100, 1, 2, 3, 1
)


def endpoint(address: int, packet: int, kind: int = 2) -> bytes:
    return struct.pack("<BBBBHB", 7, 5, address, kind, packet, 0)


def configuration(packet: int = 64, *more: bytes) -> bytes:
    """One vendor interface: bulk OUT, bulk IN."""
    own = bytes((9, 4, 0, 0, 2, 0xFF, 0x4C, 0x4B, 0))
    own += endpoint(OUT, packet) + endpoint(IN, packet) + b"".join(more)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(own), 1, 1, 0, 0x80, 125) + own


def strings(**texts: str) -> bytes:
    """As ATTACH has them: ``_3="serial"``."""
    pairs = [(int(key[1:]), text.encode()) for key, text in texts.items()]
    return b"".join(bytes((index, len(data))) + data for index, data in pairs)


@dataclass
class Harness:
    """A board that a host has opened and configured; what ended, and what the board was told."""

    packet: int = 64
    rate: float = 0.0
    ended: list[tuple[int, int, bytes]] = field(default_factory=list)
    told: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = Board(self._tell, self.rate)
        blob = DEVICE + configuration(self.packet) + strings(_1="Maker", _3="S1")
        self.board.received(Kind.ATTACH, 0, 0, 2, blob)
        self.board.open(self._complete)
        self.seqnum = 0
        self.control(0x00, 9, 1, 0)
        self.ended.clear()

    @property
    def generation(self) -> int:
        return self.board.endpoints[IN].generation

    def arm(self, data: bytes, generation: int | None = None) -> None:
        """The board has data for the host."""
        at = self.board.endpoints[IN].generation if generation is None else generation
        self.board.received(Kind.ARM, IN, at, 0, data)
        self.board.run(0.0)

    def listen(self, size: int) -> None:
        """The board takes data of the host."""
        at = self.board.endpoints[OUT].generation
        self.board.received(Kind.ARM, OUT, at, size, b"")
        self.board.run(0.0)

    def read(self, length: int, flags: int = 0) -> int:
        """The host reads; the transfer's number."""
        return self._submit(Urb(self._next(), IN, length, None, flags))

    def write(self, data: bytes, flags: int = 0) -> int:
        """The host writes; the transfer's number."""
        return self._submit(Urb(self._next(), OUT, len(data), data, flags))

    def control(
        self, kind: int, request: int, value: int, index: int, data: bytes | int = b""
    ) -> tuple[int, bytes] | None:
        """A request; its status and data if it has ended at once. An int is a length to read."""
        length = data if isinstance(data, int) else len(data)
        setup = struct.pack("<BBHHH", kind, request, value, index, length)
        urb = Urb(self._next(), 0, length, None if kind & 0x80 else bytes(data))  # type: ignore[arg-type]
        mark = len(self.ended)
        self.board.control(urb, setup)
        found = [(status, got) for seqnum, status, got in self.ended[mark:] if seqnum == urb.seqnum]
        return found[0] if found else None

    def heard(self) -> list[tuple[int, int, int, int, bytes]]:
        """What the board was told since the last call: kind, endpoint, generation, value, data."""
        found, self.told[:] = list(self.told), []
        return found

    def _next(self) -> int:
        self.seqnum += 1
        return self.seqnum

    def _submit(self, urb: Urb) -> int:
        self.board.submit(urb)
        self.board.run(0.0)
        return urb.seqnum

    def _tell(self, data: bytes) -> None:
        header = cable.FAST_HEADER.unpack(data[: cable.HEADER_BYTES])
        self.told.append((*header[:4], data[cable.HEADER_BYTES :]))

    def _complete(self, urb: Urb, status: int) -> None:
        data = b"".join(urb.pieces) if urb.data is None else bytes(urb.data[: urb.moved])
        self.ended.append((urb.seqnum, status, data))
