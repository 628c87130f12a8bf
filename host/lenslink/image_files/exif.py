"""The EXIF directory of a DNG: exposure, sensitivity, distance.

These tags may not stand in IFD0, and tifffile writes no EXIF directory. So :func:`attach_exif`
appends the directory to the finished file. IFD0 has a placeholder tag, which then becomes the
pointer to the directory.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import BinaryIO

from lenslink.frame import Frame

EXIF_IFD = 34665
PLACEHOLDER = 34664
"""An unassigned tag beside ExifIFD, which tifffile refuses to write; one LONG of value 0."""

_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7
_UINT32 = 2**32 - 1


def attach_exif(frame: Frame, file: BinaryIO) -> None:
    """Append the EXIF directory to the little-endian TIFF in *file*, and link it from IFD0.

    Args:
        frame: the frame that the file holds.
        file: readable, writable and seekable; its IFD0 has the PLACEHOLDER tag.

    Raises:
        OSError: the file cannot be written.
    """
    import tifffile

    start = file.seek(0, 2)
    start += start % 2  # a directory begins on an even byte
    file.seek(start)
    file.write(make_exif_directory(frame, start))
    file.seek(0)  # TiffFile reads from the current position
    with tifffile.TiffFile(file, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        holder = tags[PLACEHOLDER]
        holder.overwrite(start)
        if 330 in tags:
            # tifffile writes SubIFDs with the type IFD. That is legal, but exiftool warns of it.
            tags[330].overwrite(tags[330].value, dtype=_LONG)
        file.seek(holder.offset)
        file.write(struct.pack("<H", EXIF_IFD))


def make_exif_directory(frame: Frame, start: int) -> bytes:
    """The directory as it stands ``start`` bytes into a little-endian file (EXIF 2.3, 4.6.5)."""
    # ISO by convention: unity gain counts as 100, because no module is calibrated to ISO 12232.
    iso = min(round(frame.gain_milli / 10), 65535)
    exposure = to_rational(Fraction(max(frame.exposure_us, 0), 1_000_000))
    # All ones is EXIF's infinity.
    distance = (1000, frame.focus_mdpt) if frame.focus_mdpt > 0 else (_UINT32, 1)
    count = 4
    values = start + 2 + 12 * count + 4  # what does not fit an entry's four bytes stands behind
    return b"".join(
        (
            struct.pack("<H", count),
            struct.pack("<HHII", 33434, _RATIONAL, 1, values),  # ExposureTime, s
            struct.pack("<HHIHxx", 34855, _SHORT, 1, iso),  # ISOSpeedRatings
            struct.pack("<HHI4s", 36864, _UNDEFINED, 4, b"0230"),  # ExifVersion
            struct.pack("<HHII", 37382, _RATIONAL, 1, values + 8),  # SubjectDistance, m
            struct.pack("<I", 0),  # no directory follows
            struct.pack("<II", *exposure),
            struct.pack("<II", *distance),
        )
    )


def to_rational(value: Fraction) -> tuple[int, int]:
    """Return *value*, which is not negative, as a TIFF RATIONAL, exact if 32 bits suffice."""
    bound = 1_000_000
    while value.numerator > _UINT32 and bound > 1:
        # The microseconds of an exposure of hours do not fit, but its seconds do.
        bound //= 10
        value = Fraction(round(value * bound), bound)
    return min(value.numerator, _UINT32), value.denominator
