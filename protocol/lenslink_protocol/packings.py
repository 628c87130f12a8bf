"""Describe how pixels lie in the bytes of a row: packing, bits, and groups.

A packing puts a *group* of pixels into whole bytes: 2 pixels of 12 bits into 3, 4 of 10 bits into
5, 4 of 14 bits into 7, and 1 into 2 where pixels are not packed. A group begins with a byte. A row
that ends inside a group ends with the bytes that its pixels touch. So two functions describe the
whole geometry: :meth:`Layout.count_bytes` and :meth:`Layout.count_pixels`.

A tile of the packing ``rice`` may be coded (:mod:`.rice`). A frame in the host's memory is not: its
rows are those of ``lsb``.

Frames, tiles, DNG files and the plant use it; :mod:`lenslink.receive.unpacking` moves the bits.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

from .ids import Cfa, PixelFormat


class Packing(enum.StrEnum):
    """How pixels share bytes."""

    UNPACKED = "unpacked"
    """One pixel in a little-endian 16-bit word, right-justified."""
    LSB = "lsb"
    """PFNC's p: a stream of bits, the least significant bits first."""
    MIPI = "mipi"
    """MIPI CSI-2's: the high bytes of a group, then its low bits."""
    LEGACY = "legacy"
    """GigE Vision's Packed: the low bits of two pixels between their high bytes."""
    RICE = "rice"
    """Rice codes where a tile gets shorter by them; else as ``lsb``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The properties of a pixel format.

    >>> layout = find_layout(PixelFormat.RG12p)
    >>> layout.count_bytes(100), layout.count_pixels(150)
    (150, 100)
    """

    code: PixelFormat
    packing: Packing
    depth: int
    """Significant bits of a pixel, at most."""
    bits: int
    """Bits that a pixel takes in a row."""
    cfa: Cfa
    group: int
    """Pixels of a group: the smallest number that begins and ends with a byte."""

    @property
    def row_packing(self) -> Packing:
        """How pixels share the bytes of a row in memory: ``lsb`` for ``rice``."""
        return Packing.LSB if self.packing is Packing.RICE else self.packing

    def count_bytes(self, pixels: int) -> int:
        """Return the bytes of so many pixels from the start of a group on.

        For the width of a row this is the stride.
        """
        return (pixels * self.bits + 7) // 8

    def count_pixels(self, count: int) -> int:
        """Return the pixels whose bits all lie in *count* bytes. Inverts :meth:`count_bytes`."""
        return count * 8 // self.bits

    def is_tile_length(self, length: int, count: int) -> bool:
        """A tile may have that length if its pixels take *count* bytes in the frame."""
        return length == count or (self.packing is Packing.RICE and 0 < length < count)

    def is_aligned(self, x: int, columns: int, width: int) -> bool:
        """*columns* from *x* on are whole groups, or end with a row of *width* pixels."""
        group = self.group
        return x % group == 0 and (columns % group == 0 or x + columns == width)


_NAME = re.compile(r"([GRB]{2})(\d+)(p|Packed|Mipi|Rice)?")
_PACKING = {
    None: Packing.UNPACKED,
    "p": Packing.LSB,
    "Packed": Packing.LEGACY,
    "Mipi": Packing.MIPI,
    "Rice": Packing.RICE,
}
_PHASE = {"GR": Cfa.GRBG, "RG": Cfa.RGGB, "GB": Cfa.GBRG, "BG": Cfa.BGGR}


def _parse_layout(code: PixelFormat) -> Layout:
    """Derive the layout from the code and the PFNC name of a pixel format."""
    parts = _NAME.fullmatch(code.name)
    assert parts is not None
    phase, depth, packing = parts.groups()
    bits = code >> 16 & 0xFF
    group = 8 // math.gcd(8, bits)
    return Layout(code, _PACKING[packing], int(depth), bits, _PHASE[phase], group)


_LAYOUTS: dict[int, Layout] = {code: _parse_layout(code) for code in PixelFormat}


def find_layout(code: int) -> Layout:
    """Return the layout of a pixel format. Raise :exc:`KeyError` if it is not known."""
    return _LAYOUTS[code]


def is_known(code: int) -> bool:
    """This version knows the pixel format."""
    return code in _LAYOUTS


def find_pixel_format(packing: Packing, bits: int, cfa: Cfa) -> PixelFormat:
    """Return the pixel format of a packing, a number of bits and a colour filter array.

    Unpacked pixels of 8 to 16 bits use the next deeper format.

    Raises:
        KeyError: There is no such format.
    """
    found = [each for each in _LAYOUTS.values() if each.packing == packing and each.cfa == cfa]
    if packing == Packing.UNPACKED and bits >= 8:
        found = sorted((f for f in found if f.depth >= bits), key=lambda f: f.depth)[:1]
    else:
        found = [each for each in found if each.depth == bits]
    if not found:
        raise KeyError((packing, bits, cfa))
    return found[0].code


def list_packings(bits: int) -> list[Packing]:
    """Return the packings that exist for pixels of *bits*, unpacked first."""
    found = {each.packing for each in _LAYOUTS.values() if each.depth == bits}
    return [each for each in Packing if each in found or each == Packing.UNPACKED]
