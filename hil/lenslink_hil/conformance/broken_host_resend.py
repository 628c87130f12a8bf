"""Hosts that break a clause on Resend and Resent (SPEC.md, 6.1)."""

from __future__ import annotations

import struct
from typing import Any

from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import FrameState, MessageType
from lenslink_protocol.messages import Resend, Resent

from .broken_steps import DATA
from .defects import Defect, edit_message
from .module_peer import HEIGHT, WIDTH
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import VirtualHost


class NarrowIsARow(Defect):
    """Asks for whole rows where a part of a row is missing."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if message is None:
            return [data]
        ranges = bytearray(getattr(message, "ranges", b""))
        for at in range(0, len(ranges), 8):
            ranges[at : at + 2] = b"\0\0"
            ranges[at + 4 : at + 6] = WIDTH.to_bytes(2, "little")
        return [edit_message(packet, ranges=bytes(ranges))]


class FortyRectangles(Defect):
    """Asks for more than MAX_RANGES rectangles."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        count = getattr(message, "count", 0)
        if count < 2:
            return [data]
        ranges = getattr(message, "ranges", b"") * 20
        return [edit_message(packet, count=20 * count, ranges=ranges)]


class AsksForTheStill(Defect):
    """Asks for lost tiles of the preview under the still's number."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(stream=1) if packet.kind == MessageType.RESEND else data]


class AsksForOneRowMore(Defect):
    """Asks for a row more than is missing."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or not message.count:
            return [data]
        ranges = bytearray(message.ranges)
        ranges[6] += 1
        return [edit_message(packet, ranges=bytes(ranges))]


class AsksBeyondTheFrame(Defect):
    """Asks for rectangles below the frame."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or not message.count:
            return [data]
        outside = HEIGHT.to_bytes(2, "little")
        return [edit_message(packet, ranges=message.ranges[:2] + outside + message.ranges[4:])]


class StartOnce(Defect):
    """Asks for FrameStart once, and not again."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        flags = getattr(message, "flags", 0)
        self._count += flags & 1
        if self._count < 2 or not flags & 1:
            return [data]
        return [edit_message(packet, flags=flags & 2)]


class StartOfStillsOnly(Defect):
    """Never asks for the FrameStart of a preview."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or packet.header.stream:
            return [data]
        return [edit_message(packet, flags=message.flags & 2)]


class ForgetsStart(Defect):
    """Throws FrameStart away when it is sent again."""

    def __init__(self) -> None:
        self._has_asked = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_asked = self._has_asked or packet.kind == MessageType.RESEND
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if self._has_asked and packet.kind == MessageType.FRAME_START else [data]


class DropsRest(Defect):
    """Drops a frame whose FrameStart did not come first."""

    def __init__(self) -> None:
        self._started = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._started = self._started or packet.kind == MessageType.FRAME_START
        return [] if packet.kind in DATA and not self._started else [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.RESEND else [data]


class AsksNineTimes(VirtualHost):
    """Repeats a Resend a ninth time."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        find = found.request_missing

        def find_once_more(now: float) -> Any:
            parts = find(now)
            return parts + parts if parts else parts

        found.request_missing = find_once_more  # type: ignore[method-assign]
        return found


class UnknownIsUnderWay(Defect):
    """Takes a frame that the module does not know for one that is under way."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_resent = packet.kind == MessageType.RESENT
        return [edit_message(packet, state=0) if is_resent else data]


class GoneOnlyAtTheEnd(Defect):
    """Does not remember what Resent calls gone of a frame that is under way."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if isinstance(message, Resent) and message.state == FrameState.UNDER_WAY:
            return [edit_message(packet, count=0, gone=b"")]
        return [data]


class ForgetsGone(Defect):
    """Does not read what Resent calls gone."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_resent = packet.kind == MessageType.RESENT
        return [edit_message(packet, count=0, gone=b"") if is_resent else data]


class FirstGoneOnly(Defect):
    """Takes the first rectangle of Resent for gone, and no other."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if not isinstance(message, Resent) or message.count < 2:
            return [data]
        return [edit_message(packet, count=1, state=FrameState.UNDER_WAY)]


class ExactGoneOnly(Defect):
    """Takes for gone only what it has asked for, rectangle by rectangle."""

    def __init__(self) -> None:
        self._asked: set[bytes] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if isinstance(message, Resend):
            self._asked |= {message.ranges[at : at + 8] for at in range(0, len(message.ranges), 8)}
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if not isinstance(message, Resent):
            return [data]
        each = [message.gone[at : at + 8] for at in range(0, len(message.gone), 8)]
        gone = [place for place in each if place in self._asked]
        return [edit_message(packet, count=len(gone), gone=b"".join(gone))]


class AsksBehindEndsOnly(Defect):
    """Asks for tiles only once FrameEnd has come."""

    _has_ended = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_ended = self._has_ended or packet.kind == MessageType.FRAME_END
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.RESEND and not self._has_ended else [data]


class ForgetsTilesWithoutStart(Defect):
    """Asks for a whole frame if its FrameStart is lost."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or not message.flags & 1:
            return [data]
        everything = struct.pack("<4H", 0, 0, WIDTH, HEIGHT)
        return [edit_message(packet, count=1, ranges=everything)]


class ComparesFramesPlainly(Defect):
    """Takes a frame with a smaller number than the newest one for an old one."""

    _newest = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in DATA:
            return [data]
        self._newest = max(self._newest, packet.id)
        return [data] if packet.id == self._newest else []


class ReopensFrames(VirtualHost):
    """Opens a frame anew when a packet of it comes late."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        found._discard_if_past = lambda stream, number: False  # type: ignore[method-assign]
        return found


class AsksBehindEachTile(Defect):
    """Counts its tries from 0 behind each tile, and asks again at once."""

    def __init__(self) -> None:
        self._asked: Packet | None = None
        self._tiles = 0
        self._more = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_wrong = packet.kind == MessageType.TILE and packet.header.y >= HEIGHT
        self._tiles += is_wrong
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        sequence = packet.header.sequence + self._more
        found = [packet.encode(sequence=sequence)]
        if packet.kind == MessageType.RESEND:
            self._asked = packet
        elif self._asked is not None and self._tiles:
            self._tiles = 0
            self._more += 1
            found.append(self._asked.encode(sequence=sequence + 1))
        return found


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-RESEND-1": (
        NarrowIsARow,
        FortyRectangles,
        AsksForTheStill,
        AsksForOneRowMore,
        AsksBeyondTheFrame,
        AsksBehindEndsOnly,
        ForgetsTilesWithoutStart,
    ),
    "H-RESEND-2": (
        StartOnce,
        StartOfStillsOnly,
        ForgetsStart,
        DropsRest,
        ComparesFramesPlainly,
    ),
    "H-RESEND-3": (
        UnknownIsUnderWay,
        GoneOnlyAtTheEnd,
        ForgetsGone,
        FirstGoneOnly,
        ExactGoneOnly,
        AsksBehindEachTile,
    ),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-RESEND-3": (AsksNineTimes,),
    "H-RESEND-1": (ReopensFrames,),
}
"""The hosts that break a clause by themselves."""
