"""A frame as a quick picture for a preview: half the size, without demosaicing.

:mod:`.pixel_formats` calls this for ``stream --format rgb24`` and ``y4m``. For a still, use
:mod:`lenslink.image_files.render`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenslink import Frame

# IEC 61966-2-1: linear sRGB to XYZ under D65.
_XYZ_FROM_SRGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# ITU-R BT.601 with limited range, the colours of a y4m file.
_YUV_FROM_RGB = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32
) / np.float32(255)
_YUV_OFFSET = np.array([16, 128, 128], np.float32)
_CURVE_STEPS = 4096


def make_quick_picture(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as an sRGB picture of half its size, (H // 2, W // 2, 3) uint8.

    White balance is the frame's neutral. Each 2 x 2 of the mosaic makes one pixel, with the mean of
    its two greens. The picture is not turned, and margins are part of it.
    """
    pixels = frame.pixels
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    planes = np.zeros((height // 2, width // 2, 3), np.float32)
    for site, colour in enumerate(frame.cfa):
        y, x = divmod(site, 2)
        black = frame.black[site]
        channel = "RGB".index(colour)
        scale = 1 / (frame.white - black) / frame.cfa.count(colour)
        planes[..., channel] += (pixels[y:height:2, x:width:2] - np.float32(black)) * np.float32(
            scale
        )
    neutral = np.array([top / bottom for top, bottom in frame.color.neutral], np.float32)
    # A white surface that saturates the most sensitive colour becomes white.
    planes *= neutral.max() / neutral
    np.clip(planes, 0, 1, out=planes)
    linear = planes @ _make_matrix(frame.color.matrix).T
    steps = np.clip(linear, 0, 1) * (_CURVE_STEPS - 1)
    picture: NDArray[np.uint8] = _make_curve()[steps.astype(np.uint16)]
    return picture


def convert_to_yuv(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the planes Y, U and V of an RGB picture, (3, H, W) uint8."""
    yuv = picture.astype(np.float32) @ _YUV_FROM_RGB.T + _YUV_OFFSET
    planes: NDArray[np.uint8] = np.rint(yuv).astype(np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


@cache
def _make_matrix(color_matrix: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Return the matrix from white-balanced camera RGB to linear sRGB; it keeps white."""
    camera_from_xyz = np.array([top / bottom for top, bottom in color_matrix]).reshape(3, 3)
    camera_from_srgb = camera_from_xyz @ _XYZ_FROM_SRGB
    camera_from_srgb /= camera_from_srgb.sum(axis=1, keepdims=True)
    return np.asarray(np.linalg.inv(camera_from_srgb), np.float32)


@cache
def _make_curve() -> NDArray[np.uint8]:
    """Return the sRGB encoding curve as a table of _CURVE_STEPS values."""
    linear = np.arange(_CURVE_STEPS) / (_CURVE_STEPS - 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(curve * 255).astype(np.uint8)
    return table
