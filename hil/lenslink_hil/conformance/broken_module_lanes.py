"""Modules that break a clause on several lanes (SPEC.md, 6.2)."""

from __future__ import annotations

from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.messages import Configure
from lenslink_protocol.packings import Layout

from .packets import MASK_32
from .plain_module import HEIGHT, WIDTH, Item, PlainModule


class ControlOnOtherLanes(PlainModule):
    """Sends FrameEnd on whichever lane is free."""

    def lane_of(self, item: Item) -> int:
        if item.kind == MessageType.FRAME_END and self.used_lanes > 1:
            return 1
        return super().lane_of(item)


class UsesAllLanes(PlainModule):
    """Uses each lane of the bench, whatever the session has."""

    def lane_of(self, item: Item) -> int:
        return next(self.turn) % self.lanes if item.kind == MessageType.TILE else 0


class OneLastSequence(PlainModule):
    """States the last sequence of lane 0 for every lane."""

    def last_sequences(self) -> list[int]:
        return super().last_sequences()[:1] * 4


class LanesOfZero(PlainModule):
    """States 0 for lanes that the session does not have."""

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [*found[: self.used_lanes], *[0] * (4 - self.used_lanes)]


class LanesOfThisFrame(PlainModule):
    """States in FrameEnd only lanes that a tile of the frame went by. Has tiles of whole frames."""

    _used: set[int] = set()  # noqa: RUF012

    def chosen_tile_bytes(self, message: Configure, form: Layout) -> int:
        whole = form.count_bytes(WIDTH) * HEIGHT
        is_whole = message.tile_bytes >= whole
        return whole if is_whole else super().chosen_tile_bytes(message, form)

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.FRAME_START:
            self._used = {0}
        super().emit(item)

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.TILE:
            self._used = self._used | {lane}
        return super().encode(item, lane)

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [each if lane in self._used else MASK_32 for lane, each in enumerate(found)]


class KeepsDeadLane(PlainModule):
    """Goes on to send on a lane that has ended."""

    def lane_of(self, item: Item) -> int:
        return next(self.turn) % self.used_lanes if item.kind == MessageType.TILE else 0


class LaneEndsFrame(PlainModule):
    """Aborts the frame under way when a lane ends."""

    def end_lane(self, lane: int) -> bool:
        super().end_lane(lane)
        if self.readout is not None:
            self.end_frame(self.readout, EndStatus.ABORTED)
        return True


class LaneEndsSession(PlainModule):
    """Ends the session when a lane ends."""

    def end_lane(self, lane: int) -> bool:
        super().end_lane(lane)
        self.end_session()
        return True


class DeadLaneInTurn(PlainModule):
    """Goes on to give every second tile to a lane that has ended."""

    def lane_of(self, item: Item) -> int:
        if item.kind != MessageType.TILE:
            return 0
        return next(self.turn) % self.used_lanes


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-LANE-1": (ControlOnOtherLanes, UsesAllLanes, OneLastSequence, LanesOfZero, LanesOfThisFrame),
    "M-LANE-2": (KeepsDeadLane, LaneEndsFrame, LaneEndsSession, DeadLaneInTurn),
}
"""The plain modules that break a clause."""
