"""Modules that break a clause on Stop and Flush (SPEC.md, 5.3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.messages import Accepted, AnyMessage, Error, FrameEnd, Stop

from .broken_steps import STILL
from .host_peer import ROI
from .plain_module import Frame, Item, PlainModule


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

    def answer_in_order(
        self, number: int, message: AnyMessage, streams: Collection[int] | None = None
    ) -> None:
        if isinstance(message, Accepted):
            self.answer(number, message)
        else:
            super().answer_in_order(number, message, streams)


class FlushesOneStream(PlainModule):
    """Ends only the preview at Flush."""

    def flushed_streams(self) -> list[int]:
        return [0]


class StillEndsBehindFlushed(PlainModule):
    """Sends FrameEnd of the still behind Flushed."""

    late_stream = STILL

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        late = (MessageType.FRAME_END, self.late_stream)
        self.data.sort(key=lambda item: (item.kind, item.stream) == late)


class RoiEndsBehindFlushed(StillEndsBehindFlushed):
    """Sends FrameEnd of the region of interest behind Flushed."""

    late_stream = ROI


class StillStopsEarly(PlainModule):
    """Answers Stop of the still before its FrameEnd."""

    hasty_stream = STILL

    def on_stop(self, number: int, message: Stop) -> None:
        if message.stream == self.hasty_stream:
            self.answer(number, Accepted(message.stream, self.next_frame))
            self.stop(message.stream)
        else:
            super().on_stop(number, message)


class RoiStopsEarly(StillStopsEarly):
    """Answers Stop of the region of interest before its FrameEnd."""

    hasty_stream = ROI


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


class RefusedIsNoRequest(PlainModule):
    """Does not count a refused request as the last one."""

    def answer(self, number: int, message: AnyMessage) -> None:
        super().answer(number, message)
        if isinstance(message, Error) and self.session is not None:
            self.session.last_request = self.previous_request


class FlushesTwo(PlainModule):
    """Ends preview and still with Flush, and not the ROI."""

    def flushed_streams(self) -> list[int]:
        return [0, 1]


class FlushedNamesArrival(PlainModule):
    """States in Flushed the sequences of the moment at which Flush arrived."""

    _arrival: tuple[int, ...] = ()
    _is_flushed = False

    def on_flush(self, number: int) -> None:
        self._arrival = tuple(self.last_sequences())
        super().on_flush(number)

    def encode(self, item: Item, lane: int) -> bytes:
        self._is_flushed = item.kind == MessageType.FLUSHED
        return super().encode(item, lane)

    def last_sequences(self) -> list[int]:
        return list(self._arrival) if self._is_flushed else super().last_sequences()


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-STOP-1": (
        TileAfterStop,
        AbortedIsOk,
        NoEndAfterStop,
        AnswersStopAtOnce,
        FlushesOneStream,
        StillEndsBehindFlushed,
        RoiEndsBehindFlushed,
        StillStopsEarly,
        RoiStopsEarly,
    ),
    "M-STOP-2": (
        StillEndsBehindFlushed,
        RoiEndsBehindFlushed,
        FlushNamesItself,
        FlushedTooEarly,
        FlushedStatesZero,
        RefusedIsNoRequest,
        FlushesTwo,
        FlushedNamesArrival,
    ),
}
"""The plain modules that break a clause."""
