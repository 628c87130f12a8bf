"""The protocol of a rows socket, without the socket: requests in, bytes of rows out.

A request has 40 bytes, little-endian: frame number u32, mode u16, flags u16, exposure in
microseconds u32, gain in milli u32, focus in milli-dioptres i32, f-number in milli u32, pixel
format u32, the columns and rows of a tile, u16 each, and the crop: x, y, columns and rows, u16
each. The answer is the crop's rows, packed in the pixel format, without a header. Format 0 means
the sensor's 16-bit words. A crop of zeros is the whole mode. Up to MAX_QUEUED requests may wait
while a frame is sent.

Flag 1 asks for CRCs, as a sensor's hardware would compute them. Each tile, in tile-grid order, is
followed by its CRC-32, u32. Flag 2 asks for the time: the rows follow the moment at which the
readout began, u64, in microseconds of the machine's monotonic clock. A sensor may repeat its frames
(``repeat`` n): frame number f is then the scene's frame f modulo n. Such a frame is computed once,
and stored until settings, format or tile change.

Rows are computed in bands, ahead of the socket. After two requests of a stream (equal settings,
consecutive numbers), the next frame is computed before it is requested. Both stay within
AHEAD_BYTES.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lenslink.errors import ProtocolError
from lenslink.receive.unpacking import pack
from lenslink.settings import Settings
from lenslink_protocol.crc import crc32
from lenslink_protocol.packings import Layout, find_layout, is_known

from .binning import Crop, Rows
from .scene import Scene
from .sensor_model import Sensor

_log = logging.getLogger(__name__)

REQUEST = struct.Struct("<IHHIIiIIHHHHHH")
WITH_CRCS = 1
WITH_TIME = 2
_TIME = struct.Struct("<Q")
_KEPT_READOUTS = 64
MAX_QUEUED = 4
AHEAD_BYTES = 8 << 20
STORED_BYTES = 400 << 20
"""Memory for frames that are sent again, for each readout channel: two frames of 100 megapixels."""


_WHOLE = Crop(0, 0, 0, 0)


class Tiles(NamedTuple):
    """The sizes in bytes of a frame and of its tiles."""

    frame: int
    row: int
    """Size of the unit that holds whole tiles only: a row, or the whole frame."""
    tile: int

    def append_crcs(self, data: bytes) -> bytearray:
        """Return the frame *data* with the CRC of each tile behind the tile."""
        view, found = memoryview(data), bytearray()
        for top in range(0, self.frame, self.row):
            for at in range(top, top + self.row, self.tile):
                tile = view[at : min(at + self.tile, top + self.row)]
                found += tile
                found += crc32(tile).to_bytes(4, "little")
        return found


class Request(NamedTuple):
    """The firmware's request for one frame with these settings."""

    frame_number: int
    mode: int
    settings: Settings
    crcs: bool = False
    pixel_format: int = 0
    tile: tuple[int, int] = (0, 0)
    """Columns and rows."""
    time: bool = False
    crop: Crop = _WHOLE

    def pack(self) -> bytes:
        """Return the request's 40 bytes."""
        return REQUEST.pack(
            self.frame_number,
            self.mode,
            (WITH_CRCS if self.crcs else 0) | (WITH_TIME if self.time else 0),
            self.settings.exposure_us or 0,
            self.settings.gain_milli or 0,
            self.settings.focus_mdpt or 0,
            self.settings.aperture_milli or 0,
            self.pixel_format,
            *self.tile,
            *self.crop,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """Return the request in 40 bytes; raise ProtocolError for an unknown flag."""
        number, mode, flags, *applied, code, columns, rows, x, y, width, height = REQUEST.unpack(
            data
        )
        if flags & ~(WITH_CRCS | WITH_TIME):
            raise ProtocolError(f"rows request: flags {flags:#x}")
        settings = Settings.from_applied(*applied)
        crcs, time = bool(flags & WITH_CRCS), bool(flags & WITH_TIME)
        crop = Crop(x, y, width, height)
        return cls(number, mode, settings, crcs, code, (columns, rows), time, crop)

    def check(self, sensor: Sensor) -> Request:
        """Return the request, with no crop if that is the whole mode.

        Raises:
            ProtocolError: *sensor* does not have the mode, crop, format or tile.
        """
        try:
            mode = sensor.mode(self.mode)
        except KeyError:
            raise ProtocolError(f"rows request: no mode {self.mode}") from None
        crop = self.crop
        if crop == (0, 0, mode.width, mode.height):
            crop = _WHOLE
        elif crop != _WHOLE:
            is_inside = crop.x + crop.width <= mode.width and crop.y + crop.height <= mode.height
            if not crop.width or not crop.height or not is_inside or any(n % 2 for n in crop):
                raise ProtocolError(f"rows request: no crop {tuple(crop)} of mode {self.mode}")
        if self.pixel_format:
            fits = (
                is_known(self.pixel_format) and find_layout(self.pixel_format).bits >= sensor.bits
            )
            if not fits:
                raise ProtocolError(f"rows request: no pixel format {self.pixel_format:#x}")
        if self.crcs:
            columns, rows = self.tile
            form = self.get_layout(sensor)
            width = crop.width or mode.width
            whole = columns == width or rows == 1
            if not columns or not rows or not whole or not form.is_aligned(0, columns, width):
                raise ProtocolError(f"rows request: no tiles of {columns} x {rows} pixels")
        return self._replace(crop=crop)

    def get_layout(self, sensor: Sensor) -> Layout:
        """Return how the pixels are packed."""
        return find_layout(self.pixel_format or sensor.formats[0])

    def get_tiles(self, sensor: Sensor) -> Tiles:
        """Return how the frame is cut into tiles."""
        mode, form = sensor.mode(self.mode), self.get_layout(sensor)
        columns, rows = self.tile
        width = self.crop.width or mode.width
        stride = form.count_bytes(width)
        frame = stride * (self.crop.height or mode.height)
        if columns < width:
            return Tiles(frame, stride, form.count_bytes(columns))
        return Tiles(frame, frame, rows * stride)

    def make_next(self) -> Request:
        """Return the stream's next request."""
        return self._replace(frame_number=(self.frame_number + 1) & 0xFFFFFFFF)


class _Frame:
    """A frame that is being computed: its bytes that were not taken yet, and its next bands.

    Args:
        number: number of the scene's frame.
        stored: the whole frame with its CRCs, if it was computed before.

    Attributes:
        whole: the whole frame with its CRCs, when it is complete; else None.
    """

    def __init__(
        self, scene: Scene, request: Request, number: int, stored: memoryview | None = None
    ) -> None:
        self.request = request
        self.number = number
        self.ready: deque[memoryview] = deque()
        self.ready_bytes = 0
        self.is_complete = stored is not None
        self.whole = stored
        self._layout = request.get_layout(scene.sensor)
        self._tiles = request.get_tiles(scene.sensor)
        self._has_spoiled_crc = False
        self._parts: list[memoryview] = []
        crop = None if request.crop == _WHOLE else request.crop
        self._bands: Iterator[Rows] = scene.iterate_bands(
            request.mode, number, request.settings, crop
        )
        if stored is not None:
            self._append_ready(stored)

    def has_work(self) -> bool:
        return not self.is_complete and self.ready_bytes < AHEAD_BYTES

    def work(self) -> None:
        band = next(self._bands, None)
        if band is None:
            self.is_complete = True
            if self.request.crcs:
                self.whole = memoryview(self._tiles.append_crcs(b"".join(self._parts)))
                self._parts.clear()
                self._append_ready(self.whole)
                if self._has_spoiled_crc:
                    self.spoil()
            return
        if not len(band):
            return  # the scene pauses, so that the caller can serve its sockets
        view = pack(band, self._layout).data.cast("B")
        if self.request.crcs:
            # A tile may start in one band and end in another.
            self._parts.append(view)
        else:
            self._append_ready(view)

    def spoil(self) -> None:
        """Make the first tile's CRC wrong. Call it before the first :meth:`take`."""
        self._has_spoiled_crc = True
        if self.whole is not None:
            wrong = bytearray(self.whole)
            wrong[min(self._tiles.tile, self._tiles.row)] ^= 0xFF
            self.ready[0] = memoryview(wrong)

    def put_time(self, now_us: int) -> None:
        """Send the time before the rows. Call it before the first :meth:`take`."""
        view = memoryview(_TIME.pack(now_us))
        self.ready.appendleft(view)
        self.ready_bytes += len(view)

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

    Args:
        scene: the source of the frames.
        repeat: number of frames that are computed once and repeated; 0 computes every frame.
        find_focus: where the lens really is, in milli-dioptres. A scene behind the lens shows that,
            and not what the request says. None believes the request.
        read_clock: the time in microseconds.
    """

    def __init__(
        self,
        scene: Scene,
        repeat: int = 0,
        find_focus: Callable[[], float] | None = None,
        read_clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.readouts: deque[tuple[int, int]] = deque(maxlen=_KEPT_READOUTS)
        """The number of each of the last frames, and when its readout began."""
        self._read_clock = read_clock
        self._scene = scene
        self._repeat = repeat
        self._find_focus = find_focus if scene.is_behind_lens else None
        self._stored_frames: dict[Request, memoryview] = {}
        self._spoil_count = 0
        self._input = b""
        self._queue: deque[Request] = deque()
        self._active: _Frame | None = None
        self._ahead: _Frame | None = None
        self._last: Request | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the firmware.

        Raises:
            ProtocolError: the mode, crop, format or tile is unknown, or too many requests wait. The
                caller must close the socket, because the next bytes cannot be trusted.
        """
        self._input += data
        while len(self._input) >= REQUEST.size:
            request = Request.unpack(self._input[: REQUEST.size])
            self._input = self._input[REQUEST.size :]
            request = request.check(self._scene.sensor)
            if self._find_focus is not None:
                focus = max(0, round(self._find_focus()))
                request = request._replace(settings=replace(request.settings, focus_mdpt=focus))
            self._queue.append(request)
            _log.debug("requested: %s", request)
            self._start_next()
            if len(self._queue) > MAX_QUEUED:
                raise ProtocolError(f"rows request: more than {MAX_QUEUED} wait")

    def get_output(self) -> memoryview | None:
        """Return the bytes to send next, or None."""
        return self._active.ready[0] if self._active is not None and self._active.ready else None

    def mark_sent(self, count: int) -> None:
        """Mark *count* bytes of :meth:`get_output` as sent."""
        if self._active is not None:
            self._active.take(count)
            self._start_next()

    def has_work(self) -> bool:
        """Return True if :meth:`work` has something to do."""
        return any(frame is not None and frame.has_work() for frame in self._list_frames())

    def work(self) -> None:
        """Compute one band, which takes milliseconds."""
        for frame in self._list_frames():
            if frame is not None and frame.has_work():
                frame.work()
                if frame.is_complete:
                    self._store(frame)
                self._start_next()
                return

    def prefetch(self, request: Request) -> None:
        """Compute the frame of *request* ahead, because it will probably be requested."""
        self._ahead = self._make_frame(request)

    def spoil_crcs(self, frames: int) -> None:
        """Make the first CRC of each of the next *frames* wrong."""
        self._spoil_count = frames

    def _make_frame(self, request: Request) -> _Frame:
        """Return the requested frame: a stored one, or one to be computed."""
        if not self._repeat or not request.crcs:
            return _Frame(self._scene, request, request.frame_number)
        size = request.get_tiles(self._scene.sensor).frame
        number = request.frame_number % max(1, min(self._repeat, STORED_BYTES // size))
        stored = self._stored_frames.get(request._replace(frame_number=number))
        return _Frame(self._scene, request, number, stored)

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
        if active is not None and active.is_complete and not active.ready:
            _log.debug("frame %d is sent", active.request.frame_number)
            self._active = None
        if self._active is not None or not self._queue:
            return
        request = self._queue.popleft()
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.request != request:
            ahead = self._make_frame(request)
        else:
            _log.debug("frame %d was computed ahead", request.frame_number)
        if self._spoil_count and request.crcs:
            self._spoil_count -= 1
            ahead.spoil()
        now_us = self._read_clock()
        self.readouts.append((request.frame_number, now_us))
        if request.time:
            ahead.put_time(now_us)
        self._active = ahead
        if self._last is not None and self._last.make_next() == request:
            self.prefetch(request.make_next())
        self._last = request
