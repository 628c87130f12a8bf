"""The rows socket's protocol, without the socket: requests in, bytes of rows out.

A request is 32 bytes, little-endian: frame number u32, mode u16, flags u16 (0), exposure in
microseconds u64, gain in milli u32, focus in milli-dioptres i32, pixel format u32, and the columns
and rows of a tile, u16 each. The answer is the frame's rows, packed as the format says, nothing
around them; format 0 is the sensor's 16-bit words. Up to MAX_QUEUED requests may wait while a frame
is on its way.

Flag 1 asks for CRCs, as a sensor's hardware would compute them: behind the bytes of each tile, in
raster order, comes their CRC-32, u32. Of a sensor whose frames are repeated (``repeat`` n), frame
number f is the scene's frame f modulo n, computed once, and kept as long as settings, format and
tile stay: then nothing but the sending is left to do.

Rows are computed a band at a time, ahead of what the socket takes; and once two requests were
those of a stream (the same settings, consecutive numbers), the next one's are computed before it
is asked for. Both only up to AHEAD_BYTES.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from lenslink.errors import ProtocolError
from lenslink.receive.unpacking import pack
from lenslink.settings import Settings
from lenslink_protocol.crc import crc32
from lenslink_protocol.packings import Layout, is_known, layout

from .binning import Rows
from .scene import Scene
from .sensor_model import Sensor

REQUEST = struct.Struct("<IHHQIiIHH")
WITH_CRCS = 1
MAX_QUEUED = 4
AHEAD_BYTES = 8 << 20
KEPT_BYTES = 400 << 20
"""Of frames that are repeated, on each channel: two of 100 megapixels as 16-bit words."""


class Tiles(NamedTuple):
    """A frame's bytes, and where it is cut into tiles."""

    frame: int
    row: int
    """Bytes that no tile goes beyond: a row's, or the frame's."""
    tile: int

    def append_crcs(self, data: bytes) -> bytearray:
        """The frame with the CRC of each tile behind it."""
        view, found = memoryview(data), bytearray()
        for top in range(0, self.frame, self.row):
            for at in range(top, top + self.row, self.tile):
                tile = view[at : min(at + self.tile, top + self.row)]
                found += tile
                found += crc32(tile).to_bytes(4, "little")
        return found


class Request(NamedTuple):
    """What the firmware asks for: one frame with these settings."""

    frame_number: int
    mode: int
    settings: Settings
    crcs: bool = False
    pixel_format: int = 0
    tile: tuple[int, int] = (0, 0)
    """Columns and rows."""

    def pack(self) -> bytes:
        """Give the request's 32 bytes."""
        return REQUEST.pack(
            self.frame_number,
            self.mode,
            WITH_CRCS if self.crcs else 0,
            *self.settings.to_wire(),
            self.pixel_format,
            *self.tile,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """Read 32 bytes; raises ProtocolError for flags that there are not."""
        number, mode, flags, exposure, gain, focus, code, columns, rows = REQUEST.unpack(data)
        if flags & ~WITH_CRCS:
            raise ProtocolError(f"rows request: flags {flags:#x}")
        settings = Settings.from_wire(exposure, gain, focus)
        return cls(number, mode, settings, bool(flags), code, (columns, rows))

    def check(self, sensor: Sensor) -> None:
        """Raise ProtocolError for what the sensor does not have."""
        try:
            mode = sensor.mode(self.mode)
        except KeyError:
            raise ProtocolError(f"rows request: no mode {self.mode}") from None
        if self.pixel_format:
            fits = is_known(self.pixel_format) and layout(self.pixel_format).bits >= sensor.bits
            if not fits:
                raise ProtocolError(f"rows request: no pixel format {self.pixel_format:#x}")
        if self.crcs:
            columns, rows = self.tile
            form = self.get_layout(sensor)
            whole = columns == mode.width or rows == 1
            if not columns or not rows or not whole or not form.fits(0, columns, mode.width):
                raise ProtocolError(f"rows request: no tiles of {columns} x {rows} pixels")

    def get_layout(self, sensor: Sensor) -> Layout:
        """How its pixels lie in bytes."""
        return layout(self.pixel_format or sensor.formats[0])

    def get_tiles(self, sensor: Sensor) -> Tiles:
        """How the frame is cut."""
        mode, form = sensor.mode(self.mode), self.get_layout(sensor)
        columns, rows = self.tile
        stride = form.bytes_of(mode.width)
        frame = stride * mode.height
        if columns < mode.width:
            return Tiles(frame, stride, form.bytes_of(columns))
        return Tiles(frame, frame, rows * stride)

    def make_next(self) -> Request:
        """Give the stream's next request."""
        return self._replace(frame_number=(self.frame_number + 1) & 0xFFFFFFFF)


class _Frame:
    """A frame being computed: what of it nobody took yet, and its bands to come.

    :param number: of the scene's frame.
    :param kept: all of it with its CRCs, if it was computed before.
    :ivar whole: that, once it is complete and has CRCs.
    """

    def __init__(
        self, scene: Scene, request: Request, number: int, kept: memoryview | None = None
    ) -> None:
        self.request = request
        self.number = number
        self.ready: deque[memoryview] = deque()
        self.ready_bytes = 0
        self.complete = kept is not None
        self.whole = kept
        self._layout = request.get_layout(scene.sensor)
        self._tiles = request.get_tiles(scene.sensor)
        self._has_spoiled_crc = False
        self._parts: list[memoryview] = []
        self._bands: Iterator[Rows] = scene.iterate_bands(request.mode, number, request.settings)
        if kept is not None:
            self._append_ready(kept)

    def has_work(self) -> bool:
        return not self.complete and self.ready_bytes < AHEAD_BYTES

    def work(self) -> None:
        band = next(self._bands, None)
        if band is None:
            self.complete = True
            if self.request.crcs:
                self.whole = memoryview(self._tiles.append_crcs(b"".join(self._parts)))
                self._parts.clear()
                self._append_ready(self.whole)
                if self._has_spoiled_crc:
                    self.spoil()
            return
        view = pack(band, self._layout).data.cast("B")
        if self.request.crcs:
            # A tile may begin in one band and end in another.
            self._parts.append(view)
        else:
            self._append_ready(view)

    def spoil(self) -> None:
        """Make the first tile's CRC wrong; before any of it is taken."""
        self._has_spoiled_crc = True
        if self.whole is not None:
            wrong = bytearray(self.whole)
            wrong[min(self._tiles.tile, self._tiles.row)] ^= 0xFF
            self.ready[0] = memoryview(wrong)

    def take(self, count: int) -> None:
        self.ready_bytes -= count
        left = self.ready[0][count:]
        if left:
            self.ready[0] = left
        else:
            self.ready.popleft()

    def _append_ready(self, view: memoryview) -> None:
        self.ready.append(view)
        self.ready_bytes += len(view)


class RowService:
    """Answers row requests, one after the other.

    :param repeat: frames that are computed once and sent again and again; 0 computes each anew.
    """

    def __init__(self, scene: Scene, repeat: int = 0) -> None:
        self._scene = scene
        self._repeat = repeat
        self._stored_frames: dict[Request, memoryview] = {}
        self._spoil_count = 0
        self._input = b""
        self._queue: deque[Request] = deque()
        self._active: _Frame | None = None
        self._ahead: _Frame | None = None
        self._last: Request | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the firmware.

        :raises ProtocolError: for a mode, format or tile that there is not, or one request more
            than may wait. Nothing that follows can be trusted then: close.
        """
        self._input += data
        while len(self._input) >= REQUEST.size:
            request = Request.unpack(self._input[: REQUEST.size])
            self._input = self._input[REQUEST.size :]
            request.check(self._scene.sensor)
            self._queue.append(request)
            self._start_next()
            if len(self._queue) > MAX_QUEUED:
                raise ProtocolError(f"rows request: more than {MAX_QUEUED} wait")

    def get_output(self) -> memoryview | None:
        """Give the bytes to send next, None when none are ready."""
        return self._active.ready[0] if self._active is not None and self._active.ready else None

    def mark_sent(self, count: int) -> None:
        """Say how many bytes of :meth:`get_output` are on their way."""
        if self._active is not None:
            self._active.take(count)
            self._start_next()

    def has_work(self) -> bool:
        """Say whether :meth:`work` has anything to do."""
        return any(frame is not None and frame.has_work() for frame in self._list_frames())

    def work(self) -> None:
        """Compute one band, milliseconds of work."""
        for frame in self._list_frames():
            if frame is not None and frame.has_work():
                frame.work()
                if frame.complete:
                    self._store(frame)
                self._start_next()
                return

    def prefetch(self, request: Request) -> None:
        """Compute ahead what will probably be asked for."""
        self._ahead = self._make_frame(request)

    def spoil_crcs(self, frames: int) -> None:
        """Give the first tile of the next *frames* that are begun a CRC that is not its own."""
        self._spoil_count = frames

    def _make_frame(self, request: Request) -> _Frame:
        """The frame asked for: to be computed, or one of those that are repeated."""
        if not self._repeat or not request.crcs:
            return _Frame(self._scene, request, request.frame_number)
        size = request.get_tiles(self._scene.sensor).frame
        number = request.frame_number % max(1, min(self._repeat, KEPT_BYTES // size))
        kept = self._stored_frames.get(request._replace(frame_number=number))
        return _Frame(self._scene, request, number, kept)

    def _store(self, frame: _Frame) -> None:
        if not self._repeat or frame.whole is None:
            return
        key = frame.request._replace(frame_number=frame.number)
        if any(each._replace(frame_number=frame.number) != key for each in self._stored_frames):
            self._stored_frames.clear()
        self._stored_frames[key] = frame.whole

    def _list_frames(self) -> tuple[_Frame | None, _Frame | None]:
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
            ahead = self._make_frame(request)
        if self._spoil_count and request.crcs:
            self._spoil_count -= 1
            ahead.spoil()
        self._active = ahead
        if self._last is not None and self._last.make_next() == request:
            self.prefetch(request.make_next())
        self._last = request
