"""Hosts that break a clause on several lanes (SPEC.md, 6.2)."""

from __future__ import annotations

from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import Flag, MessageType, ResendFlag
from lenslink_protocol.link import MissingParts
from lenslink_protocol.messages import FrameEnd
from lenslink_protocol.params import RESEND_RETRY_MS

from .broken_steps import DATA
from .defects import Defect, edit_message
from .packets import NO_PACKET, Packet, parse
from .peer_wire import Tamper
from .virtual_host import VirtualHost


class LaneOffByOne(Defect):
    """Takes the last packet but one of a lane for its last."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd) or message.last_sequence[1] in (0, 0xFFFFFFFF):
            return [data]
        first, second, *rest = message.last_sequence
        return [edit_message(packet, last_sequence=(first, second - 1, *rest))]


class AsksAtEveryEnd(Defect):
    """Asks for the whole frame as soon as FrameEnd arrives, whatever other lanes bring."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd):
            return [data]
        last = message.last_sequence[0]
        return [edit_message(packet, last_sequence=(last, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF))]


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


class DropsResentOfALane(VirtualHost):
    """Throws away what is sent again once a lane has ended."""

    _has_ended = False

    def end_lane(self, lane: int) -> bool:
        self._has_ended = True
        return super().end_lane(lane)

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        is_resent = packet is not None and packet.header.flags & Flag.RESENT
        if not (self._has_ended and is_resent):
            super().send(data, lane)


class ForgetsLane1(VirtualHost):
    """Counts RESEND_RETRY_MS from the frame's last packet on lane 0, whatever lane 1 brings."""

    _lane_0_time = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        if packet is not None and packet.kind in DATA and lane == 0:
            self._lane_0_time = self.now()
        super().send(data, lane)

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        find = found.request_missing

        def find_early(now: float) -> list[MissingParts]:
            parts = find(now)
            for each in found._open.values():
                is_due = now - self._lane_0_time > RESEND_RETRY_MS / 1000
                if each.frame_end is not None and is_due and not parts:
                    self._lane_0_time = now
                    places, _ = each.geometry.cover_ranges(each.find_lost(each.size))
                    parts.append(MissingParts(each.stream, each.number, ResendFlag(0), places))
            return parts

        found.request_missing = find_early  # type: ignore[method-assign]
        return found


class ComparesLanesPlainly(VirtualHost):
    """Compares the sequences of a lane as plain numbers, which do not wrap."""

    _newest = 0

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        if packet is None:
            super().send(data, lane)
            return
        if lane:
            self._newest = max(self._newest, packet.header.sequence)
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if isinstance(message, FrameEnd) and message.last_sequence[1] <= self._newest:
            last = (message.last_sequence[0], NO_PACKET, NO_PACKET, NO_PACKET)
            data = edit_message(packet, last_sequence=last)
        super().send(data, lane)


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-LANE-1": (LaneOffByOne, AsksAtEveryEnd, ForgetsLanesAfterResent),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-LANE-1": (
        ForgetsLane1,
        ComparesLanesPlainly,
    ),
    "H-LANE-2": (DropsResentOfALane,),
}
"""The hosts that break a clause by themselves."""
