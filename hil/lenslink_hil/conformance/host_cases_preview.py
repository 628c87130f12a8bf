"""Cases for hosts that run a preview: StartStream, several frames, Stop (SPEC.md, 4 to 6)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.messages import Accepted, FrameEnd, Heartbeat, Resend, Stop

from .cases import Cases, check
from .host_cases_receiving import check_fields
from .host_cases_sessions import REQUESTS, check_beats, check_ids
from .module_peer import PREVIEW_TASK, HostResult, Item, Script, tile_item
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_LOST = 8


class Preview(Script):
    """Sends frames of the preview until Stop. The host takes three, and ends in order."""

    task = PREVIEW_TASK
    interval_s = 0.05
    limit_s = 12.0

    _is_running = False
    _next = 0.0

    def start_frame(self) -> None:
        self._is_running = True
        self._next = self.wire.now() + self.interval_s
        super().start_frame()

    def _serve_once(self) -> None:
        super()._serve_once()
        if self._is_running and not self.queue and self.wire.now() >= self._next:
            self.frame += 1
            self.start_frame()

    def on_stop(self, packet: Packet, message: Stop) -> None:
        self.end_frame()
        super().on_stop(packet, message)

    def end_frame(self) -> None:
        """End the frame under way, as a module does before it answers Stop."""
        self._is_running = False
        if self.queue:
            end = self.make_end_item()
            aborted = replace(FrameEnd.decode(end.payload), status=int(EndStatus.ABORTED))
            self.queue = [replace(end, payload=aborted.encode())]
            self.send_waiting()

    def judge(self, result: HostResult) -> None:
        check(
            result.ok, f"the host has no three whole frames: {result.detail or 'no reason given'}"
        )
        check(self.find_packets(MessageType.STOP, MessageType.FLUSH), "the preview is not stopped")


@CASES.add("H-REQ-3")
class StopAlone(Preview):
    """Stop is answered after 0.25 s: meanwhile nothing else is asked."""

    _waits = 0

    def on_packet(self, packet: Packet) -> None:
        other = self._waits and packet.kind in REQUESTS and packet.id != self._waits
        check(not other, f"{packet} is sent while Stop, {self._waits}, is not answered")
        super().on_packet(packet)

    def on_stop(self, packet: Packet, message: Stop) -> None:
        if self._waits:
            return
        self._waits = packet.id
        self.end_frame()

        def answer() -> None:
            self._waits = 0
            self.send_reply(packet, Accepted(message.stream, self.frame + 1))

        self.call_later(0.25, answer)


@CASES.add("H-REQ-1")
class StopUnanswered(Preview):
    """Stop is not answered at first: it is repeated under its id."""

    def on_stop(self, packet: Packet, message: Stop) -> None:
        stops = self.find_packets(MessageType.STOP)
        if len(stops) > 1:
            super().on_stop(packet, message)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_ids(self)
        stops = self.find_packets(MessageType.STOP)
        if len(stops) > 1:
            same = (stops[0].id, stops[0].payload) == (stops[1].id, stops[1].payload)
            check(same, f"{stops[0]} is repeated as {stops[1]}")


@CASES.add("H-FRAME-1")
class FieldsOfAPreview(Preview):
    """StartStream, Stop and the Heartbeats of a preview have idle fields at 0."""

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_fields(self.log)


@CASES.add("H-LIVE-1")
class BeatsOfAPreview(Preview):
    """A frame comes every 0.6 s: between them Heartbeats come."""

    capabilities = 0
    interval_s = 0.6

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        begun = self.find_packets(MessageType.STREAM, MessageType.CAPTURE)[0].at
        check_beats(self, begun, begun + 1.2)


@CASES.add("H-CREDIT-1", "H-CLOSE-1")
class OrderOfAPreview(Preview):
    """The limits of a preview do not fall, and Close comes at the end."""

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        limits = []
        for packet in self.find_packets(MessageType.HEARTBEAT):
            message = packet.message()
            assert isinstance(message, Heartbeat)
            limits.append(message.limit)
        for before, after in pairwise(limits):
            falls = after[0] < before[0] or after[1] < before[1]
            check(not falls, f"limits {after} follow {before}")
        check(self.is_closed, "the host went without Close")


@CASES.add("H-RESEND-1")
class LostInAPreview(Preview):
    """A tile of the second frame is lost: it is asked for under its stream and frame."""

    needs_resend = True

    def make_items(self) -> list[Item]:
        lost = tile_item(_LOST).place
        return [
            replace(item, is_lost=self.frame == 1 and item.place == lost)
            for item in super().make_items()
        ]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        got = (packet.header.stream, packet.id)
        known = packet.header.stream == self._stream and packet.id <= self.frame
        check(known, f"Resend names stream and frame {got}, the newest is {self.frame}")
        if packet.id == self.frame:
            super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        asked = [p for p in self.find_packets(MessageType.RESEND) if p.id == 1]
        check(asked, "what was lost of a preview is not asked for")
