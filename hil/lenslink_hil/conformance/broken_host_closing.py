"""Hosts that break a clause on Close, and what is left of a session (SPEC.md, 3.2)."""

from __future__ import annotations

from lenslink_protocol.ids import CloseReason, MessageType
from lenslink_protocol.messages import (
    Capture,
    Close,
    Configure,
    Error,
    GetManifest,
    Heartbeat,
    Stop,
)

from .broken_steps import STILL
from .defects import Defect
from .module_peer import HostResult
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import Steps, VirtualHost


class LeavesSilently(Defect):
    """Sends Close only if it has a whole frame."""

    def __init__(self) -> None:
        self._has_failed = False

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._has_failed = self._has_failed or packet.kind == MessageType.ERROR
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if self._has_failed and packet.kind == MessageType.CLOSE else [data]


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


class KnownReasonsOnly(Defect):
    """Ignores a Close whose reason it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CLOSE else None
        is_new = isinstance(message, Close) and message.reason not in set(CloseReason)
        return [] if is_new else [data]


class KnownSizesOnly(Defect):
    """Ignores a Close with appended fields."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_grown = packet.kind == MessageType.CLOSE and len(packet.payload) > Close.FIXED.size
        return [] if is_grown else [data]


class _GoesWithoutClose(Defect):
    """Sends no Close once a request of some types is refused."""

    kinds: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._is_refused = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in self.kinds:
            self._ids.add(packet.id)
        return [] if self._is_refused and packet.kind == MessageType.CLOSE else [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_error = packet.kind == MessageType.ERROR and packet.id in self._ids
        self._is_refused = self._is_refused or is_error
        return [data]


class LeavesWhenStopIsRefused(_GoesWithoutClose):
    """Goes without Close if its Stop is refused."""

    kinds = (MessageType.STOP, MessageType.FLUSH)


class LeavesWhenConfigureIsRefused(_GoesWithoutClose):
    """Goes without Close if its Configure is refused."""

    kinds = (MessageType.CONFIGURE,)


class LeavesWithoutManifest(_GoesWithoutClose):
    """Goes without Close if its GetManifest is refused."""

    kinds = (MessageType.GET_MANIFEST,)


class LeavesAStillWithoutClose(VirtualHost):
    """Stops the stream behind its still. If that is refused, it goes without Close."""

    def _takes_a_still(self) -> Steps:
        manifest = yield from self._open_and_configure(STILL)
        yield from self._call(Capture(STILL, 1, self.settings(manifest)), None)
        yield from self._until(lambda: bool(self.frames.finished_frames))
        pixels = self.frames.finished_frames.popleft().unpack_pixels().tobytes()
        stop = self.link.send_request(Stop(STILL), self.now())
        yield from self._until(lambda: stop.is_done)
        result = HostResult(True, pixels)
        if isinstance(stop.reply, Error):
            self._outcome = result
        else:
            self._close_session(result)


class _IgnoresCloseSometimes(Defect):
    """Ignores a Close in some state. A subclass says in which."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        """The types of packets that have passed."""

    def is_deaf(self) -> bool:
        """Return True if a Close is ignored now."""
        raise NotImplementedError

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self.seen.add(packet.kind)
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self.seen.add(packet.kind)
        return [] if packet.kind == MessageType.CLOSE and self.is_deaf() else [data]


class StopsAClosedPreview(_IgnoresCloseSometimes):
    """Ends a preview with Stop, also when the module has closed the session."""

    def is_deaf(self) -> bool:
        return MessageType.STREAM in self.seen


class DeafWhilePending(_IgnoresCloseSometimes):
    """Ignores a Close while a request is pending."""

    def is_deaf(self) -> bool:
        return MessageType.PENDING in self.seen


class DeafWhileBusy(_IgnoresCloseSometimes):
    """Ignores a Close while the module is BUSY."""

    def is_deaf(self) -> bool:
        return MessageType.BUSY in self.seen


class DeafAtFirst(_IgnoresCloseSometimes):
    """Ignores a Close before it has the manifest."""

    def is_deaf(self) -> bool:
        return MessageType.MANIFEST not in self.seen


LINES: dict[str, tuple[type[Tamper], ...]] = {
    "H-CLOSE-1": (
        LeavesSilently,
        ClosesAnotherSession,
        ClosesAsHeartbeat,
        LeavesWhenStopIsRefused,
        LeavesWhenConfigureIsRefused,
        LeavesWithoutManifest,
    ),
    "H-CLOSE-2": (
        KeepsAsking,
        ConfiguresAfterClose,
        KnownReasonsOnly,
        KnownSizesOnly,
        StopsAClosedPreview,
        DeafWhilePending,
        DeafWhileBusy,
        DeafAtFirst,
    ),
}
"""The defects on the line of the driver, by clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-CLOSE-1": (LeavesAStillWithoutClose,),
}
"""The hosts that break a clause by themselves."""
