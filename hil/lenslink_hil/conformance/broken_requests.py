"""Modules that answer or remember requests in a wrong way (SPEC.md, section 4).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import (
    ErrorCode,
    MessageType,
    Outcome,
)
from lenslink_protocol.messages import (
    AnyMessage,
    Error,
    Flushed,
    Header,
    Query,
    Stop,
)

from .plain_module import (
    Item,
    PlainModule,
)


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


class KnowsLastSessionOnly(PlainModule):
    """Remembers the requests of one session that ended."""

    sessions_kept = 1


class ForgetsWithTheConnection(PlainModule):
    """Forgets the requests of sessions with their connection."""

    def connect(self) -> None:
        super().connect()
        self.past.clear()


class KnowsThreeRequests(PlainModule):
    """Remembers what became of three requests."""

    def outcome_of(self, message: Query) -> Outcome:
        for session in [self.session, *self.past]:
            if session is not None:
                for old in list(session.outcomes)[:-3]:
                    del session.outcomes[old]
        return super().outcome_of(message)


class RefusedIsDone(PlainModule):
    """Says DONE of what it has refused."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        assert self.session is not None
        self.session.outcomes[number] = Outcome.DONE


class NeverUnknown(PlainModule):
    """Says NOT_DONE of a session that it does not know."""

    def outcome_of(self, message: Query) -> Outcome:
        found = super().outcome_of(message)
        return Outcome.NOT_DONE if found is Outcome.UNKNOWN else found


class QueriesPushOut(PlainModule):
    """Counts a Query as one of the four requests that it remembers."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        super().on_unnumbered(header, message)
        if isinstance(message, Query) and self.session is not None and self.session.outcomes:
            del self.session.outcomes[next(iter(self.session.outcomes))]


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-REQ-1": (
        SilentRefusals,
        AnswersUnderZero,
        AcceptsStopAsFlushed,
    ),
    "M-REQ-2": (
        KeepsThreeAnswers,
        ForgetsRefusals,
        ForgetsBarriers,
    ),
    "M-REQ-3": (
        SilentToOldRequests,
        OldIsWrongState,
        ExecutesOldRequests,
    ),
    "M-REQ-4": (
        UnknownIsUnsupported,
        UnknownIsMalformed,
    ),
    "M-QUERY-1": (
        KnowsLastSessionOnly,
        ForgetsWithTheConnection,
        KnowsThreeRequests,
        RefusedIsDone,
        NeverUnknown,
        QueriesPushOut,
    ),
}
"""The broken modules of each clause."""
