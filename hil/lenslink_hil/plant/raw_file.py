"""A camera's RAW file as a scene: its pixels, levels, colours and margins, unchanged.

The driver's :mod:`lenslink.raw_files.raw_mosaic` reads the file. This module makes a sensor of it.

What a module's manifest cannot carry is refused in words, if it changes the picture: a baseline
exposure, floating-point pixels, a white level beyond 16 bits. What only describes the picture is
named in :attr:`RawFile.note`: the noise profile, the camera's exposure, opcode lists, the profile's
look.

Import this module only for a RAW file, because rawpy and tifffile take their time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lenslink.errors import UsageError
from lenslink.image_files.dng import CROP_BORDER
from lenslink.raw_files.raw_mosaic import RawMosaic, read_raw_mosaic
from lenslink.raw_files.tiff_tags import Tags, get_numbers
from lenslink.settings import Settings
from lenslink_protocol.params import MAX_TEXT

from .binning import Rows, iterate_bands
from .modes import check_size, make_file_modes
from .sensor_model import Sensor

_LEAST_EXPOSURE_EV = Fraction(1, 100)
# Tags that a manifest has no place for, and what they describe.
_DESCRIPTIONS = {
    "NoiseProfile": "noise profile",
    "OpcodeList1": "opcode lists",
    "OpcodeList2": "opcode lists",
    "OpcodeList3": "opcode lists",
    "ProfileHueSatMapData1": "profile look",
    "ProfileLookTableData": "profile look",
}
_EXIF_VALUES = ("ExposureTime", "ISOSpeedRatings", "FNumber", "FocalLength")


class RawSource:
    """A RAW file as a source of frames: always the same frame. Exposure and gain do nothing."""

    def __init__(self, pixels: Rows) -> None:
        self._pixels = pixels

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield the frame in bands."""
        for top, bottom in iterate_bands(width, height):
            yield self._pixels[top:bottom]


@dataclass(frozen=True, slots=True)
class RawFile:
    """A RAW file that was read.

    Attributes:
        sensor: the camera's sensor, with its modes.
        pixels: shape (H, W), margins included.
        note: what the module does not report of the file, or None.
    """

    sensor: Sensor
    pixels: Rows
    note: str | None = None


def load_raw(path: Path) -> RawFile:
    """Read a RAW file.

    Raises:
        UsageError: the file is truncated; or LibRaw cannot decode it; or it is no 2x2 RGB Bayer
            mosaic of a size that the bench carries; or a manifest cannot carry what it states. The
            message names the file.
    """
    name = f"scene {path}"
    raw = read_raw_mosaic(path, name)
    if raw.pixels.dtype != np.uint16:
        raise UsageError(f"{name}: its pixels are floating-point numbers, a module sends integers")
    height, width = raw.pixels.shape
    check_size(width, height, f"{name}: its size")
    _check_exposure(raw, name)
    try:
        pixels: Rows = raw.pixels.astype(np.uint16, copy=False)
        return RawFile(_make_sensor(name, raw), pixels, _make_note(raw.tags))
    except (ValueError, TypeError) as error:
        # A tag has the wrong type or count.
        raise UsageError(f"{name}: its tags make no sense ({error})") from error


def _check_exposure(raw: RawMosaic, name: str) -> None:
    """Raise UsageError for a baseline exposure, which would make every picture too dark."""
    if abs(raw.baseline_exposure) >= _LEAST_EXPOSURE_EV:
        raise UsageError(
            f"{name}: its BaselineExposure is {float(raw.baseline_exposure):+.2f} EV, which a "
            "module cannot report; remove it with: exiftool -BaselineExposure= "
            "-BaselineExposureOffset= FILE"
        )


def _make_note(tags: Tags) -> str | None:
    """Return which descriptions of the file a module does not report; None if there are none."""
    missing = [words for tag, words in _DESCRIPTIONS.items() if tag in tags]
    exif = tags.get("ExifTag")
    if isinstance(exif, dict) and any(np.any(exif.get(tag, 0)) for tag in _EXIF_VALUES):
        missing.append("camera's exposure data")
    if not missing:
        return None
    return f"the module does not report the RAW file's {', '.join(dict.fromkeys(missing))}"


def _make_sensor(name: str, raw: RawMosaic) -> Sensor:
    """Return the sensor of the file's camera."""
    height, width = raw.pixels.shape
    area = _crop_area(raw.tags, raw.active_area, name)
    for tag, text in (("Make", raw.maker), ("Model", raw.model)):
        size = len((text or "").encode())
        if size > MAX_TEXT:
            raise UsageError(f"{name}: its {tag} has {size} bytes, a manifest holds {MAX_TEXT}")
    return Sensor(
        maker=raw.maker,
        model=raw.model,
        width=width,
        height=height,
        bits=raw.bits,
        cfa=raw.cfa,
        black=raw.black,
        white=int(raw.white),
        orientation=raw.orientation,
        color_matrix=raw.colors.matrix,
        neutral=raw.colors.neutral,
        illuminant=raw.colors.illuminant,
        modes=make_file_modes(width, height, area),
    )


def _crop_area(tags: Tags, area: tuple[int, int, int, int], name: str) -> tuple[int, int, int, int]:
    """Return the active area, reduced to the DefaultCrop and the border that readers need.

    A manifest has no crop of its own. Our DNG crops the same border again, so a file's DefaultCrop
    comes back as it was.
    """
    if "DefaultCropOrigin" not in tags or "DefaultCropSize" not in tags:
        return area
    top, left, bottom, right = area
    x, y = _get_pair(tags["DefaultCropOrigin"])
    width, height = _get_pair(tags["DefaultCropSize"])
    if x < 0 or y < 0 or min(width, height) < 1 or x + width > right - left:
        raise UsageError(f"{name}: its DefaultCrop is not within its ActiveArea")
    if y + height > bottom - top:
        raise UsageError(f"{name}: its DefaultCrop is not within its ActiveArea")
    # Fractions of a pixel round outwards.
    return (
        max(top, int(top + y) - CROP_BORDER),
        max(left, int(left + x) - CROP_BORDER),
        min(bottom, int(np.ceil(top + y + height)) + CROP_BORDER),
        min(right, int(np.ceil(left + x + width)) + CROP_BORDER),
    )


def _get_pair(value: Any) -> tuple[float, float]:
    """Return two numbers, which the file may hold as rationals."""
    flat = get_numbers(value)
    if len(flat) == 4 and flat[1] and flat[3]:
        return flat[0] / flat[1], flat[2] / flat[3]
    first, second = flat
    return first, second
