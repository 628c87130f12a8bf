"""Code and decode the pixels of a tile without loss: the packing ``rice`` (SPEC.md, 6.3.1).

This is the reference: slow, and written to be read beside the specification. The driver decodes
with :mod:`lenslink.receive.rice_decoding`, boards code with ``lensfw.arch``. A tile is decoded by
itself. A coded tile is shorter than the same tile in the packing ``lsb``; a module sends a tile
whose code is not shorter in ``lsb``.

>>> code = encode_tile([[100, 200, 101, 203]] * 4, 12)
>>> len(code), decode_tile(code, 4, 4, 12)[3]
(20, [100, 200, 101, 203])
"""

from __future__ import annotations

from collections.abc import Sequence

BLOCK = 8
"""The pixels after which the parameter k of the code is chosen again."""
MAX_K = 8
"""The largest k."""
PREFIX_BITS = 16
"""The most bits of a code before the rest of an escaped pixel."""
FIRST_AVERAGE = 128
"""The average with which a tile begins. It gives k = 4."""


class DamagedTile(ValueError):
    """A coded tile that cannot be decoded."""


def predict(rows: Sequence[Sequence[int]], x: int, y: int) -> int:
    """Return the prediction of a pixel from pixels of its own colour: two to the left, two above.

    The pixels of *rows* before column *x* of row *y* are known.
    """
    if x < 2 and y < 2:
        return 0
    if y < 2:
        return rows[y][x - 2]
    if x < 2:
        return rows[y - 2][x]
    return (rows[y][x - 2] + rows[y - 2][x]) >> 1


class _Parameter:
    """The parameter k, which follows the residuals."""

    def __init__(self) -> None:
        self.k = 4
        self._average = FIRST_AVERAGE
        self._sum = 0
        self._count = 0

    def begin_row(self) -> None:
        """Forget the pixels of a block that the end of a row has cut."""
        self._sum = self._count = 0

    def add(self, residual: int) -> None:
        self._sum += residual
        self._count += 1
        if self._count == BLOCK:
            self._average = (self._average + self._sum) >> 1
            self.k = min(MAX_K, (self._average >> 4).bit_length())
            self._sum = self._count = 0


def _fold(difference: int) -> int:
    """Return 0, 1, 2, 3, 4 ... for the differences 0, -1, 1, -2, 2 ..."""
    return 2 * difference if difference >= 0 else -2 * difference - 1


def _unfold(residual: int) -> int:
    return residual >> 1 if residual % 2 == 0 else -(residual + 1 >> 1)


def encode_tile(rows: Sequence[Sequence[int]], bits: int) -> bytes:
    """Return the code of a tile: rows of pixels below 2**bits. It may be longer than ``lsb``."""
    code, count = 0, 0
    parameter = _Parameter()
    for y, row in enumerate(rows):
        parameter.begin_row()
        for x, pixel in enumerate(row):
            residual = _fold(pixel - predict(rows, x, y))
            k = parameter.k
            zeros = residual >> k
            if k + zeros < PREFIX_BITS:
                code |= (residual & (1 << k) - 1 | 1 << k + zeros) << count
                count += k + zeros + 1
            else:
                code |= (pixel & (1 << k) - 1 | pixel >> k << PREFIX_BITS) << count
                count += PREFIX_BITS + bits - k
            parameter.add(residual)
    return code.to_bytes((count + 7) // 8, "little")


def decode_tile(
    data: bytes | bytearray | memoryview, width: int, height: int, bits: int
) -> list[list[int]]:
    """Return the rows of a coded tile.

    Raises:
        DamagedTile: The code ends early, has a pixel of 2**bits or more or below 0, or is followed
            by a bit that is not 0.
    """
    # A group of bytes at a time: a number as long as the tile would take a copy for each pixel.
    code, left, at = 0, 0, 0
    limit = 8 * len(data)
    used = 0
    parameter = _Parameter()
    rows: list[list[int]] = []
    for y in range(height):
        row: list[int] = []
        rows.append(row)
        parameter.begin_row()
        for x in range(width):
            if left < 2 * PREFIX_BITS:
                piece = data[at : at + 32]
                code |= int.from_bytes(piece, "little") << left
                left += 256
                at += 32
            k = parameter.k
            low = code & (1 << k) - 1
            above = code >> k & (1 << PREFIX_BITS - k) - 1
            prediction = predict(rows, x, y)
            if above:
                zeros = (above & -above).bit_length() - 1
                count = k + zeros + 1
                pixel = prediction + _unfold(zeros << k | low)
            else:
                count = PREFIX_BITS + bits - k
                pixel = (code >> PREFIX_BITS & (1 << bits - k) - 1) << k | low
            code >>= count
            left -= count
            used += count
            if used > limit or not 0 <= pixel < 1 << bits:
                raise DamagedTile(f"a tile of {width} x {height} ends or breaks at ({x}, {y})")
            row.append(pixel)
            parameter.add(_fold(pixel - prediction))
    if code or any(data[at:]):
        raise DamagedTile(f"a tile of {width} x {height} is followed by more bits")
    return rows
