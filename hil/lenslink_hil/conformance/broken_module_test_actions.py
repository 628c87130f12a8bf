"""Modules that break a clause on test actions (SPEC.md, 10)."""

from __future__ import annotations

from lenslink_protocol.ids import BusyReason, ErrorCode, MessageType, NoticeReason, TestAction
from lenslink_protocol.messages import Busy, Close, Error, Test
from lenslink_protocol.params import HEADER_BYTES, MAX_BUSY_MS

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper


class ActionOutlivesSession(Defect):
    """Closes the next session with the action of the one before."""

    def __init__(self) -> None:
        self._is_armed = False
        self._nonce = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if isinstance(message, Test) and message.action == TestAction.DETACH:
            self._is_armed, self._nonce = True, packet.header.nonce
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_next = self._is_armed and packet.header.nonce != self._nonce
        if not is_next or packet.kind != MessageType.ACCEPTED:
            return [data]
        self._is_armed = False
        return [data, packet.encode(type=MessageType.CLOSE, payload=Close(1).encode(), frame=0)]


class StallsBehindTheHeader(Tamper):
    """Lets the whole header of a packet pass before it stalls."""

    def __init__(self) -> None:
        self._held = b""

    def pass_to_tester(self, packet: bytes) -> list[bytes]:
        # The half of a header that comes alone stands for the whole one.
        if len(packet) == HEADER_BYTES // 2:
            self._held = packet
            return [packet + bytes(HEADER_BYTES // 2)]
        held, self._held = self._held, b""
        return [packet[HEADER_BYTES // 2 :]] if held else [packet]


class FlushEndsPending(Defect):
    """Never answers a pending request after a Flush."""

    def __init__(self) -> None:
        self._pending = -1
        self._has_flushed = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending, self._has_flushed = packet.id, False
        elif packet.kind == MessageType.FLUSHED:
            self._has_flushed = True
        elif packet.kind == MessageType.ACCEPTED and packet.id == self._pending:
            return [] if self._has_flushed else [data]
        return [data]


class FlushWaitsForPending(Defect):
    """Answers a Flush once no request is pending."""

    def __init__(self) -> None:
        self._is_pending = False
        self._held: list[bytes] = []

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in (MessageType.PENDING, MessageType.ACCEPTED):
            self._is_pending = packet.kind == MessageType.PENDING
        if self._is_pending and packet.kind == MessageType.FLUSHED:
            self._held.append(data)
            return []
        if self._is_pending or not self._held:
            return [data]
        held, self._held = self._held, []
        return [data, *held]


class _EndsEarly(Defect):
    """Ends an action after 85 % of its time."""

    action: int = TestAction.BUSY

    def __init__(self) -> None:
        self._ms = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test) or message.action != self.action:
            return [data]
        self._ms = message.ms
        return [edit_message(packet, ms=message.ms * 85 // 100)]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_busy = packet.kind == MessageType.BUSY and isinstance(packet.message(), Busy)
        return [edit_message(packet, lease_ms=self._ms) if is_busy else data]


class BusyEndsEarly(_EndsEarly):
    """Is silent for 85 % of the time of BUSY."""


class StallEndsEarly(_EndsEarly):
    """Stalls for 85 % of the time of STALL."""

    action = TestAction.STALL


class PendingEndsEarly(_EndsEarly):
    """Answers after 85 % of the time of PENDING."""

    action = TestAction.PENDING


class DetachesEarly(_EndsEarly):
    """Closes after 85 % of the time of DETACH."""

    action = TestAction.DETACH


class _StaysActive(Defect):
    """Refuses every later Test of the session once an action was taken. A subclass names it."""

    action: int = TestAction.STALL

    def __init__(self) -> None:
        self._first = self._newest = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO:
            self._first = -1
        message = packet.message() if packet.kind == MessageType.TEST else None
        if isinstance(message, Test):
            self._newest = packet.id
            if self._first < 0 and message.action == self.action:
                self._first = packet.id
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_later = packet.id == self._newest and 0 <= self._first < self._newest
        if packet.kind != MessageType.ACCEPTED or not is_later:
            return [data]
        refusal = Error(ErrorCode.STATE, b"").encode()
        return [packet.encode(type=MessageType.ERROR, payload=refusal)]


class StallStaysActive(_StaysActive):
    """Does not end STALL."""


class BusyStaysActive(_StaysActive):
    """Does not end BUSY."""

    action = TestAction.BUSY


class PendingStaysActive(_StaysActive):
    """Does not end PENDING."""

    action = TestAction.PENDING


class NeverTheLongest(Defect):
    """Refuses a duration of MAX_BUSY_MS."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test) or message.ms != MAX_BUSY_MS:
            return [data]
        return [edit_message(packet, ms=MAX_BUSY_MS + 1)]


class DetachesForAnotherReason(Defect):
    """Warns of its supply before it detaches."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_notice = packet.kind == MessageType.NOTICE
        return [edit_message(packet, reason=NoticeReason.SUPPLY) if is_notice else data]


class GoesOnDuringBusy(Defect):
    """Says Busy, and sends frames meanwhile."""

    def __init__(self) -> None:
        self._number, self._ms = -1, 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test) or message.action != TestAction.BUSY:
            return [data]
        self._number, self._ms = packet.id, message.ms
        return [edit_message(packet, action=TestAction.PENDING, ms=0)]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id != self._number or packet.kind not in _ANSWERS:
            return [data]
        if packet.kind == MessageType.PENDING:
            return []
        busy = Busy(BusyReason.OTHER, self._ms).encode()
        return [data, packet.encode(type=MessageType.BUSY, payload=busy, frame=0)]


_ANSWERS = (MessageType.PENDING, MessageType.ACCEPTED)


class RefusedIsUnderWay(Defect):
    """Refuses each Test behind one that it has refused."""

    def __init__(self) -> None:
        self._tests: set[int] = set()
        self._is_stuck = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO:
            self._tests, self._is_stuck = set(), False
        if packet.kind == MessageType.TEST:
            self._tests.add(packet.id)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id not in self._tests:
            return [data]
        if self._is_stuck and packet.kind == MessageType.ACCEPTED:
            refusal = Error(ErrorCode.STATE, b"").encode()
            return [packet.encode(type=MessageType.ERROR, payload=refusal)]
        self._is_stuck |= packet.kind == MessageType.ERROR
        return [data]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-TEST-2": (
        ActionOutlivesSession,
        StallsBehindTheHeader,
        FlushEndsPending,
        FlushWaitsForPending,
        BusyEndsEarly,
        StallEndsEarly,
        PendingEndsEarly,
        DetachesEarly,
        StallStaysActive,
        BusyStaysActive,
        PendingStaysActive,
        NeverTheLongest,
        DetachesForAnotherReason,
        GoesOnDuringBusy,
    ),
    "M-TEST-1": (
        NeverTheLongest,
        RefusedIsUnderWay,
    ),
    "M-LIVE-3": (GoesOnDuringBusy,),
}
"""The defects on the line of the firmware's module, by clause."""
