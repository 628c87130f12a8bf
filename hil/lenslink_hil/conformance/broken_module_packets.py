"""Modules that break a clause on packets, and how they are received (SPEC.md, 2)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Configure, Header, Hello, SetSettings
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_STREAMS, VERSION_MAJOR

from .defects import Defect
from .packets import Packet, parse
from .peer_wire import Tamper
from .plain_module import Item, PlainModule


class KeepsSequences(PlainModule):
    """Counts on in the second session of a connection."""

    def reset_session(self) -> None:
        kept = getattr(self, "sequences", None)
        super().reset_session()
        self.sequences = kept or self.sequences


class CountsFromOne(PlainModule):
    """Gives its first packet the sequence 1."""

    def reset_session(self) -> None:
        super().reset_session()
        self.sequences = [1] * self.lanes


class OneCountForAllLanes(PlainModule):
    """Numbers the packets of all lanes by one counter."""

    def encode(self, item: Item, lane: int) -> bytes:
        self.sequences = [max(self.sequences)] * self.lanes
        return super().encode(item, lane)


class CountsTilesApart(PlainModule):
    """Gives tiles the sequence of the packet before them."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.TILE and self.sequences[lane]:
            self.sequences[lane] -= 1
        return super().encode(item, lane)


class StreamInReplies(PlainModule):
    """Names a stream in the headers of replies."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind in (MessageType.CONFIGURED, MessageType.ACCEPTED)
        super().emit(replace(item, stream=1) if is_reply else item)


class StreamInChanges(PlainModule):
    """Names the stream in the header of the answer to SetSettings."""

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        self._stream = message.stream
        super().on_set_settings(number, message)
        self._stream = 0

    def emit(self, item: Item) -> None:
        super().emit(replace(item, stream=self._stream) if self._stream else item)

    _stream = 0


class StreamInRefusals(PlainModule):
    """Names the stream in the header of an Error about Configure."""

    def on_configure(self, number: int, message: Configure) -> None:
        self._stream = message.stream
        super().on_configure(number, message)

    def emit(self, item: Item) -> None:
        is_refusal = item.kind == MessageType.ERROR
        super().emit(replace(item, stream=self._stream) if is_refusal else item)

    _stream = 0


class ReservedIsSet(PlainModule):
    """Sets a reserved field of Accepted."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.ACCEPTED:
            item = replace(item, payload=item.payload[:3] + b"\x01" + item.payload[4:])
        super().emit(item)


class RefusalsFromZero(PlainModule):
    """Begins the sequences anew with each Hello that it refuses."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        is_shared = super().is_version_shared(header, message)
        if not is_shared:
            self.sequences = [0] * self.lanes
        return is_shared


class UncountedBesideTiles(PlainModule):
    """Does not count a HeartbeatReply while tiles wait."""

    def encode(self, item: Item, lane: int) -> bytes:
        before = self.sequences[lane]
        data = super().encode(item, lane)
        if item.kind == MessageType.HEARTBEAT_REPLY and self.data:
            self.sequences[lane] = before
        return data


class LanesCountOn(PlainModule):
    """Counts other lanes than 0 on over sessions."""

    def reset_session(self) -> None:
        before = getattr(self, "sequences", [0] * self.lanes)
        super().reset_session()
        self.sequences[1:] = before[1:]


class ReusesHeaders(PlainModule):
    """Leaves the place of the last tile in the headers of later packets."""

    _place = (0, 0, 0, 0)

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.TILE:
            self._place = item.rectangle
        super().emit(replace(item, rectangle=self._place))


class HeartbeatsNameFrames(PlainModule):
    """Names the next frame in the header of HeartbeatReply, once a frame has begun."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind == MessageType.HEARTBEAT_REPLY
        super().emit(replace(item, number=max(self.begun)) if is_reply else item)


class RefusesUnderZero(PlainModule):
    """Refuses under id 0 while a frame is under way."""

    def emit(self, item: Item) -> None:
        is_refusal = item.kind == MessageType.ERROR and self.readout is not None
        super().emit(replace(item, number=0) if is_refusal else item)


class DamageIsNotCounted(Defect):
    """Gives a packet that it damages on purpose no sequence of its own."""

    def __init__(self) -> None:
        self._damaged = 0

    def pass_to_tester(self, packet: bytes) -> list[bytes]:
        if parse(packet) is None:
            self._damaged += 1
        return super().pass_to_tester(packet)

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO_REPLY:
            self._damaged = 0
        return [packet.encode(sequence=packet.header.sequence - self._damaged)]


class _ActsOnDamage(PlainModule):
    kind: int = 0

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return header.type == self.kind or super().is_payload_sound(header, payload)


class ActsOnDamagedHeartbeat(_ActsOnDamage):
    """Takes a Heartbeat whose payload CRC fails."""

    kind = MessageType.HEARTBEAT


class TakesDamagedLimits(PlainModule):
    """Takes the limits of a Heartbeat whose payload CRC fails, and does not answer it."""

    def on_damaged_payload(self, header: Header) -> None:
        if header.type == MessageType.HEARTBEAT:
            payload = bytes(self.buffer[HEADER_BYTES : HEADER_BYTES + header.length])
            self.raise_limits(self.decode(header.type, payload))  # type: ignore[arg-type]
        super().on_damaged_payload(header)


class ObeysDamagedStop(PlainModule):
    """Ends a stream for a Stop whose payload CRC fails, and does not answer it."""

    def on_damaged_payload(self, header: Header) -> None:
        index = self.buffer[HEADER_BYTES + 2] if header.length > 2 else MAX_STREAMS
        if header.type == MessageType.STOP and index < MAX_STREAMS:
            self.stop(index)
        super().on_damaged_payload(header)


class ActsOnDamagedResend(_ActsOnDamage):
    """Takes a Resend whose payload CRC fails."""

    kind = MessageType.RESEND


class ActsOnDamagedClose(_ActsOnDamage):
    """Takes a Close whose payload CRC fails."""

    kind = MessageType.CLOSE


class ActsOnDamagedHello(_ActsOnDamage):
    """Takes a Hello whose payload CRC fails."""

    kind = MessageType.HELLO


class NoHeaderCrc(PlainModule):
    """Does not look at the header's CRC."""

    def is_header_sound(self, header: Header) -> bool:
        return header.length <= MAX_CONTROL


class HeaderCrcOfThreeBytes(PlainModule):
    """Compares the header's CRC without its last byte."""

    def is_header_sound(self, header: Header) -> bool:
        crc = crc32(self.buffer[: HEADER_BYTES - 4])
        is_close = (crc ^ header.header_crc) & 0xFFFFFF == 0
        return is_close and header.version >> 4 == VERSION_MAJOR and header.length <= MAX_CONTROL


class PayloadCrcOfTwoBytes(PlainModule):
    """Compares two bytes of the payload's CRC."""

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return (crc32(payload) ^ header.payload_crc) & 0xFFFF == 0


class SkipsDamagedPayload(PlainModule):
    """Throws a damaged payload away instead of searching it."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        del self.buffer[: header.length]


class SkipsAfterBadHeader(PlainModule):
    """Throws 40 bytes away behind a header whose CRC fails."""

    def is_header_sound(self, header: Header) -> bool:
        if super().is_header_sound(header):
            return True
        del self.buffer[1:41]
        return False


class RestartsAfterHalfAMagic(PlainModule):
    """Looks for a magic only where the previous attempt ended."""

    def parse_buffer(self) -> None:
        at = self.buffer.find(b"\x8a\x4c")
        if (
            at >= 0
            and len(self.buffer) - at > 0
            and not self.buffer[at:].startswith(b"\x8a\x4c\x4c\x4b")
        ):
            del self.buffer[: at + 4]
        super().parse_buffer()


class OnePacketAPiece(PlainModule):
    """Handles one packet of each piece that it receives."""

    def send(self, data: bytes, lane: int = 0) -> None:
        self.is_taken = False
        super().send(data, lane)

    def on_packet(self, header: Header, payload: bytes) -> None:
        if not self.is_taken:
            self.is_taken = True
            super().on_packet(header, payload)


class SearchesTheEnd(PlainModule):
    """Searches the last 256 bytes of a payload whose CRC fails."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        del self.buffer[: max(0, header.length - 256)]


class WaitsHalfASecond(PlainModule):
    """Waits 500 ms for the rest of a packet."""

    stall_s = 0.5


class ForgetsStalledBytes(PlainModule):
    """Throws away all that came of a packet that stopped."""

    def check_stall(self) -> None:
        if self.buffer and self.time - self.last_byte >= self.stall_s:
            self.buffer.clear()


class GivesUpEarly(PlainModule):
    """Gives a packet up after 20 ms."""

    stall_s = 0.02


class StallsFromTheFirstByte(PlainModule):
    """Gives up a packet that takes longer than STALL_MS from its first byte on."""

    _begun = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        if not self.buffer:
            self._begun = self.time
        super().send(data, lane)
        self.last_byte = self._begun


class NoWrap(PlainModule):
    """Compares sequences as plain numbers."""

    def use_sequence(self, sequence: int) -> bool:
        if sequence <= self.newest_sequence:
            return False
        self.newest_sequence = sequence
        return True


class AnyStep(PlainModule):
    """Takes every sequence but the newest."""

    def use_sequence(self, sequence: int) -> bool:
        fresh = sequence != self.newest_sequence
        self.newest_sequence = sequence
        return fresh


class DamageKeepsSequence(PlainModule):
    """Does not use up the sequence of a packet whose payload is damaged."""

    def on_damaged_payload(self, header: Header) -> None:
        del self.buffer[:40]


class _NotFresh(PlainModule):
    kinds: tuple[int, ...] = ()

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type in self.kinds and self.session is not None:
            step = self.newest_sequence + 1
            header = header._replace(nonce=self.session.nonce, sequence=step)
        super().on_packet(header, payload)


class StaleHeartbeats(_NotFresh):
    """Takes every Heartbeat, fresh or not."""

    kinds = (MessageType.HEARTBEAT,)


class StaleClose(_NotFresh):
    """Takes every Close, fresh or not."""

    kinds = (MessageType.CLOSE,)


class StallKeepsSequence(PlainModule):
    """Does not use up the sequence of a packet that stopped inside."""

    def on_stalled(self, header: Header) -> None:
        """Do nothing."""


class ClosedByThePast(PlainModule):
    """Obeys a Close of the session before."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        is_past = bool(self.past) and header.nonce == self.past[0].nonce
        if header.type == MessageType.CLOSE and is_past:
            self.end_session()
        super().on_packet(header, payload)


class GrantedByThePast(PlainModule):
    """Takes the limits of a Heartbeat of any session."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type == MessageType.HEARTBEAT and not self.is_of_session(header):
            message = self.decode(header.type, payload)
            self.raise_limits(message)  # type: ignore[arg-type]
        super().on_packet(header, payload)


class ShorterThanAllowed(PlainModule):
    """Rejects a header that announces exactly MAX_CONTROL bytes."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.length < MAX_CONTROL


class LongTilesFromHost(PlainModule):
    """Believes a header of a tile that announces more than MAX_CONTROL."""

    def is_header_sound(self, header: Header) -> bool:
        if header.type == MessageType.TILE:
            header = header._replace(length=0)
        return super().is_header_sound(header)


class OwnMinorOnly(PlainModule):
    """Rejects packets of a newer minor version."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.version & 0xF == 0


class SkipsForeignPayloads(PlainModule):
    """Throws a header of another major version away together with its payload."""

    def is_header_sound(self, header: Header) -> bool:
        if super().is_header_sound(header):
            return True
        is_whole = crc32(self.buffer[: HEADER_BYTES - 4]) == header.header_crc
        if is_whole and header.version >> 4 != VERSION_MAJOR:
            del self.buffer[1 : HEADER_BYTES + header.length]
        return False


class WaitsForForeignPayloads(PlainModule):
    """Waits for the payload of a header of another major version."""

    def is_header_sound(self, header: Header) -> bool:
        is_whole = crc32(self.buffer[: HEADER_BYTES - 4]) == header.header_crc
        return is_whole and header.length <= MAX_CONTROL

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.version >> 4 == VERSION_MAJOR or header.type == MessageType.HELLO:
            super().on_packet(header, payload)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (
        KeepsSequences,
        CountsFromOne,
        OneCountForAllLanes,
        CountsTilesApart,
        StreamInReplies,
        StreamInChanges,
        StreamInRefusals,
        ReservedIsSet,
        RefusalsFromZero,
        UncountedBesideTiles,
        LanesCountOn,
        ReusesHeaders,
        HeartbeatsNameFrames,
        RefusesUnderZero,
    ),
    "M-FRAME-2": (
        ActsOnDamagedHeartbeat,
        TakesDamagedLimits,
        ObeysDamagedStop,
        ActsOnDamagedResend,
        ActsOnDamagedClose,
        ActsOnDamagedHello,
        NoHeaderCrc,
        HeaderCrcOfThreeBytes,
        PayloadCrcOfTwoBytes,
    ),
    "M-FRAME-3": (
        SkipsDamagedPayload,
        SkipsAfterBadHeader,
        RestartsAfterHalfAMagic,
        OnePacketAPiece,
        SearchesTheEnd,
    ),
    "M-FRAME-4": (WaitsHalfASecond, ForgetsStalledBytes, GivesUpEarly, StallsFromTheFirstByte),
    "M-FRAME-5": (
        NoWrap,
        AnyStep,
        DamageKeepsSequence,
        StaleHeartbeats,
        StaleClose,
        StallKeepsSequence,
        ClosedByThePast,
        GrantedByThePast,
    ),
    "M-FRAME-6": (
        ShorterThanAllowed,
        LongTilesFromHost,
        OwnMinorOnly,
        SkipsForeignPayloads,
        WaitsForForeignPayloads,
    ),
    "M-LANE-1": (LanesCountOn,),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-FRAME-1": (DamageIsNotCounted,),
}
"""The defects on the line of the firmware's module, by clause."""
