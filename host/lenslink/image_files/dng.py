"""Writes a frame as a DNG: its pixels unchanged, and the tags that a converter needs.

The tags and their directories are those of Adobe's DNG specification, version 1.4. With a preview,
the first directory (IFD0) holds a rendered RGB picture and the tags of the camera. Its first SubIFD
holds the RAW and the tags of its pixels. All readers expect this layout. :mod:`.save` calls
:func:`write_dng` for a file ``.dng``. :mod:`.render` makes the preview.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from itertools import chain
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenslink.frame import Frame
from lenslink.image_files.atomic_file import check_name, make_storage_error
from lenslink.image_files.describe import make_caption, to_ascii
from lenslink.image_files.exif import PLACEHOLDER, attach_exif, to_rational
from lenslink.image_files.float_raw import FloatRaw
from lenslink.image_files.opcodes import Corrections

# TIFF's field types, with the names of the specification.
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12

STRIP_BYTES = 256 * 1024
"""Approximate size of a strip: small enough to stream, large enough for few offsets."""

CROP_BORDER = 8
"""Pixels that DefaultCrop leaves out on each side, because a converter interpolates from them."""

MIN_FILE_BYTES = 100_000
"""Readers built on dcraw, RawTherapee for one, refuse a smaller file. Zeros fill it up."""

CFA_CHANNELS = {"R": 0, "G": 1, "B": 2}

EV_STEPS = 1000
"""BaselineExposure is written in thousandths of an EV."""
MOST_EV = 100

# An extra tag of tifffile: (code, type, count, value, write once).
Tag = tuple[int, int, int, Any, bool]


def write_dng(
    frame: Frame | FloatRaw,
    file: BinaryIO | Path,
    preview: NDArray[np.uint8] | None,
    software: str,
    corrections: Corrections | None = None,
) -> None:
    """Write *frame* as a DNG 1.4.

    The pixels are stored unchanged, without compression: those of a frame right-justified in 16-bit
    words, those of a merge as 32-bit floats. An incomplete frame is written too, and its
    ImageDescription states that it is incomplete.

    Args:
        frame: the frame; it stays unchanged.
        file: a path, or a binary file at its start that can be read, written and seeked.
        preview: an sRGB picture, (h, w, 3) uint8, not rotated: the Orientation tag applies to the
            preview and to the RAW. None makes the RAW the only picture.
        software: the name of the program with its version.
        corrections: the gain map and the distortion of the lens.

    Raises:
        StorageError: the file *file* names cannot be written.
        OSError: writing to the open file *file* failed.
    """
    if isinstance(file, Path):
        check_name(file)
        try:
            with file.open("w+b") as opened:
                write_dng(frame, opened, preview, software, corrections)
        except OSError as error:
            raise make_storage_error(file, error) from error
        return
    moment = datetime.now().astimezone()
    raw_tags = [*_make_raw_tags(frame), *_make_opcode_tags(corrections or Corrections())]
    _write_pictures(frame, file, preview, software, moment, raw_tags=raw_tags)
    attach_exif(frame, file, moment)
    file.write(bytes(max(0, MIN_FILE_BYTES - file.seek(0, SEEK_END))))


def _write_pictures(
    frame: Frame | FloatRaw,
    file: BinaryIO,
    preview: NDArray[np.uint8] | None,
    software: str,
    moment: datetime,
    *,
    raw_tags: list[Tag],
) -> None:
    import tifffile

    raw: dict[str, Any] = {
        "data": iterate_strips(frame.pixels),
        "shape": frame.pixels.shape,
        "dtype": frame.pixels.dtype,
        "photometric": tifffile.PHOTOMETRIC.CFA,
        "rowsperstrip": count_strip_rows(frame.width),
        "subfiletype": 0,
        "metadata": None,
    }
    camera: dict[str, Any] = {
        "description": frame.caption if isinstance(frame, FloatRaw) else make_caption(frame),
        "software": to_ascii(software),
        "datetime": f"{moment:%Y:%m:%d %H:%M:%S}",
    }
    # Little-endian on every host, because the pixels are written as bytes.
    with tifffile.TiffWriter(file, byteorder="<") as tiff:
        if preview is None:
            tiff.write(**raw, **camera, extratags=[*_make_camera_tags(frame), *raw_tags])
            return
        tiff.write(
            data=iter([np.ascontiguousarray(preview, dtype=np.uint8).tobytes()]),
            shape=preview.shape,
            dtype=np.uint8,
            photometric=tifffile.PHOTOMETRIC.RGB,
            subfiletype=1,
            metadata=None,
            subifds=1,
            extratags=[
                *_make_camera_tags(frame),
                (50970, LONG, 1, 2, True),
            ],  # PreviewColorSpace: sRGB
            **camera,
        )
        tiff.write(**raw, software=False, extratags=raw_tags)


def count_strip_rows(width: int) -> int:
    """Return the rows in a strip: an even number, so that no strip splits a pair of rows."""
    return max(2, STRIP_BYTES // (2 * width) // 2 * 2)


def iterate_strips(pixels: NDArray[np.uint16] | NDArray[np.float32]) -> Iterator[bytes]:
    """Yield the bytes of each strip, so that a 100-megapixel frame is never copied whole."""
    rows = count_strip_rows(pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        yield pixels[top : top + rows].astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _make_text_tag(code: int, text: str) -> Tag:
    value = to_ascii(text)
    return code, ASCII, len(value) + 1, value, True


def _make_camera_tags(frame: Frame | FloatRaw) -> list[Tag]:
    """Return the tags of the camera and the picture, which stand in IFD0."""
    color, identity = frame.color, frame.identity
    maker, model = to_ascii(identity.maker), to_ascii(identity.model)
    is_float = isinstance(frame, FloatRaw)
    second: list[Tag] = []
    if color.second is not None:
        second = [
            (50722, SRATIONAL, 9, tuple(chain(*color.second.matrix)), True),  # ColorMatrix2
            (50779, SHORT, 1, color.second.illuminant, True),  # CalibrationIlluminant2
        ]
    return [
        _make_text_tag(271, maker),  # Make
        _make_text_tag(272, model),  # Model
        (274, SHORT, 1, frame.orientation, True),  # Orientation
        (PLACEHOLDER, LONG, 1, 0, True),  # becomes the pointer to the EXIF directory
        (50706, BYTE, 4, (1, 4, 0, 0), True),  # DNGVersion
        # DNGBackwardVersion: floating-point pixels came with 1.4.
        (50707, BYTE, 4, (1, 4 if is_float else 1, 0, 0), True),
        _make_text_tag(50708, f"{maker} {model}"),  # UniqueCameraModel
        (50721, SRATIONAL, 9, tuple(chain(*color.matrix)), True),  # ColorMatrix1
        (50728, RATIONAL, 3, tuple(chain(*color.neutral)), True),  # AsShotNeutral
        _make_text_tag(50735, identity.serial),  # CameraSerialNumber
        (50778, SHORT, 1, color.illuminant, True),  # CalibrationIlluminant1
        *second,
        *_make_exposure_tags(frame),
    ]


def _make_exposure_tags(frame: Frame | FloatRaw) -> list[Tag]:
    """Return BaselineExposure, if the picture must be developed brighter than it is."""
    if not isinstance(frame, FloatRaw) or not frame.baseline_exposure:
        return []
    steps = round(max(-MOST_EV, min(frame.baseline_exposure, MOST_EV)) * EV_STEPS)
    return [(50730, SRATIONAL, 1, (steps, EV_STEPS), True)]


def _make_raw_tags(frame: Frame | FloatRaw) -> list[Tag]:
    """Return the tags of the mosaic, which stand in the RAW's directory."""
    top, left, bottom, right = frame.active_area
    # A converter crops to ActiveArea first. So the colour pattern and the black levels start at the
    # corner of ActiveArea, not of the frame. This matters if a dark border is odd in width.
    order = [2 * ((top + row) % 2) + (left + column) % 2 for row in (0, 1) for column in (0, 1)]
    pattern = bytes(CFA_CHANNELS[frame.cfa[place]] for place in order)
    black = [frame.black[place] for place in order]
    side = 2 if len(set(black)) > 1 else 1
    height, width = bottom - top, right - left
    border = min(CROP_BORDER, height // 4, width // 4)
    tags: list[Tag] = [
        (33421, SHORT, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, BYTE, 4, pattern, True),  # CFAPattern
        (50710, BYTE, 3, bytes((0, 1, 2)), True),  # CFAPlaneColor
        (50711, SHORT, 1, 1, True),  # CFALayout: rectangular
        (50713, SHORT, 2, (side, side), True),  # BlackLevelRepeatDim
        _make_black_level_tag(black[: side * side]),
        (50717, LONG, 1, frame.white, True),  # WhiteLevel
        (50719, LONG, 2, (border, border), True),  # DefaultCropOrigin: within ActiveArea
        (50720, LONG, 2, (width - 2 * border, height - 2 * border), True),  # DefaultCropSize
        (50829, LONG, 4, frame.active_area, True),  # ActiveArea
    ]
    if frame.noise_profile is not None:
        tags.append((51041, DOUBLE, 2, frame.noise_profile, True))  # NoiseProfile
    return tags


def _make_opcode_tags(corrections: Corrections) -> list[Tag]:
    lists = ((51009, corrections.list_2), (51022, corrections.list_3))
    return [(code, UNDEFINED, len(data), data, True) for code, data in lists if data is not None]


def _make_black_level_tag(levels: list[float]) -> Tag:
    """Return the tag BlackLevel, as integers if all levels are whole, else as rationals."""
    if all(float(level).is_integer() for level in levels):
        return 50714, LONG, len(levels), tuple(int(level) for level in levels), True
    flat = tuple(
        chain(*(to_rational(Fraction(level).limit_denominator(65536)) for level in levels))
    )
    return 50714, RATIONAL, len(levels), flat, True
