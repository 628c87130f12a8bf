"""Predict the packets that a lane brings next: their headers, and where their payloads go.

:class:`TileTracker` learns from the headers of a lane in which order its tiles arrive.
:class:`TilePrediction` computes the headers and payload positions of the tiles that follow.
:mod:`.batch` compares what arrives with the prediction.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import Flag, MessageType
from lenslink_protocol.messages import MAGIC, Header
from lenslink_protocol.params import HEADER_BYTES

from .assembly import Assembly
from .received_ranges import ByteRange
from .tile_grid import TileGrid, find_tile_grid

# The number of headers that are computed at once. A control packet shifts the sequence and makes
# the remaining headers useless, so that a higher number would cost more than it saves.
_RUN_TILES = 1024
# A flag of an enum takes a hundred times as long as a number.
_TILE, _RESENT = int(MessageType.TILE), int(Flag.RESENT)
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
        """The number, in the grid, of the last tile that arrived."""
        self.step = 1
        """Tiles from one tile of the lane to the next."""
        self.regular_count = 0
        """Tiles that have arrived in regular order. No more are predicted at once."""
        self.sequence: int | None = None
        """The sequence of the last tile that arrived. None after a misprediction."""
        self._last_header: Header | None = None

    @property
    def can_predict(self) -> bool:
        """True if enough tiles have arrived in regular order."""
        return self.regular_count >= _MIN_REGULAR_TILES

    def on_header(self, header: Header, find_open: Callable[[Header], Assembly | None]) -> None:
        """Learn from a packet whose payload is being received. Ignore a repeated call for it.

        *find_open* returns the open frame of a tile, or None.
        """
        if header is self._last_header:
            return
        self._last_header = header
        if header.type != _TILE or header.flags & _RESENT:
            return
        assembly = find_open(header)
        if assembly is None:
            return
        grid = self.grid
        index = (
            grid.find_index(header)
            if grid and grid.configuration == assembly.configuration
            else None
        )
        if index is None:
            grid = find_tile_grid(assembly.configuration, header)
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


class _TileRun:
    """Up to _RUN_TILES tiles of a grid in regular order: what all frames have in common. Immutable.

    Args:
        grid: The tile grid.
        index: The number of the tile before the run, in the grid. It is negative for a run that
            begins with the first tile of the grid.
        step: The difference of the numbers of two consecutive tiles.
    """

    def __init__(self, grid: TileGrid, index: int, step: int) -> None:
        chosen = slice(index + step, index + _RUN_TILES * step + 1, step)
        self.words = grid.words[chosen]
        """Position, size and length of each tile, as in :attr:`TileGrid.words`."""
        self.numbers: NDArray[np.uint32] = np.arange(1, len(self.words) + 1, dtype="<u4")
        lengths = self.words[:, 2]
        if grid.is_contiguous:
            starts = grid.starts[chosen]
            ends = starts + lengths
        else:
            ends = np.cumsum(lengths, dtype=np.int64)
            starts = ends - lengths
        self.starts: list[int] = starts.tolist()
        self.ends: list[int] = ends.tolist()
        sizes = np.cumsum(lengths + np.uint32(HEADER_BYTES), dtype=np.int64)
        self.bytes_before: list[int] = [0, *sizes.tolist()]
        """For each packet the bytes of all packets before it, with headers; then of all packets."""


@lru_cache(maxsize=64)
def _find_run(grid: TileGrid, index: int, step: int) -> _TileRun:
    """Return a run. All lanes and frames share it."""
    return _TileRun(grid, index, step)


class TilePrediction:
    """Packets in regular order, each with the next sequence. The first ones may have arrived.

    Args:
        grid: The tile grid of the frame.
        tile: A header with the fields that all packets share.
        index: Number of the last tile that arrived, in the grid. It is not the last of its lane.
        sequence: Its sequence.
        step: Tiles from one packet to the next.

    If the payloads of a grid are not contiguous in the frame, they are staged one after the other.
    ``starts`` and ``ends`` then count from the first staged byte, else from the frame's first byte.
    """

    def __init__(self, grid: TileGrid, tile: Header, index: int, sequence: int, step: int) -> None:
        # Begin where a run begins, so that all frames and sequences share a few runs.
        arrived = (index // step + 1) % _RUN_TILES
        self.grid = grid
        self.frame = tile.frame
        self.flags = tile.flags
        self.index = index - arrived * step
        """Number of the tile before the first packet, in the grid."""
        self.step = step
        self.sequence = (sequence - arrived) & 0xFFFFFFFF
        """The sequence before that of the first packet."""
        run = _find_run(grid, self.index, step)
        self.count = len(run.starts)
        """The number of packets."""
        self.starts, self.ends, self._bytes_before = run.starts, run.ends, run.bytes_before
        self.words: NDArray[np.uint32] = np.empty((self.count, 8), "<u4")
        """The header of each packet without its two CRCs."""
        self.words[:, 0] = int.from_bytes(MAGIC, "little")
        self.words[:, 1] = tile.version | tile.type << 8 | tile.flags << 16 | tile.stream << 24
        self.words[:, 2] = tile.nonce
        self.words[:, 3] = run.numbers + np.uint32(self.sequence)
        self.words[:, 4] = tile.frame
        self.words[:, 5:] = run.words

    def find_position(self, frame: int, flags: int, index: int, sequence: int) -> int | None:
        """Return the number of predicted packets up to and including that tile.

        Return None if the tile is not predicted.
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

    def count_bytes(self, position: int, count: int) -> int:
        """Return the bytes of *count* packets from *position* on, headers included."""
        return self._bytes_before[position + count] - self._bytes_before[position]

    def split(self, position: int, count: int) -> tuple[int, int]:
        """Split *count* bytes, from *position* on, into whole packets and the bytes behind them."""
        end = self._bytes_before[position] + count
        whole = bisect_right(self._bytes_before, end, position) - 1
        return whole - position, end - self._bytes_before[whole]

    def find_ranges(self, position: int, count: int) -> list[ByteRange]:
        """Return the bytes of the frame that *count* packets from *position* on fill."""
        if self.grid.is_contiguous and self.step == 1:
            return [(self.starts[position], self.ends[position + count - 1])]
        return self.grid.find_ranges(self.list_tiles(position, count))
