"""Bursts of known scenes for the benchmark of the zoom.

A scene has twice the frames' size. The hand moves it by parts of a pixel. A pixel of a frame sees
the mean of what it covers. So the scene itself is the truth of a zoom.

The constants of :mod:`lenslink_isp.zoom` were chosen on parts of three photographs of
scikit-image's wheel: astronaut, chelsea and rocket. The benchmark uses the crops of the denoiser's
benchmark, which are other photographs. Only what counts as motion was chosen with a look at its
figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.srgb import XYZ_FROM_SRGB, decode_srgb
from lenslink_isp.raw_image import RawImage

from .denoise_quality import (
    BLACK,
    BLUE,
    CROPS,
    EXPOSURE,
    RED,
    SIDE,
    WHITE,
    find_read,
)

Floats = NDArray[np.float32]

_NEUTRAL = (RED, 1.0, BLUE)
_BORDER = 64
"""Mirrored pixels around a scene, so that what the hand brings in is like the rest."""
_FARTHEST = 6.0
"""The hand moves the picture by at most so many pixels of the scene in each direction."""
_TURN = math.radians(5)
_PARTS = 8


def load_scenes() -> list[Floats]:
    """Return twelve crops of photographs as linear light, (192, 192, 3), 0 to 0.9."""
    sheet = cv2.imdecode(np.fromfile(CROPS, np.uint8), cv2.IMREAD_COLOR_RGB)
    light = np.asarray(decode_srgb(np.asarray(sheet) / 255) * EXPOSURE, np.float32)
    high, wide = light.shape[:2]
    return [
        np.ascontiguousarray(light[top : top + SIDE, left : left + SIDE])
        for top in range(0, high, SIDE)
        for left in range(0, wide, SIDE)
    ]


def make_square(side: int = 256) -> tuple[Floats, tuple[slice, slice], tuple[float, float]]:
    """Return a bright grey square that is turned by 5 degrees, (side, side, 3).

    Also the part around its right edge, as slices of rows and columns; and that edge: by how many
    columns it moves from a row to the next, and its column in the part's first row.
    """
    size, half, middle = side * _PARTS, side * 0.3, (side - 1) / 2
    y, x = ((each + 0.5) / _PARTS - side / 2 for each in np.mgrid[0:size, 0:size])
    across = x * math.cos(_TURN) + y * math.sin(_TURN)
    along = y * math.cos(_TURN) - x * math.sin(_TURN)
    covered = (np.abs(across) < half) & (np.abs(along) < half)
    light = 0.1 + 0.5 * covered.reshape(side, _PARTS, side, _PARTS).mean(axis=(1, 3))
    top, left = round(middle - half * 0.6), round(middle + half - 40)
    part = np.s_[top : side - top, left : left + 80]
    slope = -math.tan(_TURN)
    start = middle + half / math.cos(_TURN) + slope * (top - middle) - left
    return np.repeat(light[..., None], 3, axis=2).astype(np.float32), part, (slope, start)


def make_star(side: int = 512, spokes: int = 72) -> tuple[Floats, Floats]:
    """Return a grey star, (side, side, 3), and the frequency at each pixel, (side, side).

    Frequencies are cycles a pixel of the sensor. Beyond the star, light is even.
    """
    size = side * _PARTS // 2
    y, x = ((each + 0.5) * side / size - side / 2 for each in np.mgrid[0:size, 0:size])
    wave = 0.2 * np.cos(spokes * np.arctan2(y, x)) * (np.hypot(x, y) < side / 2 - _BORDER / 4)
    light = 0.3 + wave.reshape(side, _PARTS // 2, side, _PARTS // 2).mean(axis=(1, 3))
    middle = np.arange(side) + 0.5 - side / 2
    radius = np.hypot(middle, middle[:, None])
    frequency = spokes / (math.pi * radius)
    return (
        np.repeat(light[..., None], 3, axis=2).astype(np.float32),
        frequency.astype(np.float32),
    )


def move_scene(scene: Floats, right: float, down: float) -> Floats:
    """Return the scene moved by parts of a pixel, exactly for what is below its Nyquist limit."""
    width = [(_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)]
    padded = np.pad(scene, width, mode="reflect")
    rows, columns = (np.fft.fftfreq(side) for side in padded.shape[:2])
    turn = np.exp(-2j * np.pi * (columns * right + rows[:, None] * down))
    moved = np.fft.ifft2(np.fft.fft2(padded, axes=(0, 1)) * turn[..., None], axes=(0, 1)).real
    return np.asarray(moved[_BORDER:-_BORDER, _BORDER:-_BORDER], np.float32)


def draw_shifts(count: int, seed: int) -> NDArray[np.float64]:
    """Return how the hand moves each frame, right and down in pixels of the scene. The first is 0.

    The places of the second and later frames are random.
    """
    shifts = np.random.default_rng(seed).uniform(-_FARTHEST, _FARTHEST, (count, 2))
    shifts[0] = 0
    return shifts


def take_burst(scenes: Sequence[Floats], shot: float, seed: int) -> list[RawImage]:
    """Return a frame of each scene, which may differ by what moves in it.

    Args:
        scenes: linear light, (H, W, 3): what each frame would see if the hand did not move.
        shot: S of the noise.
        seed: of the hand and of the noise.
    """
    random = np.random.default_rng([seed, 1])
    return [
        _expose(move_scene(scene, *shift), shot, random)
        for scene, shift in zip(scenes, draw_shifts(len(scenes), seed), strict=True)
    ]


def _expose(scene: Floats, shot: float, random: np.random.Generator) -> RawImage:
    high, wide = (side // 2 for side in scene.shape[:2])
    cells = scene.reshape(high, 2, wide, 2, 3).mean(axis=(1, 3)) * np.array(_NEUTRAL)
    light = cells[..., 1].copy()
    light[0::2, 0::2], light[1::2, 1::2] = cells[0::2, 0::2, 0], cells[1::2, 1::2, 2]
    light = np.maximum(light, 0)
    read = find_read(shot)
    noisy = random.poisson(light / shot) * shot + random.normal(0, math.sqrt(read), light.shape)
    words = np.clip(np.round(noisy * (WHITE - BLACK) + BLACK), 0, WHITE).astype(np.uint16)
    matrix = np.diag(_NEUTRAL) @ np.linalg.inv(XYZ_FROM_SRGB)
    return RawImage(
        words, "RGGB", (float(BLACK),) * 4, float(WHITE), matrix, _NEUTRAL, (shot, read),
        sensitivity=0.01,
    )  # fmt: skip
