"""One RAW picture as arrays with units, from a frame of the driver or from a file.

Every stage of the ISP takes a :class:`RawImage` or parts of it. The picture is cropped to the
active area, so that the colour filter and the black levels start at its corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.frame import Frame

if TYPE_CHECKING:
    from lenslink.raw_files.raw_mosaic import RawMosaic

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RawImage:
    """A RAW picture of one exposure.

    >>> import lenslink
    >>> with lenslink.open("sim:?width=64&height=64") as module, module.capture() as frame:
    ...     raw = RawImage.from_frame(frame)
    >>> raw.mosaic.shape, raw.cfa
    ((64, 64), 'RGGB')
    """

    mosaic: NDArray[np.uint16] | NDArray[np.float32]
    """(H, W): the active area. Digital numbers, uint16; float32 of a merged picture."""
    cfa: str
    """Colours of the top left 2 x 2 pixels, row by row: RGGB, GRBG, GBRG or BGGR."""
    black: tuple[float, float, float, float]
    """Black level of the four pixels of ``cfa``, in digital numbers."""
    white: float
    """The digital number at which a pixel saturates."""
    camera_from_xyz: Matrix
    """(3, 3): from CIE XYZ to the sensor's red, green and blue, for the light of the picture."""
    neutral: tuple[float, float, float]
    """The sensor's answer to a white surface. Green is usually 1."""
    noise_profile: tuple[float, float] | None = None
    """S and O of DNG's NoiseProfile: of a signal x from 0 (black) to 1 (white), the variance is
    S * x + O. None if it is unknown."""
    baseline_exposure: float = 0.0
    """How much brighter the picture must be developed, in EV."""
    orientation: int = 1
    """How to turn the picture upright: an EXIF Orientation code."""
    sensitivity: float | None = None
    """How the frame was exposed: seconds times gain over the f-number's square, where a gain of 1
    is ISO 100. None if it is unknown."""

    @classmethod
    def from_frame(cls, frame: Frame) -> RawImage:
        """Return the picture of a frame. It uses the frame's memory: release the frame afterwards.

        Raises:
            UsageError: the frame was released, or its active area has no 2 x 2 pixels.
        """
        matrix = np.array([top / bottom for top, bottom in frame.color.matrix]).reshape(3, 3)
        red, green, blue = (top / bottom for top, bottom in frame.color.neutral)
        cropped = _crop(frame.pixels, frame.cfa, frame.black, frame.active_area)
        return cls(
            *cropped,
            white=float(frame.white),
            camera_from_xyz=matrix,
            neutral=(red, green, blue),
            noise_profile=frame.noise_profile,
            orientation=frame.orientation,
            sensitivity=find_sensitivity(
                frame.exposure_us / 1e6, frame.gain_milli / 1000, frame.aperture_milli / 1000
            ),
        )

    @classmethod
    def from_mosaic(cls, raw: RawMosaic) -> RawImage:
        """Return the picture of a RAW file that was read.

        Raises:
            UsageError: its active area has no 2 x 2 pixels.
        """
        from lenslink.raw_files.file_exposure import read_exposure
        from lenslink.raw_files.tiff_tags import get_numbers

        red, green, blue = (top / bottom for top, bottom in raw.colors.neutral)
        exposure = read_exposure(raw.tags)
        return cls(
            *_crop(raw.pixels, raw.cfa, raw.black, raw.active_area),
            white=raw.white,
            camera_from_xyz=np.array([a / b for a, b in raw.colors.matrix]).reshape(3, 3),
            neutral=(red, green, blue),
            # A file may hold a pair for each colour. Green is first of neither two nor three pairs.
            noise_profile=_choose_profile(get_numbers(raw.tags.get("NoiseProfile", ()))),
            baseline_exposure=float(raw.baseline_exposure),
            orientation=raw.orientation,
            sensitivity=find_sensitivity(exposure.seconds, exposure.iso / 100, exposure.f_number),
        )


def find_sensitivity(seconds: float, gain: float, f_number: float) -> float | None:
    """Return :attr:`RawImage.sensitivity`; None without a time or a gain. f_number is 0 if unknown.

    >>> find_sensitivity(0.01, 4, 2)
    0.01
    """
    return seconds * gain / (f_number or 1.0) ** 2 or None


def open_raw(path: Path | str) -> RawImage:
    """Read a DNG, or the RAW file of a camera that LibRaw knows.

    >>> open_raw("photo.dng").mosaic.shape  # doctest: +SKIP
    (3072, 4096)

    Raises:
        UsageError: the file is damaged, or it is no Bayer RAW.
        StorageError: the file cannot be opened.
    """
    # rawpy and tifffile take their time to import, and frames need neither.
    from lenslink.raw_files.raw_mosaic import read_raw_mosaic

    return RawImage.from_mosaic(read_raw_mosaic(Path(path)))


def _choose_profile(numbers: list[float]) -> tuple[float, float] | None:
    """Return the NoiseProfile of green: the only pair of one, the second of three."""
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) == 6:
        return numbers[2], numbers[3]
    return None


def _crop(
    pixels: NDArray[np.uint16] | NDArray[np.float32],
    cfa: str,
    black: tuple[float, float, float, float],
    area: tuple[int, int, int, int],
) -> tuple[NDArray[np.uint16] | NDArray[np.float32], str, tuple[float, float, float, float]]:
    """Return the active area without a last odd row and column, with its own phase and levels."""
    top, left, bottom, right = area
    bottom -= (bottom - top) % 2
    right -= (right - left) % 2
    if bottom - top < 2 or right - left < 2:
        raise UsageError(f"the picture of {right - left} x {bottom - top} pixels is too small")
    places = [2 * ((top + y) % 2) + (left + x) % 2 for y in (0, 1) for x in (0, 1)]
    a, b, c, d = (black[place] for place in places)
    return pixels[top:bottom, left:right], "".join(cfa[place] for place in places), (a, b, c, d)
