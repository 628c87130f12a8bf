"""A camera's RAW file, taken exactly as it is: its pixels, levels, colours and margins.

Pixels come from LibRaw (rawpy's ``raw_image``: the full frame, margins and all). What a DNG says
about them is read from its tags by tifffile, as exact rationals; for other RAW formats LibRaw's
own knowledge of the camera stands in. Not applied, and not carried on: DNG's BlackLevelDeltaH/V
and opcode lists.

Import this module only when a RAW file is opened: rawpy and tifffile take their time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
import tifffile

from lenslink.errors import UsageError
from lenslink.settings import Settings

from .binning import Rows, iterate_bands
from .modes import check_size, make_file_modes
from .picture import TIFF_MAGIC
from .sensor_model import CFA_PHASES, D65_ILLUMINANT, Pair, Sensor
from .unprocess import XYZ_FROM_SRGB

PHOTOMETRIC_CFA = 32803
STDERR = 2
BITS = (8, 10, 12, 14, 16)

Tags = dict[str, Any]


class RawSource:
    """A RAW file as a source of frames: always the same one; exposure and gain do nothing."""

    def __init__(self, pixels: Rows) -> None:
        self._pixels = pixels

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield the frame band by band."""
        for top, bottom in iterate_bands(width, height):
            yield self._pixels[top:bottom]


def is_raw(path: Path) -> bool:
    """Say whether a file is a TIFF that holds a mosaic or calls itself a DNG or a CR2."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[:4] not in TIFF_MAGIC:
        return False
    if start[8:10] == b"CR":
        return True
    try:
        tags = _read_tags(path)
    except UsageError:
        return False  # whatever it was, its directory is broken: the picture's reader will say so
    return "DNGVersion" in tags or _is_mosaic(tags)


def load_raw(path: Path) -> tuple[Sensor, Rows]:
    """Read a RAW file.

    :returns: its sensor, with modes, and its pixels, shape (H, W).
    :raises UsageError: when it is truncated, no RAW, or no 2x2 RGB Bayer mosaic of a size that
        the bench carries, or does not say what its colours are; the message names the file.
    """
    name = f"scene {path}"
    with path.open("rb") as file:
        tags = _read_tags(path) if file.read(4) in TIFF_MAGIC else {}
        size = file.seek(0, os.SEEK_END)
    if _end_of_pixels(tags) > size:
        # LibRaw refuses it too, but with "Input/output error".
        raise UsageError(f"{name}: truncated, its pixels go on after the file's end")
    try:
        with _silent_libraw(), rawpy.imread(str(path)) as raw:
            if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None:
                raise UsageError(f"{name}: not a Bayer RAW (no mosaic in it)")
            cfa = _phase(name, raw)
            pixels: Rows = np.array(raw.raw_image, np.uint16, order="C")
            if "DNGVersion" not in tags:
                tags |= tags_from_libraw(raw)
    except rawpy.LibRawFileUnsupportedError:
        raise UsageError(f"{name}: not a picture and no camera's RAW file") from None
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise UsageError(f"{name}: damaged, or no camera's RAW file ({reason})") from error
    height, width = pixels.shape
    check_size(width, height, f"{name}: its size")
    if "ColorMatrix1" not in tags:
        raise UsageError(f"{name}: it has no ColorMatrix1, so its colours are unknown")
    try:
        return _describe(name, tags, cfa, pixels), pixels
    except (ValueError, TypeError) as error:
        # A tag of the wrong type or count, from a writer with ideas of its own.
        raise UsageError(f"{name}: its tags make no sense ({error})") from error


def _describe(name: str, tags: Tags, cfa: str, pixels: Rows) -> Sensor:
    """Make a sensor of what the tags say."""
    height, width = pixels.shape
    top, left, bottom, right = (int(v) for v in tags.get("ActiveArea", (0, 0, height, width)))
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        area = f"{top}, {left}, {bottom}, {right}"
        raise UsageError(f"{name}: its ActiveArea {area} is not within {width}x{height}")
    matrix = _pairs(tags["ColorMatrix1"], 9, name, "ColorMatrix1")
    bits = _bits(tags, pixels)
    return Sensor(
        maker=_text(tags.get("Make")),
        model=_text(tags.get("Model")) or _text(tags.get("UniqueCameraModel")),
        width=width,
        height=height,
        bits=bits,
        cfa=cfa,
        black=_black(tags, top, left, name),
        white=int(_numbers(tags.get("WhiteLevel", (1 << bits) - 1))[0]),
        orientation=int(tags.get("Orientation", 1)),
        color_matrix=matrix,
        neutral=_neutral(tags, matrix, name),
        illuminant=int(tags.get("CalibrationIlluminant1", 0)),
        modes=make_file_modes(width, height, (top, left, bottom, right)),
    )


def tags_from_libraw(raw: Any) -> Tags:
    """Say in DNG's terms what LibRaw knows of a file, for cameras whose files are no DNG.

    :param raw: an open :class:`rawpy.RawPy`.
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
        "Orientation": {3: 3, 5: 8, 6: 6}.get(sizes.flip, 1),
    }
    matrix = np.asarray(raw.rgb_xyz_matrix)[:3]
    if matrix.any():
        tags["ColorMatrix1"] = _ratios(matrix.reshape(9))
        tags["CalibrationIlluminant1"] = D65_ILLUMINANT  # LibRaw's table holds Adobe's D65 ones
    balance = np.array(raw.camera_whitebalance[:3], float)
    if (balance > 0).all():
        tags["AsShotNeutral"] = _ratios(balance[1] / balance)
    return tags


@contextlib.contextmanager
def _silent_libraw() -> Iterator[None]:
    """Keep off stderr what LibRaw prints there from C before it raises the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)


def _read_tags(path: Path) -> Tags:
    """Collect the tags of a TIFF: IFD0's, and over them those of the largest mosaic's IFD.

    :raises UsageError: when the directory is broken.
    """
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # it reports damage there; we report it ourselves
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for top in tiff.pages for page in (top, *(top.pages or ()))]
            found = [_tags(page) for page in pages if isinstance(page, tifffile.TiffPage)]
    except Exception as error:
        # As with pictures: a broken directory shows as nearly any exception.
        raise UsageError(f"scene {path}: its TIFF directory is damaged") from error
    finally:
        log.setLevel(level)
    tags = dict(found[0]) if found else {}
    mosaics = [each for each in found if _is_mosaic(each)]
    if mosaics:
        largest: Tags = max(mosaics, key=_area)
        tags |= largest
    return tags


def _end_of_pixels(tags: Tags) -> float:
    """Give where in the file the last strip or tile ends, in bytes."""
    kind = "Strip" if "StripOffsets" in tags else "Tile"
    offsets = _numbers(tags.get(f"{kind}Offsets", 0))
    counts = _numbers(tags.get(f"{kind}ByteCounts", 0))
    return max(start + count for start, count in zip(offsets, counts, strict=False))


def _tags(page: tifffile.TiffPage) -> Tags:
    return {tag.name: tag.value for tag in page.tags}


def _area(tags: Tags) -> int:
    return int(tags.get("ImageWidth", 0)) * int(tags.get("ImageLength", 0))


def _is_mosaic(tags: Tags) -> bool:
    return bool(tags.get("PhotometricInterpretation") == PHOTOMETRIC_CFA)


def _phase(name: str, raw: Any) -> str:
    """Name the colours of the 2x2 pixels at (0, 0) of the full frame."""
    colours = raw.color_desc.decode()
    if raw.raw_pattern.shape == (2, 2):
        cfa = "".join(colours[index] for index in raw.raw_pattern.reshape(4))
        if cfa in CFA_PHASES:
            return cfa
    raise UsageError(f"{name}: its colour filter is not a 2x2 Bayer pattern of red, green, blue")


def _ratios(values: Any) -> list[int]:
    """Write decimals as numerators over 10000, flat."""
    return [number for value in values for number in (round(float(value) * 10000), 10000)]


def _bits(tags: Tags, pixels: Rows) -> int:
    """Take the bits the file states, else those its white level needs; never too few."""
    stated = _numbers(tags.get("BitsPerSample", 0))[0]
    largest = int(pixels.max())
    if stated in BITS and largest >> int(stated) == 0:
        return int(stated)
    largest = max(largest, int(_numbers(tags.get("WhiteLevel", 0))[0]))
    return next(bits for bits in BITS if largest >> bits == 0 or bits == BITS[-1])


def _black(tags: Tags, top: int, left: int, name: str) -> tuple[float, float, float, float]:
    """Spread the black levels over 2x2 pixels and count them from (0, 0), not the ActiveArea."""
    numbers = _numbers(tags.get("BlackLevel", 0))
    high, wide = (int(v) for v in tags.get("BlackLevelRepeatDim", (1, 1)))
    if high * wide != len(numbers):
        # BlackLevel is often written as rationals: twice as many integers.
        numbers = [float(Fraction(n, d)) for n, d in _pairs(numbers, high * wide, name, "Black")]
    if high > 2 or wide > 2:
        raise UsageError(f"{name}: its black level repeats every {high}x{wide} pixels, not 2x2")
    tile = np.array(numbers, float).reshape(high, wide)
    a, b, c, d = (float(tile[(y - top) % high, (x - left) % wide]) for y in (0, 1) for x in (0, 1))
    return a, b, c, d


def _neutral(tags: Tags, matrix: tuple[Pair, ...], name: str) -> tuple[Pair, ...]:
    """Take AsShotNeutral, or what the matrix makes of AsShotWhiteXY, or of D65."""
    if "AsShotNeutral" in tags:
        return _pairs(tags["AsShotNeutral"], 3, name, "AsShotNeutral")
    white = XYZ_FROM_SRGB.sum(axis=1)
    if "AsShotWhiteXY" in tags:
        (xn, xd), (yn, yd) = _pairs(tags["AsShotWhiteXY"], 2, name, "AsShotWhiteXY")
        x, y = xn / xd, yn / yd
        white = np.array([x / y, 1.0, (1 - x - y) / y])
    camera = np.array([num / den for num, den in matrix]).reshape(3, 3) @ white
    return _pairs(_ratios(camera / camera[1]), 3, name, "neutral")


def _pairs(values: Any, count: int, name: str, tag: str) -> tuple[Pair, ...]:
    """Group flat rationals, as tifffile gives them, into pairs."""
    flat = [int(value) for value in np.asarray(values).reshape(-1)]
    pairs = tuple(zip(flat[::2], flat[1::2], strict=False))
    if len(flat) != 2 * count or any(den == 0 for _, den in pairs):
        raise UsageError(f"{name}: its tag {tag} is not {count} rational numbers")
    return pairs


def _numbers(value: Any) -> list[float]:
    """Give a tag's one or several numbers as a list."""
    return [float(v) for v in np.asarray(value).reshape(-1)]


def _text(value: Any) -> str | None:
    """Give a tag's text without padding, None for none."""
    return str(value).replace("\0", " ").strip() or None if value is not None else None
