"""How many frames a second the plant computes: ``lenslink bench plant``.

The plant runs in this process, without sockets. Rates are frames for each second of CPU time, so a
busy machine changes them little. A still at a new focus takes seconds, so it is measured once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from lenslink.settings import Settings

from ..plant.binning import Crop
from ..plant.camera import Camera
from ..plant.scene import Scene, SceneOptions, open_scene
from .machine_info import describe_machine

SCHEMA = "lenslink.bench.plant/1"
SCENES = ("edges", "planes", "depth")
CHEAP = "edges"
"""A still of it takes seconds, and so is always measured."""
HEADER = ("scene", "frame", "at rest", "share at 25/s", "lens moves", "first frame")

_PREVIEW_MODE, _STILL_MODE = 0, 1
_REST_FRAMES, _MOVING_FRAMES = 20, 5
_STILL_REST_FRAMES, _STILL_MOVING_FRAMES = 3, 1
_ROI_PIXELS = 256
_FOCI_MDPT = (1000, 1100, 600, 1800, 300, 2600)

Report = Callable[[str], None]


def measure_all(scenes: tuple[str, ...], has_stills: bool, report: Report) -> dict[str, Any]:
    """Return the rates of each scene, with the machine.

    Args:
        scenes: names of scenes behind the lens.
        has_stills: True to measure stills of all scenes, False for that of CHEAP alone.
        report: called with what is measured next.

    Raises:
        UsageError: a scene does not exist or is not behind the lens.
    """
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "scenes": [_measure_scene(name, has_stills or name == CHEAP, report) for name in scenes],
    }


def format_rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table below HEADER."""
    for scene in result["scenes"]:
        for name in ("preview", "still"):
            each = scene[name]
            if each is None:
                continue
            rest = each["rest_cpu_s"]
            yield (
                scene["scene"],
                f"{name} {each['width']} x {each['height']}",
                f"{1 / rest:.1f} frames/s",
                f"{25 * rest:.0%} of a core" if name == "preview" else "",
                f"{1 / each['moving_cpu_s']:.1f} frames/s",
                f"{each['first_cpu_s']:.2f} s",
            )
        if scene["roi_cpu_s"] is not None:
            size = f"region {_ROI_PIXELS} x {_ROI_PIXELS}"
            yield scene["scene"], size, "", "", f"{scene['roi_cpu_s'] * 1000:.0f} ms", ""


def _measure_scene(name: str, has_stills: bool, report: Report) -> dict[str, Any]:
    report(f"{name}, preview")
    scene = open_scene(SceneOptions(scene=name, seed=1))
    preview = _measure_mode(scene, _PREVIEW_MODE, _REST_FRAMES, _MOVING_FRAMES)
    still = None
    if has_stills:
        report(f"{name}, still")
        still = _measure_mode(scene, _STILL_MODE, _STILL_REST_FRAMES, _STILL_MOVING_FRAMES)
    report(f"{name}, region")
    return {"scene": name, "preview": preview, "still": still, "roi_cpu_s": _measure_region(scene)}


def _measure_mode(scene: Scene, mode: int, rests: int, moves: int) -> dict[str, Any]:
    """Return CPU seconds for a frame: the first one, one at rest, one at a new focus."""
    size = scene.sensor.mode(mode)
    first = _time_frame(scene, mode, 0, _FOCI_MDPT[0])
    rest = min(_time_frame(scene, mode, each, _FOCI_MDPT[0]) for each in range(1, rests + 1))
    moving = [
        _time_frame(scene, mode, rests + 1 + number, focus)
        for number, focus in enumerate(_FOCI_MDPT[1 : moves + 1])
    ]
    return {
        "width": size.width,
        "height": size.height,
        "first_cpu_s": first,
        "rest_cpu_s": rest,
        # The blur changes the cost, so a typical focus counts.
        "moving_cpu_s": sorted(moving)[len(moving) // 2],
    }


def _time_frame(
    scene: Scene, mode: int, number: int, focus: int, crop: Crop | None = None
) -> float:
    began = time.process_time()
    for band in scene.iterate_bands(mode, number, Settings(10_000, 1000, focus), crop):
        band.tobytes()  # as the row service does
    return time.process_time() - began


def _measure_region(scene: Scene) -> float | None:
    """Return CPU seconds for a region of the preview at a new focus."""
    camera = scene.source
    if not isinstance(camera, Camera) or camera.lens is None:
        return None
    size = scene.sensor.mode(_PREVIEW_MODE)
    left, top = size.width // 4 * 2 - _ROI_PIXELS // 2, size.height // 4 * 2 - _ROI_PIXELS // 2
    crop = Crop(left, top, _ROI_PIXELS, _ROI_PIXELS)
    taken = [
        _time_frame(scene, _PREVIEW_MODE, number, focus, crop)
        for number, focus in enumerate(_FOCI_MDPT)
    ]
    return sorted(taken[1:])[len(taken) // 2 - 1]
