"""A camera's RAW file as a scene: its pixels, levels, colours and margins, unchanged.

LibRaw reads the pixels (rawpy's ``raw_image``: the full frame with its margins). For a DNG,
tifffile reads the tags as exact rationals. For other RAW files, LibRaw's knowledge of the camera
replaces the tags.

What a module's manifest cannot carry is refused in words, if it changes the picture: a baseline
exposure, floating-point pixels, a white level beyond 16 bits. What only describes the picture is
named in :attr:`RawFile.note`: the noise profile, the camera's exposure, opcode lists, the profile's
look.

Import this module only for a RAW file, because rawpy and tifffile take their time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import rawpy

from lenslink.errors import UsageError
from lenslink.image_files.dng import CROP_BORDER
from lenslink.settings import Settings
from lenslink_protocol.params import MAX_TEXT

from .binning import Rows, iterate_bands
from .dng_color import make_rationals, read_colors
from .modes import check_size, make_file_modes
from .raw_kind import HEAD_BYTES, find_raw_mark, is_tiff, name_compression, read_camera_name
from .sensor_model import CFA_PHASES, D65_ILLUMINANT, Sensor
from .tiff_tags import Tags, get_fraction, get_numbers, read_directories

PHOTOMETRIC_CFA = 32803
STDERR = 2
BITS = (8, 10, 12, 14, 16)

_FLOAT = 3
_UPRIGHT = 1
# Orientations that mean "unknown".
_UNKNOWN_ORIENTATIONS = (0, 9)
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
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        size = file.seek(0, os.SEEK_END)
    directories = read_directories(path) if is_tiff(head) else []
    mosaic = _find_mosaic(directories)
    tags = (directories[0] if directories else {}) | mosaic
    if _find_end_of_pixels(mosaic or tags) > size:
        # LibRaw refuses the file too, but with "Input/output error".
        raise UsageError(f"{name}: truncated, its pixels go on after the file's end")
    if _FLOAT in get_numbers(mosaic.get("SampleFormat", 1)):
        raise UsageError(f"{name}: its pixels are floating-point numbers, a module sends integers")
    try:
        with _silence_libraw(), rawpy.imread(str(path)) as raw:
            if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None:
                raise UsageError(f"{name}: not a Bayer RAW (no mosaic in it)")
            cfa = _read_phase(name, raw)
            pixels: Rows = np.array(raw.raw_image, np.uint16, order="C")
            if "DNGVersion" not in tags:
                tags |= tags_from_libraw(raw)
    except rawpy.LibRawError as error:
        raise _explain(name, error, find_raw_mark(head, directories), mosaic) from error
    if "Make" not in tags and "Model" not in tags:
        maker, model = read_camera_name(path)
        tags |= {"Make": maker, "Model": model}
    height, width = pixels.shape
    check_size(width, height, f"{name}: its size")
    try:
        _check_exposure(tags, name)
        return RawFile(_make_sensor(name, tags, cfa, pixels), pixels, _make_note(tags))
    except (ValueError, TypeError) as error:
        # A tag has the wrong type or count.
        raise UsageError(f"{name}: its tags make no sense ({error})") from error


def has_mosaic(path: Path) -> bool:
    """Return True if LibRaw can read the file."""
    try:
        with _silence_libraw(), rawpy.imread(str(path)):
            return True
    except rawpy.LibRawError:
        return False


def _explain(name: str, error: rawpy.LibRawError, mark: str | None, mosaic: Tags) -> UsageError:
    """Return LibRaw's *error* in words."""
    compression = name_compression(mosaic)
    if compression is not None:
        return UsageError(
            f"{name}: a RAW file whose compression LibRaw cannot decode ({compression})"
        )
    if isinstance(error, rawpy.LibRawFileUnsupportedError):
        if mark is not None:
            return UsageError(f"{name}: a RAW file that LibRaw cannot decode (it has {mark})")
        return UsageError(f"{name}: not a picture and no camera's RAW file")
    reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
    return UsageError(f"{name}: damaged, or no camera's RAW file ({reason})")


def _check_exposure(tags: Tags, name: str) -> None:
    """Raise UsageError for a baseline exposure, which would make every picture too dark."""
    exposure = get_fraction(tags, "BaselineExposure") + get_fraction(tags, "BaselineExposureOffset")
    if abs(exposure) >= _LEAST_EXPOSURE_EV:
        raise UsageError(
            f"{name}: its BaselineExposure is {float(exposure):+.2f} EV, which a module cannot "
            "report; remove it with: exiftool -BaselineExposure= -BaselineExposureOffset= FILE"
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


def _make_sensor(name: str, tags: Tags, cfa: str, pixels: Rows) -> Sensor:
    """Return the sensor that the tags describe."""
    height, width = pixels.shape
    area = _read_active_area(tags, width, height, name)
    top, left = area[:2]
    colors = read_colors(tags, name)
    bits = _count_bits(tags, pixels, name)
    white = int(get_numbers(tags.get("WhiteLevel", (1 << bits) - 1))[0])
    black = _read_black(tags, top, left, name, pixels)
    if max(black) >= white:
        raise UsageError(f"{name}: its black level {max(black):g} is not below its white {white}")
    return Sensor(
        maker=_read_text(tags, "Make", name),
        model=_read_text(tags, "Model", name) or _read_text(tags, "UniqueCameraModel", name),
        width=width,
        height=height,
        bits=bits,
        cfa=cfa,
        black=black,
        white=white,
        orientation=_read_orientation(tags, name),
        color_matrix=colors.matrix,
        neutral=colors.neutral,
        illuminant=colors.illuminant,
        modes=make_file_modes(width, height, _crop_area(tags, area, name)),
    )


def tags_from_libraw(raw: Any) -> Tags:
    """Return LibRaw's knowledge of a file as DNG tags, for RAW files that are no DNG.

    Args:
        raw: an open :class:`rawpy.RawPy`.
    """
    sizes = raw.sizes
    top, left = sizes.top_margin, sizes.left_margin
    # LibRaw counts its 2x2 pattern from pixel (0, 0), DNG from the ActiveArea.
    black = np.array(raw.black_level_per_channel)[raw.raw_pattern]
    tags: Tags = {
        "BlackLevel": np.roll(black, (-(top % 2), -(left % 2)), (0, 1)).reshape(4).tolist(),
        "BlackLevelRepeatDim": (2, 2),
        "WhiteLevel": int(raw.white_level),
        "ActiveArea": (top, left, top + sizes.height, left + sizes.width),
        "Orientation": {3: 3, 5: 8, 6: 6}.get(sizes.flip, _UPRIGHT),
    }
    matrix = np.asarray(raw.rgb_xyz_matrix)[:3]
    if matrix.any():
        tags["ColorMatrix1"] = _flatten(matrix.reshape(9))
        tags["CalibrationIlluminant1"] = D65_ILLUMINANT  # LibRaw's table holds Adobe's D65 matrices
    balance = np.array(raw.camera_whitebalance[:3], float)
    if (balance > 0).all():
        tags["AsShotNeutral"] = _flatten(balance[1] / balance)
    return tags


@contextlib.contextmanager
def _silence_libraw() -> Iterator[None]:
    """Discard what LibRaw prints on stderr from C; it raises the same as an exception."""
    sys.stderr.flush()
    saved, null = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, STDERR)
        yield
    finally:
        os.dup2(saved, STDERR)
        os.close(saved)
        os.close(null)


def _find_mosaic(directories: list[Tags]) -> Tags:
    """Return the tags of the directory with the largest mosaic; none if there is no mosaic."""
    mosaics = [tags for tags in directories if _is_mosaic(tags)]
    return max(mosaics, key=_get_area, default={})


def _find_end_of_pixels(tags: Tags) -> float:
    """Return the end of the last strip or tile of one directory, in bytes from the file's start."""
    ends = [0.0]
    for kind in ("Strip", "Tile"):
        offsets = get_numbers(tags.get(f"{kind}Offsets", ()))
        counts = get_numbers(tags.get(f"{kind}ByteCounts", ()))
        ends += [start + count for start, count in zip(offsets, counts, strict=False)]
    return max(ends)


def _get_area(tags: Tags) -> int:
    return int(tags.get("ImageWidth", 0)) * int(tags.get("ImageLength", 0))


def _is_mosaic(tags: Tags) -> bool:
    return bool(tags.get("PhotometricInterpretation") == PHOTOMETRIC_CFA)


def _read_phase(name: str, raw: Any) -> str:
    """Return the colours of the 2x2 pixels at (0, 0) of the full frame."""
    colours = raw.color_desc.decode()
    if raw.raw_pattern.shape == (2, 2):
        cfa = "".join(colours[index] for index in raw.raw_pattern.reshape(4))
        if cfa in CFA_PHASES:
            return cfa
    raise UsageError(f"{name}: its colour filter is not a 2x2 Bayer pattern of red, green, blue")


def _read_active_area(tags: Tags, width: int, height: int, name: str) -> tuple[int, int, int, int]:
    top, left, bottom, right = (int(v) for v in tags.get("ActiveArea", (0, 0, height, width)))
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        area = f"{top}, {left}, {bottom}, {right}"
        raise UsageError(f"{name}: its ActiveArea {area} is not within {width}x{height}")
    return top, left, bottom, right


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


def _read_orientation(tags: Tags, name: str) -> int:
    code = int(tags.get("Orientation", _UPRIGHT))
    if code in _UNKNOWN_ORIENTATIONS:
        return _UPRIGHT
    if not 1 <= code <= 8:
        raise UsageError(f"{name}: its Orientation {code} is not 1 to 8")
    return code


def _flatten(values: Any) -> list[int]:
    """Return decimals as numerators over 10000 in a flat list."""
    return [number for pair in make_rationals(np.asarray(values)) for number in pair]


def _count_bits(tags: Tags, pixels: Rows, name: str) -> int:
    """Return the bits that the file states, or more if its pixels or white level need more."""
    stated = get_numbers(tags.get("BitsPerSample", 0))[0]
    largest = int(pixels.max())
    white = int(get_numbers(tags.get("WhiteLevel", 0))[0])
    if white >> BITS[-1]:
        raise UsageError(f"{name}: its WhiteLevel {white} needs more than {BITS[-1]} bits")
    if stated in BITS and max(largest, white) >> int(stated) == 0:
        return int(stated)
    return next(bits for bits in BITS if max(largest, white) >> bits == 0)


def _read_black(
    tags: Tags, top: int, left: int, name: str, pixels: Rows
) -> tuple[float, float, float, float]:
    """Return the black levels of the 2x2 pixels at (0, 0), not at the ActiveArea."""
    if "BlackLevel" not in tags and "MaskedAreas" in tags:
        return _measure_black(tags, name, pixels)
    numbers = get_numbers(tags.get("BlackLevel", 0))
    high, wide = (int(v) for v in tags.get("BlackLevelRepeatDim", (1, 1)))
    if len(numbers) == 2 * high * wide and all(numbers[1::2]):
        # BlackLevel is often written as rationals, which are two integers each.
        numbers = [a / b for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    if high * wide != len(numbers):
        raise UsageError(f"{name}: its tag BlackLevel is not {high * wide} numbers")
    if high > 2 or wide > 2:
        raise UsageError(f"{name}: its black level repeats every {high}x{wide} pixels, not 2x2")
    tile = np.array(numbers, float).reshape(high, wide)
    a, b, c, d = (float(tile[(y - top) % high, (x - left) % wide]) for y in (0, 1) for x in (0, 1))
    return a, b, c, d


def _measure_black(tags: Tags, name: str, pixels: Rows) -> tuple[float, float, float, float]:
    """Return the mean of the masked pixels for each of the 2x2 pixels, as DNG recommends."""
    areas = np.asarray(tags["MaskedAreas"], int).reshape(-1, 4)
    height, width = pixels.shape
    is_masked = np.zeros(pixels.shape, bool)
    for top, left, bottom, right in areas:
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise UsageError(f"{name}: its MaskedAreas are not within {width}x{height}")
        is_masked[top:bottom, left:right] = True
    levels = []
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        masked = pixels[y::2, x::2][is_masked[y::2, x::2]]
        if not masked.size:
            raise UsageError(f"{name}: its MaskedAreas hold too few pixels")
        levels.append(round(float(masked.mean()), 3))
    a, b, c, d = levels
    return a, b, c, d


def _read_text(tags: Tags, tag: str, name: str) -> str | None:
    """Return a tag's text without padding; None if it is empty."""
    value = tags.get(tag)
    if value is None:
        return None
    text = str(value).replace("\0", " ").strip()
    size = len(text.encode())
    if size > MAX_TEXT:
        raise UsageError(f"{name}: its {tag} has {size} bytes, a manifest holds {MAX_TEXT}")
    return text or None
