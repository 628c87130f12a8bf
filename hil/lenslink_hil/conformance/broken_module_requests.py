"""Modules that break a clause on answers, their ids, and repeated requests (SPEC.md, 4)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    AnyMessage,
    Error,
    Flushed,
    Header,
    Malformed,
    Query,
    Resend,
    Stop,
)

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Item, PlainModule


class SilentRefusals(PlainModule):
    """Does not answer what it refuses."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if not isinstance(message, Error):
            super().answer(number, message)


class AnswersUnderZero(PlainModule):
    """Answers under id 0."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind in (MessageType.MANIFEST, MessageType.CONFIGURED)
        super().emit(replace(item, number=0) if is_reply else item)


class AcceptsStopAsFlushed(PlainModule):
    """Answers Stop with Flushed."""

    def on_stop(self, number: int, message: Stop) -> None:
        self.stop(message.stream)
        flushed = Flushed(self.used_lanes, self.previous_request, (0, 0, 0, 0))
        self.answer_in_order(number, flushed)


class KeepsThreeAnswers(PlainModule):
    """Repeats the answers to the last three requests."""

    answers_kept = 3


class ForgetsRefusals(PlainModule):
    """Repeats no refusal."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        if kind == MessageType.ERROR:
            self.answers.pop()


class ForgetsBarriers(PlainModule):
    """Repeats no answer to Stop."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        if kind == MessageType.ACCEPTED:
            self.answers.pop()


class MalformedIsForgotten(PlainModule):
    """Does not remember a request that was malformed."""

    def on_request(self, header: Header, payload: bytes) -> None:
        try:
            if header.type in BY_TYPE and header.type != MessageType.TILE:
                self.decode(header.type, payload)
        except Malformed:
            self.send_control(Error(ErrorCode.MALFORMED, b""), header.frame)
            return
        super().on_request(header, payload)


class ChecksRepetitions(PlainModule):
    """Refuses a repeated request as MALFORMED if its payload is, before it looks at the id."""

    def on_request(self, header: Header, payload: bytes) -> None:
        assert self.session is not None
        is_new = (header.frame - self.session.last_request) & 0xFFFFFFFF in range(1, 1 << 31)
        try:
            if header.type in BY_TYPE and not is_new:
                self.decode(header.type, payload)
        except Malformed:
            self.send_control(Error(ErrorCode.MALFORMED, b""), header.frame)
            return
        super().on_request(header, payload)


class KeepsWhatItRepeats(PlainModule):
    """Counts a repeated request as one of the four whose answers it keeps."""

    def repeat_answer(self, number: int) -> bool:
        found = [each for each in self.answers if each[0] == number]
        is_repeated = super().repeat_answer(number)
        if found:
            self.answers = (self.answers + found)[-self.answers_kept :]
        return is_repeated


class _KeepsErrors(PlainModule):
    """Keeps an Error that is not to be kept. A subclass names it."""

    code = ErrorCode.REPEATED

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        super().send_control(message, number)
        if isinstance(message, Error) and message.code == self.code:
            self.answers.append((number, message.encode(), message.TYPE))
            del self.answers[: -self.answers_kept]


class KeepsRepeated(_KeepsErrors):
    """Counts Error REPEATED as one of the four answers that it keeps."""


class KeepsUnknown(_KeepsErrors):
    """Counts Error UNKNOWN_REQUEST as one of the four answers that it keeps."""

    code = ErrorCode.UNKNOWN_REQUEST


class _UnnumberedUsesId(PlainModule):
    """Takes the number of a packet that has no id for the newest id. A subclass names its type."""

    kind: type[AnyMessage] = Query

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        super().on_unnumbered(header, message)
        if isinstance(message, self.kind) and self.session is not None:
            self.session.last_request = header.frame


class QueryUsesId(_UnnumberedUsesId):
    """Takes the id of a Query for the newest one."""


class ResendUsesId(_UnnumberedUsesId):
    """Takes the frame of a Resend for the newest id."""

    kind = Resend


class SilentToOldRequests(PlainModule):
    """Does not answer a repeated request whose answer it no longer has."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        if not (isinstance(message, Error) and message.code == ErrorCode.REPEATED):
            super().send_control(message, number)


class OldIsWrongState(PlainModule):
    """Refuses a request of long ago with STATE."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.REPEATED:
            message = replace(message, code=ErrorCode.STATE)
        super().send_control(message, number)


class ExecutesOldRequests(PlainModule):
    """Executes a request again once its answer is forgotten."""

    def repeat_answer(self, number: int) -> bool:
        if any(known == number for known, _, _ in self.answers):
            return super().repeat_answer(number)
        return any(each.number == number and each.is_barrier for each in self.data)


class UnknownIsUnsupported(PlainModule):
    """Refuses an unknown type with UNSUPPORTED."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST:
            message = replace(message, code=ErrorCode.UNSUPPORTED)
        super().send_control(message, number)


class UnknownIsMalformed(PlainModule):
    """Refuses an unknown type with MALFORMED unless its size field is right."""

    def on_request(self, header: Header, payload: bytes) -> None:
        unknown = header.type not in set(MessageType)
        if unknown and int.from_bytes(payload[:2], "little") != len(payload):
            self.answer(header.frame, Error(ErrorCode.MALFORMED, b""))
            return
        super().on_request(header, payload)


class UnknownUsesId(PlainModule):
    """Takes the id of an unknown type for the newest request."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        super().send_control(message, number)
        is_unknown = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
        if is_unknown and self.session is not None:
            self.session.last_request = number


class HighTypesUseIds(PlainModule):
    """Takes the number of an unknown type from 0x80 for the newest id."""

    def on_request(self, header: Header, payload: bytes) -> None:
        super().on_request(header, payload)
        if header.type >= 0x80 and self.session is not None:
            self.session.last_request = header.frame


class SecondPendingOfNobody(Defect):
    """Sends each Pending but the first one under id 0."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.PENDING
        is_later = packet.kind == MessageType.PENDING and self._count > 1
        return [packet.encode(frame=0) if is_later else data]


class LeasesOfNothing(Defect):
    """Asks for leases of 1 ms, however long the work takes."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_pending = packet.kind == MessageType.PENDING
        return [edit_message(packet, lease_ms=1) if is_pending else data]


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-REQ-1": (SilentRefusals, AnswersUnderZero, AcceptsStopAsFlushed),
    "M-REQ-2": (
        KeepsThreeAnswers,
        ForgetsRefusals,
        ForgetsBarriers,
        MalformedIsForgotten,
        ChecksRepetitions,
        KeepsWhatItRepeats,
        KeepsRepeated,
        KeepsUnknown,
    ),
    "M-REQ-3": (
        SilentToOldRequests,
        OldIsWrongState,
        ExecutesOldRequests,
        ChecksRepetitions,
        QueryUsesId,
        ResendUsesId,
    ),
    "M-REQ-4": (UnknownIsUnsupported, UnknownIsMalformed, UnknownUsesId, HighTypesUseIds),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-REQ-5": (SecondPendingOfNobody, LeasesOfNothing),
}
"""The defects on the line of the firmware's module, by clause."""
