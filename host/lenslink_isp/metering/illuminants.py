"""The sensor's answer to white light, by colour temperature.

Lamps are near the Planckian locus, daylight is near the locus of the CIE. Both are chromaticities
of XYZ, and a colour matrix leads from XYZ to the sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError

WARMEST_K, COOLEST_K = 2300.0, 9000.0
_POINTS = 64


@dataclass(frozen=True, slots=True)
class IlluminantCurve:
    """The neutrals along the locus: logarithms of red and blue over green, by temperature."""

    kelvin: NDArray[np.float64]
    """(N,): colour temperatures, evenly spaced in mired."""
    chroma: NDArray[np.float64]
    """(N, 2): log(red / green) and log(blue / green) of a white surface."""


def make_curve(
    matrices: Sequence[tuple[float, NDArray[np.float64]]],
) -> IlluminantCurve:
    """Return the curve of a sensor.

    Args:
        matrices: one or two pairs of a colour temperature in kelvin and the matrix (3, 3) from XYZ
            to the sensor that was measured for it. Between two, the matrix is interpolated in the
            inverse of the temperature.

    Raises:
        UsageError: there is no matrix, or it does not answer to white light.
    """
    if not matrices:
        raise UsageError("a sensor's colours need at least one matrix")
    mired = np.linspace(1e6 / WARMEST_K, 1e6 / COOLEST_K, _POINTS)
    chroma = np.empty((_POINTS, 2))
    for index, each in enumerate(mired):
        red, green, blue = _mix(matrices, 1e6 / each) @ _find_xyz(1e6 / each)
        if not min(red, green, blue) > 0:
            raise UsageError("the colour matrix does not answer to white light")
        chroma[index] = np.log(red / green), np.log(blue / green)
    return IlluminantCurve(1e6 / mired, chroma)


def make_measured_curve(neutrals: Sequence[tuple[float, Sequence[float]]]) -> IlluminantCurve:
    """Return the curve through neutrals that were measured: pairs of kelvin and red, green, blue.

    Raises:
        UsageError: there are less than two, or a colour is not positive.
    """
    if len(neutrals) < 2:
        raise UsageError("a measured curve needs at least two neutrals")
    ordered = sorted(neutrals, key=lambda pair: pair[0])
    values = np.array([list(neutral) for _, neutral in ordered], float)
    if not (values > 0).all():
        raise UsageError("a neutral has a colour that is not positive")
    logs = np.log(values[:, [0, 2]] / values[:, [1]])
    known = 1e6 / np.array([kelvin for kelvin, _ in ordered])
    mired = np.linspace(known[0], known[-1], _POINTS)
    chroma = np.stack([np.interp(-mired, -known, logs[:, each]) for each in (0, 1)], 1)
    return IlluminantCurve(1e6 / mired, chroma)


def _mix(
    matrices: Sequence[tuple[float, NDArray[np.float64]]], kelvin: float
) -> NDArray[np.float64]:
    """Return the matrix for a temperature."""
    if len(matrices) == 1:
        return matrices[0][1]
    (first, warm), (second, cool) = matrices[0], matrices[1]
    share = (1 / kelvin - 1 / second) / (1 / first - 1 / second)
    share = min(1.0, max(0.0, share))
    return share * warm + (1 - share) * cool


def _find_xyz(kelvin: float) -> NDArray[np.float64]:
    """Return XYZ, with Y = 1, of white light.

    Below 4000 K, Planck's locus by the cubic of Kim et al. (US patent 7024034); above, the CIE's
    daylight.
    """
    inverse = 1000 / kelvin
    if kelvin < 4000:
        x = -0.2661239 * inverse**3 - 0.2343589 * inverse**2 + 0.8776956 * inverse + 0.179910
        if kelvin < 2222:
            y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
        else:
            y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        if kelvin <= 7000:
            x = -4.6070 * inverse**3 + 2.9678 * inverse**2 + 0.09911 * inverse + 0.244063
        else:
            x = -2.0064 * inverse**3 + 1.9018 * inverse**2 + 0.24748 * inverse + 0.237040
        y = -3.0 * x**2 + 2.870 * x - 0.275
    return np.array([x / y, 1.0, (1 - x - y) / y])
