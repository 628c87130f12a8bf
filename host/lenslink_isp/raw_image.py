"""One RAW picture as arrays with units, from a frame of the driver or from a file.

Every stage of the ISP takes a :class:`RawImage` or parts of it. The picture is cropped to the
active area, so that the colour filter and the black levels start at its corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.frame import Frame

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
        )


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
    from lenslink.raw_files.tiff_tags import get_numbers

    raw = read_raw_mosaic(Path(path))
    red, green, blue = (top / bottom for top, bottom in raw.colors.neutral)
    profile = get_numbers(raw.tags.get("NoiseProfile", ()))
    return RawImage(
        *_crop(raw.pixels, raw.cfa, raw.black, raw.active_area),
        white=raw.white,
        camera_from_xyz=np.array([a / b for a, b in raw.colors.matrix]).reshape(3, 3),
        neutral=(red, green, blue),
        # A file may hold a pair for each colour. Green is first of neither two nor three pairs.
        noise_profile=_choose_profile(profile),
        baseline_exposure=float(raw.baseline_exposure),
        orientation=raw.orientation,
    )


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
