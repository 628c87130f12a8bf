"""Decode the coded tiles of the packing ``rice`` (SPEC.md, 6.3.1) to rows of ``lsb``.

:mod:`.frame_geometry` calls :func:`decode_tile` for each coded tile that passed its CRC, before the
tile is written to the frame. So a frame in memory never holds a code. numba decodes a hundred
million pixels a second; without numba the reference decodes some hundred thousand
(:mod:`lenslink_protocol.rice`). :func:`prepare` loads numba when a stream is configured, because
a link must not wait for that.
"""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.packings import Layout
from lenslink_protocol.rice import DamagedTile
from lenslink_protocol.rice import decode_tile as decode_slowly

from .unpacking import pack


@functools.cache
def prepare() -> ModuleType | None:
    """Import and compile the fast decoder. Return None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from . import rice_decoding_numba

    return rice_decoding_numba


def is_fast() -> bool:
    """Return True if coded tiles are decoded by numba."""
    return importlib.util.find_spec("numba") is not None


def decode_pixels(
    payload: memoryview | bytes, width: int, height: int, bits: int, *, compiled: bool = True
) -> NDArray[np.uint16]:
    """Return the pixels of a coded tile as (height, width) uint16.

    Args:
        payload: The code.
        width: Columns of the tile, at least 1.
        height: Rows of the tile, at least 1.
        bits: Bits of a pixel: 10, 12 or 14.
        compiled: False uses the reference.

    Raises:
        DamagedTile: The code is cut, or is none.

    >>> from lenslink_protocol.rice import encode_tile
    >>> decode_pixels(encode_tile([[700, 800, 701], [90, 91, 92]], 12), 3, 2, 12)
    array([[700, 800, 701],
           [ 90,  91,  92]], dtype=uint16)
    """
    # Each pixel has a bit of the code, so a short code takes no memory for a large tile.
    if 8 * len(payload) < width * height:
        raise DamagedTile(f"{len(payload)} bytes are no code of {width} x {height} pixels")
    kernels = prepare() if compiled else None
    if kernels is None:
        return np.array(decode_slowly(payload, width, height, bits), np.uint16)
    pixels = np.empty((height, width), np.uint16)
    # Whole words of the code, and one behind them.
    words = np.zeros(len(payload) // 4 + 2, "<u4")
    words.view(np.uint8)[: len(payload)] = np.frombuffer(payload, np.uint8)
    if not kernels.decode(words, 8 * len(payload), bits, pixels):
        raise DamagedTile(f"{len(payload)} bytes are no code of {width} x {height} pixels")
    return pixels


def decode_tile(payload: memoryview, width: int, height: int, layout: Layout) -> memoryview:
    """Return a coded tile as the bytes that its rows have in the frame. Raise DamagedTile."""
    pixels = decode_pixels(payload, width, height, layout.depth)
    kernels = prepare()
    if layout.depth != 12 or kernels is None:
        return pack(pixels, layout).reshape(-1).data
    rows = np.empty((height, layout.count_bytes(width)), np.uint8)
    kernels.pack12(pixels, rows)
    return rows.reshape(-1).data
