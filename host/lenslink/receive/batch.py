"""Many tiles in one call: what a lane brings next is foreseen, received in its place, then checked.

While the tiles of a frame come in order, the headers that follow are known but for their CRCs, and
so is where each payload belongs (:mod:`.prediction`). One list of buffers takes many packets, and
what has come is compared with what was foreseen all at once. Nothing is believed for having been
foreseen: every field of every header is compared and both CRCs are computed, as by the lane's own
receiver (:mod:`lenslink_protocol.framing`).

The first packet that is another (a control packet, a tile sent again, damage) goes to the receiver,
byte by byte as it came: what becomes of it is the receiver's business, as if nothing had been
foreseen. What was written to the frame by then lies on ground that counts as not covered, and is
written again or cleared.

After each call the receiver is where it would be had it received everything itself. So nothing
waits for a batch to fill: packets that are whole are used, and one that is not goes on in the
receiver, where the next batch begins.
"""

from __future__ import annotations

import numpy as np

from lenslink_protocol.buffers import scatter
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import Flag, MessageType
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Header
from lenslink_protocol.params import HEADER_BYTES

from .prediction import TilePrediction
from .reassembly import Assembly, Reassembly
from .tile_grid import TileGrid, tile_grid_of

_PACKETS = 384
# A call costs little beside so many bytes, and they are still in the cache when their CRCs are due.
_BYTES = 2 << 20
# Pixels that the module has written to the frame itself never were in our cache.
_PLACED_BYTES = 16 << 20
# Between packets so much more than a header is taken: a frame's end and the next one's start, say.
_SPILL = 256
# So many tiles in step, and the next are foreseen: as many as came in step, at most.
_TRUST = 2
# What a surprise leaves of that.
_DOUBT = 4


class Batch:
    """Receives for one lane of *link*; driven as the lane's receiver would be.

    *placed*: payloads are in the frame before they are received.
    """

    def __init__(self, link: Link, frames: Reassembly, lane: int, placed: bool = False) -> None:
        self._link = link
        self._frames = frames
        self._lane = lane
        self._placed = placed
        self._most = (_PLACED_BYTES if placed else _BYTES) + _PACKETS * HEADER_BYTES
        self._receiver = link.lanes[lane].receiver
        block = memoryview(bytearray(_PACKETS * HEADER_BYTES))
        self._heads = [block[at : at + HEADER_BYTES] for at in range(0, len(block), HEADER_BYTES)]
        self._signed = [head[:-4] for head in self._heads]
        words = np.frombuffer(block, "<u4").reshape(_PACKETS, -1)
        self._found, self._crcs = words[:, :-2], words[:, -2:]
        # Where the lane is: the last tile that was not sent again, and how many came in step.
        self._seen: Header | None = None
        self._tile: Header | None = None
        self._assembly: Assembly | None = None
        self._grid: TileGrid | None = None
        self._index = 0
        self._step = 1
        self._regular_count = 0
        self._sequence: int | None = None
        # What is foreseen, and how many bytes of a packet under way come before it.
        self._prediction: TilePrediction | None = None
        self._position = 0
        self._payloads: list[memoryview] = []
        self._ground: list[tuple[int, int]] = []
        self._size = 0
        self._under_way = 0
        self._spill = memoryview(bytearray(_SPILL))
        self._spilling = False
        # Where tiles are staged that are narrower than the frame.
        self._stage = np.empty(0, np.uint8)

    def buffers(self) -> list[memoryview]:
        """Where the next bytes of the lane shall go, in order. Never empty."""
        buffers = self._buffers()
        receiver = self._receiver
        self._spilling = len(buffers) == 1 and receiver.in_sync and not receiver.inside
        return [*buffers, self._spill] if self._spilling else buffers

    def _buffers(self) -> list[memoryview]:
        receiver = self._receiver
        own = receiver.buffers()
        self._payloads = []
        self._under_way = 0
        header = receiver.header
        if header is not None:
            if header is not self._seen:
                self._follow(header)
            self._under_way = len(own[0])
        elif receiver.inside or not receiver.in_sync:
            return own
        if (
            self._regular_count < _TRUST
            or receiver.last_sequence != self._sequence
            or not self._predict()
        ):
            return own
        count = len(self._payloads)
        buffers = own[:1] * (2 * count)
        buffers[::2] = self._heads[:count]
        buffers[1::2] = self._payloads
        return own[:1] + buffers if self._under_way else buffers

    def received(self, count: int, now: float) -> None:
        """*count* bytes are in :meth:`buffers`; *now* is any monotonic time in seconds."""
        if self._spilling:
            self._settle(min(count, HEADER_BYTES), now)
            self.feed(self._spill[: max(0, count - HEADER_BYTES)], now)
            return
        before = self._under_way
        sound = bool(self._payloads) and count > before > 0 and self._receiver.sound
        if self._payloads and count > before > 0 and not sound:
            # What a damaged payload holds is searched for packets, and one that is found there may
            # be put where those behind it lie now.
            behind = self._gather(0, count - before)
            self._payloads = []
            self._on_misprediction()
            self._link.received(before, now, self._lane)
            self.feed(behind, now)
            return
        rest = self._settle(count, now, sound)
        if rest:
            # Behind a surprise too the tiles go on in order, so they are foreseen again.
            self.feed(self._gather(count - self._under_way - rest, rest), now)

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Receive *data* by copying."""
        rest = memoryview(data)
        while rest:
            # Where payloads are placed, what is foreseen may lie in its place already.
            buffers = self._own() if self._placed else self._buffers()
            taken = scatter(rest, buffers)
            rest = rest[taken - self._settle(taken, now) :]

    def _own(self) -> list[memoryview]:
        """The receiver's own buffers: nothing is foreseen."""
        self._payloads = []
        return self._receiver.buffers()

    # --- what comes next ------------------------------------------------------------------

    def _follow(self, header: Header) -> None:
        """Learn from a packet under way where the lane is."""
        self._seen = header
        if header.type != MessageType.TILE or header.flags & Flag.RESENT:
            return
        assembly = self._frames.open_for(header)
        if assembly is None:
            return
        grid = self._grid
        index = grid.index(header) if grid and grid.plan == assembly.plan else None
        if index is None:
            grid = tile_grid_of(assembly.plan, header)
            index = grid.index(header) if grid else None
        if grid is not self._grid:
            self._regular_count = 0
        elif assembly is self._assembly and index is not None:
            step = index - self._index
            self._regular_count = self._regular_count + 1 if step == self._step else 0
            self._step = step
        self._grid = grid
        if index is not None:
            self._tile, self._assembly, self._index = header, assembly, index
            self._sequence = header.sequence

    def _predict(self) -> bool:
        """Find the places of the packets that should come next; False if there are none."""
        tile, assembly, grid, step = self._tile, self._assembly, self._grid, self._step
        if tile is None or assembly is None or grid is None or step < 1:
            return False
        # The first strip of a frame is used as soon as it is there.
        if not assembly.received_ranges.count:
            return False
        prediction, sequence = self._prediction, self._sequence
        assert sequence is not None
        position = None
        if prediction is not None and prediction.grid is grid and prediction.step == step:
            position = prediction.position(tile.frame, tile.flags, self._index, sequence)
        if prediction is None or position is None:
            prediction = self._prediction = TilePrediction(grid, tile, self._index, sequence, step)
            position = 0
        count = min(
            self._most // (tile.length + HEADER_BYTES) or 1,
            _PACKETS,
            self._regular_count,
            prediction.count - position,
            self._frames.may_come(assembly, self._lane) - (self._under_way > 0),
        )
        if count < 1:
            return False
        starts = prediction.starts[position : position + count]
        ends = prediction.ends[position : position + count]
        ground = prediction.ground(position, count)
        if not self._frames.is_free(assembly, ground):
            return False
        memory = assembly.memory
        if not grid.contiguous:
            first, size = starts[0], ends[-1] - starts[0]
            if size > len(self._stage):
                self._stage = np.empty(size, np.uint8)
            starts, ends = [at - first for at in starts], [at - first for at in ends]
            memory = self._stage.data
        self._payloads = [memory[start:end] for start, end in zip(starts, ends, strict=True)]
        self._size = prediction.size(position, count) + count * HEADER_BYTES
        self._position, self._ground = position, ground
        return True

    # --- what has come --------------------------------------------------------------------

    def _settle(self, count: int, now: float, sound: bool = False) -> int:
        """Use *count* bytes that have come, but for so many at their end that are a surprise.

        *sound*: the packet under way is known to be.
        """
        if not self._payloads:
            self._link.received(count, now, self._lane)
            return 0
        before = min(count, self._under_way)
        if before or not count:
            self._link.received(before, now, self._lane, sound)
        rest = count - before
        if not rest:
            return 0
        if self._matches_prediction():
            whole, part = self._whole(rest)
            good = self._sound(whole)
            if good:
                rest -= self._take(good, now)
            if good == whole:
                if part:
                    self._begin(whole, part, now)
                return 0
        self._on_misprediction()
        return rest

    def _on_misprediction(self) -> None:
        """Something else came than was foreseen."""
        self._regular_count //= _DOUBT
        self._sequence = None

    def _matches_prediction(self) -> bool:
        """Whether the packet before the batch has left all as it was when it was foreseen."""
        receiver, assembly = self._receiver, self._assembly
        assert assembly is not None
        return (
            receiver.in_sync
            and not receiver.inside
            and receiver.last_sequence == self._sequence
            and self._frames.may_come(assembly, self._lane) >= len(self._payloads)
        )

    def _whole(self, count: int) -> tuple[int, int]:
        """How many packets *count* bytes are, and how many bytes are left."""
        if count == self._size:
            return len(self._payloads), 0
        for whole, payload in enumerate(self._payloads):
            size = HEADER_BYTES + len(payload)
            if count < size:
                return whole, count
            count -= size
        return len(self._payloads), count

    def _sound(self, whole: int) -> int:
        """How many of the first *whole* packets are what was foreseen, one after the other."""
        prediction = self._prediction
        assert prediction is not None
        found = self._found[:whole]
        expected = prediction.words[self._position : self._position + whole]
        if found.tobytes() != expected.tobytes():
            whole = int((found == expected).all(axis=1).argmin())
        crcs = self._crcs[:whole]
        payloads = list(map(crc32, self._payloads[:whole]))
        heads = list(map(crc32, self._signed[:whole]))
        if crcs[:, 0].tolist() != payloads or crcs[:, 1].tolist() != heads:
            sound = (crcs == np.array([payloads, heads], "<u4").T).all(axis=1)
            whole = int(sound.argmin())
        return whole

    def _take(self, count: int, now: float) -> int:
        """The first *count* packets are sound; how many bytes that is."""
        assembly, prediction = self._assembly, self._prediction
        assert assembly is not None
        assert prediction is not None
        ground = self._ground
        if count < len(self._payloads):
            ground = prediction.ground(self._position, count)
        tiles = prediction.tiles(self._position, count)
        if not prediction.grid.contiguous:
            prediction.grid.unstage(self._stage, assembly.buffer, tiles)
        size = prediction.size(self._position, count)
        self._link.passed(assembly.stream, count, size, now, self._lane)
        self._index = tiles[-1]
        self._frames.tiles(assembly, ground, prediction.grid.start(self._index), now, self._lane)
        self._sequence = self._receiver.last_sequence
        self._regular_count += count
        return size + count * HEADER_BYTES

    def _begin(self, index: int, count: int, now: float) -> None:
        """Of the packet at *index* only *count* bytes have come: it goes on in the receiver."""
        prediction = self._prediction
        assert prediction is not None
        self._hand_over(self._heads[index][:count], now)
        count -= HEADER_BYTES
        if count <= 0:
            return
        expected = prediction.words[self._position + index]
        if self._receiver.in_place and self._found[index].tobytes() == expected.tobytes():
            self._link.received(count, now, self._lane)
        else:
            self._hand_over(bytes(self._payloads[index][:count]), now)

    def _hand_over(self, data: bytes | memoryview, now: float) -> None:
        """Give *data* to the receiver."""
        self._link.feed(data, now, self._lane)

    def _gather(self, start: int, count: int) -> bytes:
        """*count* bytes as they came, *start* bytes behind where the batch began."""
        pieces = []
        have = 0
        for head, payload in zip(self._heads, self._payloads, strict=False):
            size = HEADER_BYTES + len(payload)
            if start:
                start -= size
            elif have < count:
                pieces += [head, payload]
                have += size
        return b"".join(pieces)[:count]
