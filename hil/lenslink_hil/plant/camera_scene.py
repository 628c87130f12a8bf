"""Open scenes that are seen through the lens: charts, planes, and photographs at depths.

See :mod:`.scene_names` for the names of the scenes.

:func:`.scene.open_scene` calls this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lenslink.errors import MissingExtra, UsageError

from ..module_profile import load_module
from .camera import Camera
from .constants import LightConstants, SensorConstants, load_constants
from .default_photo import PHOTOGRAPHS, find_photograph
from .light import DEFAULT_LUX, Light
from .optics import make_optics
from .photon_sensor import DEFAULT_CELSIUS, PhotonSensor
from .picture import load_picture
from .scene_names import CHARTS, PHOTO_SCENE
from .scenery import (
    CHART_MDPT,
    PLANES_MDPT,
    RAMP_MDPT,
    Floats,
    PicturePaint,
    Scenery,
    Shake,
    find_panel,
    make_edges,
    make_flat,
    make_planes,
    make_points,
    make_ramp,
    make_star,
)
from .sensor_model import Sensor
from .unprocess import make_camera_matrix, make_srgb_table

MAX_MDPT = 10_000
MAX_PLANES = 6
FLAT_REFLECTANCE = 0.5

_OneDepth = Callable[[float, tuple[float, float]], Scenery]
_CHARTS_AT_ONE_DEPTH: Mapping[str, _OneDepth] = {
    "edges": make_edges,
    "star": make_star,
    "points": make_points,
    "flat": lambda depth, field_mm: make_flat(FLAT_REFLECTANCE),
    "dark": lambda depth, field_mm: make_flat(0.0),
}


def open_camera_scene(
    name: str,
    sensor: Sensor,
    seed: int,
    options: Mapping[str, str | int],
    module: Mapping[str, Any] | None = None,
) -> Camera:
    """Return the camera in front of a scene.

    Args:
        name: a name from the module's docstring, or the path of a picture.
        sensor: the sensor.
        seed: of the noise, the sensor's fixed patterns and the textures.
        options: those of CAMERA_OPTIONS that are given.
        module: the profile of the module, whose lens it is; None is the default one.

    Raises:
        UsageError: an option is out of range or does not fit the scene.
        MissingExtra: a photograph needs scikit-image, which is not installed.
    """
    optics = make_optics(module or load_module())
    field_mm = (optics.constants.field_width, optics.constants.field_width * 0.75)
    scenery = _make_scenery(name, field_mm, sensor, seed, options)
    shake_um = _read_integer(options, "shake", 0, 0, 500)
    if shake_um:
        scenery = replace(scenery, shake=Shake(shake_um / 1000, seed))
    light = Light(
        load_constants("light", LightConstants),
        _read_integer(options, "lux", DEFAULT_LUX, 0, 200_000),
        _read_numbers(options, "kelvin", (6504.0,), (1500, 20_000), 8),
        _read_integer(options, "flicker", 0, 0, 1000),
    )
    (f_number,) = _read_numbers(
        options,
        "f_number",
        (optics.constants.widest,),
        (optics.constants.widest, optics.constants.smallest),
        1,
    )
    has_lens = _read_switch(options, "lens")
    if not has_lens and name not in ("flat", "dark"):
        raise UsageError(
            f"lens=off shows an even light, so it needs scene=flat or dark, not {name}"
        )
    photon_sensor = PhotonSensor(
        sensor,
        seed,
        load_constants("sensor", SensorConstants),
        has_defects=_read_switch(options, "defects"),
    )
    camera = Camera(photon_sensor, scenery, light, optics if has_lens else None, f_number)
    camera.celsius = _read_integer(options, "celsius", round(DEFAULT_CELSIUS), -40, 125)
    return camera


def _make_scenery(
    name: str,
    field_mm: tuple[float, float],
    sensor: Sensor,
    seed: int,
    options: Mapping[str, str | int],
) -> Scenery:
    swing = _read_integer(options, "swing", 0, 0, 500) / 1000
    if name == "planes":
        depths = _read_numbers(options, "depth", PLANES_MDPT, (0, MAX_MDPT), MAX_PLANES)
        return make_planes(_check_order(depths), field_mm, seed, swing=swing)
    names = name.split(",") if name not in CHARTS else [name]
    if len(names) > 1 and all(each in PHOTOGRAPHS for each in names):
        if len(names) > MAX_PLANES:
            raise UsageError(f"scene={name}: at most {MAX_PLANES} photographs")
        between = tuple(np.linspace(PLANES_MDPT[0], PLANES_MDPT[-1], len(names)).tolist())
        depths = _read_numbers(options, "depth", between, (0, MAX_MDPT), MAX_PLANES)
        if len(depths) != len(names):
            raise UsageError(f"scene={name} needs {len(names)} depths, not {len(depths)}")
        width, height = field_mm
        boxes = [(-width / 2, -height / 2, width / 2, height / 2)]
        boxes += [find_panel(number, len(names) - 1, field_mm) for number in range(1, len(names))]
        paints = tuple(
            _paint_picture(_find_picture(each), box, sensor)
            for each, box in zip(names, boxes, strict=True)
        )
        return make_planes(_check_order(depths), field_mm, seed, paints, swing)
    if swing:
        raise UsageError("swing= moves the nearest of several planes: it needs scene=planes")
    if name == "depth":
        depths = _read_numbers(options, "depth", RAMP_MDPT, (0, MAX_MDPT), 2)
        if len(depths) != 2:
            raise UsageError("scene=depth takes two depths: of the upper edge and of the lower one")
        return make_ramp((depths[0], depths[1]), seed)
    (depth,) = _read_numbers(options, "depth", (CHART_MDPT,), (0, MAX_MDPT), 1)
    if name in _CHARTS_AT_ONE_DEPTH:
        return _CHARTS_AT_ONE_DEPTH[name](depth, field_mm)
    # A picture fills the width of the field; what is above and below repeats its edge.
    width, height = field_mm
    box = (-width / 2, -height / 2, width / 2, height / 2)
    return make_planes(
        (depth,), field_mm, seed, (_paint_picture(_find_picture(name), box, sensor),)
    )


def _find_picture(name: str) -> Path:
    """Return the file of a picture: a photograph's name, ``photo``, or a path."""
    if name == PHOTO_SCENE or name in PHOTOGRAPHS:
        path = find_photograph(PHOTOGRAPHS.get(name, PHOTOGRAPHS["astronaut"]))
        if path is None:
            raise MissingExtra(f"the photograph {name}", "demo")
        return path
    return Path(name)


def _paint_picture(
    path: Path, box: tuple[float, float, float, float], sensor: Sensor
) -> PicturePaint:
    """Return a picture that covers *box*; what is longer than the box is cut off evenly."""
    rgb = load_picture(path)
    height, width = rgb.shape[:2]
    aspect = (box[2] - box[0]) / (box[3] - box[1])
    rows, columns = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - rows) // 2, (width - columns) // 2
    linear = make_srgb_table()[rgb[top : top + rows, left : left + columns]]
    return PicturePaint(_make_reflectance(linear, sensor), box)


def _make_reflectance(linear: Floats, sensor: Sensor) -> Floats:
    """Return what each band sees of linear sRGB: 1 for white, shape (3, H, W)."""
    matrix = make_camera_matrix(sensor.color_matrix, sensor.neutral)
    white = matrix.sum(axis=1)
    planes = np.moveaxis(linear @ (matrix / white[:, None]).T, -1, 0)
    return np.ascontiguousarray(np.maximum(planes, 0), np.float32)


def _check_order(depths: tuple[float, ...]) -> tuple[float, ...]:
    if list(depths) != sorted(depths):
        raise UsageError("depth=: the planes stand from far to near, so their numbers must rise")
    return depths


def _read_integer(
    options: Mapping[str, str | int], name: str, default: int, least: int, most: int
) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name}={value}: must be a whole number from {least} to {most}")
    return value


def _read_numbers(
    options: Mapping[str, str | int],
    name: str,
    default: tuple[float, ...],
    bounds: tuple[float, float],
    count: int,
) -> tuple[float, ...]:
    """Return 1 to *count* numbers, each within *bounds*."""
    least, most = bounds
    text = options.get(name)
    if text is None:
        return default
    try:
        values = tuple(float(each) for each in str(text).split(","))
    except ValueError:
        values = ()
    if not 1 <= len(values) <= count or not all(least <= each <= most for each in values):
        what = "a number" if count == 1 else f"1 to {count} numbers with commas between them,"
        raise UsageError(f"{name}={text}: must be {what} from {least:g} to {most:g}")
    return values


def _read_switch(options: Mapping[str, str | int], name: str) -> bool:
    value = options.get(name, "on")
    if value not in ("on", "off"):
        raise UsageError(f"{name}={value}: must be on or off")
    return value == "on"
