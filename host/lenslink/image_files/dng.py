"""A frame as a DNG: the sensor's pixels untouched, and what a converter must know of them.

Tags and their homes are those of Adobe's DNG specification, version 1.4: with a preview the
file's first directory (IFD0) holds a rendered RGB picture and the tags about the camera, and its
first SubIFD the RAW and the tags about its pixels, the layout that readers of all kinds expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenslink.frame import Frame
from lenslink.image_files.describe import make_caption, to_ascii
from lenslink.image_files.exif import PLACEHOLDER, attach_exif, to_rational

# TIFF's field types, by the names the specification gives them.
BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10

STRIP_BYTES = 256 * 1024
"""About the size of a strip: small enough to stream, large enough that offsets stay few."""

CFA_CHANNELS = {"R": 0, "G": 1, "B": 2}

# (code, type, count, value, write once): what tifffile calls an extra tag.
Tag = tuple[int, int, int, Any, bool]


def write_dng(
    frame: Frame, file: BinaryIO | Path, preview: NDArray[np.uint8] | None, software: str
) -> None:
    """Write ``frame`` as a DNG 1.4 to ``file``, a path or a seekable binary file at its start.

    ``preview`` is a rendered sRGB picture, (h, w, 3) uint8, turned as the sensor is (the
    Orientation tag holds for it and for the RAW alike); without one the RAW is the only picture.
    ``software`` names the program and its version. A binary file must be readable as well.

    The pixels are stored as they are, right-justified in 16-bit words without compression;
    WhiteLevel says how many of the bits are used. An incomplete frame is written too, and its
    ImageDescription says so. Raises OSError when the file cannot be written.
    """
    if isinstance(file, Path):
        with file.open("w+b") as opened:
            write_dng(frame, opened, preview, software)
        return
    _write_pictures(frame, file, preview, software)
    attach_exif(frame, file)


def _write_pictures(
    frame: Frame, file: BinaryIO, preview: NDArray[np.uint8] | None, software: str
) -> None:
    import tifffile

    raw: dict[str, Any] = {
        "data": iterate_strips(frame.pixels),
        "shape": frame.pixels.shape,
        "dtype": np.uint16,
        "photometric": tifffile.PHOTOMETRIC.CFA,
        "rowsperstrip": count_strip_rows(frame.width),
        "subfiletype": 0,
        "metadata": None,
    }
    camera: dict[str, Any] = {
        "description": make_caption(frame),
        "software": to_ascii(software),
        "datetime": True,
    }
    # A little-endian file whatever the host, because the pixels are written as bytes.
    with tifffile.TiffWriter(file, byteorder="<") as tiff:
        if preview is None:
            tiff.write(**raw, **camera, extratags=[*_camera_tags(frame), *_raw_tags(frame)])
            return
        tiff.write(
            data=iter([np.ascontiguousarray(preview, dtype=np.uint8).tobytes()]),
            shape=preview.shape,
            dtype=np.uint8,
            photometric=tifffile.PHOTOMETRIC.RGB,
            subfiletype=1,
            metadata=None,
            subifds=1,
            extratags=[*_camera_tags(frame), (50970, LONG, 1, 2, True)],  # PreviewColorSpace: sRGB
            **camera,
        )
        tiff.write(**raw, software=False, extratags=_raw_tags(frame))


def count_strip_rows(width: int) -> int:
    """Rows in a strip: even, so that no strip splits a pair of the mosaic's rows."""
    return max(2, STRIP_BYTES // (2 * width) // 2 * 2)


def iterate_strips(pixels: NDArray[np.uint16]) -> Iterator[bytes]:
    """The strips' bytes, made one at a time: a 100-megapixel frame is never copied whole."""
    rows = count_strip_rows(pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        yield pixels[top : top + rows].astype("<u2", copy=False).tobytes()


def _text(code: int, text: str) -> Tag:
    value = to_ascii(text)
    return code, ASCII, len(value) + 1, value, True


def _camera_tags(frame: Frame) -> list[Tag]:
    """Tags of the picture as a whole, which stand in IFD0."""
    color, identity = frame.color, frame.identity
    maker, model = to_ascii(identity.maker), to_ascii(identity.model)
    return [
        _text(271, maker),  # Make
        _text(272, model),  # Model
        (274, SHORT, 1, frame.orientation, True),  # Orientation
        (PLACEHOLDER, LONG, 1, 0, True),  # becomes the pointer to the EXIF directory
        (50706, BYTE, 4, (1, 4, 0, 0), True),  # DNGVersion
        (50707, BYTE, 4, (1, 1, 0, 0), True),  # DNGBackwardVersion: nothing newer is needed
        _text(50708, f"{maker} {model}"),  # UniqueCameraModel
        (50721, SRATIONAL, 9, tuple(chain(*color.matrix)), True),  # ColorMatrix1
        (50728, RATIONAL, 3, tuple(chain(*color.neutral)), True),  # AsShotNeutral
        _text(50735, identity.serial),  # CameraSerialNumber
        (50778, SHORT, 1, color.illuminant, True),  # CalibrationIlluminant1
    ]


def _raw_tags(frame: Frame) -> list[Tag]:
    """Tags of the mosaic, which stand beside its strips."""
    top, left, bottom, right = frame.active_area
    # A converter crops to ActiveArea first: the two patterns that follow start at its corner,
    # not at the frame's, which shows when a sensor's dark border is an odd number of pixels.
    order = [2 * ((top + row) % 2) + (left + column) % 2 for row in (0, 1) for column in (0, 1)]
    pattern = bytes(CFA_CHANNELS[frame.cfa[place]] for place in order)
    black = [frame.black[place] for place in order]
    side = 2 if len(set(black)) > 1 else 1
    return [
        (33421, SHORT, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, BYTE, 4, pattern, True),  # CFAPattern
        (50710, BYTE, 3, bytes((0, 1, 2)), True),  # CFAPlaneColor
        (50711, SHORT, 1, 1, True),  # CFALayout: rectangular
        (50713, SHORT, 2, (side, side), True),  # BlackLevelRepeatDim
        _black_levels(black[: side * side]),
        (50717, LONG, 1, frame.white, True),  # WhiteLevel
        (50719, LONG, 2, (0, 0), True),  # DefaultCropOrigin: within ActiveArea
        (50720, LONG, 2, (right - left, bottom - top), True),  # DefaultCropSize: width, height
        (50829, LONG, 4, frame.active_area, True),  # ActiveArea
    ]


def _black_levels(levels: list[float]) -> Tag:
    """BlackLevel: integers where they are, else rationals (a 16-bit level's fit 32 bits)."""
    if all(float(level).is_integer() for level in levels):
        return 50714, LONG, len(levels), tuple(int(level) for level in levels), True
    flat = tuple(
        chain(*(to_rational(Fraction(level).limit_denominator(65536)) for level in levels))
    )
    return 50714, RATIONAL, len(levels), flat, True
