"""The EXIF directory of a DNG: exposure, sensitivity, distance, lens and time.

These tags may not stand in IFD0, and tifffile writes no EXIF directory. So :func:`attach_exif`
appends the directory to the finished file. IFD0 has a placeholder tag, which then becomes the
pointer to the directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from typing import BinaryIO

from lenslink.frame import Frame

from .describe import to_ascii
from .float_raw import FloatRaw

EXIF_IFD = 34665
PLACEHOLDER = 34664
"""An unassigned tag beside ExifIFD, which tifffile refuses to write; one LONG of value 0."""

_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7
_UINT32 = 2**32 - 1
_SUBIFDS = 330
_ENTRY_BYTES = 12
_INLINE_BYTES = 4
# Little-endian; the first directory follows.
_TIFF_HEADER = struct.pack("<2sHI", b"II", 42, 8)

# Code, type, count and value of a tag.
_Entry = tuple[int, int, int, bytes]


def attach_exif(frame: Frame | FloatRaw, file: BinaryIO, moment: datetime) -> None:
    """Append the EXIF directory to the little-endian TIFF in *file*, and link it from IFD0.

    Args:
        frame: the frame that the file holds.
        file: readable, writable and seekable; its IFD0 has the PLACEHOLDER tag.
        moment: when the picture was taken, with its time zone.

    Raises:
        OSError: the file cannot be written.
    """
    import tifffile

    start = file.seek(0, 2)
    start += start % 2  # a directory begins on an even byte
    file.seek(start)
    file.write(make_exif_directory(frame, start, moment))
    file.seek(0)  # TiffFile reads from the current position
    with tifffile.TiffFile(file, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        holder = tags[PLACEHOLDER]
        holder.overwrite(start)
        if _SUBIFDS in tags:
            # tifffile writes SubIFDs with the type IFD. That is legal, but exiftool warns of it.
            tags[_SUBIFDS].overwrite(tags[_SUBIFDS].value, dtype=_LONG)
        file.seek(holder.offset)
        file.write(struct.pack("<H", EXIF_IFD))


def make_exif_directory(frame: Frame | FloatRaw, start: int, moment: datetime) -> bytes:
    """Return the directory as it stands *start* bytes into a little-endian file (EXIF 2.31)."""
    return _pack_directory(sorted(_make_entries(frame, moment)), start)


def make_exif_block(frame: Frame, moment: datetime) -> bytes:
    """Return the EXIF block of a JPEG whose pixels are upright: a TIFF without a picture.

    Args:
        frame: the frame that was developed.
        moment: when the picture was taken, with its time zone.
    """

    def pack_first(exif_at: int) -> bytes:
        entries = [
            _make_text(271, to_ascii(frame.identity.maker)),  # Make
            _make_text(272, to_ascii(frame.identity.model)),  # Model
            _make_short(274, 1),  # Orientation
            _make_text(306, f"{moment:%Y:%m:%d %H:%M:%S}"),  # DateTime
            (EXIF_IFD, _LONG, 1, struct.pack("<I", exif_at)),
        ]
        return _TIFF_HEADER + _pack_directory(entries, len(_TIFF_HEADER))

    # The length does not depend on what the pointer holds.
    start = len(pack_first(0))
    return b"Exif\0\0" + pack_first(start) + make_exif_directory(frame, start, moment)


def _pack_directory(entries: list[_Entry], start: int) -> bytes:
    """Return a directory with its values, as it stands *start* bytes into the file."""
    # A value that does not fit its entry stands behind the directory.
    offset = start + 2 + _ENTRY_BYTES * len(entries) + 4
    directory, values = struct.pack("<H", len(entries)), b""
    for code, kind, count, value in entries:
        directory += struct.pack("<HHI", code, kind, count)
        if len(value) <= _INLINE_BYTES:
            directory += value.ljust(_INLINE_BYTES, b"\0")
            continue
        directory += struct.pack("<I", offset + len(values))
        values += value + bytes(len(value) % 2)
    return directory + struct.pack("<I", 0) + values  # no directory follows


def _make_entries(frame: Frame | FloatRaw, moment: datetime) -> Iterator[_Entry]:
    yield _make_rational(33434, Fraction(max(frame.exposure_us, 0), 1_000_000))  # ExposureTime, s
    # ISO by convention: unity gain counts as 100, because no module is calibrated to ISO 12232.
    yield _make_short(34855, round(frame.gain_milli / 10))  # ISOSpeedRatings
    yield 36864, _UNDEFINED, 4, b"0231"  # ExifVersion
    yield _make_text(36867, f"{moment:%Y:%m:%d %H:%M:%S}")  # DateTimeOriginal
    zone = f"{moment:%z}"
    if zone:
        yield _make_text(36881, f"{zone[:3]}:{zone[3:5]}")  # OffsetTimeOriginal
    # SubjectDistance in metres; all ones is EXIF's infinity.
    distance = (1000, frame.focus_mdpt) if frame.focus_mdpt > 0 else (_UINT32, 1)
    yield 37382, _RATIONAL, 1, struct.pack("<II", *distance)
    if frame.aperture_milli:
        yield _make_rational(33437, Fraction(frame.aperture_milli, 1000))  # FNumber
    if (optics := frame.optics) is not None:
        focal, widest = Fraction(optics.focal_um, 1000), Fraction(optics.aperture_milli, 1000)
        if not frame.aperture_milli:
            # The module has no iris.
            yield _make_rational(33437, widest)  # FNumber
        yield _make_rational(37386, focal)  # FocalLength, mm
        yield _make_short(41989, round(optics.focal_35mm_um / 1000))  # FocalLengthIn35mmFilm
        # LensSpecification: shortest and longest focal length, and the widest f-number at each.
        numbers = [*to_rational(focal), *to_rational(focal)]
        numbers += [*to_rational(widest), *to_rational(widest)]
        yield 42034, _RATIONAL, 4, struct.pack("<8I", *numbers)
        # The module is camera and lens in one.
        yield _make_text(42035, to_ascii(frame.identity.maker))  # LensMake
        yield _make_text(42036, to_ascii(frame.identity.model))  # LensModel


def _make_rational(code: int, value: Fraction) -> _Entry:
    return code, _RATIONAL, 1, struct.pack("<II", *to_rational(value))


def _make_short(code: int, value: int) -> _Entry:
    return code, _SHORT, 1, struct.pack("<H", min(value, 65535))


def _make_text(code: int, text: str) -> _Entry:
    value = text.encode("ascii") + b"\0"
    return code, _ASCII, len(value), value


def to_rational(value: Fraction) -> tuple[int, int]:
    """Return *value*, which is not negative, as a TIFF RATIONAL, exact if 32 bits suffice."""
    bound = 1_000_000
    while value.numerator > _UINT32 and bound > 1:
        # The microseconds of an exposure of hours do not fit, but its seconds do.
        bound //= 10
        value = Fraction(round(value * bound), bound)
    return min(value.numerator, _UINT32), value.denominator
