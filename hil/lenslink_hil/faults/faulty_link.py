"""Carry bytes and apply a :class:`.fault_plan.FaultPlan` to them, on virtual and on real time.

:func:`faulty_lines` makes lines for :class:`..virtual_time.VirtualLinks`. :class:`FaultyTransport`
wraps any transport of the driver. Both leave the damage to :class:`.fault_plan.Damage`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected
from lenslink.transports.base import Transport
from lenslink_protocol.buffers import scatter

from ..virtual_time import Line
from .fault_plan import Damage, Direction, FaultPlan, Kind, Piece, Plug

_READ_BYTES = 1 << 18


@dataclass
class FaultyLine(Line):
    """A line on virtual time with faults. :func:`faulty_lines` makes them."""

    damage: Damage = field(default_factory=lambda: Damage(()))
    plug: Plug = field(default_factory=Plug)
    lane_plug: Plug = field(default_factory=Plug)
    _last_at: float = 0.0

    def carry(self, packet: bytes, now: float) -> list[tuple[float, bytes]]:
        if self.plug.is_pulled or self.lane_plug.is_pulled:
            return []
        arrivals: list[tuple[float, bytes]] = []
        self.free_at = max(self.free_at, now)
        pieces = self.damage.feed(packet)
        if not pieces:
            self.free_at += len(packet) / self.rate
        for piece in pieces:
            self.free_at += piece.pause + len(piece.data) / (piece.rate or self.rate)
            # Pieces stay in order, also where a fault has made the line faster.
            self._last_at = max(self._last_at, self.free_at + self.latency_s + piece.latency)
            if piece.data:
                arrivals += [(self._last_at, bytes(piece.data))]
        if self.damage.end is not None:
            (self.plug if self.damage.end is Kind.UNPLUG else self.lane_plug).pull(self.free_at)
        return arrivals


def faulty_lines(
    plan: FaultPlan, rate: float, latency_s: float, lane: int = 0, plug: Plug | None = None
) -> tuple[FaultyLine, FaultyLine]:
    """Return the lines of one lane: up, then down. The lanes of one link share *plug*."""
    plug, lane_plug = plug or Plug(), Plug()
    up, down = (
        FaultyLine(
            rate, latency_s, damage=Damage(plan.select(way, lane)), plug=plug, lane_plug=lane_plug
        )
        for way in (Direction.UP, Direction.DOWN)
    )
    return up, down


class _Queue:
    """Pieces on their way, with the time when each arrives."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, bytearray]] = deque()
        self._free_at = 0.0
        self._last_at = 0.0

    def add(self, pieces: Iterable[Piece], now: float) -> None:
        self._free_at = max(self._free_at, now)
        for piece in pieces:
            self._free_at += piece.pause
            if piece.rate:
                self._free_at += len(piece.data) / piece.rate
            self._last_at = max(self._last_at, self._free_at + piece.latency)
            self._waiting.append((self._last_at, piece.data))

    def next_due(self) -> float | None:
        """Return when the first piece arrives, or None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> bytearray | None:
        """Return the first piece if it has arrived. It stays in the queue."""
        return self._waiting[0][1] if self._waiting and self._waiting[0][0] <= now else None

    def pop(self) -> None:
        self._waiting.popleft()

    def __len__(self) -> int:
        return len(self._waiting)


class FaultyTransport:
    """A transport that wraps another one and applies the faults of a plan on real time.

    At a CUT or UNPLUG, *plug* pulls the real plug: it kills the module's process, say. From then
    on this transport carries nothing and waits until the wrapped transport notices. Without a plug
    it closes the wrapped transport and raises :exc:`~lenslink.errors.Disconnected` at once.

    :meth:`send` does not wait for a stalled line. :meth:`receive_into` sends what is late; the
    driver calls it all the time.
    """

    def __init__(
        self, transport: Transport, plan: FaultPlan, *, lane: int = 0, plug: Plug | None = None
    ) -> None:
        self.inner = transport
        self.private = transport.private
        self.note = transport.note
        self.window: int | None = getattr(transport, "window", None)
        self.up = Damage(plan.select(Direction.UP, lane))
        self.down = Damage(plan.select(Direction.DOWN, lane))
        self.plug = plug
        self._arrived = _Queue()
        self._leaving = _Queue()
        self._landing = memoryview(bytearray(_READ_BYTES))
        self._gone: str | None = None

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            self._check(now)
            self._send_due(now, Deadline(max(seconds, 0.001), "a late send"))
            piece = self._arrived.due(now)
            if piece is not None:
                count = scatter(piece, buffers)
                del piece[:count]
                if not piece:
                    self._arrived.pop()
                if count:
                    return count
                continue
            if now >= end:
                return 0
            self._read(now, end)

    def send(self, data: bytes, deadline: Deadline) -> None:
        now = time.monotonic()
        self._check(now)
        self._leaving.add(self.down.feed(data), now)
        self._send_due(now, deadline)
        self._end(self.down)
        self._check(time.monotonic())

    def close(self) -> None:
        self._gone = self._gone or "the connection was closed"
        self.inner.close()

    # --- the rest -------------------------------------------------------------------------

    def _read(self, now: float, end: float) -> None:
        """Read from the wrapped transport until something else is due."""
        moments = [end, *(q.next_due() or end for q in (self._arrived, self._leaving))]
        wait = max(0.0, min(moments) - now)
        count = self.inner.receive_into([self._landing], wait)
        if count and not self._is_unplugged:
            self._arrived.add(self.up.feed(self._landing[:count]), time.monotonic())
            self._end(self.up)

    def _send_due(self, now: float, deadline: Deadline) -> None:
        while (piece := self._leaving.due(now)) is not None:
            self.inner.send(bytes(piece), deadline)
            self._leaving.pop()

    @property
    def _is_unplugged(self) -> bool:
        return self.up.end is not None or self.down.end is not None

    def _end(self, damage: Damage) -> None:
        if damage.end is not None and self.plug is not None:
            self.plug.pull(time.monotonic())

    def _check(self, now: float) -> None:
        """Raise Disconnected if the link has ended and everything before has been received."""
        if self._is_unplugged and self.plug is None and not len(self._arrived) and not self._gone:
            self._gone = "the module was unplugged"
            self.inner.close()
        if self._gone is not None:
            raise Disconnected(self._gone)
