"""Decode coded tiles with compiled kernels. :mod:`.rice_decoding` calls them.

The signatures are given, so the import compiles. numba keeps the result beside this file, or where
:mod:`.unpacking_numba` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lenslink_protocol.rice import BLOCK, FIRST_AVERAGE, MAX_K, PREFIX_BITS

Words = NDArray[np.uint32]
Pixels = NDArray[np.uint16]
Rows = NDArray[np.uint8]

_TABLE_BITS = 12
# For the next bits of a code: how many zeros come before the first one. All if there is none.
_ZEROS = np.array(
    [_TABLE_BITS] + [(i & -i).bit_length() - 1 for i in range(1, 1 << _TABLE_BITS)], np.uint8
)
# k for an average that was divided by 16.
_K_LAST = 1 << MAX_K
_K = np.array([min(MAX_K, i.bit_length()) for i in range(_K_LAST + 1)], np.uint8)
_U = np.uint64
_MASK = _U((1 << _TABLE_BITS) - 1)
_LONG = _U(_TABLE_BITS)
_PREFIX = _U(PREFIX_BITS)
_WORD = _U(32)
_ONE = _U(1)


def _compile(signature: str) -> Callable[[Any], Any]:
    def compiled(function: Any) -> Any:
        try:
            return njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:
            # There is no folder for the compiled kernel.
            return njit(signature, nogil=True)(function)

    return compiled


@_compile("boolean(uint32[::1], int64, int64, uint16[:, ::1])")
def decode(words: Words, limit: int, bits: int, pixels: Pixels) -> bool:
    """Decode *limit* bits of *words* to all of *pixels*. Return False if the code is damaged.

    At least one word lies behind the last bit. Spare bits of the words are 0.
    """
    height, width = pixels.shape
    last = len(words) - 1
    code, left, at = _U(0), _U(0), 0
    k, average = _U(4), np.int64(FIRST_AVERAGE)
    # All bits that any pixel had. A negative one has those above the others.
    seen = np.int64(0)
    for y in range(height):
        row = pixels[y]
        above = pixels[max(y - 2, 0)]
        for first in range(0, width, BLOCK):
            end = min(first + BLOCK, width)
            total = np.int64(0)
            for x in range(first, end):
                if left < _WORD:
                    # Behind the last word come zeros. The check of each row ends them.
                    code |= _U(words[min(at, last)]) << left
                    at += 1
                    left += _WORD
                if x >= 2:
                    prediction = np.int64(row[x - 2])
                    if y >= 2:
                        prediction = (prediction + np.int64(above[x])) >> 1
                elif y >= 2:
                    prediction = np.int64(above[x])
                else:
                    prediction = np.int64(0)
                zeros = _U(_ZEROS[(code >> k) & _MASK])
                if zeros == _LONG:
                    zeros += _U(_ZEROS[(code >> (k + _LONG)) & _MASK])
                low = code & ((_ONE << k) - _ONE)
                if k + zeros < _PREFIX:
                    residual = np.int64((zeros << k) | low)
                    pixel = prediction + ((residual >> 1) ^ -(residual & 1))
                    used = k + zeros + _ONE
                else:
                    rest = _U(bits) - k
                    pixel = np.int64((((code >> _PREFIX) & ((_ONE << rest) - _ONE)) << k) | low)
                    difference = pixel - prediction
                    residual = (difference << 1) ^ (difference >> 63)
                    used = _PREFIX + rest
                code >>= used
                left -= used
                seen |= pixel
                row[x] = pixel
                total += residual
            if end - first == BLOCK:
                average = (average + total) >> 1
                k = _U(_K[min(int(average) >> 4, _K_LAST)])
        if 32 * at - np.int64(left) > limit:
            return False
    if seen >> bits or code:
        return False
    return not words[at:].any()


@_compile("void(uint16[:, ::1], uint8[:, ::1])")
def pack12(pixels: Pixels, rows: Rows) -> None:
    """Pack pixels of 12 bits as ``lsb``."""
    for y in range(pixels.shape[0]):
        line, row = pixels[y], rows[y]
        pairs = pixels.shape[1] // 2
        for i in range(pairs):
            a, b = line[2 * i], line[2 * i + 1]
            row[3 * i] = a
            row[3 * i + 1] = a >> 8 | b << 4
            row[3 * i + 2] = b >> 4
        if pixels.shape[1] % 2:
            row[3 * pairs] = line[2 * pairs]
            row[3 * pairs + 1] = line[2 * pairs] >> 8
