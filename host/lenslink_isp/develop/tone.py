"""Tone curves as tables of 65,536 entries, one for each value of 16 bits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenslink.srgb import encode_srgb

FULL_SCALE = 65535
"""The 16-bit value of saturated light."""


@lru_cache(maxsize=16)
def make_tone_table(exposure_ev: float = 0.0, *, is_filmic: bool = False) -> NDArray[np.uint8]:
    """Return the table from 16-bit linear light to 8-bit sRGB, shape (65536,), read only.

    Args:
        exposure_ev: how much brighter the picture becomes. What exceeds white is clipped, or
            compressed if the curve is filmic.
        is_filmic: bend the curve: more contrast in the middle, and highlights that fade to white.

    >>> table = make_tone_table()
    >>> int(table[0]), int(table[65535])
    (0, 255)
    """
    light = np.arange(FULL_SCALE + 1) / FULL_SCALE * 2.0**exposure_ev
    if is_filmic:
        light = _bend(light, 2.0 ** max(0.0, exposure_ev))
    table = np.round(encode_srgb(light) * 255).astype(np.uint8)
    table.setflags(write=False)
    return table


def _bend(light: NDArray[np.float64], brightest: float) -> NDArray[np.float64]:
    """Return *light* by Reinhard's curve that maps *brightest* to 1, scaled to keep mid-grey."""
    bent = light * (1 + light / brightest**2) / (1 + light)
    grey = 0.18
    kept = grey / (grey * (1 + grey / brightest**2) / (1 + grey))
    # The gain that keeps mid-grey would lift white above 1, so it fades out towards white.
    return np.asarray(bent * (kept + (1 / bent[-1] - kept) * np.clip(light / brightest, 0, 1)))
