"""sRGB (IEC 61966-2-1): its primaries and its transfer curve.

:mod:`.raw_files`, the plant and ``lenslink_isp`` use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

XYZ_FROM_SRGB: NDArray[np.float64] = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""From linear sRGB to CIE XYZ. White is D65."""


def encode_srgb(linear: ArrayLike) -> NDArray[Any]:
    """Return the sRGB values, 0 to 1, of linear light from 0 to 1. Other values are clipped.

    >>> float(encode_srgb(0.18).round(3))
    0.461
    """
    light = np.clip(linear, 0.0, 1.0)
    power = 1.055 * np.power(light, 1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, power))


def decode_srgb(value: ArrayLike) -> NDArray[Any]:
    """Return the linear light, 0 to 1, of sRGB values from 0 to 1.

    >>> float(decode_srgb(0.5).round(3))
    0.214
    """
    value = np.asarray(value)
    return np.asarray(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4))
