"""Test the byte ring: how bytes pass through it, and which counters it refuses."""

from __future__ import annotations

import random

import pytest

from lenslink.transports import byte_ring as ring_module
from lenslink.transports.byte_ring import LINE_BYTES, ByteRingError, ByteRingReader, ByteRingWriter

SIZE = 64


@pytest.fixture(autouse=True, params=[True, False], ids=["x86", "fenced"])
def fences(request, monkeypatch):
    """Run each test as on x86, and as on a machine that needs all fences."""
    monkeypatch.setattr(ring_module, "_X86", request.param)


class Harness:
    """Both sides of a byte ring, and the words as the other process could set them."""

    def __init__(self, size: int = SIZE) -> None:
        writer, reader = bytearray(LINE_BYTES), bytearray(LINE_BYTES)
        self.data = bytearray(size)
        self.head = memoryview(writer).cast("Q")
        self.tail = memoryview(reader).cast("Q")
        data = memoryview(self.data)
        self.writer = ByteRingWriter(data, memoryview(writer), memoryview(reader))
        self.reader = ByteRingReader(data, memoryview(reader), memoryview(writer))

    def write(self, data: bytes) -> bool:
        count, wanted = self.writer.write(memoryview(data))
        assert count == len(data)
        return wanted

    def read(self, *sizes: int) -> list[bytes]:
        buffers = [bytearray(size) for size in sizes]
        count = self.reader.read_into([memoryview(buffer) for buffer in buffers])
        self.reader.consume(count)
        found = []
        for buffer in buffers:
            found.append(bytes(buffer[:count]))
            count -= min(count, len(buffer))
        return found


def test_bytes_pass_the_end_of_the_memory():
    ring = Harness()
    for first in range(SIZE + 1):
        data = bytes(range(first, first + SIZE))
        assert ring.writer.count_free() == SIZE
        ring.write(data)
        assert ring.writer.write(memoryview(b"x")) == (0, False)
        assert ring.reader.count_readable() == SIZE
        assert b"".join(ring.read(1, SIZE - 1)) == data
        # The next round begins one byte further on.
        ring.write(b"-")
        assert ring.read(9) == [b"-"]


def test_bytes_are_the_same_for_every_cut():
    ring = Harness()
    data = bytes(range(SIZE))
    for cut in range(SIZE + 1):
        for second in (0, 1, SIZE - cut):
            ring.write(data[:cut])
            ring.write(data[cut:])
            assert b"".join(ring.read(cut, second, SIZE)) == data
        ring.write(b"+")
        ring.read(1)


def test_reads_and_writes_are_limited_by_the_ring():
    ring = Harness()
    assert ring.read(4) == [b""]
    ring.write(b"abcdef")
    assert ring.read(0, 2, 2) == [b"", b"ab", b"cd"]
    assert ring.read(4, 4) == [b"ef", b""]
    assert ring.writer.write(memoryview(bytes(SIZE + 1)))[0] == SIZE


def test_bytes_can_be_written_and_read_in_place():
    ring = Harness()
    ring.write(bytes(60))
    ring.read(60)
    room = ring.writer.get_views()
    assert [len(view) for view in room] == [4, 60]
    room[0][:] = b"abcd"
    room[1][:2] = b"ef"
    ring.writer.commit(6)
    assert [bytes(view) for view in ring.reader.get_views()] == [b"abcd", b"ef"]
    ring.reader.consume(6)
    assert ring.reader.get_views() == []


@pytest.mark.parametrize("head", [9, 11, 10 + SIZE + 1, 1 << 63, (1 << 64) - 1])
def test_an_impossible_head_is_refused(head):
    """The head goes back, or claims more bytes than the ring holds."""
    ring = Harness()
    ring.write(bytes(12))
    ring.read(10)
    ring.head[0] = head
    for look in (ring.reader.count_readable, ring.reader.get_views, ring.reader.prepare_sleep):
        with pytest.raises(ByteRingError, match="bytes written"):
            look()
    with pytest.raises(ByteRingError):
        ring.reader.read_into([memoryview(bytearray(SIZE * 4))])


@pytest.mark.parametrize("tail", [9, 13, 1 << 63, (1 << 64) - 1])
def test_an_impossible_tail_is_refused(tail):
    """The tail goes back, or claims that more was read than written."""
    ring = Harness()
    ring.write(bytes(12))
    ring.read(10)
    assert ring.writer.count_free() == SIZE - 2
    ring.tail[0] = tail
    for look in (ring.writer.count_free, ring.writer.get_views, ring.writer.prepare_sleep):
        with pytest.raises(ByteRingError, match="bytes read"):
            look()


def test_any_words_are_refused_or_harmless(seed):
    """With random counters, no access is out of bounds, and no read exceeds the ring's size."""
    chance = random.Random(seed)
    for _ in range(2000):
        ring = Harness()
        for _ in range(8):
            try:
                words = chance.choice([ring.head, ring.tail])
                near = int(words[0]) + chance.randrange(-2, SIZE + 3)
                words[0] = max(0, chance.choice([near, chance.getrandbits(64)]))
                words[1] = chance.getrandbits(64)
                assert ring.reader.read_into([memoryview(bytearray(3 * SIZE))]) <= SIZE
                ring.reader.consume(chance.randrange(ring.reader.count_readable() + 1))
                assert ring.writer.write(memoryview(bytes(3 * SIZE)))[0] <= SIZE
            except ByteRingError:
                break


def test_our_own_counters_are_not_read_back():
    ring = Harness()
    ring.write(b"abc")
    ring.tail[0] = 0
    assert ring.read(3) == [b"abc"]
    ring.head[0] = 77  # the writer's own: it goes on from 3
    ring.write(b"de")
    assert ring.head[0] == 5
    assert ring.read(3) == [b"de"]


def test_a_sleeping_reader_is_notified_once_of_the_next_byte():
    ring = Harness()
    assert not ring.write(b"a")
    assert not ring.reader.prepare_sleep()  # there is a byte: it must not sleep
    ring.read(1)
    assert ring.reader.prepare_sleep()
    assert ring.write(b"b")
    assert not ring.write(b"c")
    ring.read(2)
    assert not ring.write(b"d")  # it is awake, as far as the writer knows


def test_a_sleeping_writer_is_notified_once_half_is_free():
    ring = Harness()
    ring.write(bytes(SIZE))
    assert ring.writer.prepare_sleep()
    wanted = []
    for _ in range(SIZE):
        ring.reader.read_into([memoryview(bytearray(1))])
        wanted.append(ring.reader.consume(1))
    assert wanted.index(True) == SIZE // 2 - 1
    assert wanted.count(True) == 1
    assert not ring.writer.prepare_sleep()


def test_closing_releases_the_memory():
    ring = Harness()
    ring.writer.close()
    ring.reader.close()
    with pytest.raises(ValueError, match="released"):
        ring.reader.count_readable()
