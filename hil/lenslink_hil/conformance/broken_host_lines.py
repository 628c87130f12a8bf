"""Hosts that break a clause on their line: the driver, with packets changed on their way.

Each class is a defect. Its docstring says what a host with that defect does.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    MAGIC,
    Capture,
    Close,
    Configure,
    Configured,
    Error,
    FrameEnd,
    GetManifest,
    Heartbeat,
    Resend,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_PAYLOAD

from .defects import Defect, edit_message
from .module_peer import HEIGHT, WIDTH
from .packets import Packet, append_header_crc, parse
from .peer_wire import Tamper

_DATA = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)


class StreamInRequests(Defect):
    """Names a stream in the headers of requests."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_request = packet.kind in (MessageType.CAPTURE, MessageType.CONFIGURE)
        return [packet.encode(stream=1) if is_request else data]


class RepeatsSequences(Defect):
    """Gives Heartbeats the sequence of the packet before them."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT:
            return [data]
        return [packet.encode(sequence=packet.header.sequence - 1)]


class _Heals(Defect):
    def is_healed(self, packet: Packet) -> bool:
        """Return True for a packet that this host takes although it is damaged."""
        del packet
        return True

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode() if self.is_healed(packet) else data]


class HealsTiles(_Heals):
    """Takes tiles whose payload CRC fails."""

    def is_healed(self, packet: Packet) -> bool:
        return packet.kind == MessageType.TILE


class HealsAnswers(_Heals):
    """Takes answers whose payload CRC fails."""

    def is_healed(self, packet: Packet) -> bool:
        return packet.kind == MessageType.HELLO_REPLY


class HealsHeaders(_Heals):
    """Takes packets whose header CRC fails."""

    def is_healed(self, packet: Packet) -> bool:
        return append_header_crc(packet.header)[-4:] != packet.header.header_crc.to_bytes(
            4, "little"
        )


class LosesBehindNoise(Tamper):
    """Throws away what arrives together with bytes of no packet."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        return [data] if data[:4] == MAGIC else []


class LosesInsidePayloads(Tamper):
    """Throws away a payload whose CRC fails, with all that lies in it."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        if len(data) < HEADER_BYTES or data[:4] != MAGIC:
            return [data]
        length = HEADER.unpack_from(data)[-3]
        payload = data[HEADER_BYTES : HEADER_BYTES + length]
        is_whole = crc32(payload) == HEADER.unpack_from(data)[-2]
        return [data] if is_whole or len(payload) < length else [data[HEADER_BYTES + length :]]


class SwallowsTiles(Tamper):
    """Waits without end for a tile that stopped inside."""

    def __init__(self) -> None:
        self._left = 0

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        if self._left:
            self._left -= min(self._left, len(data))
            return []
        if len(data) >= HEADER_BYTES and data[5] == MessageType.TILE and parse(data) is None:
            self._left = HEADER.unpack_from(data)[-3]
            return []
        return [data]


class AnyTileSequence(Defect):
    """Takes tiles whatever their sequence."""

    def __init__(self) -> None:
        self._newest = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._newest = max(self._newest + 1, packet.header.sequence) & 0xFFFFFFFF
        changes = {"payload_crc": packet.header.payload_crc, "sequence": self._newest}
        return [packet.encode(**changes)] if packet.header.nonce and data else [data]


class AnyTileNonce(Defect):
    """Takes tiles of every session."""

    def __init__(self) -> None:
        self._nonce = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._nonce = packet.header.nonce
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.TILE:
            return [data]
        return [packet.encode(nonce=self._nonce, payload_crc=packet.header.payload_crc)]


class AnyMajorOfAnswers(Defect):
    """Takes answers of every major version."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(version=0x10) if packet.kind < 0x40 else data]


class PadsShortMessages(Defect):
    """Takes a message that is too short, as if zeros followed."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind not in BY_TYPE or packet.kind == MessageType.TILE:
            return [data]
        size = BY_TYPE[packet.kind].FIXED.size
        if len(packet.payload) >= size:
            return [data]
        padded = size.to_bytes(2, "little") + packet.payload[2:] + bytes(size - len(packet.payload))
        return [packet.encode(payload=padded)]


class StrictFrameStart(Defect):
    """Refuses a FrameStart with appended fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        size = BY_TYPE[MessageType.FRAME_START].FIXED.size
        return (
            [] if packet.kind == MessageType.FRAME_START and len(packet.payload) > size else [data]
        )


class UnknownEnds(Defect):
    """Takes an unknown type for the end of the session."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in BY_TYPE or packet.kind >= 0xE0 or packet.kind == MessageType.TILE:
            return [data]
        return [packet.encode(type=MessageType.CLOSE, payload=Close(0).encode())]


class DropsUnknownFlags(Defect):
    """Discards packets with flags that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.header.flags & ~1 else [data]


class ManyHelloIds(Defect):
    """Repeats Hello under another id each time."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [data]
        return [packet.encode(frame=packet.header.sequence + 1)]


class BeatsBeforeHelloReply(Defect):
    """Sends a Heartbeat before Hello is answered."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [data]
        beat = Heartbeat((0, 0, 0), 0).encode()
        early = packet.encode(type=MessageType.HEARTBEAT, frame=0, payload=beat)
        return [data, early]


class ResendsAnyway(Defect):
    """Asks for a whole frame again at its end, whatever the session has."""

    def __init__(self) -> None:
        self._last: Packet | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_END:
            self._last = packet
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        last, self._last = self._last, None
        if last is None:
            return [data]
        ask = Resend(3, 0, b"").encode()
        extra = packet.encode(type=MessageType.RESEND, frame=last.id, payload=ask)
        return [extra, data]


class SaysHelloOn(Defect):
    """Goes on to say Hello after it was refused."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.ERROR else [data]


class BeatsOnAfterRefusal(Defect):
    """Sends Heartbeats after its Hello was refused."""

    def __init__(self) -> None:
        self._is_refused = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.ERROR else None
        self._is_refused = self._is_refused or isinstance(message, Error)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        beat = Heartbeat((0, 0, 0), 0).encode()
        extra = packet.encode(type=MessageType.HEARTBEAT, frame=0, payload=beat)
        return [extra, data] if self._is_refused else [data]


class ClosesAnotherSession(Defect):
    """Sends Close under another nonce."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_close = packet.kind == MessageType.CLOSE
        return [packet.encode(nonce=packet.header.nonce ^ 1) if is_close else data]


class ClosesAsHeartbeat(Defect):
    """Sends a Heartbeat instead of Close."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CLOSE:
            return [data]
        return [packet.encode(type=MessageType.HEARTBEAT, payload=Heartbeat((0, 0, 0), 0).encode())]


class _OtherTime(Defect):
    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        return [edit_message(packet, time_us=self.change(message.time_us))]

    def change(self, time_us: int) -> int:
        raise NotImplementedError


class NoTime(_OtherTime):
    """States no time in its Heartbeats."""

    def change(self, time_us: int) -> int:
        del time_us
        return 0


class TimeInMilliseconds(_OtherTime):
    """States the time of its Heartbeats in milliseconds."""

    def change(self, time_us: int) -> int:
        return time_us // 1000


class TimeThatFalls(_OtherTime):
    """States a time that runs backwards."""

    def change(self, time_us: int) -> int:
        return (1 << 62) - time_us


class StopsAfterFewBeats(Defect):
    """Sends three Heartbeats, and none while it waits."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count > 3 else [data]


class SlowBeats(Defect):
    """Sends every ninth Heartbeat."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count % 9 else [data]


class CutsBusyLease(Defect):
    """Takes a lease of BUSY for 300 ms."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, lease_ms=300) if packet.kind == MessageType.BUSY else data]


class CutsPendingLease(Defect):
    """Takes a lease of Pending for 100 ms."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, lease_ms=100) if packet.kind == MessageType.PENDING else data]


class ChangesRepeats(Defect):
    """Repeats a request with another payload."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        again = packet.kind == MessageType.CONFIGURE and packet.id in self._asked
        self._asked.add(packet.id)
        return [edit_message(packet, tile_bytes=4096) if again else data]


class FallingIds(Defect):
    """Counts ids down."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not packet.id or packet.kind in (MessageType.RESEND, MessageType.HEARTBEAT):
            return [data]
        number = 1000 - packet.id
        self._asked[number] = packet.id
        return [packet.encode(frame=number)]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.id in self._asked and packet.kind not in _DATA:
            return [packet.encode(frame=self._asked[packet.id])]
        return [data]


class AnyKindOfAnswer(Defect):
    """Takes an answer of another kind as the end of a request."""

    def __init__(self) -> None:
        self._asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.CONFIGURE:
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ACCEPTED or packet.id != self._asked:
            return [data]
        stride = 4 * WIDTH
        plan = Configured(
            1, 0, 1, 0x1100011, 2 * WIDTH, HEIGHT, stride, stride * HEIGHT, 4096
        )  # fmt: skip
        return [packet.encode(type=MessageType.CONFIGURED, payload=plan.encode())]


class AsksTwiceAtOnce(Defect):
    """Sends each Configure under two ids at once."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        second = packet.encode(frame=packet.id + 1)
        return [data, second]


class CapturesEarly(Defect):
    """Sends Capture together with Configure."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        capture = Capture(1, 1).encode()
        return [data, packet.encode(type=MessageType.CAPTURE, frame=packet.id + 7, payload=capture)]


class FallsOnce(Defect):
    """Takes back a limit once."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        self._count += 1
        return [edit_message(packet, limit=(0, 0, 0)) if self._count == 3 else data]


class LateFirstLimits(Defect):
    """Grants nothing for a long time: drops its first Heartbeats."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count < 14 else [data]


class GrantsLittle(Defect):
    """Never grants more than half of its max_payload."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        most = MAX_PAYLOAD // 2
        return [edit_message(packet, limit=tuple(min(most, each) for each in message.limit))]


class FillsGapsByCount(Defect):
    """Takes a frame for whole when it has as many tiles as FrameEnd says."""

    def __init__(self) -> None:
        self._tile: Packet | None = None

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._tile = packet
        if packet.kind != MessageType.FRAME_END or self._tile is None:
            return [data]
        message = packet.message()
        assert isinstance(message, FrameEnd)
        head = self._tile.header
        rows = range(0, HEIGHT, head.height)
        # Whatever is missing is made up from the last tile.
        fakes = [
            self._tile.encode(sequence=head.sequence + 1 + index, y=row)
            for index, row in enumerate(rows)
        ]
        end = packet.encode(sequence=head.sequence + 1 + len(fakes))
        return [*fakes, end]


class TilesFromBelow(Defect):
    """Takes a tile that begins below the frame as one of its last rows."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.y < HEIGHT:
            return [data]
        return [packet.encode(y=HEIGHT - head.height)]


class CutsWideTiles(Defect):
    """Cuts a tile that reaches over the right edge."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.x + head.width <= WIDTH:
            return [data]
        return [packet.encode(x=WIDTH - head.width)]


class AsksForOneRowMore(Defect):
    """Asks for a row more than is missing."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or not message.count:
            return [data]
        ranges = bytearray(message.ranges)
        ranges[6] += 1
        return [edit_message(packet, ranges=bytes(ranges))]


class AsksBeyondTheFrame(Defect):
    """Asks for rectangles below the frame."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        if not isinstance(message, Resend) or not message.count:
            return [data]
        outside = HEIGHT.to_bytes(2, "little")
        return [edit_message(packet, ranges=message.ranges[:2] + outside + message.ranges[4:])]


class ForgetsStart(Defect):
    """Throws FrameStart away when it is sent again."""

    def __init__(self) -> None:
        self._has_asked = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_asked = self._has_asked or packet.kind == MessageType.RESEND
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if self._has_asked and packet.kind == MessageType.FRAME_START else [data]


class DropsRest(Defect):
    """Drops a frame whose FrameStart did not come first."""

    def __init__(self) -> None:
        self._started = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._started = self._started or packet.kind == MessageType.FRAME_START
        return [] if packet.kind in _DATA and not self._started else [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.RESEND else [data]


class ForgetsGone(Defect):
    """Does not read what Resent calls gone."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_resent = packet.kind == MessageType.RESENT
        return [edit_message(packet, count=0, gone=b"") if is_resent else data]


class SecondFormat(Defect):
    """Names a format by its bits, whatever the manifest lists."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_configure = packet.kind == MessageType.CONFIGURE
        return [edit_message(packet, pixel_format=0x1100011) if is_configure else data]


class RoundsEnds(Defect):
    """Widens a tile that ends inside a group to the group's end."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        if packet.kind != MessageType.TILE or head.width % 2 == 0:
            return [data]
        rows = [packet.payload[2 * row : 2 * row + 2] + b"\xa5" for row in range(head.height)]
        return [packet.encode(width=head.width + 1, payload=b"".join(rows))]


class RefusesGrownValues(Defect):
    """Refuses a manifest whose values are longer than it knows."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.MANIFEST and b"more" in packet.payload:
            return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class StopsAtUnknownKeys(Defect):
    """Reads a manifest up to the first key that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.MANIFEST:
            return [data]
        at = packet.payload.find(b"\xf0\x7f")
        return [packet.encode(payload=packet.payload[:at]) if at >= 0 else data]


class ReadsTwice(Defect):
    """Asks for the next piece whatever the first one says."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO_REPLY:
            return [edit_message(packet, manifest_bytes=65535)]
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        total = getattr(message, "total", 0)
        return [edit_message(packet, total=65535) if total > 65536 else data]


class StreamsBeforeProof(Defect):
    """Starts a stream before it knows whom it speaks to."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CHALLENGE:
            return [data]
        early = Capture(1, 1).encode()
        return [packet.encode(type=MessageType.CAPTURE, payload=early), data]


class TakesErrorForProof(Defect):
    """Takes a module that refuses to prove itself for a genuine one."""

    def __init__(self) -> None:
        self._challenge = b""
        self._scheme = 0
        self._id = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CHALLENGE else None
        if message is not None:
            self._challenge = getattr(message, "challenge", b"")
            self._scheme = getattr(message, "scheme", 0)
            self._id = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ERROR or packet.id != self._id:
            return [data]
        size = BY_TYPE[MessageType.PROOF].FIXED.size
        proof = crc32(self._challenge).to_bytes(4, "little")
        payload = size.to_bytes(2, "little") + self._scheme.to_bytes(2, "little") + proof
        return [packet.encode(type=MessageType.PROOF, payload=payload)]


class TakesAnyScheme(TakesErrorForProof):
    """Takes a proof of any scheme for a genuine one."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.PROOF:
            return [data]
        return super().on_packet_to_peer(replace(packet, header=packet.header._replace(
            type=MessageType.ERROR)), data)  # fmt: skip


class AsksAtEveryEnd(Defect):
    """Asks for the whole frame as soon as FrameEnd arrives, whatever other lanes bring."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd):
            return [data]
        last = message.last_sequence[0]
        return [edit_message(packet, last_sequence=(last, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF))]


class KeepsAsking(Defect):
    """Sends each Configure and GetManifest after Close, too."""

    def __init__(self) -> None:
        self._is_closed = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._is_closed = self._is_closed or packet.kind == MessageType.CLOSE
        return [] if packet.kind == MessageType.CLOSE else [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._is_closed or packet.kind == MessageType.CLOSE:
            return [data]
        ask = GetManifest(0).encode()
        return [packet.encode(type=MessageType.GET_MANIFEST, frame=9000, payload=ask), data]


class ConfiguresAfterClose(KeepsAsking):
    """Configures a stream of a session that the module has closed."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if not self._is_closed or packet.kind == MessageType.CLOSE:
            return [data]
        again = Configure(1, 0, 1, 0, 0).encode()
        return [packet.encode(type=MessageType.CONFIGURE, frame=9000, payload=again), data]


DEFECTS: dict[str, tuple[type[Tamper], ...]] = {
    "H-TIME-1": (NoTime, TimeInMilliseconds, TimeThatFalls),
    "H-FRAME-1": (StreamInRequests, RepeatsSequences),
    "H-FRAME-2": (HealsTiles, HealsAnswers, HealsHeaders),
    "H-FRAME-3": (LosesBehindNoise, LosesInsidePayloads),
    "H-FRAME-4": (SwallowsTiles,),
    "H-FRAME-5": (AnyTileSequence, AnyTileNonce),
    "H-FRAME-6": (AnyMajorOfAnswers,),
    "H-GROW-1": (PadsShortMessages, StrictFrameStart),
    "H-GROW-2": (UnknownEnds, DropsUnknownFlags),
    "H-HELLO-1": (ManyHelloIds, BeatsBeforeHelloReply),
    "H-HELLO-2": (ResendsAnyway,),
    "H-HELLO-3": (SaysHelloOn, BeatsOnAfterRefusal),
    "H-CLOSE-1": (ClosesAnotherSession, ClosesAsHeartbeat),
    "H-CLOSE-2": (KeepsAsking, ConfiguresAfterClose),
    "H-LIVE-1": (StopsAfterFewBeats, SlowBeats),
    "H-LIVE-3": (CutsBusyLease,),
    "H-REQ-1": (ChangesRepeats, FallingIds),
    "H-REQ-2": (AnyKindOfAnswer,),
    "H-REQ-3": (AsksTwiceAtOnce, CapturesEarly),
    "H-REQ-4": (CutsPendingLease,),
    "H-CREDIT-1": (FallsOnce, LateFirstLimits),
    "H-CREDIT-2": (GrantsLittle,),
    "H-CAM-1": (FillsGapsByCount,),
    "H-CAM-3": (TilesFromBelow, CutsWideTiles),
    "H-PACK-1": (RoundsEnds,),
    "H-PACK-2": (SecondFormat,),
    "H-RESEND-1": (AsksForOneRowMore, AsksBeyondTheFrame),
    "H-RESEND-2": (ForgetsStart, DropsRest),
    "H-RESEND-3": (ForgetsGone,),
    "H-LANE-1": (AsksAtEveryEnd,),
    "H-AUTH-1": (StreamsBeforeProof,),
    "H-AUTH-2": (TakesErrorForProof, TakesAnyScheme),
    "H-MANIFEST-1": (RefusesGrownValues, StopsAtUnknownKeys),
    "H-MANIFEST-2": (ReadsTwice,),
}
"""The defects of each clause."""
