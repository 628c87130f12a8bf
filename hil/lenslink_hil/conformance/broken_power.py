"""Modules that break a rule of their clock, their power or their Events.

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import Capability, EventKind
from lenslink_protocol.messages import (
    Configure,
    Configured,
    Event,
    FrameStart,
    Header,
    Heartbeat,
    HeartbeatReply,
    SetBudget,
)

from .plain_module import (
    ACTIVE_MW,
    FRAME_UJ,
    IDLE_MW,
    MOTOR_MW,
    NO_BUDGET,
    Exposure,
    PlainModule,
    State,
    Stream,
)


class _OtherTimes(PlainModule):
    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return reply

    def heartbeat_reply(self) -> HeartbeatReply:
        return self.change(super().heartbeat_reply())


class NoTimes(_OtherTimes):
    """Leaves the new fields of HeartbeatReply 0."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, host_us=0, received_us=0)


class OldTimes(PlainModule):
    """Repeats the largest time of the host, not the newest one."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        most = max(message.time_us, self.heartbeat_times[0])
        super().on_heartbeat(header, replace(message, time_us=most))


class TimesOf32Bits(_OtherTimes):
    """Repeats the low 32 bits of the host's time."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, host_us=reply.host_us & 0xFFFFFFFF)


class RepliesBeforeItReceives(_OtherTimes):
    """States a time of the reply that lies before the arrival."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, received_us=reply.uptime_us + 1)


class TimesInMilliseconds(_OtherTimes):
    """States its times in milliseconds."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        received_us = reply.received_us // 1000
        return replace(reply, received_us=received_us, uptime_us=reply.uptime_us // 1000)


class ReceivesOnce(_OtherTimes):
    """States for ever when the first Heartbeat was received."""

    _first = 0

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        self._first = self._first or reply.received_us
        return replace(reply, received_us=self._first)


class _OtherStart(PlainModule):
    shift_us = 0

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        start = super().frame_start(stream, plan, exposure)
        return replace(start, timestamp_us=start.timestamp_us + self.shift_of(start))

    def shift_of(self, start: FrameStart) -> int:
        raise NotImplementedError


class StampsTheExposure(_OtherStart):
    """States when the exposure began, not the readout."""

    def shift_of(self, start: FrameStart) -> int:
        return -start.exposure_us


class StampsTheMiddle(_OtherStart):
    """States the middle of the exposure."""

    def shift_of(self, start: FrameStart) -> int:
        return -start.exposure_us // 2


class StampsTheEnd(_OtherStart):
    """States a time at which the frame will have been sent."""

    def shift_of(self, start: FrameStart) -> int:
        del start
        return 1_000_000


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


class IgnoresTheBudget(PlainModule):
    """Takes frames whatever the budget is."""

    def check_budget(self) -> None:
        """Refuse nothing."""


class ForgetsTheMotor(PlainModule):
    """Compares the budget with the mode's power alone."""

    def check_budget(self) -> None:
        if self.budget_mw >= ACTIVE_MW:
            return
        super().check_budget()


class RefusesTooMuch(PlainModule):
    """Refuses frames that need all of the budget."""

    def check_budget(self) -> None:
        self.budget_mw -= 1
        try:
            super().check_budget()
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


class FinishesTheFrame(PlainModule):
    """Ends a stream that needs more, but still takes the frame under way."""

    def stop_what_needs_more(self) -> None:
        for stream in self.streams:
            if stream.state is State.STREAMING and self.budget_mw < ACTIVE_MW + MOTOR_MW:
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


class DrawsAlways(PlainModule):
    """Draws the power of frames whatever the budget is."""

    def count_energy_uj(self) -> int:
        return round(self.time * (ACTIVE_MW + MOTOR_MW) * 1000)


class NoFirstEvents(PlainModule):
    """Reports changes only, and not the states at first."""

    def send_first_events(self) -> None:
        """Send nothing."""


class NoHeatEvents(PlainModule):
    """Reports three kinds of the four."""

    def send_event(self, kind: EventKind) -> None:
        if kind != EventKind.HEAT:
            super().send_event(kind)


class EventsForAll(PlainModule):
    """Sends Events whether the session has them or not."""

    def has_events(self) -> bool:
        return True


class EventsOnceWanted(PlainModule):
    """Sends Events to each host after one has wanted them."""

    _wanted = False

    def has_events(self) -> bool:
        self._wanted |= bool(self.used_capabilities & Capability.EVENTS)
        return self._wanted


class EventsOfFrames(PlainModule):
    """Puts a number into the header of its Events."""

    event_frame = 1


class _OtherEvents(PlainModule):
    def make_event(self, kind: EventKind) -> Event:
        return self.change(super().make_event(kind))

    def change(self, event: Event) -> Event:
        return event


class CountersOfTheSession(_OtherEvents):
    """Counts from the beginning of each session."""

    def reset_session(self) -> None:
        super().reset_session()
        self._base = self.count_energy_uj()

    def change(self, event: Event) -> Event:
        if event.kind != EventKind.POWER:
            return event
        return replace(event, counter=self.count_energy_uj() - self._base, counter_high=0)


class CountersAreDifferences(_OtherEvents):
    """Counts from one Event to the next."""

    _last = 0

    def change(self, event: Event) -> Event:
        if event.kind != EventKind.POWER:
            return event
        now = self.count_energy_uj()
        last, self._last = self._last, now
        return replace(event, counter=now - last, counter_high=0)


class TimeOfTheSession(_OtherEvents):
    """States times since the session began."""

    _began = 0

    def send_first_events(self) -> None:
        self._began = self.now_us()
        super().send_first_events()

    def change(self, event: Event) -> Event:
        return replace(event, time_us=event.time_us - self._began)


class TimesToCome(_OtherEvents):
    """States a time that is to come."""

    def change(self, event: Event) -> Event:
        return replace(event, time_us=event.time_us + 10_000_000)


class TimeOfTheStart(_OtherEvents):
    """States the same time in every Event."""

    def change(self, event: Event) -> Event:
        return replace(event, time_us=1)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-TIME-1": (
        NoTimes,
        OldTimes,
        TimesOf32Bits,
        RepliesBeforeItReceives,
        TimesInMilliseconds,
        ReceivesOnce,
    ),
    "M-TIME-2": (StampsTheExposure, StampsTheMiddle, StampsTheEnd),
    "M-PWR-1": (AnyBudget, BudgetForTheMotorOnly, TakesWhatItRefuses),
    "M-PWR-2": (IgnoresTheBudget, ForgetsTheMotor, RefusesTooMuch),
    "M-PWR-3": (StreamsOn, EndsEverything, FinishesTheFrame, ForgetsThePlan),
    "M-PWR-4": (BudgetLasts, BeginsWithABudget, BudgetOfOneConfiguration),
    "M-PWR-5": (OverstatesFrames, CountsMillijoules, DrawsAlways),
    "M-EVT-1": (NoFirstEvents, NoHeatEvents, EventsForAll, EventsOnceWanted, EventsOfFrames),
    "M-EVT-2": (
        CountersOfTheSession,
        CountersAreDifferences,
        TimeOfTheSession,
        TimesToCome,
        TimeOfTheStart,
    ),
}
"""The broken modules of each clause."""
