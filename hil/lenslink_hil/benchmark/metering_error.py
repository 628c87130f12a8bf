"""How well auto exposure and auto white balance see the light: ``lenslink bench metering``.

The plant's camera looks at scenes in lights of nine colour temperatures, in this process. Its truth
says what a white surface would be. Auto white balance starts each light with the neutral of the one
before, as in a room whose lamp changes. Peers see the same frames:

* grey world: the mean of all zones is grey.
* a model of libcamera's Bayesian search (src/ipa/rpi/controller/rpi/awb_bayes.cpp) without its
  prior: for each point of the curve, the squares of what is not grey, clipped.
* a model of libcamera's exposure filter (agc_channel.cpp): a fifth of the way in each frame, in
  logarithms; more near the target; at most ten times as much.

The constants of the white balance were chosen on the photographs of CHOSEN_ON. The other scenes are
held out.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lenslink.errors import MissingExtra
from lenslink.settings import Settings
from lenslink_isp import RawImage
from lenslink_isp.metering.auto_exposure import MID_GREY, AutoExposure, ExposureLimits
from lenslink_isp.metering.illuminants import IlluminantCurve, make_curve
from lenslink_isp.metering.statistics import Statistics, measure
from lenslink_isp.metering.white_balance import AutoWhiteBalance

from ..plant.camera import Camera
from ..plant.default_photo import PHOTOGRAPHS, find_photograph
from ..plant.picture import load_picture
from ..plant.scene import Scene, SceneOptions, open_scene
from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.metering/1"
KELVINS: Final = (2300, 2850, 3200, 3600, 4200, 5000, 5700, 6500, 7500)
CHOSEN_ON: Final = ("astronaut",)
HELD_OUT: Final = ("chelsea", "coffee", "rocket")
CHARTS: Final = ("planes", "depth", "edges", "star", "flat")
HEADER: Final = ("scenes", "method", "median", "95 %", "settled in")
GOAL_DEGREES: Final = (2.0, 5.0)
"""Goals for the median and the 95th percentile of the white balance."""

_CROPS: Final = {
    "whole": (0.0, 0.0, 1.0, 1.0),
    "top left": (0.0, 0.0, 0.6, 0.6),
    "top right": (0.4, 0.0, 1.0, 0.6),
    "bottom right": (0.4, 0.4, 1.0, 1.0),
    "middle": (0.25, 0.25, 0.75, 0.75),
}
"""Left, top, right and bottom, as parts of a photograph."""
_WIDTH, _HEIGHT = 320, 240
_FRAMES = 6
_SETTLED_DEGREES = 0.5
_STEPS_EV: Final = (-6, -3, 3, 6)
_NEAR_EV = 0.1
_MOST_FRAMES = 60
_LIMITS: Final = ExposureLimits(longest_us=2_000_000)
_LIBCAMERA_SPEED, _LIBCAMERA_NEAR, _LIBCAMERA_MOST = 0.2, 1.2, 10.0
_LIBCAMERA_CLIP = 0.2

Report = Callable[[str], None]
Neutral = NDArray[np.float64]
Estimator = Callable[[Statistics, IlluminantCurve], Neutral]


@dataclass(frozen=True, slots=True)
class MeteredScene:
    """A scene of the benchmark: its name, the group that it belongs to, and the plant's scene."""

    name: str
    group: str
    scene: Scene


def measure_all(report: Report, crops: Sequence[str] = tuple(_CROPS)) -> dict[str, Any]:
    """Return the errors of auto white balance and auto exposure, with the machine.

    Args:
        report: called with what is measured next.
        crops: of each photograph.

    Raises:
        MissingExtra: scikit-image, which has the photographs, is not installed.
    """
    errors: dict[tuple[str, str], list[float]] = {}
    settled: dict[str, list[int]] = {}
    exposure: dict[str, dict[int, list[int]]] = {}
    for each in _open_scenes(crops):
        report(each.name)
        for method, error, frames in _measure_white_balance(each.scene):
            errors.setdefault((each.group, method), []).append(error)
            if frames is not None:
                settled.setdefault(each.group, []).append(frames)
        if each.name.endswith("whole"):
            for method, step, frames in _measure_exposure(each.scene):
                exposure.setdefault(method, {}).setdefault(step, []).append(frames)
    everything = [(group, method) for group, method in errors if group != "chosen on"]
    for method in dict.fromkeys(method for _, method in everything):
        joined = [errors[key] for key in everything if key[1] == method]
        errors["held out, all", method] = [error for part in joined for error in part]
    settled["held out, all"] = [
        frames for group, part in settled.items() if group != "chosen on" for frames in part
    ]
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "kelvins": list(KELVINS),
        "split": {
            "chosen on": list(CHOSEN_ON), "held out": [*HELD_OUT, *CHARTS], "crops": list(crops),
        },
        "white_balance": [
            {
                "scenes": group,
                "method": method,
                "pictures": len(found),
                "median_degrees": float(np.median(found)),
                "p95_degrees": float(np.percentile(found, 95)),
                "settled_frames": max(settled[group]) if method == "ours" else None,
            }
            for (group, method), found in errors.items()
        ],
        "exposure": [
            {
                "method": method,
                "step_ev": step,
                "median_frames": float(np.median(frames)),
                "most_frames": max(frames),
            }
            for method, steps in exposure.items()
            for step, frames in steps.items()
        ],
    }  # fmt: skip


def format_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the white balance, below HEADER."""
    for each in result["white_balance"]:
        frames = each["settled_frames"]
        yield (
            f"{each['scenes']} ({each['pictures']})",
            each["method"],
            f"{each['median_degrees']:.1f} degrees",
            f"{each['p95_degrees']:.1f} degrees",
            "" if frames is None else f"{frames} frames",
        )


def format_exposure(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each step of the exposure."""
    for each in result["exposure"]:
        yield (
            f"exposure, {each['step_ev']:+d} EV, {each['method']}: within {_NEAR_EV} EV in "
            f"{each['median_frames']:.0f} frames (at most {each['most_frames']})"
        )


def format_verdict(result: Mapping[str, Any]) -> str:
    """Return the line that holds the white balance against its goals."""
    (ours,) = [
        each
        for each in result["white_balance"]
        if (each["scenes"], each["method"]) == ("held out, all", "ours")
    ]
    found = ours["median_degrees"], ours["p95_degrees"]
    is_met = all(value <= goal for value, goal in zip(found, GOAL_DEGREES, strict=True))
    return (
        f"{'met' if is_met else 'NOT MET'}: median {found[0]:.1f} degrees, at most "
        f"{GOAL_DEGREES[0]:g}; 95 % {found[1]:.1f} degrees, at most {GOAL_DEGREES[1]:g}"
    )


def _open_scenes(crops: Sequence[str]) -> Iterator[MeteredScene]:
    """Yield every scene, sharp, with the lens wide open."""
    with tempfile.TemporaryDirectory() as folder:
        for group, names in (("held out, photographs", HELD_OUT), ("chosen on", CHOSEN_ON)):
            for name in names:
                path = find_photograph(PHOTOGRAPHS[name])
                if path is None:
                    raise MissingExtra(f"the photograph {name}", "demo")
                rgb = load_picture(path)
                height, width = rgb.shape[:2]
                for crop in crops:
                    left, top, right, bottom = _CROPS[crop]
                    part = rgb[
                        int(top * height) : int(bottom * height),
                        int(left * width) : int(right * width),
                    ]
                    target = Path(folder) / f"{name} {crop}.png"
                    Image.fromarray(part).save(target)
                    yield MeteredScene(target.stem, group, _open(str(target), depth="0"))
    for name in CHARTS:
        yield MeteredScene(name, "held out, charts", _open(name))


def _open(name: str, depth: str | None = None) -> Scene:
    return open_scene(SceneOptions(scene=name, width=_WIDTH, height=_HEIGHT, seed=1, depth=depth))


def _take(scene: Scene, number: int, exposure_us: int, gain_milli: int) -> RawImage:
    """Return a frame as the phone gets it."""
    sensor = scene.sensor
    settings = Settings(exposure_us=exposure_us, gain_milli=gain_milli, focus_mdpt=0)
    return RawImage(
        scene.rows(sensor.modes[0].id, number, settings), sensor.cfa, sensor.black,
        float(sensor.white), np.eye(3), (1.0, 1.0, 1.0),
    )  # fmt: skip


def _make_curve(scene: Scene) -> IlluminantCurve:
    """Return the curve from the two matrices that the module states."""
    sensor, second = scene.sensor, scene.sensor.second_color
    assert second is not None
    matrices = [
        (kelvin, np.array([top / bottom for top, bottom in matrix]).reshape(3, 3))
        for kelvin, matrix in ((2856.0, second.color_matrix), (6504.0, sensor.color_matrix))
    ]
    return make_curve(matrices)


def _find_truth(camera: Camera) -> Neutral:
    """Return what a white surface is for the sensor, with green as 1."""
    photons = camera.get_white_photons(camera.get_view(Settings()))
    electrons = np.array(photons) * camera.sensor.constants.quantum_efficiency
    return np.asarray(electrons / electrons[1])


def _measure_white_balance(scene: Scene) -> Iterator[tuple[str, float, int | None]]:
    """Yield method, error in degrees, and the frames until it settled, for each light."""
    camera = scene.source
    assert isinstance(camera, Camera)
    light, curve = camera.light, _make_curve(scene)
    balance = AutoWhiteBalance(curve)
    settings, number = (10_000, 1000), 0
    for kelvin in KELVINS:
        camera.light = replace(light, kelvins=(float(kelvin),))
        exposure = AutoExposure(_LIMITS)
        neutrals = []
        for _ in range(_FRAMES):
            statistics = measure(_take(scene, number, *settings))
            neutrals.append(np.array(balance.update(statistics)))
            settings = exposure.update(statistics, *settings)
            number += 1
        truth = _find_truth(camera)
        late = [_find_angle(each, neutrals[-1]) > _SETTLED_DEGREES for each in neutrals]
        yield "ours", _find_angle(neutrals[-1], truth), sum(late) + 1
        for name, estimate in _PEERS.items():
            yield name, _find_angle(estimate(statistics, curve), truth), None
    camera.light = light


def _find_angle(first: Neutral, second: Neutral) -> float:
    """Return the angle between two neutrals in degrees."""
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    return math.degrees(math.acos(min(1.0, cosine)))


def _list_usable_zones(statistics: Statistics) -> NDArray[np.float64]:
    is_usable = (statistics.clipped == 0) & (statistics.zones.min(-1) > 1e-3)
    return np.asarray(statistics.zones[is_usable])


def _assume_grey_world(statistics: Statistics, curve: IlluminantCurve) -> Neutral:
    """Return the neutral if the mean of all zones is grey."""
    del curve
    mean = _list_usable_zones(statistics).mean(0)
    return np.asarray(mean / mean[1])


def _search_like_libcamera(statistics: Statistics, curve: IlluminantCurve) -> Neutral:
    """Return the point of the curve that makes the zones greyest."""
    zones = _list_usable_zones(statistics)
    ratios = zones[:, [0, 2]] / zones[:, [1]]
    neutrals = np.exp(curve.chroma)
    squares = ((ratios[None] / neutrals[:, None] - 1) ** 2).sum(-1)
    red, blue = neutrals[int(np.argmin(np.minimum(squares, _LIBCAMERA_CLIP).sum(1)))]
    return np.array([red, 1.0, blue])


_PEERS: Final[Mapping[str, Estimator]] = {
    "grey world": _assume_grey_world,
    "a model of libcamera": _search_like_libcamera,
}


def _measure_exposure(scene: Scene) -> Iterator[tuple[str, int, int]]:
    """Yield method, step in EV, and the frames until the exposure is near its end.

    Settings apply to the frame after the next one.
    """
    right = _follow(scene, AutoExposure(_LIMITS).update, (10_000, 1000), 12)[-1]
    for step in _STEPS_EV:
        first = _LIMITS.choose(right * 2.0**step)
        for name, update in (
            ("ours", AutoExposure(_LIMITS).update),
            ("a model of libcamera", _filter_like_libcamera),
        ):
            products = _follow(scene, update, first, _MOST_FRAMES if name != "ours" else 12)
            is_far = [abs(math.log2(each / right)) > _NEAR_EV for each in products]
            frames = max((place + 1 for place, far in enumerate(is_far) if far), default=0)
            yield name, step, frames


_Update = Callable[[Statistics, int, int], tuple[int, int]]


def _follow(scene: Scene, update: _Update, first: tuple[int, int], frames: int) -> list[float]:
    """Return exposure times gain of each frame."""
    queue, settings, products = [first], first, []
    for number in range(frames):
        products.append(float(settings[0] * settings[1]))
        queue.append(update(measure(_take(scene, number, *settings)), *settings))
        settings = queue.pop(0)
    return products


def _filter_like_libcamera(
    statistics: Statistics, exposure_us: int, gain_milli: int
) -> tuple[int, int]:
    """Return the next exposure and gain."""
    weights = AutoExposure(_LIMITS).make_weights()
    light = float((weights * statistics.zones[..., 1]).sum())
    factor = min(MID_GREY / max(light, 1e-4), _LIBCAMERA_MOST)
    is_near = 1 / _LIBCAMERA_NEAR < factor < _LIBCAMERA_NEAR
    speed = math.sqrt(_LIBCAMERA_SPEED) if is_near else _LIBCAMERA_SPEED
    return _LIMITS.choose(exposure_us * gain_milli * factor**speed)
