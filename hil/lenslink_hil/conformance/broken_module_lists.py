"""Modules that break a clause on settings lists (SPEC.md, 5.2)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ControlId, ErrorCode
from lenslink_protocol.messages import SETTING, AnyMessage, Capture, Malformed, StartStream
from lenslink_protocol.params import EVERY_FRAME, MAX_BRACKET, MAX_SETTING

from .plain_module import RANGES, PlainModule, Refused, State, Stream


def _split(data: bytes) -> tuple[list[Setting], bytes]:
    """Return the entries of a list, unchecked, and what is left behind them."""
    whole = len(data) - len(data) % SETTING.size
    return [Setting._make(each) for each in SETTING.iter_unpack(data[:whole])], data[whole:]


def _join(entries: list[Setting], rest: bytes = b"") -> bytes:
    return b"".join(SETTING.pack(*each) for each in entries) + rest


class NeighboursOnly(PlainModule):
    """Looks for a control that is set twice in neighbouring entries only."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        entries, rest = _split(data)
        for before, after in pairwise(entries):
            if before[:2] == after[:2]:
                raise Malformed("a control is set twice")
        kept = {each[:2]: each for each in entries}
        fewer = list(kept.values()) if len(kept) < len(entries) else entries
        return super().read_list(_join(fewer, rest), frames)


class LimitsKnownValues(PlainModule):
    """Limits the values of the controls that it knows before it checks them."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        entries, rest = _split(data)
        limited = [
            each._replace(value=max(-MAX_SETTING, min(MAX_SETTING, each.value)))
            if each.control in RANGES
            else each
            for each in entries
        ]
        return super().read_list(_join(limited, rest), frames)


class NoListsOfManyFrames(PlainModule):
    """Refuses any list of a Capture that is too long for a bracket."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        if frames > MAX_BRACKET and data:
            raise Malformed("a bracket is too long")
        return super().read_list(data, frames)


class ChecksTheRequestFirst(PlainModule):
    """Checks stream, count and state before the list."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, (Capture, StartStream)):
            if getattr(message, "count", 1) == 0:
                raise Refused(ErrorCode.UNSUPPORTED)
            self.check_startable(self.stream_at(message.stream))
        super().execute(number, message)


class _OtherStarts(PlainModule):
    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, StartStream):
            message = replace(message, settings=self.change(message.settings))
        super().execute(number, message)

    def change(self, data: bytes) -> bytes:
        """Return the list that is read instead of that of StartStream."""
        return data


class StartIgnoresTheRest(_OtherStarts):
    """Ignores the cut entry of a StartStream."""

    def change(self, data: bytes) -> bytes:
        return _join(_split(data)[0])


class StartTakesTheLast(_OtherStarts):
    """Takes the last of two entries of a StartStream for one control."""

    def change(self, data: bytes) -> bytes:
        entries, rest = _split(data)
        return _join(list({each[:2]: each for each in entries}.values()), rest)


class RefusedStartIsKept(PlainModule):
    """Keeps the sound settings of a StartStream whose list is malformed."""

    def execute(self, number: int, message: AnyMessage) -> None:
        try:
            super().execute(number, message)
        except Malformed:
            if isinstance(message, StartStream) and message.stream < len(self.streams):
                found = [each for each in _split(message.settings)[0] if each.control in RANGES]
                self.take_settings(self.streams[message.stream], found)
            raise


class ChecksLastingOnly(PlainModule):
    """Takes any SETTLED of a single frame."""

    def check_controls(self, settings: list[Setting]) -> None:
        super().check_controls([each for each in settings if each.frame == EVERY_FRAME])


class ChecksUpToUnknown(PlainModule):
    """Does not check what stands behind a control that it does not know."""

    def check_controls(self, settings: list[Setting]) -> None:
        known = [each.control in RANGES for each in settings]
        end = known.index(False) if False in known else len(known)
        super().check_controls(settings[:end])


class RefusesTheNext(PlainModule):
    """Refuses the first control behind those of Table 7."""

    def check_controls(self, settings: list[Setting]) -> None:
        if any(each.control == max(RANGES) + 1 for each in settings):
            raise Refused(ErrorCode.UNSUPPORTED)
        super().check_controls(settings)


class LowBytes(PlainModule):
    """Looks at the low byte of a control's number."""

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        low = [each._replace(control=each.control & 0xFF) for each in settings]
        super().take_settings(stream, low)


class SkippedIsAdjusted(PlainModule):
    """Says ADJUSTED of a frame because a control was skipped."""

    _skips: Stream | None = None

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        self._skips = stream if any(each.control not in RANGES for each in settings) else None
        super().take_settings(stream, settings)

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        return values, flags | (self._skips is stream)


class _KeepsRefused(PlainModule):
    """Remembers the settings of the request under way."""

    def check_controls(self, settings: list[Setting]) -> None:
        self.asked = settings
        super().check_controls(settings)


class KeepsWhatPowerRefuses(_KeepsRefused):
    """Keeps the settings of a Capture that it refuses with POWER."""

    def check_budget(self, stream: Stream) -> None:
        try:
            super().check_budget(stream)
        except Refused:
            self.take_settings(stream, self.asked)
            raise


class MovesForRefused(_KeepsRefused):
    """Moves the lens for a Capture that it refuses with POWER."""

    def check_budget(self, stream: Stream) -> None:
        try:
            super().check_budget(stream)
        except Refused:
            focus = {each.control: each.value for each in self.asked}
            self.lens.move({key: focus[key] for key in focus if key == ControlId.FOCUS}, self.time)
            raise


class KeepsWhatStateRefuses(PlainModule):
    """Keeps the settings of a request that comes before Configure."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        self.asked = super().read_list(data, frames)
        return self.asked

    def check_startable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            self.take_settings(stream, self.asked)
        super().check_startable(stream)


class KeepsChangesOfCaptures(PlainModule):
    """Refuses SetSettings during a Capture, and keeps it for the next request."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        self.asked = super().read_list(data, frames)
        return self.asked

    def check_changeable(self, stream: Stream) -> None:
        try:
            super().check_changeable(stream)
        except Refused:
            if stream.state is State.STREAMING:
                self.take_settings(stream, self.asked)
            raise


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-SET-1": (
        NeighboursOnly,
        LimitsKnownValues,
        NoListsOfManyFrames,
        ChecksTheRequestFirst,
        StartIgnoresTheRest,
        StartTakesTheLast,
        RefusedStartIsKept,
        KeepsChangesOfCaptures,
    ),
    "M-SET-2": (
        ChecksLastingOnly,
        ChecksUpToUnknown,
        RefusesTheNext,
        LowBytes,
        SkippedIsAdjusted,
    ),
    "M-STATE-1": (ChecksTheRequestFirst, KeepsWhatStateRefuses),
    "M-PWR-2": (KeepsWhatPowerRefuses, MovesForRefused),
}
"""The plain modules that break a clause."""
