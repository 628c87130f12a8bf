"""Denoise a whole RAW picture.

The picture goes through the network in tiles. Each tile has a margin as wide as the network
sees around a pixel, so the result does not depend on the tiles, and 100 megapixels need little more
memory than their result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

from .network import MULTIPLE, Network, load_network
from .noise_estimate import estimate_profile
from .noise_units import NoiseUnits, make_features, pack, unpack

Floats = NDArray[np.float32]

CAPTION = "LensLink denoised picture"
"""The description in the DNG of a denoised picture."""
TILE = 1536
"""Side of a tile's inner part, in pixels of the mosaic."""
OVERLAP = 56
"""The margin on each side of a tile's inner part, in pixels: as far as the network sees."""
MOST_NOISE = 5.0
"""No pixel is changed by more than so many standard deviations of its noise."""
QUIET_SHARE = 0.6
"""The share of the network's answer that is used for a picture with little noise. In such pictures
the network errs by nearly as much as the noise, and a part of its answer is better than all."""
QUIET_NOISE, FULL_NOISE = 0.006, 0.012
"""Standard deviations at mid-grey, where white is 1. Up to the first, QUIET_SHARE is used. From the
second on, the whole answer is used."""
_MID_GREY = 0.18
_ALIGNMENT = 2 * MULTIPLE
"""Tiles begin and end at multiples of this, so that the network halves all at the same pixels."""
_NO_FLOOR = -1.0
"""The floor of a picture of floats, far below any noise: they are not cut at black."""


@dataclass(frozen=True, slots=True)
class DenoiseSettings:
    """How a picture is denoised.

    >>> DenoiseSettings(strength=1.5)
    Traceback (most recent call last):
    lenslink.errors.UsageError: a strength of 1.5 is not from 0 to 1
    """

    strength: float = 1.0
    """How much of the noise that the network finds is taken away, from 0 to 1. In a picture with
    little noise, 1 stands for :data:`QUIET_SHARE` of it."""
    noise_profile: tuple[float, float] | None = None
    """S and O of the noise. None takes those that the picture states, else measures them."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"a strength of {self.strength:g} is not from 0 to 1")
        if self.noise_profile is not None:
            _check_profile(self.noise_profile)


def denoise_raw(
    raw: RawImage, settings: DenoiseSettings | None = None, network: Network | None = None
) -> RawImage:
    """Return *raw* with less noise, as linear light: black is 0 and white is 1, float32.

    The result has no noise profile: what is left of the noise is not that of a sensor.

    Args:
        raw: the picture.
        settings: the strength, and the noise if the picture's own is not to be used.
        network: what finds the noise; None loads the one that LensLink ships.

    Raises:
        UsageError: the NoiseProfile makes no sense, or there is none and it cannot be measured.

    >>> denoise_raw(open_raw("night.dng")).mosaic.dtype  # doctest: +SKIP
    dtype('float32')
    """
    settings = settings or DenoiseSettings()
    profile = settings.noise_profile or raw.noise_profile or estimate_profile(raw)
    _check_profile(profile)
    network = network or load_network()
    units = NoiseUnits(*profile)
    grid = _Grid(raw)
    result = np.empty(raw.mosaic.shape, np.float32)
    for tile in grid.iterate_tiles():
        light = grid.read_light(tile)
        seen = units.from_light(light)
        noise = network.find_noise(make_features(seen, units.find_floor(grid.floor)))
        np.clip(noise, -MOST_NOISE, MOST_NOISE, out=noise)
        noise *= np.float32(settings.strength * find_share(*profile))
        grid.write_light(tile, units.to_light(light, seen, noise), result)
    return replace(
        raw,
        mosaic=np.minimum(result, 1, out=result),
        black=(0.0, 0.0, 0.0, 0.0),
        white=1.0,
        noise_profile=None,
    )


def find_share(shot: float, read: float) -> float:
    """Return the share of the network's answer that is used, for S and O of the noise.

    >>> find_share(1e-3, 1e-4), round(find_share(4e-4, 9e-6), 2), find_share(1e-5, 1e-8)
    (1.0, 0.8, 0.6)
    """
    noise = math.sqrt(shot * _MID_GREY + read)
    part = (noise - QUIET_NOISE) / (FULL_NOISE - QUIET_NOISE)
    return QUIET_SHARE + (1 - QUIET_SHARE) * min(max(part, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class _Tile:
    """A part of the grid: the rows and columns that are computed, and those that are kept."""

    top: int
    bottom: int
    left: int
    right: int
    inner: tuple[int, int, int, int]
    """Top, bottom, left and right of what is kept."""


class _Grid:
    """A picture with red at its top left and with sides that the network can halve.

    It is the mosaic with up to one row and column more at the top and left, and up to seven at the
    bottom and right. They mirror what is inside, which keeps the colours of the filter.
    """

    def __init__(self, raw: RawImage) -> None:
        self._mosaic = raw.mosaic
        self._shift = divmod(raw.cfa.index("R"), 2)
        sides = [length + more for length, more in zip(raw.mosaic.shape, self._shift, strict=True)]
        self._height, self._width = (-(-side // _ALIGNMENT) * _ALIGNMENT for side in sides)
        # The level under each of the four planes: the shift moves the pixels of the filter.
        down, right = self._shift
        sites = [2 * ((y + down) % 2) + (x + right) % 2 for y in (0, 1) for x in (0, 1)]
        self._black = np.array([raw.black[site] for site in sites], np.float32)[:, None, None]
        self._scale = 1 / (np.float32(raw.white) - self._black)
        is_cut = np.issubdtype(raw.mosaic.dtype, np.integer)
        self.floor = -float((self._black * self._scale).mean()) if is_cut else _NO_FLOOR
        """Light of the digital number 0, where the sensor cuts the noise off."""

    def iterate_tiles(self) -> Iterator[_Tile]:
        """Yield the tiles, row by row."""
        for top in range(0, self._height, TILE):
            bottom = min(top + TILE, self._height)
            for left in range(0, self._width, TILE):
                right = min(left + TILE, self._width)
                yield _Tile(
                    max(0, top - OVERLAP),
                    min(self._height, bottom + OVERLAP),
                    max(0, left - OVERLAP),
                    min(self._width, right + OVERLAP),
                    (top, bottom, left, right),
                )

    def read_light(self, tile: _Tile) -> Floats:
        """Return the four planes of a tile, (4, h, w): 0 black, 1 white."""
        height, width = self._mosaic.shape
        down, right = self._shift
        borders = (
            max(0, down - tile.top),
            max(0, tile.bottom - down - height),
            max(0, right - tile.left),
            max(0, tile.right - right - width),
        )
        part = self._mosaic[
            max(0, tile.top - down) : tile.bottom - down,
            max(0, tile.left - right) : tile.right - right,
        ]
        light = pack(np.asarray(cv2.copyMakeBorder(part, *borders, cv2.BORDER_REFLECT_101)))
        light -= self._black
        light *= self._scale
        return light

    def write_light(self, tile: _Tile, light: Floats, result: Floats) -> None:
        """Write the kept part of a tile's planes to *result*, which has the mosaic's shape."""
        height, width = result.shape
        down, right = self._shift
        top, bottom, left, end = tile.inner
        # In rows and columns of the mosaic.
        rows = max(0, top - down), min(height, bottom - down)
        columns = max(0, left - right), min(width, end - right)
        y, x = rows[0] + down - tile.top, columns[0] + right - tile.left
        part = unpack(light)[y : y + rows[1] - rows[0], x : x + columns[1] - columns[0]]
        result[rows[0] : rows[1], columns[0] : columns[1]] = part


def _check_profile(profile: tuple[float, float]) -> None:
    """Raise UsageError unless S and O are a noise that a sensor can have."""
    shot, read = profile
    if not (0 <= shot <= 1 and 0 <= read <= 1 and shot + read > 0):
        raise UsageError(f"a noise of S {shot:g} and O {read:g} makes no sense")
