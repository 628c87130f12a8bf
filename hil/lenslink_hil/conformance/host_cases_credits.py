"""Cases for hosts: credits (SPEC.md, 5.4)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.ids import Capability, FrameState, MessageType, ResendFlag
from lenslink_protocol.messages import (
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Pending,
    Resend,
    Resent,
    Stop,
)
from lenslink_protocol.params import SILENCE_MS

from .cases import Cases, check
from .host_steps import SLACK_S, LosingModule, Preview
from .module_peer import TILE, HostResult, Item, Script
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

_SLOW_S = 1.6


def check_limits(script: Script) -> None:
    """Check that no limit is lower than one before."""
    limits = []
    for packet in script.find_packets(MessageType.HEARTBEAT):
        message = packet.message()
        assert isinstance(message, Heartbeat)
        limits.append(message.limit)
    for before, after in pairwise(limits):
        falls = any(low < high for low, high in zip(after, before, strict=True))
        check(not falls, f"limits {after} follow {before}")


@CASES.add("H-CREDIT-1")
class LimitsAfterLosses(LosingModule):
    """A tile is lost, and comes again late: no limit is lower than one before."""

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if len(self.find_packets(MessageType.RESEND)) > 2:
            super().on_resend(packet, message)

    def judge(self, result: HostResult) -> None:
        del result
        check_limits(self)


@CASES.add("H-CREDIT-1")
class Limits(Script):
    """The first limits come soon, and none is lower than one before."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        hello = self.find_packets(MessageType.HELLO)[-1].at
        beats = self.find_packets(MessageType.HEARTBEAT)
        check(beats, "the host grants nothing")
        late = beats[0].at - hello
        check(late <= SILENCE_MS / 1000, f"the first limits come {late:.1f} s after HelloReply")
        check_limits(self)

    def start_frame(self) -> None:
        self.call_later(0.5, super().start_frame)


@CASES.add("H-CREDIT-1", "H-CLOSE-1")
class OrderOfAPreview(Preview):
    """The limits of a preview do not fall, and Close comes at the end."""

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_limits(self)
        check(self.is_closed, "the host went without Close")


class _StopIsSlow(Script):
    """The frames are there, and Stop is answered after 0.35 s: no limit falls meanwhile."""

    def on_stop(self, packet: Packet, message: Stop) -> None:
        if len(self.find_packets(MessageType.STOP)) == 1:
            answer = super().on_stop
            self.call_later(0.35, lambda: answer(packet, message))

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_limits(self)


@CASES.add("H-CREDIT-1")
class StillStopIsSlow(_StopIsSlow):
    """The still is there. If the host sends Stop, the answer takes 0.35 s."""


@CASES.add("H-CREDIT-1")
class PreviewStopIsSlow(_StopIsSlow, Preview):
    """The frames of a preview are there, and the answer to Stop takes 0.35 s."""


@CASES.add("H-CREDIT-1")
class ManifestIsSlow(Script):
    """The manifest comes after 1.6 s, with a Pending before: the first limits do not wait."""

    _first = 0.0

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        if self._first:
            if packet.at > self._first + _SLOW_S:
                super().on_get_manifest(packet, message)
            return
        self._first = packet.at
        self.send_reply(packet, Pending(round(_SLOW_S * 1000)))
        self.call_later(_SLOW_S, lambda: Script.on_get_manifest(self, packet, message))

    def judge(self, result: HostResult) -> None:
        del result
        beats = self.find_packets(MessageType.HEARTBEAT)
        first = beats[0].at if beats else float("inf")
        late = first - self.find_packets(MessageType.HELLO)[-1].at
        most = SILENCE_MS / 1000 + SLACK_S
        check(late <= most, f"the first limits come {late:.1f} s after HelloReply")


@CASES.add("H-CREDIT-2")
class LossBesideArrivals(Script):
    """What was granted is lost again and again, and a tile arrives each time."""

    capabilities = 0
    limit_s = 10.0

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self._left: list[Item] = []
        self._said: list[tuple[float, int]] = []
        """When ``sent`` had which value in a HeartbeatReply."""

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        found = self.make_items()
        self.queue.append(found[0])
        self.send_waiting()
        self._left = found[1:]

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        self._check_grant(packet)
        granted = self.limits[self._stream]
        if self._left and granted >= self.sent[self._stream] + TILE:
            item = self._left.pop(0)
            self.sent[self._stream] = granted - len(item.payload)
            self.queue.append(item)
            if len(self._left) == 1:
                self.queue.append(self._left.pop())
            self.send_waiting()
        super().on_heartbeat(packet, message)
        self._said.append((self.wire.now(), self.sent[self._stream]))

    def _check_grant(self, packet: Packet) -> None:
        known = [sent for at, sent in self._said if at < packet.at - SLACK_S]
        if not self._left or not known or self.hello is None:
            return
        granted = self.limits[self._stream]
        wanted = known[-1] + self.hello.max_payload
        said = f"the limit is {granted}, 0.5 s after HeartbeatReply has said {known[-1]}"
        check(granted >= wanted, f"{said}; max_payload is {self.hello.max_payload}")


@CASES.add("H-CREDIT-2")
class CreditsOfWhatArrived(Script):
    """Half of a frame comes, then the same tiles again, then the rest.

    The host grants its max_payload beyond each part.
    """

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self._parts: list[list[Item]] = []

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        found = self.make_items()
        half, rest = found[:7], found[7:]
        again = [replace(item, flags=1) for item in half[1:]]
        assert self.hello is not None
        if not self.capabilities & self.hello.capabilities & Capability.RESEND:
            again = []
        self._parts = [half, again, rest]
        self._send_parts()

    def _send_parts(self) -> None:
        """Send the next part once all before it is sent, and its max_payload is granted beyond."""
        assert self.hello is not None
        while self._parts and not self.queue:
            wanted = self.sent[self._stream] + self.hello.max_payload
            if self.limits[self._stream] < wanted:
                return
            self.queue += self._parts.pop(0)
            self.send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        super().on_heartbeat(packet, message)
        self.send_waiting()
        self._send_parts()

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if not self._parts:
            super().on_resend(packet, message)
            return
        # Nothing is lost, and the frame has not ended: what is missing comes by itself.
        flags = message.flags & ResendFlag.START
        resent = Resent(flags, FrameState.UNDER_WAY, 0, b"")
        items = [self.make_start_item()] if flags else []
        self.queue[:0] = [*items, Item(MessageType.RESENT, resent.encode())]

    def judge(self, result: HostResult) -> None:
        check(not self._parts, "the host does not grant its max_payload beyond what arrived")
        self.check_whole_frame(result)


@CASES.add("H-CREDIT-2")
class LostCredits(Script):
    """All that was granted is lost, three times: the host grants as much again."""

    _claims = 0
    _waiting = False

    def start_frame(self) -> None:
        self._waiting = True

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        super().on_heartbeat(packet, message)
        if not self._waiting or self.hello is None:
            return
        most = self.hello.max_payload
        if self._claims < 3:
            if self.limits[self._stream] >= self.sent[self._stream] + most:
                self._claims += 1
                self.sent[self._stream] = self.limits[self._stream]
        elif self.limits[self._stream] >= self.sent[self._stream] + most:
            self._waiting = False
            super().start_frame()

    def judge(self, result: HostResult) -> None:
        check(not self._waiting, "the host does not replace credits that were lost")
        self.check_whole_frame(result)


@CASES.add("H-CREDIT-2")
class LostCreditsOfAPreview(Preview):
    """Before each frame of a preview all that was granted is lost: it is granted again."""

    _is_claimed = True

    def start_frame(self) -> None:
        self._is_running = True
        self._is_claimed = False
        self._claim()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        super().on_heartbeat(packet, message)
        if not self._is_claimed:
            self._claim()

    def _claim(self) -> None:
        if self.hello is None or not self._is_running:
            return
        granted = self.limits[self._stream]
        if granted >= self.sent[self._stream] + self.hello.max_payload:
            self._is_claimed = True
            self.sent[self._stream] = granted
            super().start_frame()

    def _serve_once(self) -> None:
        # The next frame begins once the credits of this one are claimed.
        if self._is_claimed:
            super()._serve_once()
        else:
            Script._serve_once(self)


@CASES.add("H-CREDIT-1", "H-CREDIT-2")
class SentBeyondAll(LostCredits):
    """HeartbeatReply says once that 2^64 - 1 bytes were sent: credits go on as without it."""

    _has_lied = False

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if self._has_lied:
            super().on_heartbeat(packet, message)
            return
        self._has_lied = True
        most = (1 << 64) - 1
        reply = HeartbeatReply(1, (most, most, most), (0, 0, 0), message.time_us, 1)
        self.send_reply(packet, reply)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        check_limits(self)
