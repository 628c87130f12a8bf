"""What broken peers are made of: a good peer, and a defect that edits the packets on its line.

``broken_modules`` and ``broken_hosts`` derive defects from :class:`Defect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Hello, Malformed
from lenslink_protocol.params import HEADER_BYTES

from .packets import Packet, Parser, parse
from .peer_wire import Tamper


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken peer: ``make`` starts one, ``name`` says in a report which it is."""

    name: str
    make: Callable[[], Any]
    case: str = ""
    """The case of another clause that shows what is broken, if the clause has none that does."""


class Defect(Tamper):
    """Gets packets one by one. A subclass overrides one of the two directions."""

    def pass_to_tester(self, packet: bytes) -> list[bytes]:
        found = parse(packet)
        return [packet] if found is None else self.on_packet_from_peer(found, packet)

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        found = parse(data)
        return [data] if found is None else self.on_packet_to_peer(found, data)

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        """Return what the case receives for a packet of the tested side."""
        del packet
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        """Return what the tested side receives for a packet of the case."""
        del packet
        return [data]


def edit_message(packet: Packet, **changes: Any) -> bytes:
    """Return the packet with other values in its message."""
    return packet.encode(payload=replace(packet.message(), **changes).encode())


def is_sound(data: bytes) -> bool:
    """Return True if *data* is whole packets whose CRCs hold, and nothing else."""
    parser = Parser()
    parser.feed(data, 0.0)
    size = sum(HEADER_BYTES + len(p.payload) for p in Parser().feed(data, 0.0))
    return not parser.damage and size == len(data)


class Heals(Defect):
    """Acts on damaged packets as if their CRCs held."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        return [packet.encode()]


class OnlyClean(Tamper):
    """Throws away good packets that arrive together with damage."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        return [data] if is_sound(data) else []


class Swallows(Tamper):
    """Believes every length, and waits for that many bytes without end."""

    def __init__(self) -> None:
        self._left = 0

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            return self.pass_to_tested(data[taken:]) if data[taken:] else []
        if len(data) >= HEADER_BYTES and parse(data) is None:
            announced = HEADER_BYTES + int.from_bytes(data[28:32], "little")
            if announced > len(data):
                self._left = announced - len(data)
                return []
        return [data]


class AnyNonce(Defect):
    """Acts on packets of every session."""

    def __init__(self) -> None:
        self._nonce: int | None = None

    def note_nonce(self, packet: Packet) -> None:
        if packet.kind == MessageType.HELLO:
            self._nonce = packet.header.nonce

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self.note_nonce(packet)
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self.note_nonce(packet)
        return [data if self._nonce is None else packet.encode(nonce=self._nonce)]


class AnyMajor(Defect):
    """Acts on packets of every version."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO:
            return [data]
        return [packet.encode(version=0x10)]


class Strict(Defect):
    """Refuses messages with appended fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        try:
            known = packet.message().FIXED.size
        except (KeyError, Malformed):
            return [data]
        size = int.from_bytes(packet.payload[:2], "little")
        return [packet.encode(payload=b"\0\0")] if size > known else [data]


class OddFields(Defect):
    """Sets a field that must be 0."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [data if packet.kind == MessageType.TILE else packet.encode(x=3)]


class OddSequence(Defect):
    """Counts by two."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        return [packet.encode(sequence=2 * packet.header.sequence)]


class Drops(Defect):
    """Never sends messages of these types."""

    kinds: tuple[int, ...] = ()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind in self.kinds else [data]


class Ignores(Defect):
    """Never receives messages of these types."""

    kinds: tuple[int, ...] = ()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind in self.kinds else [data]


def drop_types(*kinds: int) -> Drops:
    """Return a defect: the peer never sends messages of *kinds*."""
    defect = Drops()
    defect.kinds = kinds
    return defect


def ignore_types(*kinds: int) -> Ignores:
    """Return a defect: the peer never receives messages of *kinds*."""
    defect = Ignores()
    defect.kinds = kinds
    return defect


def offer_version_1(hello: Packet) -> bytes:
    """Return a Hello that offers version 1, which the module speaks."""
    message = hello.message()
    assert isinstance(message, Hello)
    return hello.encode(
        version=0x10, payload=replace(message, version_min=0x10, version_max=0x10).encode()
    )
