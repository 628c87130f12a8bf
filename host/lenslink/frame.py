"""A frame as the driver hands it out: RAW pixels, the settings applied, and calibration data.

:class:`lenslink.Device` returns frames. :mod:`.frame_builder` makes them, and :mod:`.image_files`
writes them to files.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import FrameFlag
from lenslink_protocol.manifest import Mode
from lenslink_protocol.messages import FrameStart, OpticsEntry
from lenslink_protocol.packings import Layout

from .context import ReleasesOnExit
from .errors import UsageError
from .module_clock import FrameTime
from .receive.unpacking import unpack


class FrameStatus(enum.Enum):
    """Say whether every byte of a frame arrived and passed its CRC.

    >>> lenslink.FrameStatus.COMPLETE.value
    'complete'
    """

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class ColorCalibration:
    """Describe the sensor's colours for a RAW converter.

    Numbers are (numerator, denominator) pairs, so that a camera's file comes back bit for bit.

    >>> colors = lenslink.ColorCalibration(matrix=((1, 1),) * 9, neutral=((1, 2), (1, 1), (2, 3)))
    >>> colors.illuminant
    21
    """

    matrix: tuple[tuple[int, int], ...]
    """DNG ColorMatrix1: nine pairs, row by row, from CIE XYZ to the sensor's R, G, B."""
    neutral: tuple[tuple[int, int], ...]
    """DNG AsShotNeutral: three pairs, the sensor's answer to a white surface."""
    illuminant: int = 21
    """The light that ``matrix`` is for, as an EXIF LightSource code; 21 is D65."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Name a module: who made it, which one it is, and what it runs. Read from its manifest.

    >>> lenslink.Identity("LensLink", "Bench One", "LL-0001", firmware="1.0").serial
    'LL-0001'
    """

    maker: str
    model: str
    serial: str
    firmware: str


class FrameMemory:
    """Memory that one frame or several copies of it use.

    *give_back* is called once: when the last of them is released.
    """

    __slots__ = ("_give_back", "_lock", "_user_count")

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._user_count = 0
        self._lock = threading.Lock()

    def add_user(self) -> None:
        """Count another frame that uses the memory."""
        with self._lock:
            self._user_count += 1

    def remove_user(self) -> None:
        """Count one frame less, and give the memory back after the last one."""
        with self._lock:
            self._user_count -= 1
            is_unused = self._user_count == 0
        if is_unused:
            self._give_back()


class FrameMetadata(NamedTuple):
    """What a module reported about a frame besides its pixels. See the fields of :class:`Frame`."""

    number: int
    stream: int
    timestamp_us: int
    interval_us: int
    exposure_us: int
    gain_milli: int
    focus_mdpt: int
    aperture_milli: int
    is_adjusted: bool
    is_moving: bool
    row_time_ns: int
    noise_profile: tuple[float, float] | None
    energy_uj: int
    focus_ring: int
    temperature_mc: int
    time: float
    time_error_s: float
    black: tuple[float, float, float, float]
    white: int
    crop_x: int
    crop_y: int

    @classmethod
    def from_start(
        cls,
        stream: int,
        number: int,
        start: FrameStart,
        time: FrameTime,
        energy_uj: int,
    ) -> FrameMetadata:
        """Return what is known of frame *number* of *stream* besides its pixels.

        *energy_uj* is 0 until the frame's FrameEnd has arrived.
        """
        a, b, c, d = start.black_milli
        profile = (start.noise_slope / 1e9, start.noise_offset / 1e9) if start.noise_slope else None
        return cls(
            number=number,
            stream=stream,
            timestamp_us=start.timestamp_us,
            interval_us=start.interval_us,
            exposure_us=start.exposure_us,
            gain_milli=start.gain_milli,
            focus_mdpt=start.focus_mdpt,
            aperture_milli=start.aperture_milli,
            is_adjusted=bool(start.flags & FrameFlag.ADJUSTED),
            is_moving=bool(start.flags & FrameFlag.MOVING),
            row_time_ns=start.row_time_ns,
            noise_profile=profile,
            energy_uj=energy_uj,
            focus_ring=start.focus_ring,
            temperature_mc=start.temperature_mc,
            time=time.seconds,
            time_error_s=time.error_s,
            black=(a / 1000, b / 1000, c / 1000, d / 1000),
            white=start.white,
            crop_x=start.crop_x,
            crop_y=start.crop_y,
        )


def find_active_area(mode: Mode | None, start: FrameStart) -> tuple[int, int, int, int]:
    """Return the active area of a frame of *mode*; all of the frame if the mode is not known."""
    if mode is None:
        return 0, 0, start.height, start.width
    return mode.find_active_area(start.crop_x, start.crop_y, start.width, start.height)


@dataclass(eq=False, slots=True)
class Frame(ReleasesOnExit):
    """One RAW frame.

    Use it in a ``with`` statement, or call :meth:`release`, to return its memory to the driver's
    pool. A frame that is never released stays valid.

    A copy by :func:`copy.copy` or :func:`dataclasses.replace` uses the same memory. The memory
    returns to the pool when the frame and all such copies are released. :meth:`copy`,
    :func:`copy.deepcopy` and pickling make a frame with memory of its own.

    >>> with lenslink.open("sim:?width=64&height=64&scene=ramp") as module:
    ...     with module.capture(exposure_us=2000) as frame:
    ...         print(frame.pixels.shape, frame.pixels.dtype, frame.cfa, frame.exposure_us)
    (64, 64) uint16 RGGB 2000
    """

    packed: NDArray[np.uint8]
    """(H, stride) uint8: the rows as sent, in the memory that they were received into."""
    layout: Layout
    """How pixels lie in the bytes of ``packed``."""
    bits: int
    """Bits a pixel: 8 to 16."""
    cfa: str
    """Colour filter array, the top left 2 x 2 pixels row by row: RGGB, GRBG, GBRG or BGGR."""
    black: tuple[float, float, float, float]
    """Black level of the four pixels of ``cfa``, in digital numbers."""
    white: int
    """The digital number at which a pixel saturates."""
    active_area: tuple[int, int, int, int]
    """Top, left, bottom, right of the pixels that see light, as DNG ActiveArea."""
    orientation: int
    """How to turn the picture upright: an EXIF Orientation code. 1 means that it is upright."""
    color: ColorCalibration
    """The sensor's colours."""
    identity: Identity
    """The module that sent the frame."""
    number: int
    """The module's frame counter, which never repeats within a session."""
    stream: int
    """:data:`lenslink.PREVIEW`, :data:`lenslink.STILL` or :data:`lenslink.ROI`."""
    timestamp_us: int
    """The module's clock at the start of readout, in microseconds since its boot."""
    exposure_us: int
    """The exposure time that was applied, in microseconds."""
    gain_milli: int
    """The analogue gain that was applied, in thousandths: 1000 is unity."""
    focus_mdpt: int
    """The lens' position at mid-exposure, in milli-dioptres: 0 is infinity, a larger value is
    closer."""
    temperature_mc: int
    """Sensor temperature in thousandths of a degree Celsius."""
    status: FrameStatus
    """Whether pixels are missing."""
    received_fraction: float
    """Fraction of the frame's bytes that arrived and passed their CRC: 1.0 for a complete frame."""
    missing_ranges: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of bytes, in row order, that did not arrive."""
    optics: OpticsEntry | None = None
    """The lens: focal length and widest aperture; None if the module states none."""
    noise_profile: tuple[float, float] | None = None
    """S and O of DNG's NoiseProfile: of a signal x from 0 (black) to 1 (white), the variance is
    S * x + O. None if it is unknown."""
    aperture_milli: int = 0
    """The f-number that was applied, in thousandths; 0 if the module has no iris."""
    is_adjusted: bool = False
    """The module applied another value of a setting than it was asked for."""
    is_moving: bool = False
    """The lens or the iris moved during the exposure."""
    interval_us: int = 0
    """Microseconds since the readout of the last frame of the stream began; 0 if this is the first
    frame of its request."""
    row_time_ns: int = 0
    """Nanoseconds from row to row of the readout; 0 if it is unknown."""
    energy_uj: int = 0
    """Energy that the module took since the end of the frame before, or since it became active, in
    microjoules; 0 if it is unknown."""
    time: float = 0.0
    """The host's monotonic clock, in seconds, in the middle of the exposure of row 0. It is that of
    :meth:`lenslink.Device.read_clock`; on most benches ``time.monotonic()``."""
    time_error_s: float = math.inf
    """``time`` and ``row_times`` are at most so many seconds away from the truth."""
    focus_ring: int = 0
    """Position of the focus ring, in ticks since the module's start. It wraps at 2^29."""
    crop_x: int = 0
    """The frame's first column in its readout mode; 0 unless a region of interest was asked for."""
    crop_y: int = 0
    """The frame's first row in its readout mode."""
    nonce: int = 0
    """The number of the session in which the frame was sent. Each attachment has another one."""
    _memory: FrameMemory | None = field(default=None, repr=False)
    _pixels: NDArray[np.uint16] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self._memory is not None:
            self._memory.add_user()

    def __copy__(self) -> Self:
        return dataclasses.replace(self)

    def __deepcopy__(self, memo: object) -> Self:
        del memo
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_frame, (self._own_values(),)

    def copy(self) -> Self:
        """Return a frame with the same contents in memory of its own.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     with module.capture() as frame:
        ...         kept = frame.copy()
        >>> kept.pixels.shape
        (64, 64)

        Raises:
            UsageError: The frame was released.
        """
        return type(self)(**self._own_values())

    def _own_values(self) -> dict[str, Any]:
        """Return the arguments that make a frame like this one, in memory of its own."""
        if not self.packed.size:
            raise UsageError("a frame that was released cannot be copied")
        names = [each.name for each in dataclasses.fields(self) if each.init]
        values = {name: getattr(self, name) for name in names}
        return values | {"packed": self.packed.copy(), "_memory": None}

    @property
    def metadata(self) -> FrameMetadata:
        """All that the module reported about the frame.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     with module.capture(aperture_milli=2800) as frame:
        ...         print(frame.metadata.aperture_milli, frame.metadata.is_moving)
        2800 False
        """
        return FrameMetadata(*(getattr(self, name) for name in FrameMetadata._fields))

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """(H, W) uint16, right-justified: 12-bit pixels are 0 to 4095. MissingParts pixels are 0.

        This is the memory of ``packed``. Where pixels share bytes it is a copy, made at the first
        access.
        """
        if self._pixels is None:
            self._pixels = unpack(self.packed, self.layout)
        return self._pixels

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.packed.shape[0])

    @property
    def width(self) -> int:
        """Pixels a row."""
        return self.layout.count_pixels(int(self.packed.shape[1]))

    @property
    def row_times(self) -> NDArray[np.float64]:
        """(H,) float64: ``time`` of the middle of each row's exposure, in seconds.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     with module.capture() as frame:
        ...         rows = frame.row_times
        >>> rows.shape, bool(rows[0] == frame.time)
        ((64,), True)
        """
        return list_row_times(self.time, self.row_time_ns, self.height)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where the pixel arrived. Computed at each access."""
        width, stride, layout = self.width, int(self.packed.shape[1]), self.layout
        group, size = layout.group, layout.count_bytes(layout.group)
        covered = np.ones(self.height * width, dtype=np.bool_)
        for start, end in self.missing_ranges:
            # Whole groups: a pixel that shares a byte with a missing pixel is missing too.
            top, left = divmod(start, stride)
            bottom, right = divmod(end, stride)
            first = top * width + left // size * group
            last = bottom * width + min(width, -(-right // size) * group)
            covered[first:last] = False
        return covered.reshape(self.height, width)

    def release(self) -> None:
        """Return the memory to the pool, and leave ``pixels`` and ``packed`` empty. Idempotent."""
        if self._memory is not None:
            memory, self._memory = self._memory, None
            self.packed = np.empty((0, 0), dtype=np.uint8)
            self._pixels = None
            memory.remove_user()


def list_row_times(time: float, row_time_ns: int, height: int) -> NDArray[np.float64]:
    """Return (height,) float64: the time of each row in seconds, if that of row 0 is *time*."""
    return time + np.arange(height, dtype=np.float64) * (row_time_ns / 1e9)


def _make_frame(values: Mapping[str, Any]) -> Frame:
    """Return the frame that was pickled as *values*."""
    return Frame(**values)
