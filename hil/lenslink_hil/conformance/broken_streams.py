"""Modules that get a stream's states, Stop, Flush or credits wrong (SPEC.md, section 5).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import (
    ConfigureFlag,
    EndStatus,
    ErrorCode,
    MessageType,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Error,
    FrameEnd,
    Header,
    Heartbeat,
    Query,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS

from .plain_module import (
    MODE,
    Frame,
    Item,
    PlainModule,
    Refused,
    State,
    Stream,
)


class StaysStreaming(PlainModule):
    """Stays STREAMING after the last frame of a Capture."""

    def state_after_capture(self) -> State:
        return State.STREAMING

    def begin_frame(self) -> None:
        if any(each.remaining for each in self.streams):
            super().begin_frame()


class UnconfiguresAfterCapture(PlainModule):
    """Goes back to UNCONFIGURED after a Capture."""

    def state_after_capture(self) -> State:
        return State.UNCONFIGURED


class UnconfiguresOnStop(PlainModule):
    """Goes back to UNCONFIGURED at Stop."""

    def stop(self, index: int) -> None:
        super().stop(index)
        self.streams[index].state = State.UNCONFIGURED


class StopsBoth(PlainModule):
    """Stops both streams at a Stop of one."""

    def on_stop(self, number: int, message: Stop) -> None:
        self.stream_at(message.stream)
        for index in range(MAX_STREAMS):
            self.stop(index)
        self.answer_in_order(number, Accepted(message.stream, self.next_frame))


class OneStreamAtATime(PlainModule):
    """Refuses to configure a stream while the other one runs."""

    def check_configurable(self, stream: Stream) -> None:
        if any(each.state is State.STREAMING for each in self.streams):
            raise Refused(ErrorCode.STATE)


class StartsUnconfigured(PlainModule):
    """Starts a stream that is not configured, in its first mode."""

    def check_startable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            index = self.streams.index(stream)
            stream.plan = self.plan_of(Configure(index, 0, MODE, 0, 0))
            return
        super().check_startable(stream)


class ReconfiguresRunning(PlainModule):
    """Configures a stream that runs."""

    def check_configurable(self, stream: Stream) -> None:
        del stream


class StartsTwice(PlainModule):
    """Accepts StartStream of a stream that runs."""

    def check_startable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            raise Refused(ErrorCode.STATE)


class TrialApplies(PlainModule):
    """Applies what is only to be tried, to a stream that is configured."""

    def on_configure(self, number: int, message: Configure) -> None:
        stream = self.stream_at(message.stream)
        if message.flags & ConfigureFlag.TEST_ONLY and stream.state is State.CONFIGURED:
            stream.plan = self.plan_of(self.complete_crop(message))
        super().on_configure(number, message)


class TrialWithoutFlag(PlainModule):
    """Answers a trial without TEST_ONLY."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, flags=plan.flags & ConfigureFlag.ADJUSTED)


class TrialUnconfigures(PlainModule):
    """Forgets the configuration at a trial."""

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        if message.flags & ConfigureFlag.TEST_ONLY:
            self.stream_at(message.stream).state = State.UNCONFIGURED


class ShorterTiles(PlainModule):
    """Makes tiles of half the length that was asked for, and does not say so."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, tile_bytes=max(2, plan.tile_bytes // 2))


class OtherFormatUnsaid(PlainModule):
    """Applies another format than was asked for, and does not say so."""

    def plan_of(self, message: Configure) -> Configured:
        known = message.pixel_format in [each.code for each in self.formats()]
        return super().plan_of(message if known else replace(message, pixel_format=0))


class LongTilesUnsaid(PlainModule):
    """Does not say ADJUSTED where tiles are longer than was asked for."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        if 0 < message.tile_bytes < plan.tile_bytes:
            return replace(plan, flags=plan.flags & ConfigureFlag.TEST_ONLY)
        return plan


class AnyStream(PlainModule):
    """Takes the last bit of a stream's number."""

    def stream_at(self, index: int) -> Stream:
        return self.streams[index % MAX_STREAMS]

    def stop(self, index: int) -> None:
        super().stop(index % MAX_STREAMS)


class CapturesNothing(PlainModule):
    """Accepts a Capture of no frames."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.count == 0:
            self.answer(number, Accepted(message.stream, self.next_frame))
            return
        super().execute(number, message)


class UnsupportedIsState(PlainModule):
    """Refuses what it does not have with STATE."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.UNSUPPORTED:
            message = replace(message, code=ErrorCode.STATE)
        super().answer(number, message)


class StopsAnything(PlainModule):
    """Accepts Stop of a stream that does not exist."""

    def on_stop(self, number: int, message: Stop) -> None:
        if message.stream >= MAX_STREAMS:
            self.answer(number, Accepted(message.stream, self.next_frame))
            return
        super().on_stop(number, message)


class TileAfterStop(PlainModule):
    """Sends a tile right after the answer to Stop."""

    def send_data(self) -> None:
        before = list(self.data)
        super().send_data()
        gone = [each for each in before if each not in self.data]
        if any(each.kind == MessageType.ACCEPTED for each in gone) and self.frames:
            frame = self.frames[-1]
            rectangle = frame.rectangles[0]
            payload = self.pack_tile(frame, rectangle)
            item = Item(MessageType.TILE, payload, frame.number, frame.stream, 0, rectangle)
            self.emit(item)


class AbortedIsOk(PlainModule):
    """Says OK of a frame that Stop has cut."""

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        del status
        super().end_frame(frame, EndStatus.OK)

    def stop(self, index: int) -> None:
        super().stop(index)
        for each in self.data:
            if each.kind == MessageType.FRAME_END:
                each.payload = replace(FrameEnd.decode(each.payload), status=0).encode()


class NoEndAfterStop(PlainModule):
    """Sends no FrameEnd of a frame that Stop has cut."""

    def stop(self, index: int) -> None:
        super().stop(index)
        kinds = (MessageType.FRAME_END,)
        self.data = [each for each in self.data if each.kind not in kinds or each.stream != index]


class AnswersStopAtOnce(PlainModule):
    """Answers Stop before the end of the frame."""

    def answer_in_order(self, number: int, message: AnyMessage, stream: int | None = None) -> None:
        if isinstance(message, Accepted):
            self.answer(number, message)
        else:
            super().answer_in_order(number, message, stream)


class FlushesOneStream(PlainModule):
    """Ends only the preview at Flush."""

    def flushed_streams(self) -> list[int]:
        return [0]


class FlushNamesItself(PlainModule):
    """Names the Flush itself as the last request."""

    def on_flush(self, number: int) -> None:
        self.previous_request = number
        super().on_flush(number)


class FlushedTooEarly(PlainModule):
    """Sends a tile on lane 1 after Flushed."""

    def send_data(self) -> None:
        before = list(self.data)
        super().send_data()
        gone = [each for each in before if each not in self.data]
        if any(each.kind == MessageType.FLUSHED for each in gone) and self.frames:
            frame = self.frames[-1]
            rectangle = frame.rectangles[0]
            item = Item(
                MessageType.TILE, self.pack_tile(frame, rectangle), frame.number, frame.stream, 0,
                rectangle,
            )  # fmt: skip
            self.put(self.used_lanes - 1, self.encode(item, self.used_lanes - 1))


class FlushedStatesZero(PlainModule):
    """States no sequences in Flushed."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind != MessageType.FLUSHED:
            return super().encode(item, lane)
        kept, self.sequences = self.sequences, [1, 1]
        self.sequences[lane] = kept[lane]
        data = super().encode(replace(item, kind=MessageType.FLUSHED), lane)
        kept[lane] = self.sequences[lane]
        self.sequences = kept
        return data


class SpendsBelowLimit(PlainModule):
    """Sends a tile as long as less than the limit was sent."""

    def has_credit(self, item: Item) -> bool:
        return self.sent[item.stream] < self.limits[item.stream]


class ResendsWithoutCredit(PlainModule):
    """Sends tiles again without credit."""

    def has_credit(self, item: Item) -> bool:
        return bool(item.flags) or super().has_credit(item)


class AddsLimits(PlainModule):
    """Adds each limit to those before."""

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = [a + b for a, b in zip(self.limits, message.limit, strict=True)]


class SharesLimits(PlainModule):
    """Spends the credits of one stream on the other."""

    def has_credit(self, item: Item) -> bool:
        return sum(self.sent) + len(item.payload) <= sum(self.limits)


class LimitPerFrame(PlainModule):
    """Counts each frame's bytes against the limit from 0."""

    def has_credit(self, item: Item) -> bool:
        frame = self.frame_of(item.stream, item.number)
        sent = 0 if frame is None else frame.sent_tiles * len(item.payload)
        return sent + len(item.payload) <= self.limits[item.stream]


class QueuesAnswers(PlainModule):
    """Lets answers wait behind the tiles."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if self.data:
            self.answer_in_order(number, message)
        else:
            super().answer(number, message)


class NoQueryWhileBlocked(PlainModule):
    """Does not answer Query while tiles wait."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        if not (isinstance(message, Query) and self.data):
            super().on_unnumbered(header, message)


class NoRefusalWhileBlocked(PlainModule):
    """Does not answer Configure while tiles wait."""

    def on_configure(self, number: int, message: Configure) -> None:
        if not self.data:
            super().on_configure(number, message)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-STATE-1": (
        StaysStreaming,
        UnconfiguresAfterCapture,
        UnconfiguresOnStop,
        StopsBoth,
        OneStreamAtATime,
        StartsUnconfigured,
        ReconfiguresRunning,
        StartsTwice,
    ),
    "M-STATE-2": (
        TrialApplies,
        TrialWithoutFlag,
        TrialUnconfigures,
    ),
    "M-STATE-3": (
        ShorterTiles,
        OtherFormatUnsaid,
        LongTilesUnsaid,
    ),
    "M-STATE-4": (
        AnyStream,
        CapturesNothing,
        UnsupportedIsState,
        StopsAnything,
    ),
    "M-STOP-1": (
        TileAfterStop,
        AbortedIsOk,
        NoEndAfterStop,
        AnswersStopAtOnce,
        FlushesOneStream,
        StopsBoth,
    ),
    "M-STOP-2": (
        FlushNamesItself,
        FlushedTooEarly,
        FlushedStatesZero,
    ),
    "M-CREDIT-1": (
        SpendsBelowLimit,
        ResendsWithoutCredit,
        AddsLimits,
        SharesLimits,
        LimitPerFrame,
    ),
    "M-CREDIT-2": (
        QueuesAnswers,
        NoQueryWhileBlocked,
        NoRefusalWhileBlocked,
    ),
}
"""The broken modules of each clause."""
