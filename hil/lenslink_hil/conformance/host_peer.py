"""A host that sends what a case tells it to send, and keeps every packet that it receives.

A case gets one :class:`HostPeer` for its session. :meth:`HostPeer.start_session` gives another one
for the next session on the same wire.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import Capability, ErrorCode, MessageType
from lenslink_protocol.manifest import Manifest, Mode, parse_manifest
from lenslink_protocol.messages import (
    AnyMessage,
    Capture,
    Close,
    Configure,
    Configured,
    Error,
    FrameEnd,
    FrameStart,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    ManifestPiece,
    StartStream,
)
from lenslink_protocol.params import HELLO_RETRY_MS, MAX_MANIFEST, MAX_PAYLOAD, MAX_STREAMS

from .cases import Failed, check
from .packets import Packet, Parser, describe
from .peer_wire import Wire

M = TypeVar("M", bound=AnyMessage)

QUIET_S = 0.25
"""A module that is to send nothing is listened to for this long."""
PATIENCE_S = 5.0
PLENTY = 1 << 28
"""Bytes of credit: more than any case needs, and a bound for a module that never stops."""
ALL = Capability.LOG | Capability.RESEND
PREVIEW, STILL, ROI = 0, 1, 2
# An id may be 0, and so is `frame` of most of these.
_NO_ANSWERS = (
    MessageType.PENDING, MessageType.HEARTBEAT_REPLY, MessageType.RESENT, MessageType.BUSY,
    MessageType.NOTICE, MessageType.EVENT, MessageType.CLOSE,
)  # fmt: skip
# A module that has just been connected has to boot, and its contacts have to settle.
_ATTACH_S = 10.0


@dataclass
class Picture:
    """The packets of one frame."""

    start: Packet | None = None
    tiles: list[Packet] = field(default_factory=list)
    end: Packet | None = None


class HostPeer:
    """One session of a host. ``log`` holds every packet of the session, in order of arrival.

    Args:
        wire: The line to the module.
        source: Draws nonces and challenges, so that a run can be repeated with its seed.
        key: The key of the module's authentication, if the kit was given it.
    """

    def __init__(
        self, wire: Wire, source: random.Random | None = None, key: bytes | None = None
    ) -> None:
        self.wire = wire
        self.key = key
        self.source = source or random.Random()
        self.nonce = self.source.getrandbits(32)
        self.sequence = 0
        self.next_id = 1
        self.log: list[Packet] = []
        self.session: HelloReply | None = None
        self.strangers: list[Packet] = []
        """Packets of other sessions that arrived after this one was opened."""
        self.limits = [0] * MAX_STREAMS
        self.lanes = 1
        self.max_payload = MAX_PAYLOAD
        """``lanes`` and ``max_payload`` are what Hello offers."""
        self._is_open = False
        self._manifest: Manifest | None = None
        self._parsers = [Parser(lane) for lane in range(wire.lanes)]

    @property
    def damage(self) -> list[str]:
        """What arrived that is no sound packet, lane by lane."""
        return [fault for parser in self._parsers for fault in parser.damage]

    @property
    def waiting_bytes(self) -> int:
        """The bytes on lane 0 of a packet of which more is to come."""
        return self._parsers[0].waiting_bytes

    def start_session(self) -> HostPeer:
        """Return a peer for another session on the same wire. Hello has not been sent."""
        return HostPeer(self.wire, self.source, self.key)

    # --- to the module --------------------------------------------------------------------

    def build_packet(
        self, message: AnyMessage, number: int = 0, stream: int = 0, **more: Any
    ) -> bytes:
        """Return the session's next packet. *more* overrides fields of its header."""
        return self.pack_payload(message.TYPE, message.encode(), number, stream, **more)

    def pack_payload(
        self, kind: int, payload: bytes, number: int = 0, stream: int = 0, **more: Any
    ) -> bytes:
        """Return a packet of any type and payload. *more* overrides fields of its header."""
        more = {"nonce": self.nonce, "sequence": self.sequence} | more
        self.sequence = (more["sequence"] + 1) & 0xFFFFFFFF
        return encode_packet(kind, payload, frame=number, stream=stream, **more)

    def send(self, message: AnyMessage, number: int = 0, stream: int = 0, **more: Any) -> None:
        """Send a message. *more* overrides fields of its header."""
        self.wire.send(self.build_packet(message, number, stream, **more))

    def take_id(self) -> int:
        """Return the next request's id."""
        self.next_id += 1
        return self.next_id - 1

    def send_request(self, message: AnyMessage) -> int:
        """Send a request and return its id."""
        number = self.take_id()
        self.send(message, number)
        return number

    # --- from the module ------------------------------------------------------------------

    def listen(self, seconds: float) -> None:
        """Receive for at most *seconds*; return as soon as something has arrived."""
        # Before lane 0, whose FrameEnd says what has been sent on the other lanes.
        found: list[Packet] = []
        for lane in range(1, self.wire.lanes):
            found += self._parsers[lane].feed(self.wire.receive_lane(lane), self.wire.now())
        data = self.wire.receive(0.01 if self.wire.lanes > 1 and self.lanes > 1 else seconds)
        found += self._parsers[0].feed(data, self.wire.now())
        for packet in found:
            if packet.header.nonce == self.nonce:
                self._is_open = self._is_open or packet.kind == MessageType.HELLO_REPLY
                self.log.append(packet)
            elif self._is_open:
                self.strangers.append(packet)

    def wait_for(
        self, wanted: Callable[[Packet], bool], seconds: float, since: int = 0
    ) -> Packet | None:
        """Return the first packet from *since* that is *wanted*, or None after *seconds*."""
        end = self.wire.now() + seconds
        at = since
        while True:
            while at < len(self.log):
                if wanted(self.log[at]):
                    return self.log[at]
                at += 1
            left = end - self.wire.now()
            if left <= 0:
                return None
            self.listen(left)

    def collect(self, seconds: float = QUIET_S) -> list[Packet]:
        """Receive for all of *seconds*, and return the packets that arrived."""
        mark = len(self.log)
        self.wait_for(lambda _: False, seconds, mark)
        return self.log[mark:]

    def wait_for_answer(
        self, number: int, seconds: float = PATIENCE_S, since: int = 0
    ) -> Packet | None:
        """Return the answer to a request, None after *seconds*. Pending is no answer."""
        return self.wait_for(lambda p: _is_answer(p, number), seconds, since)

    def call(self, message: AnyMessage, reply: type[M]) -> M:
        """Send a request and return its reply. Raise :exc:`Failed` if it gets another answer."""
        answer = self.try_call(message)
        if not isinstance(answer, reply):
            raise Failed(f"{describe(message)} is answered with {describe(answer)}")
        return answer

    def try_call(self, message: AnyMessage) -> AnyMessage:
        """Send a request and return whatever answers it. Raise :exc:`Failed` if nothing does."""
        number = self.send_request(message)
        answer = self.wait_for_answer(number, since=len(self.log))
        if answer is None:
            raise Failed(f"{describe(message)} is not answered within {PATIENCE_S:g} s")
        return answer.message()

    def expect_error(self, message: AnyMessage, code: int) -> None:
        """Send a request, and raise :exc:`Failed` unless it is refused with *code*."""
        answer = self.try_call(message)
        refused = isinstance(answer, Error) and answer.code == code
        wanted = ErrorCode(code).name
        check(refused, f"{describe(message)} gets {describe(answer)}, not Error {wanted}")

    # --- steps that many cases take -------------------------------------------------------

    def open_session(self, capabilities: int = ALL, **more: Any) -> HelloReply:
        """Open the session. Raise :exc:`Failed` unless HelloReply answers."""
        answer = self.try_hello(capabilities, **more)
        if not isinstance(answer, HelloReply):
            raise Failed(f"Hello is answered with {describe(answer)}")
        self.session = answer
        return answer

    def try_hello(
        self, capabilities: int = ALL, versions: tuple[int, int] = (VERSION, VERSION), **more: Any
    ) -> AnyMessage | None:
        """Repeat Hello until it is answered, and return the answer, None if there is none."""
        number = self.take_id()
        message = Hello(*versions, self.lanes, capabilities, self.max_payload)
        end = self.wire.now() + _ATTACH_S
        while self.wire.now() < end:
            self.send(message, number, **more)
            answer = self.wait_for_answer(number, HELLO_RETRY_MS / 1000)
            if answer is not None:
                return answer.message()
        return None

    def read_manifest_bytes(self) -> bytes:
        """Return the manifest, piece by piece. Raise :exc:`Failed` if the pieces do not fit."""
        data = b""
        while True:
            piece = self.call(GetManifest(len(data)), ManifestPiece)
            fits = piece.offset == len(data) and piece.piece
            check(fits, f"byte {len(data)} was asked for, and came {describe(piece)}")
            data += piece.piece
            check(len(data) <= piece.total <= MAX_MANIFEST, f"a manifest of {piece.total} bytes")
            if len(data) == piece.total:
                return data

    def read_manifest(self) -> Manifest:
        """Return the parsed manifest. Raise :exc:`Failed` if it breaks a rule."""
        return self.parse_manifest(self.read_manifest_bytes())

    def get_manifest(self) -> Manifest:
        """Return the manifest, which is read once in the session."""
        if self._manifest is None:
            self._manifest = self.read_manifest()
        return self._manifest

    def parse_manifest(self, data: bytes) -> Manifest:
        """Return the manifest in *data*. Raise :exc:`Failed` if it breaks a rule."""
        try:
            return parse_manifest(data)
        except ValueError as error:
            raise Failed(f"the manifest: {error}") from None

    def find_smallest_mode(self) -> Mode:
        """Return the mode with the fewest pixels, which takes the least time."""
        return min(self.get_manifest().modes, key=lambda mode: mode.width * mode.height)

    def configure(self, stream: int = STILL, tile_bytes: int = 0) -> Configured:
        """Configure *stream* in the smallest mode and return the answer."""
        return self.call(
            Configure(stream, 0, self.find_smallest_mode().id, 0, tile_bytes), Configured
        )

    def grant_credits(self, preview: int, still: int, roi: int = 0) -> HeartbeatReply:
        """Send limits in a Heartbeat and return the answer."""
        self.limits = [preview, still, roi]
        mark = len(self.log)
        self.send(Heartbeat((preview, still, roi), 0))
        return self.wait_for_heartbeat_reply(mark)

    def wait_for_heartbeat_reply(self, since: int, seconds: float = PATIENCE_S) -> HeartbeatReply:
        """Return the next HeartbeatReply of the log from *since*. Raise :exc:`Failed` if none."""
        found = self.wait_for(lambda p: p.kind == MessageType.HEARTBEAT_REPLY, seconds, since)
        if found is None:
            raise Failed(f"Heartbeat is not answered within {seconds:g} s")
        message = found.message()
        assert isinstance(message, HeartbeatReply)
        return message

    def start_capture(
        self, count: int = 1, settings: Iterable[Setting] = (), stream: int = STILL
    ) -> int:
        """Ask for stills and return the request's id."""
        number = self.send_request(Capture(stream, count, encode_settings(settings)))
        answer = self.wait_for_answer(number)
        accepted = answer is not None and answer.kind == MessageType.ACCEPTED
        check(accepted, f"Capture is answered with {describe(answer)}")
        return number

    def start_stream(self, interval_us: int = 20000, settings: Iterable[Setting] = ()) -> int:
        """Start the preview and return the request's id."""
        number = self.send_request(StartStream(PREVIEW, interval_us, encode_settings(settings)))
        answer = self.wait_for_answer(number)
        accepted = answer is not None and answer.kind == MessageType.ACCEPTED
        check(accepted, f"StartStream is answered with {describe(answer)}")
        return number

    def wait_for_frame(self, stream: int = STILL, since: int = 0, seconds: float = 20.0) -> Picture:
        """Return the first frame of *stream* that begins and ends in the log from *since*."""
        kinds = (MessageType.FRAME_START, MessageType.FRAME_END)

        def is_end(packet: Packet) -> bool:
            if packet.kind != kinds[1] or packet.header.stream != stream:
                return False
            # A frame that began before *since* is only half in the log from there.
            return not any(p.kind == kinds[0] and p.id == packet.id for p in self.log[:since])

        end = self.wait_for(is_end, seconds, since)
        if end is None:
            raise Failed(f"no FrameEnd of stream {stream} within {seconds:g} s")
        found = Picture(end=end)
        for packet in self.log[since:]:
            if packet.header.stream != stream or packet.id != end.id:
                continue
            if packet.kind == kinds[0] and found.start is None:
                found.start = packet
            elif packet.kind == MessageType.TILE and not packet.header.flags & 1:
                found.tiles.append(packet)
        return found

    def take_still(self, tile_bytes: int = 0) -> tuple[Configured, Picture]:
        """Configure, grant, capture, and return the configuration and the still."""
        configured = self.configure(STILL, tile_bytes)
        self.grant_credits(PLENTY, PLENTY)
        self.start_capture()
        return configured, self.wait_for_frame()

    def close(self) -> None:
        """Send Close."""
        self.send(Close(0))


def read_frame_start(picture: Picture) -> FrameStart:
    """Return the message of the frame. Raise :exc:`Failed` if it was not sent."""
    if picture.start is None:
        raise Failed("a frame without FrameStart")
    message = picture.start.message()
    assert isinstance(message, FrameStart)  # its type says so
    return message


def read_frame_end(picture: Picture) -> FrameEnd:
    """Return the message of the frame. Raise :exc:`Failed` if it was not sent."""
    if picture.end is None:
        raise Failed("a frame without FrameEnd")
    message = picture.end.message()
    assert isinstance(message, FrameEnd)
    return message


def _is_answer(packet: Packet, number: int) -> bool:
    is_message = packet.kind < MessageType.FRAME_START and packet.kind not in _NO_ANSWERS
    return packet.id == number and is_message
