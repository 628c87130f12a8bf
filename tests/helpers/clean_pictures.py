"""Clean pictures without noise, which have a known answer: linear sRGB, (H, W, 3) float64.

They are photographs that scikit-image carries, made half as large in linear light. That removes the
traces of JPEG and of their cameras' own demosaicing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
import skimage.io

from lenslink.srgb import decode_srgb, encode_srgb

NAMES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")


def load_clean(name: str):
    """Return the picture, with an even number of rows and columns."""
    values = skimage.io.imread(Path(skimage.data.__file__).parent / name)[..., :3]
    light = decode_srgb(values / 255)
    high, wide = (side // 4 * 4 for side in light.shape[:2])
    return light[:high, :wide].reshape(high // 2, 2, wide // 2, 2, 3).mean((1, 3))


def apply_mosaic(light, cfa: str):
    """Return the mosaic, (H, W), of a picture."""
    mosaic = np.empty(light.shape[:2])
    for place, colour in enumerate(cfa):
        site = np.s_[place // 2 :: 2, place % 2 :: 2]
        mosaic[site] = light[..., "RGB".index(colour)][site]
    return mosaic


def psnr(picture, truth, border: int = 8) -> float:
    """Return the ratio of 255 to the root mean square error of 8-bit sRGB, in dB.

    Args:
        picture: sRGB, (H, W, 3) uint8.
        truth: linear sRGB, (H, W, 3).
        border: pixels that are left out on each side.
    """
    inner = np.s_[border:-border, border:-border]
    error = picture[inner] / 255 - encode_srgb(truth)[inner]
    return float(-10 * np.log10(np.mean(error**2)))
