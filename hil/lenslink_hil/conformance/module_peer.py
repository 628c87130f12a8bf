"""A module that behaves, until a case overrides something: a small still, and what it takes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import (
    Capability,
    ErrorCode,
    FrameState,
    ManifestKey,
    MessageType,
    PixelFormat,
)
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    ColorEntry,
    Configure,
    Configured,
    Error,
    Flushed,
    FrameEnd,
    FrameStart,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Malformed,
    ManifestPiece,
    ModeEntry,
    Resend,
    Resent,
    SensorEntry,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL

from .cases import NotClaimed, check
from .packets import Packet, Parser
from .peer_wire import Gone, Wire

WIDTH, HEIGHT, ROWS = 64, 48, 4
TILE = 2 * WIDTH * ROWS
MODE, STRIDE = 1, 2 * WIDTH
PIXELS = b"".join(struct.pack("<H", (17 * i + 3) & 0xFFF) for i in range(WIDTH * HEIGHT))
WRONG = b"\xbe\x0a"
"""A pixel that stands nowhere in PIXELS twice in a row."""
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the host has made of it.

    ``ok``: it says that it has one whole frame; ``pixels``: its bytes, None where there are none.
    """

    ok: bool
    pixels: bytes | None = None
    detail: str = ""


@dataclass
class Item:
    """A data packet that waits for its turn, and for credit if it is a tile."""

    kind: int
    payload: bytes
    place: tuple[int, int, int, int] = (0, 0, 0, 0)
    flags: int = 0
    lost: bool = False
    """Counted as sent, and not sent."""
    damaged: bool = False
    """The payload's last byte is another than its CRC is for."""
    stale: bool = False
    """Sent under the sequence of the packet before it."""
    more: dict[str, Any] = field(default_factory=dict)


def tile_item(row: int, **more: Any) -> Item:
    """The tile that begins with that row."""
    payload = PIXELS[row * STRIDE : row * STRIDE + TILE]
    return Item(MessageType.TILE, payload, (0, row, WIDTH, ROWS), **more)


class Script:
    """Serves one host. A case is a subclass: it overrides handlers, and judges at the end."""

    capabilities = int(Capability.RESEND)
    sessions = 1
    """Times the host is started; each gets a script of its own that knows the one before it."""
    limit_s = 8.0
    needs_resend = False
    used_lanes = 1

    def __init__(self, wire: Wire, before: Script | None = None) -> None:
        self.wire = wire
        self.before = before
        self.nonce = 0
        self.sequence = 0
        self.beside = 0
        """The next sequence of lane 1."""
        self.log: list[Packet] = []
        self.limits = [0, 0]
        self.sent = [0, 0]
        self.begun = [0, 0]
        self.frame = 0
        self.request = 0
        self.gone_at: float | None = None
        self.closed = False
        self.queue: list[Item] = []
        self._stream = 1
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._parser = Parser()

    # --- to the host ----------------------------------------------------------------------

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: Any) -> bytes:
        """The next packet of the session, with whatever *more* makes of it."""
        more = {"nonce": self.nonce, "sequence": self.sequence} | more
        if "lane" in more:
            # Another lane counts for itself.
            more["sequence"] = self.beside
            self.beside += 1
            del more["lane"]
        else:
            self.sequence = more["sequence"] + 1
        return encode_packet(kind, payload, frame=number, **more)

    def reply(self, packet: Packet, message: AnyMessage, **more: Any) -> None:
        """Answer a request."""
        self.wire.send(self.pack(message.TYPE, message.encode(), packet.id, **more))

    def tell(self, message: AnyMessage) -> None:
        """Say something that nobody asked for."""
        self.wire.send(self.pack(message.TYPE, message.encode()))

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something after a while."""
        self._later.append((self.wire.now() + seconds, action))

    def pump(self) -> None:
        """Send what waits, as far as credits go."""
        while self.queue:
            item = self.queue[0]
            is_tile = item.kind == MessageType.TILE
            if is_tile and self.sent[self._stream] + len(item.payload) > self.limits[self._stream]:
                return
            self.queue.pop(0)
            if is_tile:
                self.sent[self._stream] += len(item.payload)
            data = self._packed(item)
            if not item.lost:
                self.wire.send(data)

    def _packed(self, item: Item) -> bytes:
        more = {"stream": self._stream, "flags": item.flags, "place": item.place} | item.more
        if item.stale:
            more["sequence"] = self.sequence - 1
        data = self.pack(item.kind, self._ended(item), self.frame, **more)
        return data[:-1] + bytes([data[-1] ^ 0xFF]) if item.damaged else data

    def _ended(self, item: Item) -> bytes:
        """FrameEnd ends with the sequence of the packet before it."""
        if item.kind != MessageType.FRAME_END:
            return item.payload
        last = (self.sequence - 1) & 0xFFFFFFFF
        return item.payload[:-16] + struct.pack("<4I", last, 0, 0, 0)

    # --- from the host --------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the host goes, says goodbye, or takes too long."""
        end = self.wire.now() + self.limit_s
        try:
            while self.wire.now() < end and not self.closed:
                self._turn()
        except Gone:
            self.gone_at = self.wire.now()

    def _turn(self) -> None:
        for due in [each for each in self._later if each[0] <= self.wire.now()]:
            self._later.remove(due)
            due[1]()
        due_in = min([at - self.wire.now() for at, _ in self._later], default=_POLL_S)
        data = self.wire.receive(max(0.0, min(_POLL_S, due_in)))
        for packet in self._parser.feed(data, self.wire.now()):
            self.log.append(packet)
            self.packet(packet)

    def packet(self, packet: Packet) -> None:
        """A packet has come."""
        try:
            message = packet.message()
        except (KeyError, Malformed) as error:
            check(False, f"the host sends {packet}: {error}")
            return
        match message:
            case Hello():
                self.nonce = packet.header.nonce
                self.hello(packet, message)
            case GetManifest():
                self.manifest(packet, message)
            case Configure():
                self.configure(packet, message)
            case Capture() | StartStream():
                self.request, self._stream = packet.id, message.stream
                self.capture(packet)
            case Heartbeat():
                self.limits = [max(a, b) for a, b in zip(self.limits, message.limit, strict=True)]
                self.heartbeat(packet, message)
                self.pump()
            case Resend():
                self.resend(packet, message)
                self.pump()
            case Challenge():
                self.challenge(packet, message)
            case Stop():
                self.queue.clear()
                self.reply(packet, Accepted(message.stream, self.frame + 1))
            case _:
                self.rest(packet)

    def rest(self, packet: Packet) -> None:
        """Close, Flush, and what a module has nothing to say to."""
        if packet.kind == MessageType.CLOSE:
            self.closed = True
        elif packet.kind == MessageType.FLUSH:
            last = (self.sequence - 1) & 0xFFFFFFFF
            self.reply(packet, Flushed(1, self.request, (last, 0, 0, 0)))

    # --- what a case overrides ------------------------------------------------------------

    def hello(self, packet: Packet, message: Hello) -> None:
        shared = self.capabilities & message.capabilities
        if self.needs_resend and not shared & Capability.RESEND:
            raise NotClaimed("the host does not ask again (no RESEND)")
        self.reply(packet, self.hello_reply(shared))

    def hello_reply(self, capabilities: int) -> HelloReply:
        size = len(self.manifest_bytes())
        return HelloReply(VERSION, self.used_lanes, 0, capabilities, MAX_CONTROL, size, 1, 1000)

    def manifest_bytes(self) -> bytes:
        texts = (
            (ManifestKey.MAKER, "LensLink"),
            (ManifestKey.MODEL, "conformance"),
            (ManifestKey.SERIAL, "CONFORM-1"),
            (ManifestKey.FIRMWARE, "scripted"),
            (ManifestKey.BOARD, "none"),
        )
        area = (0, 0, HEIGHT, WIDTH)
        mode = ModeEntry(MODE, WIDTH, HEIGHT, 1, 3, area, b"small".ljust(16, b"\0"))
        return b"".join(
            [encode_entry(key, text.encode()) for key, text in texts]
            + [
                encode_entry(
                    ManifestKey.SENSOR,
                    SensorEntry(WIDTH, HEIGHT, 12, 0, 1, 4095, (0, 0, 0, 0)).encode(),
                ),
                encode_entry(ManifestKey.COLOR, ColorEntry.FIXED.pack(21, 0, *[1] * 24)),
                encode_entry(ManifestKey.MODE, mode.encode()),
            ]
        )

    def manifest(self, packet: Packet, message: GetManifest) -> None:
        self.reply(packet, self.piece(message))

    def piece(self, message: GetManifest) -> ManifestPiece:
        data = self.manifest_bytes()
        return ManifestPiece(message.offset, len(data), data[message.offset :][:1000])

    def configured(self, message: Configure) -> Configured:
        size = STRIDE * HEIGHT
        flags = message.flags & 1
        return Configured(
            message.stream, flags, MODE, PixelFormat.RG12, WIDTH, HEIGHT, STRIDE, size, TILE
        )

    def configure(self, packet: Packet, message: Configure) -> None:
        self.reply(packet, self.configured(message))

    def capture(self, packet: Packet) -> None:
        self.accept(packet)
        self.start()

    def accept(self, packet: Packet) -> None:
        self.reply(packet, Accepted(self._stream, self.frame))

    def start(self) -> None:
        """The frame begins."""
        self.begun[self._stream] = self.frame + 1
        self.queue += self.items()
        self.pump()

    def items(self) -> list[Item]:
        """The frame's packets."""
        tiles = [tile_item(row) for row in range(0, HEIGHT, ROWS)]
        return [self.start_item(), *tiles, self.end_item()]

    def start_item(self) -> Item:
        message = FrameStart(
            MODE, self.request, WIDTH, HEIGHT, 0, 1, 12, PixelFormat.RG12, STRIDE, 4095,
            (0, 0, 0, 0), 1_000_000, 10_000, 1000, 0, 25_000,
        )  # fmt: skip
        return Item(MessageType.FRAME_START, message.encode())

    def end_item(self) -> Item:
        message = FrameEnd(0, self.used_lanes, HEIGHT // ROWS, 1000, (0, 0, 0, 0))
        return Item(MessageType.FRAME_END, message.encode())

    def heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        del message
        reply = HeartbeatReply(
            2_000_000, (self.sent[0], self.sent[1]), (self.begun[0], self.begun[1])
        )
        self.reply(packet, reply)

    def resend(self, packet: Packet, message: Resend) -> None:
        """Send again all that is asked for."""
        items = [self.start_item()] if message.flags & 1 else []
        asked = [(y, y + height) for _, y, _, height in rectangles(message)]
        rows = range(0, HEIGHT, ROWS)
        met = [row for row in rows if any(y < row + ROWS and row < end for y, end in asked)]
        items += [tile_item(row, flags=1) for row in met]
        items.append(Item(MessageType.RESENT, self.resent(message).encode()))
        if message.flags & 2:
            items.append(self.end_item())
        self.queue += items
        del packet

    def challenge(self, packet: Packet, message: Challenge) -> None:
        """Sessions have no AUTH, unless a case says so."""
        del message
        self.reply(packet, Error(ErrorCode.UNSUPPORTED, b"it proves nothing"))

    def resent(self, message: Resend) -> Resent:
        return Resent(message.flags & 3, FrameState.ENDED, 0, b"")

    # --- the judgement --------------------------------------------------------------------

    def judge(self, outcome: Outcome) -> None:
        """The host is through; by default it has to have the frame, whole and right."""
        self.whole(outcome)

    def whole(self, outcome: Outcome) -> None:
        check(outcome.ok, f"the host has no whole frame: {outcome.detail or 'no reason given'}")
        if outcome.pixels is not None:
            wrong = sum(a != b for a, b in zip(outcome.pixels, PIXELS, strict=False))
            same = outcome.pixels == PIXELS
            check(same, f"the host's frame differs from what was sent, in {wrong} bytes")

    def of_kind(self, *kinds: int) -> list[Packet]:
        """What came of these types."""
        return [packet for packet in self.log if packet.kind in kinds]


def rectangles(message: Resend) -> list[tuple[int, int, int, int]]:
    """What a Resend asks for."""
    check(len(message.ranges) >= 8 * message.count, f"Resend announces {message.count} rectangles")
    found = [struct.unpack_from("<4H", message.ranges, 8 * i) for i in range(message.count)]
    return [(x, y, width, height) for x, y, width, height in found]
