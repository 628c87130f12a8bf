"""UF2 files: an image in blocks of 512 bytes, each with its address and the family of its chip.

The format is that of microsoft/uf2. The boot ROM of an RP2040 or RP2350 ignores a file for another
family without a word, so the family is checked here before anything is copied.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HEAD: Final = struct.Struct("<8I")
_BLOCK_BYTES: Final = 512
_MAGIC: Final = (0x0A324655, 0x9E5D5157)
_END_MAGIC: Final = 0x0AB16F30
_HAS_FAMILY: Final = 0x2000
_NOT_FLASH: Final = 0x0001
_MAX_DATA: Final = _BLOCK_BYTES - _HEAD.size - 4
PAGE_BYTES: Final = 256
"""Bytes of a block's data, as the boot ROM takes them."""
SECTOR_BYTES: Final = 4096
"""Bytes of flash that are erased together: RP2040 datasheet, 2.8.3; RP2350 datasheet, 5.4."""


class Uf2Error(ValueError):
    """Raised for a file that is no UF2 file, with the reason."""


@dataclass(frozen=True, slots=True)
class Uf2Block:
    """A block: where its data goes, and for which chip; family 0 if the block names none."""

    family: int
    address: int
    data: bytes


def parse_uf2(content: bytes) -> list[Uf2Block]:
    """Return the blocks of a UF2 file that go to flash.

    Raises:
        Uf2Error: the file is not a UF2 file.
    """
    if not content or len(content) % _BLOCK_BYTES:
        raise Uf2Error("it is not a UF2 file")
    blocks = []
    for at in range(0, len(content), _BLOCK_BYTES):
        first, second, flags, address, count, _, _, family = _HEAD.unpack_from(content, at)
        if (first, second) != _MAGIC or count > _MAX_DATA:
            raise Uf2Error("it is not a UF2 file")
        start = at + _HEAD.size
        if not flags & _NOT_FLASH:
            known = family if flags & _HAS_FAMILY else 0
            blocks.append(Uf2Block(known, address, content[start : start + count]))
    return blocks


def build_uf2(blocks: list[Uf2Block]) -> bytes:
    """Return the file that holds *blocks*, numbered for each family as the boot ROM counts."""
    totals: dict[int, int] = {}
    for block in blocks:
        totals[block.family] = totals.get(block.family, 0) + 1
    numbers = dict.fromkeys(totals, 0)
    pieces = []
    for block in blocks:
        flags = _HAS_FAMILY if block.family else 0
        number, total = numbers[block.family], totals[block.family]
        numbers[block.family] += 1
        head = _HEAD.pack(
            *_MAGIC, flags, block.address, len(block.data), number, total, block.family
        )
        padded = block.data.ljust(_MAX_DATA, b"\0")
        pieces.append(head + padded + struct.pack("<I", _END_MAGIC))
    return b"".join(pieces)


def split_pages(family: int, address: int, content: bytes) -> list[Uf2Block]:
    """Return the blocks for *content* at *address*, without pages that are erased anyway.

    The boot ROM erases a sector when a page of it arrives, and leaves other sectors alone. So each
    sector has its first page at least: nothing stays of what was there before.

    Args:
        family: of the chip.
        address: where the content begins, a multiple of :data:`SECTOR_BYTES`.
        content: the content.
    """
    blocks = []
    for at in range(0, len(content), PAGE_BYTES):
        page = content[at : at + PAGE_BYTES].ljust(PAGE_BYTES, b"\xff")
        if at % SECTOR_BYTES == 0 or page.count(0xFF) != PAGE_BYTES:
            blocks.append(Uf2Block(family, address + at, page))
    return blocks


def list_families(blocks: list[Uf2Block]) -> Mapping[int, int]:
    """Return how many blocks there are of each family."""
    counts: dict[int, int] = {}
    for block in blocks:
        counts[block.family] = counts.get(block.family, 0) + 1
    return counts
