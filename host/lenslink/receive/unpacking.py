"""Packed pixels to 16-bit words and back, exactly, for any width and any columns.

Where each packing keeps a pixel's bits is said once, as a table of pieces. numpy follows it; the
compiled kernels of :mod:`.packing_numba`, which are used where numba is installed, say it again by
hand, and are tested against it. Sources of the table: MIPI CSI-2 (RAW10, RAW12, RAW14; also in
Linux' Documentation/userspace-api/media/v4l/pixfmt-srggb10p.rst, -srggb12p.rst, -srggb14p.rst),
PFNC 2.4 (p: lsb-packed) and GigE Vision 2.0 (Packed).

Of a group that a row's end cuts, the bytes that its pixels touch are there: in MIPI's packings
their high bytes, then the bytes that hold their low bits.
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

# Rows are worked on so many pixels at a time, which numpy's intermediates then find in the cache.
_BAND_PIXELS = 1 << 17
# Numba takes half a second of a core to be imported and to find what it has kept; in a tenth of it
# numpy has unpacked so many pixels. Whoever takes a picture or two does not pay for it.
_WORTH_IT = 1 << 26


class _Piece(NamedTuple):
    """Bits of a pixel that lie together in one byte."""

    byte: int
    shift: int
    """Where in the byte they begin."""
    bits: int
    to: int
    """Where in the pixel they begin."""


def _stream(first: int, at: int, bits: int) -> list[_Piece]:
    """*bits* that begin *at* bits into a stream, least significant first, from byte *first*."""
    found: list[_Piece] = []
    to = 0
    while to < bits:
        byte, shift = divmod(at + to, 8)
        count = min(8 - shift, bits - to)
        found.append(_Piece(first + byte, shift, count, to))
        to += count
    return found


@functools.cache
def _pieces(packing: Packing, bits: int, group: int) -> tuple[tuple[_Piece, ...], ...]:
    """For each pixel of a group, where its bits are."""
    low = bits - 8
    if packing == Packing.LSB:
        found = [_stream(0, k * bits, bits) for k in range(group)]
    elif packing == Packing.MIPI:
        found = [[_Piece(k, 0, 8, low), *_stream(group, k * low, low)] for k in range(group)]
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
    """Pixels *x* to *x* + *columns* of each row, shape (H, columns): to the row's end if None.

    :param rows: shape (H, stride), contiguous: whole rows, of which none is padded.
    :param x: any column, also one inside a group.
    :param out: a C-contiguous array of that shape to put them into, which is then what is returned.
    :param compiled: False keeps to numpy, True to numba where it is installed; None takes numba
        once it pays.
    :returns: a view of *rows* where they are not packed and no *out* is given.
    :raises ValueError: for columns that are not there, or an *out* of another shape.
    """
    height, stride = rows.shape
    width = layout.pixels_of(stride)
    columns = width - x if columns is None else columns
    if stride != layout.bytes_of(width) or x < 0 or columns < 0 or x + columns > width:
        raise ValueError(f"columns {x} to {x + columns} of rows of {stride} bytes")
    if out is not None and (out.shape != (height, columns) or not out.flags.c_contiguous):
        raise ValueError(f"{height} x {columns} pixels do not go into {out.shape}")
    if layout.packing == Packing.UNPACKED:
        words = rows.view("<u2")[:, x : x + columns]
        if out is None:
            return words
        out[:] = words
        return out
    # Whole groups around the columns; what a row's end cuts is completed with zeros.
    group, size = layout.group, layout.group * layout.bits // 8
    first, last = x // group, -(-(x + columns) // group)
    whole = min(last, width // group)
    direct = x == first * group and x + columns == whole * group
    if direct and out is not None:
        found = out
    else:
        found = np.empty((height, (last - first) * group), np.uint16)
    _groups(rows, layout, first, found[:, : (whole - first) * group], compiled)
    if whole < last:
        cut = _completed(rows[:, whole * size :], layout, width % group)
        _groups(cut, layout, 0, found[:, (whole - first) * group :], False)
    if direct:
        return found
    asked = found[:, x - first * group :][:, :columns]
    if out is None:
        return np.ascontiguousarray(asked)
    out[:] = asked
    return out


def pack(pixels: Pixels, layout: Layout) -> Bytes:
    """Rows of shape (H, stride) from pixels of shape (H, W); bits beyond the depth are dropped."""
    height, width = pixels.shape
    if layout.packing == Packing.UNPACKED:
        return np.ascontiguousarray(pixels, "<u2").view(np.uint8)
    group, size = layout.group, layout.group * layout.bits // 8
    groups = -(-width // group)
    whole = np.zeros((height, groups * group), np.uint16)
    whole[:, :width] = pixels
    found = np.zeros((height, groups * size), np.uint8)
    for index, pieces in enumerate(_pieces(layout.packing, layout.bits, group)):
        values = whole[:, index::group]
        for byte, shift, bits, to in pieces:
            part = (values >> np.uint16(to)).astype(np.uint8) & np.uint8((1 << bits) - 1)
            found[:, byte::size] |= part << np.uint8(shift)
    left = width % group
    stride = layout.bytes_of(width)
    if left and layout.packing == Packing.MIPI:
        # The low bits follow the high bytes that are there.
        end = (groups - 1) * size
        low = found[:, end + group :][:, : stride - end - left].copy()
        found[:, end + left : stride] = low
    return np.ascontiguousarray(found[:, :stride])


def _completed(tail: Bytes, layout: Layout, pixels: int) -> Bytes:
    """The group that the rows' end cuts to so many *pixels*, whole."""
    found = np.zeros((tail.shape[0], layout.group * layout.bits // 8), np.uint8)
    if layout.packing == Packing.MIPI:
        found[:, :pixels] = tail[:, :pixels]
        found[:, layout.group :][:, : tail.shape[1] - pixels] = tail[:, pixels:]
    else:
        found[:, : tail.shape[1]] = tail
    return found


def _groups(rows: Bytes, layout: Layout, first: int, out: Pixels, compiled: bool | None) -> None:
    """Unpack whole groups from the *first* on, as many as *out* has room for."""
    if not out.size:
        return
    _unpacked.pixels += out.size
    if compiled is None:
        compiled = _unpacked.pixels >= _WORTH_IT
    kernels = _kernels() if compiled else None
    if kernels is not None and rows.flags.c_contiguous and out.flags.c_contiguous:
        kernels.KERNELS[layout.packing, layout.bits](rows, first, out)
        return
    group, size = layout.group, layout.group * layout.bits // 8
    columns = slice(first * size, first * size + out.shape[1] // group * size)
    step = max(1, _BAND_PIXELS // out.shape[1])
    pieces = _pieces(layout.packing, layout.bits, group)
    for top in range(0, len(rows), step):
        band, pixels = rows[top : top + step, columns], out[top : top + step]
        # Each byte of all groups, as words: what the pieces are shifted in.
        words = [band[:, byte::size].astype(np.uint16) for byte in range(size)]
        for index, parts in enumerate(pieces):
            pixels[:, index::group] = _joined(words, parts)


def _joined(words: list[Pixels], parts: tuple[_Piece, ...]) -> Pixels:
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
    """What this process has unpacked so far."""

    pixels = 0


_unpacked = _Unpacked()


@functools.cache
def _kernels() -> ModuleType | None:
    """The compiled ones, imported when first used; None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from . import unpacking_numba

    return unpacking_numba
