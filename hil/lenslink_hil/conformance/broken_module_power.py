"""Modules that break a clause on the power budget (SPEC.md, 5.5)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import EndStatus, ErrorCode, MessageType
from lenslink_protocol.messages import Accepted, Configure, FrameEnd, Header, SetBudget

from .plain_module import (
    ACTIVE_MW,
    FRAME_UJ,
    IDLE_MW,
    MOTOR_MW,
    NO_BUDGET,
    Exposure,
    Frame,
    Item,
    PlainModule,
    Refused,
    State,
    Stream,
)


class AnyBudget(PlainModule):
    """Takes a budget that is too low for an idle module."""

    def idle_need_mw(self) -> int:
        return 0


class BudgetForTheMotorOnly(PlainModule):
    """Refuses a budget of exactly what it needs."""

    def idle_need_mw(self) -> int:
        return IDLE_MW + MOTOR_MW + 1


class TakesWhatItRefuses(PlainModule):
    """Refuses a budget, and keeps to it all the same."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        if message.budget_mw < self.idle_need_mw():
            self.budget_mw = message.budget_mw
        super().on_set_budget(number, message)


class RefusedBudgetEnds(PlainModule):
    """Has no budget after one that it refuses."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        if message.budget_mw < self.idle_need_mw():
            self.budget_mw = NO_BUDGET
        super().on_set_budget(number, message)


class IgnoresTheBudget(PlainModule):
    """Takes frames whatever the budget is."""

    def check_budget(self, stream: Stream) -> None:
        """Refuse nothing."""


class ForgetsTheMotor(PlainModule):
    """Compares the budget with the mode's power alone."""

    def need_mw(self, stream: Stream) -> int:
        return super().need_mw(stream) - MOTOR_MW


class RefusesTooMuch(PlainModule):
    """Refuses frames that need all of the budget."""

    def check_budget(self, stream: Stream) -> None:
        self.budget_mw -= 1
        try:
            super().check_budget(stream)
        finally:
            self.budget_mw += 1


class StreamsOn(PlainModule):
    """Goes on with a stream that needs more than a new budget."""

    def stop_what_needs_more(self) -> None:
        """End nothing."""


class EndsEverything(PlainModule):
    """Ends every stream when a budget comes."""

    def stop_what_needs_more(self) -> None:
        for index, stream in enumerate(self.streams):
            if stream.state is State.STREAMING:
                self.stop(index)


class EndsTheFirst(PlainModule):
    """Ends the preview with each stream that needs more than a new budget."""

    def stop_what_needs_more(self) -> None:
        before = self.running_streams()
        super().stop_what_needs_more()
        if before != self.running_streams() and 0 in before:
            self.stop(0)


class BudgetWaitsForAll(PlainModule):
    """Answers SetBudget behind the data of streams that go on."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        super().on_set_budget(number, message)
        self.data[-1].waits_for = None


class FinishesTheFrame(PlainModule):
    """Ends a stream that needs more, but still takes the frame under way."""

    def stop_what_needs_more(self) -> None:
        for stream in self.streams:
            if stream.state is State.STREAMING and self.budget_mw < self.need_mw(stream):
                stream.state = State.CONFIGURED


class ForgetsThePlan(PlainModule):
    """Forgets the configuration of a stream that needs more than a new budget."""

    def stop_what_needs_more(self) -> None:
        ended = [each for each in self.streams if each.state is State.STREAMING]
        super().stop_what_needs_more()
        for stream in ended:
            if stream.state is State.CONFIGURED:
                stream.state = State.UNCONFIGURED


class BudgetLasts(PlainModule):
    """Keeps a budget beyond its session."""

    def end_session(self) -> None:
        budget_mw = self.budget_mw
        super().end_session()
        self.budget_mw = budget_mw


class BudgetEndsWithClose(PlainModule):
    """Keeps a budget if a Hello ends its session, and not if Close does."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        budget_mw = self.budget_mw
        super().on_hello(header, payload)
        self.budget_mw = budget_mw


class BeginsWithABudget(PlainModule):
    """Begins each session with what an idle module needs, not without a budget."""

    def reset_session(self) -> None:
        super().reset_session()
        self.budget_mw = self.idle_need_mw()


class BudgetOfOneConfiguration(PlainModule):
    """Drops the budget at the next Configure."""

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        self.budget_mw = NO_BUDGET


class CountsMillijoules(PlainModule):
    """Counts in millijoules in its Events, and in microjoules in FrameEnd."""

    def count_energy_uj(self) -> int:
        return super().count_energy_uj() // 1000


class OverstatesFrames(PlainModule):
    """States a hundred times the energy of each frame."""

    def frame_energy_uj(self) -> int:
        return 100 * FRAME_UJ


class CountsTwice(PlainModule):
    """States the energy since the frame has begun, also what another frame states."""

    def __init__(self) -> None:
        super().__init__()
        self.energies: dict[int, int] = {}

    def expose(self, index: int, stream: Stream) -> Exposure:
        exposure = super().expose(index, stream)
        self.energies[exposure.number] = self.count_energy_uj()
        return exposure

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.FRAME_END:
            energy_uj = self.count_energy_uj() - self.energies[item.number]
            end = replace(FrameEnd.decode(item.payload), energy_uj=energy_uj)
            item = replace(item, payload=end.encode())
        return super().encode(item, lane)


class DrawsAlways(PlainModule):
    """Draws the power of frames whatever the budget is."""

    def count_energy_uj(self) -> int:
        return round(self.time * (ACTIVE_MW + MOTOR_MW) * 1000)


class Budgets16Bits(PlainModule):
    """Keeps the low 16 bits of a budget."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        super().on_set_budget(number, replace(message, budget_mw=message.budget_mw & 0xFFFF))


class RefusedBudgetStops(PlainModule):
    """Ends the streams with a budget that it refuses."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        if message.budget_mw < self.idle_need_mw():
            for index in self.running_streams():
                self.stop(index)
        super().on_set_budget(number, message)


class AddsStreams(PlainModule):
    """Adds up the needs of all streams."""

    def check_budget(self, stream: Stream) -> None:
        others = sum(self.need_mw(self.streams[index]) for index in self.running_streams())
        if self.budget_mw < self.need_mw(stream) + others:
            raise Refused(ErrorCode.POWER)


class PowerBeforeControls(PlainModule):
    """Compares the budget before it looks at the controls."""

    def check_startable(self, stream: Stream) -> None:
        super().check_startable(stream)
        self.check_budget(stream)


class ChangesNeedPower(PlainModule):
    """Refuses SetSettings of a stream for which the budget is too low."""

    def check_changeable(self, stream: Stream) -> None:
        super().check_changeable(stream)
        self.check_budget(stream)


class FinishesCaptures(PlainModule):
    """Goes on with a Capture that needs more than a new budget."""

    def stop_what_needs_more(self) -> None:
        for index in self.running_streams():
            stream = self.streams[index]
            if stream.unexposed < 0 and self.budget_mw < self.need_mw(stream):
                self.stop(index)


class StopEndsTheBudget(PlainModule):
    """Drops the budget with Stop and Flush."""

    def stop(self, index: int) -> None:
        super().stop(index)
        self.budget_mw = NO_BUDGET


class HelloAgainEndsTheBudget(PlainModule):
    """Drops the budget with a Hello of the open session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        super().on_hello(header, payload)
        self.budget_mw = NO_BUDGET


class StoppedFramesCostMuch(PlainModule):
    """States a hundred times the energy of a frame that is stopped."""

    _factor = 1

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        self._factor = 1 if status is EndStatus.OK else 100
        super().end_frame(frame, status)

    def frame_energy_uj(self) -> int:
        return self._factor * super().frame_energy_uj()


class NamesTheEnded(PlainModule):
    """Names the stream that a budget ends in its Accepted."""

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        before = self.running_streams()
        super().on_set_budget(number, message)
        ended = before - self.running_streams()
        accepted = Accepted(max(ended, default=0), self.next_frame)
        self.data[-1].payload = accepted.encode()


class BudgetIsAFault(PlainModule):
    """Says SENSOR of the frames that a budget ends."""

    _is_ending = False

    def stop_what_needs_more(self) -> None:
        self._is_ending = True
        super().stop_what_needs_more()
        self._is_ending = False

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        super().end_frame(frame, EndStatus.SENSOR if self._is_ending else status)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CREDIT-2": (BudgetWaitsForAll,),
    "M-PWR-1": (
        AnyBudget,
        BudgetForTheMotorOnly,
        TakesWhatItRefuses,
        RefusedBudgetEnds,
        Budgets16Bits,
        RefusedBudgetStops,
    ),
    "M-PWR-2": (
        IgnoresTheBudget,
        ForgetsTheMotor,
        RefusesTooMuch,
        AddsStreams,
        PowerBeforeControls,
        ChangesNeedPower,
    ),
    "M-PWR-3": (
        StreamsOn,
        EndsEverything,
        EndsTheFirst,
        FinishesTheFrame,
        ForgetsThePlan,
        FinishesCaptures,
        NamesTheEnded,
        BudgetIsAFault,
    ),
    "M-PWR-4": (
        BudgetLasts,
        BudgetEndsWithClose,
        BeginsWithABudget,
        BudgetOfOneConfiguration,
        StopEndsTheBudget,
        HelloAgainEndsTheBudget,
    ),
    "M-PWR-5": (
        CountsMillijoules,
        OverstatesFrames,
        CountsTwice,
        DrawsAlways,
        StoppedFramesCostMuch,
    ),
}
"""The plain modules that break a clause."""
