"""A module that behaves until a case overrides something: it serves one small still.

A case for hosts is a subclass of :class:`Script`. ``verdicts`` runs it against a host.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import (
    AuthScheme,
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
    AuthEntry,
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
    Proof,
    Resend,
    Resent,
    SensorEntry,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_STREAMS

from .cases import NotClaimed, check
from .packets import NO_PACKET, Packet, Parser
from .peer_wire import ConnectionEnded, Wire

WIDTH, HEIGHT, ROWS = 64, 48, 4
TILE = 2 * WIDTH * ROWS
MODE, STRIDE = 1, 2 * WIDTH
PIXELS = b"".join(struct.pack("<H", (17 * i + 3) & 0xFFF) for i in range(WIDTH * HEIGHT))
WRONG = b"\xbe\x0a"
"""A pixel that stands nowhere in PIXELS twice in a row."""
STILL_TASK, PREVIEW_TASK = "still", "preview"
"""What a host is to do: take one still, or take three frames of the preview and stop it."""
SERIAL, FIRMWARE = "CONFORM-1", "scripted"
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class HostResult:
    """What the tested host reports when it ends.

    ``ok`` is True if the host says that it has one whole frame. ``pixels`` are the frame's bytes,
    None if the host wrote none.
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
    is_lost: bool = False
    """True: the item is counted as sent, and not sent."""
    is_damaged: bool = False
    """True: the payload's last byte does not match its CRC."""
    is_stale: bool = False
    """True: the item is sent with the sequence of the packet before it."""
    more: dict[str, Any] = field(default_factory=dict)


def tile_item(row: int, **more: Any) -> Item:
    """Return the tile that begins with that row."""
    payload = PIXELS[row * STRIDE : row * STRIDE + TILE]
    return Item(MessageType.TILE, payload, (0, row, WIDTH, ROWS), **more)


class Script:
    """Serves one host. A case is a subclass that overrides handlers and judges at the end."""

    capabilities = int(Capability.RESEND)
    task = STILL_TASK
    sessions = 1
    """How often the host is started. Each session has a script of its own, with ``previous``."""
    limit_s = 8.0
    linger_s = 0.0
    """For how long the script listens after the host's Close."""
    needs_resend = False
    used_lanes = 1
    has_auth = True
    """True: a module that is given the host's key has AUTH, and proves that it is genuine."""

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        self.wire = wire
        self.previous = previous
        self.key: bytes | None = None
        """The key that the host authenticates with, if the kit was given it."""
        self.nonce = 0
        self.hello: Hello | None = None
        """The host's newest Hello."""
        self.sequence = 0
        self.lane_1_sequence = 0
        """The next sequence of lane 1."""
        self.log: list[Packet] = []
        self.limits = [0] * MAX_STREAMS
        self.sent = [0] * MAX_STREAMS
        self.begun = [0] * MAX_STREAMS
        self.frame = 0
        self.request = 0
        self.end_time: float | None = None
        self.is_closed = False
        self.queue: list[Item] = []
        self._stream = 1
        self._is_frame_waiting = False
        self._timers: list[tuple[float, Callable[[], object]]] = []
        self._parser = Parser()
        self._arrived: deque[Packet] = deque()
        """Packets that wait to be handled."""

    # --- to the host ----------------------------------------------------------------------

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: Any) -> bytes:
        """Return the session's next packet. *more* overrides fields of its header."""
        more = {"nonce": self.nonce, "sequence": self.sequence} | more
        if "lane" in more:
            # Another lane counts for itself.
            more["sequence"] = self.lane_1_sequence
            self.lane_1_sequence += 1
            del more["lane"]
        else:
            self.sequence = (more["sequence"] + 1) & 0xFFFFFFFF
        return encode_packet(kind, payload, frame=number, **more)

    def send_reply(self, packet: Packet, message: AnyMessage, **more: Any) -> None:
        """Answer a request."""
        self.wire.send(self.pack(message.TYPE, message.encode(), packet.id, **more))

    def send_message(self, message: AnyMessage) -> None:
        """Send a message that is no answer."""
        self.wire.send(self.pack(message.TYPE, message.encode()))

    def call_later(self, seconds: float, action: Callable[[], object]) -> None:
        """Call *action* after so many seconds."""
        self._timers.append((self.wire.now() + seconds, action))

    def send_waiting(self) -> None:
        """Send the items that wait, as far as credits allow."""
        while self.queue:
            item = self.queue[0]
            is_tile = item.kind == MessageType.TILE
            if is_tile and self.sent[self._stream] + len(item.payload) > self.limits[self._stream]:
                return
            self.queue.pop(0)
            if is_tile:
                self.sent[self._stream] += len(item.payload)
            data = self._encode_item(item)
            if not item.is_lost:
                self.wire.send(data)

    def _encode_item(self, item: Item) -> bytes:
        more = {"stream": self._stream, "flags": item.flags, "place": item.place} | item.more
        if item.is_stale:
            more["sequence"] = self.sequence - 1
        data = self.pack(item.kind, self._finish_payload(item), self.frame, **more)
        return data[:-1] + bytes([data[-1] ^ 0xFF]) if item.is_damaged else data

    def _finish_payload(self, item: Item) -> bytes:
        """Return the payload; that of FrameEnd with the sequence of the packet before it."""
        if item.kind != MessageType.FRAME_END:
            return item.payload
        last = (self.sequence - 1) & 0xFFFFFFFF
        lanes = (last, NO_PACKET, NO_PACKET, NO_PACKET)
        return replace(FrameEnd.decode(item.payload), last_sequence=lanes).encode()

    # --- from the host --------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the host closes the session or the connection, or takes too long."""
        end = self.wire.now() + self.limit_s
        try:
            while self.wire.now() < end and not self.is_closed:
                self._serve_once()
            end = self.wire.now() + self.linger_s
            while self.wire.now() < end:
                self._serve_once()
        except ConnectionEnded:
            self.end_time = self.wire.now()
            self._read_rest()

    def _read_rest(self) -> None:
        """Read what the host had sent before it ended the connection. Nothing is answered."""
        with contextlib.suppress(ConnectionEnded):
            while data := self.wire.receive(0):
                self._arrived += self._parser.feed(data, self.wire.now())
        self.log += self._arrived
        closes = [p for p in self._arrived if p.kind == MessageType.CLOSE]
        self.is_closed = self.is_closed or any(p.header.nonce == self.nonce for p in closes)

    def _serve_once(self) -> None:
        for due in [each for each in self._timers if each[0] <= self.wire.now()]:
            self._timers.remove(due)
            due[1]()
        due_in = min([at - self.wire.now() for at, _ in self._timers], default=_POLL_S)
        data = self.wire.receive(max(0.0, min(_POLL_S, due_in)))
        self._arrived += self._parser.feed(data, self.wire.now())
        while self._arrived:
            self.log.append(self._arrived.popleft())
            self.on_packet(self.log[-1])

    def on_packet(self, packet: Packet) -> None:
        """Handle a packet by its type."""
        try:
            message = packet.message()
        except (KeyError, Malformed) as error:
            check(False, f"the host sends {packet}: {error}")
            return
        match message:
            case Hello():
                self.nonce = packet.header.nonce
                self.hello = message
                self.on_hello(packet, message)
            case GetManifest():
                self.on_get_manifest(packet, message)
            case Configure():
                self.on_configure(packet, message)
            case Capture() | StartStream():
                self.request, self._stream = packet.id, message.stream
                self.on_capture(packet)
            case Heartbeat():
                self.limits = [max(a, b) for a, b in zip(self.limits, message.limit, strict=True)]
                self.on_heartbeat(packet, message)
                self._start_waiting_frame()
                self.send_waiting()
            case Resend():
                self.on_resend(packet, message)
                self.send_waiting()
            case Challenge():
                self.on_challenge(packet, message)
            case Stop():
                self.on_stop(packet, message)
            case _:
                self.on_other(packet)

    def on_other(self, packet: Packet) -> None:
        """Handle Close and Flush, and ignore the rest."""
        if packet.kind == MessageType.CLOSE:
            self.is_closed = packet.header.nonce == self.nonce
        elif packet.kind == MessageType.FLUSH:
            last = (self.sequence - 1) & 0xFFFFFFFF
            lanes = (last, NO_PACKET, NO_PACKET, NO_PACKET)
            self.send_reply(packet, Flushed(1, self.request, lanes))

    # --- what a case overrides ------------------------------------------------------------

    def on_hello(self, packet: Packet, message: Hello) -> None:
        shared = self.capabilities & message.capabilities
        if self.needs_resend and not shared & Capability.RESEND:
            raise NotClaimed("the host does not ask again (no RESEND)")
        self.send_reply(packet, self.make_hello_reply(shared))

    @property
    def _has_proof(self) -> bool:
        return self.has_auth and self.key is not None

    def make_hello_reply(self, capabilities: int) -> HelloReply:
        if self._has_proof and self.hello is not None:
            # A host that always authenticates refuses a module without AUTH.
            capabilities |= self.hello.capabilities & Capability.AUTH
        size = len(self.make_manifest())
        return HelloReply(VERSION, self.used_lanes, 0, capabilities, MAX_CONTROL, size, 1, 1000)

    def make_manifest(self) -> bytes:
        texts = (
            (ManifestKey.MAKER, "LensLink"),
            (ManifestKey.MODEL, "conformance"),
            (ManifestKey.SERIAL, SERIAL),
            (ManifestKey.FIRMWARE, FIRMWARE),
            (ManifestKey.BOARD, "none"),
        )
        area = (0, 0, HEIGHT, WIDTH)
        mode = ModeEntry(MODE, WIDTH, HEIGHT, 1, 3, area, b"small".ljust(16, b"\0"), 1400)
        schemes = [AuthScheme.HMAC_SHA256] if self._has_proof else []
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
            + [encode_entry(ManifestKey.AUTH, AuthEntry(each).encode()) for each in schemes]
        )

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.send_reply(packet, self.make_piece(message))

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        data = self.make_manifest()
        return ManifestPiece(message.offset, len(data), data[message.offset :][:1000])

    def make_configured(self, message: Configure) -> Configured:
        size = STRIDE * HEIGHT
        flags = message.flags & 1
        return Configured(
            message.stream, flags, MODE, PixelFormat.RG12, WIDTH, HEIGHT, STRIDE, size, TILE
        )

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.send_reply(packet, self.make_configured(message))

    def on_capture(self, packet: Packet) -> None:
        self.send_accepted(packet)
        self.start_frame()

    def on_stop(self, packet: Packet, message: Stop) -> None:
        self.queue.clear()
        self.send_reply(packet, Accepted(message.stream, self.frame + 1))

    def send_accepted(self, packet: Packet) -> None:
        self.send_reply(packet, Accepted(self._stream, self.frame))

    def start_frame(self) -> None:
        """Queue the frame's items, and send what credits allow.

        The frame begins when the host has granted credit, which it may do SILENCE_MS after
        HelloReply. Without credit the frame would be quiet behind its FrameStart.
        """
        self._is_frame_waiting = not self.limits[self._stream]
        if self._is_frame_waiting:
            return
        self.begun[self._stream] = self.frame + 1
        self.queue += self.make_items()
        self.send_waiting()

    def _start_waiting_frame(self) -> None:
        if self._is_frame_waiting and self.limits[self._stream]:
            Script.start_frame(self)

    def make_items(self) -> list[Item]:
        """Return the frame's items."""
        tiles = [tile_item(row) for row in range(0, HEIGHT, ROWS)]
        return [self.make_start_item(), *tiles, self.make_end_item()]

    def make_start_item(self) -> Item:
        message = FrameStart(
            MODE, self.request, 1_000_000, WIDTH, HEIGHT, 0, 1, 12, PixelFormat.RG12, STRIDE,
            4095, 0, (0, 0, 0, 0), 10_000, 1000, 0, 1400, 0, 0, 0, 0, 0, 25_000,
        )  # fmt: skip
        return Item(MessageType.FRAME_START, message.encode())

    def make_end_item(self) -> Item:
        message = FrameEnd(0, self.used_lanes, HEIGHT // ROWS, 1000, (0, 0, 0, 0), 0)
        return Item(MessageType.FRAME_END, message.encode())

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        clock_us = 2_000_000
        preview, still, roi = zip(self.sent, self.begun, strict=True)
        sent, begun = zip(preview, still, roi, strict=True)
        reply = HeartbeatReply(clock_us, sent, begun, message.time_us, clock_us)
        self.send_reply(packet, reply)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        """Send again everything that is asked for."""
        items = [self.make_start_item()] if message.flags & 1 else []
        asked = [(y, y + height) for _, y, _, height in rectangles(message)]
        rows = range(0, HEIGHT, ROWS)
        met = [row for row in rows if any(y < row + ROWS and row < end for y, end in asked)]
        items += [tile_item(row, flags=1) for row in met]
        items.append(Item(MessageType.RESENT, self.make_resent(message).encode()))
        if message.flags & 2:
            items.append(self.make_end_item())
        self.queue += items
        del packet

    def on_challenge(self, packet: Packet, message: Challenge) -> None:
        """Prove that the module has the host's key, if it was given the key."""
        if not self._has_proof:
            self.send_reply(packet, Error(ErrorCode.UNSUPPORTED, b"it proves nothing"))
        else:
            self.send_reply(packet, Proof(message.scheme, self.prove(message.challenge)))

    def prove(self, challenge: bytes, serial: str = SERIAL) -> bytes:
        """Return the proof of HMAC_SHA256 under the host's key."""
        assert self.key is not None
        return make_proof(self.key, challenge, self.nonce, serial, FIRMWARE)

    def make_resent(self, message: Resend) -> Resent:
        return Resent(message.flags & 3, FrameState.ENDED, 0, b"")

    # --- the judgement --------------------------------------------------------------------

    def judge(self, result: HostResult) -> None:
        """Judge the host's result. By default the host must have the frame, whole and right."""
        self.check_whole_frame(result)

    def check_whole_frame(self, result: HostResult) -> None:
        check(result.ok, f"the host has no whole frame: {result.detail or 'no reason given'}")
        if result.pixels is not None:
            wrong = sum(a != b for a, b in zip(result.pixels, PIXELS, strict=False))
            same = result.pixels == PIXELS
            check(same, f"the host's frame differs from what was sent, in {wrong} bytes")

    def find_packets(self, *kinds: int) -> list[Packet]:
        """Return the packets of these types that the host has sent."""
        return [packet for packet in self.log if packet.kind in kinds]


def rectangles(message: Resend) -> list[tuple[int, int, int, int]]:
    """Return the rectangles that a Resend asks for."""
    check(len(message.ranges) >= 8 * message.count, f"Resend announces {message.count} rectangles")
    found = [struct.unpack_from("<4H", message.ranges, 8 * i) for i in range(message.count)]
    return [(x, y, width, height) for x, y, width, height in found]
