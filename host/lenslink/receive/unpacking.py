"""Convert packed pixels to 16-bit words and back, exactly, for any width and any columns.

A table says where each packing keeps the bits of a pixel (:func:`_list_pieces`). The numpy code
follows the table. The compiled kernels of :mod:`.unpacking_numba` are used where numba is
installed; they are written by hand and tested against the table. Its sources are MIPI CSI-2 (RAW10,
RAW12, RAW14; also Linux' Documentation/userspace-api/media/v4l/pixfmt-srggb10p.rst, -srggb12p.rst
and -srggb14p.rst), PFNC 2.4 (p: lsb-packed) and GigE Vision 2.0 (Packed).

If the end of a row cuts a group, the row has the bytes that the group's pixels touch. In MIPI's
packings these are their high bytes, then the bytes that hold their low bits.
"""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.packings import Layout, Packing

Bytes = NDArray[np.uint8]
Pixels = NDArray[np.uint16]

# Pixels to unpack at a time, so that numpy's intermediate arrays stay in the cache.
_BAND_PIXELS = 1 << 17
# Importing numba and loading its compiled kernels takes half a second. Use numba only after this
# many pixels, so that a program that takes a picture or two does not wait for it.
_MIN_COMPILED_PIXELS = 1 << 26


class _Piece(NamedTuple):
    """Bits of a pixel that lie side by side in one byte."""

    byte: int
    shift: int
    """The first bit in the byte."""
    bits: int
    to: int
    """The first bit in the pixel."""


def _split_stream(first: int, at: int, bits: int) -> list[_Piece]:
    """Return the pieces of *bits* that begin at bit *at* of a stream that begins at byte *first*.

    The stream has the least significant bits first.
    """
    found: list[_Piece] = []
    to = 0
    while to < bits:
        byte, shift = divmod(at + to, 8)
        count = min(8 - shift, bits - to)
        found.append(_Piece(first + byte, shift, count, to))
        to += count
    return found


@functools.cache
def _list_pieces(packing: Packing, bits: int, group: int) -> tuple[tuple[_Piece, ...], ...]:
    """Return the pieces of each pixel of a group."""
    low = bits - 8
    if packing == Packing.LSB:
        found = [_split_stream(0, k * bits, bits) for k in range(group)]
    elif packing == Packing.MIPI:
        found = [[_Piece(k, 0, 8, low), *_split_stream(group, k * low, low)] for k in range(group)]
    else:
        found = [[_Piece(2 * k, 0, 8, low), _Piece(1, low * k, low, 0)] for k in range(group)]
    return tuple(tuple(each) for each in found)


def unpack(
    rows: Bytes,
    layout: Layout,
    x: int = 0,
    columns: int | None = None,
    *,
    out: Pixels | None = None,
    compiled: bool | None = None,
) -> Pixels:
    """Return pixels of packed rows as (H, columns) uint16.

    Args:
        rows: (H, stride) uint8, contiguous: whole rows without padding.
        layout: How pixels lie in the bytes.
        x: The first column. It may lie inside a group.
        columns: The number of columns; None: all up to the end of the row.
        out: A C-contiguous (H, columns) array to fill and return.
        compiled: False uses numpy, True uses numba where it is installed. None uses numba for
            large amounts of pixels.

    Returns:
        *out*, or a new array, or a view of *rows* if the pixels are not packed.

    Raises:
        ValueError: The columns do not exist, or *out* has another shape.
    """
    height, stride = rows.shape
    width = layout.count_pixels(stride)
    columns = width - x if columns is None else columns
    if stride != layout.count_bytes(width) or x < 0 or columns < 0 or x + columns > width:
        raise ValueError(f"columns {x} to {x + columns} of rows of {stride} bytes")
    if out is not None and (out.shape != (height, columns) or not out.flags.c_contiguous):
        raise ValueError(f"{height} x {columns} pixels do not go into {out.shape}")
    if layout.packing == Packing.UNPACKED:
        words = rows.view("<u2")[:, x : x + columns]
        if out is None:
            return words
        out[:] = words
        return out
    # Unpack the whole groups around the columns. Complete a cut group with zeros.
    group, size = layout.group, layout.group * layout.bits // 8
    first, last = x // group, -(-(x + columns) // group)
    whole = min(last, width // group)
    direct = x == first * group and x + columns == whole * group
    if direct and out is not None:
        found = out
    else:
        found = np.empty((height, (last - first) * group), np.uint16)
    _unpack_groups(rows, layout, first, found[:, : (whole - first) * group], compiled)
    if whole < last:
        cut = _complete_group(rows[:, whole * size :], layout, width % group)
        _unpack_groups(cut, layout, 0, found[:, (whole - first) * group :], False)
    if direct:
        return found
    asked = found[:, x - first * group :][:, :columns]
    if out is None:
        return np.ascontiguousarray(asked)
    out[:] = asked
    return out


def pack(pixels: Pixels, layout: Layout) -> Bytes:
    """Return (H, stride) uint8 rows of (H, W) pixels. Bits beyond the depth are dropped."""
    height, width = pixels.shape
    if layout.packing == Packing.UNPACKED:
        return np.ascontiguousarray(pixels, "<u2").view(np.uint8)
    group, size = layout.group, layout.group * layout.bits // 8
    groups = -(-width // group)
    whole = np.zeros((height, groups * group), np.uint16)
    whole[:, :width] = pixels
    found = np.zeros((height, groups * size), np.uint8)
    for index, pieces in enumerate(_list_pieces(layout.row_packing, layout.bits, group)):
        values = whole[:, index::group]
        for byte, shift, bits, to in pieces:
            part = (values >> np.uint16(to)).astype(np.uint8) & np.uint8((1 << bits) - 1)
            found[:, byte::size] |= part << np.uint8(shift)
    left = width % group
    stride = layout.count_bytes(width)
    if left and layout.packing == Packing.MIPI:
        # In a cut group, the low bits follow the high bytes of its pixels.
        end = (groups - 1) * size
        low = found[:, end + group :][:, : stride - end - left].copy()
        found[:, end + left : stride] = low
    return np.ascontiguousarray(found[:, :stride])


def _complete_group(tail: Bytes, layout: Layout, pixels: int) -> Bytes:
    """Return the group that the end of the rows cuts to so many *pixels*, completed with zeros."""
    found = np.zeros((tail.shape[0], layout.group * layout.bits // 8), np.uint8)
    if layout.packing == Packing.MIPI:
        found[:, :pixels] = tail[:, :pixels]
        found[:, layout.group :][:, : tail.shape[1] - pixels] = tail[:, pixels:]
    else:
        found[:, : tail.shape[1]] = tail
    return found


def _unpack_groups(
    rows: Bytes, layout: Layout, first: int, out: Pixels, compiled: bool | None
) -> None:
    """Unpack whole groups from group *first* on into *out*, which they fill."""
    if not out.size:
        return
    _unpacked.pixels += out.size
    if compiled is None:
        compiled = _unpacked.pixels >= _MIN_COMPILED_PIXELS
    kernels = _load_kernels() if compiled else None
    if kernels is not None and rows.flags.c_contiguous and out.flags.c_contiguous:
        kernels.KERNELS[layout.row_packing, layout.bits](rows, first, out)
        return
    group, size = layout.group, layout.group * layout.bits // 8
    columns = slice(first * size, first * size + out.shape[1] // group * size)
    step = max(1, _BAND_PIXELS // out.shape[1])
    pieces = _list_pieces(layout.row_packing, layout.bits, group)
    for top in range(0, len(rows), step):
        band, pixels = rows[top : top + step, columns], out[top : top + step]
        # The n-th byte of all groups, as words in which the pieces are shifted.
        words = [band[:, byte::size].astype(np.uint16) for byte in range(size)]
        for index, parts in enumerate(pieces):
            pixels[:, index::group] = _join_pieces(words, parts)


def _join_pieces(words: list[Pixels], parts: tuple[_Piece, ...]) -> Pixels:
    """Return the pixels whose pieces lie in *words*."""
    total: Pixels | None = None
    for byte, shift, bits, to in parts:
        part = words[byte]
        if shift:
            part = part >> np.uint16(shift)
        if shift + bits < 8:
            part = part & np.uint16((1 << bits) - 1)
        if to:
            part = part << np.uint16(to)
        total = part if total is None else total | part
    assert total is not None
    return total


class _Unpacked:
    """Counts the pixels that this process has unpacked."""

    pixels = 0


_unpacked = _Unpacked()


@functools.cache
def _load_kernels() -> ModuleType | None:
    """Import the compiled kernels at their first use. Return None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from . import unpacking_numba

    return unpacking_numba
