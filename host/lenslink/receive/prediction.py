"""What a lane brings next if its tiles go on in step: headers, and places of payloads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.messages import MAGIC, Header

from .tile_grid import Range, TileGrid

# Computed ahead at once: so few that a control packet, which shifts the sequence, costs little.
_AHEAD = 1024


class TilePrediction:
    """Packets that follow *tile*, each with the next sequence, each *step* tiles on in *raster*.

    *tile* gives what its header has in common with theirs; the last one that came is number
    *index* of the raster, under sequence *sequence*. Payloads that are not contiguous in the frame
    are staged one after the other; ``starts`` and ``ends`` count from there, else from the frame.
    """

    def __init__(self, grid: TileGrid, tile: Header, index: int, sequence: int, step: int) -> None:
        self.grid = grid
        self.frame = tile.frame
        self.flags = tile.flags
        self.index = index
        self.step = step
        self.sequence = sequence
        self.count = min((grid.count - 1 - index) // step, _AHEAD)
        chosen = slice(index + step, index + self.count * step + 1, step)
        self.words: NDArray[np.uint32] = np.empty((self.count, 8), "<u4")
        """Of each packet all of its header but the CRCs."""
        self.words[:, 0] = int.from_bytes(MAGIC, "little")
        self.words[:, 1] = tile.version | tile.type << 8 | tile.flags << 16 | tile.stream << 24
        self.words[:, 2] = tile.nonce
        self.words[:, 3] = np.arange(1, self.count + 1, dtype="<u4") + np.uint32(sequence)
        self.words[:, 4] = tile.frame
        self.words[:, 5:] = grid.words[chosen]
        lengths = grid.words[chosen, 2]
        if grid.contiguous:
            starts = grid.starts[chosen]
            ends = starts + lengths
        else:
            ends = np.cumsum(lengths, dtype=np.int64)
            starts = ends - lengths
        self.starts: list[int] = starts.tolist()
        self.ends: list[int] = ends.tolist()
        self._before: list[int] = [0, *np.cumsum(lengths, dtype=np.int64).tolist()]

    def position(self, frame: int, flags: int, index: int, sequence: int) -> int | None:
        """How many of the packets have come when that tile has; None if it is not on the course."""
        position, aside = divmod(index - self.index, self.step)
        if aside or not 0 <= position < self.count or (frame, flags) != (self.frame, self.flags):
            return None
        return position if (self.sequence + position) & 0xFFFFFFFF == sequence else None

    def tiles(self, position: int, count: int) -> range:
        """The numbers in the raster of *count* packets from *position* on."""
        first = self.index + (position + 1) * self.step
        return range(first, first + count * self.step, self.step)

    def size(self, position: int, count: int) -> int:
        """The bytes of the payloads of those packets."""
        return self._before[position + count] - self._before[position]

    def ground(self, position: int, count: int) -> list[Range]:
        """The bytes of the frame that they fill: see :meth:`.TileGrid.ground`."""
        if self.grid.contiguous and self.step == 1:
            return [(self.starts[position], self.ends[position + count - 1])]
        return self.grid.ground(self.tiles(position, count))
