"""Modules that break a clause on what Query remembers (SPEC.md, 4.3)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType, Outcome
from lenslink_protocol.messages import AnyMessage, Header, Query, QueryReply

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import PlainModule, Stream


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


class OlderOfOneNonce(PlainModule):
    """Means the oldest session that it remembers of a nonce."""

    def outcome_of(self, message: Query) -> Outcome:
        same = [each for each in self.past if each.nonce == message.session]
        session, past = self.session, self.past
        if same:
            self.session, self.past = None, same[-1:]
        found = super().outcome_of(message)
        self.session, self.past = session, past
        return found


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


class GapsAreUnknown(PlainModule):
    """Says UNKNOWN of an id that was left out."""

    def outcome_of(self, message: Query) -> Outcome:
        session = self.session
        is_gap = session is not None and message.request < session.last_request
        if is_gap and session is not None and message.request not in session.outcomes:
            return Outcome.UNKNOWN
        return super().outcome_of(message)


class AcceptedIsDone(PlainModule):
    """Calls a Capture done that never began a frame."""

    def has_begun(self, stream: Stream) -> bool:
        return True


class PendingIsNotDone(Defect):
    """Says NOT_DONE of a request that is under way."""

    def __init__(self) -> None:
        self._is_pending = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in (MessageType.PENDING, MessageType.ACCEPTED):
            self._is_pending = packet.kind == MessageType.PENDING
        message = packet.message() if packet.kind == MessageType.QUERY_REPLY else None
        if self._is_pending and isinstance(message, QueryReply):
            return [edit_message(packet, outcome=Outcome.NOT_DONE)]
        return [data]


class LateIsUnknown(Defect):
    """Says UNKNOWN of a request that was answered behind newer ones."""

    def __init__(self) -> None:
        self._late = -1
        self._asked = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.QUERY else None
        if isinstance(message, Query):
            self._asked = message.request
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._late = packet.id
        is_late = packet.kind == MessageType.QUERY_REPLY and self._asked == self._late
        return [edit_message(packet, outcome=Outcome.UNKNOWN) if is_late else data]


class OneLateAtATime(Defect):
    """Takes all but the newest late answer for one in its turn: its id is the oldest then."""

    def __init__(self) -> None:
        self._pending: set[int] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending.add(packet.id)
        message = packet.message() if packet.kind == MessageType.QUERY_REPLY else None
        is_unknown = isinstance(message, QueryReply) and message.outcome == Outcome.UNKNOWN
        if is_unknown and len(self._pending) > 1:
            return [edit_message(packet, outcome=Outcome.NOT_DONE)]
        return [data]


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-QUERY-1": (
        KnowsLastSessionOnly,
        ForgetsWithTheConnection,
        KnowsThreeRequests,
        OlderOfOneNonce,
        RefusedIsDone,
        NeverUnknown,
        QueriesPushOut,
        GapsAreUnknown,
        AcceptedIsDone,
    ),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-QUERY-1": (PendingIsNotDone, LateIsUnknown, OneLateAtATime),
}
"""The defects on the line of the firmware's module, by clause."""
