"""One session with one module: the only place where the link meets I/O and the clock.

:class:`lenslink.Device` makes a :class:`Session` for a transport and calls it for each request. The
session gives the time and the received bytes to the link (:mod:`lenslink_protocol.link`), sends the
packets that the link queues, and takes finished frames from the reassembly (:mod:`.receive`).

There is no thread: a call that waits drives the link. A busy thread beside the receiver would cost
the receiver nine tenths of its rate, because of the interpreter lock.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import Capability, CloseReason, DiscardReason, ErrorCode
from lenslink_protocol.link import Link
from lenslink_protocol.manifest import Manifest, parse_manifest
from lenslink_protocol.messages import (
    AnyMessage,
    CalibrationEntry,
    CalibrationPiece,
    Configured,
    Error,
    Event,
    GetCalibration,
    GetManifest,
    HelloReply,
    Malformed,
    ManifestPiece,
    Query,
    QueryReply,
)
from lenslink_protocol.params import MAX_MANIFEST, SILENCE_MS

from .context import run_to_end
from .deadline import Deadline
from .errors import (
    DeviceBusy,
    DeviceError,
    Disconnected,
    ProtocolError,
    Timeout,
    VersionMismatch,
)
from .module_clock import FrameTime, ModuleClock
from .receive.assembly import Assembly
from .receive.frame_pool import Pool
from .receive.reassembly import Reassembly
from .receive.session_reader import SessionReader
from .request_handle import RequestHandle
from .transports.base import (
    ClockedTransport,
    DirectPlacementTransport,
    MultiLaneTransport,
    NarrowTransport,
    Transport,
    WakeableTransport,
)

R = TypeVar("R", bound=AnyMessage)


class Service(Protocol):
    """Something that is looked after while the session waits for the module."""

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable while :meth:`poll` has something to do."""

    @property
    def wait_s(self) -> float:
        """How long the session may wait until the next :meth:`poll`, in seconds."""

    @property
    def has_work(self) -> bool:
        """There is something that needs the session, and that waits until nobody else does."""

    def poll(self) -> None:
        """Do what does not need the session. Never wait."""

    def on_event(self, event: Event) -> None:
        """Learn of an Event of the module."""


_log = logging.getLogger(__name__)

# How long bytes may flow before the link's timers are looked at: a fraction of the shortest timer.
_TURN_S = 0.002
QUICK_HEARTBEATS = 512
"""So many heartbeats of a session come every QUICK_S seconds, for the module's clock. They end
sooner once the clock is known to QUICK_ENOUGH_S."""
QUICK_S = 0.02
QUICK_ENOUGH_S = 0.001
_QUICK_CHECK = 16
# The longest wait is less than half of this. If more time has passed between two turns, this
# process was not running, and the time says nothing about the module.
_AWAY_S = 0.1


class Session:
    """Speak to the module behind *transport*. The session owns the transport.

    Every method that takes a deadline raises :exc:`~lenslink.errors.Disconnected` if the module is
    gone, and :exc:`~lenslink.errors.Timeout` if the deadline passes.
    """

    def __init__(self, transport: Transport, pool: Pool | None = None) -> None:
        self.discards: Counter[DiscardReason] = Counter()
        placed = None
        if pool is None and isinstance(transport, DirectPlacementTransport):
            pool = placed = transport.frame_pool()
        self.pool = Pool() if pool is None else pool
        self.configurations: dict[int, Configured] = {}
        self.frames = Reassembly(self.pool, self.discards, self.configurations.get)
        self.last_request: RequestHandle | None = None
        self._service: Service | None = None
        self._is_woken = False
        """The transport's waits end when the service has something to do."""
        self._clock = ModuleClock()
        # The clock of an emulated chip is its bench's, and a narrow line has no room for more.
        is_quick = not isinstance(transport, (ClockedTransport, NarrowTransport))
        self._quick_left = QUICK_HEARTBEATS if is_quick else 0
        self._next_quick = 0.0
        self._is_receiving = False
        """A receive has begun and not ended. True when a call begins: the last was interrupted."""
        self._transport = transport
        lanes = transport.lanes if isinstance(transport, MultiLaneTransport) else 1
        window = transport.window if isinstance(transport, NarrowTransport) else None
        self.link = Link(secrets.randbits(32), self.frames, self.discards, lanes, window)
        # The link's timers go by the transport's clock. Deadlines of callers go by the wall clock.
        self.now = transport.now if isinstance(transport, ClockedTransport) else time.monotonic
        self._reader = SessionReader(
            transport, self.link, self.frames, placed is not None, self.now
        )

    @property
    def wire_bytes(self) -> int:
        """Bytes received since the session began."""
        return self._reader.wire_bytes

    def serve(self, service: Service) -> None:
        """Look after *service* from now on, whenever the session waits for the module."""
        self._service = service
        if isinstance(self._transport, WakeableTransport):
            self._transport.wake_on(service.descriptor)
            self._is_woken = True
        self.link.on_event = service.on_event

    @property
    def clock(self) -> ModuleClock:
        """The module's clock, as far as the heartbeats of the session tell it."""
        samples = self.link.clock_samples
        while samples:
            self._clock.add(samples.popleft())
        return self._clock

    def find_time(self, assembly: Assembly) -> FrameTime:
        """Return when a frame was exposed. It is estimated once, so that everybody learns the same.

        It is unknown without the frame's FrameStart.
        """
        if assembly.frame_time is None:
            start = assembly.frame_start
            if start is None:
                return FrameTime()
            assembly.frame_time = self.clock.find_frame_time(start.timestamp_us, start.exposure_us)
        return assembly.frame_time

    def say_hello(self, deadline: Deadline) -> HelloReply:
        """Open the session and return the module's answer.

        Raises :exc:`~lenslink.errors.VersionMismatch` if there is no common version, and
        :exc:`~lenslink.errors.DeviceBusy` if another host has opened the module.
        """
        request = self.link.send_hello(self.now())
        self.run_until(
            lambda: request.is_done or self.discards[DiscardReason.VERSION] > 0, deadline
        )
        if not request.is_done:
            raise VersionMismatch("the module speaks another major version of the protocol")
        if isinstance(request.reply, Error) and request.reply.code == ErrorCode.STATE:
            detail = request.reply.detail.decode("utf-8", "replace")
            raise DeviceBusy(f"the module is in use: {detail}", request.reply.code)
        reply = self._check_reply(request.reply, HelloReply)
        self.frames.can_resend = bool(reply.capabilities & Capability.RESEND)
        return reply

    def read_manifest(self, deadline: Deadline) -> Manifest:
        """Return the module's manifest.

        Raises :exc:`~lenslink.errors.ProtocolError` if the manifest is malformed.
        """
        data = b""
        total: int | None = None
        while True:
            piece = self.call(GetManifest(len(data)), ManifestPiece, deadline)
            whole = len(data) + len(piece.piece)
            is_odd = piece.offset != len(data) or total not in (None, piece.total)
            total = piece.total
            if is_odd or not piece.piece or whole > total:
                raise ProtocolError("the module's manifest does not fit together")
            if piece.total > MAX_MANIFEST:
                raise ProtocolError(f"the module's manifest has {piece.total} bytes")
            data += piece.piece
            if whole == piece.total:
                break
        try:
            manifest = parse_manifest(data)
        except Malformed as error:
            raise ProtocolError(f"the module's manifest is malformed: {error}") from None
        self.frames.mode_sizes = {each.id: (each.width, each.height) for each in manifest.modes}
        return manifest

    def read_calibration(self, entry: CalibrationEntry, deadline: Deadline) -> bytes:
        """Return the bytes of a calibration that the manifest lists.

        Raises :exc:`~lenslink.errors.ProtocolError` if they are not those that *entry* states.
        """
        data = bytearray()
        while len(data) < entry.total:
            asked = GetCalibration(entry.kind, len(data))
            piece = self.call(asked, CalibrationPiece, deadline)
            head = piece.kind, piece.offset, piece.total
            is_odd = head != (entry.kind, len(data), entry.total) or not piece.piece
            if is_odd or len(data) + len(piece.piece) > entry.total:
                raise ProtocolError(f"calibration {entry.kind} does not fit together")
            data += piece.piece
        if crc32(data) != entry.crc32:
            raise ProtocolError(f"calibration {entry.kind} is damaged: its CRC is wrong")
        return bytes(data)

    def call(self, message: AnyMessage, reply: type[R], deadline: Deadline) -> R:
        """Send a request and return its answer. Stop repeating all earlier requests.

        Raises :exc:`~lenslink.errors.DeviceError` if the module refuses the request.
        """
        # An earlier request is left only if its caller was interrupted before it could remove it.
        self.link.forget_all_requests()
        request = self.link.send_request(message, self.now())
        handle = RequestHandle(self.link.nonce, request.id, message.TYPE)
        self.last_request = handle
        try:
            self.run_until(lambda: request.is_done, deadline)
        except (Disconnected, Timeout) as error:
            error.request = handle
            raise
        finally:
            self.link.forget_request(request)
        return self._check_reply(request.reply, reply)

    def has_frame(self, stream: int, request_id: int) -> bool:
        """Return True if a frame of a request has arrived and was not taken."""
        return any(
            each.stream == stream
            and each.frame_start is not None
            and each.frame_start.request == request_id
            for each in self.frames.finished_frames
        )

    def take_frame(
        self, stream: int, deadline: Deadline, request_id: int, service: Service | None = None
    ) -> Assembly | None:
        """Wait for the next frame of a request and remove it from the queue.

        Returns None if *service* has work first.

        Drops the frames that earlier requests have left in *stream*. Frames of other streams stay
        in the queue.

        Raises :exc:`~lenslink.errors.ProtocolError` at once if the module describes a frame of the
        request in a way that contradicts its configuration.
        """
        finished = self.frames.finished_frames

        def find() -> Assembly | None:
            for each in [each for each in finished if each.stream == stream]:
                if each.frame_start is not None and each.frame_start.request == request_id:
                    return each
                _log.debug("dropped frame %d: it is not of request %d", each.number, request_id)
                finished.remove(each)
                self.pool.release(each.buffer)
            return None

        try:
            self.run_until(
                lambda: (
                    find() is not None
                    or self.frames.has_rejection(stream, request_id)
                    or (service is not None and service.has_work)
                ),
                deadline,
            )
        except Disconnected:
            # A frame that was finished before the module went is still good.
            if find() is None:
                raise
        assembly = find()
        rejection = None
        if assembly is None:
            rejection = self.frames.take_rejection(stream, request_id)
        if rejection is not None:
            raise ProtocolError(rejection)
        if assembly is not None:
            finished.remove(assembly)
        return assembly

    def read_module_time(self, deadline: Deadline) -> int:
        """Return the module's clock in microseconds, as it was after the call began."""
        # The module answers in order. So the first HeartbeatReply after the answer to a request was
        # sent after the request arrived. An earlier one may have been on its way for long.
        with contextlib.suppress(DeviceError):
            self.call(Query(self.link.nonce, 0), QueryReply, deadline)
        self.link.heartbeat_reply = None
        self.link.send_heartbeat(self.now())
        self.run_until(lambda: self.link.heartbeat_reply is not None, deadline)
        reply = self.link.heartbeat_reply
        assert reply is not None
        return reply.uptime_us

    def run_until(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Send, receive and look after the link's timers until *is_done* returns True."""
        link, service = self.link, self._service
        if self._is_receiving:
            self._resynchronise()
        link.resume(self.now())
        while not is_done():
            now = self.now()
            if now - link.now > _AWAY_S:
                link.resume(now)
            self._poll(now)
            self._send_outgoing(deadline)
            if link.close_message is not None:
                _log.debug("the module ended the session: %s", link.close_message)
                reason = _name_of(CloseReason, link.close_message.reason)
                raise Disconnected(f"the module ended the session ({reason})")
            if link.is_silent(now):
                # After a long absence there may be bytes that were sent in time. Noise does not
                # count as a sign of life.
                self._receive(0.0)
                if link.is_silent(now):
                    _log.debug("nothing was received for %d ms", SILENCE_MS)
                    self._transport.close()
                    raise Disconnected(f"the module gave no sign of life for {SILENCE_MS} ms")
            deadline.check()
            wait, turn = min(link.next_timeout(now), deadline.remaining()), _TURN_S
            if service is not None:
                service.poll()
                if is_done():
                    break
                turn = min(turn, service.wait_s)
                if not self._is_woken:
                    wait = min(wait, service.wait_s)
            # While bytes flow, the timers are looked at once a turn, not at each read.
            while self._receive(wait) and not is_done() and self.now() - now < turn:
                self._send_outgoing(deadline)
                if link.close_message is not None:
                    break

    def _poll(self, now: float) -> None:
        """Look after the link's timers."""
        self._is_receiving = True
        self.link.poll(now)
        self._is_receiving = False
        if self._quick_left and self.link.session is not None and now >= self._next_quick:
            self._send_quick_heartbeat(now)

    def _send_quick_heartbeat(self, now: float) -> None:
        """Send a heartbeat for the clock, unless it is known well enough."""
        self._quick_left -= 1
        self._next_quick = now + QUICK_S
        if self._quick_left % _QUICK_CHECK == 0 and self.clock.error_s < QUICK_ENOUGH_S:
            self._quick_left = 0
            return
        self.link.send_heartbeat(now)

    def _receive(self, seconds: float) -> bool:
        """Wait for bytes and pass them to the link; return True if there were any."""
        self._is_receiving = True
        try:
            has_received = self._reader.receive(seconds)
        except Disconnected:
            # Nothing was interrupted, and frames that are finished are still good.
            self._is_receiving = False
            raise
        self._is_receiving = False
        return has_received

    def _resynchronise(self) -> None:
        """Make the link usable again after a call that was interrupted while it received.

        Bytes may have been taken from the transport and not passed on, and any part of the receive
        path may be in the middle of a change. So the frames and packets under way are dropped, and
        the link searches for the next packet. What was lost is repeated as after damage on the
        line.
        """
        _log.debug("the last call was interrupted while it received: searching for a packet")
        for stream in list(self.configurations):
            self.frames.drop_stream(stream)
        self.link.resynchronise()
        self._reader.restart()
        self._is_receiving = False

    def close(self, deadline: Deadline) -> None:
        """Send Close if the module still listens, and close the transport. Never raises."""
        run_to_end(lambda: self._send_close(deadline), self.drop_frames, self._transport.close)

    def _send_close(self, deadline: Deadline) -> None:
        with contextlib.suppress(Disconnected, Timeout):
            self.link.send_close(CloseReason.ORDERLY)
            self._send_outgoing(deadline)

    def drop_frames(self) -> None:
        """Give up the memory of frames that were not taken. The transport stays open."""
        for stream in list(self.configurations):
            self.frames.drop_stream(stream)
        self.pool.clear()

    def _send_outgoing(self, deadline: Deadline) -> None:
        """Send the packets that the link has queued."""
        outgoing = self.link.outgoing
        while outgoing:
            self._transport.send(outgoing[0], deadline)
            outgoing.popleft()

    def _check_reply(self, reply: AnyMessage | None, kind: type[R]) -> R:
        """Return *reply* if it is a *kind*, else raise the error that it stands for."""
        if isinstance(reply, kind):
            return reply
        if isinstance(reply, Error):
            detail = reply.detail.decode("utf-8", "replace")
            if reply.code == ErrorCode.VERSION:
                raise VersionMismatch(f"the module refused this host's version: {detail}")
            raise DeviceError(f"{_name_of(ErrorCode, reply.code)}: {detail}", reply.code)
        raise ProtocolError(f"the module answered with {reply}")


def _name_of(kind: type[CloseReason] | type[ErrorCode], value: int) -> str:
    try:
        return kind(value).name.lower().replace("_", " ")
    except ValueError:
        return f"code {value}"
