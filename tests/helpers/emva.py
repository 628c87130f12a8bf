"""Measure a sensor by EMVA 1288 with the independent package ``emva1288``, per site of the CFA.

The caller gives a function that takes frames; where they come from is its business. The package is
the reference implementation of the standard. It was written for numpy 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# numpy 2 removed this name, which the package calls.
if not hasattr(np, "asfarray"):
    np.asfarray = lambda values, dtype=float: np.asarray(values, dtype)

SITES = tuple(np.s_[y::2, x::2] for y in (0, 1) for x in (0, 1))
"""The four pixels of the CFA's cell, row by row."""

Take = Callable[[int, bool], Any]
"""Takes one frame: exposure in microseconds; True with light, False in the dark."""


class Found(NamedTuple):
    """What the package found for one site."""

    gain: float
    efficiency: float
    dark_noise: float
    dsnu: float
    prnu: float
    linearity: float
    """The largest linearity error, from 5 to 95 % of saturation, as a fraction."""
    saturation: float
    """Electrons at the saturation point."""


def measure(
    take: Take,
    full_us: int,
    photons_per_us: tuple[float, float, float, float],
    stack: int,
    *,
    steps: int = 50,
    sites: tuple[int, ...] = (0, 1, 2, 3),
) -> list[Found]:
    """Measure sites of the CFA, each by itself.

    Args:
        take: takes a frame.
        full_us: exposure at which the most sensitive site is just saturated.
        photons_per_us: photons on a pixel of each site in a microsecond.
        stack: number of frames for the spatial measurements.
        steps: number of exposures.
        sites: numbers of the sites in SITES.
    """
    from emva1288.process.data import Data1288
    from emva1288.process.results import Results1288
    from emva1288.process.routines import get_int_imgs

    # Each site saturates at an exposure of its own, so each needs points of its own.
    points = max(photons_per_us)
    longest = [full_us * points / each for each in photons_per_us]
    found = []
    frames: dict[tuple[int, bool], list[Any]] = {}

    def series(exposure_us: int, has_light: bool, count: int) -> list[Any]:
        taken = frames.setdefault((exposure_us, has_light), [])
        taken += [take(exposure_us, has_light) for _ in range(count - len(taken))]
        return taken[:count]

    for site in sites:
        place = SITES[site]
        exposures = [round(longest[site] * each / steps * 1.06) for each in range(1, steps + 1)]
        temporal, spatial = {}, {}
        height, width = take(exposures[0], False)[place].shape
        for exposure in exposures:
            pairs = {}
            for has_light in (False, True):
                summed = get_int_imgs([each[place] for each in series(exposure, has_light, 2)])
                pairs[photons_per_us[site] * exposure if has_light else 0.0] = {
                    "sum": int(summed["sum"].sum()),
                    "pvar": int(summed["pvar"].sum()),
                    "dmean": summed["dmean"],
                    "L": 2,
                }
            temporal[exposure * 1000] = pairs
        middle = exposures[steps // 2 - 1]
        spatial[middle * 1000] = {
            photons_per_us[site] * middle if has_light else 0.0: get_int_imgs(
                [each[place] for each in series(middle, has_light, stack)]
            )
            for has_light in (False, True)
        }
        data = {"width": width, "height": height, "temporal": temporal, "spatial": spatial}
        result = Results1288(Data1288(data).data)
        found.append(
            Found(
                result.K,
                result.QE / 100,
                result.sigma_d,
                result.DSNU1288,
                result.PRNU1288 / 100,
                max(abs(result.LE_min), abs(result.LE_max)) / 100,
                result.u_e_sat,
            )
        )
    return found


def measure_dark_current(take: Take, exposures_us: list[int], gain: float) -> float:
    """Return electrons a second: the slope of the dark level over the exposure."""
    levels = [float(np.mean([take(each, False).mean() for _ in range(2)])) for each in exposures_us]
    slope, _ = np.polyfit(np.array(exposures_us) / 1e6, levels, 1)
    return float(slope) / gain
