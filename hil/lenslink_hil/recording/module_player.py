"""Plays the module's side of a recording to a host, without input or output.

The transport (:mod:`.replay_bench`) or the server (:mod:`.replay_server`) passes the host's bytes
to :meth:`ModulePlayer.receive`, and sends what :meth:`ModulePlayer.peek` returns.

The live host has another nonce and may use other request ids than the recorded host. So each
recorded packet gets the live nonce, each reply gets the id of the live request, and the header's
CRC is computed again. Bytes that are no packet, and damaged payloads, stay as recorded.

A recorded request delays everything that the module sent after it, until the live host sends a
request of the same type, stream and offset. If the live host skips a request, the player skips
everything up to the next match, and corrects sequence numbers and byte counts. A request that is
not in the recording is refused. While the recording waits, heartbeats are answered.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from lenslink_protocol.crc import crc32
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import ConfigureFlag, ErrorCode, MessageType
from lenslink_protocol.link import REPLIES
from lenslink_protocol.messages import HEADER, MAGIC, Error, Header, HeartbeatReply
from lenslink_protocol.params import (
    FRAME_STALE_MS,
    HEADER_BYTES,
    HEARTBEAT_MS,
    MAX_CONTROL,
    MAX_LANES,
    MAX_STREAMS,
)

from .script import (
    ExpectedRequest,
    Key,
    LaneEnd,
    Packet,
    Script,
    make_request_key,
    parse_valid_header,
    read_field,
    write_field,
)

_REPLIES = {reply.TYPE for reply in REPLIES.values()} | {MessageType.ERROR, MessageType.PENDING}
_NUMBERS = 1 << 32
# After a damaged recording, the host may ask for lost data until it gives up the frame.
_LINGER_S = FRAME_STALE_MS / 1000 + 0.5


@dataclass(frozen=True, slots=True)
class HostRequest:
    """A request of the live host."""

    id: int
    key: Key
    exact: Key
    capabilities: int


class ModulePlayer:
    """Plays a script to one host.

    Args:
        script: the recording. The player changes its packets to those of the live session.
        speed: 1 as recorded, 2 twice as fast, 0 as fast as the host takes it.
    """

    def __init__(self, script: Script, speed: float = 0.0) -> None:
        self.lanes = script.lanes
        self.progress = 0
        """Number of steps of the recording that were sent or skipped."""
        self.lane_ends: dict[int, str] = {}
        """Lanes that have ended, and why; the end of lane 0 is the end of the module."""
        self._script = script
        self._speed = speed
        self._steps = deque(script.steps)
        self._requests: deque[HostRequest] = deque()
        self._request_ids: set[int] = set()
        self._matched_requests: dict[int, HostRequest] = {}
        self._adjusted_ids: set[int] = set()
        self._nonce = 0
        self._inbox = bytearray()
        self._insertions: deque[tuple[int, int, bytes]] = deque()
        # The packet that is being sent, and how many of its bytes were sent.
        self._current: Packet | None = None
        self._sent_bytes = 0
        self._last_sequence = [-1] * max(self.lanes, MAX_LANES)
        self._sequence_shift = [0] * max(self.lanes, MAX_LANES)
        self._skipped_bytes = [0] * MAX_STREAMS
        self._heartbeat_payload = HeartbeatReply(0, (0, 0, 0), (0, 0, 0), 0, 0).encode()
        self._anchor: tuple[float, int] | None = None
        self._last_activity = 0.0
        self._end_time: float | None = None

    # --- from the host --------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes that the host sent on lane 0."""
        self._inbox += data
        while len(self._inbox) >= HEADER_BYTES:
            start = self._inbox.find(MAGIC)
            if start < 0:
                del self._inbox[: 1 - len(MAGIC)]
                return
            del self._inbox[:start]
            head = bytes(self._inbox[:HEADER_BYTES])
            if len(head) < HEADER_BYTES:
                return
            header = parse_valid_header(head)
            if header is None or header.length > MAX_CONTROL:
                del self._inbox[:1]
                continue
            end = HEADER_BYTES + header.length
            if len(self._inbox) < end:
                return
            payload = bytes(self._inbox[HEADER_BYTES:end])
            del self._inbox[: end if crc32(payload) == header.payload_crc else 1]
            if crc32(payload) == header.payload_crc:
                self._on_packet(header, payload, now)

    def _on_packet(self, header: Header, payload: bytes, now: float) -> None:
        if header.type == MessageType.HELLO and not self._request_ids:
            self._nonce = header.nonce
        if header.nonce != self._nonce:
            return
        keys = make_request_key(header, payload)
        if keys is None:
            if header.type == MessageType.HEARTBEAT and self._is_silent(now):
                self._insert(MessageType.HEARTBEAT_REPLY, 0, self._heartbeat_payload)
        elif header.frame not in self._request_ids:
            self._request_ids.add(header.frame)
            capabilities = read_field(header.type, "capabilities", payload)
            request = HostRequest(header.frame, *keys, -1 if capabilities is None else capabilities)
            if any(
                isinstance(step, ExpectedRequest) and step.key == request.key
                for step in self._steps
            ):
                self._requests.append(request)
                self._match_requests(now)
            else:
                self._refuse(request)

    def _is_silent(self, now: float) -> bool:
        """Return True if the host receives nothing unless the player answers its heartbeat."""
        if self._current is not None or self._last_sequence[0] < 0:
            return False
        waits = not self._steps or isinstance(self._steps[0], ExpectedRequest)
        return waits or now - self._last_activity > 2 * HEARTBEAT_MS / 1000

    def _refuse(self, request: HostRequest) -> None:
        name = MessageType(request.key[0]).name
        rest = "".join(f" {value}" for value in request.key[1:])
        text = f"the recording has no further {name}{rest}"
        self._insert(
            MessageType.ERROR, request.id, Error(ErrorCode.UNSUPPORTED, text.encode()).encode()
        )

    def _insert(self, kind: int, request: int, payload: bytes) -> None:
        self._insertions.append((kind, request, payload))

    # --- to the host ----------------------------------------------------------------------

    def peek(self, now: float) -> tuple[int, memoryview] | None:
        """Return the lane and the bytes to send next; None if it is not time for any."""
        self._start_next(now)
        packet = self._current
        if packet is None:
            return None
        for end, time_ns in packet.record_ends:
            if end > self._sent_bytes:
                if self._get_due_time(time_ns) > now:
                    return None
                return packet.lane, memoryview(packet.data)[self._sent_bytes : end]
        raise AssertionError("a packet without an end")

    def take(self, count: int, now: float) -> None:
        """Mark *count* bytes of :meth:`peek` as sent."""
        self._sent_bytes += count
        self._last_activity = now
        packet = self._current
        if packet is not None and self._sent_bytes == len(packet.data):
            self._current = None

    def get_next_due(self, now: float) -> float:
        """Return when :meth:`peek` may have bytes again, at the latest."""
        self._start_next(now)
        if self._current is not None:
            return next(
                self._get_due_time(t)
                for end, t in self._current.record_ends
                if end > self._sent_bytes
            )
        if self._steps and isinstance(self._steps[0], LaneEnd):
            return self._get_due_time(self._steps[0].time_ns)
        return now + HEARTBEAT_MS / 1000

    @property
    def awaited_request(self) -> str | None:
        """The request that the recording waits for; None if it waits for none."""
        if self._current is None and self._steps and isinstance(self._steps[0], ExpectedRequest):
            key = self._steps[0].key
            name = MessageType(key[0]).name
            return name + "".join(f" {value}" for value in key[1:])
        return None

    def is_over(self, now: float) -> bool:
        """Return True if nothing more will be sent."""
        if self._steps or self._current is not None or self._insertions:
            return False
        if self._end_time is None:
            self._end_time = now
        linger = 0.0 if self._script.is_intact else _LINGER_S
        return now - self._end_time >= linger

    def _start_next(self, now: float) -> None:
        """Set ``_current`` to the packet to send next, if there is one."""
        while self._current is None:
            if self._insertions:
                self._current, self._sent_bytes = self._make_packet(*self._insertions.popleft()), 0
                return
            self._match_requests(now)
            if not self._steps or isinstance(self._steps[0], ExpectedRequest):
                return
            step = self._steps[0]
            if isinstance(step, LaneEnd):
                if self._get_due_time(step.time_ns) > now:
                    return
                self.lane_ends.setdefault(step.lane, step.reason)
            self._steps.popleft()
            self.progress += 1
            if isinstance(step, Packet) and step.data:
                self._current, self._sent_bytes = self._renew(step), 0

    def _get_due_time(self, time_ns: int) -> float:
        hurry = any(a.key[0] in (MessageType.STOP, MessageType.FLUSH) for a in self._requests)
        if not self._speed or self._anchor is None or hurry:
            return 0.0
        moment, origin_ns = self._anchor
        return moment + (time_ns - origin_ns) / 1e9 / self._speed

    # --- requests -------------------------------------------------------------------------

    def _match_requests(self, now: float) -> None:
        """Match the host's requests with the recorded ones; skip recorded requests if needed."""
        while self._steps and isinstance(self._steps[0], ExpectedRequest) and self._requests:
            request = self._requests[0]
            if not any(
                isinstance(s, ExpectedRequest) and s.key == request.key for s in self._steps
            ):
                self._requests.popleft()
                self._refuse(request)
                continue
            self._skip_to(request.key)
            expected = self._steps.popleft()
            assert isinstance(expected, ExpectedRequest)
            self._requests.popleft()
            self._matched_requests[expected.id] = request
            if expected.exact != request.exact:
                self._adjusted_ids.add(expected.id)
            self._anchor = (now, expected.time_ns)
            self.progress += 1

    def _skip_to(self, key: Key) -> None:
        last = [-1] * len(self._last_sequence)
        while self._steps:
            step = self._steps[0]
            if isinstance(step, ExpectedRequest) and step.key == key:
                break
            self._steps.popleft()
            self.progress += 1
            if isinstance(step, Packet) and step.header is not None and step.is_valid:
                header = step.header
                last[step.lane] = header.sequence
                if header.type == MessageType.TILE and header.stream < MAX_STREAMS:
                    self._skipped_bytes[header.stream] += header.length
        for lane, sequence in enumerate(last):
            if sequence >= 0 and self._last_sequence[lane] >= 0:
                self._sequence_shift[lane] = (self._last_sequence[lane] - sequence) % _NUMBERS

    # --- packets --------------------------------------------------------------------------

    def _make_packet(self, kind: int, request: int, payload: bytes) -> Packet:
        """Return a packet that is not in the recording, as the next packet of lane 0."""
        sequence = (self._last_sequence[0] + 1) % _NUMBERS
        self._sequence_shift[0] = (self._sequence_shift[0] + 1) % _NUMBERS
        self._last_sequence[0] = sequence
        data = encode_packet(kind, payload, nonce=self._nonce, sequence=sequence, frame=request)
        return Packet(0, bytearray(data), None, True, 0, [(len(data), -(1 << 62))])

    def _renew(self, packet: Packet) -> Packet:
        """Change a recorded packet to one of the live session, in place, and return it."""
        header = packet.header
        if header is None or header.nonce != self._script.nonce:
            return packet
        sequence = (header.sequence + self._sequence_shift[packet.lane]) % _NUMBERS
        self._last_sequence[packet.lane] = sequence
        crc, frame = header.payload_crc, header.frame
        if packet.is_valid:
            payload = memoryview(packet.data)[HEADER_BYTES:]
            frame = self._translate_request(header, payload)
            self._adjust_counters(header.type, payload)
            if header.type == MessageType.HEARTBEAT_REPLY:
                self._heartbeat_payload = bytes(payload)
            if header.type != MessageType.TILE:
                crc = crc32(payload)
        sealed = header._replace(
            nonce=self._nonce, sequence=sequence, frame=frame, payload_crc=crc, header_crc=0
        )
        HEADER.pack_into(packet.data, 0, MAGIC, *sealed)
        check = crc32(memoryview(packet.data)[: HEADER_BYTES - 4])
        struct.pack_into("<I", packet.data, HEADER_BYTES - 4, check)
        return packet

    def _translate_request(self, header: Header, payload: memoryview) -> int:
        """Return the live request's id, and change the fields that depend on the request."""
        if header.type == MessageType.FRAME_START:
            recorded_id = read_field(header.type, "request", payload)
            if recorded_id in self._matched_requests:
                request_id = self._matched_requests[recorded_id].id
                write_field(header.type, "request", payload, request_id)
        if header.type not in _REPLIES or header.frame not in self._matched_requests:
            return header.frame
        request = self._matched_requests[header.frame]
        if header.type == MessageType.HELLO_REPLY:
            common = (read_field(header.type, "capabilities", payload) or 0) & request.capabilities
            write_field(header.type, "capabilities", payload, common)
        if header.type == MessageType.CONFIGURED and header.frame in self._adjusted_ids:
            flags = read_field(header.type, "flags", payload) or 0
            write_field(header.type, "flags", payload, flags | ConfigureFlag.ADJUSTED)
        return request.id

    def _adjust_counters(self, kind: int, payload: memoryview) -> None:
        """Subtract the skipped packets and bytes from the fields that count them."""
        if kind == MessageType.HEARTBEAT_REPLY and any(self._skipped_bytes):
            for stream, skipped in enumerate(self._skipped_bytes):
                sent = read_field(kind, "sent", payload, stream) or 0
                write_field(kind, "sent", payload, max(0, sent - skipped), stream)
        if kind in (MessageType.FRAME_END, MessageType.FLUSHED) and any(self._sequence_shift):
            for lane, shift in enumerate(self._sequence_shift):
                last = read_field(kind, "last_sequence", payload, lane)
                if last is not None:
                    write_field(kind, "last_sequence", payload, last + shift, lane)
