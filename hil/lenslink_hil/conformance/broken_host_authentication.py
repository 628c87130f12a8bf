"""Hosts that break a clause on Challenge and Proof (SPEC.md, 9)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import BY_TYPE, Capture

from .defects import Defect
from .module_peer import FIRMWARE, SERIAL
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import VirtualHost
from .virtual_module import KEY


class StreamsBeforeProof(Defect):
    """Starts a stream before it knows whom it speaks to."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CHALLENGE:
            return [data]
        early = Capture(1, 1).encode()
        return [packet.encode(type=MessageType.CAPTURE, payload=early), data]


class TakesErrorForProof(Defect):
    """Takes a module that refuses to prove itself for a genuine one."""

    def __init__(self) -> None:
        self._challenge = b""
        self._scheme = 0
        self._id = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CHALLENGE else None
        if message is not None:
            self._challenge = getattr(message, "challenge", b"")
            self._scheme = getattr(message, "scheme", 0)
            self._id = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ERROR or packet.id != self._id:
            return [data]
        size = BY_TYPE[MessageType.PROOF].FIXED.size
        proof = make_proof(KEY, self._challenge, packet.header.nonce, SERIAL, FIRMWARE)
        payload = size.to_bytes(2, "little") + self._scheme.to_bytes(2, "little") + proof
        return [packet.encode(type=MessageType.PROOF, payload=payload)]


class TakesAnyScheme(TakesErrorForProof):
    """Takes a proof of any scheme for a genuine one."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.PROOF:
            return [data]
        return super().on_packet_to_peer(replace(packet, header=packet.header._replace(
            type=MessageType.ERROR)), data)  # fmt: skip


class TrustsWithoutAuth(VirtualHost):
    """Takes a module without AUTH for a genuine one."""

    def refuse_without_auth(self) -> None:
        """Go on."""


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-AUTH-1": (StreamsBeforeProof,),
    "H-AUTH-2": (TakesErrorForProof, TakesAnyScheme),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-AUTH-2": (TrustsWithoutAuth,),
}
"""The hosts that break a clause by themselves."""
