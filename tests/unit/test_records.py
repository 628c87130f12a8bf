"""Reading records whose payloads lie in the frames' memory, wherever the buffers lie."""

import numpy as np
import pytest

from lenslink.transports.byte_ring import LINE_BYTES, ByteRingReader, ByteRingWriter
from lenslink.transports.records import Record, RecordReader, encode_record
from lenslink_protocol.params import HEADER_BYTES

TILE = 1000


class Slots:
    """The frames' memory: four tiles, each filled with its own number."""

    memory = np.repeat(np.arange(4, dtype=np.uint8), TILE)

    def on_slot_taken(self, slot, frame):
        raise AssertionError

    def on_slot_returned(self, slot):
        raise AssertionError


def read_tiles(payloads):
    """Let a module send all four tiles, and read them into *payloads*.

    Return the number of bytes, and the header before each payload.
    """
    ring = memoryview(bytearray(4096))
    lines = [memoryview(bytearray(LINE_BYTES)) for _ in range(2)]
    writer = ByteRingWriter(ring, lines[0], lines[1])
    for number in range(4):
        head = bytes([number]) * HEADER_BYTES
        writer.write(memoryview(encode_record(Record.TILE, TILE, number * TILE, head)))
    heads = [memoryview(bytearray(b"\xff" * HEADER_BYTES)) for _ in payloads]
    buffers = [each for pair in zip(heads, payloads, strict=True) for each in pair]
    count, _ = RecordReader(ByteRingReader(ring, lines[1], lines[0]), Slots()).read_into(buffers)
    return count, [head[0] for head in heads]


def frame_tiles():
    return [Slots.memory.data[at : at + TILE] for at in range(0, 4 * TILE, TILE)]


def test_payloads_that_lie_where_the_buffers_are_are_read_at_once():
    assert read_tiles(frame_tiles()) == (4 * (HEADER_BYTES + TILE), [0, 1, 2, 3])


@pytest.mark.parametrize("elsewhere", [0, 1, 2, 3])
def test_reading_ends_before_a_payload_that_lies_elsewhere(elsewhere):
    tiles, other = frame_tiles(), memoryview(bytearray(TILE))
    payloads = [*tiles[:elsewhere], other, *tiles[elsewhere:]][:4]
    count, heads = read_tiles(payloads)
    # Only the header before that payload is read.
    assert count == elsewhere * (HEADER_BYTES + TILE) + HEADER_BYTES
    assert heads == [*range(elsewhere + 1), *[0xFF] * (3 - elsewhere)]


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_reading_ends_before_the_payload_behind_a_gap(skipped):
    payloads = frame_tiles()
    del payloads[skipped]
    count, heads = read_tiles(payloads)
    assert count == skipped * (HEADER_BYTES + TILE) + HEADER_BYTES
    assert heads == [*range(skipped + 1), *[0xFF] * (2 - skipped)]


def test_reading_ends_before_a_payload_of_another_size():
    payloads = frame_tiles()
    payloads[2] = payloads[2][:-1]
    count, heads = read_tiles(payloads)
    assert heads[:3] == [0, 1, 2]
    # The first byte that is missing belongs to the payload, so the next header is not read.
    assert count == 3 * HEADER_BYTES + 3 * TILE - 1
