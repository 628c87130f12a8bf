"""Zoom into a burst: a developed picture of twice the size.

The picture is made in tiles, so that what a step needs stays in the cache. Tiles overlap, and the
overlap is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.denoise.noise_estimate import estimate_profile
from lenslink_isp.develop.color import make_gains, make_srgb_matrix
from lenslink_isp.develop.demosaic import demosaic_directional
from lenslink_isp.develop.still import StillSettings, make_perceptual, render_colors
from lenslink_isp.develop.tone import make_tone_table
from lenslink_isp.merge.alignment import Aligner
from lenslink_isp.merge.scene_light import as_floats, check_alike, measure_light
from lenslink_isp.raw_image import RawImage

from .agreement import measure_slope, weigh_cells
from .detail import PerceptualNoise, sharpen_detail
from .fine_picture import FinePicture, Samples, is_inside, predict
from .sample_places import find_places

Floats = NDArray[np.float32]

FACTOR = 2
"""Pixels of the picture for each pixel of the sensor, along each side."""
MAX_FACTOR = 8.0
"""The most that a crop zooms."""
LEAST_SIDE = 64
"""The shortest side of a region, in pixels of the sensor."""
SHARPNESS = 0.25
"""How much detail is emphasized, unless settings say otherwise."""
_STEPS, _NOISY_STEPS = 5, 3
"""Steps of refinement, with little noise and with much. Each makes detail clearer and noise larger.
"""
_NOISY = 1e-4
"""S of the NoiseProfile above which there is much noise. At the least gain, sensors stay below."""
_TILE, _MARGIN = 256, 16
"""Side of a tile and its overlap, in pixels of the sensor."""
_SAME_EXPOSURE = 1.05
"""Exposures of one burst may differ by this factor."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame in pixels of the sensor. All numbers are even.

    >>> Region.find_center((3000, 4000), 2)
    Region(left=1000, top=750, width=2000, height=1500)
    """

    left: int
    top: int
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = (self.left, self.top, self.width, self.height)
        if any(each % 2 for each in numbers) or min(numbers[:2]) < 0:
            raise UsageError(f"the region {numbers} must have even numbers that are not negative")
        if min(self.width, self.height) < LEAST_SIDE:
            raise UsageError(f"a region has at least {LEAST_SIDE} x {LEAST_SIDE} pixels")

    @classmethod
    def find_center(cls, shape: tuple[int, int], factor: float) -> Region:
        """Return the middle of a frame of this shape, (H, W): 1 / *factor* of each side.

        Raises:
            UsageError: *factor* is not from 1 to MAX_FACTOR, or less than 64 pixels are left.
        """
        if not 1 <= factor <= MAX_FACTOR:
            raise UsageError(f"a zoom is from 1 to {MAX_FACTOR:g}, not {factor:g}")
        high, wide = (2 * round(side / factor / 2) for side in shape)
        top, left = ((side - part) // 4 * 2 for side, part in zip(shape, (high, wide), strict=True))
        return cls(left, top, wide, high)


@dataclass(frozen=True, slots=True)
class ZoomedPicture:
    """A picture of twice the size."""

    picture: NDArray[np.uint8]
    """(2 * height, 2 * width, 3): sRGB of the region, not turned upright."""
    region: Region
    """The part of the frames that it shows."""
    shares: tuple[float, ...]
    """How much of each frame was used, from 0 to 1; 1 for the reference frame."""


def zoom_burst(
    frames: Sequence[RawImage],
    region: Region | None = None,
    settings: StillSettings | None = None,
    *,
    reference: int = 0,
) -> ZoomedPicture:
    """Return the picture of a burst, with two pixels for each pixel of the sensor along each side.

    It takes 2 to 4 CPU-s for each megapixel of the region and eight frames. What moves is shown as
    the reference frame has it. A frame without a NoiseProfile gets one that is measured.

    Args:
        frames: 2 to 16 frames of one sensor and one exposure, taken by hand.
        region: the part to show; None is all.
        settings: exposure, sharpness and tone curve. Quality and local tones are not used.
        reference: number of the frame that says where everything is.

    Raises:
        UsageError: too few or too many frames; their sizes, colour filters or exposures differ;
            the region is not inside the frame; or *reference* is no frame.

    >>> import lenslink
    >>> with lenslink.open("sim:?width=128&height=96&scene=edges&shake=40") as module:
    ...     taken = module.capture(frames=[lenslink.Settings()] * 3)
    ...     zoomed = zoom_burst([RawImage.from_frame(frame) for frame in taken])
    >>> zoomed.picture.shape
    (192, 256, 3)
    """
    check_alike(frames)
    if not 0 <= reference < len(frames):
        raise UsageError(f"reference is {reference}, there are {len(frames)} frames")
    _check_exposures(frames)
    settings = settings or StillSettings(sharpness=SHARPNESS)
    base = frames[reference]
    high, wide = base.mosaic.shape
    region = region or Region(0, 0, wide, high)
    if region.left + region.width > wide or region.top + region.height > high:
        raise UsageError(f"the region is not inside the frame of {wide} x {high} pixels")
    if base.noise_profile is None:
        profile = estimate_profile(base)
        frames = [replace(each, noise_profile=profile) for each in frames]
    burst = _Burst(frames, reference, region, settings)
    picture = np.empty((FACTOR * region.height, FACTOR * region.width, 3), np.uint8)
    sums = np.zeros(len(frames))
    for top, left in _list_tiles(region):
        tile, shares = burst.make_tile(top, left)
        y, x = FACTOR * (top - region.top), FACTOR * (left - region.left)
        picture[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        sums += shares * tile.shape[0] * tile.shape[1]
    return ZoomedPicture(picture, region, tuple((sums / (picture.size / 3)).tolist()))


def _check_exposures(frames: Sequence[RawImage]) -> None:
    """Raise UsageError if the frames are exposed differently, as far as they say."""
    known = [each.sensitivity for each in frames if each.sensitivity]
    if known and max(known) > _SAME_EXPOSURE * min(known):
        raise UsageError("a zoom takes frames of one exposure: 'lenslink merge' takes brackets")


def _list_tiles(region: Region) -> Iterator[tuple[int, int]]:
    """Yield row and column of each tile's first pixel."""
    for top in range(region.top, region.top + region.height, _TILE):
        for left in range(region.left, region.left + region.width, _TILE):
            yield top, left


class _Burst:
    """The frames of a burst, aligned to one of them."""

    def __init__(
        self,
        frames: Sequence[RawImage],
        reference: int,
        region: Region,
        settings: StillSettings,
    ) -> None:
        base = frames[reference]
        self._reference, self._region = reference, region
        self._shape, self._cfa = base.mosaic.shape, base.cfa
        aligner = Aligner(measure_light(base, 1.0))
        self._shifts = [
            None if number == reference else aligner.find_shifts(measure_light(frame, 1.0))
            for number, frame in enumerate(frames)
        ]
        self._mosaics = [make_perceptual(frame, 0, self._shape[0]) for frame in frames]
        profile, gains = base.noise_profile or (0.0, 0.0), make_gains(base.neutral)
        self._noises = [PerceptualNoise(profile, [gain]) for gain in gains]
        self._grey_noise = PerceptualNoise(
            profile, [gains["RGB".index(colour)] for colour in base.cfa]
        )
        self._matrix = make_srgb_matrix(base.camera_from_xyz, base.neutral).astype(np.float32)
        self._tones = make_tone_table(
            settings.exposure_ev + base.baseline_exposure, is_filmic=settings.is_filmic
        )
        self._sharpness = settings.sharpness
        self._steps = _NOISY_STEPS if profile[0] > _NOISY else _STEPS

    def make_tile(self, top: int, left: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Return a tile of the picture, and how much of each frame was used for it.

        *top* and *left* are the sensor's pixel where it begins.
        """
        region = self._region
        bottom = min(top + _TILE, region.top + region.height)
        right = min(left + _TILE, region.left + region.width)
        start = max(0, top - _MARGIN), max(0, left - _MARGIN)
        stop = min(self._shape[0], bottom + _MARGIN), min(self._shape[1], right + _MARGIN)
        own = self._mosaics[self._reference][start[0] : stop[0], start[1] : stop[1]]
        camera = demosaic_directional(np.ascontiguousarray(own), self._cfa)
        size = FACTOR * own.shape[1], FACTOR * own.shape[0]
        enlarged = cv2.resize(camera, size, interpolation=cv2.INTER_CUBIC)
        planes = np.ascontiguousarray(as_floats(enlarged).transpose(2, 0, 1))
        slopes = measure_slope(planes)
        cut = [
            self._cut_frame(number, start, (own.shape[0], own.shape[1]), planes, slopes)
            for number in range(len(self._mosaics))
        ]
        picture = FinePicture(planes, [self._join_colour(cut, colour) for colour in "RGB"])
        picture.refine(self._steps)
        sharp = np.dstack(
            [
                sharpen_detail(plane, self._grey_noise, picture.density, self._sharpness)
                for plane in picture.planes
            ]
        )
        y, x = FACTOR * (top - start[0]), FACTOR * (left - start[1])
        inside = sharp[y : y + FACTOR * (bottom - top), x : x + FACTOR * (right - left)]
        shares = np.array([float(sites[0].weights.mean()) for sites in cut])
        return render_colors(np.ascontiguousarray(inside), self._matrix, self._tones), shares

    def _cut_frame(
        self,
        number: int,
        start: tuple[int, int],
        shape: tuple[int, int],
        planes: Floats,
        slopes: Floats,
    ) -> list[Samples]:
        """Return the four kinds of pixels that a frame has in a tile.

        Args:
            number: of the frame.
            start: row and column of the reference's pixel where the tile begins.
            shape: of the tile, in pixels of the sensor.
            planes: the picture's tile as the reference alone shows it.
            slopes: of the picture.
        """
        top, left = self._find_corner(number, start, shape)
        mosaic = self._mosaics[number][top : top + shape[0], left : left + shape[1]]
        sites = []
        for place in range(4):
            y, x = divmod(place, 2)
            columns, rows = (
                as_floats(each)
                for each in np.meshgrid(
                    np.arange(left + x, left + shape[1], 2), np.arange(top + y, top + shape[0], 2)
                )
            )
            shifts = self._shifts[number]
            if shifts is not None:
                columns, rows = find_places(shifts, columns, rows)
            # The centre of a pixel of the sensor lies between two of the picture.
            columns, rows = (
                as_floats(FACTOR * (each - first) + np.float32(0.5))
                for each, first in ((columns, start[1]), (rows, start[0]))
            )
            values = np.ascontiguousarray(mosaic[y::2, x::2])
            sites.append(Samples(values, columns, rows, np.ones_like(values)))
        if self._shifts[number] is None:
            return sites
        weights = self._weigh(sites, planes, slopes)
        return [replace(each, weights=weights * is_inside(each, slopes.shape)) for each in sites]

    def _find_corner(
        self, number: int, start: tuple[int, int], shape: tuple[int, int]
    ) -> tuple[int, int]:
        """Return the row and column of a frame where it shows about the same as the tile."""
        shifts = self._shifts[number]
        if shifts is None:
            return start
        middle = [
            int(np.clip((first + side / 2) / self._shape[axis] * shifts.shape[axis], 0,
                        shifts.shape[axis] - 1))
            for axis, (first, side) in enumerate(zip(start, shape, strict=True))
        ]  # fmt: skip
        shift = shifts[middle[0], middle[1]]
        corner = [
            min(
                max(first + 2 * round(float(shift[1 - axis]) / 2), 0),
                self._shape[axis] - shape[axis],
            )
            for axis, first in enumerate(start)
        ]
        return corner[0], corner[1]

    def _weigh(self, sites: Sequence[Samples], planes: Floats, slopes: Floats) -> Floats:
        """Return the weight of each cell of a frame."""
        errors, noises = [], []
        for site, colour in zip(sites, self._cfa, strict=True):
            plane = "RGB".index(colour)
            predicted = np.minimum(predict(planes[plane], site), 1)
            errors.append(site.values - predicted)
            # The picture has the noise of the reference: twice that of one frame.
            noises.append(2 * self._noises[plane].find(predicted))
        first = sites[0]
        # The middle of a cell is half a pixel of the sensor away from its first pixel.
        steps = first.columns + 1, first.rows + 1
        there = cv2.remap(slopes, *steps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return weigh_cells(np.stack(errors), np.stack(noises), as_floats(there))

    def _join_colour(self, cut: Sequence[Sequence[Samples]], colour: str) -> Samples:
        """Return the samples of one colour, of all frames."""
        found = [
            frame[place] for frame in cut for place, each in enumerate(self._cfa) if each == colour
        ]
        return Samples(
            *(
                np.concatenate([getattr(each, name) for each in found])
                for name in ("values", "columns", "rows", "weights")
            )
        )
