"""Modules that break a clause on heartbeats and Busy (SPEC.md, 3.4)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    Capture,
    Configured,
    Header,
    Heartbeat,
    HeartbeatReply,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Item, PlainModule, Stream


class DeafInsideFrames(PlainModule):
    """Does not answer Heartbeats while a frame is under way."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        self.raise_limits(message)
        if self.readout is None and not self.data:
            self.send_control(self.heartbeat_reply(), header.frame)


class AnswersRaisedLimits(PlainModule):
    """Answers only a Heartbeat that raises a limit."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        before = list(self.limits)
        self.raise_limits(message)
        if self.limits != before:
            self.send_control(self.heartbeat_reply(), header.frame)


class AnswersOneOfMany(PlainModule):
    """Answers one of the Heartbeats that arrive together."""

    _answered = -1.0

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        if self.time == self._answered:
            self.raise_limits(message)
            return
        self._answered = self.time
        super().on_heartbeat(header, message)


class AnswersTwoAfterBusy(Defect):
    """Answers two of the Heartbeats that came while it was BUSY."""

    def __init__(self) -> None:
        self._left = -1

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.BUSY:
            self._left = 2
        elif packet.kind == MessageType.HEARTBEAT_REPLY and self._left >= 0:
            self._left = max(0, self._left - 1)
            return [data] if self._left else []
        return [data]


class _OtherCounts(PlainModule):
    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return reply

    def heartbeat_reply(self) -> HeartbeatReply:
        return self.change(super().heartbeat_reply())


class BegunIsANumber(_OtherCounts):
    """States the newest frame's number instead of the number plus 1."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        preview, still, roi = (max(0, each - 1) for each in reply.begun)
        return replace(reply, begun=(preview, still, roi))


class BegunOfBoth(_OtherCounts):
    """States the newest frame of any stream for each stream."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        newest = max(reply.begun)
        return replace(reply, begun=(newest, newest, newest))


class CountsFirstTimeOnly(PlainModule):
    """Does not count tiles that are sent again."""

    def count_tile(self, item: Item) -> None:
        if not item.flags:
            super().count_tile(item)


class CountsPerCapture(PlainModule):
    """Counts bytes from the beginning of each capture."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us)
        self.sent = [0] * MAX_STREAMS


class CountsHeaders(PlainModule):
    """Counts the headers of tiles too."""

    def count_tile(self, item: Item) -> None:
        super().count_tile(item)
        self.sent[item.stream] += 40


class CountsTwoStreams(PlainModule):
    """States counts of preview and still only."""

    def heartbeat_reply(self) -> HeartbeatReply:
        reply = super().heartbeat_reply()
        sent, begun = (*reply.sent[:2], 0), (*reply.begun[:2], 0)
        return replace(reply, sent=sent, begun=begun)


class CountsStillsOnly(Defect):
    """States no bytes of the preview in HeartbeatReply."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT_REPLY else None
        if not isinstance(message, HeartbeatReply):
            return [data]
        return [edit_message(packet, sent=(0, *message.sent[1:]))]


class BegunAtTheEnd(PlainModule):
    """Counts a frame as begun when it ends."""

    def emit(self, item: Item) -> None:
        before = list(self.begun)
        super().emit(item)
        if item.kind == MessageType.FRAME_START:
            self.begun = before
        elif item.kind == MessageType.FRAME_END:
            self.begun[item.stream] = item.number + 1


class BegunOutlivesSessions(PlainModule):
    """Does not begin `begun` anew in a new session."""

    def reset_session(self) -> None:
        before = getattr(self, "begun", [0] * MAX_STREAMS)
        super().reset_session()
        self.begun = before


class SentOutlivesSessions(PlainModule):
    """States as `sent` what it has sent in all sessions of a connection."""

    _before = (0, 0, 0)

    def reset_session(self) -> None:
        if hasattr(self, "sent"):
            one, two, three = (a + b for a, b in zip(self._before, self.sent, strict=True))
            self._before = (one, two, three)
        super().reset_session()

    def heartbeat_reply(self) -> HeartbeatReply:
        reply = super().heartbeat_reply()
        one, two, three = (a + b for a, b in zip(self._before, reply.sent, strict=True))
        return replace(reply, sent=(one, two, three))


class RoiCountsOn(PlainModule):
    """Keeps `begun` of the ROI when a Hello ends the session."""

    def end_session(self) -> None:
        before = self.begun[2] if self.session is not None else 0
        super().end_session()
        self.begun[2] = before

    def on_close(self, payload: bytes) -> None:
        super().on_close(payload)
        self.begun = [0] * MAX_STREAMS


class BegunUntilFlush(PlainModule):
    """Forgets with a Flush which frames have begun."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        self.begun = [0] * MAX_STREAMS


class BegunUntilStop(PlainModule):
    """Forgets with Stop which frames of the stream have begun."""

    def on_stop(self, number: int, message: Stop) -> None:
        super().on_stop(number, message)
        self.begun[message.stream] = 0


class CountsFromConfigure(PlainModule):
    """Counts bytes of a stream from its configuration."""

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        super().apply_plan(stream, plan)
        self.sent[plan.stream] = 0


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-LIVE-1": (DeafInsideFrames, AnswersRaisedLimits, AnswersOneOfMany),
    "M-LIVE-2": (
        BegunIsANumber,
        BegunOfBoth,
        CountsFirstTimeOnly,
        CountsPerCapture,
        CountsHeaders,
        CountsTwoStreams,
        BegunAtTheEnd,
        BegunOutlivesSessions,
        SentOutlivesSessions,
        RoiCountsOn,
        BegunUntilFlush,
        BegunUntilStop,
        CountsFromConfigure,
    ),
    "M-CREDIT-2": (AnswersOneOfMany,),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-LIVE-1": (AnswersTwoAfterBusy,),
    "M-LIVE-2": (CountsStillsOnly,),
}
"""The defects on the line of the firmware's module, by clause."""
