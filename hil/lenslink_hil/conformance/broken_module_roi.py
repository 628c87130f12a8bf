"""Modules that break a clause on crops, and the stream of a region of interest (SPEC.md, 5.6)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ConfigureFlag, ControlId, MessageType
from lenslink_protocol.messages import Configure, Configured, FrameStart

from .plain_module import HEIGHT, WIDTH, Exposure, Frame, PlainModule, State, Stream


class IgnoresCrops(PlainModule):
    """Configures the whole mode, whatever crop is named."""

    def complete_crop(self, message: Configure) -> Configure:
        return replace(message, x=0, y=0, width=WIDTH, height=HEIGHT)


class OddCrops(PlainModule):
    """Takes crops of odd numbers, one pixel less."""

    def complete_crop(self, message: Configure) -> Configure:
        even = super().complete_crop(message)
        return replace(
            even, x=even.x & ~1, y=even.y & ~1, width=even.width & ~1, height=even.height & ~1
        )


class EmptyCrops(PlainModule):
    """Takes a crop without width or height for the whole mode."""

    def complete_crop(self, message: Configure) -> Configure:
        if message.width and message.height:
            return message
        return replace(message, x=0, y=0, width=WIDTH, height=HEIGHT)


class CutsCrops(PlainModule):
    """Cuts a crop that is not inside the mode."""

    def complete_crop(self, message: Configure) -> Configure:
        whole = super().complete_crop(message)
        x, y = min(whole.x, WIDTH - 2), min(whole.y, HEIGHT - 2)
        width, height = min(whole.width, WIDTH - x), min(whole.height, HEIGHT - y)
        return replace(whole, x=x, y=y, width=width, height=height)


class CropsOfOneStream(PlainModule):
    """Has crops on the stream of the ROI only."""

    def complete_crop(self, message: Configure) -> Configure:
        if message.stream != 2:
            message = replace(message, x=0, y=0, width=0, height=0)
        return super().complete_crop(message)


class KeepsTheCrop(PlainModule):
    """Keeps the crop of a stream if Configure names none."""

    def complete_crop(self, message: Configure) -> Configure:
        plan = self.streams[message.stream].plan
        if plan is not None and not (message.width or message.height or message.x or message.y):
            return replace(message, x=plan.x, y=plan.y, width=plan.width, height=plan.height)
        return super().complete_crop(message)


class StatesNoPlace(PlainModule):
    """Does not state the place of the crop in Configured."""

    def plan_of(self, message: Configure) -> Configured:
        return replace(super().plan_of(message), x=0, y=0)

    def set_crop(self, stream: Stream, plan: Configured) -> None:
        """The place is lost."""


class WholeBytes(PlainModule):
    """States the bytes of the whole mode for a crop."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, frame_bytes=plan.stride * HEIGHT)


class AlwaysAtTheOrigin(PlainModule):
    """States 0 for the place of each frame."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        return replace(super().frame_start(stream, plan, exposure), crop_x=0, crop_y=0)


class PlaceOfConfigured(PlainModule):
    """States the place that was configured, wherever the crop is."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        return replace(super().frame_start(stream, plan, exposure), crop_x=plan.x, crop_y=plan.y)


class OldPlace(PlainModule):
    """Keeps the place of the crop when it is configured anew."""

    def set_crop(self, stream: Stream, plan: Configured) -> None:
        stream.values.setdefault(ControlId.ROI_X, plan.x)
        stream.values.setdefault(ControlId.ROI_Y, plan.y)


class TrialsMove(PlainModule):
    """Moves the crop with TEST_ONLY."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        if message.flags & ConfigureFlag.TEST_ONLY:
            self.set_crop(self.streams[message.stream], plan)
        return plan


class RoundsUp(PlainModule):
    """Takes the larger of two places that are equally near."""

    def nearest_place(self, stream: Stream, control: int, value: int) -> int:
        return super().nearest_place(stream, control, value + (value & 1))


class LeavesTheMode(PlainModule):
    """Lets a crop move beyond the mode's end."""

    def nearest_place(self, stream: Stream, control: int, value: int) -> int:
        return min(max(value, 0), 0xFFFE) & ~1


class WrapsAround(PlainModule):
    """Lets a crop in again at the other side."""

    def nearest_place(self, stream: Stream, control: int, value: int) -> int:
        most = super().nearest_place(stream, control, 1 << 29)
        return value % (most + 2) & ~1


class PlacesThatStay(PlainModule):
    """Ignores ROI_X and ROI_Y."""

    def nearest_place(self, stream: Stream, control: int, value: int) -> int:
        plan = stream.plan
        assert plan is not None
        return plan.x if control == ControlId.ROI_X else plan.y


class RoiFirst(PlainModule):
    """Begins a frame of the ROI whenever one is due."""

    def next_stream(self) -> int | None:
        self.is_previews_turn = False
        return super().next_stream()


class TwoOfThree(PlainModule):
    """Gives the preview each third frame."""

    in_a_row = 0

    def next_stream(self) -> int | None:
        if self.in_a_row < 2:
            self.is_previews_turn = False
        index = super().next_stream()
        if index is not None and self.readout is None:
            self.in_a_row = self.in_a_row + 1 if index == 2 else 0
        return index


class TurnByNumber(PlainModule):
    """Gives the preview one frame of four, by its number."""

    def next_stream(self) -> int | None:
        self.is_previews_turn = self.next_frame % 4 == 0
        return super().next_stream()


class SameCropStays(PlainModule):
    """Keeps a place that was moved if the same crop is configured again."""

    _before = (0, 0, 0, 0)

    def set_crop(self, stream: Stream, plan: Configured) -> None:
        before, self._before = self._before, (plan.x, plan.y, plan.width, plan.height)
        if before != self._before or ControlId.ROI_X not in stream.values:
            super().set_crop(stream, plan)

    def reset_session(self) -> None:
        super().reset_session()
        self._before = (0, 0, 0, 0)


class ShowsTheOrigin(PlainModule):
    """Reads out the first pixels of the mode, wherever the crop is."""

    def new_frame(self, exposure: Exposure) -> Frame:
        frame = super().new_frame(exposure)
        frame.pixels = self.picture(frame.number)[: frame.plan.height, : frame.plan.width]
        return frame


class ShowsTheConfigured(PlainModule):
    """Moves the place that it states, and not the pixels."""

    def new_frame(self, exposure: Exposure) -> Frame:
        frame = super().new_frame(exposure)
        plan, whole = frame.plan, self.picture(frame.number)
        frame.pixels = whole[plan.y : plan.y + plan.height, plan.x : plan.x + plan.width]
        return frame


class StillEndsTheTurn(PlainModule):
    """Forgets that it is the preview's turn when a still comes between."""

    def expose(self, index: int, stream: Stream) -> Exposure:
        exposure = super().expose(index, stream)
        self.is_previews_turn = self.is_previews_turn and index != 1
        return exposure


class CreditsEndTheTurn(PlainModule):
    """Takes no preview for due whose tiles wait for credits."""

    def next_stream(self) -> int | None:
        waits = any(
            each.kind == MessageType.TILE and each.stream == 0 and not self.has_credit(each)
            for each in self.data
        )
        roi = self.streams[2]
        is_due = roi.state is State.STREAMING and roi.unexposed
        return 2 if waits and is_due else super().next_stream()


class RoiBeforeCaptures(PlainModule):
    """Takes a Capture of the preview only when no frame of the ROI is due."""

    def next_stream(self) -> int | None:
        preview, roi = self.streams[0], self.streams[2]
        is_first = preview.unexposed > 0 and not preview.begun
        return 2 if is_first and roi.unexposed < 0 else super().next_stream()


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-ROI-1": (
        IgnoresCrops,
        OddCrops,
        EmptyCrops,
        CutsCrops,
        CropsOfOneStream,
        KeepsTheCrop,
        StatesNoPlace,
        WholeBytes,
        ShowsTheOrigin,
    ),
    "M-ROI-2": (
        AlwaysAtTheOrigin,
        PlaceOfConfigured,
        OldPlace,
        TrialsMove,
        RoundsUp,
        LeavesTheMode,
        WrapsAround,
        PlacesThatStay,
        SameCropStays,
        ShowsTheOrigin,
        ShowsTheConfigured,
    ),
    "M-ROI-3": (
        RoiFirst,
        TwoOfThree,
        TurnByNumber,
        StillEndsTheTurn,
        CreditsEndTheTurn,
        RoiBeforeCaptures,
    ),
}
"""The plain modules that break a clause."""
