"""What is drawn over the picture to help: zebra on clipped parts, colour on sharp edges.

Both are found in RAW, where they are exact: a developed picture clips colours that the sensor did
not. A mask has one pixel for each 2 x 2 pixels of the sensor.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

Mask = NDArray[np.bool_]

CLIPPED_PART: Final = 0.98
"""A pixel is clipped from this part of the way from black to white on."""
_STRIPE_PX: Final = 8
_EDGE_NOISE: Final = 6.0
"""An edge is so many times higher than the noise of the difference."""
_EDGE_CONTRAST: Final = 0.2
"""An edge differs by this part of the light around it."""
_LEAST_LIGHT: Final = 0.02
_PEAKING_BGR: Final = (96, 220, 60)


def find_clipped(raw: RawImage) -> Mask:
    """Return where any of the four pixels of a cell is saturated, (H / 2, W / 2)."""
    clipped = np.zeros([side // 2 for side in raw.mosaic.shape], bool)
    for place, black in enumerate(raw.black):
        site = raw.mosaic[place // 2 :: 2, place % 2 :: 2]
        clipped |= site >= black + CLIPPED_PART * (raw.white - black)
    return clipped


def find_edges(raw: RawImage) -> Mask:
    """Return where the picture has fine, sharp detail, (H / 2, W / 2).

    Sharp detail is what a small blur takes away. It counts if it is clear of the noise and a
    visible part of the light around.
    """
    place = raw.cfa.index("G")
    black = raw.black[place]
    green = raw.mosaic[place // 2 :: 2, place % 2 :: 2].astype(np.float32)
    green -= black
    green *= 1 / (raw.white - black)
    around = np.asarray(cv2.GaussianBlur(green, (0, 0), 1.5), np.float32)
    detail = np.abs(green - around)
    slope, offset = raw.noise_profile or (0.0, 1e-6)
    noise = np.sqrt(np.maximum(around, 0) * slope + offset)
    light = np.maximum(around, _LEAST_LIGHT)
    return np.asarray((detail > _EDGE_NOISE * noise) & (detail > _EDGE_CONTRAST * light), bool)


def draw_zebra(clipped: Mask) -> bytes:
    """Return a transparent PNG with diagonal stripes where *clipped* is True."""
    high, wide = clipped.shape
    stripes = (np.arange(high)[:, None] + np.arange(wide)) // (_STRIPE_PX // 2) % 2
    picture = np.zeros((high, wide, 4), np.uint8)
    picture[..., :3] = np.where(stripes, 255, 20)[..., None]
    picture[..., 3] = clipped * np.uint8(200)
    return _encode_png(picture)


def draw_peaking(edges: Mask) -> bytes:
    """Return a transparent PNG that is green where *edges* is True."""
    picture = np.empty((*edges.shape, 4), np.uint8)
    picture[..., :3] = _PEAKING_BGR
    picture[..., 3] = edges * np.uint8(255)
    return _encode_png(picture)


def _encode_png(picture: Any) -> bytes:
    # Level 1 takes a third of the default's time.
    is_done, data = cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    assert is_done
    return bytes(data)
