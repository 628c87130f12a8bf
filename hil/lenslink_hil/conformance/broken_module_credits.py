"""Modules that break a clause on credits (SPEC.md, 5.4)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    AnyMessage,
    Capture,
    Configure,
    GetManifest,
    Header,
    Heartbeat,
    Query,
    Resend,
    StartStream,
)

from .broken_steps import STILL
from .plain_module import Item, PlainModule

_MANY = 8


class SpendsBelowLimit(PlainModule):
    """Sends a tile as long as less than the limit was sent."""

    def has_credit(self, item: Item) -> bool:
        return self.sent[item.stream] < self.limits[item.stream]


class ResendsWithoutCredit(PlainModule):
    """Sends tiles again without credit."""

    def has_credit(self, item: Item) -> bool:
        return bool(item.flags) or super().has_credit(item)


class AddsLimits(PlainModule):
    """Adds each limit to those before."""

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = [a + b for a, b in zip(self.limits, message.limit, strict=True)]


class SharesLimits(PlainModule):
    """Spends the credits of one stream on the other."""

    def has_credit(self, item: Item) -> bool:
        return sum(self.sent) + len(item.payload) <= sum(self.limits)


class LimitPerFrame(PlainModule):
    """Counts each frame's bytes against the limit from 0."""

    def has_credit(self, item: Item) -> bool:
        frame = self.frame_of(item.stream, item.number)
        sent = 0 if frame is None else frame.sent_tiles * len(item.payload)
        return sent + len(item.payload) <= self.limits[item.stream]


class RoiWithoutCredits(PlainModule):
    """Sends tiles of the ROI without credits."""

    def has_credit(self, item: Item) -> bool:
        return item.stream == 2 or super().has_credit(item)


class RoiOnThePreviewsCredits(PlainModule):
    """Counts tiles of the ROI as those of the preview."""

    def has_credit(self, item: Item) -> bool:
        return super().has_credit(replace(item, stream=item.stream % 2))

    def count_tile(self, item: Item) -> None:
        super().count_tile(replace(item, stream=item.stream % 2))


class TakesLowerLimits(PlainModule):
    """Takes the newest limit, also if it is lower than one before."""

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = list(message.limit)


class LimitsOf32Bits(PlainModule):
    """Keeps the low 32 bits of a limit."""

    def raise_limits(self, message: Heartbeat) -> None:
        preview, still, roi = (each & 0xFFFFFFFF for each in message.limit)
        super().raise_limits(Heartbeat((preview, still, roi), 0))


class ResentsNeedOneByte(PlainModule):
    """Sends a tile again if any credit is left."""

    def has_credit(self, item: Item) -> bool:
        if item.flags & 1:
            return self.sent[item.stream] < self.limits[item.stream]
        return super().has_credit(item)


class QueuesAnswers(PlainModule):
    """Lets answers wait behind the tiles."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if self.data:
            self.answer_in_order(number, message)
        else:
            super().answer(number, message)


class NoQueryWhileBlocked(PlainModule):
    """Does not answer Query while tiles wait."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        if not (isinstance(message, Query) and self.data):
            super().on_unnumbered(header, message)


class NoRefusalWhileBlocked(PlainModule):
    """Does not answer Configure while tiles wait."""

    def on_configure(self, number: int, message: Configure) -> None:
        if not self.data:
            super().on_configure(number, message)


class ResentOvertakesTiles(PlainModule):
    """Sends Resent before the tiles that wait for credits."""

    def on_resend(self, header: Header, message: Resend) -> None:
        super().on_resend(header, message)
        self.data.sort(key=lambda item: item.kind != MessageType.RESENT)


class ResentsKeepOutRequests(PlainModule):
    """Drops requests while many Resents wait for credits."""

    def on_request(self, header: Header, payload: bytes) -> None:
        if sum(item.kind == MessageType.RESENT for item in self.data) < _MANY:
            super().on_request(header, payload)


class _DeafBesideAStill(PlainModule):
    kinds: tuple[type[AnyMessage], ...] = ()

    def execute(self, number: int, message: AnyMessage) -> None:
        is_waiting = any(each.stream == STILL and each.kind == MessageType.TILE
                         for each in self.data)  # fmt: skip
        if not (is_waiting and isinstance(message, self.kinds)):
            super().execute(number, message)


class NoManifestBesideAStill(_DeafBesideAStill):
    """Does not answer GetManifest while a frame of the still waits."""

    kinds = (GetManifest,)


class NoStartBesideAStill(_DeafBesideAStill):
    """Does not answer Capture and StartStream while a frame of the still waits."""

    kinds = (Capture, StartStream)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CREDIT-1": (
        SpendsBelowLimit,
        ResendsWithoutCredit,
        AddsLimits,
        SharesLimits,
        LimitPerFrame,
        RoiWithoutCredits,
        RoiOnThePreviewsCredits,
        TakesLowerLimits,
        LimitsOf32Bits,
        ResentsNeedOneByte,
    ),
    "M-CREDIT-2": (
        QueuesAnswers,
        NoQueryWhileBlocked,
        NoRefusalWhileBlocked,
        ResentOvertakesTiles,
        ResentsKeepOutRequests,
        NoManifestBesideAStill,
        NoStartBesideAStill,
    ),
    "M-RESEND-1": (ResentOvertakesTiles,),
}
"""The plain modules that break a clause."""
