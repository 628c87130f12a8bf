"""Hosts that break a clause on answers, their ids, and repeated requests (SPEC.md, 4)."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Accepted, Capture, Configured, Flush, Pending, Query, Stop

from .broken_steps import DATA, FirstOnly
from .defects import Defect, edit_message
from .module_peer import HEIGHT, WIDTH
from .packets import Packet
from .peer_wire import Tamper

STARTS = (MessageType.CAPTURE, MessageType.STREAM)


class RepeatsCaptureAnew(Defect):
    """Repeats a Capture under another id."""

    def __init__(self) -> None:
        self._first = 0
        self._second = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CAPTURE:
            return [data]
        if packet.id != self._first:
            self._first = packet.id
            return [data]
        self._second = packet.id + 100
        return [packet.encode(frame=self._second)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_second = self._second and packet.id == self._second
        return [packet.encode(frame=self._first) if is_second else data]


class OneIdForAll(Defect):
    """Gives each request the same id."""

    def __init__(self) -> None:
        self._id = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not packet.id or packet.kind == MessageType.RESEND:
            return [data]
        self._id = packet.id
        return [packet.encode(frame=1)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_answer = packet.id == 1 and packet.kind < MessageType.FRAME_START
        return [packet.encode(frame=self._id) if is_answer else data]


class RepeatsStopAnew(Defect):
    """Repeats a Stop under another id."""

    def __init__(self) -> None:
        self._first = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.STOP:
            return [data]
        if not self._first:
            self._first = packet.id
            return [data]
        return [packet.encode(frame=packet.id + 100)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_answer = self._first and packet.id == self._first + 100
        return [packet.encode(frame=self._first) if is_answer else data]


class ChangesRepeats(Defect):
    """Repeats a request with another payload."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        again = packet.kind == MessageType.CONFIGURE and packet.id in self._asked
        self._asked.add(packet.id)
        return [edit_message(packet, tile_bytes=4096) if again else data]


class ChangesThirdStart(Defect):
    """Sends Capture and StartStream with another interval the third time."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in STARTS:
            return [data]
        self._count += 1
        changed = packet.payload[:-1] + bytes([packet.payload[-1] ^ 1])
        return [packet.encode(payload=changed) if self._count == 3 else data]


class ChangesThirdStop(Defect):
    """Sends Stop under another id the third time."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.STOP
        is_third = packet.kind == MessageType.STOP and self._count == 3
        return [packet.encode(frame=packet.id - 1) if is_third else data]


class QueriesBeside(Defect):
    """Also asks with Query when Capture or StartStream is sent for the third time."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind in STARTS
        if packet.kind not in STARTS or self._count != 3:
            return [data]
        query = Query(packet.header.nonce, packet.id).encode()
        return [data, packet.encode(type=MessageType.QUERY, frame=packet.id + 1, payload=query)]


class FallingIds(Defect):
    """Counts ids down."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not packet.id or packet.kind in (MessageType.RESEND, MessageType.HEARTBEAT):
            return [data]
        number = 1000 - packet.id
        self._asked[number] = packet.id
        return [packet.encode(frame=number)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id in self._asked and packet.kind not in DATA:
            return [packet.encode(frame=self._asked[packet.id])]
        return [data]


class NewIdAfterALease(Defect):
    """Repeats a request under a new id after a lease of Pending."""

    def __init__(self) -> None:
        self._pending = -1
        self._new = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending, self._new = packet.id, packet.id + 100
        if packet.id == self._new:
            return [packet.encode(frame=self._pending)]
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_again = packet.id == self._pending and packet.kind == MessageType.CONFIGURE
        return [packet.encode(frame=self._new) if is_again else data]


class AnyErrorEnds(Defect):
    """Takes any Error for the refusal of the request that waits."""

    def __init__(self) -> None:
        self._asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id and packet.kind not in (MessageType.RESEND, MessageType.HEARTBEAT):
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_error = packet.kind == MessageType.ERROR
        return [packet.encode(frame=self._asked) if is_error else data]


class AnyKindOfAnswer(Defect):
    """Takes an answer of another kind as the end of a request."""

    def __init__(self) -> None:
        self._asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.CONFIGURE:
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ACCEPTED or packet.id != self._asked:
            return [data]
        stride = 4 * WIDTH
        plan = Configured(
            1, 0, 1, 0x1100011, 2 * WIDTH, HEIGHT, stride, stride * HEIGHT, 4096
        )  # fmt: skip
        return [packet.encode(type=MessageType.CONFIGURED, payload=plan.encode())]


class FlushedIsAccepted(Defect):
    """Takes Flushed for the answer of a request that Accepted answers."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.FLUSHED:
            return [data]
        accepted = Accepted(1, 0).encode()
        return [packet.encode(type=MessageType.ACCEPTED, payload=accepted)]


class FlushWithStop(Defect):
    """Sends Flush together with Stop."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.STOP:
            return [data]
        flush = Flush().encode()
        return [data, packet.encode(type=MessageType.FLUSH, frame=packet.id + 1, payload=flush)]


class AsksTwiceAtOnce(Defect):
    """Sends each Configure under two ids at once."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        second = packet.encode(frame=packet.id + 1)
        return [data, second]


class CapturesEarly(Defect):
    """Sends Capture together with Configure."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        capture = Capture(1, 1).encode()
        return [data, packet.encode(type=MessageType.CAPTURE, frame=packet.id + 7, payload=capture)]


class StopsBeforeAccepted(Defect):
    """Stops a preview after its third frame, also if StartStream is not answered yet."""

    def __init__(self) -> None:
        self._frames = 0
        self._is_accepted = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._frames += packet.kind == MessageType.FRAME_END
        self._is_accepted = self._is_accepted or packet.kind == MessageType.ACCEPTED
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_early = self._frames >= 3 and not self._is_accepted
        if packet.kind != MessageType.HEARTBEAT or not is_early:
            return [data]
        self._is_accepted = True
        stop = Stop(0).encode()
        return [packet.encode(type=MessageType.STOP, payload=stop, frame=900), data]


class FirstPendingOnly(FirstOnly):
    """Knows the first Pending of a session, and ignores later ones."""

    kind = MessageType.PENDING


class CutsPendingLease(Defect):
    """Takes a lease of Pending for 100 ms."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, lease_ms=100) if packet.kind == MessageType.PENDING else data]


class ShortestLease(Defect):
    """Repeats a request when the shortest of its leases is over."""

    def __init__(self) -> None:
        self._request: Packet | None = None
        self._is_due = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.PENDING else None
        self._is_due = self._is_due or (isinstance(message, Pending) and message.lease_ms < 200)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.CONFIGURE:
            self._request = packet
        if not self._is_due or packet.kind != MessageType.HEARTBEAT or self._request is None:
            return [data]
        self._is_due = False
        return [self._request.encode(sequence=packet.header.sequence), data]


class NoLeaseOfStop(Defect):
    """Ignores a Pending for Stop."""

    _asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT:
            self._asked = packet.kind
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_ignored = packet.kind == MessageType.PENDING and self._asked == MessageType.STOP
        return [] if is_ignored else [data]


class StopsBehindTheFrame(Defect):
    """Ends a still with Stop when its frame is there."""

    def __init__(self) -> None:
        self._stop = False
        self._sequence = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._stop = self._stop or packet.kind == MessageType.FRAME_END
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._stop:
            return [data]
        self._stop = False
        payload = Stop(1).encode()
        stop = packet.encode(type=MessageType.STOP, frame=90, payload=payload)
        return [stop, packet.encode(sequence=packet.header.sequence + 1)]


class TakesLateReplies(Defect):
    """Takes a HelloReply whenever it comes, and has RESEND no more."""

    _count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HELLO_REPLY
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.RESEND and self._count > 1 else [data]


class TakesLateErrors(Defect):
    """Takes any Error for the end of what it does."""

    _asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._asked = packet.id or self._asked
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=self._asked) if packet.kind == MessageType.ERROR else data]


class KeepsAnswers(Defect):
    """Keeps answers under their ids, and looks there when it has made a request."""

    def __init__(self) -> None:
        self._kept: dict[int, Packet] = {}
        self._asked: set[int] = set()
        self._is_early = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_early = packet.id in self._kept and packet.id not in self._asked
        self._asked.add(packet.id)
        self._is_early = self._is_early or is_early
        again = packet.kind in STARTS and self._is_early and not is_early
        return [] if again else [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.ACCEPTED and packet.id not in self._asked:
            self._kept[packet.id] = packet
        return [data]


class NoLeaseOfRepetitions(Defect):
    """Ignores a Pending for a request that it has repeated."""

    def __init__(self) -> None:
        self._asked: list[int] = []

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._asked.append(packet.id)
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_ignored = packet.kind == MessageType.PENDING and self._asked.count(packet.id) > 1
        return [] if is_ignored else [data]


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-REQ-1": (
        RepeatsCaptureAnew,
        OneIdForAll,
        RepeatsStopAnew,
        ChangesRepeats,
        ChangesThirdStart,
        ChangesThirdStop,
        FallingIds,
        NewIdAfterALease,
    ),
    "H-REQ-2": (
        AnyErrorEnds,
        AnyKindOfAnswer,
        FlushedIsAccepted,
        TakesLateReplies,
        TakesLateErrors,
        KeepsAnswers,
    ),
    "H-REQ-3": (
        FlushWithStop,
        AsksTwiceAtOnce,
        CapturesEarly,
        StopsBeforeAccepted,
        QueriesBeside,
        StopsBehindTheFrame,
    ),
    "H-REQ-4": (
        FirstPendingOnly,
        CutsPendingLease,
        ShortestLease,
        NoLeaseOfStop,
        NoLeaseOfRepetitions,
    ),
}
"""The defects on the line of the driver, by clause."""
