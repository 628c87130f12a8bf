"""Modules whose frames have another value of a control than SPEC.md, 5.2, says."""

from __future__ import annotations

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ConfigureFlag, ControlId, FrameFlag
from lenslink_protocol.messages import Capture, Configure, Configured, SetBudget, StartStream, Stop

from .plain_module import PlainModule, State, Stream

_LASTING = (ControlId.EXPOSURE, ControlId.GAIN, ControlId.APERTURE)


def _forget(stream: Stream) -> None:
    """Put the settings of a stream back to what they were at first, but for the crop."""
    for control in _LASTING:
        stream.values.pop(control, None)


class BeginsWide(PlainModule):
    """Begins each session with another exposure than its manifest states."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        if self.asked_value(stream, ControlId.EXPOSURE) is None:
            values[ControlId.EXPOSURE] += 1
        return values, flags


class OtherModeForgets(PlainModule):
    """Forgets the settings of a stream that gets another mode."""

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        if stream.plan is not None and stream.plan.mode != plan.mode:
            _forget(stream)
        super().apply_plan(stream, plan)


class TrialForgets(PlainModule):
    """Forgets the settings of a stream with TEST_ONLY."""

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        if message.flags & ConfigureFlag.TEST_ONLY:
            _forget(self.streams[message.stream])


class FlushForgets(PlainModule):
    """Forgets the settings of all streams with Flush."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        for stream in self.streams:
            _forget(stream)


class StopMovesTheCrop(PlainModule):
    """Puts the crop back to where it was configured with Stop."""

    def on_stop(self, number: int, message: Stop) -> None:
        super().on_stop(number, message)
        stream = self.streams[message.stream]
        if stream.plan is not None:
            self.set_crop(stream, stream.plan)


class BudgetForgets(PlainModule):
    """Forgets the settings of a stream that a budget ends."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        before = self.running_streams()
        super().on_set_budget(number, message)
        for index in before - self.running_streams():
            _forget(self.streams[index])


class ConfigureMovesAll(PlainModule):
    """Moves the crops of all streams with a Configure of one."""

    def set_crop(self, stream: Stream, plan: Configured) -> None:
        for each in self.streams:
            super().set_crop(each, plan)


class StoppedLeavesNothing(PlainModule):
    """Forgets the settings of a Capture that was stopped before its first frame."""

    def stop(self, index: int) -> None:
        stream = self.stream_at(index)
        if stream.state is State.STREAMING and not self.has_begun(stream):
            _forget(stream)
        super().stop(index)


class StoppedLeavesSingles(PlainModule):
    """Keeps the settings of single frames, which Stop cut off, for the next Capture."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        stream = self.stream_at(message.stream)
        left = {key: each for key, each in stream.single.items() if key[1] >= stream.begun}
        super().on_start(number, message, count, interval_us)
        stream.single = left | stream.single


class OneIrisForAll(PlainModule):
    """Has no f-number of its own for a single frame."""

    def asked_value(self, stream: Stream, control: int) -> int | None:
        if control == ControlId.APERTURE:
            return stream.values.get(control)
        return super().asked_value(stream, control)


class LimitedValuesLast(PlainModule):
    """Keeps the nearest value instead of the one that was asked for."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        found = super().choose_values(stream)
        for control in _LASTING:
            if control in stream.values and (control, stream.begun) not in stream.single:
                stream.values[control] = found[0][control]
        return found


class FirstOfAStream(PlainModule):
    """Says ADJUSTED of the first frame of a StartStream only."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        is_later = stream.unexposed < 0 and stream.begun > 0
        return values, flags & ~FrameFlag.ADJUSTED if is_later else flags


class ChangesAreLimited(PlainModule):
    """Limits the values of SetSettings, and does not say so."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        limited = [
            each._replace(value=self.nearest_value(each.control, each.value))
            if each.control in _LASTING
            else each
            for each in settings
        ]
        return super().change_settings(stream, limited)


class UnsignedValues(PlainModule):
    """Takes a negative value for a very large one."""

    def nearest_value(self, control: int, value: int) -> int:
        return super().nearest_value(control, value & 0xFFFFFFFF)


class Values16Bits(PlainModule):
    """Looks at the low 16 bits of gain and f-number."""

    def nearest_value(self, control: int, value: int) -> int:
        is_short = control in (ControlId.GAIN, ControlId.APERTURE)
        return super().nearest_value(control, value & 0xFFFF if is_short else value)


class QuietStops(PlainModule):
    """Has f-numbers in steps of 100, and does not say so."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        values[ControlId.APERTURE] -= values[ControlId.APERTURE] % 100
        return values, flags


class CoarseExposuresOfThePreview(PlainModule):
    """Has exposures of whole 10 us on the preview, and does not say so."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        if stream is self.streams[0]:
            values[ControlId.EXPOSURE] -= values[ControlId.EXPOSURE] % 10
        return values, flags


class ExposuresOf32Bits(PlainModule):
    """Keeps the low 32 bits of an exposure in nanoseconds."""

    def nearest_value(self, control: int, value: int) -> int:
        if control == ControlId.EXPOSURE and value > 0:
            value = (value * 1000 & 0xFFFFFFFF) // 1000
        return super().nearest_value(control, value)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-SET-3": (
        BeginsWide,
        OtherModeForgets,
        TrialForgets,
        FlushForgets,
        StopMovesTheCrop,
        BudgetForgets,
        ConfigureMovesAll,
        StoppedLeavesNothing,
        StoppedLeavesSingles,
        OneIrisForAll,
    ),
    "M-SET-4": (
        LimitedValuesLast,
        FirstOfAStream,
        ChangesAreLimited,
        UnsignedValues,
        Values16Bits,
        QuietStops,
        CoarseExposuresOfThePreview,
        ExposuresOf32Bits,
    ),
}
"""The plain modules that break a clause."""
