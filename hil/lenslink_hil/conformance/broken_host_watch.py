"""Hosts that break a clause only in the situation that a case of another clause makes.

Each stands in :data:`IN_CASES` with the case in which :mod:`.host_watch` finds it.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId, MessageType, PixelFormat
from lenslink_protocol.messages import Configure, Heartbeat, Resend
from lenslink_protocol.params import EVERY_FRAME

from .defects import Defect, edit_message
from .module_peer import HEIGHT, WIDTH
from .packets import Packet
from .peer_wire import Tamper

_STARTED = (MessageType.CAPTURE, MessageType.STREAM)


class _Behind(Defect):
    """Behaves well until packets of a kind arrive. A subclass says what it does then."""

    kind = 0

    def __init__(self) -> None:
        self.count = 0
        """Packets of the kind that have arrived."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self.count += packet.kind == self.kind
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return self.spoil(packet, data) if self.count else [data]

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        """Return what the case receives for a packet."""
        raise NotImplementedError


class SkipsASequenceBehindErrors(_Behind):
    """Skips a sequence when a request is refused."""

    kind = MessageType.ERROR

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(sequence=packet.header.sequence + 1)]


class NumbersItsLastClose(_Behind):
    """Names the id of the refused request in Close."""

    kind = MessageType.ERROR

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=7) if packet.kind == MessageType.CLOSE else data]


class BeatsBehindADamagedReply(Defect):
    """Takes the second Hello for the moment to send a first Heartbeat."""

    _count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [packet.encode(sequence=packet.header.sequence + self._count // 2)]
        self._count += 1
        if self._count != 2:
            return [data]
        beat = Heartbeat((0, 0, 0), 1).encode()
        sequence = packet.header.sequence + 1
        changes = {"frame": 0, "sequence": sequence, "payload": beat}
        return [data, packet.encode(type=MessageType.HEARTBEAT, **changes)]


class ResendsInAPreview(Defect):
    """Asks for the end of each frame of a preview, whatever the session has."""

    def __init__(self) -> None:
        self._asks_for: int | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._asks_for = packet.id
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if self._asks_for is None or packet.kind != MessageType.HEARTBEAT:
            return [data]
        number, self._asks_for = self._asks_for, None
        payload = Resend(2, 0, b"").encode()
        return [data, packet.encode(type=MessageType.RESEND, frame=number, payload=payload)]


class LeavesIncompleteFrames(_Behind):
    """Ends without Close when a part of its frame is gone."""

    kind = MessageType.RESENT

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.CLOSE else [data]


class NoBeatsWhenBusy(_Behind):
    """Sends no Heartbeat once the module has been BUSY, until its next request."""

    kind = MessageType.BUSY

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in _STARTED:
            self.count = 0
        return [] if packet.kind == MessageType.HEARTBEAT else [data]


class TimeStopsWhenBusy(_Behind):
    """States the time at which a lease of BUSY began, as long as it lasts."""

    kind = MessageType.BUSY
    _time_us = 0

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message()
        if not isinstance(message, Heartbeat):
            return [data]
        self._time_us = self._time_us or message.time_us
        return [edit_message(packet, time_us=self._time_us)]


class TakesBackWhenBusy(_Behind):
    """Grants less once the module has been BUSY."""

    kind = MessageType.BUSY

    def spoil(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message()
        if not isinstance(message, Heartbeat):
            return [data]
        preview, still, roi = message.limit
        return [edit_message(packet, limit=(preview, still // 2, roi))]


class NewIdForStop(Defect):
    """Repeats Stop under a new id."""

    _count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.STOP
        again = packet.kind == MessageType.STOP and self._count > 1
        return [packet.encode(frame=packet.id - 1) if again else data]


class OtherManifestOffset(Defect):
    """Repeats GetManifest with another offset."""

    _count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.GET_MANIFEST
        again = packet.kind == MessageType.GET_MANIFEST and self._count > 1
        return [edit_message(packet, offset=1) if again else data]


class NoLeaseOfTheManifest(Defect):
    """Ignores a Pending for GetManifest."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.PENDING else [data]


class _SetsInAPreview(Defect):
    """Sends a settings list in StartStream."""

    settings: ClassVar[tuple[Setting, ...]] = ()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.STREAM:
            return [data]
        return [edit_message(packet, settings=encode_settings(self.settings))]


class GainOfAPreview(_SetsInAPreview):
    """Sets the gain of a preview, whether the module has one or not."""

    settings = (Setting(ControlId.GAIN, EVERY_FRAME, 1000),)


class FirstFrameOfAPreview(_SetsInAPreview):
    """Sets a control of the first frame of a preview."""

    settings = (Setting(ControlId.EXPOSURE, 0, 1000),)


class AsksForAllInTheEnd(Defect):
    """Asks for the whole frame when four Resends were of no use."""

    _count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.RESEND
        if packet.kind != MessageType.RESEND or self._count < 6:
            return [data]
        return [edit_message(packet, count=1, ranges=struct.pack("<4H", 0, 0, WIDTH, HEIGHT))]


class AsksBesideTheFrame(AsksForAllInTheEnd):
    """Asks for a row too many when four Resends were of no use."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.RESEND
        if packet.kind != MessageType.RESEND or self._count < 6:
            return [data]
        return [edit_message(packet, count=1, ranges=struct.pack("<4H", 0, HEIGHT - 1, WIDTH, 2))]


class AsksInALoop(Defect):
    """Sends each Resend ten times."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [data] * 10 if packet.kind == MessageType.RESEND else [data]


class OwnFormatOfAPreview(Defect):
    """Names the format that it likes best for a preview."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURE else None
        if not isinstance(message, Configure) or message.stream:
            return [data]
        return [edit_message(packet, pixel_format=PixelFormat.RG12)]


IN_CASES: dict[str, tuple[tuple[type[Tamper], str], ...]] = {
    "H-FRAME-1": (
        (SkipsASequenceBehindErrors, "ClosesAfterRefusal"),
        (NumbersItsLastClose, "ClosesUnconfigured"),
    ),
    "H-HELLO-1": ((BeatsBehindADamagedReply, "DamagedAnswer"),),
    "H-HELLO-2": ((ResendsInAPreview, "BeatsOfAPreview"),),
    "H-CLOSE-1": ((LeavesIncompleteFrames, "GoneTile"),),
    "H-LIVE-1": ((NoBeatsWhenBusy, "BusyInARequest"),),
    "H-TIME-1": ((TimeStopsWhenBusy, "BusyInARequest"),),
    "H-REQ-1": (
        (NewIdForStop, "WrongRepliesInAPreview"),
        (OtherManifestOffset, "SequencesOfRepetitions"),
    ),
    "H-REQ-4": ((NoLeaseOfTheManifest, "ManifestIsSlow"),),
    "H-SET-1": ((FirstFrameOfAPreview, "PreviewStopIsSlow"),),
    "H-SET-2": ((GainOfAPreview, "PreviewStopIsSlow"),),
    "H-CREDIT-1": ((TakesBackWhenBusy, "BusyLease"),),
    "H-RESEND-1": ((AsksForAllInTheEnd, "CountedTries"), (AsksBesideTheFrame, "CountedTries")),
    "H-RESEND-3": ((AsksInALoop, "LimitsAfterLosses"),),
    "H-PACK-2": ((OwnFormatOfAPreview, "PreviewStopIsSlow"),),
}
"""The defects on the line of the driver, and a case of another clause that shows each of them."""
