"""Unpack whole groups of pixels with compiled kernels. :mod:`.unpacking` calls them.

numba compiles a kernel at its first call and keeps the result beside this file. If the folder
cannot be written, it uses the user's cache folder or $NUMBA_CACHE_DIR. If that cannot be written
either, every process compiles again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lenslink_protocol.packings import Packing

Bytes = NDArray[np.uint8]
Pixels = NDArray[np.uint16]
Kernel = Callable[[Bytes, int, Pixels], None]
"""Takes rows (H, stride), the first group, and pixels (H, groups * group) to fill. Contiguous."""

KERNELS: dict[tuple[Packing, int], Any] = {}


def _register_kernel(packing: Packing, bits: int) -> Callable[[Kernel], Kernel]:
    def compiled(function: Kernel) -> Kernel:
        try:
            found = njit(function, cache=True, nogil=True)
        except RuntimeError:
            # There is no folder for the compiled kernel.
            found = njit(function, nogil=True)
        KERNELS[packing, bits] = found
        return function

    return compiled


@_register_kernel(Packing.LSB, 10)
def _lsb10(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 4):
            at, to = 5 * (first + i), 4 * i
            b1, b2, b3 = np.uint16(row[at + 1]), np.uint16(row[at + 2]), np.uint16(row[at + 3])
            line[to] = row[at] | (b1 & 3) << 8
            line[to + 1] = b1 >> 2 | (b2 & 15) << 6
            line[to + 2] = b2 >> 4 | (b3 & 63) << 4
            line[to + 3] = b3 >> 6 | np.uint16(row[at + 4]) << 2


@_register_kernel(Packing.LSB, 12)
def _lsb12(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 2):
            at, to = 3 * (first + i), 2 * i
            middle = np.uint16(row[at + 1])
            line[to] = row[at] | (middle & 15) << 8
            line[to + 1] = middle >> 4 | np.uint16(row[at + 2]) << 4


@_register_kernel(Packing.LSB, 14)
def _lsb14(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 4):
            at, to = 7 * (first + i), 4 * i
            b1, b3, b5 = np.uint16(row[at + 1]), np.uint16(row[at + 3]), np.uint16(row[at + 5])
            line[to] = row[at] | (b1 & 63) << 8
            line[to + 1] = b1 >> 6 | np.uint16(row[at + 2]) << 2 | (b3 & 15) << 10
            line[to + 2] = b3 >> 4 | np.uint16(row[at + 4]) << 4 | (b5 & 3) << 12
            line[to + 3] = b5 >> 2 | np.uint16(row[at + 6]) << 6


@_register_kernel(Packing.MIPI, 10)
def _mipi10(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 4):
            at, to = 5 * (first + i), 4 * i
            low = np.uint16(row[at + 4])
            line[to] = np.uint16(row[at]) << 2 | low & 3
            line[to + 1] = np.uint16(row[at + 1]) << 2 | low >> 2 & 3
            line[to + 2] = np.uint16(row[at + 2]) << 2 | low >> 4 & 3
            line[to + 3] = np.uint16(row[at + 3]) << 2 | low >> 6


@_register_kernel(Packing.MIPI, 12)
def _mipi12(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 2):
            at, to = 3 * (first + i), 2 * i
            low = np.uint16(row[at + 2])
            line[to] = np.uint16(row[at]) << 4 | low & 15
            line[to + 1] = np.uint16(row[at + 1]) << 4 | low >> 4


@_register_kernel(Packing.MIPI, 14)
def _mipi14(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 4):
            at, to = 7 * (first + i), 4 * i
            b4, b5, b6 = np.uint16(row[at + 4]), np.uint16(row[at + 5]), np.uint16(row[at + 6])
            line[to] = np.uint16(row[at]) << 6 | b4 & 63
            line[to + 1] = np.uint16(row[at + 1]) << 6 | b4 >> 6 | (b5 & 15) << 2
            line[to + 2] = np.uint16(row[at + 2]) << 6 | b5 >> 4 | (b6 & 3) << 4
            line[to + 3] = np.uint16(row[at + 3]) << 6 | b6 >> 2


@_register_kernel(Packing.LEGACY, 12)
def _legacy12(rows: Bytes, first: int, out: Pixels) -> None:
    for y in range(out.shape[0]):
        row, line = rows[y], out[y]
        for i in range(out.shape[1] // 2):
            at, to = 3 * (first + i), 2 * i
            middle = np.uint16(row[at + 1])
            line[to] = np.uint16(row[at]) << 4 | middle & 15
            line[to + 1] = np.uint16(row[at + 2]) << 4 | middle >> 4
