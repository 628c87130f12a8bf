"""Reads a RAW file: its pixels, levels, colours and margins, unchanged.

LibRaw reads the pixels (rawpy's ``raw_image``: the full frame with its margins). For a DNG,
tifffile reads the tags as exact rationals. For other RAW files, LibRaw's knowledge of the camera
replaces the tags. A DNG of floating-point pixels, as ``lenslink merge`` writes, is read by tifffile
alone.

The plant uses a RAW file as a scene, and ``lenslink_isp`` develops it. Import this module only for
a RAW file, because rawpy and tifffile take their time.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from lenslink.errors import StorageError, UsageError

from .dng_color import Colors, make_rationals, read_colors
from .raw_kind import HEAD_BYTES, find_raw_mark, is_tiff, name_compression, read_camera_name
from .tiff_tags import Tags, get_fraction, get_numbers, read_directories, read_float_mosaic

Pixels = NDArray[np.uint16] | NDArray[np.float32]

BITS = (8, 10, 12, 14, 16)
CFA_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
D65 = 21
PHOTOMETRIC_CFA = 32803
STDERR = 2

_NOT_BAYER = "its colour filter is not a 2x2 Bayer pattern of red, green, blue"
_FLOAT = 3
_FLOAT_BITS = 32
_UPRIGHT = 1
# Orientations that mean "unknown".
_UNKNOWN_ORIENTATIONS = (0, 9)


@dataclass(frozen=True, slots=True)
class RawMosaic:
    """A RAW file that was read.

    >>> raw = read_raw_mosaic(Path("photo.dng"))  # doctest: +SKIP
    >>> raw.pixels.shape, raw.cfa, raw.white  # doctest: +SKIP
    ((3072, 4096), 'RGGB', 4095.0)
    """

    pixels: Pixels
    """(H, W) uint16, or float32 of a floating-point DNG; margins included."""
    bits: int
    """Bits a pixel: 8 to 16; 32 for floating-point pixels."""
    cfa: str
    """Colours of the 2x2 pixels at (0, 0), row by row: RGGB, GRBG, GBRG or BGGR."""
    black: tuple[float, float, float, float]
    """Black levels of the 2x2 pixels at (0, 0), in digital numbers."""
    white: float
    """The digital number at which a pixel saturates."""
    active_area: tuple[int, int, int, int]
    """Top, left, bottom, right of the pixels that see light."""
    orientation: int
    """EXIF Orientation, 1 to 8."""
    colors: Colors
    """The colour matrix for the light of the picture, and the neutral."""
    maker: str | None
    model: str | None
    tags: Tags
    """All tags by their names: those of the camera, and those of the mosaic's directory."""

    @property
    def baseline_exposure(self) -> Fraction:
        """How much brighter a converter must develop the file, in EV."""
        return get_fraction(self.tags, "BaselineExposure") + get_fraction(
            self.tags, "BaselineExposureOffset"
        )


def read_raw_mosaic(path: Path, name: str | None = None) -> RawMosaic:
    """Read a RAW file. Errors call the file *name*, which defaults to the path.

    Raises:
        UsageError: the file is truncated; or LibRaw cannot decode it; or it is no 2x2 RGB Bayer
            mosaic; or its tags make no sense.
        StorageError: the file cannot be opened.
    """
    name = str(path) if name is None else name
    try:
        return _read_file(path, name)
    except OSError as error:
        raise StorageError(f"{name}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, IndexError, struct.error) as error:
        # A tag has the wrong type or count.
        raise UsageError(f"{name}: its tags make no sense ({error})") from error


def _read_file(path: Path, name: str) -> RawMosaic:
    """Return the file's mosaic. Tags that make no sense raise nearly any exception."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        size = file.seek(0, os.SEEK_END)
    directories = read_directories(path, name) if is_tiff(head) else []
    mosaic = _find_mosaic(directories)
    tags = (directories[0] if directories else {}) | mosaic
    if _find_end_of_pixels(mosaic or tags) > size:
        # LibRaw refuses the file too, but with "Input/output error".
        raise UsageError(f"{name}: truncated, its pixels go on after the file's end")
    if _FLOAT in get_numbers(mosaic.get("SampleFormat", 1)):
        cfa, pixels = _read_floats(path, mosaic, name)
    else:
        try:
            with _silence_libraw(), rawpy.imread(str(path)) as raw:
                cfa, pixels = _read_integers(name, raw)
                if "DNGVersion" not in tags:
                    tags |= tags_from_libraw(raw)
        except rawpy.LibRawError as error:
            raise _explain(name, error, find_raw_mark(head, directories), mosaic) from error
    if "Make" not in tags and "Model" not in tags:
        maker, model = read_camera_name(path)
        tags |= {"Make": maker, "Model": model}
    return _make_mosaic(name, tags, cfa, pixels)


def _read_integers(name: str, raw: Any) -> tuple[str, Pixels]:
    """Return phase and pixels of a file that LibRaw has opened."""
    if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None:
        raise UsageError(f"{name}: not a Bayer RAW (no mosaic in it)")
    return _read_phase(name, raw), np.array(raw.raw_image, np.uint16, order="C")


def _read_floats(path: Path, mosaic: Tags, name: str) -> tuple[str, Pixels]:
    """Return phase and pixels of a DNG of floating-point numbers.

    LibRaw scales such pixels to 16 bits, so it is not used.
    """
    pattern = bytes(mosaic.get("CFAPattern", b""))
    colours = "".join("RGB"[index] for index in pattern if index < 3)
    if colours not in CFA_PHASES:
        raise UsageError(
            f"{name}: its colour filter is not a 2x2 Bayer pattern of red, green, blue"
        )
    pixels = read_float_mosaic(path, name)
    top, left = (int(v) for v in mosaic.get("ActiveArea", (0, 0, 0, 0))[:2])
    # A DNG counts its pattern from the active area.
    places = [2 * ((y + top) % 2) + (x + left) % 2 for y in (0, 1) for x in (0, 1)]
    return "".join(colours[place] for place in places), pixels


def _make_mosaic(name: str, tags: Tags, cfa: str, pixels: Pixels) -> RawMosaic:
    """Return what *tags* say about the pixels."""
    height, width = pixels.shape
    area = _read_active_area(tags, width, height, name)
    top, left = area[:2]
    is_float = pixels.dtype == np.float32
    bits = _FLOAT_BITS if is_float else _count_bits(tags, pixels, name)
    largest = 1.0 if is_float else (1 << bits) - 1
    white = get_numbers(tags.get("WhiteLevel", largest))[0]
    black = _read_black(tags, top, left, name, pixels)
    if max(black) >= white:
        raise UsageError(f"{name}: its black level {max(black):g} is not below its white {white:g}")
    return RawMosaic(
        pixels=pixels,
        bits=bits,
        cfa=cfa,
        black=black,
        white=white,
        active_area=area,
        orientation=_read_orientation(tags, name),
        colors=read_colors(tags, name),
        maker=_read_text(tags, "Make"),
        model=_read_text(tags, "Model") or _read_text(tags, "UniqueCameraModel"),
        tags=tags,
    )


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
        tags["CalibrationIlluminant1"] = D65  # LibRaw's table holds Adobe's D65 matrices
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
    raise UsageError(f"{name}: {_NOT_BAYER}")


def _read_active_area(tags: Tags, width: int, height: int, name: str) -> tuple[int, int, int, int]:
    top, left, bottom, right = (int(v) for v in tags.get("ActiveArea", (0, 0, height, width)))
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        area = f"{top}, {left}, {bottom}, {right}"
        raise UsageError(f"{name}: its ActiveArea {area} is not within {width}x{height}")
    return top, left, bottom, right


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


def _count_bits(tags: Tags, pixels: Pixels, name: str) -> int:
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
    tags: Tags, top: int, left: int, name: str, pixels: Pixels
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


def _measure_black(tags: Tags, name: str, pixels: Pixels) -> tuple[float, float, float, float]:
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


def _read_text(tags: Tags, tag: str) -> str | None:
    """Return a tag's text without padding; None if it is empty."""
    value = tags.get(tag)
    return None if value is None else str(value).replace("\0", " ").strip() or None
