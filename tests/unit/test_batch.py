"""How many packets a batch predicts, and that it receives frames of many small tiles."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from helpers.reassembly_harness import START

from lenslink.receive.batch import Batch
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.buffers import scatter
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Configured, FrameEnd
from lenslink_protocol.params import HEADER_BYTES

WIDTH, TILES = 8, 2500
STRIDE = 2 * WIDTH
SIZE = TILES * STRIDE
PACKET = HEADER_BYTES + STRIDE
PLAN = Configured(0, 0, START.mode, START.pixel_format, WIDTH, TILES, STRIDE, SIZE, 0)
MOST = 384
"""Packets that a batch predicts at most."""


def encode_frames(count):
    """Return the packets of frames of 2,500 tiles of one row, and the frames' bytes."""
    data, pictures, sequence = bytearray(), [], 0

    def add(kind, payload, frame, place=(0, 0, 0, 0)):
        nonlocal sequence
        data.extend(
            encode_packet(kind, payload, nonce=5, sequence=sequence, frame=frame, place=place)
        )
        sequence += 1

    for frame in range(count):
        picture = np.random.default_rng(frame).integers(0, 256, SIZE, np.uint8).tobytes()
        start = replace(START, width=WIDTH, height=TILES, stride=STRIDE)
        add(MessageType.FRAME_START, start.encode(), frame)
        for row in range(TILES):
            tile = picture[row * STRIDE : (row + 1) * STRIDE]
            add(MessageType.TILE, tile, frame, (0, row, WIDTH, 1))
        end = FrameEnd(EndStatus.OK, 1, TILES, 0, (sequence - 1, 0, 0, 0), 0)
        add(MessageType.FRAME_END, end.encode(), frame)
        pictures.append(picture)
    return memoryview(data), pictures


def receive(data, sizes):
    """Receive *data* in reads of at most so many bytes.

    Return the frames' bytes, and of each read how many buffers there were and the bytes that came.
    """
    discards = Counter()
    frames = Reassembly(Pool(), discards, {0: PLAN}.get)
    link = Link(5, frames, discards, 1)
    batch = Batch(link, frames, 0)
    reads = []
    while data:
        buffers = batch.get_buffers()
        count = scatter(data[: sizes[len(reads) % len(sizes)]], buffers)
        batch.on_received(count, 0.0)
        reads.append((len(buffers), count))
        data = data[count:]
    assert not discards
    return [bytes(each.buffer) for each in frames.finished_frames], reads


@pytest.mark.parametrize(
    "sizes",
    [
        (1 << 20,),
        (200 * PACKET + 7,),
        (MOST * PACKET - 1, 1 << 20, 191 * PACKET, 192 * PACKET),
        (100, 1 << 20),
    ],
)
def test_frames_arrive_whatever_a_read_brings(sizes):
    data, pictures = encode_frames(2)
    assert receive(data, sizes)[0] == pictures


def test_reads_that_bring_all_packets_get_as_many_buffers_as_there_are():
    data, _ = encode_frames(1)
    _, reads = receive(data, (1 << 20,))
    assert max(buffers for buffers, _ in reads) == 2 * MOST


def test_a_read_gets_buffers_for_twice_the_packets_of_the_last_read():
    data, _ = encode_frames(1)
    _, reads = receive(data, (20 * PACKET,))
    usual = [buffers for buffers, count in reads[20:] if count == 20 * PACKET]
    assert len(usual) > TILES // 20 - 25
    # Buffers of a packet under way, of twice the packets, and of one more. A read that fills all
    # that it gets, at the end of a run say, is followed by one that gets as many as there are.
    few = [buffers for buffers in usual if buffers <= 2 * (2 * 20 + 1) + 1]
    assert len(few) > 0.9 * len(usual)
