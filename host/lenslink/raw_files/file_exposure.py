"""What a RAW file's EXIF directory says of the exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tiff_tags import Tags, get_numbers

_NEAREST_MDPT = 100_000


@dataclass(frozen=True, slots=True)
class FileExposure:
    """How a file's picture was exposed. 0 is unknown."""

    seconds: float = 0.0
    iso: float = 0.0
    f_number: float = 0.0
    focus_mdpt: int = 0
    """1000 over the distance of the subject in metres."""


def read_exposure(tags: Tags) -> FileExposure:
    """Return the exposure that the tags of a RAW file state. What makes no sense is unknown.

    >>> read_exposure({"ExifTag": {"ExposureTime": (1, 50), "ISOSpeedRatings": 200}})
    FileExposure(seconds=0.02, iso=200.0, f_number=0.0, focus_mdpt=0)
    """
    exif = tags.get("ExifTag")
    exif = exif if isinstance(exif, dict) else {}
    iso = exif.get("ISOSpeedRatings", exif.get("PhotographicSensitivity", 0))
    metres = _read_rational(exif.get("SubjectDistance"))
    return FileExposure(
        seconds=_read_rational(exif.get("ExposureTime")),
        iso=next(iter(_read_numbers(iso)), 0.0),
        f_number=_read_rational(exif.get("FNumber")),
        focus_mdpt=min(round(1000 / metres), _NEAREST_MDPT) if metres else 0,
    )


def _read_numbers(value: Any) -> list[float]:
    """Return the numbers of a tag; none if it holds something else."""
    try:
        return get_numbers(() if value is None else value)
    except (TypeError, ValueError):
        return []


def _read_rational(value: Any) -> float:
    """Return a rational as tifffile gives it, (numerator, denominator); 0 if there is none."""
    numbers = _read_numbers(value)
    if len(numbers) != 2 or not numbers[1] or not numbers[0] > 0:
        return 0.0
    return numbers[0] / numbers[1]
