"""Modules that wait for lens and iris, or take their time, otherwise than SPEC.md, 5.2, says."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ControlId, FrameFlag, MessageType
from lenslink_protocol.messages import SETTING, Capture, Configured, FrameStart, StartStream

from .plain_module import Exposure, PlainModule, State, Stream


def _names_settled(data: bytes) -> bool:
    return any(each[0] == ControlId.SETTLED for each in SETTING.iter_unpack(data))


class SettledLasts(PlainModule):
    """Keeps SETTLED for the next request of its stream."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        stream = self.stream_at(message.stream)
        before = self._kept.get(message.stream)
        super().on_start(number, message, count, interval_us)
        if _names_settled(message.settings):
            self._kept[message.stream] = stream.values[ControlId.SETTLED]
        elif before is not None:
            stream.values[ControlId.SETTLED] = before

    def reset_session(self) -> None:
        super().reset_session()
        self._kept: dict[int, int] = {}


class SettledByStream(PlainModule):
    """Waits in each request of the still, and in no other one."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us)
        if not _names_settled(message.settings):
            self.streams[message.stream].values[ControlId.SETTLED] = int(message.stream == 1)


class CapturesAlwaysWait(PlainModule):
    """Ignores SETTLED in a Capture."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us)
        if count > 0:
            self.streams[message.stream].values[ControlId.SETTLED] = 1


class SettledOfAllFrames(PlainModule):
    """Ignores the SETTLED of a single frame."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        if control == ControlId.SETTLED:
            return stream.values.get(control)
        return super().asked_value(stream, control)


class SettledCannotChange(PlainModule):
    """Ignores SETTLED in SetSettings."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        kept = [each for each in settings if each.control != ControlId.SETTLED]
        return super().change_settings(stream, kept)


class MovingByName(PlainModule):
    """Says MOVING of the first frame of a request that names FOCUS, and does not wait."""

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        exposure = super().plan_exposure(index, stream, number)
        is_named = ControlId.FOCUS in exposure.values and stream.begun == 0
        if is_named and not self.waits(exposure.values):
            exposure.flags |= FrameFlag.MOVING
        return exposure


class NotThereIsAdjusted(PlainModule):
    """Says ADJUSTED of a frame for which the lens has not arrived."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        is_there = start.focus_mdpt == exposure.values.get(ControlId.FOCUS, start.focus_mdpt)
        return start if is_there else replace(start, flags=start.flags | FrameFlag.ADJUSTED)


class IgnoresTheIris(PlainModule):
    """Waits for the lens only."""

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        exposure = super().plan_exposure(index, stream, number)
        if self.lens.iris_end > self.time and self.waits(exposure.values):
            exposure.flags |= FrameFlag.MOVING
            exposure.begin = self.time
        return exposure


class _SlowIris(PlainModule):
    """Has an iris that takes 40 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.lens.iris_s = 0.04


class MovingOfTheLensOnly(_SlowIris):
    """Says MOVING of a lens that moves, not of an iris."""

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        exposure = super().plan_exposure(index, stream, number)
        if self.lens.position(exposure.begin) == self.lens.after:
            exposure.flags &= ~FrameFlag.MOVING
        return exposure


class AlwaysWaitsForTheIris(_SlowIris):
    """Waits for the iris whatever SETTLED is."""

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        exposure = super().plan_exposure(index, stream, number)
        late = max(0.0, self.lens.iris_end - exposure.begin)
        exposure.flags &= ~FrameFlag.MOVING
        return replace(exposure, begin=exposure.begin + late, end=exposure.end + late)


class CreditsLetOthersIn(PlainModule):
    """Begins frames of the preview while the tiles of a Capture wait for credits."""

    def next_stream(self) -> int | None:
        waits = any(
            each.kind == MessageType.TILE and each.stream == 1 and not self.has_credit(each)
            for each in self.data
        )
        return 0 if waits and self.streams[0].unexposed else super().next_stream()


class CapturesInTurns(PlainModule):
    """Takes the frames of two Captures in turns."""

    _turn = 0

    def next_stream(self) -> int | None:
        captures = [
            index
            for index, each in enumerate(self.streams)
            if each.state is State.STREAMING and each.unexposed > 0
        ]
        if len(captures) < 2:
            return super().next_stream()
        self._turn += 1
        return captures[self._turn % 2]


class StillBeforeTheRoi(PlainModule):
    """Lets frames of the still between those of a Capture of the ROI."""

    def next_stream(self) -> int | None:
        still, roi = self.streams[1], self.streams[2]
        is_due = still.unexposed < 0 and self.time >= still.next_start
        return 1 if is_due and roi.unexposed > 0 else super().next_stream()


class ShortIntervals(PlainModule):
    """Looks at the low 16 bits of ``interval_us``."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us & 0xFFFF)


class IntervalOfAnyStream(PlainModule):
    """Counts the interval from the last frame of any stream."""

    _last = 0.0

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        before, self._last = self._last, self.time
        passed = start.timestamp_us - round(before * 1e6)
        return replace(start, interval_us=passed) if start.interval_us else start


class ChangeIsAStart(PlainModule):
    """Takes the frame behind a SetSettings for the first of its request."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        stream.last_start = None
        return super().change_settings(stream, settings)


class ChangeIsAtOnce(PlainModule):
    """Begins a frame at once when settings change."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        stream.next_start = self.time
        return super().change_settings(stream, settings)


class PreviewInNoTime(PlainModule):
    """Exposes the frames of a preview in no time."""

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        exposure = super().plan_exposure(index, stream, number)
        if index == 0:
            exposure.end = exposure.begin
        return exposure


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-SET-3": (SettledLasts,),
    "M-SET-5": (CreditsLetOthersIn, CapturesInTurns, StillBeforeTheRoi),
    "M-SET-6": (
        SettledByStream,
        CapturesAlwaysWait,
        SettledOfAllFrames,
        SettledCannotChange,
        MovingByName,
        NotThereIsAdjusted,
        IgnoresTheIris,
        MovingOfTheLensOnly,
        AlwaysWaitsForTheIris,
    ),
    "M-SET-7": (ShortIntervals, IntervalOfAnyStream, ChangeIsAStart, PreviewInNoTime),
    "M-SET-9": (SettledCannotChange, ChangeIsAtOnce),
}
"""The plain modules that break a clause."""
