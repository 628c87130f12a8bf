"""Bit-exact test patterns without noise. They are defined by arithmetic, so tests can check them.

With ``mask = 2**bits - 1``, pixel (y, x) and frame number f:

``ramp``
    ``(x + y + f) & mask``.
``bars``
    Eight bars, each ``width / 8`` wide, from the left: white, yellow, cyan, green, magenta, red,
    blue, black. A pixel is white if its filter's colour is part of the bar's colour, else black
    (:func:`lenslink_hil.plant.sensor_model.get_levels`). The frame number changes nothing.
``prbs``
    Pixels are numbered ``i = y * width + x``. Every block of ``2**bits`` pixels (block
    ``n = i >> bits``) is a permutation of all code values. Seed, frame number and block choose the
    permutation. With ``mix`` as in :func:`mix32` and ``s = (bits + 1) // 2``::

        key = mix(mix(mix(seed) + f) + n)          # modulo 2**32
        v = ((i & mask) ^ key) & mask
        v = (v * 0xB2D5) & mask;  v ^= v >> s
        v = ((v + (key >> 16)) * 0x6C4B) & mask;  v ^= v >> s

    Each step is a bijection, so a frame of at least ``2**bits`` pixels holds every code value.

``mix32`` is lowbias32 by Chris Wellons (github.com/skeeto/hash-prospector, Unlicense).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.settings import Settings

from .binning import Rows, iterate_bands
from .sensor_model import get_levels

# The colours that are on in each bar, from the left.
BARS = ("RGB", "RG", "GB", "G", "RB", "R", "B", "")

_MULTIPLIER_1 = 0xB2D5
_MULTIPLIER_2 = 0x6C4B


def make_pattern(
    name: str, width: int, height: int, *, bits: int, cfa: str, seed: int, frame_number: int
) -> Rows:
    """Return one whole frame of a pattern, shape (height, width).

    Args:
        name: a key of PATTERNS.
        width: columns.
        height: rows.
        bits: 8 to 16.
        cfa: the colour filter's phase, for ``bars``.
        seed: for ``prbs``.
        frame_number: for ``ramp`` and ``prbs``.

    Raises:
        KeyError: there is no pattern of that name.
    """
    return Pattern(name, bits, cfa, seed).rows(width, frame_number, 0, height)


@dataclass(frozen=True)
class Pattern:
    """A pattern as a source of frames. Exposure, gain and focus change nothing."""

    name: str
    bits: int
    cfa: str
    seed: int

    def rows(self, width: int, frame_number: int, top: int, bottom: int) -> Rows:
        """Return the rows from *top* up to *bottom*, which is excluded."""
        return PATTERNS[self.name](self, width, frame_number, top, bottom)

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield a frame in bands."""
        for top, bottom in iterate_bands(width, height):
            yield self.rows(width, frame_number, top, bottom)


def mix32(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return *value* mixed: a bijection of 32-bit numbers."""
    value = value ^ (value >> np.uint32(16))
    value = value * np.uint32(0x7FEB352D)
    value = value ^ (value >> np.uint32(15))
    value = value * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


def _ramp(spec: Pattern, width: int, frame_number: int, top: int, bottom: int) -> Rows:
    # 2**16 is a multiple of 2**bits, so 16-bit wrapping loses nothing.
    columns = ((np.arange(width) + frame_number) & 0xFFFF).astype(np.uint16)
    lines = (np.arange(top, bottom) & 0xFFFF).astype(np.uint16)
    return (lines[:, None] + columns[None, :]) & np.uint16((1 << spec.bits) - 1)


def _bars(spec: Pattern, width: int, frame_number: int, top: int, bottom: int) -> Rows:
    black, white = get_levels(spec.bits)
    columns = np.arange(width)
    bar = columns * 8 // width
    pair = np.empty((2, width), np.uint16)
    for y in (0, 1):
        # For each of the two filters in this row: is its colour part of the bar?
        lit = np.array([[colour in each for each in BARS] for colour in spec.cfa[2 * y :][:2]])
        pair[y] = np.where(lit[columns % 2, bar], white, black)
    return pair[np.arange(top, bottom) % 2]


def _prbs(spec: Pattern, width: int, frame_number: int, top: int, bottom: int) -> Rows:
    first, last = top * width, bottom * width
    blocks = np.arange(first >> spec.bits, ((last - 1) >> spec.bits) + 1, dtype=np.uint32)
    start = mix32(np.array([spec.seed & 0xFFFFFFFF], np.uint32))
    start = mix32(start + np.uint32(frame_number & 0xFFFFFFFF))
    key = mix32(start + blocks)
    low = key.astype(np.uint16)[:, None]
    high = (key >> np.uint32(16)).astype(np.uint16)[:, None]
    # 16 bits suffice: the low bits of sums and products depend on low bits only.
    mask, shift = np.uint16((1 << spec.bits) - 1), np.uint16((spec.bits + 1) // 2)
    value = (np.arange(1 << spec.bits, dtype=np.uint32).astype(np.uint16)[None, :] ^ low) & mask
    value *= np.uint16(_MULTIPLIER_1)
    value &= mask
    value ^= value >> shift
    value += high
    value *= np.uint16(_MULTIPLIER_2)
    value &= mask
    value ^= value >> shift
    offset = first - (int(blocks[0]) << spec.bits)
    return value.reshape(-1)[offset : offset + last - first].reshape(bottom - top, width)


PATTERNS: dict[str, Callable[[Pattern, int, int, int, int], Rows]] = {
    "ramp": _ramp,
    "prbs": _prbs,
    "bars": _bars,
}
"""The generator of each pattern, by its name."""
