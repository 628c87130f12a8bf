"""A virtual board's end of the bus, without I/O: its endpoints, and the transfers that meet there.

The board arms a transfer on an endpoint, the host submits another; packets move when both are
there. A transfer of the host ends when it is full or with a short packet, as on a wire; one of the
board ends when the host has taken, or sent, all of it. Nothing moves for a host that does not
read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from . import control_endpoint
from .cable import MAX_PAYLOAD, Kind, record
from .descriptors import CONFIGURATION_BYTES, DEVICE_BYTES, IN_FLAG, Descriptors, Malformed, parse
from .protocol import ECONNRESET, ENODEV, ENOENT, EOVERFLOW, EPIPE, EREMOTEIO
from .server_address import SPEEDS

ZERO_PACKET: Final = 0x40
"""Linux' URB_ZERO_PACKET: an empty packet follows data that fills its last one."""
SHORT_NOT_OK: Final = 0x01
"""Linux' URB_SHORT_NOT_OK: fewer bytes than asked for are an error, EREMOTEIO."""

# A limited bus catches up with so much of what a late timer cost it.
_LATE_S = 0.005
_SLICE_S = 0.001


class Urb:
    """A transfer of the host; ``data`` is what it sends, None for one that receives *length*."""

    def __init__(
        self, seqnum: int, endpoint: int, length: int, data: bytes | None, flags: int = 0
    ) -> None:
        self.seqnum = seqnum
        self.endpoint = endpoint
        self.length = length
        self.data = None if data is None else memoryview(data)
        self.flags = flags
        self.zero = bool(flags & ZERO_PACKET)
        self.strict = bool(flags & SHORT_NOT_OK)
        self.moved = 0
        self.pieces: list[memoryview] = []


Complete = Callable[[Urb, int], None]
"""Told of a transfer that has ended, with its status: 0, or a negative errno of Linux."""


class Endpoint:
    """One direction of an endpoint number."""

    def __init__(self, address: int, packet: int) -> None:
        self.address = address
        self.packet = packet
        self.generation = 0
        self.halted = False
        self.urbs: deque[Urb] = deque()
        self.armed: memoryview | None = None
        self.moved = 0

    def disarm(self) -> None:
        """The board's transfer is gone."""
        self.armed = None
        self.moved = 0

    @property
    def ready(self) -> bool:
        """Whether something could move."""
        return self.armed is not None and bool(self.urbs)


class Board:
    """``send`` takes records for the board; ``rate`` bounds all bulk data, in bytes a second."""

    def __init__(self, send: Callable[[bytes], None], rate: float = 0.0) -> None:
        self.descriptors: Descriptors | None = None
        self.speed = 0
        self.configuration = 0
        self.alternates: dict[int, int] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self.rate = rate
        self.max_payload = MAX_PAYLOAD
        self.send = send
        self._complete: Complete | None = None
        self._controls: deque[tuple[Urb, bytes]] = deque()
        self._asked = False
        self._generation = 0
        self._newest = 0
        self._free_at = 0.0
        self._turn = 0

    @property
    def attached(self) -> bool:
        """Whether its pull-up is on."""
        return self.descriptors is not None

    @property
    def in_use(self) -> bool:
        """Whether a host has it."""
        return self._complete is not None

    # --- the board's side -----------------------------------------------------------------

    def received(self, kind: int, endpoint: int, generation: int, value: int, data: bytes) -> None:
        """A record of the board; :exc:`~.descriptors.Malformed` if it makes no sense."""
        if kind == Kind.ATTACH:
            if self.attached or value not in SPEEDS:
                raise Malformed(f"attached at speed {value}")
            self.descriptors = _descriptors(data)
            self.speed = value
        elif kind == Kind.DETACH:
            self.descriptors = None
        elif kind == Kind.REPLY:
            if generation == self._generation:
                self._replied(value == 1, data)
        elif kind in (Kind.ARM, Kind.STALL):
            found = self.endpoints.get(endpoint)
            # What it armed before it knew of a reset, or a halt, is of no meaning any more.
            if found is None or found.generation != generation:
                return
            if kind == Kind.STALL:
                self._halt(found, bool(value))
            elif not found.halted:
                found.armed = memoryview(data if endpoint & IN_FLAG else bytearray(value))
                found.moved = 0
        else:
            raise Malformed(f"a record of kind {kind}")

    # --- the host's side ------------------------------------------------------------------

    def open(self, complete: Complete) -> None:
        """A host takes the board: it is reset."""
        self._complete = complete
        self.reset()

    def close(self) -> None:
        """The host lets go of the board, or is gone."""
        self._complete = None
        self._controls.clear()
        self.reset()

    def reset(self) -> None:
        """Bus reset."""
        self._generation = self._next_generation()
        for endpoint in self.endpoints.values():
            self._fail(endpoint, ECONNRESET)
        self.endpoints = {}
        self.configuration = 0
        self.alternates = {}
        while self._controls:
            self._finish(self._controls.popleft()[0], -ECONNRESET)
        self._asked = False
        self._tell(Kind.RESET, 0, self._generation)

    def submit(self, urb: Urb) -> None:
        """A transfer on an endpoint other than 0."""
        endpoint = self.endpoints.get(urb.endpoint)
        if not self.attached:
            self._finish(urb, -ENODEV)
        elif endpoint is None:
            self._finish(urb, -ENOENT)
        elif endpoint.halted:
            self._finish(urb, -EPIPE)
        else:
            endpoint.urbs.append(urb)

    def control(self, urb: Urb, setup: bytes) -> None:
        """A transfer on endpoint 0. One after the other."""
        if not self.attached:
            self._finish(urb, -ENODEV)
            return
        self._controls.append((urb, setup))
        self._next_control()

    def unlink(self, seqnum: int) -> int:
        """Take a transfer back; the status of the answer.

        One that has moved bytes ends with them, as if the unlink had come too late: they have
        left the board and would be lost otherwise.
        """
        for endpoint in self.endpoints.values():
            for urb in endpoint.urbs:
                if urb.seqnum == seqnum:
                    endpoint.urbs.remove(urb)
                    if not urb.moved:
                        return -ECONNRESET
                    self._finish(urb, 0)
                    return 0
        for waiting in list(self._controls):
            if waiting[0].seqnum == seqnum:
                first = waiting is self._controls[0]
                self._controls.remove(waiting)
                if first and self._asked:
                    # The board's answer finds nobody; and everything else waits for it.
                    self._controls.appendleft((Urb(0, 0, 0, None), b""))
                return -ECONNRESET
        return 0

    def run(self, now: float) -> float | None:
        """Move what can be moved; when to come again, on a bus whose rate is bounded."""
        addresses = sorted(self.endpoints)
        moved = True
        while moved:
            moved = False
            for index in range(len(addresses)):
                endpoint = self.endpoints.get(addresses[(self._turn + index) % len(addresses)])
                if endpoint is None or not endpoint.ready:
                    continue
                if self.rate and self._free_at > now:
                    self._turn = (self._turn + index) % len(addresses)
                    return self._free_at
                most = max(endpoint.packet, int(self.rate * _SLICE_S)) if self.rate else 1 << 30
                count = self._move(endpoint, most - most % endpoint.packet)
                if self.rate:
                    self._free_at = max(self._free_at, now - _LATE_S) + count / self.rate
                moved = True
        return None

    # --- packets --------------------------------------------------------------------------

    def _move(self, endpoint: Endpoint, most: int) -> int:
        if endpoint.address & IN_FLAG:
            return self._move_in(endpoint, most)
        return self._move_out(endpoint, most)

    def _move_in(self, endpoint: Endpoint, most: int) -> int:
        urb, data = endpoint.urbs[0], endpoint.armed
        assert data is not None
        left, room = len(data) - endpoint.moved, urb.length - urb.moved
        count = min(left, most)
        if count > room:
            count = room - room % endpoint.packet
            if not count:
                # A packet that is longer than what is left of the host's buffer.
                endpoint.moved += min(left, endpoint.packet)
                endpoint.urbs.popleft()
                self._finish(urb, -EOVERFLOW)
        if count:
            urb.pieces.append(data[endpoint.moved : endpoint.moved + count])
            urb.moved += count
            endpoint.moved += count
        over = endpoint.moved == len(data)
        short = over and (not data or len(data) % endpoint.packet != 0)
        if over:
            self._done(endpoint)
        if endpoint.urbs and endpoint.urbs[0] is urb and (short or urb.moved == urb.length):
            endpoint.urbs.popleft()
            self._finish(urb, 0)
        return count

    def _move_out(self, endpoint: Endpoint, most: int) -> int:
        urb, space = endpoint.urbs[0], endpoint.armed
        assert space is not None and urb.data is not None
        count = min(len(urb.data) - urb.moved, len(space) - endpoint.moved, most)
        space[endpoint.moved : endpoint.moved + count] = urb.data[urb.moved : urb.moved + count]
        urb.moved += count
        endpoint.moved += count
        over = urb.moved == len(urb.data)
        whole = urb.moved > 0 and urb.moved % endpoint.packet == 0
        # An empty transfer is one empty packet.
        short = over and not whole
        if over and whole and urb.zero:
            if count == 0:
                short = True
            else:
                over = False
        if short or endpoint.moved == len(space):
            self._done(endpoint)
        if over:
            endpoint.urbs.popleft()
            self._finish(urb, 0)
        return count

    def _done(self, endpoint: Endpoint) -> None:
        data, count = endpoint.armed, endpoint.moved
        assert data is not None
        endpoint.disarm()
        payload = b"" if endpoint.address & IN_FLAG else bytes(data[:count])
        self._tell(Kind.DONE, endpoint.address, endpoint.generation, count, payload)

    # --- endpoint 0, and what it does -----------------------------------------------------

    def _next_control(self) -> None:
        while self._controls and not self._asked:
            # Taken off first: a reset ends all that are left.
            urb, setup = self._controls.popleft()
            answer = control_endpoint.answer(self, setup)
            if answer is control_endpoint.FORWARD:
                self._controls.appendleft((urb, setup))
                self._asked = True
                self._tell(Kind.CONTROL, 0, self._generation, 0, setup + bytes(urb.data or b""))
                return
            self._answer(urb, answer)

    def _replied(self, fine: bool, data: bytes) -> None:
        if self._asked:
            self._asked = False
            urb, _ = self._controls.popleft()
            self._answer(urb, data if fine else None)
            self._next_control()

    def _answer(self, urb: Urb, answer: bytes | None) -> None:
        if answer is None:
            self._finish(urb, -EPIPE)
            return
        if urb.data is None:
            answer = answer[: urb.length]
            urb.pieces.append(memoryview(answer))
            urb.moved = len(answer)
        else:
            urb.moved = len(urb.data)
        self._finish(urb, 0)

    def configure(self, value: int) -> None:
        """The host chooses a configuration; 0 is none."""
        assert self.descriptors is not None
        for endpoint in self.endpoints.values():
            self._fail(endpoint, ECONNRESET)
        before, self.configuration = self.configuration, value
        self.alternates = {}
        self.endpoints = {}
        # A generation of its own, so that what was armed before is not taken for new.
        self._generation = self._next_generation()
        if before:
            self._tell(Kind.RESET, 0, self._generation)
        if value:
            for interface in self.descriptors.interfaces:
                self.alternates[interface.fields.bInterfaceNumber] = 0
                if interface.fields.bAlternateSetting == 0:
                    for each in interface.endpoints:
                        endpoint = Endpoint(each.bEndpointAddress, each.wMaxPacketSize)
                        endpoint.generation = self._generation
                        self.endpoints[endpoint.address] = endpoint
            self._tell(Kind.OPEN, 0, self._generation, value)

    def set_halt(self, address: int, halted: bool) -> bool:
        """The host halts an endpoint, or clears that; False if there is none."""
        endpoint = self.endpoints.get(address)
        if endpoint is None:
            return False
        endpoint.generation = self._next_generation()
        self._halt(endpoint, halted)
        self._tell(Kind.HALT, address, endpoint.generation, int(halted))
        return True

    def _halt(self, endpoint: Endpoint, halted: bool) -> None:
        endpoint.halted = halted
        if halted:
            # What was in flight is lost, and the board is not told.
            endpoint.disarm()
            self._fail(endpoint, EPIPE)

    def _fail(self, endpoint: Endpoint, error: int) -> None:
        while endpoint.urbs:
            self._finish(endpoint.urbs.popleft(), -error)

    def _finish(self, urb: Urb, status: int) -> None:
        if not status and urb.strict and urb.data is None and urb.moved < urb.length:
            status = -EREMOTEIO
        if self._complete is not None and urb.seqnum:
            self._complete(urb, status)

    def _next_generation(self) -> int:
        self._newest = (self._newest + 1) & 0xFFFF
        return self._newest

    def _tell(
        self, kind: Kind, endpoint: int, generation: int, value: int = 0, payload: bytes = b""
    ) -> None:
        self.send(record(kind, endpoint, generation, value, payload))


def _descriptors(data: bytes) -> Descriptors:
    end = DEVICE_BYTES + CONFIGURATION_BYTES
    if len(data) < end:
        raise Malformed(f"{len(data)} bytes of descriptors")
    end = DEVICE_BYTES + int.from_bytes(data[DEVICE_BYTES + 2 : DEVICE_BYTES + 4], "little")
    strings: dict[int, str] = {}
    at = end
    while at + 2 <= len(data):
        index, length = data[at], data[at + 1]
        strings[index] = data[at + 2 : at + 2 + length].decode("utf-8", "replace")
        at += 2 + length
    return parse(data[:DEVICE_BYTES], data[DEVICE_BYTES:end], strings)
