"""Modules that break a clause on Events and their counters (SPEC.md, 3.2)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import Capability, EventKind
from lenslink_protocol.messages import Event

from .plain_module import FRAME_UJ, PlainModule


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


class RareReports(PlainModule):
    """Reports its supply every three seconds."""

    def step(self) -> None:
        before = self.next_event
        super().step()
        if self.next_event != before:
            self.next_event += 2.0


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


class EventsOfOneSession(PlainModule):
    """Reports its states in the first session only."""

    _sessions = 0

    def send_first_events(self) -> None:
        self._sessions += self.has_events()
        if self._sessions < 2:
            super().send_first_events()


class AlwaysDetached(_OtherEvents):
    """Reports contacts that are open."""

    def change(self, event: Event) -> Event:
        return replace(event, value=0) if event.kind == EventKind.CONTACTS else event


class CountsFramesOnly(PlainModule):
    """Counts the energy of frames, and not what it takes between them."""

    def count_energy_uj(self) -> int:
        return self.ended_frames * FRAME_UJ


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-EVT-1": (
        NoFirstEvents,
        NoHeatEvents,
        EventsForAll,
        EventsOnceWanted,
        EventsOfFrames,
        RareReports,
        EventsOfOneSession,
        AlwaysDetached,
    ),
    "M-EVT-2": (
        CountersOfTheSession,
        CountersAreDifferences,
        TimeOfTheSession,
        TimesToCome,
        TimeOfTheStart,
    ),
    "M-PWR-5": (CountsFramesOnly,),
}
"""The plain modules that break a clause."""
