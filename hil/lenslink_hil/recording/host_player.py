"""Plays the host's side of a recording to a module, and compares the answers.

``lenslink replay --as host`` calls :meth:`HostPlayer.run`. The recorded packets are sent in order.
Each one waits until the module has sent the answers and frame ends that came before it in the
recording. The player uses a nonce of its own, as every session must. It grants credits as any host
does, so that a slower module gets enough of them.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, ProtocolError
from lenslink.transports.base import MultiLaneTransport, Transport
from lenslink_protocol.framing import Receiver, encode_packet
from lenslink_protocol.ids import DiscardReason, EndStatus, FrameFlag, ManifestKey, MessageType
from lenslink_protocol.link import REPLIES, WINDOW
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import (
    BY_TYPE,
    AnyMessage,
    FrameStart,
    Header,
    Heartbeat,
    Malformed,
)
from lenslink_protocol.params import (
    HEADER_BYTES,
    HEARTBEAT_MS,
    HELLO_RETRY_MS,
    MAX_STREAMS,
    REQUEST_RETRY_MS,
)

from .script import Packet, Script, read_field, write_field

_POLL_S = 0.05
_ANSWERS = {reply.TYPE for reply in REPLIES.values()} | {MessageType.ERROR}
# Fields that may differ between two sessions with the same module.
_SESSION_FIELDS = {
    MessageType.HELLO_REPLY: {"boot_count", "uptime_us", "reset_reason", "manifest_bytes"},
    MessageType.ACCEPTED: {"first_frame"},
    MessageType.FLUSHED: {"last_sequence"},
    MessageType.ERROR: {"detail"},
    MessageType.FRAME_START: {
        "timestamp_us",
        "interval_us",
        "temperature_mc",
        "request",
    },
}

Tile = tuple[int, int, int, int]


@dataclass(slots=True)
class FrameContent:
    """The content of a frame: its FrameStart, and the place and CRC of each tile."""

    start: bytes = b""
    tiles: dict[Tile, int] = field(default_factory=dict)
    is_finished: bool = False


@dataclass(slots=True)
class ModuleOutput:
    """What a module sent: answers by request id, frames by stream and number."""

    answers: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    manifest: bytes = b""
    frames: dict[tuple[int, int], FrameContent] = field(default_factory=dict)
    received_bytes: list[int] = field(default_factory=lambda: [0] * MAX_STREAMS)
    is_closed: bool = False
    open_streams: set[int] = field(default_factory=set)
    """Streams whose frames are compared. Frames that end after a STOP depend on timing."""

    def on_request(self, header: Header) -> None:
        """Note that the host sends this request."""
        if header.type in (MessageType.CAPTURE, MessageType.STREAM):
            # The payload names the stream. Other streams send frames only if asked for, too.
            self.open_streams.update(range(MAX_STREAMS))
        elif header.type in (MessageType.STOP, MessageType.FLUSH):
            self.open_streams.clear()

    def on_packet(self, header: Header, payload: bytes | memoryview) -> None:
        """Take a valid packet of the module."""
        kind, place = header.type, (header.stream, header.frame)
        if kind in _ANSWERS:
            self.answers.setdefault(header.frame, (kind, bytes(payload)))
        if kind == MessageType.MANIFEST and read_field(kind, "offset", payload) == len(
            self.manifest
        ):
            size = read_field(kind, "size", payload) or 0
            self.manifest += bytes(payload[size:])
        if kind == MessageType.FRAME_START:
            self.frames.setdefault(place, FrameContent()).start = bytes(payload)
        elif kind == MessageType.TILE:
            tile = (header.x, header.y, header.width, header.height)
            self.frames.setdefault(place, FrameContent()).tiles[tile] = header.payload_crc
            if header.stream < MAX_STREAMS:
                self.received_bytes[header.stream] += header.length
        elif kind == MessageType.FRAME_END:
            whole = read_field(kind, "status", payload) == EndStatus.OK
            self.frames.setdefault(place, FrameContent()).is_finished = (
                whole and header.stream in self.open_streams
            )
        elif kind == MessageType.CLOSE:
            self.is_closed = True

    def list_finished_frames(self, stream: int) -> list[FrameContent]:
        """Return the finished frames of a stream, in order."""
        return [s for (of, _), s in sorted(self.frames.items()) if of == stream and s.is_finished]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One answer or frame, and its difference from the recorded one; "" if they are equal."""

    what: str
    difference: str


class HostPlayer:
    """Plays the recorded host to the module behind *transport*. The caller closes *transport*."""

    def __init__(self, script: Script, transport: Transport) -> None:
        self.output = ModuleOutput()
        self.discards: Counter[DiscardReason] = Counter()
        self._script = script
        self._transport = transport
        self._nonce = secrets.randbits(32)
        self._sequence = 0
        self._limits = [0] * MAX_STREAMS
        self._next_heartbeat = 0.0
        lanes = transport.lanes if isinstance(transport, MultiLaneTransport) else 1
        self._lanes = min(lanes, script.lanes)
        self._receivers = [Receiver(self, self._nonce, self.discards) for _ in range(self._lanes)]
        self._ended_lanes: set[int] = set()
        self._pending: dict[int, tuple[Packet, float]] = {}
        """Requests without an answer, and when each was last sent."""

    # --- a Sink ---------------------------------------------------------------------------

    def reserve_buffer(self, header: Header) -> memoryview | None:
        return None

    def on_packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        self.output.on_packet(header, payload)

    # --- the session ----------------------------------------------------------------------

    def run(self, deadline: Deadline) -> list[Comparison]:
        """Play the whole recording and return the comparisons.

        Raises:
            Timeout: a recorded answer or frame did not come.
            Disconnected: the module ended the session.
        """
        recorded = ModuleOutput()
        pending = iter(sorted(self._iterate_recorded(), key=lambda packet: packet.position))
        upcoming = next(pending, None)
        sent: set[int] = set()
        asked: list[tuple[int, int]] = []
        for packet in self._script.host:
            header = packet.header
            if header is None or not packet.is_valid:
                continue
            while upcoming is not None and upcoming.position < packet.position:
                _add(recorded, upcoming)
                upcoming = next(pending, None)
            self._wait_for(recorded, deadline)
            if header.type == MessageType.CLOSE:
                break
            if header.type in REPLIES:
                if header.frame in sent:
                    continue
                sent.add(header.frame)
                self._pending[header.frame] = (packet, time.monotonic())
                asked.append((header.frame, header.type))
            for side in (recorded, self.output):
                side.on_request(header)
            self._send(packet, deadline)
        while upcoming is not None:
            _add(recorded, upcoming)
            upcoming = next(pending, None)
        self._wait_for(recorded, deadline)
        self._send_packet(MessageType.CLOSE, b"\x03\x00\x00", deadline)
        return list(compare(recorded, self.output, asked))

    def _iterate_recorded(self) -> Iterator[Packet]:
        for step in self._script.steps:
            if not isinstance(step, Packet) or not step.is_valid or step.header is None:
                continue
            if step.header.nonce == self._script.nonce:
                yield step

    def _wait_for(self, recorded: ModuleOutput, deadline: Deadline) -> None:
        """Receive until the module has sent everything in *recorded*."""
        while not self._has_received(recorded):
            deadline.check()
            if self.output.is_closed:
                raise Disconnected("the module ended the session")
            self._repeat(deadline)
            if self.output.answers and time.monotonic() >= self._next_heartbeat:
                self._grant(deadline)
            self._receive(min(_POLL_S, deadline.remaining()))

    def _repeat(self, deadline: Deadline) -> None:
        """Repeat requests without an answer: a link, or a module that starts, may lose them."""
        now = time.monotonic()
        for number, (packet, sent) in list(self._pending.items()):
            if number in self.output.answers:
                del self._pending[number]
            elif packet.header is not None:
                hello = packet.header.type == MessageType.HELLO
                if now - sent >= (HELLO_RETRY_MS if hello else REQUEST_RETRY_MS) / 1000:
                    self._pending[number] = (packet, now)
                    self._send(packet, deadline)

    def _has_received(self, recorded: ModuleOutput) -> bool:
        return recorded.answers.keys() <= self.output.answers.keys() and all(
            len(self.output.list_finished_frames(stream))
            >= len(recorded.list_finished_frames(stream))
            for stream in range(MAX_STREAMS)
        )

    def _receive(self, seconds: float) -> None:
        transport, now = self._transport, time.monotonic
        if self._lanes == 1:
            count = transport.receive_into(self._receivers[0].get_buffers(), seconds)
            self._receivers[0].on_received(count, now())
        elif isinstance(transport, MultiLaneTransport):
            for lane in transport.ready(seconds):
                if lane >= self._lanes or lane in self._ended_lanes:
                    continue
                got = transport.receive_lane_into(lane, self._receivers[lane].get_buffers())
                if got is None:
                    self._ended_lanes.add(lane)
                else:
                    self._receivers[lane].on_received(got, now())
        for receiver in self._receivers:
            receiver.poll(now())

    def _send(self, packet: Packet, deadline: Deadline) -> None:
        header = packet.header
        if header is None:
            raise ProtocolError("no packet")
        payload = bytearray(packet.data[HEADER_BYTES:])
        if header.type == MessageType.HELLO:
            write_field(header.type, "lanes", memoryview(payload), self._lanes)
        if header.type == MessageType.HEARTBEAT:
            for stream in range(MAX_STREAMS):
                limit = read_field(header.type, "limit", payload, stream) or 0
                self._limits[stream] = max(self._limits[stream], limit)
            self._grant(deadline)
            return
        self._send_packet(header.type, bytes(payload), deadline, header.frame, header.stream)

    def _grant(self, deadline: Deadline) -> None:
        self._next_heartbeat = time.monotonic() + HEARTBEAT_MS / 1000
        for stream, received_bytes in enumerate(self.output.received_bytes):
            self._limits[stream] = max(self._limits[stream], received_bytes + WINDOW)
        preview, still, roi = self._limits
        self._send_packet(
            MessageType.HEARTBEAT,
            Heartbeat((preview, still, roi), round(time.monotonic() * 1e6)).encode(),
            deadline,
        )

    def _send_packet(
        self, kind: int, payload: bytes, deadline: Deadline, frame: int = 0, stream: int = 0
    ) -> None:
        data = encode_packet(
            kind, payload, nonce=self._nonce, sequence=self._sequence, frame=frame, stream=stream
        )
        self._sequence += 1
        self._transport.send(data, deadline)


# --- the comparison --------------------------------------------------------------------------


def compare(
    recorded: ModuleOutput, output: ModuleOutput, asked: list[tuple[int, int]]
) -> Iterator[Comparison]:
    """Yield a comparison for each recorded answer, the manifest, and each whole frame."""
    for number, kind in asked:
        was, now = recorded.answers.get(number), output.answers.get(number)
        if was is None or kind == MessageType.GET_MANIFEST:
            continue
        difference = "no answer" if now is None else _describe_difference(was, now)
        yield Comparison(f"{MessageType(kind).name} {number}", difference)
    if recorded.manifest:
        same = _get_entries(recorded.manifest) == _get_entries(output.manifest)
        yield Comparison("manifest", "" if same else "the entries differ")
    for stream in range(MAX_STREAMS):
        live = output.list_finished_frames(stream)
        for index, shown in enumerate(recorded.list_finished_frames(stream)):
            other = live[index] if index < len(live) else None
            yield Comparison(f"frame {index} of stream {stream}", _compare_frames(shown, other))


def _add(output: ModuleOutput, packet: Packet) -> None:
    if packet.header is not None:
        output.on_packet(packet.header, memoryview(packet.data)[HEADER_BYTES:])


def _decode(kind: int, payload: bytes) -> AnyMessage:
    """Return a message; a lens that still moves after the start of a module is no difference."""
    message = BY_TYPE[kind].decode(payload)
    if isinstance(message, FrameStart):
        return replace(message, flags=message.flags & ~FrameFlag.MOVING)
    return message


def _describe_difference(was: tuple[int, bytes], now: tuple[int, bytes]) -> str:
    if was[0] != now[0]:
        return f"{MessageType(was[0]).name} then, {MessageType(now[0]).name} now"
    try:
        before, after = (_decode(*each) for each in (was, now))
    except Malformed as error:
        return f"malformed: {error}"
    return ", ".join(
        f"{name}: {getattr(before, name)} then, {getattr(after, name)} now"
        for name in before.__dataclass_fields__
        if name not in _SESSION_FIELDS.get(MessageType(was[0]), ())
        and getattr(before, name) != getattr(after, name)
    )


def _get_entries(manifest: bytes) -> list[tuple[int, bytes]] | None:
    """Return the entries without the serial number, which an equal module may differ in."""
    try:
        return [entry for entry in iterate_entries(manifest) if entry[0] != ManifestKey.SERIAL]
    except Malformed:
        return None


def _compare_frames(was: FrameContent, now: FrameContent | None) -> str:
    if now is None:
        return "the frame did not come"
    if was.start and now.start:
        kind = MessageType.FRAME_START
        difference = _describe_difference((kind, was.start), (kind, now.start))
        if difference:
            return difference
    if was.tiles.keys() != now.tiles.keys():
        return f"{len(was.tiles)} tiles then, {len(now.tiles)} now"
    wrong = sum(crc != now.tiles[place] for place, crc in was.tiles.items())
    return f"other pixels in {wrong} of {len(was.tiles)} tiles" if wrong else ""
