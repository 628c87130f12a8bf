"""Modules that break a clause on SetSettings for some streams or controls (SPEC.md, 5.2)."""

from __future__ import annotations

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import ControlId
from lenslink_protocol.messages import SetSettings

from .plain_module import PlainModule, State, Stream


class _ChangesFewer(PlainModule):
    """Ignores some controls in SetSettings of a stream that runs."""

    ignored: tuple[int, ...] = ()

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is State.STREAMING:
            settings = [each for each in settings if each.control not in self.ignored]
        return super().change_settings(stream, settings)


class IrisCannotChange(_ChangesFewer):
    """Ignores APERTURE in SetSettings of a stream that runs."""

    ignored = (ControlId.APERTURE,)


class LensCannotChange(_ChangesFewer):
    """Ignores FOCUS in SetSettings of a stream that runs."""

    ignored = (ControlId.FOCUS,)


class CropCannotChange(_ChangesFewer):
    """Ignores ROI_X in SetSettings of a stream that runs."""

    ignored = (ControlId.ROI_X,)


class ChangesThePreviewOnly(PlainModule):
    """Accepts SetSettings of a still or a ROI that runs, and forgets it."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is State.STREAMING and stream is not self.streams[0]:
            return self.next_frame
        return super().change_settings(stream, settings)


class ChangesAllThatRun(PlainModule):
    """Changes the settings of each stream that runs."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        for each in self.streams:
            if each is not stream and each.state is State.STREAMING:
                self.take_settings(each, settings)
        return super().change_settings(stream, settings)


class ChangeEndsWithItsStream(PlainModule):
    """Forgets SetSettings of a stream that runs when the stream ends."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is State.STREAMING:
            self._before.setdefault(id(stream), dict(stream.values))
        return super().change_settings(stream, settings)

    def stop(self, index: int) -> None:
        super().stop(index)
        stream = self.stream_at(index)
        stream.values = self._before.pop(id(stream), stream.values)

    def reset_session(self) -> None:
        super().reset_session()
        self._before: dict[int, dict[int, int]] = {}


class ChangeNamesItsRequest(PlainModule):
    """Names the SetSettings as the request of the frames behind it."""

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        super().on_set_settings(number, message)
        stream = self.streams[message.stream]
        if stream.state is State.STREAMING:
            stream.request = number


class ChangeReplacesAll(PlainModule):
    """Takes the settings of a CONFIGURED stream that SetSettings does not name back."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is State.CONFIGURED:
            for control in (ControlId.EXPOSURE, ControlId.GAIN, ControlId.APERTURE):
                stream.values.pop(control, None)
        return super().change_settings(stream, settings)


class ChangeMovesTheLens(PlainModule):
    """Moves the lens with SetSettings of a CONFIGURED stream."""

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        if stream.state is State.CONFIGURED:
            values = {each.control: each.value for each in settings}
            focus = {key: values[key] for key in values if key == ControlId.FOCUS}
            self.lens.move(focus, self.time)
        return super().change_settings(stream, settings)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-SET-3": (ChangesAllThatRun, ChangeEndsWithItsStream, ChangeMovesTheLens),
    "M-SET-8": (ChangeReplacesAll, ChangeMovesTheLens),
    "M-SET-9": (
        IrisCannotChange,
        LensCannotChange,
        CropCannotChange,
        ChangesThePreviewOnly,
        ChangeNamesItsRequest,
    ),
}
"""The plain modules that break a clause."""
