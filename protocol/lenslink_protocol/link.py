"""Run the host's end of a link, without I/O: session, requests, credits and resends.

A :class:`Link` receives packets through its lanes (:mod:`.framing`). It answers requests, passes
frames to a :class:`FrameSink`, and puts the packets to send into :attr:`Link.outgoing`. The time is
an argument of each call. :class:`lenslink.session.Session` drives the link of a device; virtual
benches and tests drive it on virtual time.
"""

from __future__ import annotations

import logging
import math
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
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
    Event,
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
from .trace import TRACE

_log = logging.getLogger(__name__)
# The module's own log, which the module writes and this side only passes on.
_module_log = logging.getLogger("lenslink.module")

# A number, because poll() needs it: combining flags of an enum takes microseconds.
_RESEND = int(Capability.RESEND)

CAPABILITIES = Capability.LOG | Capability.RESEND | Capability.AUTH | Capability.EVENTS

WINDOW = 128 << 20
"""Bytes of tiles of one stream that may be on their way: a tenth of a second at 10 Gbit/s."""

# Grants per window. The next grant replaces a lost one long before the window is used up. More
# grants would cost the host time: the module answers each of them in the middle of tiles.
_GRANTS = 4

# Tiles per window, at least: while the host receives one, the next is on its way.
_TILES = 4

# The module answers every heartbeat. A line that carries nothing for two of them stands still.
_FLOWING_S = 2 * HEARTBEAT_MS / 1000

_LOGS = 256
_SAMPLES = 1024


Rectangle = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class MissingParts:
    """Parts of a frame that did not arrive, as a Resend names them."""

    stream: int
    frame: int
    flags: ResendFlag
    rectangles: tuple[Rectangle, ...]


class ClockSample(NamedTuple):
    """The four times of one heartbeat, in microseconds of the clock of either side."""

    sent_us: int
    """The host's clock when the Heartbeat was queued."""
    received_us: int
    """The module's clock when it was received."""
    replied_us: int
    """The module's clock when the HeartbeatReply was sent."""
    arrived_us: int
    """The host's clock when that arrived."""

    def is_possible(self) -> bool:
        """Return False if the module's times contradict the host's."""
        return 0 < self.sent_us <= self.arrived_us and 0 <= self.received_us <= self.replied_us


class FrameSink(Protocol):
    """Puts frames together. The link calls it; :class:`lenslink.receive.reassembly.Reassembly`
    implements it.
    """

    def attach_lanes(self, lanes: Sequence[Lane]) -> None:
        """Keep the lanes: what each lane has received tells what can still arrive."""

    def reserve_buffer(self, header: Header, lane: int = 0) -> memoryview | None:
        """Return the memory that receives a tile, or None if it goes to scratch memory.

        The memory is reserved for the lane until its next packet or :meth:`cancel_reservation`.
        """

    def cancel_reservation(self, lane: int) -> None:
        """End the reservation of a lane: nothing is received into that memory any more."""

    def on_frame_start(self, header: Header, message: FrameStart, now: float) -> None:
        """Use a FrameStart."""

    def on_tile(
        self, header: Header, payload: memoryview, in_place: bool, now: float, lane: int = 0
    ) -> None:
        """Use a tile with a good CRC."""

    def on_frame_end(self, header: Header, message: FrameEnd, now: float) -> None:
        """Use a FrameEnd."""

    def on_frame_announced(self, stream: int, number: int, now: float) -> None:
        """Learn from a heartbeat that the module has begun a frame, and maybe frames before it."""

    def on_resent(self, header: Header, message: Resent, now: float) -> None:
        """Use the module's answer to a Resend."""

    def on_round_trip(self, seconds: float) -> None:
        """Record a round trip in seconds, shorter than every earlier one."""

    def request_missing(self, now: float) -> list[MissingParts]:
        """Return the lost parts that the link is to request now, and record the request."""

    def expire_frames(self, now: float) -> None:
        """Finish the frames that have received nothing for too long."""

    def shift_timers(self, seconds: float) -> None:
        """Exclude *seconds* in which nobody has received from all timeouts."""


class RequestSnapshot(NamedTuple):
    """The state of a :class:`Request` that decides its future behaviour. Immutable."""

    id: int
    message: AnyMessage
    reply: AnyMessage | None
    retry_s: float
    sent_time: float
    next_try: float


class LaneSnapshot(NamedTuple):
    """The state of a :class:`Lane` that decides its future behaviour. Immutable."""

    number: int
    is_alive: bool
    has_reservation: bool
    """The frame sink has reserved memory for the tile that began last."""
    receiver: ReceiverSnapshot


class LinkSnapshot(NamedTuple):
    """The state of a :class:`Link` that decides its future behaviour. Immutable.

    Times are absolute, in seconds on the caller's clock. The frame sink has its own snapshot.
    """

    nonce: int
    lanes: tuple[LaneSnapshot, ...]
    outgoing: tuple[bytes, ...]
    """Packets that the caller has not taken yet."""
    session: HelloReply | None
    close_message: Close | None
    busy: Busy | None
    logs: tuple[Log, ...]
    notices: tuple[Notice, ...]
    events: tuple[Event, ...]
    requests: tuple[RequestSnapshot, ...]
    """Requests without an answer, in the order in which they are repeated."""
    next_id: int
    sequence: int
    """Sequence of the next packet."""
    window: int
    now: float
    last_sign_of_life: float
    """When the module last gave a sign of life."""
    last_resend: float
    """When lost parts were last requested."""
    busy_until: float
    """When the module's last lease ends."""
    next_heartbeat: float
    settled_bytes: tuple[int, ...]
    """Bytes of tiles that arrived or are lost for good, by stream."""
    granted: tuple[int, ...]
    """Bytes of tiles that the module may send in all, by stream."""
    round_trip_s: float
    """The shortest time from the first sending of a request to its answer."""


class Request:
    """A request without an answer, or its answer. The link repeats it under the same id."""

    def __init__(self, number: int, message: AnyMessage, now: float, retry_ms: int) -> None:
        self.id = number
        self.message = message
        self.reply: AnyMessage | None = None
        self._retry_s = retry_ms / 1000
        self.sent_time = now
        """When the request was sent for the first time."""
        self.next_try = now + self._retry_s

    @property
    def is_done(self) -> bool:
        """The answer has arrived."""
        return self.reply is not None

    def take_due(self, now: float) -> bool:
        """Return True if the request is to be sent again, and set the time of the next attempt."""
        if self.is_done or now < self.next_try:
            return False
        self.next_try = now + self._retry_s
        return True

    def snapshot(self) -> RequestSnapshot:
        """Return everything that future behaviour depends on, as a hashable value."""
        return RequestSnapshot(
            self.id, self.message, self.reply, self._retry_s, self.sent_time, self.next_try
        )


class Lane:
    """One lane of a link. It passes its packets to the link, with its number."""

    def __init__(
        self, link: Link, number: int, nonce: int, discards: Counter[DiscardReason]
    ) -> None:
        self.number = number
        self.is_alive = True
        self.receiver = Receiver(self, nonce, discards, MAX_PAYLOAD)
        self._link = link
        self._has_reservation = False

    @property
    def last_sequence(self) -> int | None:
        """Sequence of the last packet that arrived as a whole or was discarded. None at first."""
        return self.receiver.settled_sequence

    def reserve_buffer(self, header: Header) -> memoryview | None:
        """Return the memory that receives a tile. See :meth:`FrameSink.reserve_buffer`."""
        memory = self._link.reserve_buffer(header, self.number)
        self._has_reservation = memory is not None
        return memory

    def end_reservation(self) -> bool:
        """Forget the reservation if its tile has ended. Return True if that was so."""
        has_ended = self._has_reservation and not self.receiver.is_in_place
        if has_ended:
            self._has_reservation = False
        return has_ended

    def on_packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        """Pass a packet to the link."""
        self._link.on_packet(header, payload, in_place, self.number)

    def snapshot(self) -> LaneSnapshot:
        """Return everything that future behaviour depends on, as a hashable value."""
        return LaneSnapshot(
            self.number, self.is_alive, self._has_reservation, self.receiver.snapshot()
        )


class _Credits:
    """Bytes of tiles that the module may send, and has sent, by stream."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.settled = [0] * MAX_STREAMS
        """Bytes of tiles that arrived or are lost for good."""
        self.granted = [0] * MAX_STREAMS
        """Bytes of tiles that the module may send in all."""

    def settle(self, stream: int, count: int) -> bool:
        """Count tiles that have arrived. Return True if a new grant is due."""
        if stream >= MAX_STREAMS:
            return False
        self.settled[stream] += count
        limit = self.settled[stream] + self.window
        return limit - self.granted[stream] >= self.window // _GRANTS

    def settle_sent(self, sent: Sequence[int]) -> None:
        """Count as settled what the module had sent: it has arrived, or never will."""
        for stream in range(MAX_STREAMS):
            # A module cannot have sent more than it was granted.
            count = min(sent[stream], self.granted[stream])
            self.settled[stream] = max(self.settled[stream], count)

    def grant(self) -> tuple[int, int, int]:
        """Grant a window beyond what is settled. Return the limit of each stream."""
        self.granted = [settled + self.window for settled in self.settled]
        preview, still, roi = self.granted
        return preview, still, roi


class _Liveness:
    """When the module gave signs of life, and until when it may be silent. Seconds."""

    def __init__(self) -> None:
        self.last_sign = 0.0
        self.busy_until = 0.0
        """When the module's last lease ends."""
        self.next_heartbeat = 0.0
        self.last_resend = -1.0
        """When lost parts were last requested."""
        self.round_trip_s = math.inf
        """The shortest time from the first sending of a request to its answer."""

    def is_silent(self, now: float) -> bool:
        """The module has given no sign of life for too long."""
        return now - max(self.last_sign, self.busy_until) > SILENCE_MS / 1000

    def is_flowing(self, now: float) -> bool:
        """The line does not stand still, and something has arrived since the last Resend."""
        return now - self.last_sign < _FLOWING_S and self.last_sign > self.last_resend


class _RequestTable:
    """The requests without an answer, by id."""

    def __init__(self) -> None:
        self.next_id = 1
        self.pending: dict[int, Request] = {}

    def add(self, request: Request) -> None:
        """Keep a request that has been sent."""
        self.next_id = request.id + 1
        self.pending[request.id] = request


class Link:
    """Runs the host's end of one session. Requests and control packets travel on lane 0.

    Args:
        nonce: Names the session: at least 32 random bits, never used again. The link discards
            packets with another nonce, so a packet from before a replug is never taken for new.
        frames: Puts the frames together.
        discards: Counts discards by reason.
        lanes: The number of lanes.
        window: Bytes of a stream's tiles that the line can hold, where that is less than
            :data:`WINDOW`.
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
        frames.attach_lanes(self.lanes)
        self.outgoing: deque[bytes] = deque()
        """Packets to send. The caller removes each packet that it has sent."""
        self.session: HelloReply | None = None
        """The answer to Hello. None until the session is open."""
        self.close_message: Close | None = None
        """The module's Close, which ended the session."""
        self.logs: deque[Log] = deque(maxlen=_LOGS)
        self.notices: deque[Notice] = deque(maxlen=_LOGS)
        self.events: deque[Event] = deque(maxlen=_LOGS)
        self.newest_events: dict[int, Event] = {}
        """The newest Event of each kind, also if somebody has taken it from ``events``."""
        self.on_event: Callable[[Event], None] | None = None
        """Called with each Event, which is also appended to ``events``."""
        self.clock_samples: deque[ClockSample] = deque(maxlen=_SAMPLES)
        """The times of the last heartbeats. The caller removes what it has used."""
        self.heartbeat_reply: HeartbeatReply | None = None
        """The last one. A caller that waits for the next one sets this to None."""
        self.busy: Busy | None = None
        """The last lease that the module took, also after its end."""
        self.now = 0.0
        """The time of the last call that has the time as an argument."""
        self._frames = frames
        self._requests = _RequestTable()
        self._credits = _Credits(WINDOW if window is None else window)
        self._liveness = _Liveness()
        self._sequence = 0

    @property
    def receiver(self) -> Receiver:
        """The receiver of lane 0."""
        return self.lanes[0].receiver

    @property
    def lost_packets(self) -> int:
        """Packets missing from the lanes' sequences."""
        return sum(lane.receiver.lost_packets for lane in self.lanes)

    def snapshot(self) -> LinkSnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two links with equal snapshots, whose frame sinks are in equal states, behave alike.
        """
        return LinkSnapshot(
            nonce=self.nonce,
            lanes=tuple([lane.snapshot() for lane in self.lanes]),
            outgoing=tuple(self.outgoing),
            session=self.session,
            close_message=self.close_message,
            busy=self.busy,
            logs=tuple(self.logs),
            notices=tuple(self.notices),
            events=tuple(self.events),
            requests=tuple([each.snapshot() for each in self._requests.pending.values()]),
            next_id=self._requests.next_id,
            sequence=self._sequence,
            window=self._credits.window,
            now=self.now,
            last_sign_of_life=self._liveness.last_sign,
            last_resend=self._liveness.last_resend,
            busy_until=self._liveness.busy_until,
            next_heartbeat=self._liveness.next_heartbeat,
            settled_bytes=tuple(self._credits.settled),
            granted=tuple(self._credits.granted),
            round_trip_s=self._liveness.round_trip_s,
        )

    # --- towards the module ---------------------------------------------------------------

    def send_hello(self, now: float) -> Request:
        """Ask the module to open the session. Return the request."""
        # A tile is never longer than what may be on its way.
        longest = max(MAX_CONTROL, min(MAX_PAYLOAD, self._credits.window // _TILES))
        message = Hello(VERSION, VERSION, len(self.lanes), CAPABILITIES, longest)
        return self._start_request(message, now, HELLO_RETRY_MS)

    def send_request(self, message: AnyMessage, now: float) -> Request:
        """Send a request. Return it: its ``reply`` is set once the answer has arrived."""
        return self._start_request(message, now, REQUEST_RETRY_MS)

    @property
    def next_request_id(self) -> int:
        """The id that the next request gets."""
        return self._requests.next_id

    def forget_all_requests(self) -> None:
        """Stop repeating all requests: for a caller that never waits for two at a time."""
        self._requests.pending.clear()

    def resynchronise(self) -> None:
        """Drop the packets under way on all lanes and search for the next ones.

        For a caller that was interrupted while it received: bytes may be missing.
        """
        for lane in self.lanes:
            lane.receiver.resynchronise()
            self._frames.cancel_reservation(lane.number)

    def forget_request(self, request: Request) -> None:
        """Stop repeating a request that nobody waits for any more."""
        self._requests.pending.pop(request.id, None)

    def send_close(self, reason: int) -> None:
        """Tell the module that the session is over. There is no answer."""
        self._send(Close(reason), 0)

    def poll(self, now: float) -> None:
        """Do what is due: repeat requests, send heartbeats and Resends, give up what has stalled.

        This may finish frames and release reserved memory.
        """
        self._advance(now)
        for lane in self.lanes:
            lane.receiver.poll(now)
            if lane.end_reservation():
                self._frames.cancel_reservation(lane.number)
        self._frames.expire_frames(now)
        for request in self._requests.pending.values():
            if request.take_due(now):
                _log.debug("repeat request %d: %s", request.id, request.message)
                self._send(request.message, request.id)
        if self.session is None:
            return
        if now >= self._liveness.next_heartbeat:
            self.send_heartbeat(now)
        # A line that stands still loses nothing, so nothing is requested or given up meanwhile.
        # Without the second condition short stalls would use up the attempts.
        if self._liveness.is_flowing(now) and self.session.capabilities & _RESEND:
            for missing in self._frames.request_missing(now):
                self._request_resend(missing)
                self._liveness.last_resend = now

    def _advance(self, now: float) -> None:
        """Set the time. The time of a lease of BUSY counts for no frame."""
        held = min(now, self._liveness.busy_until) - self.now
        if held > 0:
            self._frames.shift_timers(held)
        self.now = now

    def next_timeout(self, now: float) -> float:
        """Return the seconds until :meth:`poll` has something to do: 0.05 at most."""
        wait = 0.05
        for request in self._requests.pending.values():
            wait = min(wait, max(0.0, request.next_try - now))
        return wait

    def resume(self, now: float) -> None:
        """Exclude the time since the last call, in which nobody received, from all timeouts."""
        away = now - self.now
        self.now = now
        self._liveness.last_sign += away
        for lane in self.lanes:
            lane.receiver.shift_timers(away)
        self._frames.shift_timers(away)

    def is_silent(self, now: float) -> bool:
        """The module of an open session has given no sign of life for too long."""
        return self.session is not None and self._liveness.is_silent(now)

    def send_heartbeat(self, now: float) -> None:
        """Send a heartbeat, which grants credit, and set the time of the next."""
        self._liveness.next_heartbeat = now + HEARTBEAT_MS / 1000
        limits = self._credits.grant()
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("grant bytes of tiles up to %d, %d, %d", *limits)
        self._send(Heartbeat(limits, round(now * 1e6)), 0)

    def _request_resend(self, missing: MissingParts) -> None:
        ranges = b"".join(struct.pack("<4H", *each) for each in missing.rectangles)
        message = Resend(missing.flags, len(missing.rectangles), ranges)
        _log.debug("request again: %s", missing)
        self._send(message, missing.frame, missing.stream)

    def _start_request(self, message: AnyMessage, now: float, retry_ms: int) -> Request:
        # Encode first: a message that cannot be encoded must leave nothing behind.
        message.encode()
        request = Request(self._requests.next_id, message, now, retry_ms)
        # Keep the request before its packet is queued: a call that is interrupted here may skip an
        # id, but must not use it twice.
        self._requests.add(request)
        self._send(message, request.id)
        _log.debug("request %d: %s", request.id, message)
        return request

    def _send(self, message: AnyMessage, frame: int, stream: int = 0) -> None:
        # Count before the packet is queued: a call that is interrupted here may skip a sequence,
        # but must not use it twice.
        sequence = self._sequence
        self._sequence += 1
        packet = encode_packet(
            message.TYPE,
            message.encode(),
            nonce=self.nonce,
            sequence=sequence,
            frame=frame,
            stream=stream,
        )
        self.outgoing.append(packet)
        if _log.isEnabledFor(TRACE):
            _log.log(TRACE, "send %s, sequence %d, frame %d", message, sequence, frame)

    # --- from the module ------------------------------------------------------------------

    def on_received(self, count: int, now: float, lane: int = 0, is_sound: bool = False) -> None:
        """Use *count* bytes in the ``receiver.get_buffers()`` of a lane.

        *is_sound*: see :meth:`.framing.Receiver.on_received`.
        """
        self._advance(now)
        receiver = self.lanes[lane].receiver
        headers = receiver.valid_headers
        receiver.on_received(count, now, is_sound)
        if self.lanes[lane].end_reservation():
            self._frames.cancel_reservation(lane)
        # A packet whose payload is damaged is a sign of life too, and leaves the lane out of sync.
        if count and (receiver.is_in_sync or receiver.valid_headers > headers):
            self._liveness.last_sign = now

    def feed(self, data: Data, now: float, lane: int = 0) -> None:
        """Receive *data* on a lane by copying it. For virtual links and tests."""
        receiver = self.lanes[lane].receiver
        feed(data, receiver.get_buffers, lambda count: self.on_received(count, now, lane))

    def on_lane_end(self, number: int) -> None:
        """Stop waiting for a lane other than 0: what was on it will be requested again."""
        _log.debug("lane %d has ended", number)
        self.lanes[number].is_alive = False
        self._frames.cancel_reservation(number)

    def reserve_buffer(self, header: Header, lane: int = 0) -> memoryview | None:
        """Return the memory that receives a tile. See :meth:`FrameSink.reserve_buffer`."""
        return self._frames.reserve_buffer(header, lane)

    def on_packet(self, header: Header, payload: memoryview, in_place: bool, lane: int = 0) -> None:
        """Use a packet with good CRCs, by its type."""
        self._liveness.last_sign = self.now
        if header.type == MessageType.TILE:
            self._frames.on_tile(header, payload, in_place, self.now, lane)
            self._settle_tiles(header.stream, header.length)
            return
        if header.type >= VENDOR_FIRST:
            return
        layout = BY_TYPE.get(header.type)
        if layout is None:
            self._discard(DiscardReason.UNKNOWN_TYPE, header)
            return
        try:
            message = layout.decode(payload)
        except Malformed:
            self._discard(DiscardReason.MALFORMED, header)
            return
        self._on_message(header, message)

    def _on_message(self, header: Header, message: AnyMessage) -> None:
        match message:
            case FrameStart():
                self._frames.on_frame_start(header, message, self.now)
            case FrameEnd():
                self._frames.on_frame_end(header, message, self.now)
            case Log():
                self.logs.append(message)
                _log_module_line(message)
            case HeartbeatReply():
                self.heartbeat_reply = message
                self._record_clocks(message)
                self._on_heartbeat_reply(message)
            case Pending():
                self._on_pending(header, message)
            case Busy():
                self.busy = message
                lease = min(message.lease_ms, MAX_BUSY_MS) / 1000
                self._liveness.busy_until = max(self._liveness.busy_until, self.now + lease)
                _log.debug("the module may be silent for %g s: %s", lease, message)
            case Notice():
                self.notices.append(message)
            case Event():
                self.events.append(message)
                self.newest_events[message.kind] = message
                if self.on_event is not None:
                    self.on_event(message)
            case Resent():
                self._frames.on_resent(header, message, self.now)
            case Close():
                self.close_message = message
                _log.debug("the module ended the session: %s", message)
            case _:
                self._on_reply(header, message)

    def record_tiles(
        self, stream: int, packets: int, count: int, now: float, lane: int = 0
    ) -> None:
        """Account for tiles that somebody else has received, checked and put into their frame.

        Args:
            stream: The tiles' stream.
            packets: The number of tiles.
            count: Bytes of their payloads in all.
            now: The time in seconds.
            lane: The lane on which they arrived.
        """
        self._advance(now)
        self._liveness.last_sign = now
        self.lanes[lane].receiver.record_packets(packets, count + packets * HEADER_BYTES, now)
        self._settle_tiles(stream, count)

    def _settle_tiles(self, stream: int, count: int) -> None:
        if self._credits.settle(stream, count):
            self.send_heartbeat(self.now)

    def _on_heartbeat_reply(self, message: HeartbeatReply) -> None:
        """What was sent before this answer on its lane has arrived, or never will."""
        self._credits.settle_sent(message.sent)
        for stream in range(MAX_STREAMS):
            if message.begun[stream]:
                self._frames.on_frame_announced(stream, message.begun[stream] - 1, self.now)

    def _record_clocks(self, message: HeartbeatReply) -> None:
        """Keep the four times of a heartbeat, if it answers one of this session."""
        sample = ClockSample(
            message.host_us, message.received_us, message.uptime_us, round(self.now * 1e6)
        )
        if sample.is_possible():
            self.clock_samples.append(sample)

    def _on_pending(self, header: Header, message: Pending) -> None:
        request = self._requests.pending.get(header.frame)
        if request is None:
            self._discard(DiscardReason.UNEXPECTED, header)
        else:
            lease = min(message.lease_ms, MAX_BUSY_MS) / 1000
            request.next_try = max(request.next_try, self.now + lease)

    def _on_reply(self, header: Header, message: AnyMessage) -> None:
        request = self._requests.pending.get(header.frame)
        if request is None or not isinstance(message, (Error, REPLIES[request.message.TYPE])):
            self._discard(DiscardReason.UNEXPECTED, header)
            return
        del self._requests.pending[header.frame]
        if isinstance(message, HelloReply):
            self.session = message
            # The first grant: until then the module may send no tile.
            self.send_heartbeat(self.now)
        self._measure_round_trip(request)
        request.reply = message
        _log.debug("request %d is answered: %s", request.id, message)

    def _measure_round_trip(self, request: Request) -> None:
        """Note how long the answer took.

        An answer to a repeated request may have taken less, and no answer takes less than the round
        trip. So the shortest time is the best.
        """
        seconds = self.now - request.sent_time
        if seconds < self._liveness.round_trip_s:
            self._liveness.round_trip_s = seconds
            self._frames.on_round_trip(seconds)

    def _discard(self, reason: DiscardReason, header: Header) -> None:
        """Count and log a packet that is not used."""
        self.discards[reason] += 1
        _log.debug("discarded (%s): %s", reason, header)


REPLIES: dict[int, type[AnyMessage]] = {
    request: BY_TYPE[reply]
    for request, reply in (
        (MessageType.HELLO, MessageType.HELLO_REPLY),
        (MessageType.GET_MANIFEST, MessageType.MANIFEST),
        (MessageType.CONFIGURE, MessageType.CONFIGURED),
        (MessageType.CAPTURE, MessageType.ACCEPTED),
        (MessageType.STREAM, MessageType.ACCEPTED),
        (MessageType.SET_SETTINGS, MessageType.ACCEPTED),
        (MessageType.SET_BUDGET, MessageType.ACCEPTED),
        (MessageType.STOP, MessageType.ACCEPTED),
        (MessageType.FLUSH, MessageType.FLUSHED),
        (MessageType.QUERY, MessageType.QUERY_REPLY),
        (MessageType.TEST, MessageType.ACCEPTED),
        (MessageType.CHALLENGE, MessageType.PROOF),
        (MessageType.GET_CALIBRATION, MessageType.CALIBRATION),
    )
}


def _log_module_line(line: Log) -> None:
    """Pass a line of the module's log to the logger ``lenslink.module``."""
    # The wire's levels are Python's divided by ten.
    level = line.level * 10
    if _module_log.isEnabledFor(level):
        text = line.text.decode("utf-8", "replace")
        _module_log.log(level, "%.3f s: %s", line.timestamp_us / 1e6, text)
