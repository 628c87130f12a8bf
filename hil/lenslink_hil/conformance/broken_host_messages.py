"""Hosts that act on one kind of message which they have to ignore (SPEC.md, 2.1 and 2.3)."""

from __future__ import annotations

from typing import ClassVar

from lenslink_protocol.ids import BusyReason, MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    MAGIC,
    Busy,
    HelloReply,
    Resent,
)
from lenslink_protocol.params import HEADER_BYTES

from .defects import Defect
from .packets import MASK_32, Packet, Parser, parse
from .peer_wire import Tamper
from .virtual_host import VirtualHost


class _HealsKind(Defect):
    """Takes packets of some types though their payload CRC fails."""

    kinds: ClassVar[tuple[int, ...]] = ()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode() if packet.kind in self.kinds else data]


class HealsAccepted(_HealsKind):
    """Takes an Accepted whose payload CRC fails."""

    kinds = (MessageType.ACCEPTED,)


class HealsAcceptedOfStop(HealsAccepted):
    """Takes an Accepted whose payload CRC fails for the answer to Stop."""

    _has_stopped = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_stopped = self._has_stopped or packet.kind == MessageType.STOP
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return super().on_packet_to_peer(packet, data) if self._has_stopped else [data]


class HealsStarts(_HealsKind):
    """Takes a FrameStart whose payload CRC fails."""

    kinds = (MessageType.FRAME_START,)


class _NeverOld(Defect):
    """Takes packets of some types whatever their sequence and nonce."""

    kinds: ClassVar[tuple[int, ...]] = ()

    def __init__(self) -> None:
        self._newest: int | None = None
        self._count = 0
        self._nonce = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        is_newer = self._newest is None or 0 < (head.sequence - self._newest) & MASK_32 < 1 << 31
        is_fresh = head.nonce == self._nonce and is_newer
        if is_fresh:
            self._newest = head.sequence
        if not is_fresh and packet.kind not in self.kinds:
            return []
        self._count += 1
        return [packet.encode(nonce=self._nonce, sequence=self._count)]


class AnyAccepted(_NeverOld):
    """Takes an Accepted that is not fresh."""

    kinds = (MessageType.ACCEPTED,)


class AnyPending(_NeverOld):
    """Takes a Pending that is not fresh."""

    kinds = (MessageType.PENDING,)


class AnyBusy(_NeverOld):
    """Takes a Busy that is not fresh."""

    kinds = (MessageType.BUSY,)


class AnyEnd(_NeverOld):
    """Takes a FrameEnd that is not fresh."""

    kinds = (MessageType.FRAME_END,)


class _AnySize(Defect):
    """Reads messages of some types without a look at their size."""

    kinds: ClassVar[tuple[int, ...]] = ()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in self.kinds:
            return [data]
        known = BY_TYPE[packet.kind].FIXED.size
        payload = packet.payload.ljust(known, b"\0")
        return [packet.encode(payload=known.to_bytes(2, "little") + payload[2:])]


class AnySizeOfEnds(_AnySize):
    """Reads FrameEnd without a look at its size."""

    kinds = (MessageType.FRAME_END,)


class AnySizeOfAccepted(_AnySize):
    """Reads Accepted without a look at its size."""

    kinds = (MessageType.ACCEPTED,)


class AnySizeOfHelloReplies(_AnySize):
    """Reads HelloReply without a look at its size."""

    kinds = (MessageType.HELLO_REPLY,)


class AnySizeOfLeases(_AnySize):
    """Reads Busy and Pending without a look at their size."""

    kinds = (MessageType.BUSY, MessageType.PENDING)


class _DropsGrown(Defect):
    """Ignores messages of a type that have more fields."""

    kind: ClassVar[int] = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_grown = packet.kind == self.kind and (
            len(packet.payload) > BY_TYPE[packet.kind].FIXED.size
        )
        return [] if is_grown else [data]


class DropsGrownBusy(_DropsGrown):
    """Ignores a Busy with more fields."""

    kind = MessageType.BUSY


class DropsGrownPending(_DropsGrown):
    """Ignores a Pending with more fields."""

    kind = MessageType.PENDING


class KnownBusyOnly(Defect):
    """Ignores a Busy for a reason that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.BUSY else None
        is_new = isinstance(message, Busy) and message.reason not in set(BusyReason)
        return [] if is_new else [data]


class KnownCapabilitiesOnly(Defect):
    """Ignores a HelloReply with capabilities that it did not offer."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HELLO_REPLY else None
        return [] if isinstance(message, HelloReply) and message.capabilities > 0xFF else [data]


class AnyHelloReply(Defect):
    """Takes a HelloReply under any id."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=1) if packet.kind == MessageType.HELLO_REPLY else data]


class AnyPendingId(Defect):
    """Takes a Pending under any id for a lease of its request."""

    _asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT:
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=self._asked) if packet.kind == MessageType.PENDING else data]


class BeginsAtZero(Defect):
    """Compares the first sequence of a session with 0."""

    def __init__(self) -> None:
        self._newest = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        step = (packet.header.sequence - self._newest) & MASK_32
        if not 0 < step < 1 << 31:
            return []
        self._newest = packet.header.sequence
        return [data]


class _Lane1(VirtualHost):
    """Receives otherwise on lane 1."""

    def receive_on_lane_1(self, data: bytes) -> bytes:
        """Return what this host makes of bytes on lane 1."""
        raise NotImplementedError

    def send(self, data: bytes, lane: int = 0) -> None:
        super().send(self.receive_on_lane_1(data) if lane else data, lane)


class BeginsAtZeroOnLane1(_Lane1):
    """Compares the first sequence of lane 1 with 0."""

    def receive_on_lane_1(self, data: bytes) -> bytes:
        found = Parser().feed(data, 0.0)
        return b"" if any(each.header.sequence >= 1 << 31 for each in found) else data


class _FirstTileOfLane1(_Lane1):
    """Takes a tile of lane 1 that it has to ignore: one of the first three."""

    index = 0

    def receive_on_lane_1(self, data: bytes) -> bytes:
        size = HEADER_BYTES + int.from_bytes(data[28:32], "little")
        packet = parse(data[self.index * size :][:size]) if len(data) > 3 * size else None
        return data if packet is None else packet.encode(version=0x10) + data


class HealsOnLane1(_FirstTileOfLane1):
    """Takes tiles of lane 1 whose payload CRC fails."""


class SpentOnLane1(_FirstTileOfLane1):
    """Takes a tile of lane 1 under the sequence of a damaged one."""

    index = 1


class AnyMajorOnLane1(_FirstTileOfLane1):
    """Takes tiles of every major version on lane 1."""

    index = 2


class LosesBehindNoiseOnLane1(_Lane1):
    """Throws away what arrives on lane 1 together with bytes of no packet."""

    def receive_on_lane_1(self, data: bytes) -> bytes:
        at = data.find(b"noise")
        return data if at < 0 else data[:at]


class LastWinsOnLane1(_Lane1):
    """Lets the newest tile of lane 1 overwrite the ones before."""

    def receive_on_lane_1(self, data: bytes) -> bytes:
        found = Parser().feed(data, 0.0)
        return found[-1].encode() if len(found) > 2 else data


class AnyMajorOfTiles(Defect):
    """Takes tiles of every major version."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(version=0x10) if packet.kind == MessageType.TILE else data]


class AnyMajorBelow(Defect):
    """Takes packets of the major version 0."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(version=0x10) if packet.header.version < 0x10 else data]


class ForgetsHalfAMagic(Tamper):
    """Throws away the beginning of a magic at the end of noise."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        half = [count for count in (1, 2, 3) if data.endswith(MAGIC[:count])]
        is_noise = len(data) > HEADER_BYTES and parse(data) is None
        return [data[: -max(half)]] if half and is_noise else [data]


class SearchesLittle(Tamper):
    """Searches 10,000 bytes of noise, and not what follows."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        return [data[:10_000]] if len(data) > 10_000 and parse(data) is None else [data]


class AnyResent(_NeverOld):
    """Takes a Resent that is not fresh."""

    kinds = (MessageType.RESENT,)


class AnyBeatReply(_NeverOld):
    """Takes a HeartbeatReply that is not fresh."""

    kinds = (MessageType.HEARTBEAT_REPLY,)


class HealsBeatReplies(_HealsKind):
    """Takes a HeartbeatReply whose payload CRC fails."""

    kinds = (MessageType.HEARTBEAT_REPLY,)


class AnySizeOfBeatReplies(_AnySize):
    """Reads HeartbeatReply without a look at its size."""

    kinds = (MessageType.HEARTBEAT_REPLY,)


class AnySizeOfResents(Defect):
    """Reads Resent without a look at its size."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.RESENT:
            return [data]
        known = Resent.FIXED.size
        return [packet.encode(payload=known.to_bytes(2, "little") + packet.payload[2:])]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-FRAME-2": (
        HealsAccepted,
        HealsAcceptedOfStop,
        HealsStarts,
        HealsBeatReplies,
    ),
    "H-FRAME-3": (ForgetsHalfAMagic, SearchesLittle),
    "H-FRAME-5": (
        AnyAccepted,
        AnyPending,
        AnyBusy,
        AnyEnd,
        BeginsAtZero,
        AnyResent,
        AnyBeatReply,
    ),
    "H-FRAME-6": (AnyMajorOfTiles, AnyMajorBelow),
    "H-GROW-1": (
        AnySizeOfEnds,
        AnySizeOfAccepted,
        AnySizeOfHelloReplies,
        AnySizeOfLeases,
        DropsGrownBusy,
        DropsGrownPending,
        AnySizeOfBeatReplies,
        AnySizeOfResents,
    ),
    "H-GROW-2": (KnownBusyOnly, KnownCapabilitiesOnly),
    "H-LIVE-3": (DropsGrownBusy, KnownBusyOnly),
    "H-REQ-2": (AnyHelloReply, AnyPendingId),
    "H-REQ-4": (DropsGrownPending,),
    "H-RESEND-2": (HealsStarts,),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-CAM-2": (LastWinsOnLane1,),
    "H-FRAME-2": (HealsOnLane1,),
    "H-FRAME-3": (LosesBehindNoiseOnLane1,),
    "H-FRAME-5": (BeginsAtZeroOnLane1, SpentOnLane1),
    "H-FRAME-6": (AnyMajorOnLane1,),
}
"""The hosts that break a clause by themselves."""
