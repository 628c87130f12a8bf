"""A host that says what a case tells it to, and remembers all that it is told."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import Capability, MessageType
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
from lenslink_protocol.params import HELLO_RETRY_MS, MAX_MANIFEST, MAX_PAYLOAD

from .cases import Failed, check
from .packets import Packet, Parser
from .peer_wire import Wire

M = TypeVar("M", bound=AnyMessage)

QUIET_S = 0.25
"""How long nothing must come for it to count as nothing."""
PATIENCE_S = 5.0
PLENTY = 1 << 28
"""Bytes: more than any case needs, and what a module that never stops can make of our memory."""
ALL = Capability.LOG | Capability.RESEND
PREVIEW, STILL = 0, 1
# A module that has just been connected has to boot, and its contacts to settle.
_ATTACH_S = 10.0


@dataclass
class Picture:
    """A frame's packets."""

    start: Packet | None = None
    tiles: list[Packet] = field(default_factory=list)
    end: Packet | None = None


class HostPeer:
    """``log`` holds every packet of the session, in the order of arrival."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.nonce = secrets.randbits(32)
        self.sequence = 0
        self.next_id = 1
        self.log: list[Packet] = []
        self.session: HelloReply | None = None
        self.strangers: list[Packet] = []
        """Packets of other sessions after this one was opened."""
        self.limits = [0, 0]
        self.lanes = 1
        self.max_payload = MAX_PAYLOAD
        """Both are what Hello offers."""
        self._opened = False
        self._parsers = [Parser(lane) for lane in range(wire.lanes)]

    @property
    def damage(self) -> list[str]:
        """What came that is no sound packet, lane by lane."""
        return [fault for parser in self._parsers for fault in parser.damage]

    # --- to the module --------------------------------------------------------------------

    def packet(self, message: AnyMessage, number: int = 0, stream: int = 0, **more: Any) -> bytes:
        """The next packet of the session, with whatever *more* makes of it."""
        return self.pack(message.TYPE, message.encode(), number, stream, **more)

    def pack(
        self, kind: int, payload: bytes, number: int = 0, stream: int = 0, **more: Any
    ) -> bytes:
        """A packet of any type and payload."""
        more = {"nonce": self.nonce, "sequence": self.sequence} | more
        self.sequence = (more["sequence"] + 1) & 0xFFFFFFFF
        return encode_packet(kind, payload, frame=number, stream=stream, **more)

    def send(self, message: AnyMessage, number: int = 0, stream: int = 0, **more: Any) -> None:
        self.wire.send(self.packet(message, number, stream, **more))

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def ask(self, message: AnyMessage) -> int:
        """Send a request; its id."""
        number = self.new_id()
        self.send(message, number)
        return number

    # --- from the module ------------------------------------------------------------------

    def listen(self, seconds: float) -> None:
        """Take what comes within *seconds*, no longer than until something does."""
        # Before lane 0, which says in FrameEnd what has been sent on the others.
        found: list[Packet] = []
        for lane in range(1, self.wire.lanes):
            found += self._parsers[lane].feed(self.wire.receive_lane(lane), self.wire.now())
        data = self.wire.receive(0.01 if self.wire.lanes > 1 and self.lanes > 1 else seconds)
        found += self._parsers[0].feed(data, self.wire.now())
        for packet in found:
            if packet.header.nonce == self.nonce:
                self._opened = self._opened or packet.kind == MessageType.HELLO_REPLY
                self.log.append(packet)
            elif self._opened:
                self.strangers.append(packet)

    def wait(
        self, wanted: Callable[[Packet], bool], seconds: float, since: int = 0
    ) -> Packet | None:
        """The first packet of the log from *since* that is *wanted*, or None after *seconds*."""
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

    def quiet(self, seconds: float = QUIET_S) -> list[Packet]:
        """What comes within *seconds*."""
        mark = len(self.log)
        self.wait(lambda _: False, seconds, mark)
        return self.log[mark:]

    def answer(self, number: int, seconds: float = PATIENCE_S, since: int = 0) -> Packet | None:
        """The answer to the request of that id: a reply or Error, not Pending."""
        return self.wait(lambda p: _is_answer(p, number), seconds, since)

    def call(self, message: AnyMessage, reply: type[M]) -> M:
        """The reply to a request; :exc:`Failed` without one."""
        answer = self.try_call(message)
        check(isinstance(answer, reply), f"{type(message).__name__} is answered with {answer}")
        return answer  # type: ignore[return-value]

    def try_call(self, message: AnyMessage) -> AnyMessage:
        """Whatever answers a request; :exc:`Failed` if nothing does."""
        number = self.ask(message)
        answer = self.answer(number, since=len(self.log))
        if answer is None:
            raise Failed(f"{type(message).__name__} is not answered within {PATIENCE_S:g} s")
        return answer.message()

    def refused(self, message: AnyMessage, code: int) -> None:
        """:exc:`Failed` unless the request is refused with *code*."""
        answer = self.try_call(message)
        refused = isinstance(answer, Error) and answer.code == code
        check(refused, f"{message} is answered with {answer}, not refused with code {code}")

    # --- steps that many cases take -------------------------------------------------------

    def hello(self, capabilities: int = ALL, **more: Any) -> HelloReply:
        """Open a session; :exc:`Failed` if it is not answered with HelloReply."""
        answer = self.try_hello(capabilities, **more)
        if not isinstance(answer, HelloReply):
            raise Failed(f"Hello is answered with {answer}")
        self.session = answer
        return answer

    def try_hello(
        self, capabilities: int = ALL, versions: tuple[int, int] = (VERSION, VERSION), **more: Any
    ) -> AnyMessage | None:
        """Say Hello until it is answered; None if it is not."""
        number = self.new_id()
        message = Hello(*versions, self.lanes, capabilities, self.max_payload)
        end = self.wire.now() + _ATTACH_S
        while self.wire.now() < end:
            self.send(message, number, **more)
            answer = self.answer(number, HELLO_RETRY_MS / 1000)
            if answer is not None:
                return answer.message()
        return None

    def manifest_bytes(self) -> bytes:
        data = b""
        while True:
            piece = self.call(GetManifest(len(data)), ManifestPiece)
            check(piece.offset == len(data) and piece.piece, f"a piece that does not fit: {piece}")
            data += piece.piece
            check(len(data) <= piece.total <= MAX_MANIFEST, f"a manifest of {piece.total} bytes")
            if len(data) == piece.total:
                return data

    def manifest(self) -> Manifest:
        return parse_manifest(self.manifest_bytes())

    def smallest(self) -> Mode:
        """The mode that takes the least time."""
        return min(self.manifest().modes, key=lambda mode: mode.width * mode.height)

    def configure(self, stream: int = STILL, tile_bytes: int = 0) -> Configured:
        """Prepare *stream* in the smallest mode."""
        return self.call(Configure(stream, 0, self.smallest().id, 0, tile_bytes), Configured)

    def grant(self, preview: int, still: int) -> HeartbeatReply:
        """Say the limits, and wait for the answer."""
        self.limits = [preview, still]
        mark = len(self.log)
        self.send(Heartbeat((preview, still)))
        return self.heartbeat_reply(mark)

    def heartbeat_reply(self, since: int, seconds: float = PATIENCE_S) -> HeartbeatReply:
        found = self.wait(lambda p: p.kind == MessageType.HEARTBEAT_REPLY, seconds, since)
        if found is None:
            raise Failed(f"Heartbeat is not answered within {seconds:g} s")
        message = found.message()
        assert isinstance(message, HeartbeatReply)
        return message

    def capture(self, count: int = 1, exposure_us: int = 0, gain_milli: int = 0) -> int:
        """Ask for stills; the request's id."""
        number = self.ask(Capture(STILL, count, exposure_us, gain_milli, -1))
        answer = self.answer(number)
        check(answer is not None and answer.kind == MessageType.ACCEPTED, f"Capture: {answer}")
        return number

    def stream(self, interval_us: int = 20000) -> int:
        """Start the preview; the request's id."""
        number = self.ask(StartStream(PREVIEW, interval_us, 0, 0, -1))
        answer = self.answer(number)
        check(answer is not None and answer.kind == MessageType.ACCEPTED, f"StartStream: {answer}")
        return number

    def picture(self, stream: int = STILL, since: int = 0, seconds: float = 20.0) -> Picture:
        """The first whole frame of *stream* in the log from *since*."""
        kinds = (MessageType.FRAME_START, MessageType.FRAME_END)
        end = self.wait(lambda p: p.kind == kinds[1] and p.header.stream == stream, seconds, since)
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

    def still(self, tile_bytes: int = 0) -> tuple[Configured, Picture]:
        """A whole still, after all that it takes."""
        configured = self.configure(STILL, tile_bytes)
        self.grant(PLENTY, PLENTY)
        self.capture()
        return configured, self.picture()

    def close(self) -> None:
        self.send(Close(0))


def start_of(picture: Picture) -> FrameStart:
    """:exc:`Failed` if there is none."""
    if picture.start is None:
        raise Failed("a frame without FrameStart")
    message = picture.start.message()
    assert isinstance(message, FrameStart)
    return message


def end_of(picture: Picture) -> FrameEnd:
    """:exc:`Failed` if there is none."""
    if picture.end is None:
        raise Failed("a frame without FrameEnd")
    message = picture.end.message()
    assert isinstance(message, FrameEnd)
    return message


def _is_answer(packet: Packet, number: int) -> bool:
    pending = packet.kind == MessageType.PENDING
    return (
        packet.id == number
        and packet.kind < MessageType.FRAME_START
        and not (pending or packet.kind in (MessageType.HEARTBEAT_REPLY, MessageType.RESENT))
    )
