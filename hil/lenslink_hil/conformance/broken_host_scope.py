"""Hosts that keep a rule at first, on lane 0 or for a plain still, and not otherwise.

Each class is a defect on the driver's line. Its docstring says what such a host does.
"""

from __future__ import annotations

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId, FrameState, MessageType
from lenslink_protocol.messages import (
    MAGIC,
    Busy,
    FrameEnd,
    Pending,
    Resend,
    Resent,
    StartStream,
    Stop,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_BUSY_MS, STALL_MS

from .broken_host_lines import HealsTiles
from .defects import Defect, edit_message, is_sound
from .module_peer import NO_PACKET, WIDTH
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import VirtualHost

_STALL_S = STALL_MS / 1000


class SkipsASequence(Defect):
    """Skips a sequence when a request is sent for the third time."""

    def __init__(self) -> None:
        self._sent: list[int] = []
        self._skipped = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        if packet.kind == MessageType.GET_MANIFEST:
            self._sent.append(packet.id)
            self._skipped += self._sent.count(packet.id) == 3
        return [packet.encode(sequence=packet.header.sequence + self._skipped)]


class HealsResent(HealsTiles):
    """Takes tiles that were sent again though their payload CRC fails."""

    def is_healed(self, packet: Packet) -> bool:
        return super().is_healed(packet) and bool(packet.header.flags & 1)


class EvenPlacesOnly(Tamper):
    """Searches a damaged payload at each fourth byte only."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        at = data.find(MAGIC, HEADER_BYTES)
        is_hidden = at > 0 and (at - HEADER_BYTES) % 4 and not is_sound(data)
        return [] if is_hidden else [data]


class ImpatientWithLane1(VirtualHost):
    """Counts STALL_MS from the first byte on lane 1."""

    _first = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        if lane:
            self._first = self._first or self.now()
            if self.now() - self._first > _STALL_S:
                return
        super().send(data, lane)


class DropsGrownBeats(Defect):
    """Ignores a HeartbeatReply with more fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_reply = packet.kind == MessageType.HEARTBEAT_REPLY
        is_grown = is_reply and packet.payload[:2] != len(packet.message().encode()).to_bytes(
            2, "little"
        )
        return [] if is_grown else [data]


class ReservedIsALease(Defect):
    """Takes the reserved byte of Busy for a part of the lease."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_longer = packet.kind == MessageType.BUSY and packet.payload[3]
        return [edit_message(packet, lease_ms=MAX_BUSY_MS) if is_longer else data]


class HelloAgainAfterClose(Defect):
    """Goes on with the same nonce when Hello is answered with Close."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.CLOSE else [data]


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


class LongBusyIsNone(Defect):
    """Ignores a Busy with a lease of more than MAX_BUSY_MS."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.BUSY else None
        is_long = isinstance(message, Busy) and message.lease_ms > MAX_BUSY_MS
        return [] if is_long else [data]


class NewIdAfterALease(Defect):
    """Repeats a request under a new id after a lease of Pending."""

    def __init__(self) -> None:
        self._pending = -1
        self._new = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending, self._new = packet.id, packet.id + 100
        if packet.id == self._new:
            return [packet.encode(frame=self._pending)]
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_again = packet.id == self._pending and packet.kind == MessageType.CONFIGURE
        return [packet.encode(frame=self._new) if is_again else data]


class ShortestLease(Defect):
    """Repeats a request when the shortest of its leases is over."""

    def __init__(self) -> None:
        self._request: Packet | None = None
        self._is_due = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.PENDING else None
        self._is_due = self._is_due or (isinstance(message, Pending) and message.lease_ms < 200)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.CONFIGURE:
            self._request = packet
        if not self._is_due or packet.kind != MessageType.HEARTBEAT or self._request is None:
            return [data]
        self._is_due = False
        return [self._request.encode(sequence=packet.header.sequence), data]


class StopsBeforeAccepted(Defect):
    """Stops a preview after its third frame, also if StartStream is not answered yet."""

    def __init__(self) -> None:
        self._frames = 0
        self._is_accepted = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._frames += packet.kind == MessageType.FRAME_END
        self._is_accepted = self._is_accepted or packet.kind == MessageType.ACCEPTED
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_early = self._frames >= 3 and not self._is_accepted
        if packet.kind != MessageType.HEARTBEAT or not is_early:
            return [data]
        self._is_accepted = True
        stop = Stop(0).encode()
        return [packet.encode(type=MessageType.STOP, payload=stop, frame=900), data]


class FirstGoneOnly(Defect):
    """Takes the first rectangle of Resent for gone, and no other."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if not isinstance(message, Resent) or message.count < 2:
            return [data]
        return [edit_message(packet, count=1, state=FrameState.UNDER_WAY)]


class FrameZeroOfStreams(Defect):
    """Sets the gain of frame 0 in StartStream."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not isinstance(packet.kind == MessageType.STREAM and packet.message(), StartStream):
            return [data]
        return [edit_message(packet, settings=encode_settings([Setting(ControlId.GAIN, 0, 1000)]))]


class IgnoresMiddles(Defect):
    """Ignores a tile that touches neither side of the frame."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        is_middle = packet.kind == MessageType.TILE and 0 < head.x < WIDTH - head.width
        return [] if is_middle else [data]


class ForgetsLanesAfterResent(Defect):
    """Does not wait for other lanes once a Resent has come."""

    _has_resent = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_resent = self._has_resent or packet.kind == MessageType.RESENT
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not self._has_resent or not isinstance(message, FrameEnd):
            return [data]
        last = (message.last_sequence[0], NO_PACKET, NO_PACKET, NO_PACKET)
        return [edit_message(packet, last_sequence=last)]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-FRAME-1": (SkipsASequence,),
    "H-FRAME-2": (HealsResent,),
    "H-FRAME-3": (EvenPlacesOnly,),
    "H-GROW-1": (DropsGrownBeats,),
    "H-GROW-2": (ReservedIsALease,),
    "H-HELLO-1": (HelloAgainAfterClose,),
    "H-HELLO-2": (StartWithoutResend,),
    "H-LIVE-2": (ReservedIsALease,),
    "H-LIVE-3": (LongBusyIsNone,),
    "H-REQ-1": (NewIdAfterALease,),
    "H-REQ-3": (StopsBeforeAccepted,),
    "H-REQ-4": (ShortestLease,),
    "H-CREDIT-2": (DropsGrownBeats,),
    "H-CAM-2": (IgnoresMiddles,),
    "H-RESEND-3": (FirstGoneOnly,),
    "H-LANE-1": (ForgetsLanesAfterResent,),
    "H-SET-1": (FrameZeroOfStreams,),
}
"""Defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-FRAME-4": (ImpatientWithLane1,),
}
"""Hosts of their own, by clause."""
