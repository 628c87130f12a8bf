"""The rows socket's protocol, without the socket: requests in, bytes of rows out.

A request is 32 bytes, little-endian: frame number u32, mode u16, flags u16 (0), exposure in
microseconds u64, gain in milli u32, focus in milli-dioptres i32, two reserved u32 (0). The answer
is the frame's rows, H * W uint16 little-endian, nothing around them. Up to MAX_QUEUED requests
may wait while a frame is on its way.

Rows are computed a band at a time, ahead of what the socket takes; and once two requests were
those of a stream (the same settings, consecutive numbers), the next one's are computed before it
is asked for. Both only up to AHEAD_BYTES.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lenslink.errors import ProtocolError

from .binning import Rows
from .scene import Scene

REQUEST = struct.Struct("<IHHQIiII")
MAX_QUEUED = 4
AHEAD_BYTES = 8 << 20


class Request(NamedTuple):
    """What the firmware asks for: one frame with these settings."""

    frame_number: int
    mode: int
    exposure_us: int
    gain_milli: int
    focus_mdpt: int

    def pack(self) -> bytes:
        """Give the request's 32 bytes."""
        return REQUEST.pack(
            self.frame_number,
            self.mode,
            0,
            self.exposure_us,
            self.gain_milli,
            self.focus_mdpt,
            0,
            0,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """Read 32 bytes; raises ProtocolError when flags or reserved fields are not zero."""
        frame_number, mode, flags, exposure, gain, focus, *reserved = REQUEST.unpack(data)
        if flags or any(reserved):
            raise ProtocolError("rows request: flags and reserved fields must be zero")
        return cls(frame_number, mode, exposure, gain, focus)

    def following(self) -> Request:
        """Give the stream's next request."""
        return self._replace(frame_number=(self.frame_number + 1) & 0xFFFFFFFF)


class _Frame:
    """A frame being computed: its bands that nobody took yet, and those to come."""

    def __init__(self, scene: Scene, request: Request) -> None:
        self.request = request
        self.ready: deque[memoryview] = deque()
        self.ready_bytes = 0
        self.complete = False
        self._bands: Iterator[Rows] = scene.bands(
            request.mode,
            request.frame_number,
            request.exposure_us,
            request.gain_milli,
            request.focus_mdpt,
        )

    def wants_work(self) -> bool:
        return not self.complete and self.ready_bytes < AHEAD_BYTES

    def work(self) -> None:
        band = next(self._bands, None)
        if band is None:
            self.complete = True
            return
        view = band.astype(np.dtype("<u2"), copy=False).data.cast("B")
        self.ready.append(view)
        self.ready_bytes += len(view)

    def taken(self, count: int) -> None:
        self.ready_bytes -= count
        left = self.ready[0][count:]
        if left:
            self.ready[0] = left
        else:
            self.ready.popleft()


class RowService:
    """Answers row requests, one after the other."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._input = b""
        self._queue: deque[Request] = deque()
        self._active: _Frame | None = None
        self._ahead: _Frame | None = None
        self._last: Request | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the firmware.

        :raises ProtocolError: for an unknown mode, a field that is not zero, or one request more
            than may wait. Nothing that follows can be trusted then: close.
        """
        self._input += data
        while len(self._input) >= REQUEST.size:
            request = Request.unpack(self._input[: REQUEST.size])
            self._input = self._input[REQUEST.size :]
            try:
                self._scene.sensor.mode(request.mode)
            except KeyError:
                raise ProtocolError(f"rows request: no mode {request.mode}") from None
            self._queue.append(request)
            self._start_next()
            if len(self._queue) > MAX_QUEUED:
                raise ProtocolError(f"rows request: more than {MAX_QUEUED} wait")

    def output(self) -> memoryview | None:
        """Give the bytes to send next, None when none are ready."""
        return self._active.ready[0] if self._active is not None and self._active.ready else None

    def sent(self, count: int) -> None:
        """Say how many bytes of :meth:`output` are on their way."""
        if self._active is not None:
            self._active.taken(count)
            self._start_next()

    def wants_work(self) -> bool:
        """Say whether :meth:`work` has anything to do."""
        return any(frame is not None and frame.wants_work() for frame in self._frames())

    def work(self) -> None:
        """Compute one band, milliseconds of work."""
        for frame in self._frames():
            if frame is not None and frame.wants_work():
                frame.work()
                self._start_next()
                return

    def expect(self, request: Request) -> None:
        """Compute ahead what will probably be asked for."""
        self._ahead = _Frame(self._scene, request)

    def _frames(self) -> tuple[_Frame | None, _Frame | None]:
        return self._active, self._ahead

    def _start_next(self) -> None:
        active = self._active
        if active is not None and active.complete and not active.ready:
            self._active = None
        if self._active is not None or not self._queue:
            return
        request = self._queue.popleft()
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.request != request:
            ahead = _Frame(self._scene, request)
        self._active = ahead
        if self._last is not None and self._last.following() == request:
            self.expect(request.following())
        self._last = request
