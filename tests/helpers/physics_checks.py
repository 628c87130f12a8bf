"""Recover the plant's physical constants from its frames, by means that the plant does not share.

Each check renders frames in a world, measures them, and returns what it recovered. The name of a
check stands beside each constant in ``constants.toml``. In the world of that file every recovery is
within its tolerance. In a world where one constant differs by three tolerances, the check that the
constant names must find it.
"""

from __future__ import annotations

from collections.abc import Callable

from . import optics_checks, sensor_checks
from .physics_world import Recovery, World

CHECKS: dict[str, Callable[[World], list[Recovery]]] = {
    "emva_response": sensor_checks.check_emva_response,
    "emva_dark": sensor_checks.check_emva_dark,
    "emva_spatial": sensor_checks.check_emva_spatial,
    "saturation": sensor_checks.check_saturation,
    "row_noise": sensor_checks.check_row_noise,
    "dark_current": sensor_checks.check_dark_current,
    "hot_pixels": sensor_checks.check_hot_pixels,
    "defocus": optics_checks.check_defocus,
    "aperture_limits": optics_checks.check_aperture_limits,
    "vignetting": optics_checks.check_vignetting,
    "distortion": optics_checks.check_distortion,
    "breathing": optics_checks.check_breathing,
    "radiometry": optics_checks.check_radiometry,
    "illuminant": optics_checks.check_illuminant,
    "flicker": optics_checks.check_flicker,
}
"""The checks by the names that ``constants.toml`` uses."""
