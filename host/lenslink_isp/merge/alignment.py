"""Find where each tile of the reference frame lies in another frame.

The frames are compared as grey pictures of half the size: the mean of each 2 x 2 pixels of the
mosaic. The square root of their light has nearly the same noise in shadows and lights. The search
goes from a small picture to the large one:

1. Phase correlation of the smallest pictures finds the shift of the whole frame.
2. In each size, one step after Lucas and Kanade ("An iterative image registration technique with an
   application to stereo vision", 1981) moves the frame, then each tile.

A tile without texture says little about its shift, so it follows the whole frame. A prior does
this: the weaker the gradients of a tile are against the noise, the closer it stays.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene_light import SceneLight, as_floats

Floats = NDArray[np.float32]

TILE = 64
"""Side of a tile in pixels of the mosaic. The estimate of a tile also looks at its neighbours."""

_STEPS = 2
"""Steps in each size of the pictures."""
_PRIOR = 60.0
"""How many times the gradients that noise makes must a tile exceed to move on its own."""
_FARTHEST = 0.25
"""The largest shift that is believed, as a part of the frame's shorter side."""
_MEAN_NOISE = 32
"""The root of light has a quarter of the slope as its variance, the mean of four pixels a quarter
of that, and one of two frames half of their sum."""
_BORDER = 6
"""Pixels along the border of a picture that are not compared."""
_LEAST_SIDE = 16
"""Pictures with a shorter side, in pixels, say nothing."""
_LEAST_GAIN = 0.95
"""A shift of the whole frame must make the squared error less than so much of what it was."""
_BREADTH = (np.outer((1, 2, 1), (1, 2, 1)) / 16).astype(np.float32)


class Aligner:
    """Aligns frames to one reference frame.

    >>> rng = np.random.default_rng(1)
    >>> scene = cv2.GaussianBlur(rng.random((256, 320), np.float32), (0, 0), 3)
    >>> here, there = (SceneLight(each, 1, 0, 1e-6) for each in (scene, np.roll(scene, 4, axis=1)))
    >>> shifts = Aligner(here).find_shifts(there)
    >>> shifts.shape, np.round(np.median(shifts, axis=(0, 1))).tolist()
    ((4, 5, 2), [4.0, 0.0])
    """

    def __init__(self, reference: SceneLight, *, finest: int = 2) -> None:
        """Keep the grey pictures of *reference*, down to 1 / *finest* of the mosaic's size."""
        self._reference = reference
        shape = reference.light.shape
        self._scales = [
            scale for scale in (8, 4, 2) if scale >= finest and min(shape) >= _LEAST_SIDE * scale
        ]
        self._grid = -(-shape[0] // TILE), -(-shape[1] // TILE)
        self._pyramid: list[_Grey] = []
        self._limit = self._floor = 0.0

    def find_shifts(self, frame: SceneLight) -> Floats:
        """Return how far each tile has moved to the right and down, in pixels: (rows, columns, 2).

        A tile has TILE pixels. The last row and column of tiles may reach beyond the frame. Frames
        of less than 64 pixels are too small to be aligned: their shifts are 0.
        """
        if not self._scales:
            return np.zeros((*self._grid, 2), np.float32)
        reference = self._reference
        limit = min(reference.limit, frame.limit)
        floor = max(_find_floor(reference), _find_floor(frame))
        noise = (reference.slope + frame.slope) / _MEAN_NOISE
        if (limit, floor) != (self._limit, self._floor):
            # What one of the frames cannot tell must look the same in both.
            pictures = _make_pyramid(reference.light, limit, floor, self._scales)
            self._pyramid = [_Grey(picture, TILE // scale, self._grid) for picture, scale in
                             zip(pictures, self._scales, strict=True)]  # fmt: skip
            self._limit, self._floor = limit, floor
        moved = _make_pyramid(frame.light, limit, floor, self._scales)
        farthest = _FARTHEST * min(frame.light.shape)
        whole = self._scales[0] * _correlate(self._pyramid[0].picture, moved[0])
        if np.abs(whole).max() > farthest:
            whole = np.zeros(2, np.float32)
        shifts = np.broadcast_to(whole, (*self._grid, 2)).astype(np.float32)
        for grey, picture, scale in zip(self._pyramid, moved, self._scales, strict=True):
            for _ in range(_STEPS):
                whole, shifts = grey.refine(
                    picture, noise, as_floats(whole / scale), as_floats(shifts / scale)
                )
                whole, shifts = as_floats(whole * scale), as_floats(shifts * scale)
            if scale == self._scales[0] and not grey.is_better(picture, as_floats(shifts / scale)):
                # A flat scene wanders with the noise. The next picture begins anew.
                whole, shifts = np.zeros_like(whole), np.zeros_like(shifts)
        return as_floats(np.clip(shifts, -farthest, farthest))


class _Grey:
    """A grey picture of the reference frame with what does not depend on the other frame."""

    def __init__(self, picture: Floats, tile: int, grid: tuple[int, int]) -> None:
        self.picture, self._tile, self._grid = picture, tile, grid
        self._dx = _filter(picture, np.array([[-0.5, 0, 0.5]], np.float32))
        self._dy = _filter(picture, np.array([[-0.5], [0], [0.5]], np.float32))
        for gradient in (self._dx, self._dy):
            # What lies near the border may not be in the other frame.
            gradient[:_BORDER] = gradient[-_BORDER:] = 0
            gradient[:, :_BORDER] = gradient[:, -_BORDER:] = 0
        self._xx, self._xy, self._yy = (
            self._sum(a * b)
            for a, b in ((self._dx, self._dx), (self._dx, self._dy), (self._dy, self._dy))
        )

    def refine(
        self, moved: Floats, noise: float, whole: Floats, shifts: Floats
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return better shifts of the whole frame and of the tiles, in pixels of this picture.

        *noise* is the variance of a frame, as far as it is known.
        """
        warped = warp(moved, shifts, self._tile)
        error = warped - self.picture
        bx, by = self._sum(self._dx * error), self._sum(self._dy * error)
        # Difference of two frames: twice the noise of one.
        noise = max(noise, float(np.median(self._sum(error * error))) / 2)
        # The gradient of noise with the variance v has the variance v / 2 in each direction.
        prior = _PRIOR * noise / 2 + 1e-12
        # The whole frame: tiles that the prior holds count less.
        trust = as_floats(1 / (1 + self._sum(error * error) / (4 * noise + 1e-12)))
        ux, uy = shifts[..., 0] - whole[0], shifts[..., 1] - whole[1]
        matrix = np.array(
            [[_dot(trust, self._xx), _dot(trust, self._xy)],
             [_dot(trust, self._xy), _dot(trust, self._yy)]]
        )  # fmt: skip
        # Predict the error at the frame's shift from that at the tile's shift.
        gx = bx - self._xx * ux - self._xy * uy
        gy = by - self._xy * ux - self._yy * uy
        pull = np.array([_dot(trust, as_floats(gx)), _dot(trust, as_floats(gy))])
        matrix += np.eye(2) * (1e-9 + 1e-6 * np.trace(matrix))
        whole = whole - np.clip(np.linalg.solve(matrix, pull), -1, 1).astype(np.float32)
        # Each tile: minimize its error and its distance from the whole frame together.
        ux, uy = shifts[..., 0] - whole[0], shifts[..., 1] - whole[1]
        xx, yy, xy = self._xx + prior, self._yy + prior, self._xy
        bx, by = bx + prior * ux, by + prior * uy
        determinant = xx * yy - xy * xy
        step = np.stack((yy * bx - xy * by, xx * by - xy * bx), axis=-1) / determinant[..., None]
        return as_floats(whole), as_floats(shifts - np.clip(step, -1, 1))

    def is_better(self, moved: Floats, shifts: Floats) -> bool:
        """Return True if *shifts* fit the picture better than the opposite ones.

        Both are interpolated alike, which makes noise smaller.
        """
        ahead, back = (
            float(np.square(warp(moved, as_floats(each), self._tile) - self.picture).mean())
            for each in (shifts, -shifts)
        )
        return ahead < _LEAST_GAIN * back

    def _sum(self, values: Floats) -> Floats:
        """Return the mean of each tile and its neighbours, shape *grid*."""
        rows, columns = self._grid
        high, wide = rows * self._tile - values.shape[0], columns * self._tile - values.shape[1]
        if high or wide:
            values = as_floats(cv2.copyMakeBorder(values, 0, high, 0, wide, cv2.BORDER_CONSTANT))
        means = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA)
        return _filter(as_floats(means), _BREADTH)


def warp(
    picture: Floats, shifts: Floats, tile: int, interpolation: int = cv2.INTER_LINEAR
) -> Floats:
    """Return *picture* (H, W) with its tiles moved back by *shifts*, (rows, columns, 2) pixels.

    Shifts are those of the tiles' centres. They change smoothly between them.
    """
    high, wide = picture.shape
    columns, rows = make_positions(shifts, tile, (high, wide))
    return as_floats(
        cv2.remap(picture, columns, rows, interpolation, borderMode=cv2.BORDER_REFLECT_101)
    )


def make_positions(shifts: Floats, tile: int, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return the column and the row of *picture* that each pixel of the reference is seen at."""
    high, wide = shape
    x, y = _list_pixels(wide), _list_pixels(high)
    grid = shifts.shape[1] * tile, shifts.shape[0] * tile
    fields = [
        as_floats(cv2.resize(shifts[..., axis], grid, interpolation=cv2.INTER_LINEAR))[:high, :wide]
        for axis in (0, 1)
    ]
    return fields[0] + x[None], fields[1] + y[:, None]


@lru_cache(maxsize=16)
def _list_pixels(count: int) -> Floats:
    return np.arange(count, dtype=np.float32)


def _find_floor(frame: SceneLight) -> float:
    """Return the light below which the noise of reading is larger than that of photons."""
    return frame.offset / frame.slope if frame.slope else 1e-6


def _make_pyramid(light: Floats, limit: float, floor: float, scales: list[int]) -> list[Floats]:
    """Return grey pictures of 1 / scale of the mosaic's size, with even noise."""
    high, wide = light.shape
    size = wide // 2, high // 2
    grey = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    # The root of light + floor has the variance slope / 4, or less, everywhere.
    np.clip(grey, -floor, limit, out=grey)
    np.add(grey, np.float32(floor), out=grey)
    cv2.sqrt(grey, grey)
    pictures, scale = [], 2
    while True:
        if scale in scales:
            # Detail that is too fine for the small picture misleads, so it is blurred.
            pictures.append(as_floats(cv2.GaussianBlur(grey, (5, 5), 0.7)))
        if scale >= max(scales):
            return pictures[::-1]
        scale *= 2
        size = max(1, wide // scale), max(1, high // scale)
        grey = as_floats(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _correlate(reference: Floats, moved: Floats) -> NDArray[np.float32]:
    """Return the shift of the whole picture in pixels, by phase correlation; 0 if none helps."""
    window = cv2.createHanningWindow((reference.shape[1], reference.shape[0]), cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(reference, moved, window)
    # Noise is shifted too. A shift below a pixel is found by the steps that follow.
    right, down = (round(each) for each in shift)
    high, wide = reference.shape
    if not (right or down) or abs(right) >= wide or abs(down) >= high:
        return np.zeros(2, np.float32)
    here = reference[max(0, -down) : high - max(0, down), max(0, -right) : wide - max(0, right)]
    there = moved[max(0, down) : high - max(0, -down), max(0, right) : wide - max(0, -right)]
    before, after = (float(np.square(each).mean()) for each in (reference - moved, here - there))
    return np.array(shift if after < _LEAST_GAIN * before else (0, 0), np.float32)


def _dot(a: Floats, b: Floats) -> float:
    return float(np.vdot(a, b))


def _filter(values: Floats, kernel: Floats) -> Floats:
    return as_floats(cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_REFLECT_101))
