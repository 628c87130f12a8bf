"""Modules that break a clause on a stream's states, and Configure (SPEC.md, 5.1)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import Cfa, ConfigureFlag, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Error,
    FrameStart,
    Stop,
)
from lenslink_protocol.packings import Layout, Packing, find_layout, find_pixel_format
from lenslink_protocol.params import MAX_STREAMS

from .broken_steps import OtherPlan
from .defects import Defect, edit_message
from .host_peer import ROI
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import ACTIVE_MW, MODE, WIDTH, Exposure, PlainModule, Refused, State, Stream


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


class RoiCannotStop(PlainModule):
    """Refuses to stop a region of interest that is not configured."""

    def on_stop(self, number: int, message: Stop) -> None:
        if message.stream == ROI and self.streams[ROI].state is State.UNCONFIGURED:
            raise Refused(ErrorCode.STATE)
        super().on_stop(number, message)


class RoiStaysConfigurable(PlainModule):
    """Configures a region of interest that runs."""

    def check_configurable(self, stream: Stream) -> None:
        if stream is not self.streams[ROI]:
            super().check_configurable(stream)


class HostsBoundIsSilent(PlainModule):
    """Does not say ADJUSTED of tiles that the host's max_payload shortens."""

    def plan_of(self, message: Configure) -> Configured:
        limit = min(message.tile_bytes, self.max_payload)
        return super().plan_of(replace(message, tile_bytes=limit))


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


class SettingsOfRefused(PlainModule):
    """Keeps the settings of a Capture that it refuses."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.stream < len(self.streams):
            settings = self.read_list(message.settings, message.count)
            self.take_settings(self.streams[message.stream], settings)
        super().execute(number, message)


class ChangesUnconfigured(PlainModule):
    """Accepts SetSettings of a stream that is not configured."""

    def check_changeable(self, stream: Stream) -> None:
        if stream.state is not State.UNCONFIGURED:
            super().check_changeable(stream)


class ChangesCaptures(PlainModule):
    """Accepts SetSettings during a Capture."""

    def check_changeable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            super().check_changeable(stream)


class SwapsSides(Defect):
    """States the height of the still's mode as its width."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURED else None
        if not isinstance(message, Configured) or message.stream == 0:
            return [data]
        return [edit_message(packet, width=message.height, height=message.width)]


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


class OneRowATile(OtherPlan):
    """Sends one row a tile, however long a tile may be."""

    def change(self, plan: Configured) -> Configured:
        return replace(plan, tile_bytes=min(plan.stride, plan.tile_bytes))


class LimitHidesFormat(PlainModule):
    """Says ADJUSTED of a pixel format only if Configure has no limit of tiles."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        is_kept = message.tile_bytes == plan.tile_bytes
        return replace(plan, flags=plan.flags & ~ConfigureFlag.ADJUSTED) if is_kept else plan


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


class RepeatsUnknownFlags(PlainModule):
    """Repeats all flags of Configure in Configured."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, flags=plan.flags | message.flags)


class OwnChoiceIsAdjusted(PlainModule):
    """Says ADJUSTED of a format that it has chosen itself."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        is_own = message.pixel_format == 0
        return replace(plan, flags=plan.flags | ConfigureFlag.ADJUSTED) if is_own else plan


class LastFormatAgain(PlainModule):
    """Takes the format of the configuration before if Configure names none."""

    def chosen_format(self, message: Configure) -> Layout:
        before = self.streams[message.stream].plan
        if message.pixel_format == 0 and before is not None:
            return find_layout(before.pixel_format)
        return super().chosen_format(message)


class TrialSetsTheMode(PlainModule):
    """Takes the mode of a trial."""

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        stream = self.streams[message.stream]
        if message.flags & ConfigureFlag.TEST_ONLY and stream.plan is not None:
            stream.plan = replace(stream.plan, mode=message.mode)


class NextIsNothing(PlainModule):
    """States no ``first_frame`` in the Accepted of Stop and SetBudget."""

    def answer_in_order(
        self, number: int, message: AnyMessage, streams: Collection[int] | None = None
    ) -> None:
        if isinstance(message, Accepted):
            message = replace(message, first_frame=0)
        super().answer_in_order(number, message, streams)


class ControlsBeforeState(PlainModule):
    """Looks at the controls of a list before it looks at the state."""

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        found = super().read_list(data, frames)
        self.check_controls(found)
        return found


class FormatOfAllStreams(PlainModule):
    """Sends each stream in the format that was configured last."""

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        super().apply_plan(stream, plan)
        for each in self.streams:
            if each.plan is not None:
                each.plan = replace(each.plan, pixel_format=plan.pixel_format)


class TilesOfTheMode(PlainModule):
    """Cuts a crop into as many rows a tile as the whole mode has."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        whole = find_layout(plan.pixel_format).count_bytes(WIDTH)
        if not message.tile_bytes or plan.width == WIDTH or plan.tile_bytes < whole:
            return plan
        return replace(plan, tile_bytes=plan.tile_bytes // whole * plan.stride)


class TilesOfWords(PlainModule):
    """Takes two bytes a pixel when it computes how much fits into a tile."""

    def chosen_tile_bytes(self, message: Configure, form: Layout) -> int:
        limit = super().chosen_tile_bytes(message, form)
        return max(form.count_bytes(form.group), limit * form.bits // 16)

    def plan_of(self, message: Configure) -> Configured:
        return replace(super().plan_of(message), flags=message.flags & ConfigureFlag.TEST_ONLY)


class TrialNeverAdjusts(PlainModule):
    """Does not say ADJUSTED of what is only tried."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        is_trial = message.flags & ConfigureFlag.TEST_ONLY
        return replace(plan, flags=ConfigureFlag.TEST_ONLY) if is_trial else plan


class OtherPhases(PlainModule):
    """Applies formats of another phase than the sensor's."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        codes = {find_pixel_format(Packing.UNPACKED, self.depth, phase) for phase in Cfa}
        return (
            replace(plan, pixel_format=message.pixel_format)
            if message.pixel_format in codes
            else plan
        )


class BitsOfWords(PlainModule):
    """States 16 bits for the frames of the ROI."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, bits=16) if exposure.stream == ROI else start


class ModeOfAllStreams(PlainModule):
    """States the mode that was configured last, of any stream."""

    _mode = 0

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        super().apply_plan(stream, plan)
        self._mode = plan.mode

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        return replace(super().frame_start(stream, plan, exposure), mode=self._mode)


class PhaseOfTheCrop(PlainModule):
    """States another phase for a crop that begins at column 2."""

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, cfa=start.crop_x // 2 % 4)


class StateBeforeCount(PlainModule):
    """Looks at the state of the stream before the number of frames."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.count == 0:
            self.check_startable(self.stream_at(message.stream))
        super().execute(number, message)


class PowerBeforeState(PlainModule):
    """Looks at the budget before the state of the stream."""

    def check_startable(self, stream: Stream) -> None:
        if self.budget_mw < ACTIVE_MW:
            raise Refused(ErrorCode.POWER)
        super().check_startable(stream)


class PowerBeforeControls(PlainModule):
    """Looks at the budget before the settings."""

    def check_startable(self, stream: Stream) -> None:
        super().check_startable(stream)
        self.check_budget(stream)


class ModeBeforeState(PlainModule):
    """Looks at the mode of a Configure before the state of the stream."""

    def on_configure(self, number: int, message: Configure) -> None:
        if not self.is_mode(message.mode):
            raise Refused(ErrorCode.UNSUPPORTED)
        super().on_configure(number, message)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-STATE-1": (
        StaysStreaming,
        UnconfiguresAfterCapture,
        UnconfiguresOnStop,
        StopsBoth,
        RoiCannotStop,
        RoiStaysConfigurable,
        OneStreamAtATime,
        StartsUnconfigured,
        ReconfiguresRunning,
        StartsTwice,
        SettingsOfRefused,
        ChangesUnconfigured,
        ChangesCaptures,
        NextIsNothing,
        ControlsBeforeState,
        StateBeforeCount,
        PowerBeforeState,
        PowerBeforeControls,
        ModeBeforeState,
    ),
    "M-STATE-2": (
        TrialApplies,
        TrialWithoutFlag,
        TrialUnconfigures,
        TrialSetsTheMode,
        TrialNeverAdjusts,
    ),
    "M-STATE-3": (
        ShorterTiles,
        OtherFormatUnsaid,
        LongTilesUnsaid,
        OneRowATile,
        LimitHidesFormat,
        HostsBoundIsSilent,
        OwnChoiceIsAdjusted,
        LastFormatAgain,
        TilesOfTheMode,
        TilesOfWords,
    ),
    "M-STATE-4": (AnyStream, CapturesNothing, UnsupportedIsState, StopsAnything),
    "M-STOP-1": (StopsBoth,),
    "M-GROW-2": (RepeatsUnknownFlags,),
    "M-PACK-1": (FormatOfAllStreams,),
    "M-CAM-2": (
        FormatOfAllStreams,
        BitsOfWords,
        ModeOfAllStreams,
        PhaseOfTheCrop,
    ),
    "M-PACK-2": (OtherPhases,),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-STATE-1": (SwapsSides,),
}
"""The defects on the line of the firmware's module, by clause."""
