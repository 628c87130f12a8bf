"""Hosts that break a clause on heartbeats and Busy (SPEC.md, 3.4)."""

from __future__ import annotations

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    Busy,
    Pending,
)
from lenslink_protocol.params import (
    FRAME_STALE_MS,
    MAX_BUSY_MS,
    SILENCE_MS,
)

from .broken_steps import FirstOnly
from .defects import Defect, edit_message
from .packets import (
    Packet,
    Parser,
    parse,
)
from .peer_wire import Tamper
from .virtual_host import VirtualHost

_SILENCE_S = SILENCE_MS / 1000


class NoBeatsInAPreview(Defect):
    """Sends no Heartbeat once a preview runs."""

    def __init__(self) -> None:
        self._is_running = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._is_running = self._is_running or packet.kind == MessageType.STREAM
        return [] if self._is_running and packet.kind == MessageType.HEARTBEAT else [data]


class StopsAfterFewBeats(Defect):
    """Sends three Heartbeats, and none while it waits."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count > 3 else [data]


class SlowBeats(Defect):
    """Sends every twelfth Heartbeat."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        return [] if packet.kind == MessageType.HEARTBEAT and self._count % 12 else [data]


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


class _SomeAreNoLife(VirtualHost):
    """Counts silence through packets of a kind. A subclass says which."""

    _last_counted = 0.0

    def counts(self, packet: Packet) -> bool:
        """Return True for a packet that this host takes for a sign of life."""
        raise NotImplementedError

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        if packet is None or self.counts(packet):
            self._last_counted = self.now()
        super().send(data, lane)

    def is_gone(self) -> bool:
        since = max(self._last_counted, self.link._liveness.busy_until)
        return super().is_gone() or self.now() - since > _SILENCE_S


class DamagedIsNoLife(_SomeAreNoLife):
    """Counts silence through packets whose payload is damaged."""

    def counts(self, packet: Packet) -> bool:
        return crc32(packet.payload) == packet.header.payload_crc


class OldIsNoLife(_SomeAreNoLife):
    """Counts silence through packets that are not fresh."""

    _newest = -1

    def counts(self, packet: Packet) -> bool:
        is_fresh = packet.header.nonce == self.link.nonce and packet.header.sequence > self._newest
        if is_fresh:
            self._newest = packet.header.sequence
        return is_fresh


class OtherSessionIsNoLife(_SomeAreNoLife):
    """Counts silence through packets of another session."""

    def counts(self, packet: Packet) -> bool:
        return packet.header.nonce == self.link.nonce


class UnknownIsNoLife(_SomeAreNoLife):
    """Counts silence through packets that it cannot decode."""

    def counts(self, packet: Packet) -> bool:
        return packet.kind in BY_TYPE and bool(packet.payload)


class PacketsEndTheLease(VirtualHost):
    """Takes any packet for the end of a lease."""

    def send(self, data: bytes, lane: int = 0) -> None:
        super().send(data, lane)
        packet = parse(data)
        if packet is not None and packet.kind != MessageType.BUSY:
            liveness = self.link._liveness
            liveness.busy_until = min(liveness.busy_until, self.now())


class CountsSilenceThroughLeases(VirtualHost):
    """Counts the silence during a lease, once the lease is over."""

    def is_gone(self) -> bool:
        liveness = self.link._liveness
        now = self.now()
        return now > liveness.busy_until and now - liveness.last_sign > _SILENCE_S


class FirstBusyOnly(FirstOnly):
    """Knows the first Busy of a session, and ignores later ones."""

    kind = MessageType.BUSY


class CutsBusyLease(Defect):
    """Takes a lease of BUSY for 300 ms."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, lease_ms=300) if packet.kind == MessageType.BUSY else data]


class LongBusyIsNone(Defect):
    """Ignores a Busy with a lease of more than MAX_BUSY_MS."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.BUSY else None
        is_long = isinstance(message, Busy) and message.lease_ms > MAX_BUSY_MS
        return [] if is_long else [data]


class PendingIsBusy(Defect):
    """Takes Pending for a lease of silence."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.PENDING else None
        if not isinstance(message, Pending):
            return [data]
        busy = Busy(0, message.lease_ms).encode()
        return [packet.encode(type=MessageType.BUSY, frame=0, payload=busy)]


class NoBeatsAtStop(Defect):
    """Sends no Heartbeat while Stop waits."""

    _has_stopped = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_stopped = self._has_stopped or packet.kind == MessageType.STOP
        return [] if self._has_stopped and packet.kind == MessageType.HEARTBEAT else [data]


class _PatientBehind(VirtualHost):
    """Waits for a silent module as long as it takes once a packet of some type has passed."""

    kind = 0

    def is_gone(self) -> bool:
        return super().is_gone() and not self._has_passed

    def __init__(self) -> None:
        super().__init__()
        self._has_passed = False

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        self._has_passed = self._has_passed or (packet is not None and packet.kind == self.kind)
        super().send(data, lane)

    def receive(self, seconds: float) -> bytes:
        data = super().receive(seconds)
        found = Parser().feed(data, 0.0)
        self._has_passed = self._has_passed or any(p.kind == self.kind for p in found)
        return data


class PatientAtStop(_PatientBehind):
    """Waits for the answer to Stop as long as it takes."""

    kind = MessageType.STOP


class PatientAtFirst(_PatientBehind):
    """Waits for the manifest as long as it takes."""

    kind = MessageType.GET_MANIFEST


class DropsFramesWhenBusy(VirtualHost):
    """Counts FRAME_STALE_MS also while the module is BUSY."""

    def send(self, data: bytes, lane: int = 0) -> None:
        packet = parse(data)
        if packet is not None and packet.kind == MessageType.BUSY:
            self._busy = self.now()
        is_stale = self._busy and self.now() - self._busy > FRAME_STALE_MS / 1000
        if not (is_stale and packet is not None and packet.kind == MessageType.TILE):
            super().send(data, lane)

    _busy = 0.0


class EverySixthBeat(Defect):
    """Sends a Heartbeat each 0.6 s."""

    def __init__(self) -> None:
        self._count = -1
        self._dropped = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.HEARTBEAT
        if packet.kind == MessageType.HEARTBEAT and self._count % 6:
            self._dropped += 1
            return []
        return [packet.encode(sequence=packet.header.sequence - self._dropped)]


class PatientForTwoSeconds(VirtualHost):
    """Takes the module for gone after 2 s."""

    def is_gone(self) -> bool:
        liveness = self.link._liveness
        return self.now() - max(liveness.last_sign, liveness.busy_until) > 2.0


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-LIVE-1": (
        NoBeatsInAPreview,
        StopsAfterFewBeats,
        SlowBeats,
        NoBeatsAtStop,
        EverySixthBeat,
    ),
    "H-LIVE-3": (FirstBusyOnly, CutsBusyLease, LongBusyIsNone),
    "H-LIVE-2": (PendingIsBusy,),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-LIVE-2": (
        ImpatientWithSilence,
        NoiseIsLife,
        NeverGoneOnceBusy,
        WholePacketsAreLife,
        DamagedIsNoLife,
        OldIsNoLife,
        OtherSessionIsNoLife,
        UnknownIsNoLife,
        PatientAtStop,
        PatientAtFirst,
        PatientForTwoSeconds,
    ),
    "H-LIVE-3": (
        CountsSilenceThroughLeases,
        PacketsEndTheLease,
        DropsFramesWhenBusy,
    ),
}
"""The hosts that break a clause by themselves."""
