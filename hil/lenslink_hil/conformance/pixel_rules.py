"""How pixels lie in the bytes of a row, written from SPEC.md's table and apart from the driver."""

from __future__ import annotations

from lenslink_protocol.packings import Packing
from lenslink_protocol.rice import DamagedTile, decode_tile

from .cases import Failed

_MIPI_GROUPS = {2: 4, 4: 2, 6: 4}
"""Pixels of a group, by the bits of a pixel that do not fit into its high byte."""


def unpack_rules(depth: int) -> list[Packing]:
    """Return the packings that exist for pixels of so many bits."""
    rules = [Packing.LSB, Packing.MIPI]
    return [*rules, Packing.LEGACY] if depth == 12 else rules


def unpack_row(row: bytes, packing: Packing, depth: int, width: int) -> list[int]:
    """Return the *width* pixels of a row that is packed by *packing*."""
    if packing == Packing.LSB:
        # Eight pixels fill whole bytes, whatever their depth.
        blocks = range(0, width, 8)
        return [
            pixel
            for x in blocks
            for pixel in _read_bits(row[x // 8 * depth :][:depth], depth, min(8, width - x))
        ]
    if packing == Packing.LEGACY:
        return [_read_legacy(row, index) for index in range(width)]
    return _read_mipi(row, depth, width)


def decode_coded_tile(payload: bytes, width: int, height: int, depth: int) -> bytes:
    """Return a coded tile as the bytes that lsb has for it. Fail if the code is damaged."""
    try:
        rows = decode_tile(payload, width, height, depth)
    except DamagedTile as damage:
        raise Failed(f"the code of a tile is damaged: {damage}") from None
    size = (width * depth + 7) // 8
    packed = [sum(pixel << depth * x for x, pixel in enumerate(row)) for row in rows]
    return b"".join(row.to_bytes(size, "little") for row in packed)


def find_spare_bits(row: bytes, packing: Packing, depth: int, width: int) -> int:
    """Return the bits at the end of a row that belong to no pixel, as a number: 0 if all are 0."""
    if packing == Packing.LSB:
        return int.from_bytes(row, "little") >> depth * width
    if packing == Packing.LEGACY:
        return row[-1] >> 4 if width % 2 else 0
    low_bits = depth - 8
    left = width % _MIPI_GROUPS[low_bits]
    size = (left * low_bits + 7) // 8
    return int.from_bytes(row[len(row) - size :], "little") >> left * low_bits


def _read_bits(data: bytes, bits: int, count: int) -> list[int]:
    """Read a stream of bits, least significant bit first."""
    value = int.from_bytes(data, "little")
    mask = (1 << bits) - 1
    return [value >> (bits * index) & mask for index in range(count)]


def _read_legacy(row: bytes, index: int) -> int:
    at = index // 2 * 3
    low = row[at + 1]
    if index % 2 == 0:
        return row[at] << 4 | low & 0xF
    return row[at + 2] << 4 | low >> 4


def _read_mipi(row: bytes, depth: int, width: int) -> list[int]:
    """Read groups: the high bytes of each pixel, then the low bits of all."""
    low_bits = depth - 8
    group = _MIPI_GROUPS[low_bits]
    pixels: list[int] = []
    at = 0
    while len(pixels) < width:
        count = min(group, width - len(pixels))
        high = row[at : at + count]
        size = (count * low_bits + 7) // 8
        low = _read_bits(row[at + count : at + count + size], low_bits, count)
        pixels += [h << low_bits | part for h, part in zip(high, low, strict=True)]
        at += count + size
    return pixels
