"""Hosts that break a clause in what they keep: pixels, pieces, leases, states and rules.

Some are defects on the driver's line, as in ``broken_host_lines``. Others are hosts of their own:
subclasses of the virtual host. Each docstring says what such a host does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from lenslink.receive.assembly import Assembly
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import Flag, FrameState, MessageType
from lenslink_protocol.messages import (
    HEADER,
    MAGIC,
    Error,
    Flush,
    FrameEnd,
    FrameStart,
    Heartbeat,
    ManifestPiece,
    Resent,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD, SILENCE_MS

from .defects import Defect, edit_message
from .module_peer import HEIGHT, MODE, ROWS, STRIDE, WIDTH
from .packets import Packet, parse
from .peer_wire import Tamper
from .virtual_host import VirtualHost

_SILENCE_S = SILENCE_MS / 1000


# --- receiving --------------------------------------------------------------------------------


class _Overlay(Defect):
    """Puts a frame together by itself, and lets some tiles overwrite received pixels."""

    def __init__(self) -> None:
        self._pixels = bytearray(STRIDE * HEIGHT)
        self._is_received = bytearray(STRIDE * HEIGHT)

    def do_overwrite(self, packet: Packet) -> bool:
        """Return True for a tile that overwrites what is received."""
        raise NotImplementedError

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._write(packet)
            return []
        if packet.kind != MessageType.FRAME_END:
            return [data]
        size = STRIDE * ROWS
        first = packet.header.sequence - HEIGHT // ROWS
        strips = [
            packet.encode(
                type=MessageType.TILE,
                payload=bytes(self._pixels[row * STRIDE :][:size]),
                sequence=first + index,
                y=row,
                width=WIDTH,
                height=ROWS,
            )
            for index, row in enumerate(range(0, HEIGHT, ROWS))
        ]
        return [*strips, data]

    def _write(self, packet: Packet) -> None:
        head = packet.header
        is_forced = self.do_overwrite(packet)
        for row in range(head.height):
            at = (head.y + row) * STRIDE + 2 * head.x
            line = packet.payload[2 * head.width * row :][: 2 * head.width]
            for place, byte in enumerate(line, at):
                if is_forced or not self._is_received[place]:
                    self._pixels[place] = byte
                    self._is_received[place] = 1


class DamageOverwrites(_Overlay):
    """Receives a tile in place, and finds only then that its CRC fails."""

    def do_overwrite(self, packet: Packet) -> bool:
        return crc32(packet.payload) != packet.header.payload_crc


class NarrowOverwrites(_Overlay):
    """Lets tiles that are a part of a row overwrite received pixels."""

    def do_overwrite(self, packet: Packet) -> bool:
        return packet.header.width < WIDTH


class ResentOverwrites(_Overlay):
    """Lets tiles with the flag RESENT overwrite received pixels."""

    def do_overwrite(self, packet: Packet) -> bool:
        return bool(packet.header.flags & Flag.RESENT)


class LosesStalledBytes(Tamper):
    """Throws a packet that stopped inside away, with all that has come of it."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        if len(data) < HEADER_BYTES or data[:4] != MAGIC:
            return [data]
        length = HEADER.unpack_from(data)[-3]
        return [data[:60] if length > len(data) else data]


class GivesUpEarly(VirtualHost):
    """Gives up a packet that pauses for 50 ms."""

    _last = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        is_late = self.now() - self._last > 0.05
        self._last = self.now()
        if data[:4] == MAGIC or not is_late:
            super().send(data, lane)


class GivesUpFromTheFirstByte(VirtualHost):
    """Gives up a packet that takes longer than STALL_MS from its first byte on."""

    _begun = 0.0
    _is_inside = False

    def send(self, data: bytes, lane: int = 0) -> None:
        if data[:4] == MAGIC:
            self._begun = self.now()
        self._is_inside = parse(data) is None
        if not self._is_inside or self.now() - self._begun < 0.25:
            super().send(data, lane)


class ComparesPlainly(Defect):
    """Compares sequences as plain numbers, which do not wrap."""

    def __init__(self) -> None:
        self._newest = -1

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.header.sequence <= self._newest:
            return []
        self._newest = packet.header.sequence
        return [data]


class UsesSequencesOfOthers(Defect):
    """Uses up the sequence of a packet before it looks at the nonce."""

    def __init__(self) -> None:
        self._newest = -1
        self._nonce: int | None = None

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.header.sequence <= self._newest:
            return []
        if packet.header.nonce != self._nonce:
            self._newest = packet.header.sequence
        return [data]


class ShorterThanAllowed(Defect):
    """Takes no message of MAX_CONTROL bytes."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_long = packet.kind != MessageType.TILE and len(packet.payload) >= MAX_CONTROL
        return [] if is_long else [data]


class SkipsWholeHeaders(Tamper):
    """Goes on behind a header that it does not believe, and not inside it."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        if len(data) < HEADER_BYTES or data[:4] != MAGIC or parse(data) is not None:
            return [data]
        found = HEADER.unpack_from(data)
        version, length = found[1], found[-3]
        is_believed = version >> 4 == 1 and length <= MAX_CONTROL
        return [data if is_believed else data[HEADER_BYTES:]]


class ReservedMustBeZero(Defect):
    """Discards a FrameStart whose reserved field has a value."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_odd = packet.kind == MessageType.FRAME_START and packet.payload[23]
        return [] if is_odd else [data]


# --- sessions ---------------------------------------------------------------------------------


class _Offers(Defect):
    changes: ClassVar[dict[str, Any]] = {}

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_hello = packet.kind == MessageType.HELLO
        return [edit_message(packet, **self.changes) if is_hello else data]


class OffersFiveLanes(_Offers):
    """Offers more lanes than MAX_LANES."""

    changes: ClassVar[dict[str, Any]] = {"lanes": 5}


class OffersTooLongTiles(_Offers):
    """Offers a max_payload of more than MAX_PAYLOAD."""

    changes: ClassVar[dict[str, Any]] = {"max_payload": 2 * MAX_PAYLOAD}


class CountsNonces(Defect):
    """Takes the nonce of a session from a clock that counts seconds."""

    seconds = 1_700_000_000

    def __init__(self) -> None:
        CountsNonces.seconds += 9
        self._nonce = 0
        self._own = CountsNonces.seconds

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        return [packet.encode(nonce=self._own)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(nonce=self._nonce)]


class LeavesSilently(Defect):
    """Sends Close only if it has a whole frame."""

    def __init__(self) -> None:
        self._has_failed = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_failed = self._has_failed or packet.kind == MessageType.ERROR
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if self._has_failed and packet.kind == MessageType.CLOSE else [data]


class ImpatientWithSilence(VirtualHost):
    """Takes the module for gone after half a second."""

    def is_gone(self) -> bool:
        liveness = self.link._liveness
        return self.now() - max(liveness.last_sign, liveness.busy_until) > 0.5


class NoiseIsLife(VirtualHost):
    """Takes any bytes for a sign of life."""

    _last = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        self._last = self.now()
        super().send(data, lane)

    def is_gone(self) -> bool:
        return super().is_gone() and self.now() - self._last > _SILENCE_S


class NeverGoneOnceBusy(VirtualHost):
    """Waits for ever for a module that has once said that it is BUSY."""

    def is_gone(self) -> bool:
        return super().is_gone() and not self.link._liveness.busy_until


class CountsSilenceThroughLeases(VirtualHost):
    """Counts the silence during a lease, once the lease is over."""

    def is_gone(self) -> bool:
        liveness = self.link._liveness
        now = self.now()
        return now > liveness.busy_until and now - liveness.last_sign > _SILENCE_S


class _FirstOnly(Defect):
    kind = 0

    def __init__(self) -> None:
        self._count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == self.kind
        return [] if packet.kind == self.kind and self._count > 1 else [data]


class FirstBusyOnly(_FirstOnly):
    """Knows the first Busy of a session, and ignores later ones."""

    kind = MessageType.BUSY


class FirstPendingOnly(_FirstOnly):
    """Knows the first Pending of a session, and ignores later ones."""

    kind = MessageType.PENDING


class AnyErrorEnds(Defect):
    """Takes any Error for the refusal of the request that waits."""

    def __init__(self) -> None:
        self._asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id and packet.kind not in (MessageType.RESEND, MessageType.HEARTBEAT):
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_error = packet.kind == MessageType.ERROR
        return [packet.encode(frame=self._asked) if is_error else data]


class RepeatsCaptureAnew(Defect):
    """Repeats a Capture under another id."""

    def __init__(self) -> None:
        self._first = 0
        self._second = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CAPTURE:
            return [data]
        if packet.id != self._first:
            self._first = packet.id
            return [data]
        self._second = packet.id + 100
        return [packet.encode(frame=self._second)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_second = self._second and packet.id == self._second
        return [packet.encode(frame=self._first) if is_second else data]


class OneIdForAll(Defect):
    """Gives each request the same id."""

    def __init__(self) -> None:
        self._id = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not packet.id or packet.kind == MessageType.RESEND:
            return [data]
        self._id = packet.id
        return [packet.encode(frame=1)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_answer = packet.id == 1 and packet.kind < MessageType.FRAME_START
        return [packet.encode(frame=self._id) if is_answer else data]


class GrantsOnce(Defect):
    """Grants its window once, and no more when tiles have arrived."""

    def __init__(self) -> None:
        self._limit: tuple[int, ...] | None = None

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        self._limit = self._limit or tuple(message.limit)
        return [edit_message(packet, limit=self._limit)]


# --- frames -----------------------------------------------------------------------------------


class TakesAborted(Defect):
    """Takes a frame for whole although its end says that it was aborted."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_end = packet.kind == MessageType.FRAME_END
        return [edit_message(packet, status=0) if is_end else data]


class AnyFrameNumber(Defect):
    """Takes each tile for one of the frame that it receives."""

    def __init__(self) -> None:
        self._head: tuple[int, int] | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._head = packet.id, packet.header.stream
        if packet.kind != MessageType.TILE or self._head is None:
            return [data]
        changes = {"payload_crc": packet.header.payload_crc}
        return [packet.encode(frame=self._head[0], stream=self._head[1], **changes)]


class _EditsStart(Defect):
    changes: ClassVar[dict[str, Any]] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_start = packet.kind == MessageType.FRAME_START
        return [edit_message(packet, **self.changes) if is_start else data]


class IgnoresGeometry(_EditsStart):
    """Takes each FrameStart, whatever geometry it states."""

    changes: ClassVar[dict[str, Any]] = {
        "mode": MODE, "width": WIDTH, "height": HEIGHT, "stride": STRIDE,
        "pixel_format": 0x1100011, "cfa": 0,
    }  # fmt: skip


class IgnoresPhase(_EditsStart):
    """Takes each FrameStart, whatever phase or orientation it states."""

    changes: ClassVar[dict[str, Any]] = {"cfa": 0, "orientation": 1}


class IgnoresLevels(_EditsStart):
    """Takes each FrameStart, whatever bits and levels it states."""

    changes: ClassVar[dict[str, Any]] = {"bits": 12, "white": 4095, "black_milli": (0, 0, 0, 0)}


class StrictLevels(Defect):
    """Discards a FrameStart whose white level is not the sensor's."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        is_odd = isinstance(message, FrameStart) and message.white not in (4095, 1023)
        return [] if is_odd else [data]


class NeedsEnd(VirtualHost):
    """Takes a frame without its FrameEnd for an incomplete one."""

    def is_whole(self, frame: Assembly) -> bool:
        return frame.frame_end is not None and super().is_whole(frame)


class SlowWithoutEnd(VirtualHost):
    """Waits for 4 s for a FrameEnd that does not come."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        expire = found.expire_frames
        found.request_missing = lambda now: []  # type: ignore[method-assign]
        found.expire_frames = (  # type: ignore[method-assign]
            lambda now: expire(now) if now > 5.0 else None
        )
        return found


class AsksNineTimes(VirtualHost):
    """Repeats a Resend a ninth time."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        find = found.request_missing

        def find_once_more(now: float) -> Any:
            parts = find(now)
            return parts + parts if parts else parts

        found.request_missing = find_once_more  # type: ignore[method-assign]
        return found


class NarrowIsARow(Defect):
    """Asks for whole rows where a part of a row is missing."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if message is None:
            return [data]
        ranges = bytearray(getattr(message, "ranges", b""))
        for at in range(0, len(ranges), 8):
            ranges[at : at + 2] = b"\0\0"
            ranges[at + 4 : at + 6] = WIDTH.to_bytes(2, "little")
        return [edit_message(packet, ranges=bytes(ranges))]


class FortyRectangles(Defect):
    """Asks for more than MAX_RANGES rectangles."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        count = getattr(message, "count", 0)
        if count < 2:
            return [data]
        ranges = getattr(message, "ranges", b"") * 20
        return [edit_message(packet, count=20 * count, ranges=ranges)]


class StartOnce(Defect):
    """Asks for FrameStart once, and not again."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        flags = getattr(message, "flags", 0)
        self._count += flags & 1
        if self._count < 2 or not flags & 1:
            return [data]
        return [edit_message(packet, flags=flags & 2)]


class UnknownIsUnderWay(Defect):
    """Takes a frame that the module does not know for one that is under way."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_resent = packet.kind == MessageType.RESENT
        return [edit_message(packet, state=0) if is_resent else data]


class LaneOffByOne(Defect):
    """Takes the last packet but one of a lane for its last."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd) or message.last_sequence[1] in (0, 0xFFFFFFFF):
            return [data]
        first, second, *rest = message.last_sequence
        return [edit_message(packet, last_sequence=(first, second - 1, *rest))]


class DropsResentOfALane(VirtualHost):
    """Throws away what is sent again once a lane has ended."""

    _has_ended = False

    def end_lane(self, lane: int) -> bool:
        self._has_ended = True
        return super().end_lane(lane)

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        is_resent = packet is not None and packet.header.flags & Flag.RESENT
        if not (self._has_ended and is_resent):
            super().send(data, lane)


# --- packings and manifest --------------------------------------------------------------------


class WholeGroupsOnly(Defect):
    """Discards a tile that ends inside a group, at the end of the row too."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_cut = packet.kind == MessageType.TILE and packet.header.width % 4
        return [] if is_cut else [data]


class RoundsToFour(Defect):
    """Widens a tile that begins or ends inside a group of four to whole groups."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        end = head.x + head.width
        if packet.kind != MessageType.TILE or end == 66 or not (head.x % 4 or end % 4):
            return [data]
        left, right = head.x // 4 * 4, min(64, (end + 3) // 4 * 4)
        payload = b"\xa5" * ((right - left) * 5 // 4)
        return [packet.encode(x=left, width=right - left, payload=payload)]


class NamesSixteenBits(Defect):
    """Names the 16-bit format, which every module could send."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_configure = packet.kind == MessageType.CONFIGURE
        return [edit_message(packet, pixel_format=0x110002F) if is_configure else data]


class NeedsOrder(Defect):
    """Refuses a manifest that does not begin with the maker."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if not isinstance(message, ManifestPiece) or message.offset:
            return [data]
        if message.piece[:2] == b"\x01\x00":
            return [data]
        return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]


class RefusesLongManifests(Defect):
    """Refuses a manifest of more than 60,000 bytes."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if getattr(message, "total", 0) <= 60_000:
            return [data]
        return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]


class AnyTotal(VirtualHost):
    """Reads a manifest until it has as many bytes as the newest piece says."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(piece, data, piece.total)


class AnyOffset(VirtualHost):
    """Appends each piece, whatever offset it states."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(replace(piece, offset=len(data)), data, total)


class AsksForEver(VirtualHost):
    """Asks again for an offset when it gets an empty piece."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return bool(piece.piece) and super().is_piece_wrong(piece, data, total)


class TakesMore(VirtualHost):
    """Cuts a manifest that is longer than it says."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        return super().is_piece_wrong(
            replace(piece, piece=piece.piece[: total - len(data)]), data, total
        )


class AnySize(VirtualHost):
    """Reads a manifest of any size."""

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        del total
        return piece.offset != len(data) or not piece.piece


class FlushWithStop(Defect):
    """Sends Flush together with Stop."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.STOP:
            return [data]
        flush = Flush().encode()
        return [data, packet.encode(type=MessageType.FLUSH, frame=packet.id + 1, payload=flush)]


class RepeatsStopAnew(Defect):
    """Repeats a Stop under another id."""

    def __init__(self) -> None:
        self._first = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.STOP:
            return [data]
        if not self._first:
            self._first = packet.id
            return [data]
        return [packet.encode(frame=packet.id + 100)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_answer = self._first and packet.id == self._first + 100
        return [packet.encode(frame=self._first) if is_answer else data]


class StreamInStop(Defect):
    """Names the stream in the header of StartStream and Stop."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_one = packet.kind in (MessageType.STREAM, MessageType.STOP)
        return [packet.encode(stream=1) if is_one else data]


class NoBeatsInAPreview(Defect):
    """Sends no Heartbeat once a preview runs."""

    def __init__(self) -> None:
        self._is_running = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._is_running = self._is_running or packet.kind == MessageType.STREAM
        return [] if self._is_running and packet.kind == MessageType.HEARTBEAT else [data]


class AsksForTheStill(Defect):
    """Asks for lost tiles of the preview under the still's number."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(stream=1) if packet.kind == MessageType.RESEND else data]


class SkipsDamagedTiles(Tamper):
    """Skips the whole payload of a tile that is damaged, and does not search it."""

    def __init__(self) -> None:
        self._left = 0

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        skipped = min(self._left, len(data))
        self._left -= skipped
        data = data[skipped:]
        if len(data) >= HEADER_BYTES and data[5] == MessageType.TILE and parse(data) is None:
            self._left = max(0, HEADER_BYTES + HEADER.unpack_from(data)[-3] - len(data))
            return []
        return [data] if data else []


class GoneOnlyAtTheEnd(Defect):
    """Does not remember what Resent calls gone of a frame that is under way."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if isinstance(message, Resent) and message.state == FrameState.UNDER_WAY:
            return [edit_message(packet, count=0, gone=b"")]
        return [data]


class WholePacketsAreLife(VirtualHost):
    """Counts silence from the end of the last whole packet."""

    _whole = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        if parse(data) is not None:
            self._whole = self.now()
        super().send(data, lane)

    def is_gone(self) -> bool:
        is_slow = self._whole > 0 and self.now() - self._whole > _SILENCE_S
        return is_slow or super().is_gone()


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-FRAME-1": (StreamInStop,),
    "H-FRAME-2": (DamageOverwrites,),
    "H-FRAME-3": (SkipsDamagedTiles,),
    "H-FRAME-4": (LosesStalledBytes,),
    "H-FRAME-5": (ComparesPlainly, UsesSequencesOfOthers),
    "H-FRAME-6": (ShorterThanAllowed, SkipsWholeHeaders),
    "H-GROW-2": (ReservedMustBeZero,),
    "H-HELLO-1": (CountsNonces,),
    "H-HELLO-2": (OffersFiveLanes, OffersTooLongTiles),
    "H-CLOSE-1": (LeavesSilently,),
    "H-LIVE-1": (NoBeatsInAPreview,),
    "H-LIVE-3": (FirstBusyOnly,),
    "H-REQ-1": (RepeatsCaptureAnew, OneIdForAll, RepeatsStopAnew),
    "H-REQ-2": (AnyErrorEnds,),
    "H-REQ-3": (FlushWithStop,),
    "H-REQ-4": (FirstPendingOnly,),
    "H-CREDIT-2": (GrantsOnce,),
    "H-CAM-1": (TakesAborted, AnyFrameNumber),
    "H-CAM-2": (NarrowOverwrites, ResentOverwrites),
    "H-CAM-3": (IgnoresGeometry, IgnoresPhase, IgnoresLevels, StrictLevels),
    "H-RESEND-1": (NarrowIsARow, FortyRectangles, AsksForTheStill),
    "H-RESEND-2": (StartOnce,),
    "H-RESEND-3": (UnknownIsUnderWay, GoneOnlyAtTheEnd),
    "H-LANE-1": (LaneOffByOne,),
    "H-PACK-1": (WholeGroupsOnly, RoundsToFour),
    "H-PACK-2": (NamesSixteenBits,),
    "H-MANIFEST-1": (NeedsOrder, RefusesLongManifests),
}
"""Defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-FRAME-4": (GivesUpEarly, GivesUpFromTheFirstByte),
    "H-LIVE-2": (ImpatientWithSilence, WholePacketsAreLife, NoiseIsLife, NeverGoneOnceBusy),
    "H-LIVE-3": (CountsSilenceThroughLeases,),
    "H-CAM-4": (NeedsEnd, SlowWithoutEnd),
    "H-RESEND-3": (AsksNineTimes,),
    "H-LANE-2": (DropsResentOfALane,),
    "H-MANIFEST-2": (AnyTotal, AnyOffset, AsksForEver, TakesMore, AnySize),
}
"""Hosts of their own, by clause."""
