"""Frames in bands of rows, and 2x2 same-colour binning of a Bayer mosaic.

A frame of 100 million pixels is never processed as a whole. Every source yields the frame in the
bands of :func:`iterate_bands`. So memory stays bounded, a band stays in the cache, and the first
rows are sent while the last ones are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint16]
"""Rows of raw pixels, shape (H, W), right-justified."""

CELL = 4
"""Side in pixels of the square that becomes one 2x2 group of binned pixels."""

BAND_PIXELS = 1 << 18
"""Approximate pixels in a band: 1 MiB as float32, which fits a core's L2 cache."""


def iterate_bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield ``(top, bottom)`` of each band. All bands but the last have whole binning cells."""
    step = max(CELL, BAND_PIXELS // width // CELL * CELL)
    for top in range(0, height, step):
        yield top, min(top + step, height)


class Crop(NamedTuple):
    """A part of a frame, in pixels. All four numbers are even."""

    x: int
    y: int
    width: int
    height: int


def cut_bands(bands: Iterable[Rows], crop: Crop) -> Iterator[Rows]:
    """Yield a part of a frame from the bands of the whole frame.

    Bands without rows are passed on. Nothing is taken of *bands* behind the last row.
    """
    top, bottom = 0, crop.y + crop.height
    for band in bands:
        first, last = max(crop.y - top, 0), min(bottom - top, len(band))
        if not len(band) or first < last:
            yield np.ascontiguousarray(band[first:last, crop.x : crop.x + crop.width])
        top += len(band)
        if top >= bottom:
            return


def bin2x2(rows: Rows) -> Rows:
    """Average the four same-colour pixels of every 4x4 cell.

    ``out[2i+p, 2j+q] = (sum of in[4i+p+{0,2}, 4j+q+{0,2}] + 2) >> 2`` for p, q in {0, 1}. The CFA
    phase stays, and the mean is rounded half up. Rows and columns that do not fill a cell are
    dropped.

    Args:
        rows: shape (H, W).

    Returns:
        Shape (H // 4 * 2, W // 4 * 2), contiguous.
    """
    high, wide = rows.shape[0] // CELL, rows.shape[1] // CELL
    whole = rows[: high * CELL, : wide * CELL]
    # The axes are cell row, upper/lower, CFA row, cell column, left/right, CFA column.
    cells = whole.reshape(high, 2, 2, wide, 2, 2)
    total = np.full((high, 2, wide, 2), 2, np.uint32)
    for lower in (0, 1):
        for right in (0, 1):
            total += cells[:, lower, :, :, right, :]
    return (total >> 2).astype(np.uint16).reshape(high * 2, wide * 2)
