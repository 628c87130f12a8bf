"""Reads the tags of all directories of a TIFF, a BigTIFF or a DNG.

The tags tell a RAW file from a picture. :mod:`.raw_mosaic` reads what a DNG states of its pixels.
Import this module only for a TIFF, because tifffile takes its time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from lenslink.errors import UsageError

Tags = dict[str, Any]

Pair = tuple[int, int]
"""A rational number as TIFF holds it: numerator, denominator."""


def read_directories(path: Path, name: str) -> list[Tags]:
    """Return the tags of each directory, by their names: IFD0 first, each SubIFD behind its parent.

    Raises:
        UsageError: a directory is damaged. The message calls the file *name*.
    """
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # tifffile logs damage; the caller reports it instead
    try:
        with tifffile.TiffFile(path) as tiff:
            return [tags for page in tiff.pages for tags in _iterate_tags(page)]
    except Exception as error:
        # As for pictures, a damaged directory raises nearly any exception.
        raise UsageError(f"{name}: its TIFF directory is damaged") from error
    finally:
        log.setLevel(level)


def read_float_mosaic(path: Path, name: str) -> NDArray[np.float32]:
    """Return the largest floating-point picture of one channel in a TIFF, shape (H, W).

    Raises:
        UsageError: there is none, or its strips are damaged.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for parent in tiff.pages for page in (parent, *(parent.pages or ()))]
            floats = [page for page in pages if page.dtype is not None and page.dtype.kind == "f"]
            largest = max(floats, key=lambda page: page.imagewidth * page.imagelength)
            pixels = np.asarray(largest.asarray(), np.float32)
    except Exception as error:
        raise UsageError(f"{name}: its floating-point pixels are damaged") from error
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise UsageError(f"{name}: its floating-point pixels are no mosaic")
    return pixels


def _iterate_tags(page: Any) -> Iterator[Tags]:
    if isinstance(page, tifffile.TiffFrame):
        page = page.aspage()
    yield {tag.name: tag.value for tag in page.tags}
    for child in page.pages or ():
        yield from _iterate_tags(child)


def get_numbers(value: Any) -> list[float]:
    """Return a tag's one or several numbers as a list."""
    return [float(v) for v in np.asarray(value).reshape(-1)]


def get_rationals(tags: Tags, tag: str, count: int, name: str) -> tuple[tuple[int, int], ...]:
    """Return the *count* rationals of a tag, which tifffile gives as a flat list.

    Raises:
        UsageError: there are more or fewer rationals, or a denominator is zero. The message calls
            the file *name*.
    """
    flat = [int(value) for value in np.asarray(tags[tag]).reshape(-1)]
    pairs = tuple(zip(flat[::2], flat[1::2], strict=False))
    if len(flat) != 2 * count or any(den == 0 for _, den in pairs):
        raise UsageError(f"{name}: its tag {tag} is not {count} rational numbers")
    return pairs


def get_fraction(tags: Tags, tag: str) -> Fraction:
    """Return the rational of an optional tag; 0 if the tag is absent or says 0/0."""
    flat = [int(value) for value in np.asarray(tags.get(tag, (0, 1))).reshape(-1)]
    return Fraction(flat[0], flat[1]) if len(flat) == 2 and flat[1] else Fraction(0)
