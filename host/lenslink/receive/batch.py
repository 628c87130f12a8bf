"""Receive many tiles with one call of the transport.

While the tiles of a frame arrive in regular order, the next headers are known but for their CRCs,
and so is where each payload belongs (:mod:`.prediction`). :meth:`Batch.get_buffers` therefore
returns buffers for many packets: a header, the payload's final position, a header, and so on.
:meth:`Batch.on_received` then compares all headers and computes both CRCs of every packet, as the
lane's receiver does (:mod:`lenslink_protocol.framing`). A prediction is never believed.

The first packet that is not as predicted (a control packet, a resent tile, damage) goes to the
receiver, byte by byte as it arrived. What the transport wrote into the frame by then lies where
nothing counts as received. It is overwritten or cleared later.

After each call the receiver is in the state that it would have without the batch. So nothing waits
for a batch to fill: whole packets are used, and the rest of a packet is received by the receiver,
where the next batch begins.

:class:`.session_reader.SessionReader` calls a batch for each lane.
"""

from __future__ import annotations

import logging

import numpy as np

from lenslink_protocol.buffers import scatter
from lenslink_protocol.crc import crc32
from lenslink_protocol.link import Link
from lenslink_protocol.params import HEADER_BYTES
from lenslink_protocol.trace import TRACE

from .assembly import Assembly
from .prediction import TilePrediction, TileTracker
from .reassembly import Reassembly
from .received_ranges import ByteRange

_log = logging.getLogger(__name__)

_MAX_PACKETS = 384
# So many bytes make the cost of a call small, and still fit into the cache for the CRC.
_BATCH_BYTES = 2 << 20
# With direct placement the pixels are not in the cache of this processor anyway.
_DIRECT_BATCH_BYTES = 16 << 20
# Space behind a lone header, for example for a FrameEnd and the next FrameStart.
_SPILL_BYTES = 256


class _ExpectedPackets:
    """The packets that one call of the transport may bring, and their buffers. Immutable."""

    def __init__(
        self,
        assembly: Assembly,
        prediction: TilePrediction,
        position: int,
        payloads: list[memoryview],
        ranges: list[ByteRange],
    ) -> None:
        self.assembly = assembly
        """The frame of the tiles."""
        self.prediction = prediction
        self.position = position
        """The first packet's position in the prediction."""
        self.payloads = payloads
        """Where the payload of each packet goes."""
        self.ranges = ranges
        """The bytes of the frame that all payloads fill."""


class Batch:
    """Receives for one lane of a link, in place of the lane's receiver.

    Args:
        link: Gets every packet.
        frames: The link's frame sink.
        lane: The lane's number.
        has_direct_placement: Payloads are in the frame before they are received.
    """

    def __init__(
        self, link: Link, frames: Reassembly, lane: int, has_direct_placement: bool = False
    ) -> None:
        self._link = link
        self._frames = frames
        self._lane = lane
        self._has_direct_placement = has_direct_placement
        payload_bytes = _DIRECT_BATCH_BYTES if has_direct_placement else _BATCH_BYTES
        self._max_bytes = payload_bytes + _MAX_PACKETS * HEADER_BYTES
        self._receiver = link.lanes[lane].receiver
        # Memory of the predicted headers: a buffer for each, the part that its CRC covers, and
        # all of them as rows of words.
        block = memoryview(bytearray(_MAX_PACKETS * HEADER_BYTES))
        self._heads = [block[at : at + HEADER_BYTES] for at in range(0, len(block), HEADER_BYTES)]
        self._checked_heads = [head[:-4] for head in self._heads]
        words = np.frombuffer(block, "<u4").reshape(_MAX_PACKETS, -1)
        self._head_words, self._crc_words = words[:, :-2], words[:, -2:]
        self._spill = memoryview(bytearray(_SPILL_BYTES))
        # Mutable from here on.
        self._tracker = TileTracker()
        # Buffers cost time, so there are few where the last call filled only some of them.
        self._max_packets = _MAX_PACKETS
        self._prediction: TilePrediction | None = None
        # Tiles that are narrower than the frame are received here, one after the other.
        self._stage = np.empty(0, np.uint8)
        self._expected: _ExpectedPackets | None = None
        # Bytes that a packet under way lacks. They come before the expected packets.
        self._bytes_under_way = 0
        self._is_spilling = False

    def get_buffers(self) -> list[memoryview]:
        """Return the buffers for the next bytes of the lane, in order. They hold a byte or more."""
        buffers = self._choose_buffers()
        receiver = self._receiver
        self._is_spilling = (
            len(buffers) == 1 and receiver.is_in_sync and not receiver.is_inside_packet
        )
        return [*buffers, self._spill] if self._is_spilling else buffers

    def _choose_buffers(self) -> list[memoryview]:
        """Return the receiver's buffers, then those of the packets that are predicted."""
        receiver, tracker = self._receiver, self._tracker
        own = receiver.get_buffers()
        self._expected = None
        self._bytes_under_way = 0
        header = receiver.header
        if header is not None:
            tracker.on_header(header, self._frames.find_open)
            self._bytes_under_way = len(own[0])
        elif receiver.is_inside_packet or not receiver.is_in_sync:
            return own
        if not tracker.can_predict or receiver.last_sequence != tracker.sequence:
            return own
        expected = self._expected = self._predict()
        if expected is None:
            return own
        count = len(expected.payloads)
        buffers = own[:1] * (2 * count)
        buffers[::2] = self._heads[:count]
        buffers[1::2] = expected.payloads
        return own[:1] + buffers if self._bytes_under_way else buffers

    def on_received(self, count: int, now: float) -> None:
        """Use *count* bytes in :meth:`get_buffers`, and pass packets to link and frames.

        *now* is the time in seconds, on the link's clock.
        """
        if self._is_spilling:
            self._use(min(count, HEADER_BYTES), now)
            self.feed(self._spill[: max(0, count - HEADER_BYTES)], now)
            return
        before = self._bytes_under_way
        if self._expected is None or not count > before > 0:
            is_sound = False
        elif self._receiver.is_payload_sound:
            is_sound = True
        else:
            # The receiver searches a damaged payload for packets. A packet found there may belong
            # where the bytes behind the payload lie now, so they are copied first.
            behind = self._gather(0, count - before)
            self._expected = None
            self._tracker.on_misprediction()
            self._link.on_received(before, now, self._lane)
            self.feed(behind, now)
            return
        rest = self._use(count, now, is_sound)
        if rest:
            # Behind an unpredicted packet, tiles go on in order: predict them again.
            self.feed(self._gather(count - self._bytes_under_way - rest, rest), now)

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Receive *data* by copying it."""
        rest = memoryview(data)
        while rest:
            # With direct placement, the frame may hold the payload already: predict nothing.
            if self._has_direct_placement:
                self._expected = None
                buffers = self._receiver.get_buffers()
            else:
                buffers = self._choose_buffers()
            count = scatter(rest, buffers)
            rest = rest[count - self._use(count, now) :]

    # --- what is predicted ----------------------------------------------------------------

    def _predict(self) -> _ExpectedPackets | None:
        """Return the packets that should come next, or None."""
        tracker = self._tracker
        tile, assembly, grid, step = tracker.tile, tracker.assembly, tracker.grid, tracker.step
        if tile is None or assembly is None or grid is None or step < 1:
            return None
        if not assembly.received_ranges.count or tracker.index + step >= grid.count:
            # The first strip of a frame is used as soon as it has arrived. Behind the last strip
            # there is none.
            return None
        sequence = tracker.sequence
        assert sequence is not None
        prediction, position = self._prediction, None
        if prediction is not None and prediction.grid is grid and prediction.step == step:
            position = prediction.find_position(tile.frame, tile.flags, tracker.index, sequence)
        if prediction is None or position is None:
            prediction = TilePrediction(grid, tile, tracker.index, sequence, step)
            position = prediction.find_position(tile.frame, tile.flags, tracker.index, sequence)
            assert position is not None
            self._prediction = prediction
        before_end = self._frames.count_packets_before_end(assembly, self._lane)
        count = min(
            self._max_bytes // (tile.length + HEADER_BYTES) or 1,
            self._max_packets,
            tracker.regular_count,
            prediction.count - position,
            before_end - (self._bytes_under_way > 0),
        )
        if count < 1:
            return None
        ranges = prediction.find_ranges(position, count)
        if not assembly.is_free(ranges):
            return None
        starts = prediction.starts[position : position + count]
        ends = prediction.ends[position : position + count]
        memory = assembly.memory
        if not grid.is_contiguous:
            first, size = starts[0], ends[-1] - starts[0]
            if size > len(self._stage):
                self._stage = np.empty(size, np.uint8)
            starts, ends = [at - first for at in starts], [at - first for at in ends]
            memory = self._stage.data
        payloads = [memory[start:end] for start, end in zip(starts, ends, strict=True)]
        return _ExpectedPackets(assembly, prediction, position, payloads, ranges)

    # --- what has arrived -----------------------------------------------------------------

    def _use(self, count: int, now: float, is_sound: bool = False) -> int:
        """Use *count* received bytes. Return how many at their end are not as predicted.

        *is_sound*: the CRC of the payload under way is known to be good.
        """
        expected = self._expected
        if expected is None:
            self._link.on_received(count, now, self._lane)
            return 0
        before = min(count, self._bytes_under_way)
        if before or not count:
            self._link.on_received(before, now, self._lane, is_sound)
        rest = count - before
        if not rest:
            return 0
        if self._is_prediction_valid(expected):
            whole, part = expected.prediction.split(expected.position, rest)
            is_full = whole == len(expected.payloads)
            self._max_packets = _MAX_PACKETS if is_full else min(_MAX_PACKETS, 2 * whole + 1)
            good = self._count_good(expected, whole)
            if good:
                rest -= self._use_packets(expected, good, now)
            if good == whole:
                if part:
                    self._begin_packet(expected, whole, part, now)
                return 0
        if _log.isEnabledFor(TRACE):
            _log.log(TRACE, "lane %d: %d bytes are not as predicted", self._lane, rest)
        self._tracker.on_misprediction()
        return rest

    def _is_prediction_valid(self, expected: _ExpectedPackets) -> bool:
        """Return True if the packet before the expected ones changed nothing they depend on."""
        receiver = self._receiver
        before_end = self._frames.count_packets_before_end(expected.assembly, self._lane)
        return (
            receiver.is_in_sync
            and not receiver.is_inside_packet
            and receiver.last_sequence == self._tracker.sequence
            and before_end >= len(expected.payloads)
        )

    def _count_good(self, expected: _ExpectedPackets, whole: int) -> int:
        """Return how many of the first *whole* packets are as predicted, with good CRCs."""
        found = self._head_words[:whole]
        predicted = expected.prediction.words[expected.position : expected.position + whole]
        if found.tobytes() != predicted.tobytes():
            whole = int((found == predicted).all(axis=1).argmin())
        crcs = self._crc_words[:whole]
        payload_crcs = list(map(crc32, expected.payloads[:whole]))
        head_crcs = list(map(crc32, self._checked_heads[:whole]))
        if crcs[:, 0].tolist() != payload_crcs or crcs[:, 1].tolist() != head_crcs:
            is_good = (crcs == np.array([payload_crcs, head_crcs], "<u4").T).all(axis=1)
            whole = int(is_good.argmin())
        return whole

    def _use_packets(self, expected: _ExpectedPackets, count: int, now: float) -> int:
        """Pass the first *count* packets to link and frames. Return their bytes."""
        assembly, prediction = expected.assembly, expected.prediction
        ranges = expected.ranges
        if count < len(expected.payloads):
            ranges = prediction.find_ranges(expected.position, count)
        tiles = prediction.list_tiles(expected.position, count)
        if not prediction.grid.is_contiguous:
            prediction.grid.unstage(self._stage, assembly.buffer, tiles)
        size = prediction.count_bytes(expected.position, count)
        payload_bytes = size - count * HEADER_BYTES
        self._link.record_tiles(assembly.stream, count, payload_bytes, now, self._lane)
        last_start = prediction.grid.find_start(tiles[-1])
        self._tracker.on_predicted_tiles(tiles[-1], count, self._receiver.last_sequence)
        self._frames.on_tiles(assembly, ranges, last_start, now, self._lane)
        return size

    def _begin_packet(self, expected: _ExpectedPackets, index: int, count: int, now: float) -> None:
        """Pass the first *count* bytes of the packet at *index* to the receiver."""
        prediction = expected.prediction
        self._link.feed(self._heads[index][:count], now, self._lane)
        count -= HEADER_BYTES
        if count <= 0:
            return
        predicted = prediction.words[expected.position + index]
        is_placed = (
            prediction.grid.is_contiguous
            and self._receiver.is_in_place
            and self._head_words[index].tobytes() == predicted.tobytes()
        )
        if is_placed:
            self._link.on_received(count, now, self._lane)
        else:
            self._link.feed(bytes(expected.payloads[index][:count]), now, self._lane)

    def _gather(self, start: int, count: int) -> bytes:
        """Return *count* bytes of the expected packets as they arrived, from *start* on.

        *start* lies between two packets.
        """
        assert self._expected is not None
        pieces = []
        size_so_far = 0
        for head, payload in zip(self._heads, self._expected.payloads, strict=False):
            size = HEADER_BYTES + len(payload)
            if start:
                start -= size
            elif size_so_far < count:
                pieces += [head, payload]
                size_so_far += size
        return b"".join(pieces)[:count]
