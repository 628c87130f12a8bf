"""Modules that forget what is to last, or keep what is not (SPEC.md, 4.5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lenslink_protocol.ids import CloseReason, ErrorCode, MessageType, Outcome
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Close,
    Configured,
    Error,
    Flushed,
    Header,
    Heartbeat,
    Hello,
    HelloReply,
    Malformed,
    Query,
    QueryReply,
    SetBudget,
    StartStream,
    Stop,
)

from .packets import MASK_32
from .plain_module import Exposure, Item, PlainModule, State, Stream

_HALF = 1 << 31
_JUMP = 1 << 24


class _ChangesByHello(PlainModule):
    """Changes something when a Hello of the open session arrives. A subclass says what."""

    def change(self, header: Header, message: Hello) -> None:
        raise NotImplementedError

    def on_hello(self, header: Header, payload: bytes) -> None:
        before, was_refused = self.session, self.is_refused
        super().on_hello(header, payload)
        if before is None or self.session is not before or was_refused:
            return
        try:
            message = self.decode(MessageType.HELLO, payload)
        except Malformed:
            return
        assert isinstance(message, Hello)
        self.change(header, message)


class HelloStopsStreams(_ChangesByHello):
    """Stops its streams when a Hello is repeated."""

    def change(self, header: Header, message: Hello) -> None:
        for index, stream in enumerate(self.streams):
            if stream.state is State.STREAMING:
                self.stop(index)


class HelloClearsCounts(_ChangesByHello):
    """Counts anew what it has sent when a Hello is repeated."""

    def change(self, header: Header, message: Hello) -> None:
        self.sent = [0] * len(self.sent)


class HelloTakesNewOffer(_ChangesByHello):
    """Takes the `max_payload` of a repeated Hello."""

    def change(self, header: Header, message: Hello) -> None:
        self.max_payload = message.max_payload


class HelloTakesNewCapabilities(_ChangesByHello):
    """Takes the capabilities of a repeated Hello."""

    def change(self, header: Header, message: Hello) -> None:
        self.used_capabilities = message.capabilities & self.capabilities


class HelloTakesNewLanes(_ChangesByHello):
    """Takes the lanes of a repeated Hello."""

    def change(self, header: Header, message: Hello) -> None:
        self.used_lanes = max(1, min(message.lanes, self.lanes))


class HelloClearsSettings(_ChangesByHello):
    """Forgets the settings when a Hello is repeated."""

    def change(self, header: Header, message: Hello) -> None:
        for stream in self.streams:
            crop = [each for each in stream.values if each in (6, 7)]
            stream.values = {control: stream.values[control] for control in crop}


class HelloForgetsFrames(_ChangesByHello):
    """Forgets the frames that it holds when a Hello is repeated."""

    def change(self, header: Header, message: Hello) -> None:
        self.frames = []


class HelloTakesAPlace(_ChangesByHello):
    """Keeps a repeated Hello as a request of its own."""

    def change(self, header: Header, message: Hello) -> None:
        self.remember(header.frame, self.opening, MessageType.HELLO_REPLY)


class RepeatsLanes(PlainModule):
    """States in HelloReply the lanes that the host offers."""

    def hello_reply(self, message: Hello) -> HelloReply:
        return replace(super().hello_reply(message), lanes=max(1, message.lanes))


class RepeatsMaxPayload(PlainModule):
    """States in HelloReply the host's `max_payload`."""

    def hello_reply(self, message: Hello) -> HelloReply:
        return replace(super().hello_reply(message), max_payload=message.max_payload)


class BootsInEachSession(PlainModule):
    """Counts each session as a start of the module."""

    _count = 0

    def hello_reply(self, message: Hello) -> HelloReply:
        self._count += 1
        return replace(super().hello_reply(message), boot_count=self._count)


class _SaysTwice(PlainModule):
    """Sends an answer twice. A subclass names its type."""

    kind = MessageType.FLUSHED

    def emit(self, item: Item) -> None:
        super().emit(item)
        if item.kind == self.kind:
            super().emit(item)


class FlushedTwice(_SaysTwice):
    """Answers Flush twice."""


class HelloTwice(_SaysTwice):
    """Answers Hello twice."""

    kind = MessageType.HELLO_REPLY


class QueryTwice(_SaysTwice):
    """Answers Query twice."""

    kind = MessageType.QUERY_REPLY


class ConfiguredTwice(PlainModule):
    """Answers Configure twice."""

    def answer(self, number: int, message: AnyMessage) -> None:
        super().answer(number, message)
        if isinstance(message, Configured):
            self.send_control(message, number)


class StopOfStreamZero(PlainModule):
    """Names the preview in the answer to every Stop."""

    def on_stop(self, number: int, message: Stop) -> None:
        self.stop(message.stream)
        self.answer_in_order(number, Accepted(0, self.next_frame), {message.stream})


class StartNamesNoFrame(PlainModule):
    """States frame 0 as the first one in the answer to StartStream."""

    _is_stream = False

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        self._is_stream = isinstance(message, StartStream)
        super().on_start(number, message, count, interval_us)
        self._is_stream = False

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Accepted) and self._is_stream:
            message = replace(message, first_frame=0)
        super().answer(number, message)


class FlushForgetsAnswers(PlainModule):
    """Forgets the answers that it keeps at a Flush."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        self.answers = []


class _KeepsNo(PlainModule):
    """Does not keep one kind of answer. A subclass names it."""

    kind = MessageType.CALIBRATION

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        if kind == self.kind:
            self.answers.pop()


class KeepsNoCalibration(_KeepsNo):
    """Does not keep a CalibrationPiece."""


class KeepsNoProof(_KeepsNo):
    """Does not keep a Proof."""

    kind = MessageType.PROOF


class KeepsNoHello(_KeepsNo):
    """Does not keep HelloReply."""

    kind = MessageType.HELLO_REPLY


class BudgetsAgain(PlainModule):
    """Sets the budget again when SetBudget is repeated."""

    def on_request(self, header: Header, payload: bytes) -> None:
        is_known = any(known == header.frame for known, _, _ in self.answers)
        if header.type == MessageType.SET_BUDGET and is_known:
            message = self.decode(header.type, payload)
            assert isinstance(message, SetBudget)
            self.budget_mw = message.budget_mw
        super().on_request(header, payload)


class JumpsAreOld(PlainModule):
    """Takes an id that is far ahead for an old one."""

    def repeat_answer(self, number: int) -> bool:
        assert self.session is not None
        if _JUMP <= (number - self.session.last_request) & MASK_32 < _HALF:
            self.send_control(Error(ErrorCode.REPEATED, b""), number)
            return True
        return super().repeat_answer(number)


class HalfIsNew(PlainModule):
    """Takes an id that is 2^31 ahead for a new one."""

    def repeat_answer(self, number: int) -> bool:
        assert self.session is not None
        is_half = (number - self.session.last_request) & MASK_32 == _HALF
        return not is_half and super().repeat_answer(number)


class IgnoresDataTypes(PlainModule):
    """Ignores the types of frames when a host sends them."""

    def on_request(self, header: Header, payload: bytes) -> None:
        if header.type not in (MessageType.FRAME_START, MessageType.FRAME_END):
            super().on_request(header, payload)


class UnknownGetsKept(PlainModule):
    """Repeats a kept answer to an unknown type under its id."""

    def on_request(self, header: Header, payload: bytes) -> None:
        if any(known == header.frame for known, _, _ in self.answers):
            self.repeat_answer(header.frame)
        else:
            super().on_request(header, payload)


class UnknownReplaces(PlainModule):
    """Keeps Error UNKNOWN_REQUEST under the id of an earlier answer."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        super().send_control(message, number)
        if isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST:
            kept = [each for each in self.answers if each[0] != number]
            self.answers = [*kept, (number, message.encode(), message.TYPE)]


class FlushNamesOld(PlainModule):
    """Names a REPEATED request as the newest one in Flushed."""

    _old: int | None = None

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        super().send_control(message, number)
        if isinstance(message, Error) and message.code == ErrorCode.REPEATED:
            self._old = number

    def on_flush(self, number: int) -> None:
        if self._old is not None:
            self.previous_request, self._old = self._old, None
        super().on_flush(number)


class RepetitionIsNewest(PlainModule):
    """Takes the id of a repeated request for the newest one."""

    def repeat_answer(self, number: int) -> bool:
        is_known = super().repeat_answer(number)
        if is_known and self.session is not None:
            self.session.last_request = number
        return is_known


class QueriesAreKept(PlainModule):
    """Repeats the answer of a Query to the next one under the same number."""

    _last: tuple[int, QueryReply] | None = None

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        if isinstance(message, Query):
            if self._last is None or self._last[0] != header.frame:
                self._last = (header.frame, QueryReply(self.outcome_of(message)))
            self.send_control(self._last[1], header.frame)
        else:
            super().on_unnumbered(header, message)


class OldQueriesAreRepeated(PlainModule):
    """Refuses a Query under an old id with REPEATED."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        assert self.session is not None
        is_old = (header.frame - self.session.last_request) & MASK_32 >= _HALF
        if isinstance(message, Query) and is_old:
            self.send_control(Error(ErrorCode.REPEATED, b""), header.frame)
        else:
            super().on_unnumbered(header, message)


class HelloHasNoOutcome(PlainModule):
    """Does not remember what became of Hello."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        super().on_hello(header, payload)
        if self.session is not None:
            self.session.outcomes.pop(header.frame, None)


class ForgottenIsNotDone(PlainModule):
    """Says NOT_DONE of all that it does not remember."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        assert self.session is not None
        while len(self.session.outcomes) > self.answers_kept:
            self.session.outcomes.pop(next(iter(self.session.outcomes)))

    def outcome_of(self, message: Query) -> Outcome:
        for session in (self.session, *self.past):
            if session is not None and session.nonce == message.session:
                return session.outcomes.get(message.request, Outcome.NOT_DONE)
        return Outcome.UNKNOWN


class OutcomesWithoutModulo(PlainModule):
    """Compares the ids of Query as plain numbers."""

    def outcome_of(self, message: Query) -> Outcome:
        outcome = super().outcome_of(message)
        for session in (self.session, *self.past):
            if session is not None and session.nonce == message.session:
                if message.request in session.outcomes:
                    return outcome
                is_above = message.request > min(session.outcomes, default=0)
                return Outcome.NOT_DONE if is_above else Outcome.UNKNOWN
        return outcome


class BegunIsNotDone(PlainModule):
    """Says NOT_DONE of each Capture that its session's end has cut."""

    def has_begun(self, stream: Stream) -> bool:
        return False


class WaitingIsUnknown(PlainModule):
    """Says UNKNOWN of a Capture that waits for its first frame."""

    def outcome_of(self, message: Query) -> Outcome:
        is_own = self.session is not None and message.session == self.session.nonce
        for stream in self.streams:
            is_waiting = stream.state is State.STREAMING and not self.has_begun(stream)
            if is_own and is_waiting and stream.request == message.request:
                return Outcome.UNKNOWN
        return super().outcome_of(message)


class StreamsAreDone(PlainModule):
    """Says DONE of a StartStream that had no frame when its session ended."""

    def has_begun(self, stream: Stream) -> bool:
        return stream.remaining < 0 or super().has_begun(stream)


class RefusedIsASession(PlainModule):
    """Remembers a refused Hello as one of the last two sessions."""

    def end_session(self) -> None:
        if self.session is not None and self.is_refused:
            self.past.insert(0, self.session)
            del self.past[self.sessions_kept :]
        super().end_session()


class RefusedForgets(PlainModule):
    """Forgets the last session when it refuses a Hello."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        super().on_hello(header, payload)
        if self.is_refused:
            del self.past[:1]


class DeafInExposures(PlainModule):
    """Answers Heartbeats when the exposure is over."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        if self.exposure is None:
            super().on_heartbeat(header, message)


class BeginsWithTheExposure(PlainModule):
    """Counts a frame as begun when its exposure begins."""

    def expose(self, index: int, stream: Stream) -> Exposure:
        exposure = super().expose(index, stream)
        self.begun[index] = exposure.number + 1
        return exposure


class BegunGoesBack(PlainModule):
    """Takes a frame whose FrameStart is sent again for the newest one."""

    def emit(self, item: Item) -> None:
        super().emit(item)
        if item.kind == MessageType.FRAME_START:
            self.begun[item.stream] = item.number + 1


class FlushClearsCounts(PlainModule):
    """Counts anew after a Flush."""

    def answer_in_order(
        self, number: int, message: AnyMessage, streams: Collection[int] | None = None
    ) -> None:
        super().answer_in_order(number, message, streams)
        if isinstance(message, Flushed):
            self.begun = [0] * len(self.begun)


class ConfigureClearsCounts(PlainModule):
    """Counts anew what it has sent after a Configure."""

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        super().apply_plan(stream, plan)
        self.sent[self.streams.index(stream)] = 0


class EndsFramesAtClose(PlainModule):
    """Sends FrameEnd of the frames under way when Close arrives."""

    def on_close(self, payload: bytes) -> None:
        for index in range(len(self.streams)):
            self.stop(index)
        self.send_data()
        super().on_close(payload)


class AnswersClose(PlainModule):
    """Answers Close with Close."""

    def on_close(self, payload: bytes) -> None:
        self.send_control(Close(CloseReason.ORDERLY))
        super().on_close(payload)


class HelloRestartsNumbers(PlainModule):
    """Begins with frame 0 anew when a Hello ends the session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        before = self.session
        super().on_hello(header, payload)
        if before is not None and self.session is not before:
            self.next_frame = 0


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-HELLO-1": (
        HelloStopsStreams,
        HelloClearsCounts,
        HelloTakesNewOffer,
        HelloTakesNewCapabilities,
        HelloTakesNewLanes,
        HelloClearsSettings,
        HelloForgetsFrames,
        HelloTakesAPlace,
    ),
    "M-HELLO-2": (RepeatsLanes, RepeatsMaxPayload, BootsInEachSession),
    "M-HELLO-3": (HelloRestartsNumbers, RefusedIsASession, RefusedForgets),
    "M-REQ-1": (FlushedTwice, HelloTwice, ConfiguredTwice, StopOfStreamZero, StartNamesNoFrame),
    "M-REQ-2": (
        FlushForgetsAnswers,
        KeepsNoCalibration,
        KeepsNoProof,
        KeepsNoHello,
        HelloTakesAPlace,
        BudgetsAgain,
        UnknownReplaces,
    ),
    "M-REQ-3": (JumpsAreOld, HalfIsNew, RepetitionIsNewest),
    "M-REQ-4": (IgnoresDataTypes, UnknownGetsKept),
    "M-PWR-4": (BudgetsAgain,),
    "M-STOP-2": (FlushNamesOld,),
    "M-QUERY-1": (
        HelloTakesAPlace,
        QueryTwice,
        QueriesAreKept,
        OldQueriesAreRepeated,
        HelloHasNoOutcome,
        ForgottenIsNotDone,
        OutcomesWithoutModulo,
        BegunIsNotDone,
        WaitingIsUnknown,
        StreamsAreDone,
        RefusedIsASession,
        RefusedForgets,
    ),
    "M-LIVE-1": (DeafInExposures,),
    "M-LIVE-2": (
        HelloClearsCounts,
        BeginsWithTheExposure,
        BegunGoesBack,
        FlushClearsCounts,
        ConfigureClearsCounts,
    ),
    "M-CLOSE-1": (EndsFramesAtClose, AnswersClose, HelloRestartsNumbers),
}
"""The plain modules that break a clause."""
