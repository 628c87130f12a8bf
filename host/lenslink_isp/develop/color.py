"""From the sensor's colours to sRGB.

A DNG's ColorMatrix leads from XYZ to the sensor. Its inverse leads back, and a chromatic adaptation
moves the white of the picture to the white of sRGB (DNG 1.4, chapter 6). The product of all is one
3 x 3 matrix for white-balanced pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.srgb import XYZ_FROM_SRGB

Matrix = NDArray[np.float64]

# Bradford: from XYZ to the responses of the eye's cones.
_CONES_FROM_XYZ = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def make_gains(neutral: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the white balance: gains of red, green and blue, the least of which is 1.

    With gains of at least 1, a saturated pixel is white in all three colours.

    >>> make_gains((0.5, 1.0, 0.8))
    (2.0, 1.0, 1.25)

    Raises:
        UsageError: a number of *neutral* is not positive.
    """
    if not min(neutral) > 0:
        raise UsageError(f"the neutral {neutral} has a colour that is not positive")
    largest = max(neutral)
    red, green, blue = (largest / value for value in neutral)
    return red, green, blue


def make_srgb_matrix(camera_from_xyz: Matrix, neutral: tuple[float, float, float]) -> Matrix:
    """Return the matrix from white-balanced camera RGB to linear sRGB, shape (3, 3).

    White stays white: each row adds up to 1.

    Raises:
        UsageError: *camera_from_xyz* has no inverse.
    """
    try:
        xyz_from_camera = np.linalg.inv(camera_from_xyz)
    except np.linalg.LinAlgError:
        raise UsageError("the colour matrix has no inverse") from None
    # Undo the balance, so that the matrix meets the colours that it was measured for.
    xyz_from_balanced = xyz_from_camera @ np.diag(neutral)
    white = xyz_from_balanced.sum(axis=1)
    srgb_white = XYZ_FROM_SRGB.sum(axis=1)
    cones = _CONES_FROM_XYZ @ white
    if not (cones > 0).all():
        raise UsageError("the colour matrix does not fit the neutral")
    scale = (_CONES_FROM_XYZ @ srgb_white) / cones
    adapt = np.linalg.inv(_CONES_FROM_XYZ) @ np.diag(scale) @ _CONES_FROM_XYZ
    matrix: Matrix = np.linalg.inv(XYZ_FROM_SRGB) @ adapt @ xyz_from_balanced
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))
