"""Modules that break a clause on controls and settings lists (SPEC.md, 5.2)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ControlId, ErrorCode, FrameFlag, MessageType
from lenslink_protocol.messages import (
    SETTING,
    AnyMessage,
    Capture,
    Configured,
    FrameStart,
    Header,
    SetSettings,
    StartStream,
)
from lenslink_protocol.params import EVERY_FRAME, MAX_SETTINGS

from .broken_steps import STILL, OtherStart
from .host_peer import ROI
from .plain_module import RANGES, Exposure, PlainModule, Refused, State, Stream


class LooseList(PlainModule):
    """Reads a list without a check."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        del frames
        whole = len(data) - len(data) % SETTING.size
        return [Setting._make(each) for each in SETTING.iter_unpack(data[:whole])]


class CutEntries(LooseList):
    """Ignores a last entry that is cut."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        whole = len(data) - len(data) % SETTING.size
        return PlainModule.read_list(self, data[:whole], frames)


def _cut(data: bytes) -> list[bytes]:
    whole = len(data) - len(data) % SETTING.size
    return [data[at : at + SETTING.size] for at in range(0, whole, SETTING.size)]


class LastOneCounts(PlainModule):
    """Takes the last of two entries for one control and frame."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        if len(data) % SETTING.size:
            return super().read_list(data, frames)
        kept = {each[:4]: each for each in _cut(data)}
        return super().read_list(b"".join(kept.values()), frames)


class AnyValue(PlainModule):
    """Takes values beyond MAX_SETTING."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        if len(data) % SETTING.size:
            return super().read_list(data, frames)
        return super().read_list(b"".join(each[:7] + b"\0" for each in _cut(data)), frames)


class AnyFrame(PlainModule):
    """Takes settings for frames that a request does not have."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        return super().read_list(data, 16 if frames < 16 else frames)


class AnyBracket(PlainModule):
    """Takes brackets of any length."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        return super().read_list(data, min(frames, 16))


class ShortLists(PlainModule):
    """Takes half as many settings as it should."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        found = super().read_list(data, frames)
        if len(found) > MAX_SETTINGS // 2:
            raise Refused(ErrorCode.UNSUPPORTED)
        return found


class TakesTheFirst(PlainModule):
    """Takes the settings before the first wrong entry."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.stream < len(self.streams):
            for each in _cut(message.settings):
                setting = Setting._make(SETTING.unpack(each))
                if abs(setting.value) >= 1 << 30:
                    break
                self.take_settings(self.streams[message.stream], [setting])
        super().execute(number, message)


class TakesTheRest(PlainModule):
    """Takes the settings behind a wrong entry."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.stream < len(self.streams):
            for each in _cut(message.settings):
                setting = Setting._make(SETTING.unpack(each))
                if abs(setting.value) < 1 << 30:
                    self.take_settings(self.streams[message.stream], [setting])
        super().execute(number, message)


class RefusesUnknown(PlainModule):
    """Refuses a control that it does not know."""

    def check_controls(self, settings: list[Setting]) -> None:
        super().check_controls(settings)
        if any(each.control not in RANGES for each in settings):
            raise Refused(ErrorCode.UNSUPPORTED)


class StopsAtUnknown(PlainModule):
    """Skips what follows a control that it does not know."""

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        for at, each in enumerate(settings):
            if each.control not in RANGES:
                settings = settings[:at]
                break
        super().take_settings(stream, settings)


class AnySettled(PlainModule):
    """Takes any value but 0 for SETTLED."""

    def check_controls(self, settings: list[Setting]) -> None:
        """Refuse nothing."""


class IgnoresUnlisted(PlainModule):
    """Has no iris, and ignores APERTURE."""

    def controls(self) -> dict[int, tuple[int, int, int]]:
        return {key: value for key, value in RANGES.items() if key != ControlId.APERTURE}


class SettingsPerRequest(PlainModule):
    """Forgets the settings with each request."""

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        stream.values.clear()
        super().take_settings(stream, settings)


class SettingsPerConfigure(PlainModule):
    """Forgets the settings with each Configure."""

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        super().apply_plan(stream, plan)
        stream.values.clear()


class SharedSettings(PlainModule):
    """Has one set of settings for both streams."""

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        for each in self.streams:
            super().take_settings(each, settings)


class IrisOfTheStill(PlainModule):
    """Takes the aperture of the still for each stream that has none."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        asked = super().asked_value(stream, control)
        if asked is None and control == ControlId.APERTURE:
            return self.streams[STILL].values.get(control)
        return asked


class SingleFocusGoesBack(PlainModule):
    """Moves the lens back to the initial place behind a frame with a FOCUS of its own."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        asked = super().asked_value(stream, control)
        if asked is None and any(each == control for each, _ in stream.single):
            return RANGES[control][2]
        return asked


class CropsOfTheRoi(PlainModule):
    """Moves the crop of the preview with that of the region of interest."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        if stream is self.streams[0] and control in (ControlId.ROI_X, ControlId.ROI_Y):
            stream = self.streams[ROI]
        return super().asked_value(stream, control)


class SettingsEndWithClose(PlainModule):
    """Keeps the settings of the preview if a Hello ends its session, and not if Close does."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        values = self.streams[0].values
        super().on_hello(header, payload)
        self.streams[0].values = values


class SingleFramesLast(PlainModule):
    """Lets the setting of a single frame last."""

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        super().take_settings(stream, settings)
        for control, frame, value in settings:
            if frame != EVERY_FRAME:
                stream.values[control] = value


class EveryFrameWins(PlainModule):
    """Lets the setting for every frame win over that of a single one."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        lasting = stream.values.get(control)
        return super().asked_value(stream, control) if lasting is None else lasting


class RefusesSettings(PlainModule):
    """Takes settings with Capture only."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        if message.TYPE == MessageType.STREAM:
            message = replace(message, settings=b"")
        super().on_start(number, message, count, interval_us)


class LastSingleLasts(PlainModule):
    """Keeps the setting of the last frame of a Capture."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        found = super().choose_values(stream)
        if stream.unexposed == 1:
            for (control, frame), value in stream.single.items():
                if frame == stream.begun:
                    stream.values[control] = value
        return found


class WrapsValues(PlainModule):
    """Applies the least value instead of one that is too large."""

    def nearest_value(self, control: int, value: int) -> int:
        least, most, _ = RANGES[control]
        return value if least <= value <= most else least


class AppliesAnything(PlainModule):
    """Applies each value as it is, but for the sign."""

    def nearest_value(self, control: int, value: int) -> int:
        return abs(value)


class NeverAdjusted(OtherStart):
    """Never says ADJUSTED."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, flags=start.flags & ~FrameFlag.ADJUSTED)


class AlwaysAdjusted(OtherStart):
    """Says ADJUSTED whenever anything was asked for."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, flags=start.flags | FrameFlag.ADJUSTED)


class RoundsExposure(PlainModule):
    """Applies exposures in steps of 1 ms, and does not say so."""

    def nearest_value(self, control: int, value: int) -> int:
        found = super().nearest_value(control, value)
        return max(1000, found // 1000 * 1000) if control == ControlId.EXPOSURE else found


class StatesWhatWasAsked(PlainModule):
    """States the value that was asked for instead of the one that was applied."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        gain = stream.values.get(ControlId.GAIN)
        return start if gain is None else replace(start, gain_milli=max(gain, 0))


class StatesTheOldStop(PlainModule):
    """States the f-number from which the iris moves."""

    aperture = RANGES[ControlId.APERTURE][2]

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        before, self.aperture = self.aperture, start.aperture_milli
        is_moving = start.flags & FrameFlag.MOVING
        return replace(start, aperture_milli=before) if is_moving else start


class AdjustedSticks(PlainModule):
    """Says ADJUSTED of each frame behind one whose value was out of range."""

    _adjusted = -1

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        if flags & FrameFlag.ADJUSTED:
            self._adjusted = stream.request
        is_sticky = self._adjusted == stream.request
        return values, flags | (FrameFlag.ADJUSTED if is_sticky else 0)


class PreviewBetween(PlainModule):
    """Lets a preview frame in between two frames of a bracket."""

    has_yielded = False

    def next_stream(self) -> int | None:
        preview, still = self.streams[0], self.streams[1]
        if still.begun == 3 and preview.unexposed and not self.has_yielded:
            self.has_yielded = True
            return 0
        return super().next_stream()


class BackwardBracket(PlainModule):
    """Takes the frames of a bracket in the wrong order."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        frames = [frame for key, frame in stream.single if key == control]
        if frames:
            return stream.single.get((control, max(frames) - stream.begun))
        return super().asked_value(stream, control)


class SkipsNumbers(PlainModule):
    """Leaves out a number between two frames."""

    def next_number(self) -> int:
        self.next_frame += 1
        return super().next_number()


class RoiBetween(PlainModule):
    """Lets frames of the ROI in between those of a Capture."""

    def next_stream(self) -> int | None:
        roi, still = self.streams[2], self.streams[1]
        if still.begun == 2 and roi.unexposed < 0 and self.next_frame % 2:
            return 2
        return super().next_stream()


class PreviewGivesWay(PlainModule):
    """Lets frames of the still between those of a Capture of the preview."""

    def next_stream(self) -> int | None:
        due = [
            index
            for index in (1, 0)
            if self.streams[index].state is State.STREAMING
            and self.streams[index].unexposed
            and self.time >= self.streams[index].next_start
        ]
        return next(iter(due), None)


class NeverWaits(PlainModule):
    """Exposes while the lens moves, whatever SETTLED says."""

    def waits(self, values: dict[int, int]) -> bool:
        return False


class AlwaysWaits(PlainModule):
    """Waits for the lens, whatever SETTLED says."""

    def waits(self, values: dict[int, int]) -> bool:
        return True


class NeverMoving(OtherStart):
    """Never says MOVING."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, flags=start.flags & ~FrameFlag.MOVING)


class StatesTheTarget(PlainModule):
    """States the focus that was asked for instead of the lens' position."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, focus_mdpt=round(self.lens.after))


class IgnoresFocus(PlainModule):
    """Never moves the lens."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        values.pop(ControlId.FOCUS, None)
        return values, flags


class NoTimeAtAll(PlainModule):
    """Exposes in no time."""

    def exposure_time(self, values: dict[int, int]) -> float:
        return 0.0


class ShortExposures(PlainModule):
    """Exposes 100 ms at most."""

    def exposure_time(self, values: dict[int, int]) -> float:
        return min(0.1, super().exposure_time(values))


class StatesExposureAsInterval(OtherStart):
    """States the exposure as the interval."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, interval_us=start.exposure_us)


class IntervalOfTheStream(PlainModule):
    """Counts the interval from the last frame of an earlier request."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, interval_us=start.interval_us or 1)


class IntervalOverRequests(PlainModule):
    """Counts the interval of a request's first frame from the last one of the request before."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        stream.last_start = self.last_starts.get(exposure.stream)
        self.last_starts[exposure.stream] = self.time
        return super().frame_start(stream, plan, exposure)

    def connect(self) -> None:
        self.last_starts: dict[int, float] = {}
        super().connect()


class ChangesWithoutCheck(PlainModule):
    """Reads the list of SetSettings without a check."""

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        whole = b"".join({each[:4]: each for each in _cut(message.settings)}.values())
        kept = [each for each in _cut(whole) if each[2:4] == b"\xff\xff" and each[7] < 0x40]
        data = b"".join(kept[:MAX_SETTINGS])
        super().on_set_settings(number, SetSettings(message.stream, data))


class ChangesUnlisted(PlainModule):
    """Takes any value in SetSettings."""

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        kept = [each for each in _cut(message.settings) if each[0] != ControlId.SETTLED]
        self.read_list(message.settings, 0)
        super().on_set_settings(number, SetSettings(message.stream, b"".join(kept)))


class ChangesBeforeTheCheck(PlainModule):
    """Takes the settings of SetSettings before the first wrong entry."""

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        first = Setting._make(SETTING.unpack(_cut(message.settings)[0]))
        self.take_settings(self.stream_at(message.stream), [first])
        super().on_set_settings(number, message)


class ChangesRunningStreamsOnly(PlainModule):
    """Accepts SetSettings of a CONFIGURED stream, and forgets it."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is not State.STREAMING:
            return self.next_frame
        return super().change_settings(stream, settings)


class ChangesForOneRequest(PlainModule):
    """Forgets the settings of SetSettings with the next request but one."""

    changed: tuple[Stream, list[Setting]] | None = None

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        self.changed = stream, settings
        return super().change_settings(stream, settings)

    def state_after_capture(self) -> State:
        if self.changed is not None:
            for each in self.changed[1]:
                self.changed[0].values.pop(each.control, None)
        return super().state_after_capture()


class ChangesBothStreams(PlainModule):
    """Changes the settings of both streams with SetSettings."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        for each in self.streams:
            self.take_settings(each, settings)
        return super().change_settings(stream, settings)


class ChangesLater(PlainModule):
    """Applies the settings of SetSettings some frames later than it could, and says so."""

    wait = 4
    named = 4
    parts = 1

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[int, Stream, list[Setting]]] = []

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is not State.STREAMING:
            return super().change_settings(stream, settings)
        if self.parts > 1:
            self.take_settings(stream, settings[:1])
            settings = settings[1:]
        self.waiting.append((self.next_frame + self.wait, stream, settings))
        return self.next_frame + self.named

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        number = self.next_frame - 1
        for each in list(self.waiting):
            if number >= each[0]:
                self.take_settings(each[1], each[2])
                self.waiting.remove(each)
        return super().choose_values(stream)


class NamesTooEarly(ChangesLater):
    """Names a frame that does not have the settings of SetSettings yet."""

    wait, named = 1, 0


class NamesTooLate(ChangesLater):
    """Names a frame behind the first one that has the settings of SetSettings."""

    wait, named = 0, 1


class MixesTwo(ChangesLater):
    """Applies the first setting of SetSettings a frame before the others."""

    wait, named, parts = 1, 0, 2


class ChangesTheRest(PlainModule):
    """Forgets the settings that SetSettings does not name."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        stream.values.clear()
        return super().change_settings(stream, settings)


class DropsAFrame(PlainModule):
    """Leaves out a frame when settings change."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        self.next_frame += 1
        return super().change_settings(stream, settings)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-SET-1": (
        LooseList,
        CutEntries,
        LastOneCounts,
        AnyValue,
        AnyFrame,
        AnyBracket,
        ShortLists,
        TakesTheFirst,
        TakesTheRest,
    ),
    "M-SET-2": (RefusesUnknown, StopsAtUnknown, AnySettled, IgnoresUnlisted),
    "M-SET-3": (
        SettingsPerRequest,
        SettingsPerConfigure,
        SharedSettings,
        IrisOfTheStill,
        SingleFocusGoesBack,
        CropsOfTheRoi,
        SettingsEndWithClose,
        SingleFramesLast,
        EveryFrameWins,
        RefusesSettings,
        LastSingleLasts,
    ),
    "M-SET-4": (
        WrapsValues,
        AppliesAnything,
        NeverAdjusted,
        AlwaysAdjusted,
        RoundsExposure,
        StatesWhatWasAsked,
        StatesTheOldStop,
        AdjustedSticks,
    ),
    "M-SET-5": (PreviewBetween, BackwardBracket, SkipsNumbers, RoiBetween, PreviewGivesWay),
    "M-SET-6": (NeverWaits, AlwaysWaits, NeverMoving, StatesTheTarget, IgnoresFocus),
    "M-SET-7": (
        NoTimeAtAll,
        ShortExposures,
        StatesExposureAsInterval,
        IntervalOfTheStream,
        IntervalOverRequests,
    ),
    "M-SET-8": (
        ChangesWithoutCheck,
        ChangesUnlisted,
        ChangesBeforeTheCheck,
        ChangesRunningStreamsOnly,
        ChangesForOneRequest,
        ChangesBothStreams,
    ),
    "M-SET-9": (ChangesLater, NamesTooEarly, NamesTooLate, MixesTwo, ChangesTheRest, DropsAFrame),
}
"""The plain modules that break a clause."""
