"""The stages in numpy: slow, and written to be read. The fast versions are compared with these.

Mosaics and pictures are float64. Light is linear, 0 is black and 1 is saturated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

from .color import make_gains, make_srgb_matrix
from .tone import FULL_SCALE, make_tone_table

Floats = NDArray[np.float64]


def scale_levels(raw: RawImage) -> Floats:
    """Return the white-balanced mosaic, (H, W): 0 is black, and 1 is the most.

    Clipping comes after the balance, so that saturated pixels are white in every colour. Noise
    below black stays negative, because clipping it would brighten the shadows.
    """
    gains = make_gains(raw.neutral)
    light = np.empty(raw.mosaic.shape)
    for place, colour in enumerate(raw.cfa):
        y, x = divmod(place, 2)
        span = raw.white - raw.black[place]
        site = (raw.mosaic[y::2, x::2].astype(float) - raw.black[place]) / span
        light[y::2, x::2] = site * gains["RGB".index(colour)]
    return np.asarray(np.minimum(light, 1))


def replace_defects(light: Floats, threshold: float = 0.1) -> Floats:
    """Return the mosaic with single hot and dead pixels replaced.

    A pixel is a defect if it differs from all eight neighbours of its colour by more than
    *threshold* in the same direction. It becomes the nearest of them: the largest or the smallest.
    """
    fixed = light.copy()
    for y in (0, 1):
        for x in (0, 1):
            site = light[y::2, x::2]
            padded = np.pad(site, 1, mode="reflect")
            high, wide = site.shape
            around = [
                padded[1 + dy : 1 + dy + high, 1 + dx : 1 + dx + wide]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (dy, dx) != (0, 0)
            ]
            highest, lowest = np.maximum.reduce(around), np.minimum.reduce(around)
            site = np.where(site > highest + threshold, highest, site)
            fixed[y::2, x::2] = np.where(site < lowest - threshold, lowest, site)
    return fixed


def correct_shading(light: Floats, gain: Floats) -> Floats:
    """Return the mosaic times *gain*, both (H, W), clipped to 1."""
    return np.asarray(np.minimum(light * gain, 1))


def demosaic_bilinear(light: Floats, cfa: str) -> Floats:
    """Return camera RGB, (H, W, 3): a missing colour is the mean of its nearest neighbours.

    The outermost rows and columns are copies of their inner neighbours, as in OpenCV.
    """
    high, wide = light.shape
    picture = np.zeros((high, wide, 3))
    padded = np.pad(light, 1, mode="reflect")

    def mean_of(*offsets: tuple[int, int]) -> Floats:
        parts = [padded[1 + dy : 1 + dy + high, 1 + dx : 1 + dx + wide] for dy, dx in offsets]
        return np.asarray(np.mean(parts, axis=0))

    across = mean_of((0, -1), (0, 1))
    down = mean_of((-1, 0), (1, 0))
    straight = mean_of((0, -1), (0, 1), (-1, 0), (1, 0))
    diagonal = mean_of((-1, -1), (-1, 1), (1, -1), (1, 1))
    for place, colour in enumerate(cfa):
        site = np.s_[place // 2 :: 2, place % 2 :: 2]
        if colour == "G":
            # The row neighbour of a green pixel has the one colour, its column neighbour the other.
            row_colour = cfa[place ^ 1]
            row, column = "RGB".index(row_colour), "RGB".index(cfa[place ^ 2])
            picture[..., row][site] = across[site]
            picture[..., column][site] = down[site]
            picture[..., 1][site] = light[site]
        else:
            own = "RGB".index(colour)
            picture[..., own][site] = light[site]
            picture[..., 1][site] = straight[site]
            picture[..., 2 - own][site] = diagonal[site]
    picture[0], picture[-1] = picture[1], picture[-2]
    picture[:, 0], picture[:, -1] = picture[:, 1], picture[:, -2]
    return picture


def convert_colors(picture: Floats, matrix: Floats) -> Floats:
    """Return linear sRGB of white-balanced camera RGB, both (H, W, 3), clipped to 0 and 1."""
    return np.asarray(np.clip(picture @ matrix.T, 0, 1))


def map_tones(picture: Floats, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 8-bit values of linear light through a table of :mod:`.tone`."""
    return np.asarray(table[np.round(picture * FULL_SCALE).astype(np.uint16)])


def sharpen(picture: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3), plus *amount* times what a 3 x 3 binomial blur removes."""
    values = picture.astype(float)
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    high, wide = picture.shape[:2]
    weights = np.outer((1, 2, 1), (1, 2, 1)) / 16
    blurred = sum(
        weights[y, x] * padded[y : y + high, x : x + wide] for y in range(3) for x in range(3)
    )
    sharp = np.clip(np.round(values + amount * (values - blurred)), 0, 255)
    return np.asarray(sharp, np.uint8)


def develop_reference(raw: RawImage) -> NDArray[np.uint8]:
    """Return the preview of *raw*, (H, W, 3) sRGB, through the plain stages."""
    light = scale_levels(raw)
    picture = demosaic_bilinear(light, raw.cfa)
    linear = convert_colors(picture, make_srgb_matrix(raw.camera_from_xyz, raw.neutral))
    return map_tones(linear, make_tone_table(raw.baseline_exposure))
