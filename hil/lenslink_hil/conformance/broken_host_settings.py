"""Hosts that break a clause on controls and settings lists (SPEC.md, 5.2)."""

from __future__ import annotations

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId, MessageType
from lenslink_protocol.messages import StartStream

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class FrameZeroOfStreams(Defect):
    """Sets the gain of frame 0 in StartStream."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not isinstance(packet.kind == MessageType.STREAM and packet.message(), StartStream):
            return [data]
        return [edit_message(packet, settings=encode_settings([Setting(ControlId.GAIN, 0, 1000)]))]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-SET-1": (FrameZeroOfStreams,),
}
"""The defects on the line of the driver, by clause."""
