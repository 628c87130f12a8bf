"""Hosts that break a clause on heartbeats and Busy (SPEC.md, 3.4)."""

from __future__ import annotations

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import BY_TYPE, Busy
from lenslink_protocol.params import MAX_BUSY_MS, SILENCE_MS

from .broken_steps import FirstOnly
from .defects import Defect, edit_message
from .packets import Packet, parse
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


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-LIVE-1": (NoBeatsInAPreview, StopsAfterFewBeats, SlowBeats),
    "H-LIVE-3": (FirstBusyOnly, CutsBusyLease, LongBusyIsNone),
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
        UnknownIsNoLife,
    ),
    "H-LIVE-3": (CountsSilenceThroughLeases, PacketsEndTheLease),
}
"""The hosts that break a clause by themselves."""
