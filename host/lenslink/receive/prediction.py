"""Predict the packets that a lane brings next: their headers, and where their payloads go.

:class:`TileTracker` learns from the headers of a lane in which order its tiles arrive.
:class:`TilePrediction` computes the headers and payload positions of the tiles that follow.
:mod:`.batch` compares what arrives with the prediction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import Flag, MessageType
from lenslink_protocol.messages import MAGIC, Header

from .assembly import Assembly
from .received_ranges import ByteRange
from .tile_grid import TileGrid, find_tile_grid

# Tiles computed at once. A control packet shifts the sequence and makes the rest useless, so that
# more of them would cost more than they save.
_AHEAD = 1024
# Start predicting after this many tiles have arrived in regular order.
_MIN_REGULAR_TILES = 2
# After a misprediction, divide the number of tiles that may be predicted by this.
_DOUBT = 4


class TileTracker:
    """Learns from the headers of one lane which tile comes next.

    Tiles arrive in regular order if each is the same number of tiles behind the one before it in
    the frame's tile grid. Resent tiles and other packets do not count.
    """

    def __init__(self) -> None:
        self.tile: Header | None = None
        """Header of the last tile that arrived alone."""
        self.assembly: Assembly | None = None
        """The frame of that tile."""
        self.grid: TileGrid | None = None
        self.index = 0
        """Number of the last tile in the grid."""
        self.step = 1
        """Tiles from one tile of the lane to the next."""
        self.regular_count = 0
        """Tiles that have arrived in regular order. No more are predicted at once."""
        self.sequence: int | None = None
        """Sequence of the last tile. None after a misprediction."""
        self._last_header: Header | None = None

    @property
    def can_predict(self) -> bool:
        """Enough tiles have arrived in regular order."""
        return self.regular_count >= _MIN_REGULAR_TILES

    def on_header(self, header: Header, find_open: Callable[[Header], Assembly | None]) -> None:
        """Learn from a packet whose payload is being received. Ignores a header it knows.

        *find_open* returns the open frame of a tile, or None.
        """
        if header is self._last_header:
            return
        self._last_header = header
        if header.type != MessageType.TILE or header.flags & Flag.RESENT:
            return
        assembly = find_open(header)
        if assembly is None:
            return
        grid = self.grid
        index = grid.find_index(header) if grid and grid.plan == assembly.plan else None
        if index is None:
            grid = find_tile_grid(assembly.plan, header)
            index = grid.find_index(header) if grid else None
        if grid is not self.grid:
            self.regular_count = 0
        elif assembly is self.assembly and index is not None:
            step = index - self.index
            self.regular_count = self.regular_count + 1 if step == self.step else 0
            self.step = step
        self.grid = grid
        if index is not None:
            self.tile, self.assembly, self.index = header, assembly, index
            self.sequence = header.sequence

    def on_predicted_tiles(self, last_index: int, count: int, sequence: int | None) -> None:
        """Move on by *count* tiles that arrived as predicted."""
        self.index = last_index
        self.sequence = sequence
        self.regular_count += count

    def on_misprediction(self) -> None:
        """Predict fewer tiles, and none before the next tile has arrived alone."""
        self.regular_count //= _DOUBT
        self.sequence = None


class TilePrediction:
    """The packets that follow a tile in regular order, each with the next sequence.

    Args:
        grid: The tile grid of the frame.
        tile: A header with the fields that all packets share.
        index: Number of the last tile that arrived, in the grid.
        sequence: Its sequence.
        step: Tiles from one packet to the next.

    If the payloads of a grid are not contiguous in the frame, they are staged one after the other.
    ``starts`` and ``ends`` then count from the first staged byte, else from the frame's first byte.
    """

    def __init__(self, grid: TileGrid, tile: Header, index: int, sequence: int, step: int) -> None:
        self.grid = grid
        self.frame = tile.frame
        self.flags = tile.flags
        self.index = index
        self.step = step
        self.sequence = sequence
        self.count = min((grid.count - 1 - index) // step, _AHEAD)
        """The number of packets."""
        chosen = slice(index + step, index + self.count * step + 1, step)
        self.words: NDArray[np.uint32] = np.empty((self.count, 8), "<u4")
        """The header of each packet without its two CRCs."""
        self.words[:, 0] = int.from_bytes(MAGIC, "little")
        self.words[:, 1] = tile.version | tile.type << 8 | tile.flags << 16 | tile.stream << 24
        self.words[:, 2] = tile.nonce
        self.words[:, 3] = np.arange(1, self.count + 1, dtype="<u4") + np.uint32(sequence)
        self.words[:, 4] = tile.frame
        self.words[:, 5:] = grid.words[chosen]
        lengths = grid.words[chosen, 2]
        if grid.is_contiguous:
            starts = grid.starts[chosen]
            ends = starts + lengths
        else:
            ends = np.cumsum(lengths, dtype=np.int64)
            starts = ends - lengths
        self.starts: list[int] = starts.tolist()
        self.ends: list[int] = ends.tolist()
        self._bytes_before: list[int] = [0, *np.cumsum(lengths, dtype=np.int64).tolist()]

    def find_position(self, frame: int, flags: int, index: int, sequence: int) -> int | None:
        """Return how many of the packets have arrived once that tile has.

        Return None if the tile is none of the predicted ones.
        """
        position, remainder = divmod(index - self.index, self.step)
        is_predicted = not remainder and 0 <= position < self.count
        if not is_predicted or (frame, flags) != (self.frame, self.flags):
            return None
        return position if (self.sequence + position) & 0xFFFFFFFF == sequence else None

    def list_tiles(self, position: int, count: int) -> range:
        """Return the numbers in the grid of *count* packets from *position* on."""
        first = self.index + (position + 1) * self.step
        return range(first, first + count * self.step, self.step)

    def count_payload_bytes(self, position: int, count: int) -> int:
        """Return the payload bytes of *count* packets from *position* on."""
        return self._bytes_before[position + count] - self._bytes_before[position]

    def find_ranges(self, position: int, count: int) -> list[ByteRange]:
        """Return the bytes of the frame that *count* packets from *position* on fill."""
        if self.grid.is_contiguous and self.step == 1:
            return [(self.starts[position], self.ends[position + count - 1])]
        return self.grid.find_ranges(self.list_tiles(position, count))
