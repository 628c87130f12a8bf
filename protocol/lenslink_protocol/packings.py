"""How pixels lie in a row's bytes, as far as anybody but the unpacking has to know.

A packing puts a *group* of pixels into whole bytes: 2 of 12 bits into 3, 4 of 10 bits into 5, 4 of
14 bits into 7, and 1 into 2 where it is not packed. Where a group begins, a byte begins, so a place
that lies on groups has as many bytes as its bits fill; and a row that ends inside a group ends with
the bytes that its pixels touch. So two functions are the whole geometry.
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
    """A pixel in a little-endian 16-bit word, right-justified."""
    LSB = "lsb"
    """PFNC's p: a stream of bits, the least significant ones first."""
    MIPI = "mipi"
    """MIPI CSI-2's: the high bytes of a group, then its low bits."""
    LEGACY = "legacy"
    """GigE Vision's Packed: the low bits of two pixels between their high bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A pixel format, taken apart."""

    code: PixelFormat
    packing: Packing
    depth: int
    """Bits that a pixel may have."""
    bits: int
    """Bits that it takes in a row."""
    cfa: Cfa
    group: int
    """Pixels of a group: the least that begin and end with a byte."""

    def bytes_of(self, pixels: int) -> int:
        """Bytes of so many pixels from where a group begins; for a row's width its stride."""
        return (pixels * self.bits + 7) // 8

    def pixels_of(self, count: int) -> int:
        """The pixels of which all bits lie in *count* bytes: what :meth:`bytes_of` was asked."""
        return count * 8 // self.bits

    def fits(self, x: int, columns: int, width: int) -> bool:
        """Whether columns from *x* are whole groups, or end with a row of *width* pixels."""
        group = self.group
        return x % group == 0 and (columns % group == 0 or x + columns == width)


_NAME = re.compile(r"([GRB]{2})(\d+)(p|Packed|Mipi)?")
_PACKING = {
    None: Packing.UNPACKED,
    "p": Packing.LSB,
    "Packed": Packing.LEGACY,
    "Mipi": Packing.MIPI,
}
_PHASE = {"GR": Cfa.GRBG, "RG": Cfa.RGGB, "GB": Cfa.GBRG, "BG": Cfa.BGGR}


def _layout(code: PixelFormat) -> Layout:
    parts = _NAME.fullmatch(code.name)
    assert parts is not None
    phase, depth, packing = parts.groups()
    bits = code >> 16 & 0xFF
    group = 8 // math.gcd(8, bits)
    return Layout(code, _PACKING[packing], int(depth), bits, _PHASE[phase], group)


_LAYOUTS: dict[int, Layout] = {code: _layout(code) for code in PixelFormat}


def layout(code: int) -> Layout:
    """The layout of a pixel format; :exc:`KeyError` for one that is not known here."""
    return _LAYOUTS[code]


def is_known(code: int) -> bool:
    """Whether it is a pixel format that this version knows."""
    return code in _LAYOUTS


def pixel_format(packing: Packing, bits: int, cfa: Cfa) -> PixelFormat:
    """The format of pixels of *bits*, packed so; :exc:`KeyError` where there is none.

    Unpacked, anything from 8 to 16 bits has one: the next deeper.
    """
    found = [each for each in _LAYOUTS.values() if each.packing == packing and each.cfa == cfa]
    if packing == Packing.UNPACKED and bits >= 8:
        found = sorted((f for f in found if f.depth >= bits), key=lambda f: f.depth)[:1]
    else:
        found = [each for each in found if each.depth == bits]
    if not found:
        raise KeyError((packing, bits, cfa))
    return found[0].code


def packings(bits: int) -> list[Packing]:
    """The packings that there are for pixels of *bits*, unpacked first."""
    found = {each.packing for each in _LAYOUTS.values() if each.depth == bits}
    return [each for each in Packing if each in found or each == Packing.UNPACKED]
