"""Hosts that break a clause on Hello, and what a new session begins with (SPEC.md, 3.1)."""

from __future__ import annotations

from typing import Any, ClassVar

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import MessageType, ResendFlag
from lenslink_protocol.messages import Error, Heartbeat, Hello, Resend
from lenslink_protocol.params import MAX_PAYLOAD

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class CountsNonces(Defect):
    """Takes the nonce of a session from a clock that counts seconds."""

    seconds = 1_700_000_000

    def __init__(self) -> None:
        CountsNonces.seconds += 9
        self._nonce = 0
        self._own = CountsNonces.seconds

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        return [packet.encode(nonce=self._own)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(nonce=self._nonce)]


class ManyHelloIds(Defect):
    """Repeats Hello under another id each time."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [data]
        return [packet.encode(frame=packet.header.sequence + 1)]


class BeatsBeforeHelloReply(Defect):
    """Sends a Heartbeat before Hello is answered."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [data]
        beat = Heartbeat((0, 0, 0), 0).encode()
        early = packet.encode(type=MessageType.HEARTBEAT, frame=0, payload=beat)
        return [data, early]


class HelloAgainAfterClose(Defect):
    """Goes on with the same nonce when Hello is answered with Close."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.CLOSE else [data]


class _Offers(Defect):
    changes: ClassVar[dict[str, Any]] = {}

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_hello = packet.kind == MessageType.HELLO
        return [edit_message(packet, **self.changes) if is_hello else data]


class OffersFiveLanes(_Offers):
    """Offers more lanes than MAX_LANES."""

    changes: ClassVar[dict[str, Any]] = {"lanes": 5}


class OffersTooLongTiles(_Offers):
    """Offers a max_payload of more than MAX_PAYLOAD."""

    changes: ClassVar[dict[str, Any]] = {"max_payload": 2 * MAX_PAYLOAD}


class ResendsAnyway(Defect):
    """Asks for a whole frame again at its end, whatever the session has."""

    def __init__(self) -> None:
        self._last: Packet | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_END:
            self._last = packet
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        last, self._last = self._last, None
        if last is None:
            return [data]
        ask = Resend(3, 0, b"").encode()
        extra = packet.encode(type=MessageType.RESEND, frame=last.id, payload=ask)
        return [extra, data]


class EndWithoutResend(Defect):
    """Asks for a lost FrameEnd in each session."""

    def __init__(self) -> None:
        self._tile: Packet | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in (MessageType.TILE, MessageType.FRAME_END):
            self._tile = packet if packet.kind == MessageType.TILE else None
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        tile, self._tile = self._tile, None
        if tile is None:
            return [data]
        header = {"frame": tile.id, "stream": tile.header.stream}
        ask = Resend(ResendFlag.END, 0, b"").encode()
        return [packet.encode(type=MessageType.RESEND, payload=ask, **header), data]


class StartWithoutResend(Defect):
    """Asks for a lost FrameStart in each session."""

    def __init__(self) -> None:
        self._tile: Packet | None = None
        self._has_start = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._has_start = True
        elif packet.kind == MessageType.TILE:
            self._tile = packet
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT or self._tile is None or self._has_start:
            return [data]
        ask = Resend(1, 0, b"").encode()
        number, stream = self._tile.id, self._tile.header.stream
        more = packet.encode(type=MessageType.RESEND, payload=ask, frame=number, stream=stream)
        return [data, more]


class SaysHelloOn(Defect):
    """Goes on to say Hello after it was refused."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.ERROR else [data]


class BeatsOnAfterRefusal(Defect):
    """Sends Heartbeats after its Hello was refused."""

    def __init__(self) -> None:
        self._is_refused = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.ERROR else None
        self._is_refused = self._is_refused or isinstance(message, Error)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        beat = Heartbeat((0, 0, 0), 0).encode()
        extra = packet.encode(type=MessageType.HEARTBEAT, frame=0, payload=beat)
        return [extra, data] if self._is_refused else [data]


class OneMoreHello(Defect):
    """Sends one more Hello before the Close that follows the refusal."""

    def __init__(self) -> None:
        self._is_refused = False
        self._hello = Hello(VERSION, VERSION, 1, 0, MAX_PAYLOAD).encode()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._is_refused = self._is_refused or packet.kind == MessageType.ERROR
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._is_refused or packet.kind != MessageType.CLOSE:
            return [data]
        return [packet.encode(type=MessageType.HELLO, frame=1, payload=self._hello), data]


class NonceOfFewBits(Defect):
    """Takes 16 random bits for the nonce of a session."""

    def __init__(self) -> None:
        self._nonce = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        # The tests of the distance between two nonces are another fault's.
        return [packet.encode(nonce=packet.header.nonce >> 14)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        return [packet.encode(nonce=self._nonce)]


class KeepsTheLastSequence(Defect):
    """Opens another session when Hello is answered with Close, and goes on in the sequences."""

    def __init__(self) -> None:
        self._newest = -1
        self._other = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(nonce=packet.header.nonce ^ self._other)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.header.sequence <= self._newest:
            return []
        self._newest = packet.header.sequence
        if packet.kind == MessageType.CLOSE and not self._other:
            self._other = 0x5A5A5A5A
            return []
        return [packet.encode(nonce=packet.header.nonce ^ self._other)]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-FRAME-5": (KeepsTheLastSequence,),
    "H-HELLO-1": (
        NonceOfFewBits,
        CountsNonces,
        ManyHelloIds,
        BeatsBeforeHelloReply,
        HelloAgainAfterClose,
    ),
    "H-HELLO-2": (
        OffersFiveLanes,
        OffersTooLongTiles,
        ResendsAnyway,
        StartWithoutResend,
        EndWithoutResend,
    ),
    "H-HELLO-3": (SaysHelloOn, BeatsOnAfterRefusal, OneMoreHello),
}
"""The defects on the line of the driver, by clause."""
