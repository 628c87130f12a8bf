"""A frame as the driver hands it out: RAW pixels and all that is known about them."""

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
    """Whether every byte of the frame arrived and passed its CRC."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class ColorCalibration:
    """What a RAW converter needs to know of the sensor's colours.

    ``matrix`` is the DNG ColorMatrix1: nine (numerator, denominator) pairs, row by row, that take
    CIE XYZ under ``illuminant`` (an EXIF LightSource code; 21 is D65) to the sensor's R, G, B.
    ``neutral`` is the DNG AsShotNeutral: three (numerator, denominator) pairs, the sensor's answer
    to a white surface. Rationals, because a camera's file must come back as it went in.
    """

    matrix: tuple[tuple[int, int], ...]
    neutral: tuple[tuple[int, int], ...]
    illuminant: int = 21


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made the module, which it is, and what it runs (from its manifest)."""

    maker: str
    model: str
    serial: str
    firmware: str


@dataclass(eq=False, slots=True)
class Frame(ReleasesOnExit):
    """One RAW frame.

    Use it as a context manager, or call :meth:`release`, to give its memory back to the driver's
    pool; a frame that is never released is ordinary memory and stays valid.
    """

    packed: NDArray[np.uint8]
    """(H, stride) uint8: the rows as they came, in the memory that they came into."""
    layout: Layout
    """How pixels lie in those bytes."""
    bits: int
    """Bits a pixel: 8 to 16."""
    cfa: str
    """Colour filter array, the top left 2 x 2 pixels row by row: RGGB, GRBG, GBRG or BGGR."""
    black: tuple[float, float, float, float]
    """Black level of those four pixels, in digital numbers."""
    white: int
    """The digital number at which a pixel saturates."""
    active_area: tuple[int, int, int, int]
    """Top, left, bottom, right of the pixels that see light (DNG ActiveArea)."""
    orientation: int
    """How to turn the picture upright: an EXIF Orientation code, 1 = as it is."""
    color: ColorCalibration
    identity: Identity
    number: int
    """The module's frame counter, which never repeats within a session."""
    stream: int
    timestamp_us: int
    """The module's clock at the start of readout, in microseconds since its boot."""
    exposure_us: int
    gain_milli: int
    """Analogue gain in thousandths: 1000 = unity."""
    focus_mdpt: int
    """Focus in milli-dioptres: 0 = infinity, larger = closer."""
    temperature_mc: int
    """Sensor temperature in thousandths of a degree Celsius."""
    status: FrameStatus
    received_fraction: float
    """Fraction of the frame's bytes that arrived and passed their CRC: 1.0 when complete."""
    uncovered: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of bytes, in row order, that did not arrive."""
    nonce: int = 0
    """The session it came in: drawn anew at every attachment, and part of each of its packets."""
    _recycle: Callable[[], None] | None = field(default=None, repr=False)
    _pixels: NDArray[np.uint16] | None = field(default=None, init=False, repr=False)

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """(H, W) uint16, right-justified: 12-bit pixels are 0 to 4095. Uncovered pixels are 0.

        The memory of ``packed``; a copy, made when first asked for, where pixels share bytes.
        """
        if self._pixels is None:
            self._pixels = unpack(self.packed, self.layout)
        return self._pixels

    @property
    def height(self) -> int:
        return int(self.packed.shape[0])

    @property
    def width(self) -> int:
        return self.layout.pixels_of(int(self.packed.shape[1]))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where the pixel arrived. Computed when asked for."""
        width, stride, layout = self.width, int(self.packed.shape[1]), self.layout
        group, size = layout.group, layout.bytes_of(layout.group)
        covered = np.ones(self.height * width, dtype=np.bool_)
        for start, end in self.uncovered:
            # Whole groups: what shares a byte with what is missing, is missing.
            top, left = divmod(start, stride)
            bottom, right = divmod(end, stride)
            first = top * width + left // size * group
            last = bottom * width + min(width, -(-right // size) * group)
            covered[first:last] = False
        return covered.reshape(self.height, width)

    def release(self) -> None:
        """Give the memory back to the pool: neither ``pixels`` nor ``packed`` is valid any more.

        Idempotent.
        """
        if self._recycle is not None:
            recycle, self._recycle = self._recycle, None
            self.packed = np.empty((0, 0), dtype=np.uint8)
            self._pixels = None
            recycle()
