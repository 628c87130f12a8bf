"""Cases for hosts: damage, pauses, old packets and grown messages in every shape (SPEC.md, 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

from lenslink_protocol.ids import CloseReason, ErrorCode, ManifestKey, MessageType, NoticeReason
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import (
    BY_TYPE,
    Close,
    Configure,
    Error,
    GetManifest,
    Heartbeat,
    Hello,
    ManifestPiece,
    Notice,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_PAYLOAD, VERSION_MAJOR

from .cases import Cases, check
from .host_cases_camera import GoneTile, lose_tile
from .module_peer import TILE, WIDTH, WRONG, HostResult, Item, Script, tile_item
from .packets import Packet, announce_length, hide_packet

CASES: Cases[type[Script]] = Cases()

_MASK = 0xFFFFFFFF
_Y_AT = 22
"""Where `y` of a header is."""
_PIECE = 36
"""Bytes of the manifest in one piece, so that it has several."""
_WRONG_TILE = WRONG * (TILE // 2)
_PAUSE_S = 0.12
_RESERVED = {
    MessageType.HELLO_REPLY: (5,),
    MessageType.ACCEPTED: (3,),
    MessageType.NOTICE: (3,),
    MessageType.FRAME_START: (23, 38, 39),
}
"""Where the reserved bytes of a message are."""


def check_fields(log: list[Packet]) -> None:
    """Check that idle fields and reserved fields are 0, and that sequences rise by one."""
    for packet in log:
        head = packet.header
        place = (head.x, head.y, head.width, head.height)
        check(not any(place), f"{packet} names the place {place}")
        idle = head.stream == 0 or packet.kind == MessageType.RESEND
        check(idle, f"{packet} names stream {head.stream}")
        unnumbered = packet.kind in (MessageType.HEARTBEAT, MessageType.CLOSE)
        check(not unnumbered or packet.id == 0, f"{packet} has {packet.id} as its frame")
        message = packet.message()
        size = message.FIXED.size
        # The codec writes 0 into reserved fields, so another value shows here.
        same = message.encode()[2:size] == packet.payload[2:size]
        check(same, f"{packet} has a reserved field that is not 0")
    for before, after in pairwise(packet.header.sequence for packet in log):
        check((after - before) & _MASK == 1, f"sequence {after} follows {before}")


@CASES.add("H-FRAME-1")
class FieldsOfRepeats(Script):
    """Repeated requests and a Resend have idle fields at 0 too, and sequences of their own."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if len(self.find_packets(MessageType.HELLO)) > 1:
            super().on_hello(packet, message)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if len(self.find_packets(MessageType.CONFIGURE)) > 1:
            super().on_configure(packet, message)

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]

    def judge(self, result: HostResult) -> None:
        check_fields(self.log)


# --- damage -----------------------------------------------------------------------------------


@CASES.add("H-FRAME-2")
class DamagedRepeat(Script):
    """A damaged tile with wrong pixels comes over pixels that are there: they stay."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=_WRONG_TILE, is_damaged=True)
        return [*found[:5], wrong, *found[5:]]


@CASES.add("H-FRAME-2")
class OnlyDamaged(Script):
    """A tile comes damaged, and never again: the host must not have a whole frame."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        return [
            replace(item, is_damaged=item.place == tile_item(8).place)
            for item in super().make_items()
        ]

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame with a damaged tile is handed on as a whole one")


@CASES.add("H-FRAME-2")
class DamagedEnds(Script):
    """A Close and an Error come damaged before the answer: the session goes on."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        for in_header in (False, True):
            refusal = Error(ErrorCode.UNSUPPORTED, b"no").encode()
            for data in (
                self.pack(MessageType.CLOSE, Close(CloseReason.DETACH).encode()),
                self.pack(MessageType.ERROR, refusal, packet.id),
            ):
                at = 36 if in_header else len(data) - 1
                self.wire.send(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        super().on_configure(packet, message)


@CASES.add("H-FRAME-2")
class DamagedPlace(Script):
    """A tile's header has another row than its CRC was made for: the tile is not taken."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(20), payload=_WRONG_TILE, more={"is_odd": True})
        return [found[0], wrong, *found[1:]]

    def _encode_item(self, item: Item) -> bytes:
        if not item.more:
            return super()._encode_item(item)
        data = super()._encode_item(replace(item, more={}, place=tile_item(16).place))
        return data[:_Y_AT] + bytes([20]) + data[_Y_AT + 1 :]


class _Pieces(Script):
    """The manifest comes in many pieces. A host that loses an answer asks for it again."""

    piece_bytes = _PIECE

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[: self.piece_bytes])

    def check_asked_once(self, packet: Packet, what: str) -> None:
        """Check that a request was not repeated: its answer came behind *what*."""
        asked = [p.id for p in self.find_packets(packet.kind)].count(packet.id)
        check(asked == 1, f"the answer behind {what} was not taken")


@CASES.add("H-FRAME-3")
class BehindEachNoise(_Pieces):
    """Answers directly behind the beginning of a magic, of a header, or of a packet are found."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._noises: Iterator[bytes] = cycle(
            (b"\x8a", b"\x8a\x4c", b"\x8a\x4c\x4c", b"\x8a\x4c\x4c\x8a\x4c\x4c", b"K" * 41, b"20")
        )
        self._noise = b""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, f"the noise {self._noise.hex(' ')}")
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self._noise = next(self._noises)
        if self._noise == b"20":
            self._noise = answer[:20]
        self.wire.send(self._noise + answer)


@CASES.add("H-FRAME-3")
class InPieces(Script):
    """Answers come in single bytes, a whole frame comes in one piece: all of it is taken."""

    def send_reply(self, packet: Packet, message: Any, **more: Any) -> None:
        data = self.pack(message.TYPE, message.encode(), packet.id, **more)
        if packet.kind in (MessageType.HELLO, MessageType.CONFIGURE):
            for byte in data:
                self.wire.send(bytes([byte]))
        else:
            self.wire.send(data)

    def send_waiting(self) -> None:
        need = sum(len(item.payload) for item in self.queue)
        if not self.queue or self.sent[self._stream] + need > self.limits[self._stream]:
            return
        self.sent[self._stream] += sum(
            len(item.payload) for item in self.queue if item.kind == MessageType.TILE
        )
        data = b"".join(self._encode_item(item) for item in self.queue)
        self.queue.clear()
        self.wire.send(data)


@CASES.add("H-FRAME-4")
class ShortPause(Script):
    """An answer pauses inside for half of STALL_MS: it is taken, and not asked for again."""

    _is_paused = False

    def _send_in_two(self, data: bytes, at: int) -> None:
        self._is_paused = True
        self.wire.send(data[:at])

        def send_rest() -> None:
            self.wire.send(data[at:])
            self._is_paused = False
            self.send_waiting()

        self.call_later(_PAUSE_S, send_rest)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, f"an answer that pauses for {_PAUSE_S:g} s is not taken")
        reply = self.make_configured(message)
        self._send_in_two(self.pack(reply.TYPE, reply.encode(), packet.id), 43)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_paused:
            super().on_heartbeat(packet, message)

    def send_waiting(self) -> None:
        if not self._is_paused:
            super().send_waiting()


@CASES.add("H-FRAME-4")
class SlowAnswer(ShortPause):
    """An answer comes in parts over longer than STALL_MS, and never pauses that long."""

    _parts = 4

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if len(self.find_packets(MessageType.CONFIGURE)) > 1:
            # The first part came late enough for the host to ask again: its answer is on its way.
            return
        reply = self.make_configured(message)
        data = self.pack(reply.TYPE, reply.encode(), packet.id)
        size = -(-len(data) // self._parts)
        self._is_paused = True
        for part in range(self._parts):
            piece = data[part * size :][:size]
            self.call_later(part * _PAUSE_S, lambda piece=piece: self.wire.send(piece))  # type: ignore[misc]
        self.call_later((self._parts - 1) * _PAUSE_S + 0.01, self._go_on)

    def _go_on(self) -> None:
        self._is_paused = False

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)


@CASES.add("H-FRAME-4")
class ShortPauseInATile(ShortPause):
    """A tile pauses for half of STALL_MS, and is never sent again: it is taken."""

    capabilities = 0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        Script.on_configure(self, packet, message)

    def send_waiting(self) -> None:
        while self.queue and not self._is_paused:
            item = self.queue[0]
            is_tile = item.kind == MessageType.TILE
            if is_tile and self.sent[self._stream] + len(item.payload) > self.limits[self._stream]:
                return
            self.queue.pop(0)
            if is_tile:
                self.sent[self._stream] += len(item.payload)
            data = self._encode_item(item)
            if item.place == tile_item(8).place:
                self._send_in_two(data, 300)
            else:
                self.wire.send(data)


@CASES.add("H-FRAME-4")
class StalledIsSearched(Script):
    """An answer inside a packet that stopped is found once the packet is given up."""

    _is_stalled = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "an answer inside a packet that stopped is not found after STALL_MS")
        self._is_stalled = True
        reply = self.make_configured(message)
        begun = self.pack(MessageType.TILE, bytes(1 << 20))[:100]
        self.wire.send(begun + self.pack(reply.TYPE, reply.encode(), packet.id))

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        # Any byte would end the silence inside the packet.
        if not self._is_stalled or self.find_packets(MessageType.CAPTURE, MessageType.STREAM):
            super().on_heartbeat(packet, message)


# --- what is not fresh ------------------------------------------------------------------------


@CASES.add("H-FRAME-5")
class OldEnds(Script):
    """A Close and an Error of another session, or with an old sequence, change nothing."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        refusal = Error(ErrorCode.UNSUPPORTED, b"no").encode()
        close = Close(CloseReason.DETACH).encode()
        # Two of the session's own, so that there is an old sequence.
        for _ in range(2):
            self.send_message(Notice(NoticeReason.HEAT, 0))
        for more in ({"nonce": self.nonce ^ 1}, {"sequence": (self.sequence - 1) & _MASK}):
            self.wire.send(self.pack(MessageType.CLOSE, close, **more))
            self.wire.send(self.pack(MessageType.ERROR, refusal, packet.id, **more))
        super().on_configure(packet, message)


@CASES.add("H-FRAME-5")
class JumpingSequences(Script):
    """Sequences begin with 7, jump, and wrap at 2^32, as if packets were lost: all are fresh."""

    def on_hello(self, packet: Packet, message: Hello) -> None:
        self.sequence = max(7, self.sequence)
        super().on_hello(packet, message)

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.sequence = max(0x70000000, self.sequence)
        super().on_get_manifest(packet, message)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self._check_once(packet)
        self.sequence = max(0xD0000000, self.sequence)
        super().on_configure(packet, message)

    def start_frame(self) -> None:
        # The sequence wraps inside the frame.
        self.sequence = 0xFFFFFFFA
        super().start_frame()

    def _check_once(self, packet: Packet) -> None:
        asked = [p.id for p in self.find_packets(packet.kind)].count(packet.id)
        check(asked == 1, "an answer whose sequence has jumped is not taken")


@CASES.add("H-FRAME-5")
class HalfWayBack(Script):
    """A tile whose sequence is 2^31 after the last one, which is before it, is not taken."""

    def _encode_item(self, item: Item) -> bytes:
        if not item.more:
            return super()._encode_item(item)
        newest = self.sequence
        old = (newest - 1 + (1 << 31)) & _MASK
        data = super()._encode_item(replace(item, more={"sequence": old}))
        self.sequence = newest
        return data

    def make_items(self) -> list[Item]:
        found = super().make_items()
        wrong = replace(tile_item(8), payload=_WRONG_TILE, more={"is_odd": True})
        return [*found[:3], wrong, *found[3:]]


@CASES.add("H-FRAME-5")
class SequencesOfOthers(Script):
    """Packets of another session, sound and damaged ones, use up no sequence of this one."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = len(self.find_packets(MessageType.CONFIGURE))
        check(asked == 1, "a packet of another session uses up sequences of this one")
        for is_damaged in (False, True):
            newest = self.sequence
            more = {"nonce": self.nonce ^ 0x100, "sequence": newest + 1000}
            data = self.pack(MessageType.LOG, bytes(30), **more)
            self.sequence = newest
            self.wire.send(data[:-1] + b"\x01" if is_damaged else data)
        super().on_configure(packet, message)


# --- headers that are not believed ------------------------------------------------------------


@CASES.add("H-FRAME-6")
class LongestAllowed(_Pieces):
    """Pieces of the manifest of exactly MAX_CONTROL bytes are taken."""

    piece_bytes = MAX_CONTROL - ManifestPiece.FIXED.size

    def make_manifest(self) -> bytes:
        return super().make_manifest() + encode_entry(0x8001, bytes(3000))

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        data = self.make_manifest()
        piece = data[message.offset :][: self.piece_bytes]
        return ManifestPiece(message.offset, len(data), piece)

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, f"a header that announces {MAX_CONTROL} bytes")
        super().on_get_manifest(packet, message)


@CASES.add("H-FRAME-6")
class TooLongOfAnyType(_Pieces):
    """Headers of any type that announce too much hide nothing of what follows them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kinds = cycle(
            (
                (MessageType.FRAME_START, MAX_CONTROL + 1),
                (MessageType.TILE, MAX_PAYLOAD + 1),
                (MessageType.HEARTBEAT_REPLY, 70_000),
                (0xE5, MAX_CONTROL + 1),
                (MessageType.FRAME_END, _MASK),
                (0x7E, 5000),
            )
        )
        self._what = "nothing"

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, self._what)
        kind, length = next(self._kinds)
        self._what = f"a header of type {int(kind):#04x} that announces {length} bytes"
        self.wire.send(announce_length(self.pack(kind, b""), length))
        super().on_get_manifest(packet, message)


@CASES.add("H-FRAME-6")
class HiddenInAHeader(_Pieces):
    """An answer that begins inside a header that is not believed is found."""

    _what = "nothing"
    _count = 0

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.check_asked_once(packet, self._what)
        piece = self.make_piece(message)
        answer = self.pack(piece.TYPE, piece.encode(), packet.id)
        self._count += 1
        version = (VERSION_MAJOR + self._count % 2) << 4
        which = "another major version" if self._count % 2 else "too long a payload"
        self._what = f"half a header of {which}"
        self.wire.send(hide_packet(answer, version, MessageType.LOG))


# --- growth -----------------------------------------------------------------------------------


@CASES.add("H-GROW-1")
class WrongSizes(Script):
    """Messages whose size is wrong come before the right answer, and are ignored."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        wrong = replace(self.make_configured(message), width=2 * WIDTH).encode()
        for size in (20, 200):
            payload = size.to_bytes(2, "little") + wrong[2:]
            self.wire.send(self.pack(MessageType.CONFIGURED, payload, packet.id))
        for payload in (b"", b"\x04", b"\x04\x00", b"\x09\x00\x05\x00"):
            self.wire.send(self.pack(MessageType.ERROR, payload, packet.id))
        for payload in (b"", b"\x03\x00", b"\x04\x00\x01"):
            self.wire.send(self.pack(MessageType.CLOSE, payload))
        super().on_configure(packet, message)


@CASES.add("H-GROW-1")
class GrownResent(GoneTile):
    """The rectangles of a grown Resent are read behind its fixed part."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        if kind == MessageType.RESENT:
            size = int.from_bytes(payload[:2], "little")
            payload = (size + 4).to_bytes(2, "little") + payload[2:size] + b"more" + payload[size:]
        return super().pack(kind, payload, number, **more)


@CASES.add("H-GROW-2")
class ReservedValues(Script):
    """Reserved fields of messages and of the manifest have values."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        data = bytearray(payload)
        for at in _RESERVED.get(MessageType(kind), ()) if kind in BY_TYPE else ():
            data[at] = 0xA5
        return super().pack(kind, bytes(data), number, **more)

    def make_manifest(self) -> bytes:
        data = bytearray(super().make_manifest())
        for key, at in ((ManifestKey.SENSOR, 7), (ManifestKey.COLOR, 2)):
            data[_find_value(bytes(data), key) + at] = 0xA5
        return bytes(data)


def _find_value(data: bytes, key: int) -> int:
    """Return where the value of an entry begins."""
    at = 0
    while int.from_bytes(data[at : at + 2], "little") != key:
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "little")
    return at + 4


@CASES.add("H-GROW-2")
class UnknownInAFrame(Script):
    """Types that do not exist stand between the tiles of a frame, under its number."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        for at, kind in ((6, 0x4F), (4, 0xE0), (2, 0x5F), (1, 0x43)):
            found.insert(at, Item(kind, b"\x02\x00whatever", flags=0x80))
        return found


assert set(_RESERVED) <= set(BY_TYPE)
