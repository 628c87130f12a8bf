"""Cases for hosts: several lanes (SPEC.md, 6.2)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import FrameState, MessageType
from lenslink_protocol.messages import Resend, Resent
from lenslink_protocol.params import RESEND_RETRY_MS

from .cases import Cases, check
from .host_steps import Lanes
from .module_peer import HEIGHT, ROWS, HostResult, Item, Script, tile_item
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

_LATE_S = RESEND_RETRY_MS / 1000 - 0.01


@CASES.add("H-LANE-1")
class Straggler(Lanes):
    """A tile of another lane comes after FrameEnd, which has announced it: it is not asked for."""

    def make_items(self) -> list[Item]:
        data = self.take_lane_1_tile()
        self.call_later(0.03, lambda: self.wire.send(data, 1))
        return super().make_items()

    def on_resend(self, packet: Packet, message: Resend) -> None:
        self.check_not_early(packet, message)
        super().on_resend(packet, message)


@CASES.add("H-LANE-1")
class LateLane(Lanes):
    """Two tiles of lane 1 come after FrameEnd, one behind the other: neither is asked for."""

    _second = 24

    def make_items(self) -> list[Item]:
        first = self.take_lane_1_tile()
        second = self.take_lane_1_tile(self._second)
        self.call_later(0.015, lambda: self.wire.send(first, 1))
        self.call_later(0.03, lambda: self.wire.send(second, 1))
        kept = tile_item(self._second).place
        return [item for item in super().make_items() if item.place != kept]

    def on_resend(self, packet: Packet, message: Resend) -> None:
        self.check_not_early(packet, message)
        super().on_resend(packet, message)


@CASES.add("H-LANE-1")
class SlowLane(Lanes):
    """The frame's tiles trickle on lane 1 behind FrameEnd: each of them counts as its packet."""

    _gap_s = 0.02

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        self._left: list[bytes] = []
        self._last = 0.0
        self._was_late = False
        """The kit itself let RESEND_RETRY_MS pass between two packets."""

    def make_items(self) -> list[Item]:
        self._left = [self.take_lane_1_tile(row) for row in range(0, HEIGHT, ROWS)]
        self.call_later(self._gap_s, self._send_next)
        return [self.make_start_item(), self.make_end_item()]

    def _send_next(self) -> None:
        self._note_time(self.wire.now())
        self.wire.send(self._left.pop(0), 1)
        if self._left:
            self.call_later(self._gap_s, self._send_next)

    def _note_time(self, now: float) -> None:
        self._was_late = self._was_late or now - (self._last or self._end_at) > _LATE_S
        self._last = now

    def on_resend(self, packet: Packet, message: Resend) -> None:
        self._note_time(packet.at)
        check(self._was_late, f"Resend of tiles that trickle on lane 1: {message}")
        super().on_resend(packet, message)


@CASES.add("H-LANE-1")
class StragglerBehindResent(Lanes):
    """FrameStart came by Resent before FrameEnd. What FrameEnd announces is not asked for."""

    _has_ended = False

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(found[0], is_lost=True), *found[1:-1]]

    def start_frame(self) -> None:
        super().start_frame()
        self.call_later(0.5, self._end)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if self._has_ended:
            if message.count:
                self.check_not_early(packet, message)
            super().on_resend(packet, message)
            return
        flags = message.flags & 1
        items = [self.make_start_item()] if flags else []
        resent = Resent(flags, FrameState.UNDER_WAY, 0, b"")
        self.queue += [*items, Item(MessageType.RESENT, resent.encode())]
        if flags:
            # Soon, so that the host does not ask because the frame is quiet.
            self.call_later(0.02, self._end)

    def _end(self) -> None:
        if self._has_ended:
            return
        data = self.take_lane_1_tile()
        self._has_ended = True
        self.queue.append(self.make_end_item())
        self.send_waiting()
        self.call_later(0.03, lambda: self.wire.send(data, 1))


@CASES.add("H-LANE-2")
class LaneEnds(Lanes):
    """Lane 1 ends with a tile that FrameEnd has announced: it is asked for, and comes by lane 0."""

    def make_items(self) -> list[Item]:
        # Half of the tile is there when the lane ends.
        self.wire.send(self.take_lane_1_tile()[:300], 1)
        self.call_later(0.03, lambda: self.wire.end_lane(1))
        return super().make_items()

    def judge(self, result: HostResult) -> None:
        check(
            self.find_packets(MessageType.RESEND), "what was on a lane that ended is not asked for"
        )
        self.check_whole_frame(result)


@CASES.add("H-LANE-2")
class IdleLaneEnds(Lanes):
    """Lane 1 ends before the frame begins: the frame comes by lane 0."""

    def on_capture(self, packet: Packet) -> None:
        self.send_accepted(packet)
        self.wire.end_lane(1)
        self.call_later(0.1, self.start_frame)

    def make_items(self) -> list[Item]:
        return Script.make_items(self)

    def _finish_payload(self, item: Item) -> bytes:
        return Script._finish_payload(self, item)


@CASES.add("H-LANE-1")
class StragglerBehindTheWrap(Straggler):
    """The sequences of lane 1 wrap at 2^32 before its last tile, which comes after FrameEnd."""

    _other = 4

    def make_items(self) -> list[Item]:
        self.lane_1_sequence = 0xFFFFFFFF
        self.wire.send(self.take_lane_1_tile(self._other), 1)
        self.lane_1_sequence = 0
        kept = tile_item(self._other).place
        return [item for item in super().make_items() if item.place != kept]
