"""Modules that break a clause on the module's clock (SPEC.md, 3.4 and 6)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Configured, FrameStart, Header, Heartbeat, HeartbeatReply

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Exposure, PlainModule, Stream


class _OtherTimes(PlainModule):
    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return reply

    def heartbeat_reply(self) -> HeartbeatReply:
        return self.change(super().heartbeat_reply())


class NoTimes(_OtherTimes):
    """Leaves the new fields of HeartbeatReply 0."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, host_us=0, received_us=0)


class OldTimes(PlainModule):
    """Repeats the largest time of the host, not the newest one."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        most = max(message.time_us, self.heartbeat_times[0])
        super().on_heartbeat(header, replace(message, time_us=most))


class TimesOf32Bits(_OtherTimes):
    """Repeats the low 32 bits of the host's time."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, host_us=reply.host_us & 0xFFFFFFFF)


class RepliesBeforeItReceives(_OtherTimes):
    """States a time of the reply that lies before the arrival."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, received_us=reply.uptime_us + 1)


class TimesInMilliseconds(_OtherTimes):
    """States its times in milliseconds."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        received_us = reply.received_us // 1000
        return replace(reply, received_us=received_us, uptime_us=reply.uptime_us // 1000)


class ReceivesOnce(_OtherTimes):
    """States for ever when the first Heartbeat was received."""

    _first = 0

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        self._first = self._first or reply.received_us
        return replace(reply, received_us=self._first)


class UptimeOfReceipt(Defect):
    """States the time at which a Heartbeat arrived as the time of its answer."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT_REPLY else None
        if not isinstance(message, HeartbeatReply):
            return [data]
        return [edit_message(packet, uptime_us=message.received_us)]


class _OtherStart(PlainModule):
    shift_us = 0

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, timestamp_us=start.timestamp_us + self.shift_of(start))

    def shift_of(self, start: FrameStart) -> int:
        raise NotImplementedError


class StampsTheExposure(_OtherStart):
    """States when the exposure began, not the readout."""

    def shift_of(self, start: FrameStart) -> int:
        return -start.exposure_us


class StampsTheMiddle(_OtherStart):
    """States the middle of the exposure."""

    def shift_of(self, start: FrameStart) -> int:
        return -start.exposure_us // 2


class StampsTheEnd(_OtherStart):
    """States a time at which the frame will have been sent."""

    def shift_of(self, start: FrameStart) -> int:
        del start
        return 1_000_000


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-TIME-1": (
        NoTimes,
        OldTimes,
        TimesOf32Bits,
        RepliesBeforeItReceives,
        TimesInMilliseconds,
        ReceivesOnce,
    ),
    "M-TIME-2": (StampsTheExposure, StampsTheMiddle, StampsTheEnd),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-TIME-1": (UptimeOfReceipt,),
}
"""The defects on the line of the firmware's module, by clause."""
