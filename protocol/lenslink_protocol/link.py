"""The host's end of a link, without I/O: session, requests, and who gets which packet.

Time comes in as an argument; packets to send go out through :attr:`Link.outgoing`.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .buffers import Data, feed
from .framing import VERSION, Receiver, ReceiverSnapshot, encode_packet
from .ids import VENDOR_FIRST, Capability, DiscardReason, MessageType, ResendFlag
from .messages import (
    BY_TYPE,
    AnyMessage,
    Busy,
    Close,
    Error,
    FrameEnd,
    FrameStart,
    Header,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Log,
    Malformed,
    Notice,
    Pending,
    Resend,
    Resent,
)
from .params import (
    HEADER_BYTES,
    HEARTBEAT_MS,
    HELLO_RETRY_MS,
    MAX_BUSY_MS,
    MAX_CONTROL,
    MAX_PAYLOAD,
    MAX_STREAMS,
    REQUEST_RETRY_MS,
    SILENCE_MS,
)

CAPABILITIES = Capability.LOG | Capability.RESEND | Capability.AUTH

WINDOW = 128 << 20
"""Bytes of tiles of one stream that may be on their way: a tenth of a second at 10 Gbit/s."""

# Grants a window: one that is lost is made good by the next long before the window is used up. Each
# is answered, and the answer comes in the middle of tiles: more of them cost the host its pace.
_GRANTS = 4

# In a window: while one is received, the next is on its way.
_TILES = 4

# Every heartbeat is answered: a line that is silent for two of them stands still.
_FLOWING_S = 2 * HEARTBEAT_MS / 1000

_LOGS = 256


Rectangle = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Parts of a frame that did not arrive."""

    stream: int
    frame: int
    flags: ResendFlag
    rectangles: tuple[Rectangle, ...]


class FrameSink(Protocol):
    """Where frames are put together.

    ``lanes`` is set by the link: what each lane has received tells what can still come.
    """

    lanes: Sequence[Lane]

    def place(self, header: Header, lane: int = 0) -> memoryview | None:
        """Where a tile shall be received, or None: to scratch memory, then :meth:`tile`.

        The lane has the memory to itself until its next packet, or its end.
        """

    def release(self, lane: int) -> None:
        """What was placed for that lane is not being received any more."""

    def start(self, header: Header, message: FrameStart, now: float) -> None:
        """A frame begins."""

    def tile(
        self, header: Header, payload: memoryview, in_place: bool, now: float, lane: int = 0
    ) -> None:
        """A tile is sound."""

    def end(self, header: Header, message: FrameEnd, now: float) -> None:
        """A frame has been sent."""

    def poll(self, now: float) -> None:
        """Time has passed."""

    def resume(self, away: float) -> None:
        """Nobody has listened for *away* seconds: they do not count as silence."""

    def begun(self, stream: int, number: int, now: float) -> None:
        """The module has begun that frame, of which a packet may have come or not."""

    def resent(self, header: Header, message: Resent, now: float) -> None:
        """What became of a request for parts of a frame."""

    def missing(self, now: float) -> list[Missing]:
        """What is known to be lost and shall be asked for now."""


class RequestSnapshot(NamedTuple):
    """What a :class:`Request`'s future behaviour depends on, as an immutable value."""

    id: int
    message: AnyMessage
    reply: AnyMessage | None
    retry_s: float
    next_try: float


class LaneSnapshot(NamedTuple):
    """What a :class:`Lane`'s future behaviour depends on, as an immutable value."""

    number: int
    is_alive: bool
    is_placed: bool
    """The payload that began last was received in place and has not been released."""
    receiver: ReceiverSnapshot


class LinkSnapshot(NamedTuple):
    """What a :class:`Link`'s future behaviour depends on, as an immutable value.

    Times are absolute, in seconds on the caller's clock. The frame sink has its own snapshot.
    """

    nonce: int
    lanes: tuple[LaneSnapshot, ...]
    outgoing: tuple[bytes, ...]
    """Packets that the caller has not taken yet."""
    session: HelloReply | None
    closed: Close | None
    busy: Busy | None
    logs: tuple[Log, ...]
    notices: tuple[Notice, ...]
    requests: tuple[RequestSnapshot, ...]
    """Requests without an answer, in the order in which they are repeated."""
    next_id: int
    sequence: int
    """Sequence of the next packet."""
    window: int
    now: float
    heard: float
    """When the module last gave a sign of life."""
    asked: float
    """When lost parts were last asked for."""
    busy_until: float
    """When the module's last lease ends."""
    next_heartbeat: float
    arrived: tuple[int, ...]
    """Bytes of tiles that arrived or are lost for good, by stream."""
    granted: tuple[int, ...]
    """Bytes of tiles that the module may send in all, by stream."""


class Request:
    """A request under way; it is repeated under the same id until it is answered."""

    def __init__(self, number: int, message: AnyMessage, now: float, retry_ms: int) -> None:
        self.id = number
        self.message = message
        self.reply: AnyMessage | None = None
        self._retry_s = retry_ms / 1000
        self.next_try = now + self._retry_s

    @property
    def done(self) -> bool:
        return self.reply is not None

    def due(self, now: float) -> bool:
        """Whether it is time to send it again; counts as having done so."""
        if self.done or now < self.next_try:
            return False
        self.next_try = now + self._retry_s
        return True

    def snapshot(self) -> RequestSnapshot:
        """Return everything that future behaviour depends on, as a hashable value."""
        return RequestSnapshot(self.id, self.message, self.reply, self._retry_s, self.next_try)


class Lane:
    """One lane of a link: its packets go to the link, with its number."""

    def __init__(
        self, link: Link, number: int, nonce: int, discards: Counter[DiscardReason]
    ) -> None:
        self.number = number
        self.alive = True
        self.receiver = Receiver(self, nonce, discards, MAX_PAYLOAD)
        self._link = link
        self._placed = False

    @property
    def last_sequence(self) -> int | None:
        """Of the last packet that has come whole or been rejected, None before the first."""
        return self.receiver.settled_sequence

    def place(self, header: Header) -> memoryview | None:
        memory = self._link.place(header, self.number)
        self._placed = memory is not None
        return memory

    def let_go(self) -> bool:
        """Whether what was placed last is received into no more: it came whole or was given up."""
        gone = self._placed and not self.receiver.in_place
        if gone:
            self._placed = False
        return gone

    def packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        self._link.packet(header, payload, in_place, self.number)

    def snapshot(self) -> LaneSnapshot:
        """Return everything that future behaviour depends on, as a hashable value."""
        return LaneSnapshot(self.number, self.alive, self._placed, self.receiver.snapshot())


class Link:
    """The host's link machine for one session. Requests and control travel on lane 0.

    ``nonce`` names the session: at least 32 random bits, never used again. What arrives under
    another is rejected, so nothing from before a replug can be taken for new. ``window`` is how
    many bytes of a stream's tiles the line can hold, where that is less than :data:`WINDOW`.
    """

    def __init__(
        self,
        nonce: int,
        frames: FrameSink,
        discards: Counter[DiscardReason],
        lanes: int = 1,
        window: int | None = None,
    ) -> None:
        self.nonce = nonce
        self.discards = discards
        self.lanes = [Lane(self, number, nonce, discards) for number in range(lanes)]
        frames.lanes = self.lanes
        self.outgoing: deque[bytes] = deque()
        self.session: HelloReply | None = None
        self.closed: Close | None = None
        self.logs: deque[Log] = deque(maxlen=_LOGS)
        self._frames = frames
        self._narrow = window
        self._requests: dict[int, Request] = {}
        self._next_id = 1
        self._sequence = 0
        self.now = 0.0
        """When it was last driven: any call that was told the time."""
        self.busy: Busy | None = None
        """The last lease the module took, also when it is over."""
        self.notices: deque[Notice] = deque(maxlen=_LOGS)
        self.heartbeat_reply: HeartbeatReply | None = None
        """The last one; a caller that waits for the next sets this to None."""
        self._heard = 0.0
        self._asked = -1.0
        self._busy_until = 0.0
        self._next_heartbeat = 0.0
        self._arrived = [0] * MAX_STREAMS
        self._granted = [0] * MAX_STREAMS

    @property
    def receiver(self) -> Receiver:
        """Lane 0's."""
        return self.lanes[0].receiver

    @property
    def _window(self) -> int:
        return WINDOW if self._narrow is None else self._narrow

    @property
    def lost(self) -> int:
        """Packets missing from the lanes' sequences."""
        return sum(lane.receiver.lost for lane in self.lanes)

    def snapshot(self) -> LinkSnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two links with equal snapshots, whose frame sinks are in equal states, behave alike.
        """
        return LinkSnapshot(
            nonce=self.nonce,
            lanes=tuple([lane.snapshot() for lane in self.lanes]),
            outgoing=tuple(self.outgoing),
            session=self.session,
            closed=self.closed,
            busy=self.busy,
            logs=tuple(self.logs),
            notices=tuple(self.notices),
            requests=tuple([request.snapshot() for request in self._requests.values()]),
            next_id=self._next_id,
            sequence=self._sequence,
            window=self._window,
            now=self.now,
            heard=self._heard,
            asked=self._asked,
            busy_until=self._busy_until,
            next_heartbeat=self._next_heartbeat,
            arrived=tuple(self._arrived),
            granted=tuple(self._granted),
        )

    # --- towards the module ---------------------------------------------------------------

    def hello(self, now: float) -> Request:
        """Open the session."""
        # A tile is never longer than what may be on its way.
        most = max(MAX_CONTROL, min(MAX_PAYLOAD, self._window // _TILES))
        message = Hello(VERSION, VERSION, len(self.lanes), CAPABILITIES, most)
        return self._begin(message, now, HELLO_RETRY_MS)

    def request(self, message: AnyMessage, now: float) -> Request:
        """Send a request; its ``reply`` is set once the answer has come."""
        return self._begin(message, now, REQUEST_RETRY_MS)

    @property
    def next_request_id(self) -> int:
        """The id that the next request gets."""
        return self._next_id

    def forget_all(self) -> None:
        """Stop repeating all requests: for a caller that never waits for two at a time."""
        self._requests.clear()

    def resynchronise(self) -> None:
        """Drop the packets under way on all lanes and search for the next ones.

        For a caller that was interrupted while it received: bytes may be missing.
        """
        for lane in self.lanes:
            lane.receiver.resynchronise()
            self._frames.release(lane.number)

    def send_heartbeat(self, now: float) -> None:
        """Send a heartbeat before its time, for a caller that waits for the answer."""
        self._heartbeat(now)

    def forget(self, request: Request) -> None:
        """Stop repeating a request that nobody waits for any more."""
        self._requests.pop(request.id, None)

    def close(self, reason: int) -> None:
        """Say goodbye; there is no answer."""
        self._send(Close(reason), 0)

    def poll(self, now: float) -> None:
        """Do what time demands: repeat requests, give up stalled packets and stale frames."""
        self.now = now
        for lane in self.lanes:
            lane.receiver.poll(now)
            if lane.let_go():
                self._frames.release(lane.number)
        self._frames.poll(now)
        for request in self._requests.values():
            if request.due(now):
                self._send(request.message, request.id)
        if self.session is None:
            return
        if now >= self._next_heartbeat:
            self._heartbeat(now)
        # A line that stands still loses nothing: what is late is not asked for, nor given up. Nor
        # is it asked for again before anything came since: short stalls would use up the tries.
        flowing = now - self._heard < _FLOWING_S and self._heard > self._asked
        if flowing and self.session.capabilities & Capability.RESEND:
            for missing in self._frames.missing(now):
                self._ask(missing)
                self._asked = now

    def next_timeout(self, now: float) -> float:
        """Seconds until :meth:`poll` has something to do; 0.05 where frames or packets wait."""
        wait = 0.05
        for request in self._requests.values():
            wait = min(wait, max(0.0, request.next_try - now))
        return wait

    def resume(self, now: float) -> None:
        """Nobody has listened since the last call: that time proves nothing of the module."""
        away = now - self.now
        self.now = now
        self._heard += away
        for lane in self.lanes:
            lane.receiver.resume(away)
        self._frames.resume(away)

    def is_silent(self, now: float) -> bool:
        """Whether the module has given no sign of life for too long."""
        if self.session is None:
            return False
        return now - max(self._heard, self._busy_until) > SILENCE_MS / 1000

    def _heartbeat(self, now: float) -> None:
        self._next_heartbeat = now + HEARTBEAT_MS / 1000
        self._granted = [arrived + self._window for arrived in self._arrived]
        self._send(Heartbeat((self._granted[0], self._granted[1])), 0)

    def _ask(self, missing: Missing) -> None:
        ranges = b"".join(struct.pack("<4H", *each) for each in missing.rectangles)
        message = Resend(missing.flags, len(missing.rectangles), ranges)
        self._send(message, missing.frame, missing.stream)

    def _begin(self, message: AnyMessage, now: float, retry_ms: int) -> Request:
        # First, because a message that cannot be encoded must leave nothing behind.
        message.encode()
        request = Request(self._next_id, message, now, retry_ms)
        # Before the packet is queued: an interrupted call may skip an id, but not use it twice.
        self._next_id += 1
        self._requests[request.id] = request
        self._send(message, request.id)
        return request

    def _send(self, message: AnyMessage, frame: int, stream: int = 0) -> None:
        # Before the packet is queued: an interrupted call may leave a sequence number out, but not
        # use it twice.
        sequence = self._sequence
        self._sequence += 1
        self.outgoing.append(
            encode_packet(
                message.TYPE,
                message.encode(),
                nonce=self.nonce,
                sequence=sequence,
                frame=frame,
                stream=stream,
            )
        )

    # --- from the module ------------------------------------------------------------------

    def received(self, count: int, now: float, lane: int = 0, checked: bool = False) -> None:
        """*count* bytes are in the ``receiver.buffers()`` of that lane.

        *checked*: see :meth:`.framing.Receiver.received`.
        """
        self.now = now
        receiver = self.lanes[lane].receiver
        receiver.received(count, now, checked)
        if self.lanes[lane].let_go():
            self._frames.release(lane)
        if count and receiver.in_sync:
            self._heard = now

    def feed(self, data: Data, now: float, lane: int = 0) -> None:
        """Receive *data* on that lane by copying: for virtual links and for tests."""
        receiver = self.lanes[lane].receiver
        feed(data, receiver.buffers, lambda count: self.received(count, now, lane))

    def lane_lost(self, number: int) -> None:
        """A lane other than 0 has ended: what was on it will be asked for again."""
        self.lanes[number].alive = False
        self._frames.release(number)

    def place(self, header: Header, lane: int = 0) -> memoryview | None:
        return self._frames.place(header, lane)

    def packet(self, header: Header, payload: memoryview, in_place: bool, lane: int = 0) -> None:
        self._heard = self.now
        if header.type == MessageType.TILE:
            self._frames.tile(header, payload, in_place, self.now, lane)
            self._arrive(header.stream, header.length)
            return
        if header.type >= VENDOR_FIRST:
            return
        layout = BY_TYPE.get(header.type)
        if layout is None:
            self.discards[DiscardReason.UNKNOWN_TYPE] += 1
            return
        try:
            message = layout.decode(payload)
        except Malformed:
            self.discards[DiscardReason.MALFORMED] += 1
            return
        match message:
            case FrameStart():
                self._frames.start(header, message, self.now)
            case FrameEnd():
                self._frames.end(header, message, self.now)
            case Log():
                self.logs.append(message)
            case HeartbeatReply():
                self.heartbeat_reply = message
                self._alive(message)
            case Pending():
                self._postpone(header.frame, message)
            case Busy():
                self.busy = message
                lease = min(message.lease_ms, MAX_BUSY_MS) / 1000
                self._busy_until = max(self._busy_until, self.now + lease)
            case Notice():
                self.notices.append(message)
            case Resent():
                self._frames.resent(header, message, self.now)
            case Close():
                self.closed = message
            case _:
                self._answer(header.frame, message)

    def passed(self, stream: int, packets: int, count: int, now: float, lane: int = 0) -> None:
        """*packets* tiles, of *count* bytes in all, were received elsewhere: they are in frames.

        See :meth:`.framing.Receiver.passed`.
        """
        self.now = self._heard = now
        self.lanes[lane].receiver.passed(packets, count + packets * HEADER_BYTES, now)
        self._arrive(stream, count)

    def _arrive(self, stream: int, count: int) -> None:
        """Bytes of tiles have come: grant as many more, in steps."""
        if stream < MAX_STREAMS:
            self._arrived[stream] += count
            limit = self._arrived[stream] + self._window
            if limit - self._granted[stream] >= self._window // _GRANTS:
                self._heartbeat(self.now)

    def _alive(self, message: HeartbeatReply) -> None:
        """What was sent before this answer on its lane has arrived, or never will."""
        for stream in range(MAX_STREAMS):
            sent = min(message.sent[stream], self._granted[stream])
            self._arrived[stream] = max(self._arrived[stream], sent)
            if message.begun[stream]:
                self._frames.begun(stream, message.begun[stream] - 1, self.now)

    def _postpone(self, request_id: int, message: Pending) -> None:
        request = self._requests.get(request_id)
        if request is None:
            self.discards[DiscardReason.UNEXPECTED] += 1
        else:
            lease = min(message.lease_ms, MAX_BUSY_MS) / 1000
            request.next_try = max(request.next_try, self.now + lease)

    def _answer(self, request_id: int, message: AnyMessage) -> None:
        request = self._requests.get(request_id)
        if request is None:
            self.discards[DiscardReason.UNEXPECTED] += 1
            return
        if not isinstance(message, (Error, REPLIES[request.message.TYPE])):
            self.discards[DiscardReason.UNEXPECTED] += 1
            return
        del self._requests[request_id]
        if isinstance(message, HelloReply):
            self.session = message
            # The first grant: until then the module may send no tile.
            self._heartbeat(self.now)
        request.reply = message


REPLIES: dict[int, type[AnyMessage]] = {
    request: BY_TYPE[reply]
    for request, reply in (
        (MessageType.HELLO, MessageType.HELLO_REPLY),
        (MessageType.GET_MANIFEST, MessageType.MANIFEST),
        (MessageType.CONFIGURE, MessageType.CONFIGURED),
        (MessageType.CAPTURE, MessageType.ACCEPTED),
        (MessageType.STREAM, MessageType.ACCEPTED),
        (MessageType.STOP, MessageType.ACCEPTED),
        (MessageType.FLUSH, MessageType.FLUSHED),
        (MessageType.QUERY, MessageType.QUERY_REPLY),
        (MessageType.TEST, MessageType.ACCEPTED),
        (MessageType.CHALLENGE, MessageType.PROOF),
    )
}
