"""What defects are made of: a good peer whose line, packet by packet, is tampered with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Hello, Malformed
from lenslink_protocol.params import HEADER_BYTES

from .packets import Packet, Parser, parse
from .peer_wire import Tamper


class Defect(Tamper):
    """Packets one by one: a subclass overrides one of the two directions."""

    def to_tester(self, packet: bytes) -> list[bytes]:
        found = parse(packet)
        return [packet] if found is None else self.up(found, packet)

    def to_tested(self, data: bytes) -> list[bytes]:
        found = parse(data)
        return [data] if found is None else self.down(found, data)

    def up(self, packet: Packet, data: bytes) -> list[bytes]:
        """A packet from the tested side, and its bytes."""
        del packet
        return [data]

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        """A packet to the tested side, and its bytes."""
        del packet
        return [data]


def edited(packet: Packet, **changes: Any) -> bytes:
    """The packet with other values in its message."""
    return packet.encode(payload=replace(packet.message(), **changes).encode())


def sound(data: bytes) -> bool:
    """Whether *data* is whole packets that have their CRCs, and nothing else."""
    parser = Parser()
    parser.feed(data, 0.0)
    size = sum(HEADER_BYTES + len(p.payload) for p in Parser().feed(data, 0.0))
    return not parser.damage and size == len(data)


class Heals(Defect):
    """Takes what is damaged for what it was meant to be."""

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        return [packet.encode()]


class OnlyClean(Tamper):
    """Throws away whatever comes together with damage."""

    def to_tested(self, data: bytes) -> list[bytes]:
        return [data] if sound(data) else []


class Swallows(Tamper):
    """Believes every length, and waits for that many bytes for ever."""

    def __init__(self) -> None:
        self._left = 0

    def to_tested(self, data: bytes) -> list[bytes]:
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            return self.to_tested(data[taken:]) if data[taken:] else []
        if len(data) >= HEADER_BYTES and parse(data) is None:
            announced = HEADER_BYTES + int.from_bytes(data[28:32], "little")
            if announced > len(data):
                self._left = announced - len(data)
                return []
        return [data]


class AnyNonce(Defect):
    """Takes packets of every session."""

    def __init__(self) -> None:
        self._nonce: int | None = None

    def note(self, packet: Packet) -> None:
        if packet.kind == MessageType.HELLO:
            self._nonce = packet.header.nonce

    def up(self, packet: Packet, data: bytes) -> list[bytes]:
        self.note(packet)
        return [data]

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        self.note(packet)
        return [data if self._nonce is None else packet.encode(nonce=self._nonce)]


class AnyMajor(Defect):
    """Takes packets of every version."""

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO:
            return [data]
        return [packet.encode(version=0x10)]


class Strict(Defect):
    """Refuses messages that have grown."""

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        try:
            known = packet.message().FIXED.size
        except (KeyError, Malformed):
            return [data]
        size = int.from_bytes(packet.payload[:2], "little")
        return [packet.encode(payload=b"\0\0")] if size > known else [data]


class OddFields(Defect):
    """Leaves something in fields that should be idle."""

    def up(self, packet: Packet, data: bytes) -> list[bytes]:
        return [data if packet.kind == MessageType.TILE else packet.encode(x=3)]


class OddSequence(Defect):
    """Counts by two."""

    def up(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        return [packet.encode(sequence=2 * packet.header.sequence)]


class Drops(Defect):
    """Never sends messages of these types."""

    kinds: tuple[int, ...] = ()

    def up(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind in self.kinds else [data]


class Ignores(Defect):
    """Never sees messages of these types."""

    kinds: tuple[int, ...] = ()

    def down(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind in self.kinds else [data]


def drops(*kinds: int) -> Drops:
    """A peer that never sends messages of *kinds*."""
    defect = Drops()
    defect.kinds = kinds
    return defect


def ignores(*kinds: int) -> Ignores:
    """A peer that never sees messages of *kinds*."""
    defect = Ignores()
    defect.kinds = kinds
    return defect


def any_version(hello: Packet) -> bytes:
    """A Hello that offers what the module speaks."""
    message = hello.message()
    assert isinstance(message, Hello)
    return hello.encode(
        version=0x10, payload=replace(message, version_min=0x10, version_max=0x10).encode()
    )
