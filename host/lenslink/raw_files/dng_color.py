"""The colours of a DNG as one matrix, for the light of its picture.

A DNG may have two colour matrices for two illuminants, a calibration of the single camera, and an
analogue balance. DNG 1.4 (chapter 6) combines them for the light of the picture::

    camera = AnalogBalance * CameraCalibration * ColorMatrix * XYZ

Matrices between the two illuminants are interpolated by the inverse of the colour temperature. This
module computes the product once, so that a reader with one matrix gets the same colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.srgb import XYZ_FROM_SRGB

from .tiff_tags import Pair, Tags, get_rationals

Matrix = NDArray[np.float64]

# Colour temperature of each EXIF LightSource code, in kelvin, as in the DNG specification.
ILLUMINANT_KELVIN = {
    1: 5500, 2: 4150, 3: 2850, 4: 5500, 9: 5500, 10: 6500, 11: 7500, 12: 6400, 13: 5050, 14: 4150,
    15: 3525, 17: 2850, 18: 5500, 19: 6500, 20: 5500, 21: 6500, 22: 7500, 23: 5000, 24: 3200,
}  # fmt: skip
_UNKNOWN_ILLUMINANT = 0
_D50_XY = (0.3457, 0.3585)
# The interpolation converges in a few rounds, and cannot run forever.
_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Colors:
    """One colour matrix (XYZ to camera, 3x3 row by row), its illuminant, and the neutral."""

    matrix: tuple[Pair, ...]
    illuminant: int
    neutral: tuple[Pair, ...]


def read_colors(tags: Tags, name: str) -> Colors:
    """Return the colours of a DNG. Errors call the file *name*.

    A single matrix without calibration is returned as it is in the file, as exact rationals.

    Raises:
        UsageError: there is no ColorMatrix1, or a tag makes no sense.
    """
    if "ColorMatrix1" not in tags:
        raise UsageError(f"{name}: it has no ColorMatrix1, so its colours are unknown")
    if "ColorMatrix3" in tags:
        raise UsageError(f"{name}: it has three colour matrices, and a module carries one")
    illuminant = int(tags.get("CalibrationIlluminant1", _UNKNOWN_ILLUMINANT))
    exact = get_rationals(tags, "ColorMatrix1", 9, name)
    first = _make_camera_matrix(tags, 1, name)
    if "ColorMatrix2" not in tags:
        is_plain = np.array_equal(first, _to_matrix(exact))
        matrix = exact if is_plain else make_rationals(first.reshape(9))
        return Colors(matrix, illuminant, _read_neutral(tags, _to_matrix(matrix), name))
    second = _make_camera_matrix(tags, 2, name)
    codes = illuminant, int(tags.get("CalibrationIlluminant2", _UNKNOWN_ILLUMINANT))
    if any(code not in ILLUMINANT_KELVIN for code in codes):
        raise UsageError(f"{name}: it has two colour matrices, but their illuminants are unknown")
    warm, cool = (ILLUMINANT_KELVIN[code] for code in codes)
    neutral = _read_camera_neutral(tags, name)
    weight = _find_weight(tags, name, (first, second), (warm, cool), neutral)
    mixed = weight * first + (1 - weight) * second
    matrix = make_rationals(mixed.reshape(9))
    light = {1.0: codes[0], 0.0: codes[1]}.get(weight, _UNKNOWN_ILLUMINANT)
    return Colors(matrix, light, _read_neutral(tags, mixed, name))


def make_rationals(values: Matrix) -> tuple[Pair, ...]:
    """Return decimals as rationals over 10000."""
    return tuple((round(float(value) * 10000), 10000) for value in values)


def _make_camera_matrix(tags: Tags, number: int, name: str) -> Matrix:
    """Return the product of balance, calibration and colour matrix for illuminant *number*."""
    matrix = _to_matrix(get_rationals(tags, f"ColorMatrix{number}", 9, name))
    calibration = f"CameraCalibration{number}"
    # A calibration is for the profile that has the same signature.
    signatures = (_get_text(tags, f"{kind}CalibrationSignature") for kind in ("Camera", "Profile"))
    if calibration in tags and len(set(signatures)) == 1:
        matrix = _to_matrix(get_rationals(tags, calibration, 9, name)) @ matrix
    if "AnalogBalance" in tags:
        pairs = get_rationals(tags, "AnalogBalance", 3, name)
        matrix = np.diag([num / den for num, den in pairs]) @ matrix
    return matrix


def _find_weight(
    tags: Tags,
    name: str,
    matrices: tuple[Matrix, Matrix],
    temperatures: tuple[int, int],
    neutral: Matrix | None,
) -> float:
    """Return the weight of the first matrix for the light of the picture, 0 to 1."""
    if neutral is None:
        x, y = _read_white_xy(tags, name)
        return _weigh(x, y, temperatures)
    # The white point depends on the matrix, and the matrix on the white point: iterate.
    weight = _weigh(*_D50_XY, temperatures)
    for _ in range(_ROUNDS):
        mixed = weight * matrices[0] + (1 - weight) * matrices[1]
        try:
            xyz = np.linalg.solve(mixed, neutral)
        except np.linalg.LinAlgError:
            raise UsageError(f"{name}: its colour matrices have no inverse") from None
        total = xyz.sum()
        if total <= 0:
            raise UsageError(f"{name}: its colour matrices do not fit its AsShotNeutral")
        before, weight = weight, _weigh(xyz[0] / total, xyz[1] / total, temperatures)
        if abs(before - weight) < 1e-6:
            break
    return weight


def _weigh(x: float, y: float, temperatures: tuple[int, int]) -> float:
    first, second = temperatures
    if first == second:
        return 1.0
    # McCamy's formula gives the correlated colour temperature of a chromaticity.
    slope = (x - 0.3320) / (0.1858 - y)
    kelvin = max(1000.0, 449 * slope**3 + 3525 * slope**2 + 6823.3 * slope + 5520.33)
    share = (1 / kelvin - 1 / second) / (1 / first - 1 / second)
    return float(min(1.0, max(0.0, share)))


def _read_camera_neutral(tags: Tags, name: str) -> Matrix | None:
    if "AsShotNeutral" not in tags:
        return None
    return np.array([num / den for num, den in get_rationals(tags, "AsShotNeutral", 3, name)])


def _read_white_xy(tags: Tags, name: str) -> tuple[float, float]:
    """Return AsShotWhiteXY, or the chromaticity of D65."""
    if "AsShotWhiteXY" in tags:
        (xn, xd), (yn, yd) = get_rationals(tags, "AsShotWhiteXY", 2, name)
        return xn / xd, yn / yd
    white = XYZ_FROM_SRGB.sum(axis=1)
    return float(white[0] / white.sum()), float(white[1] / white.sum())


def _read_neutral(tags: Tags, matrix: Matrix, name: str) -> tuple[Pair, ...]:
    """Return AsShotNeutral, or what *matrix* makes of the white of the picture."""
    if "AsShotNeutral" in tags:
        return get_rationals(tags, "AsShotNeutral", 3, name)
    x, y = _read_white_xy(tags, name)
    camera = matrix @ np.array([x / y, 1.0, (1 - x - y) / y])
    return make_rationals(camera / camera[1])


def _to_matrix(pairs: tuple[Pair, ...]) -> Matrix:
    return np.array([num / den for num, den in pairs]).reshape(3, 3)


def _get_text(tags: Tags, name: str) -> str:
    value = tags.get(name, "")
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 ")
