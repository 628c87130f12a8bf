"""A board whose bus is not here: an emulated chip, with its own host controller beside it.

What the USB/IP client wants is passed on, transfer by transfer, and what became of it back; the
same face as :class:`.board.Board`, without I/O like it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import cable
from .cable import Kind, record
from .descriptors import DEVICE_BYTES, Descriptors, Malformed, parse
from .device import Complete, Urb
from .protocol import ECONNRESET, ENODEV, EREMOTEIO, MAX_TRANSFER
from .server_address import SPEEDS

_PORT_RESET: Final = bytes((0x23, 3, 4, 0))
_SET_ADDRESS: Final = bytes((0x00, 5))
_SET_CONFIGURATION: Final = bytes((0x00, 9))


class HostedBoard:
    """``send`` takes records for the board."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.descriptors: Descriptors | None = None
        self.speed = 0
        self.configuration = 0
        self.max_payload = cable.ENDED.size + MAX_TRANSFER
        self.send = send
        self._complete: Complete | None = None
        self._urbs: dict[int, Urb] = {}
        self._chosen: dict[int, int] = {}

    @property
    def attached(self) -> bool:
        """Whether its pull-up is on, and it has been recognised."""
        return self.descriptors is not None

    @property
    def in_use(self) -> bool:
        """Whether a host has it."""
        return self._complete is not None

    # --- the board's side -----------------------------------------------------------------

    def received(self, kind: int, endpoint: int, generation: int, value: int, data: bytes) -> None:
        """A record of the board; :exc:`~.descriptors.Malformed` if it makes no sense."""
        del endpoint, generation
        if kind == Kind.HOSTED:
            if self.attached or value not in SPEEDS:
                raise Malformed(f"attached at speed {value}")
            self.descriptors = parse(data[:DEVICE_BYTES], data[DEVICE_BYTES:], {})
            self.speed = value
        elif kind == Kind.DETACH:
            self.descriptors = None
        elif kind == Kind.ENDED:
            if len(data) < cable.ENDED.size:
                raise Malformed(f"the end of a transfer in {len(data)} bytes")
            seqnum, status, moved = cable.ENDED.unpack_from(data)
            self._ended(seqnum, status, moved, memoryview(data)[cable.ENDED.size :])
        else:
            raise Malformed(f"a record of kind {kind}")

    def _ended(self, seqnum: int, status: int, moved: int, data: memoryview) -> None:
        urb = self._urbs.pop(seqnum, None)
        chosen = self._chosen.pop(seqnum, None)
        if urb is None:
            return
        if moved > urb.length or len(data) != (moved if urb.data is None else 0):
            raise Malformed(f"a transfer of {moved} bytes in {len(data)}")
        urb.moved = moved
        if urb.data is None:
            urb.pieces.append(data)
        if status == 0 and chosen is not None:
            self.configuration = chosen
        self._finish(urb, status)

    # --- the host's side ------------------------------------------------------------------

    def open(self, complete: Complete) -> None:
        """A host takes the board: it is reset."""
        self._complete = complete
        self.reset()

    def close(self) -> None:
        """The host lets go of the board, or is gone."""
        self._complete = None
        self.reset()

    def reset(self) -> None:
        """Bus reset."""
        self.configuration = 0
        urbs, self._urbs, self._chosen = self._urbs, {}, {}
        for urb in urbs.values():
            self._finish(urb, -ECONNRESET)
        self.send(record(Kind.RESET))

    def submit(self, urb: Urb) -> None:
        """A transfer on an endpoint other than 0."""
        self._pass_on(urb, bytes(8))

    def control(self, urb: Urb, setup: bytes) -> None:
        """A transfer on endpoint 0. The board's address is its own host's business."""
        if setup.startswith(_PORT_RESET):
            self.reset()
            self._finish(urb, 0)
        elif setup.startswith(_SET_ADDRESS):
            self._finish(urb, 0)
        else:
            if setup.startswith(_SET_CONFIGURATION):
                self._chosen[urb.seqnum] = setup[2]
            self._pass_on(urb, setup)

    def unlink(self, seqnum: int) -> int | None:
        """Take a transfer back; its end, which follows, is the answer. 0 if it has ended."""
        if seqnum not in self._urbs:
            return 0
        self.send(record(Kind.UNLINK, payload=seqnum.to_bytes(4, "little")))
        return None

    def run(self, now: float) -> float | None:
        """Nothing: the bus has a clock of its own."""
        del now
        return None

    def _pass_on(self, urb: Urb, setup: bytes) -> None:
        if not self.attached:
            self._finish(urb, -ENODEV)
            return
        self._urbs[urb.seqnum] = urb
        payload = cable.SUBMIT.pack(urb.seqnum, urb.length, setup)
        if urb.data is not None:
            payload += urb.data
        self.send(record(Kind.SUBMIT, urb.endpoint, 0, urb.flags & 0xFFFF, payload))

    def _finish(self, urb: Urb, status: int) -> None:
        if not status and urb.strict and urb.data is None and urb.moved < urb.length:
            status = -EREMOTEIO
        if self._complete is not None:
            self._complete(urb, status)
