"""Writes a developed picture: JPEG, PNG or TIFF, upright, in sRGB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.image_files.atomic_file import check_target, format_path, publish

PICTURE_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""The extensions that can be written, with Pillow's name of each format."""

JPEG_QUALITY = 92

# EXIF Orientation to what turns the picture upright: rows and columns exchanged, flips.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def check_picture(path: Path, force: bool) -> None:
    """Raise the error that :func:`save_picture` would raise for *path*, before the work is done.

    Raises:
        UsageError: the extension is not one of PICTURE_FORMATS.
        StorageError: the file exists and *force* is False, or it cannot be written.
    """
    _find_format(path)
    check_target(path, force)


def turn_upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the picture as an EXIF Orientation, 1 to 8, says.

    >>> turn_upright(np.zeros((2, 4, 3), np.uint8), 6).shape
    (4, 2, 3)
    """
    is_transposed, is_flipped_down, is_flipped_across = _TURNS[orientation]
    if is_transposed:
        picture = picture.transpose(1, 0, 2)
    if is_flipped_down:
        picture = picture[::-1]
    if is_flipped_across:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def find_sensor_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Return where a point of the upright picture lies on the sensor: parts of width and height.

    >>> find_sensor_point(1.0, 0.25, 6)
    (0.25, 0.0)
    """
    is_transposed, is_flipped_down, is_flipped_across = _TURNS[orientation]
    if is_flipped_across:
        x = 1 - x
    if is_flipped_down:
        y = 1 - y
    return (y, x) if is_transposed else (x, y)


def save_picture(picture: NDArray[np.uint8], path: Path, force: bool) -> int:
    """Write an upright sRGB picture, (H, W, 3); return the file's size in bytes.

    The file appears whole or not at all.

    Raises:
        UsageError: the extension is not one of PICTURE_FORMATS.
        StorageError: the file exists or cannot be written.
    """
    name = _find_format(path)
    with publish(path, force) as file:
        encode_picture(picture, file, name)
        return file.seek(0, os.SEEK_END)


def encode_picture(
    picture: NDArray[np.uint8], file: BinaryIO, name: str, exif: bytes | None = None
) -> None:
    """Write an upright sRGB picture to an open file in Pillow's format *name*.

    *exif* is the EXIF block of a JPEG.
    """
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    by_format: dict[str, dict[str, Any]] = {
        # Colour at full resolution.
        "JPEG": {"quality": JPEG_QUALITY, "subsampling": 0},
        # Level 1 takes a fifth of the default's time; the file is a sixth larger.
        "PNG": {"compress_level": 1},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    options = by_format[name] | ({} if exif is None else {"exif": exif})
    Image.fromarray(picture).save(file, format=name, icc_profile=profile, **options)


def _find_format(path: Path) -> str:
    try:
        return PICTURE_FORMATS[path.suffix.lower()]
    except KeyError:
        kind = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise UsageError(
            f"{format_path(path)} has {kind}; known are {', '.join(PICTURE_FORMATS)}"
        ) from None
