"""Describe the grid into which a frame is cut: left to right, top to bottom, tiles of one size.

Tiles at the right and the lower edge are smaller where the frame ends. The grid tells for every
tile what its header says and which bytes of the frame it fills. :mod:`.prediction` uses it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.messages import Configured, Header
from lenslink_protocol.packings import Packing, find_layout

from .received_ranges import ByteRange

# A grid with this many tiles takes 2 MB. Frames with more, smaller tiles are not worth predicting.
_MAX_TILES = 1 << 16


class TileGrid:
    """A frame cut into tiles of *width* x *height* pixels. :func:`find_tile_grid` returns one."""

    def __init__(self, configuration: Configured, width: int, height: int) -> None:
        self.configuration = configuration
        self.width = width
        self.height = height
        self.columns = -(-configuration.width // width)
        self.count = self.columns * -(-configuration.height // height)
        self.is_contiguous = self.columns == 1 or height == 1
        """Each tile is one range of bytes, which begins where the range before it ends."""
        count_bytes = find_layout(configuration.pixel_format).count_bytes
        left = np.arange(0, configuration.width, width)
        right = np.minimum(left + width, configuration.width)
        self._left = [count_bytes(x) for x in left.tolist()]
        self._right = [count_bytes(x) for x in right.tolist()]
        top = np.arange(0, configuration.height, height)[:, None]
        rows = np.minimum(top + height, configuration.height) - top
        self.words = np.empty((self.count, 3), "<u4")
        """Position, size and length of each tile, as the three words of its header."""
        self.words[:, 0] = (left | top << 16).reshape(-1)
        self.words[:, 1] = (right - left | rows << 16).reshape(-1)
        self.words[:, 2] = (np.subtract(self._right, self._left) * rows).reshape(-1)
        self.starts: NDArray[np.int64] = (self._left + top * configuration.stride).reshape(-1)
        """The byte of the frame where each tile begins."""

    def find_index(self, header: Header) -> int | None:
        """Return the number of a tile in the grid, or None if it is not in the grid."""
        column, x = divmod(header.x, self.width)
        row, y = divmod(header.y, self.height)
        index = row * self.columns + column
        if x or y or column >= self.columns or index >= self.count:
            return None
        place = [header.x | header.y << 16, header.width | header.height << 16, header.length]
        return index if self.words[index].tolist() == place else None

    def find_ranges(self, tiles: range) -> list[ByteRange]:
        """Return the bytes of the frame that *tiles* fill. Tiles side by side share ranges."""
        if self.is_contiguous:
            starts = self.starts[tiles.start : tiles.stop : tiles.step].tolist()
            lengths = self.words[tiles.start : tiles.stop : tiles.step, 2].tolist()
            return [(start, start + size) for start, size in zip(starts, lengths, strict=True)]
        found = []
        for row, columns in self._group_by_row(tiles):
            first, last = self._left[columns[0]], self._right[columns[-1]]
            top = row * self.height
            bottom = min(top + self.height, self.configuration.height)
            stride = self.configuration.stride
            if last - first == stride:
                found.append((top * stride, bottom * stride))
            else:
                found += [(y * stride + first, y * stride + last) for y in range(top, bottom)]
        return found

    def find_start(self, index: int) -> int:
        """Return the byte of the frame where a tile begins."""
        return int(self.starts[index])

    def unstage(self, staged: NDArray[np.uint8], frame: NDArray[np.uint8], tiles: range) -> None:
        """Copy *tiles*, which lie one after the other in *staged*, to their position in *frame*."""
        picture = frame.reshape(self.configuration.height, self.configuration.stride)
        at = 0
        for row, side_by_side in self._group_by_row(tiles):
            top = row * self.height
            place = picture[top : top + self.height]
            rows = len(place)
            columns = side_by_side
            while columns:
                # The tile at the right edge may be narrower than the others.
                width = self._right[columns[0]] - self._left[columns[0]]
                same = len(columns)
                if self._right[columns[-1]] - self._left[columns[-1]] != width:
                    same -= 1
                first, size = self._left[columns[0]], same * rows * width
                source = staged[at : at + size].reshape(same, rows, width)
                target = place[:, first : first + same * width].reshape(rows, same, width)
                target[:] = source.transpose(1, 0, 2)
                at += size
                columns = columns[same:]

    def _group_by_row(self, tiles: range) -> list[tuple[int, list[int]]]:
        """Return each row of tiles with the columns of its tiles that lie side by side."""
        if tiles.step == 1:
            pairs = (divmod(each, self.columns) for each in tiles)
            return [(row, [c for _, c in group]) for row, group in groupby(pairs, lambda p: p[0])]
        return [(each // self.columns, [each % self.columns]) for each in tiles]


def find_tile_grid(configuration: Configured, header: Header) -> TileGrid | None:
    """Return the grid in which *header* is a tile of full size, or None if there is none.

    Coded tiles have no grid: nobody knows the length of the next one.
    """
    layout = find_layout(configuration.pixel_format)
    if layout.packing is Packing.RICE:
        return None
    width, height = header.width, header.height
    if not 0 < width <= configuration.width or not 0 < height <= configuration.height:
        return None
    if header.x % width or header.y % height:
        return None
    if not layout.is_aligned(0, width, configuration.width):
        return None
    tiles = -(-configuration.width // width) * -(-configuration.height // height)
    return _make_grid(configuration, width, height) if tiles <= _MAX_TILES else None


@lru_cache(maxsize=8)
def _make_grid(configuration: Configured, width: int, height: int) -> TileGrid:
    """Return a grid. All lanes and frames share it."""
    return TileGrid(configuration, width, height)
