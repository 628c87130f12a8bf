"""The names of scenes that are seen through the lens, and the options that only they take.

=========  =====================================================================
``depth``  a textured ground, from far at the top to near at the bottom
``planes`` textured planes at three depths
``edges``  slanted edges
``star``   a Siemens star
``points`` point lights
``flat``   a grey surface
``dark``   nothing
=========  =====================================================================

A name of :data:`.default_photo.PHOTOGRAPHS` is that photograph. Several names with commas between
them stand before each other as planes, the first one behind the others. ``photo`` and the path of a
picture are seen through the lens if a depth is given.

This module imports little, so that a plant with another scene starts fast. :mod:`.camera_scene`
opens the scenes.
"""

from __future__ import annotations

from pathlib import Path

from .default_photo import PHOTOGRAPHS

PHOTO_SCENE = "photo"
CHARTS = ("depth", "planes", "edges", "star", "points", "flat", "dark")
CAMERA_OPTIONS = (
    *("depth", "lux", "kelvin", "flicker", "swing", "shake"),
    *("f_number", "celsius", "lens", "defects"),
)


def is_camera_scene(name: str | None, depth: str | None) -> bool:
    """Return True if the scene *name* is seen through the lens. None is the default scene."""
    if name is None or name == PHOTO_SCENE:
        return depth is not None
    if name in CHARTS or all(part in PHOTOGRAPHS for part in name.split(",")):
        return True
    return depth is not None and Path(name).is_file()
