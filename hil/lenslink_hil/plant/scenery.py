"""What stands in front of the lens: layers of surfaces at depths, and the charts.

A scenery is a list of layers, from far to near. A layer paints its reflectance on a grid of cells,
and says where it covers what is behind it. Its depth is one number, or runs evenly from the top of
the field to its bottom. A layer may swing to and fro.

A cell's value is the mean over the cell. Edges are computed as the exact area that they cover.
Reflectance 1 is a white surface under the scene's light; point lights are brighter.

Positions are millimetres on the sensor, as an ideal lens that is focused at infinity would draw
them: x to the right and y down, from the centre. Depths are milli-dioptres. :mod:`.camera` draws
what this module describes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .optics import Optics

Floats = NDArray[np.float32]

FRAME_INTERVAL_US = 33_333
"""Time from a frame to the next one. Frame numbers are the plant's only clock for scenes."""
SWING_SECONDS = 2.0
"""Period of a moving layer."""

_TREMOR_HZ, _TREMOR_SWINGS = (0.7, 9.0), 6

CHART_MDPT = 1000.0
PLANES_MDPT = (300.0, 1200.0, 2400.0)
RAMP_MDPT = (300.0, 2300.0)

_TILE = 1024
_FINEST_UM, _OCTAVES = 1.4, 12
"""Details of the texture: cells from one pixel of the finest mode up to 3 mm."""
_DARK, _BRIGHT = 0.08, 0.72
"""Reflectances of the slanted edges: contrast 9, below clipping."""


@dataclass(frozen=True)
class Grid:
    """Cells of an image: *width* x *height* squares with the side *step*, in millimetres.

    Attributes:
        left: position of the left edge of the first cell.
        top: position of its upper edge.
        lens: bends positions; None for an ideal lens.
    """

    left: float
    top: float
    step: float
    width: int
    height: int
    lens: Optics | None = None

    @cached_property
    def ideal(self) -> tuple[Floats, Floats]:
        """The ideal positions of the cells' centres, each of shape (height, width)."""
        x = (self.left + self.step * (np.arange(self.width) + 0.5)).astype(np.float32)
        y = (self.top + self.step * (np.arange(self.height) + 0.5)).astype(np.float32)
        wide = np.broadcast_to(x, (self.height, self.width))
        high = np.broadcast_to(y[:, None], (self.height, self.width))
        return (wide, high) if self.lens is None else self.lens.undistort(wide, high)

    def fill(self, value: float) -> Floats:
        """Return the same value for each cell."""
        return np.full((self.height, self.width), value, np.float32)


Paint = Callable[[Grid], Floats]


@dataclass(frozen=True)
class Layer:
    """A surface.

    Attributes:
        paint: reflectance of each cell: shape (H, W) if grey, else (3, H, W) for red, green, blue.
        top_mdpt: depth at the upper edge of a 4:3 field.
        bottom_mdpt: depth at its lower edge.
        cover: share of each cell that the layer covers, shape (H, W); None covers everything.
        tint: factor of the planes red, green and blue.
        swing_mm: half the way of a layer that moves to and fro.
    """

    paint: Paint
    top_mdpt: float
    bottom_mdpt: float
    cover: Paint | None = None
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    swing_mm: float = 0.0

    def is_flat(self) -> bool:
        """Return True if the layer has one depth."""
        return self.top_mdpt == self.bottom_mdpt

    def get_depth(self, y: Floats, field_height: float) -> Floats:
        """Return the depth at each ideal position *y* of a 4:3 field of that height."""
        share = y / np.float32(field_height) + np.float32(0.5)
        depth = self.top_mdpt + np.clip(share, 0, 1) * (self.bottom_mdpt - self.top_mdpt)
        return np.asarray(depth, np.float32)

    def get_motion(self, seconds: float) -> tuple[float, float]:
        """Return the layer's shift in mm and its speed in mm a second, both along x."""
        angle = 2 * math.pi * seconds / SWING_SECONDS
        speed = self.swing_mm * 2 * math.pi / SWING_SECONDS
        return self.swing_mm * math.sin(angle), speed * math.cos(angle)


class Shake:
    """The hand that holds the camera: the picture wanders by a sum of slow and fast swings.

    Args:
        rms_mm: how far the picture is from its place on the sensor, root mean square, on each axis.
        seed: of the swings.
    """

    def __init__(self, rms_mm: float, seed: int) -> None:
        random = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, 0x5A4E])))
        # A tremor has most of its way below 2 Hz and a little up to 9 Hz.
        self._hertz = random.uniform(*_TREMOR_HZ, (2, _TREMOR_SWINGS))
        self._phase = random.uniform(0, 2 * math.pi, (2, _TREMOR_SWINGS))
        way = 1 / self._hertz
        self._way: NDArray[np.float64] = (
            rms_mm * way * np.sqrt(2 / np.square(way).sum(axis=1, keepdims=True))
        )

    @property
    def reach_mm(self) -> float:
        """How far the picture may be off its place on an axis, at most."""
        return float(self._way.sum(axis=1).max())

    def get_shift(self, seconds: float) -> tuple[float, float]:
        """Return how far the picture is off its place, in mm to the right and down."""
        x, y = (self._way * np.sin(2 * math.pi * self._hertz * seconds + self._phase)).sum(axis=1)
        return float(x), float(y)

    def get_speed(self, seconds: float) -> tuple[float, float]:
        """Return the speed of the picture in mm a second."""
        angle = 2 * math.pi * self._hertz * seconds + self._phase
        x, y = (2 * math.pi * self._hertz * self._way * np.cos(angle)).sum(axis=1)
        return float(x), float(y)


@dataclass(frozen=True)
class Scenery:
    """Layers from far to near. The first one covers everything.

    Attributes:
        points: the ideal positions of the point lights.
        shake: the hand that holds the camera; None for a tripod.
    """

    layers: tuple[Layer, ...]
    points: tuple[tuple[float, float], ...] = ()
    shake: Shake | None = None


def make_flat(reflectance: float) -> Scenery:
    """Return an even surface; its depth does not matter."""
    return Scenery((Layer(lambda grid: grid.fill(reflectance), CHART_MDPT, CHART_MDPT),))


def make_edges(depth: float, field_mm: tuple[float, float]) -> Scenery:
    """Return 4 x 3 dark squares on a bright ground, turned by 5 degrees (after ISO 12233)."""
    pitch = field_mm[0] / 4
    half = pitch * 0.29
    turn = math.radians(5)

    def paint(grid: Grid) -> Floats:
        x, y = grid.ideal
        across = x - (np.floor(x / pitch) + 0.5).astype(np.float32) * np.float32(pitch)
        rows = np.clip(np.floor(y / pitch + 0.5), -1, 1)
        along = y - rows.astype(np.float32) * np.float32(pitch)
        u = across * math.cos(turn) + along * math.sin(turn)
        v = along * math.cos(turn) - across * math.sin(turn)
        inside = cover_half_plane(half - np.abs(u), turn, grid.step)
        inside *= cover_half_plane(half - np.abs(v), turn, grid.step)
        inside *= np.float32(_DARK - _BRIGHT)
        inside += np.float32(_BRIGHT)
        return inside

    return Scenery((Layer(paint, depth, depth),))


def make_star(depth: float, field_mm: tuple[float, float]) -> Scenery:
    """Return a Siemens star of 72 sinusoidal spokes, grey where they are finer than two cells."""
    radius = field_mm[1] * 0.45
    spokes = 72

    def paint(grid: Grid) -> Floats:
        x, y = grid.ideal
        distance = np.hypot(x, y)
        wave = np.cos(spokes * np.arctan2(y, x))
        # The mean of a wave over a cell is the wave times a sinc.
        wave *= np.sinc(spokes * grid.step / (2 * math.pi * np.maximum(distance, grid.step)))
        wave[distance < spokes * grid.step / math.pi] = 0
        edge = np.clip((radius - distance) / np.float32(grid.step) + np.float32(0.5), 0, 1)
        return np.asarray(0.4 + 0.32 * wave * edge, np.float32)

    return Scenery((Layer(paint, depth, depth),))


def make_points(depth: float, field_mm: tuple[float, float]) -> Scenery:
    """Return 9 x 7 point lights, each as bright as a white square of 0.1 mm, on black."""
    columns = (np.arange(9) - 4) * field_mm[0] / 9.2
    rows = (np.arange(7) - 3) * field_mm[1] / 7.2
    places = tuple((float(x), float(y)) for y in rows for x in columns)

    def paint(grid: Grid) -> Floats:
        image = grid.fill(0.002)
        x, y = (np.array(each) for each in zip(*places, strict=True))
        if grid.lens is not None:
            x, y = grid.lens.distort(x, y)
        at_x, at_y = (x - grid.left) / grid.step - 0.5, (y - grid.top) / grid.step - 0.5
        left, top = np.floor(at_x).astype(int), np.floor(at_y).astype(int)
        energy = 0.1**2 / grid.step**2
        for down in (0, 1):
            for right in (0, 1):
                # Shared among four cells, so that the centre of gravity is exact.
                share = np.abs(1 - right - (at_x - left)) * np.abs(1 - down - (at_y - top))
                row, column = top + down, left + right
                seen = (row >= 0) & (row < grid.height) & (column >= 0) & (column < grid.width)
                np.add.at(image, (row[seen], column[seen]), energy * share[seen])
        return image

    return Scenery((Layer(paint, depth, depth),), places)


def make_ramp(depths: tuple[float, float], seed: int) -> Scenery:
    """Return a textured ground that comes nearer from the top of the field to its bottom."""
    return Scenery((Layer(Texture(seed).paint, *depths),))


def make_planes(
    depths: tuple[float, ...],
    field_mm: tuple[float, float],
    seed: int,
    paints: tuple[Paint, ...] = (),
    swing: float = 0.0,
) -> Scenery:
    """Return textured planes: the first fills the field, the others stand before it side by side.

    Args:
        depths: from far to near.
        field_mm: width and height of the field.
        seed: of the textures.
        paints: pictures in place of the textures.
        swing: way of the nearest plane to and fro, as a share of the field's width.
    """
    tints = ((1.0, 0.95, 0.8), (0.75, 1.0, 0.8), (0.8, 0.85, 1.0))
    layers = []
    for number, depth in enumerate(depths):
        paint = paints[number] if paints else Texture(seed + number).paint
        cover = None if number == 0 else _place_panel(number, len(depths) - 1, field_mm)
        tint = (1.0, 1.0, 1.0) if paints else tints[number % len(tints)]
        is_nearest = number == len(depths) - 1
        swing_mm = swing * field_mm[0] if is_nearest and number else 0.0
        layers.append(Layer(paint, depth, depth, cover, tint, swing_mm))
    return Scenery(tuple(layers))


def find_panel(
    number: int, count: int, field_mm: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the plane *number*, from 1 to *count*."""
    width, height = field_mm
    slot = width / count
    left = -width / 2 + slot * (number - 1)
    return left + 0.14 * slot, -0.28 * height, left + 0.86 * slot, 0.32 * height


def _place_panel(number: int, count: int, field_mm: tuple[float, float]) -> Paint:
    left, top, right, bottom = find_panel(number, count, field_mm)

    def cover(grid: Grid) -> Floats:
        x, y = grid.ideal
        inside = cover_half_plane(x - left, 0, grid.step) * cover_half_plane(
            right - x, 0, grid.step
        )
        inside *= cover_half_plane(y - top, 0, grid.step)
        inside *= cover_half_plane(bottom - y, 0, grid.step)
        return inside

    return cover


def cover_half_plane(distance: Floats, angle: float, step: float) -> Floats:
    """Return the share of square cells that a half-plane covers.

    Args:
        distance: of each cell's centre from the edge, positive inside.
        angle: between the edge and the grid, in radians.
        step: side of a cell.
    """
    narrow, wide = sorted((step * abs(math.cos(angle)), step * abs(math.sin(angle))))
    # Right where the edge runs along the cells, and outside of the cells that it crosses.
    share = distance * np.float32(1 / wide)
    share += np.float32(0.5)
    np.clip(share, 0, 1, out=share)
    if narrow > 1e-6 * step:
        # A step that two boxes smooth: a parabola at each corner and a line between them.
        outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
        crossed = np.nonzero(np.abs(distance) < outer)
        near = np.abs(distance[crossed])
        curve = 0.5 - np.square(outer - near) / np.float32(2 * wide * narrow)
        half = np.where(near < inner, near / np.float32(wide), curve)
        share[crossed] = 0.5 + np.copysign(half, distance[crossed])
    return np.asarray(share, np.float32)


class Texture:
    """Noise with equal contrast in every octave, so that it looks the same at each scale."""

    def __init__(self, seed: int) -> None:
        random = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, 0x7E87])))
        self._noise = random.standard_normal((_TILE, _TILE), np.float32)
        self._shifts = random.uniform(0, _TILE, (_OCTAVES, 2))

    def paint(self, grid: Grid) -> Floats:
        """Return reflectances around 0.35. Distortion leaves a texture as it is."""
        total = grid.fill(0)
        for octave in range(_OCTAVES):
            cell = _FINEST_UM / 1000 * 2**octave
            if cell < 0.99 * grid.step:
                continue  # finer detail averages out within a cell
            total += self._sample(grid, cell, octave)
        return np.asarray(0.35 * np.exp(np.clip(total * np.float32(0.22), -1.4, 1.0)), np.float32)

    def _sample(self, grid: Grid, cell: float, octave: int) -> Floats:
        """Return the noise of one octave, whose cells have the side *cell* in millimetres."""
        first = np.array([grid.left, grid.top]) / cell + self._shifts[octave]
        count = np.array([grid.width, grid.height]) * grid.step / cell
        start = np.floor(first).astype(int) - 3
        columns, rows = (np.arange(n) for n in np.ceil(count).astype(int) + 8)
        tile = self._noise[np.ix_((rows + start[1]) % _TILE, (columns + start[0]) % _TILE)]
        left, top = first - start
        box = (left, top, left + count[0], top + count[1])
        size = (grid.width, grid.height)
        return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC, box))


class PicturePaint:
    """A picture that fills a box of the field.

    Args:
        planes: linear reflectance, red, green and blue, shape (3, H, W).
        box: left, top, right and bottom in millimetres. The picture's edge continues outside.
    """

    MESH = 32
    """Cells of the grid in each piece that is bent as a quadrilateral."""

    def __init__(self, planes: Floats, box: tuple[float, float, float, float]) -> None:
        self._planes, self._box = planes, box

    def __call__(self, grid: Grid) -> Floats:
        """Return the picture's reflectance on *grid*, shape (3, H, W)."""
        left, top, right, bottom = self._box
        planes = self._planes
        pixel = (right - left) / planes.shape[2]
        if pixel < 0.8 * grid.step:
            # Finer than the cells: average first.
            scale = pixel / grid.step
            size = (max(2, round(planes.shape[2] * scale)), max(2, round(planes.shape[1] * scale)))
            planes = np.stack(
                [
                    np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX))
                    for each in planes
                ]
            )
        per_mm_x = planes.shape[2] / (right - left)
        per_mm_y = planes.shape[1] / (bottom - top)
        # A piece that is partly inside must not be clipped: that would squeeze what is inside.
        margin = 4 + math.ceil(1.25 * self.MESH * grid.step * max(per_mm_x, per_mm_y))
        planes = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
        columns = _split(grid.width, self.MESH)
        rows = _split(grid.height, self.MESH)
        x = grid.left + grid.step * np.broadcast_to(columns, (len(rows), len(columns)))
        y = grid.top + grid.step * np.broadcast_to(rows[:, None], (len(rows), len(columns)))
        if grid.lens is not None:
            x, y = grid.lens.undistort(x.astype(np.float32), y.astype(np.float32))
        at_x = np.clip((x - left) * per_mm_x + margin, 2, planes.shape[2] - 2)
        at_y = np.clip((y - top) * per_mm_y + margin, 2, planes.shape[1] - 2)
        mesh = []
        for row in range(len(rows) - 1):
            for column in range(len(columns) - 1):
                target = (columns[column], rows[row], columns[column + 1], rows[row + 1])
                corners = (
                    (row, column),
                    (row + 1, column),
                    (row + 1, column + 1),
                    (row, column + 1),
                )
                quad = [value for at in corners for value in (at_x[at], at_y[at])]
                mesh.append((tuple(int(each) for each in target), tuple(map(float, quad))))
        size = (grid.width, grid.height)
        images = [
            Image.fromarray(plane).transform(
                size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC
            )
            for plane in planes
        ]
        return np.asarray(np.maximum(np.stack([np.asarray(each) for each in images]), 0))


def _split(length: int, step: int) -> NDArray[np.int64]:
    """Return the ends of pieces of at most *step* that make up *length*."""
    return np.unique(np.append(np.arange(0, length, step), length))
