"""A frame as the driver hands it out: RAW pixels, the settings applied, and calibration data.

:class:`lenslink.Device` returns frames. :mod:`.frame_builder` makes them, and :mod:`.image_files`
writes them to files.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.packings import Layout

from .context import ReleasesOnExit
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


@dataclass(eq=False, slots=True)
class Frame(ReleasesOnExit):
    """One RAW frame.

    Use it in a ``with`` statement, or call :meth:`release`, to return its memory to the driver's
    pool. A frame that is never released stays valid.

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
    """:data:`lenslink.PREVIEW` or :data:`lenslink.STILL`."""
    timestamp_us: int
    """The module's clock at the start of readout, in microseconds since its boot."""
    exposure_us: int
    """The exposure time that was applied, in microseconds."""
    gain_milli: int
    """The analogue gain that was applied, in thousandths: 1000 is unity."""
    focus_mdpt: int
    """The focus that was applied, in milli-dioptres: 0 is infinity, a larger value is closer."""
    temperature_mc: int
    """Sensor temperature in thousandths of a degree Celsius."""
    status: FrameStatus
    """Whether pixels are missing."""
    received_fraction: float
    """Fraction of the frame's bytes that arrived and passed their CRC: 1.0 for a complete frame."""
    uncovered: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of bytes, in row order, that did not arrive."""
    nonce: int = 0
    """The number of the session in which the frame was sent. Each attachment has another one."""
    _recycle: Callable[[], None] | None = field(default=None, repr=False)
    _pixels: NDArray[np.uint16] | None = field(default=None, init=False, repr=False)

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """(H, W) uint16, right-justified: 12-bit pixels are 0 to 4095. Missing pixels are 0.

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
        return self.layout.pixels_of(int(self.packed.shape[1]))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where the pixel arrived. Computed at each access."""
        width, stride, layout = self.width, int(self.packed.shape[1]), self.layout
        group, size = layout.group, layout.bytes_of(layout.group)
        covered = np.ones(self.height * width, dtype=np.bool_)
        for start, end in self.uncovered:
            # Whole groups: a pixel that shares a byte with a missing pixel is missing too.
            top, left = divmod(start, stride)
            bottom, right = divmod(end, stride)
            first = top * width + left // size * group
            last = bottom * width + min(width, -(-right // size) * group)
            covered[first:last] = False
        return covered.reshape(self.height, width)

    def release(self) -> None:
        """Return the memory to the pool, and leave ``pixels`` and ``packed`` empty. Idempotent."""
        if self._recycle is not None:
            recycle, self._recycle = self._recycle, None
            self.packed = np.empty((0, 0), dtype=np.uint8)
            self._pixels = None
            recycle()
