"""Modules that break a rule at one moment only.

Classes of :data:`CLASSES` are plain modules that override one rule. Those of :data:`LINES` are
defects on the line of the firmware's module.
"""

from __future__ import annotations

from lenslink_protocol.ids import MessageType, Outcome
from lenslink_protocol.messages import Header, Hello, QueryReply, Resend
from lenslink_protocol.params import HEADER_BYTES

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Item, PlainModule

_MANY = 8


class StallKeepsSequence(PlainModule):
    """Does not use up the sequence of a packet that stopped inside."""

    def on_stalled(self, header: Header) -> None:
        """Do nothing."""


class RefusalsFromZero(PlainModule):
    """Begins the sequences anew with each Hello that it refuses."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        is_shared = super().is_version_shared(header, message)
        if not is_shared:
            self.sequences = [0] * self.lanes
        return is_shared


class BegunAtTheEnd(PlainModule):
    """Counts a frame as begun when it ends."""

    def emit(self, item: Item) -> None:
        before = list(self.begun)
        super().emit(item)
        if item.kind == MessageType.FRAME_START:
            self.begun = before
        elif item.kind == MessageType.FRAME_END:
            self.begun[item.stream] = item.number + 1


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


class StillEndsBehindFlushed(PlainModule):
    """Sends FrameEnd of the still behind Flushed."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        self.data.sort(key=lambda item: item.kind == MessageType.FRAME_END and item.stream == 1)


class FlushedNamesArrival(PlainModule):
    """States in Flushed the sequences of the moment at which Flush arrived."""

    _arrival: tuple[int, ...] = ()
    _is_flushed = False

    def on_flush(self, number: int) -> None:
        self._arrival = tuple(self.last_sequences())
        super().on_flush(number)

    def encode(self, item: Item, lane: int) -> bytes:
        self._is_flushed = item.kind == MessageType.FLUSHED
        return super().encode(item, lane)

    def last_sequences(self) -> list[int]:
        return list(self._arrival) if self._is_flushed else super().last_sequences()


class FlushForgetsFrames(PlainModule):
    """Forgets with a Flush what it holds for Resend."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        self.frames.clear()


class NumberUsedTwice(PlainModule):
    """Gives the number of a frame without tiles to the next frame."""

    def stop(self, index: int) -> None:
        readout = self.readout
        super().stop(index)
        if readout is not None and not readout.sent_tiles:
            self.next_frame = readout.number


class ManifestOfTheDay(PlainModule):
    """Changes its serial number once it has taken a frame."""

    def manifest_bytes(self) -> bytes:
        data = super().manifest_bytes()
        return data.replace(b"PLAIN-1", b"PLAIN-2") if self.next_frame else data


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


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (RefusalsFromZero,),
    "M-FRAME-5": (StallKeepsSequence,),
    "M-LIVE-2": (BegunAtTheEnd,),
    "M-STOP-1": (StillEndsBehindFlushed,),
    "M-STOP-2": (FlushedNamesArrival, StillEndsBehindFlushed),
    "M-CREDIT-2": (ResentsKeepOutRequests, ResentOvertakesTiles),
    "M-CAM-1": (NumberUsedTwice,),
    "M-MANIFEST-2": (ManifestOfTheDay,),
    "M-RESEND-1": (ResentOvertakesTiles, FlushForgetsFrames),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-QUERY-1": (PendingIsNotDone,),
    "M-TEST-2": (FlushEndsPending, FlushWaitsForPending, StallsBehindTheHeader),
}
"""The defects on the line of the firmware's module."""
