"""Read and write a module's calibrations, whose layouts are in SPEC.md, section 7.1.

:func:`parse_calibration` checks what a module sent, :func:`encode_calibration` makes it. Values
keep the units of the wire::

    >>> blur = Blur(((0, 87_500), (3300, 99_000)))
    >>> data = encode_calibration(blur)
    >>> parse_calibration(CalibrationKind.BLUR, data) == blur
    True

A host reads a calibration with GetCalibration. :mod:`.manifest` has its length and its CRC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from .ids import CalibrationKind
from .messages import (
    BlurHead,
    BlurPoint,
    DefectPixel,
    DefectsHead,
    DistortionTable,
    GainMapHead,
    Malformed,
    NoiseHead,
    NoisePoint,
)
from .params import MAX_CALIBRATION

UNIT_GAIN: Final = 4096
"""The number of a gain map that is a gain of 1."""
MAX_POINTS: Final = 64
"""Most points of a noise profile or a blur, and most points of a side of a gain map."""
MAX_MAPS: Final = 16
"""Most apertures, and most distances, of a gain map."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise profile: gain in 1/1000, S in 1e-9, and O in 1e-12, by rising gain."""

    points: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class GainMap:
    """The gain that evens out the light, for each f-number, distance and place."""

    apertures: tuple[int, ...]
    """F-numbers in 1/1000, rising."""
    focuses: tuple[int, ...]
    """Distances in milli-dioptres, rising."""
    rows: int
    columns: int
    gains: tuple[int, ...]
    """In 1/UNIT_GAIN: for each f-number, each distance, each row, each column."""


@dataclass(frozen=True, slots=True)
class Distortion:
    """The lens' distortion, as DNG's WarpRectilinear states it."""

    center: tuple[int, int]
    """The optical axis, in 1e-6 of width and height."""
    radial: tuple[int, int, int, int]
    """kr0 to kr3, 1e-9."""
    tangential: tuple[int, int]
    """kt0 and kt1, 1e-9."""


@dataclass(frozen=True, slots=True)
class Blur:
    """The blur at f/1, one dioptre out of focus: distance in milli-dioptres, 1/1000 pixel."""

    points: tuple[tuple[int, int], ...]


class Defect(NamedTuple):
    """A pixel that is not to be used."""

    mode: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Defects:
    """The pixels that are not to be used, by mode, row and column."""

    pixels: tuple[Defect, ...]


AnyCalibration = Noise | GainMap | Distortion | Blur | Defects


def parse_calibration(kind: int, data: bytes) -> AnyCalibration | None:
    """Return the calibration in *data*, or None if the kind is unknown.

    Raises:
        Malformed: The calibration breaks a rule of Table 14.
    """
    if len(data) > MAX_CALIBRATION:
        raise Malformed(f"{len(data)} bytes, more than {MAX_CALIBRATION}")
    parse = _PARSERS.get(kind)
    if parse is None:
        return None
    try:
        return parse(data)
    except Malformed as error:
        raise Malformed(f"calibration {CalibrationKind(kind).name}: {error}") from None


def encode_calibration(calibration: AnyCalibration) -> bytes:
    """Return the bytes of a calibration. Nothing is checked but that the numbers fit."""
    match calibration:
        case Noise(points):
            return NoiseHead(len(points)).encode() + _pack(NoisePoint.FIXED, points)
        case GainMap(apertures, focuses, rows, columns, gains):
            head = GainMapHead(len(apertures), len(focuses), rows, columns)
            lists = f"<{len(apertures)}I{len(focuses)}i{len(gains)}H"
            return head.encode() + struct.pack(lists, *apertures, *focuses, *gains)
        case Distortion(center, radial, tangential):
            return DistortionTable(center, radial, tangential).encode()
        case Blur(points):
            return BlurHead(len(points)).encode() + _pack(BlurPoint.FIXED, points)
        case Defects(pixels):
            return DefectsHead(len(pixels)).encode() + _pack(DefectPixel.FIXED, pixels)


def get_kind(calibration: AnyCalibration) -> CalibrationKind:
    """Return the kind of a calibration."""
    return _KINDS[type(calibration)]


def _pack(layout: struct.Struct, entries: Sequence[tuple[int, ...]]) -> bytes:
    return b"".join(layout.pack(*entry) for entry in entries)


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise Malformed(rule)


def _check_rising(name: str, values: Sequence[int]) -> None:
    _check(all(a < b for a, b in pairwise(values)), f"{name} do not rise")


def _cut(data: bytes, start: int, layout: struct.Struct, count: int) -> list[tuple[int, ...]]:
    """Return *count* entries from byte *start* on. A newer minor version may append bytes."""
    end = start + count * layout.size
    _check(end <= len(data), f"{len(data)} bytes, and {count} entries need {end}")
    return list(layout.iter_unpack(data[start:end]))


def _parse_noise(data: bytes) -> Noise:
    count = NoiseHead.decode(data).points
    _check(1 <= count <= MAX_POINTS, f"{count} gains instead of 1 to {MAX_POINTS}")
    points = [(gain, slope, offset) for gain, slope, offset in
              _cut(data, NoiseHead.FIXED.size, NoisePoint.FIXED, count)]  # fmt: skip
    _check_rising("the gains", [point[0] for point in points])
    _check(points[0][0] > 0 and all(point[1] for point in points), "a gain or a slope is 0")
    return Noise(tuple(points))


def _parse_gain_map(data: bytes) -> GainMap:
    head = GainMapHead.decode(data)
    for name, count in (("apertures", head.apertures), ("focuses", head.focuses)):
        _check(1 <= count <= MAX_MAPS, f"{count} {name} instead of 1 to {MAX_MAPS}")
    for name, count in (("rows", head.rows), ("columns", head.columns)):
        _check(2 <= count <= MAX_POINTS, f"{count} {name} instead of 2 to {MAX_POINTS}")
    points = head.apertures * head.focuses * head.rows * head.columns
    lists = struct.Struct(f"<{head.apertures}I{head.focuses}i{points}H")
    (values,) = _cut(data, GainMapHead.FIXED.size, lists, 1)
    apertures, rest = values[: head.apertures], values[head.apertures :]
    focuses, gains = rest[: head.focuses], rest[head.focuses :]
    _check_rising("the apertures", (0, *apertures))
    _check_rising("the focuses", focuses)
    _check(min(gains) > 0, "a gain is 0")
    return GainMap(apertures, focuses, head.rows, head.columns, gains)


def _parse_distortion(data: bytes) -> Distortion:
    table = DistortionTable.decode(data)
    _check(max(table.center) <= 1_000_000, "the optical axis is outside of the picture")
    return Distortion(table.center, table.radial, table.tangential)


def _parse_blur(data: bytes) -> Blur:
    count = BlurHead.decode(data).points
    _check(1 <= count <= MAX_POINTS, f"{count} distances instead of 1 to {MAX_POINTS}")
    points = [(focus, blur) for focus, blur in
              _cut(data, BlurHead.FIXED.size, BlurPoint.FIXED, count)]  # fmt: skip
    _check_rising("the distances", [point[0] for point in points])
    return Blur(tuple(points))


def _parse_defects(data: bytes) -> Defects:
    count = DefectsHead.decode(data).pixels
    size = DefectPixel.FIXED.size
    _check(count <= MAX_CALIBRATION // size, f"{count} pixels in {len(data)} bytes")
    pixels = [
        Defect(mode, x, y) for mode, x, y in
        _cut(data, DefectsHead.FIXED.size, DefectPixel.FIXED, count)
    ]  # fmt: skip
    order = [(mode << 32) + (y << 16) + x for mode, x, y in pixels]
    _check_rising("mode, row and column of the pixels", order)
    return Defects(tuple(pixels))


_PARSERS: dict[int, Callable[[bytes], AnyCalibration]] = {
    CalibrationKind.NOISE: _parse_noise,
    CalibrationKind.GAIN_MAP: _parse_gain_map,
    CalibrationKind.DISTORTION: _parse_distortion,
    CalibrationKind.BLUR: _parse_blur,
    CalibrationKind.DEFECTS: _parse_defects,
}

_KINDS: dict[type[AnyCalibration], CalibrationKind] = {
    Noise: CalibrationKind.NOISE,
    GainMap: CalibrationKind.GAIN_MAP,
    Distortion: CalibrationKind.DISTORTION,
    Blur: CalibrationKind.BLUR,
    Defects: CalibrationKind.DEFECTS,
}
