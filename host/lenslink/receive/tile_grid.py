"""The order in which a frame's tiles come: left to right, top to bottom, all of one size.

Tiles at the right and lower edges are what is left there. From it follows, for every tile, what
its header says and which bytes of the frame it fills.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.messages import Configured, Header
from lenslink_protocol.packings import layout

# A raster of so many tiles takes 2 MB: where there are more they are too small to be foreseen.
_MOST = 1 << 16

Range = tuple[int, int]


class TileGrid:
    """A frame of *plan*, cut into tiles of *width* x *height* pixels. See :func:`tile_grid_of`."""

    def __init__(self, plan: Configured, width: int, height: int) -> None:
        self.plan = plan
        self.width = width
        self.height = height
        self.columns = -(-plan.width // width)
        self.count = self.columns * -(-plan.height // height)
        self.contiguous = self.columns == 1 or height == 1
        """Each tile's bytes are one range, which begins where the one before it ends."""
        bytes_of = layout(plan.pixel_format).bytes_of
        left = np.arange(0, plan.width, width)
        right = np.minimum(left + width, plan.width)
        self._left = [bytes_of(x) for x in left.tolist()]
        self._right = [bytes_of(x) for x in right.tolist()]
        top = np.arange(0, plan.height, height)[:, None]
        rows = np.minimum(top + height, plan.height) - top
        self.words = np.empty((self.count, 3), "<u4")
        """Of each tile, what a header has for its place and its length, as three words."""
        self.words[:, 0] = (left | top << 16).reshape(-1)
        self.words[:, 1] = (right - left | rows << 16).reshape(-1)
        self.words[:, 2] = (np.subtract(self._right, self._left) * rows).reshape(-1)
        self.starts: NDArray[np.int64] = (self._left + top * plan.stride).reshape(-1)
        """Byte of the frame where a tile's first row begins."""

    def index(self, header: Header) -> int | None:
        """Which tile this is; None if it is none of them."""
        column, x = divmod(header.x, self.width)
        row, y = divmod(header.y, self.height)
        index = row * self.columns + column
        if x or y or column >= self.columns or index >= self.count:
            return None
        place = [header.x | header.y << 16, header.width | header.height << 16, header.length]
        return index if self.words[index].tolist() == place else None

    def ground(self, tiles: range) -> list[Range]:
        """The bytes of the frame that *tiles* fill, as few ranges as they make in a row each."""
        if self.contiguous:
            starts = self.starts[tiles.start : tiles.stop : tiles.step].tolist()
            lengths = self.words[tiles.start : tiles.stop : tiles.step, 2].tolist()
            return [(start, start + size) for start, size in zip(starts, lengths, strict=True)]
        found = []
        for row, columns in self._rows(tiles):
            first, last = self._left[columns[0]], self._right[columns[-1]]
            top = row * self.height
            bottom = min(top + self.height, self.plan.height)
            stride = self.plan.stride
            if last - first == stride:
                found.append((top * stride, bottom * stride))
            else:
                found += [(y * stride + first, y * stride + last) for y in range(top, bottom)]
        return found

    def start(self, index: int) -> int:
        """The byte of the frame where a tile begins."""
        return int(self.starts[index])

    def unstage(self, staged: NDArray[np.uint8], frame: NDArray[np.uint8], tiles: range) -> None:
        """Copy *tiles*, which lie one after the other in *staged*, to their places in *frame*."""
        picture = frame.reshape(self.plan.height, self.plan.stride)
        at = 0
        for row, side_by_side in self._rows(tiles):
            top = row * self.height
            place = picture[top : top + self.height]
            rows = len(place)
            columns = side_by_side
            while columns:
                # Those at the right edge may be narrower than the others.
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

    def _rows(self, tiles: range) -> list[tuple[int, list[int]]]:
        """Tiles that stand side by side: their row of tiles, and their columns."""
        if tiles.step == 1:
            pairs = (divmod(each, self.columns) for each in tiles)
            return [(row, [c for _, c in group]) for row, group in groupby(pairs, lambda p: p[0])]
        return [(each // self.columns, [each % self.columns]) for each in tiles]


def tile_grid_of(plan: Configured, header: Header) -> TileGrid | None:
    """The raster in which *header* is a tile that no edge cuts; None if there is none."""
    width, height = header.width, header.height
    if not 0 < width <= plan.width or not 0 < height <= plan.height:
        return None
    if header.x % width or header.y % height:
        return None
    if not layout(plan.pixel_format).fits(0, width, plan.width):
        return None
    tiles = -(-plan.width // width) * -(-plan.height // height)
    return _grid(plan, width, height) if tiles <= _MOST else None


@lru_cache(maxsize=8)
def _grid(plan: Configured, width: int, height: int) -> TileGrid:
    """Computed once for all lanes and frames."""
    return TileGrid(plan, width, height)
