"""The packets of a case as text, for ``lenslink conform --transcript``.

:class:`TranscribingWire` stands between a case and its wire. It parses what passes in both
directions with parsers of its own, so a transcript also shows what a case did not look at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lenslink_protocol.ids import MessageType
from lenslink_protocol.params import HEADER_BYTES

from .packets import Packet, Parser, describe
from .peer_wire import Wire

_MOST_LINES = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a transcript: when, in which direction, and a packet or what was no packet."""

    at: float
    is_sent: bool
    what: Packet | str

    def __str__(self) -> str:
        arrow = "kit  ->" if self.is_sent else "<- peer"
        if isinstance(self.what, str):
            return f"{self.at:9.4f}  {arrow}  {self.what}"
        head = self.what.header
        session = f"nonce {head.nonce:08x} sequence {head.sequence}"
        return f"{self.at:9.4f}  {arrow}  {describe(self.what)}  ({session})"


class TranscribingWire:
    """A wire that passes everything on to another wire, and keeps a transcript."""

    def __init__(self, wire: Wire) -> None:
        self.lanes = wire.lanes
        self._wire = wire
        self._start = wire.now()
        self._entries: list[Entry] = []
        self._dropped = 0
        self._from_peer = [Parser(lane) for lane in range(wire.lanes)]

    def lines(self) -> list[str]:
        """Return the transcript, one line for each packet; the last ones if there are many."""
        head = [f"... {self._dropped} packets before these"] if self._dropped else []
        return head + [str(entry) for entry in self._entries]

    def now(self) -> float:
        return self._wire.now()

    def send(self, data: bytes, lane: int = 0) -> None:
        # Each send has a parser of its own: a case may send half a packet.
        parser = Parser(lane)
        packets = parser.feed(data, self.now())
        size = sum(HEADER_BYTES + len(packet.payload) for packet in packets)
        for packet in packets:
            self._add(True, packet)
        if size < len(data):
            self._add(
                True, f"{len(data) - size} bytes that are no packet: {data[:HEADER_BYTES].hex(' ')}"
            )
        self._wire.send(data, lane)

    def receive(self, seconds: float) -> bytes:
        data = self._wire.receive(seconds)
        self._note(data, 0)
        return data

    def receive_lane(self, lane: int) -> bytes:
        data = self._wire.receive_lane(lane)
        self._note(data, lane)
        return data

    def end_lane(self, lane: int) -> bool:
        self._add(True, f"(lane {lane} is cut)")
        return self._wire.end_lane(lane)

    def set_attached(self, attached: bool) -> bool:
        self._add(True, f"(the module is {'attached' if attached else 'detached'})")
        return self._wire.set_attached(attached)

    def reopen(self) -> bool:
        self._add(True, "(the connection is closed and opened again)")
        self._from_peer = [Parser(lane) for lane in range(self.lanes)]
        return self._wire.reopen()

    def close(self) -> None:
        self._wire.close()

    def _note(self, data: bytes, lane: int) -> None:
        if not data:
            return
        parser = self._from_peer[lane]
        before = len(parser.damage)
        for packet in parser.feed(data, self.now()):
            self._add(False, packet)
        for damage in parser.damage[before:]:
            self._add(False, f"damage: {damage}")

    def _add(self, is_sent: bool, what: Packet | str) -> None:
        if isinstance(what, Packet) and what.kind == MessageType.TILE:
            # The pixels are not shown, and would fill the memory.
            what = replace(what, payload=b"")
        self._entries.append(Entry(self.now() - self._start, is_sent, what))
        if len(self._entries) > _MOST_LINES:
            del self._entries[0]
            self._dropped += 1
