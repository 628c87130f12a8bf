"""Modules that fail at the edges of frames: long exposures, Stop, Resend, limits, lanes."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ConfigureFlag, EndStatus, ErrorCode, MessageType
from lenslink_protocol.messages import (
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Flushed,
    FrameEnd,
    FrameStart,
    Header,
    Heartbeat,
    Malformed,
    Resend,
    SetSettings,
    StartStream,
)
from lenslink_protocol.params import MAX_RANGES, MAX_STREAMS

from .broken_steps import STILL
from .host_peer import PREVIEW, ROI
from .plain_module import (
    Exposure,
    Frame,
    Item,
    PlainModule,
    Rectangle,
    Refused,
    State,
    Stream,
    do_meet,
)

_EVERYTHING = (0, 0, 0xFFFF, 0xFFFF)


class ConfiguresCaptures(PlainModule):
    """Takes a Configure of a stream that a Capture has started."""

    def check_configurable(self, stream: Stream) -> None:
        if stream.remaining < 0:
            super().check_configurable(stream)


class ValuesBeforeState(PlainModule):
    """Refuses a value that it does not have before it looks at the stream's state."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        self.check_controls(self.read_list(message.settings, max(count, 0)))
        super().on_start(number, message, count, interval_us)

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        self.check_controls(self.read_list(message.settings, 0))
        super().on_set_settings(number, message)


class StateBeforeList(PlainModule):
    """Reads a settings list only in a state that allows the request."""

    _is_malformed = False

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        try:
            return super().read_list(data, frames)
        except Malformed:
            self._is_malformed = True
            return []

    def check_startable(self, stream: Stream) -> None:
        is_malformed, self._is_malformed = self._is_malformed, False
        super().check_startable(stream)
        if is_malformed:
            raise Malformed("a settings list")


class BudgetBeforeState(PlainModule):
    """Compares the budget before it looks at the stream's state."""

    def check_startable(self, stream: Stream) -> None:
        if stream.plan is None and self.budget_mw < self.idle_need_mw() + 1:
            raise Refused(ErrorCode.POWER)
        super().check_startable(stream)


class CropBeforeState(PlainModule):
    """Looks at the crop of Configure before the stream's state."""

    def on_configure(self, number: int, message: Configure) -> None:
        self.check_crop(self.complete_crop(message))
        super().on_configure(number, message)


class _TrialsSet(PlainModule):
    """Sets a part of the configuration with TEST_ONLY. A subclass says which."""

    def merge(self, old: Configured, tried: Configured) -> Configured:
        raise NotImplementedError

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        stream = self.streams[message.stream]
        if message.flags & ConfigureFlag.TEST_ONLY and stream.plan is not None:
            tried = self.plan_of(self.complete_crop(message))
            stream.plan = self.merge(stream.plan, replace(tried, flags=0))


class TrialsSetFormats(_TrialsSet):
    """Applies the pixel format of a trial."""

    def merge(self, old: Configured, tried: Configured) -> Configured:
        return tried if tried.pixel_format != old.pixel_format else old


class TrialsSetModes(_TrialsSet):
    """Applies the mode of a trial."""

    def merge(self, old: Configured, tried: Configured) -> Configured:
        return replace(old, mode=tried.mode)


class StopLeavesACount(PlainModule):
    """Adds to a Capture what Stop has left of the one before."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        stream = self.stream_at(message.stream)
        left = max(0, stream.unexposed)
        super().on_start(number, message, count, interval_us)
        if count > 0:
            stream.unexposed += left
            stream.remaining += left


class ExposesOn(PlainModule):
    """Does not end an exposure at Stop and Flush: its frame comes."""

    def stop(self, index: int) -> None:
        exposure = self.exposure
        super().stop(index)
        self.exposure = exposure


class AbortsExposures(PlainModule):
    """Sends FrameStart and FrameEnd of a frame whose exposure Stop ends."""

    def stop(self, index: int) -> None:
        exposure = self.exposure
        if exposure is not None and exposure.stream == index and self.readout is None:
            self.exposure = None
            self.readout = self.new_frame(exposure)
        super().stop(index)


class StopEndsAllExposures(PlainModule):
    """Ends the exposure of whichever stream at a Stop."""

    def stop(self, index: int) -> None:
        super().stop(index)
        if self.exposure is not None:
            self.streams[self.exposure.stream].state = State.CONFIGURED
            self.exposure = None


class ResendHoldsStop(PlainModule):
    """Answers Stop and Flush behind the tiles that a Resend asked for."""

    def is_dropped_by_stop(self, item: Item, index: int) -> bool:
        return super().is_dropped_by_stop(item, index) and not item.flags


class AbortedComesOk(PlainModule):
    """Says OK in each FrameEnd that it sends again."""

    def on_resend(self, header: Header, message: Resend) -> None:
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is not None:
            frame.end = replace(FrameEnd.decode(frame.end), status=EndStatus.OK).encode()
        super().on_resend(header, message)


class UnsentIsGone(PlainModule):
    """Calls gone what it has not read yet."""

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        lost = [each for each in frame.rectangles if each not in frame.held]
        return [each for each in lost if any(do_meet(each, one) for one in rectangles)][:MAX_RANGES]


class SendsAllAgain(PlainModule):
    """Sends all tiles that it holds of a frame, whatever is asked for."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        return super().tiles_again(frame, [_EVERYTHING] if rectangles else [])


class SendsNeighboursAgain(PlainModule):
    """Sends the tiles that only touch a rectangle."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        wider = [(max(0, x - 1), max(0, y - 1), w + 2, h + 2) for x, y, w, h in rectangles]
        return super().tiles_again(frame, wider)


class AllIsGone(PlainModule):
    """Names every tile of the frame that is gone, whatever is asked for."""

    tiles_kept = 20

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        return super().gone_of(frame, [_EVERYTHING] if rectangles else [])


class NamesWhatWasAsked(PlainModule):
    """Names as gone the rectangle that was asked for, not the tile's."""

    tiles_kept = 20

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        return list(dict.fromkeys(rectangles)) if super().gone_of(frame, rectangles) else []


class ReadsMoreRectangles(PlainModule):
    """Takes all rectangles in the payload of a Resend, not `count` of them."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(replace(message, count=len(message.ranges) // 8))


class ResendsInTheMode(PlainModule):
    """Takes the rectangles of a Resend for places in the mode, not in the crop."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        left, top = frame.plan.x, frame.plan.y
        moved = [(max(0, x - left), max(0, y - top), w, h) for x, y, w, h in rectangles]
        return super().tiles_again(frame, moved)


class IgnoresOtherStreams(PlainModule):
    """Does not answer a Resend of a stream from MAX_STREAMS."""

    def on_resend(self, header: Header, message: Resend) -> None:
        if header.stream < MAX_STREAMS:
            super().on_resend(header, message)


class LaterFramesLackATile(PlainModule):
    """Leaves out the last tile of each frame of a request but the first."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        rectangles = super().rectangles_to_read(plan)
        return rectangles[:-1] if self.streams[plan.stream].begun > 1 else rectangles


class RoiNamesTheNewest(PlainModule):
    """Names the newest request in FrameStart of the ROI."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        assert self.session is not None
        is_roi = plan.stream == ROI
        return replace(start, request=self.session.last_request) if is_roi else start


class _OtherEnds(PlainModule):
    """Sends other FrameEnds. A subclass says what they state."""

    def change(self, end: FrameEnd, item: Item) -> FrameEnd:
        raise NotImplementedError

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.FRAME_END:
            item = replace(item, payload=self.change(FrameEnd.decode(item.payload), item).encode())
        return super().encode(item, lane)


class PreviewCountsOn(_OtherEnds):
    """Counts in FrameEnd of the preview the tiles of all its frames."""

    _total = 0

    def change(self, end: FrameEnd, item: Item) -> FrameEnd:
        if item.stream != PREVIEW:
            return end
        self._total += end.tiles
        return replace(end, tiles=self._total)


class EndsCountLane0(_OtherEnds):
    """Counts in FrameEnd a lane's share of the tiles."""

    def change(self, end: FrameEnd, item: Item) -> FrameEnd:
        return replace(end, tiles=end.tiles // self.used_lanes)


class EndsStateOneLane(_OtherEnds):
    """States one lane in each FrameEnd."""

    def change(self, end: FrameEnd, item: Item) -> FrameEnd:
        return replace(end, lanes=1)


class FlushedStatesOneLane(PlainModule):
    """States one lane in Flushed."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.FLUSHED:
            flushed: AnyMessage = replace(Flushed.decode(item.payload), lanes=1)
            item = replace(item, payload=flushed.encode())
        return super().encode(item, lane)


class ResentOnLane1(PlainModule):
    """Sends Resent on lane 1."""

    def lane_of(self, item: Item) -> int:
        is_resent = item.kind == MessageType.RESENT
        return self.used_lanes - 1 if is_resent else super().lane_of(item)


class LanesStay(PlainModule):
    """Uses all lanes of an earlier session in one with fewer."""

    _most = 1

    def lane_of(self, item: Item) -> int:
        self._most = max(self._most, self.used_lanes)
        used, self.used_lanes = self.used_lanes, self._most
        lane = super().lane_of(item)
        self.used_lanes = used
        return lane


class SignedLimits(PlainModule):
    """Takes a limit from 2^63 on for a negative number."""

    def raise_limits(self, message: Heartbeat) -> None:
        one, two, three = (each if each < 1 << 63 else 0 for each in message.limit)
        super().raise_limits(replace(message, limit=(one, two, three)))


class LimitsFall(PlainModule):
    """Lowers the limits of preview and ROI with each Heartbeat."""

    def raise_limits(self, message: Heartbeat) -> None:
        super().raise_limits(message)
        for stream in (PREVIEW, ROI):
            self.limits[stream] = message.limit[stream]


class FreeResends(PlainModule):
    """Sends tiles of preview and ROI again without credit."""

    def has_credit(self, item: Item) -> bool:
        return bool(item.flags and item.stream != STILL) or super().has_credit(item)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-STATE-1": (
        ConfiguresCaptures,
        ValuesBeforeState,
        StateBeforeList,
        BudgetBeforeState,
        CropBeforeState,
    ),
    "M-STATE-2": (TrialsSetFormats, TrialsSetModes),
    "M-STOP-1": (ExposesOn, AbortsExposures, StopEndsAllExposures, ResendHoldsStop),
    "M-STOP-2": (ExposesOn,),
    "M-CREDIT-1": (SignedLimits, LimitsFall, FreeResends),
    "M-CREDIT-2": (ResendHoldsStop,),
    "M-CAM-2": (RoiNamesTheNewest,),
    "M-CAM-3": (LaterFramesLackATile,),
    "M-CAM-4": (PreviewCountsOn, EndsCountLane0, EndsStateOneLane),
    "M-CAM-5": (StopLeavesACount,),
    "M-RESEND-1": (
        UnsentIsGone,
        SendsAllAgain,
        SendsNeighboursAgain,
        AllIsGone,
        NamesWhatWasAsked,
        ReadsMoreRectangles,
        ResendsInTheMode,
    ),
    "M-RESEND-3": (AbortedComesOk,),
    "M-RESEND-4": (IgnoresOtherStreams,),
    "M-LANE-1": (FlushedStatesOneLane, ResentOnLane1, LanesStay),
}
"""The plain modules that break a clause."""
