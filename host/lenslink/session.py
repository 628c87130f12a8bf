"""One session with one module: the only place where the link meets I/O and the clock.

There is no thread here: whoever waits for something drives the link. A busy thread beside the
receiver would cost it nine tenths of its rate (the GIL).
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from lenslink_protocol.ids import Capability, CloseReason, DiscardReason, ErrorCode
from lenslink_protocol.link import Link
from lenslink_protocol.manifest import Manifest, parse_manifest
from lenslink_protocol.messages import (
    AnyMessage,
    Configured,
    Error,
    GetManifest,
    HelloReply,
    Malformed,
    ManifestPiece,
)
from lenslink_protocol.params import MAX_MANIFEST, SILENCE_MS

from .deadline import Deadline
from .errors import (
    DeviceError,
    Disconnected,
    ProtocolError,
    Timeout,
    VersionMismatch,
)
from .receive.frame_pool import Pool
from .receive.reader import SessionReader
from .receive.reassembly import Assembly, Reassembly
from .request_handle import RequestHandle
from .transports.base import (
    ClockedTransport,
    DirectPlacementTransport,
    MultiLaneTransport,
    NarrowTransport,
    Transport,
)

R = TypeVar("R", bound=AnyMessage)

# A fraction of the shortest timeout of the link.
_TURN_S = 0.002
# No wait is half as long: whoever comes back so late was not waiting, but not running.
_AWAY_S = 0.1


class Session:
    """Speaks to the module behind *transport*, which it owns from now on.

    Every method raises :exc:`~lenslink.errors.Disconnected` when the module is gone and
    :exc:`~lenslink.errors.Timeout` when its deadline passes.
    """

    def __init__(self, transport: Transport, pool: Pool | None = None) -> None:
        self.discards: Counter[DiscardReason] = Counter()
        placed = None
        if pool is None and isinstance(transport, DirectPlacementTransport):
            pool = placed = transport.frame_pool()
        self.pool = Pool() if pool is None else pool
        self.configurations: dict[int, Configured] = {}
        self.frames = Reassembly(self.pool, self.discards, self.configurations.get)
        self.last: RequestHandle | None = None
        """The last request."""
        self._transport = transport
        lanes = transport.lanes if isinstance(transport, MultiLaneTransport) else 1
        window = transport.window if isinstance(transport, NarrowTransport) else None
        self.link = Link(secrets.randbits(32), self.frames, self.discards, lanes, window)
        # The link's time; how long a caller waits at the most is the world's.
        self.now = transport.now if isinstance(transport, ClockedTransport) else time.monotonic
        self._reader = SessionReader(
            transport, self.link, self.frames, placed is not None, self.now
        )

    @property
    def wire_bytes(self) -> int:
        """Bytes received since the session began."""
        return self._reader.wire_bytes

    def hello(self, deadline: Deadline) -> HelloReply:
        """Open the session; :exc:`~lenslink.errors.VersionMismatch` if there is no common one."""
        request = self.link.hello(self.now())
        self.pump(lambda: request.done or self.discards[DiscardReason.VERSION] > 0, deadline)
        if not request.done:
            raise VersionMismatch("the module speaks another major version of the protocol")
        reply = self._checked(request.reply, HelloReply)
        self.frames.resend = bool(reply.capabilities & Capability.RESEND)
        return reply

    def manifest(self, deadline: Deadline) -> Manifest:
        """Read the manifest; :exc:`~lenslink.errors.ProtocolError` if it is not one."""
        data = b""
        while True:
            piece = self.call(GetManifest(len(data)), ManifestPiece, deadline)
            whole = len(data) + len(piece.piece)
            if piece.offset != len(data) or not piece.piece or whole > piece.total:
                raise ProtocolError("the module's manifest does not fit together")
            if piece.total > MAX_MANIFEST:
                raise ProtocolError(f"the module's manifest has {piece.total} bytes")
            data += piece.piece
            if whole == piece.total:
                break
        try:
            return parse_manifest(data)
        except Malformed as error:
            raise ProtocolError(f"the module's manifest is malformed: {error}") from None

    def call(self, message: AnyMessage, reply: type[R], deadline: Deadline) -> R:
        """Send a request and wait for its answer.

        Raises :exc:`~lenslink.errors.DeviceError` when the module refuses.
        """
        request = self.link.request(message, self.now())
        self.last = RequestHandle(self.link.nonce, request.id, message.TYPE)
        try:
            self.pump(lambda: request.done, deadline)
        except (Disconnected, Timeout) as error:
            error.request = self.last
            raise
        finally:
            self.link.forget(request)
        return self._checked(request.reply, reply)

    def frame(self, stream: int, deadline: Deadline) -> Assembly:
        """The next frame of *stream*; frames of other streams stay queued."""
        finished = self.frames.finished

        def found() -> Assembly | None:
            return next((a for a in finished if a.stream == stream), None)

        try:
            self.pump(lambda: found() is not None, deadline)
        except Disconnected:
            # What was whole before the module went is still good.
            if found() is None:
                raise
        assembly = found()
        if assembly is None:  # pragma: no cover - pump() returns only once there is one
            raise ProtocolError("no frame")
        finished.remove(assembly)
        return assembly

    def pump(self, until: Callable[[], bool], deadline: Deadline) -> None:
        """Drive the link until *until* is true."""
        link = self.link
        link.resume(self.now())
        while not until():
            now = self.now()
            if now - link.now > _AWAY_S:
                link.resume(now)
            link.poll(now)
            self._flush(deadline)
            if link.closed is not None:
                reason = _name(CloseReason, link.closed.reason)
                raise Disconnected(f"the module ended the session ({reason})")
            if link.is_silent(now):
                # Whoever was away for long has to listen before it can tell. Noise is no sign.
                self._reader.receive(0.0)
                if link.is_silent(now):
                    self._transport.close()
                    raise Disconnected(f"the module gave no sign of life for {SILENCE_MS} ms")
            deadline.check()
            wait = min(link.next_timeout(now), deadline.remaining())
            # While bytes flow, time is looked after once a turn, not at each call.
            while self._reader.receive(wait) and not until() and self.now() - now < _TURN_S:
                self._flush(deadline)
                if link.closed is not None:
                    break

    def close(self, deadline: Deadline) -> None:
        """Say goodbye if the module still listens, and let go of it. Never raises."""
        try:
            self.link.close(CloseReason.ORDERLY)
            self._flush(deadline)
        except (Disconnected, Timeout):
            pass
        finally:
            self.release()
            self._transport.close()

    def release(self) -> None:
        """Let go of the memory of frames that nobody has taken; the transport stays."""
        for stream in list(self.configurations):
            self.frames.abandon(stream)
        self.pool.clear()

    def _flush(self, deadline: Deadline) -> None:
        outgoing = self.link.outgoing
        while outgoing:
            self._transport.send(outgoing[0], deadline)
            outgoing.popleft()

    def _checked(self, reply: AnyMessage | None, kind: type[R]) -> R:
        if isinstance(reply, kind):
            return reply
        if isinstance(reply, Error):
            detail = reply.detail.decode("utf-8", "replace")
            if reply.code == ErrorCode.VERSION:
                raise VersionMismatch(f"the module refused this host's version: {detail}")
            raise DeviceError(f"{_name(ErrorCode, reply.code)}: {detail}", reply.code)
        raise ProtocolError(f"the module answered with {reply}")


def _name(kind: type[CloseReason] | type[ErrorCode], value: int) -> str:
    try:
        return kind(value).name.lower().replace("_", " ")
    except ValueError:
        return f"code {value}"
