"""Move a frame to where the reference frame sees the scene.

Each of the four kinds of pixels of a mosaic is a picture of half the size. It is moved by itself,
so that colours are never mixed.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .alignment import TILE, make_positions
from .scene_light import SceneLight, as_floats

Floats = NDArray[np.float32]

_STILL_PX = 0.03
"""Shifts below this, in pixels, are those of a tripod: the frame stays as it is."""
_PHASES = 32
"""OpenCV interpolates at so many places between two pixels."""


def move_whole_cells(frame: SceneLight, shifts: Floats) -> SceneLight:
    """Return the frame moved by the nearest even numbers of pixels, so that nothing is mixed."""
    even = as_floats(2 * np.round(shifts / 2))
    return _move(frame, even, cv2.INTER_NEAREST) if even.any() else frame


def move_frame(frame: SceneLight, shifts: Floats) -> tuple[SceneLight, float]:
    """Return the frame where the reference sees the scene, and what that makes of its variance.

    Args:
        frame: the frame.
        shifts: of tiles, as :meth:`.alignment.Aligner.find_shifts` returns them.
    """
    if np.abs(shifts).max() < _STILL_PX:
        return frame, 1.0
    moved = _move(frame, shifts, cv2.INTER_CUBIC)
    parts = as_floats(shifts.reshape(-1, 2) / 2)
    across, down = _find_noise_gains(parts[:, 0]), _find_noise_gains(parts[:, 1])
    return moved, float(np.median(np.multiply(across, down)))


def _move(frame: SceneLight, shifts: Floats, interpolation: int) -> SceneLight:
    light = np.empty_like(frame.light)
    high, wide = light.shape[0] // 2, light.shape[1] // 2
    columns, rows = make_positions(as_floats(shifts / 2), TILE // 2, (high, wide))
    for y in (0, 1):
        for x in (0, 1):
            plane = np.ascontiguousarray(frame.light[y::2, x::2])
            light[y::2, x::2] = cv2.remap(
                plane, columns, rows, interpolation, borderMode=cv2.BORDER_REFLECT_101
            )
    return replace(frame, light=light)


def _find_noise_gains(positions: Floats) -> Floats:
    """Return the sum of the squares of the interpolation's weights along one axis."""
    part = as_floats(np.round((positions - np.floor(positions)) * _PHASES) / _PHASES)
    a = -0.75  # of OpenCV's cubic kernel
    weights = [_cubic(as_floats(each), a) for each in (1 + part, part, 1 - part, 2 - part)]
    return as_floats(np.sum(np.square(weights), axis=0))


def _cubic(distance: Floats, a: float) -> Floats:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return as_floats(np.where(distance <= 1, near, far))
