"""Develop one picture with care: all stages, and demosaicing with a decision of direction.

The mosaic is demosaiced as perceptual values and becomes linear again for the colour matrix. Tables
of 65,536 entries lead there and back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.srgb import decode_srgb, encode_srgb
from lenslink_isp.raw_image import RawImage

from .color import make_gains, make_srgb_matrix
from .demosaic import demosaic_directional
from .local_tone import LocalTone
from .tone import FULL_SCALE, make_tone_table

Floats = NDArray[np.float32]

# Noise below black keeps its sign while the mosaic is demosaiced: the tables begin below 0.
_BELOW_BLACK = 1 / 16
_DEFECT_THRESHOLD = 0.1
_WIDE_RANGE_EV = 1.0
BAND_ROWS = 1024
"""A picture is developed in bands of so many rows, so that 100 megapixels fit 2 GB."""
_OVERLAP = 16


class ToneMapping(enum.Enum):
    """How light becomes brightness.

    >>> ToneMapping("local")
    <ToneMapping.LOCAL: 'local'>
    """

    AUTO = "auto"
    """LOCAL for a picture that must be developed brighter by 1 EV or more: a merged bracket."""
    GLOBAL = "global"
    """One curve for all pixels."""
    LOCAL = "local"
    """Bright and dark parts are brought together; see :mod:`.local_tone`."""


class Quality(enum.Enum):
    """How much time a still may take.

    >>> Quality("fast")
    <Quality.FAST: 'fast'>
    """

    FAST = "fast"
    BEST = "best"


@dataclass(frozen=True, slots=True)
class StillSettings:
    """What a person chooses for a still.

    >>> StillSettings(exposure_ev=0.5).quality
    <Quality.BEST: 'best'>
    """

    quality: Quality = Quality.BEST
    exposure_ev: float = 0.0
    """How much brighter the picture becomes, -8 to 8 EV."""
    sharpness: float = 0.5
    """How much of the detail that blur removes is added again, 0 to 4."""
    is_filmic: bool = False
    """Fade highlights to white instead of clipping them."""
    tone: ToneMapping = ToneMapping.AUTO
    """How light becomes brightness."""

    def __post_init__(self) -> None:
        for name, least, most in (("exposure_ev", -8.0, 8.0), ("sharpness", 0.0, 4.0)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} is {value:g}, it must be from {least:g} to {most:g}")


def develop_still(
    raw: RawImage, settings: StillSettings | None = None, shading: Floats | None = None
) -> NDArray[np.uint8]:
    """Return an sRGB picture, (H, W, 3) uint8, not turned upright.

    Args:
        raw: the picture.
        settings: exposure, sharpness and quality.
        shading: gain for each pixel of the mosaic, (H, W); None corrects nothing.

    Raises:
        UsageError: *shading* has another shape, or the colours make no sense.

    >>> picture = develop_still(open_raw("photo.dng"))  # doctest: +SKIP
    """
    settings = settings or StillSettings()
    if shading is not None and shading.shape != raw.mosaic.shape:
        raise UsageError(f"shading is {shading.shape}, the picture {raw.mosaic.shape}")
    matrix = make_srgb_matrix(raw.camera_from_xyz, raw.neutral).astype(np.float32)
    ev = settings.exposure_ev
    if _needs_local_tone(raw, settings.tone):
        local = LocalTone(raw)
        gain = local.make_gain(local.find_curve())
        shading = gain if shading is None else gain * shading
    else:
        ev += raw.baseline_exposure
    tones = make_tone_table(ev, is_filmic=settings.is_filmic)
    high, wide = raw.mosaic.shape
    picture = np.empty((high, wide, 3), np.uint8)
    for top in range(0, high, BAND_ROWS):
        bottom = min(high, top + BAND_ROWS)
        # Filters look beyond the band, so bands join without a seam.
        start, stop = max(0, top - _OVERLAP), min(high, bottom + _OVERLAP)
        perceptual = make_perceptual(raw, start, stop, shading)
        refine = settings.quality is Quality.BEST
        camera = demosaic_directional(perceptual, raw.cfa, refine=refine)
        band = render_colors(camera, matrix, tones)
        if settings.sharpness:
            band = _sharpen(band, settings.sharpness)
        picture[top:bottom] = band[top - start : bottom - start]
    return picture


def make_perceptual(raw: RawImage, start: int, stop: int, shading: Floats | None = None) -> Floats:
    """Return rows of the white-balanced mosaic as perceptual values, about 0 to 1, float32.

    Args:
        raw: the picture.
        start: the first row, even.
        stop: the row after the last one, even.
        shading: gain for each pixel of the whole mosaic.
    """
    light = _scale_levels(raw, start, stop, shading)
    _replace_defects(light)
    return _as_floats(cv2.LUT(_to_words(light), _encoding_table()))


def render_colors(camera: Floats, matrix: Floats, tones: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return sRGB of perceptual camera RGB, both (H, W, 3).

    Args:
        camera: white-balanced, about 0 to 1.
        matrix: from linear camera RGB to linear sRGB, (3, 3) float32.
        tones: a table of :func:`.tone.make_tone_table`.
    """
    linear = _as_floats(cv2.LUT(_to_words(camera), _decoding_table()))
    srgb = cv2.transform(linear, matrix)
    words = np.clip(srgb, 0, 1, out=srgb)
    words *= FULL_SCALE
    return np.asarray(cv2.LUT(words.astype(np.uint16), tones), np.uint8)


def _needs_local_tone(raw: RawImage, tone: ToneMapping) -> bool:
    if tone is ToneMapping.AUTO:
        return raw.baseline_exposure >= _WIDE_RANGE_EV
    return tone is ToneMapping.LOCAL


def _scale_levels(raw: RawImage, start: int, stop: int, shading: Floats | None) -> Floats:
    """Return rows *start* to *stop* (both even) of the white-balanced mosaic, at most 1."""
    gains = make_gains(raw.neutral)
    light = raw.mosaic[start:stop].astype(np.float32)
    for place, colour in enumerate(raw.cfa):
        site = light[place // 2 :: 2, place % 2 :: 2]
        site -= raw.black[place]
        site *= gains["RGB".index(colour)] / (raw.white - raw.black[place])
    # A saturated cell is white. Made darker, it has to stay so: the gains differ by colour.
    np.minimum(light, 1, out=light)
    if shading is not None:
        light *= shading[start:stop]
        np.minimum(light, 1, out=light)
    return light


def _replace_defects(light: Floats) -> None:
    """Replace single hot and dead pixels in place. See :func:`.reference.replace_defects`."""
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    for y in (0, 1):
        for x in (0, 1):
            site = np.ascontiguousarray(light[y::2, x::2])
            highest = cv2.dilate(site, ring, borderType=cv2.BORDER_REFLECT_101)
            lowest = cv2.erode(site, ring, borderType=cv2.BORDER_REFLECT_101)
            hot, dead = site > highest + _DEFECT_THRESHOLD, site < lowest - _DEFECT_THRESHOLD
            if hot.any() or dead.any():
                light[y::2, x::2] = np.where(hot, highest, np.where(dead, lowest, site))


def _to_words(values: Floats) -> NDArray[np.uint16]:
    """Return values from -_BELOW_BLACK to 1 as 16-bit words."""
    scale = FULL_SCALE / (1 + _BELOW_BLACK)
    words = (values + _BELOW_BLACK) * scale
    return np.clip(words, 0, FULL_SCALE, out=words).astype(np.uint16)


def _word_values() -> NDArray[np.float64]:
    return np.arange(FULL_SCALE + 1) / FULL_SCALE * (1 + _BELOW_BLACK) - _BELOW_BLACK


@lru_cache(maxsize=1)
def _encoding_table() -> Floats:
    """Return the table from words of light to perceptual values; straight below black."""
    light = _word_values()
    # A steeper toe than sRGB's would amplify noise below black.
    return np.where(light > 0, encode_srgb(light), light).astype(np.float32)


@lru_cache(maxsize=1)
def _decoding_table() -> Floats:
    """Return the table from words of perceptual values to light."""
    values = _word_values()
    return np.where(values > 0, decode_srgb(np.maximum(values, 0)), values).astype(np.float32)


def _sharpen(picture: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Return the picture sharpened. See :func:`.reference.sharpen`."""
    blurred = cv2.GaussianBlur(picture, (3, 3), 0, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0), np.uint8)


def _as_floats(array: Any) -> Floats:
    """Return OpenCV's result with its type."""
    return np.asarray(array, np.float32)
