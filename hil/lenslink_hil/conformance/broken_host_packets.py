"""Hosts that break a clause on packets, and how they are received (SPEC.md, 2)."""

from __future__ import annotations

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import HEADER, MAGIC
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, STALL_MS

from .broken_steps import Overlay
from .defects import Defect, is_sound
from .packets import Packet, Parser, append_header_crc, parse
from .peer_wire import Tamper
from .virtual_host import VirtualHost

_STALL_S = STALL_MS / 1000


class StreamInStop(Defect):
    """Names the stream in the header of StartStream and Stop."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_one = packet.kind in (MessageType.STREAM, MessageType.STOP)
        return [packet.encode(stream=1) if is_one else data]


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


class SkipsASequence(Defect):
    """Skips a sequence when a request is sent for the third time."""

    def __init__(self) -> None:
        self._sent: list[int] = []
        self._skipped = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        if packet.kind == MessageType.GET_MANIFEST:
            self._sent.append(packet.id)
            self._skipped += self._sent.count(packet.id) == 3
        return [packet.encode(sequence=packet.header.sequence + self._skipped)]


class DamageOverwrites(Overlay):
    """Receives a tile in place, and finds only then that its CRC fails."""

    def do_overwrite(self, packet: Packet) -> bool:
        return crc32(packet.payload) != packet.header.payload_crc


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


class HealsResent(HealsTiles):
    """Takes tiles that were sent again though their payload CRC fails."""

    def is_healed(self, packet: Packet) -> bool:
        return super().is_healed(packet) and bool(packet.header.flags & 1)


class _HealsKind(_Heals):
    kind = 0

    def is_healed(self, packet: Packet) -> bool:
        return packet.kind == self.kind


class HealsBusy(_HealsKind):
    """Takes a Busy whose payload CRC fails."""

    kind = MessageType.BUSY


class HealsPending(_HealsKind):
    """Takes a Pending whose payload CRC fails."""

    kind = MessageType.PENDING


class HealsManifests(_HealsKind):
    """Takes pieces of the manifest whose payload CRC fails."""

    kind = MessageType.MANIFEST


class HealsConfigured(_HealsKind):
    """Takes a Configured whose payload CRC fails."""

    kind = MessageType.CONFIGURED


class HealsEnds(_HealsKind):
    """Takes a FrameEnd whose payload CRC fails."""

    kind = MessageType.FRAME_END


class HealsResents(_HealsKind):
    """Takes a Resent whose payload CRC fails."""

    kind = MessageType.RESENT


class SkipsTheFirstByte(Tamper):
    """Goes on with the second byte of a damaged payload."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        is_hidden = data[HEADER_BYTES:].startswith(MAGIC) and not is_sound(data)
        return [data[: HEADER_BYTES - 1] + data[HEADER_BYTES + 1 :]] if is_hidden else [data]


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


class SearchesOnce(Tamper):
    """Searches a damaged payload, but not the damaged payload of a packet in it."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        packet = parse(data)
        if packet is None or crc32(packet.payload) == packet.header.payload_crc:
            return [data]
        found = packet.payload
        return [] if found[:4] == MAGIC and Parser().feed(found, 0.0) == [] else [data]


class EvenPlacesOnly(Tamper):
    """Searches a damaged payload at each fourth byte only."""

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        at = data.find(MAGIC, HEADER_BYTES)
        is_hidden = at > 0 and (at - HEADER_BYTES) % 4 and not is_sound(data)
        return [] if is_hidden else [data]


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


class ImpatientWithLane1(VirtualHost):
    """Counts STALL_MS from the first byte on lane 1."""

    _first = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        if lane:
            self._first = self._first or self.now()
            if self.now() - self._first > _STALL_S:
                return
        super().send(data, lane)


class OneStallTimer(VirtualHost):
    """Counts STALL_MS from the last byte of any lane. A subclass says which lane waits in vain."""

    stalled_lane = 1

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0
        self._is_inside = False

    def send(self, data: bytes, lane: int = 0) -> None:
        has_paused = self.now() - self._last > _STALL_S
        self._last = self.now()
        if lane == self.stalled_lane and self._is_inside and not has_paused:
            return
        if lane == self.stalled_lane:
            self._is_inside = data[:4] == MAGIC and parse(data) is None
        super().send(data, lane)


class OneStallTimerOnLane0(OneStallTimer):
    """Lets bytes of lane 1 postpone the end of a packet that has stopped on lane 0."""

    stalled_lane = 0


class AnySequenceOnLane1(VirtualHost):
    """Judges sequences on lane 0 only."""

    _newest = 0

    def send(self, data: bytes, lane: int = 0) -> None:
        for each in Parser().feed(data, 0.0) if lane else []:
            self._newest = max(self._newest + 1, each.header.sequence & 0xFFFF)
            super().send(each.encode(sequence=self._newest), lane)
        if not lane:
            super().send(data)


class AnyNonceOnLane1(VirtualHost):
    """Looks at the nonce on lane 0 only."""

    def send(self, data: bytes, lane: int = 0) -> None:
        for each in Parser().feed(data, 0.0) if lane else []:
            super().send(each.encode(nonce=self.link.nonce), lane)
        if not lane:
            super().send(data)


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


class AnyMajorOfAnswers(Defect):
    """Takes answers of every major version."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(version=0x10) if packet.kind < 0x40 else data]


class ForgetsUnknownSequences(Defect):
    """Uses up no sequence for a packet whose type it does not know."""

    def __init__(self) -> None:
        self._newest = -1
        self._count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        sequence = packet.header.sequence
        if sequence <= self._newest:
            return []
        if packet.kind < 0xE0:
            self._newest = sequence
        self._count += 1
        return [packet.encode(sequence=self._count, payload_crc=packet.header.payload_crc)]


class GivesUpHalfWay(VirtualHost):
    """Gives up a packet that pauses for 150 ms."""

    _last = 0.0
    _is_inside = False

    def send(self, data: bytes, lane: int = 0) -> None:
        is_late = self.now() - self._last > 0.15
        self._last = self.now()
        if not (self._is_inside and is_late):
            super().send(data, lane)
        self._is_inside = data[:4] == MAGIC and parse(data) is None


class _KeepsHalves(VirtualHost):
    """Never gives up what a packet has begun with. A subclass says up to how many bytes."""

    most = 0
    _half = b""

    def send(self, data: bytes, lane: int = 0) -> None:
        if self._half:
            data, self._half = self._half + data, b""
        begun = len(data) - data.rfind(MAGIC)
        whole = parse(data) is not None
        if not whole and MAGIC in data and begun < self.most:
            data, self._half = data[:-begun], data[-begun:]
        if data:
            super().send(data, lane)


class KeepsHalfAHeader(_KeepsHalves):
    """Waits for the rest of a header for ever."""

    most = HEADER_BYTES


class KeepsHalfAPayload(_KeepsHalves):
    """Waits for the rest of an answer for ever."""

    most = HEADER_BYTES + 22


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-FRAME-1": (StreamInStop, StreamInRequests, RepeatsSequences, SkipsASequence),
    "H-FRAME-2": (
        DamageOverwrites,
        HealsTiles,
        HealsAnswers,
        HealsHeaders,
        HealsResent,
        HealsBusy,
        HealsPending,
        HealsManifests,
        HealsConfigured,
        HealsEnds,
        HealsResents,
    ),
    "H-FRAME-3": (
        SkipsDamagedTiles,
        LosesBehindNoise,
        LosesInsidePayloads,
        SearchesOnce,
        EvenPlacesOnly,
        SkipsTheFirstByte,
    ),
    "H-FRAME-4": (LosesStalledBytes, SwallowsTiles),
    "H-FRAME-5": (
        ComparesPlainly,
        UsesSequencesOfOthers,
        AnyTileSequence,
        AnyTileNonce,
        ForgetsUnknownSequences,
    ),
    "H-FRAME-6": (ShorterThanAllowed, SkipsWholeHeaders, AnyMajorOfAnswers),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-FRAME-4": (
        GivesUpEarly,
        GivesUpFromTheFirstByte,
        ImpatientWithLane1,
        OneStallTimer,
        OneStallTimerOnLane0,
        GivesUpHalfWay,
        KeepsHalfAHeader,
        KeepsHalfAPayload,
    ),
    "H-FRAME-5": (AnySequenceOnLane1, AnyNonceOnLane1),
}
"""The hosts that break a clause by themselves."""
