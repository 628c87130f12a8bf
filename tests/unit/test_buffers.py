"""Bytes from memory into a receiver's buffers: all of them, in order, and none twice."""

from __future__ import annotations

import pytest

from lenslink_protocol.buffers import feed, scatter

KINDS = [bytes, bytearray, memoryview]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "count", "left", "right"),
    [
        (b"", 0, b"...", b"...."),
        (b"ab", 2, b"ab.", b"...."),
        (b"abc", 3, b"abc", b"...."),
        (b"abcd", 4, b"abc", b"d..."),
        (b"abcdefg", 7, b"abc", b"defg"),
        (b"abcdefghi", 7, b"abc", b"defg"),
    ],
)
def test_buffers_are_filled_in_order(kind, data, count, left, right):
    buffers = [bytearray(b"..."), bytearray(b"....")]
    assert scatter(kind(data), [memoryview(buffer) for buffer in buffers]) == count
    assert buffers == [left, right]


def test_an_empty_buffer_is_passed_over():
    buffers = [bytearray(b""), bytearray(b"..")]
    assert scatter(b"ab", [memoryview(buffer) for buffer in buffers]) == 2
    assert buffers[1] == b"ab"


class Collector:
    """Takes bytes in buffers of those sizes, again and again."""

    def __init__(self, *sizes):
        self.sizes = sizes
        self.counts = []
        self.data = b""
        self._buffers = []

    def buffers(self):
        self._buffers = [memoryview(bytearray(size)) for size in self.sizes]
        return self._buffers

    def received(self, count):
        self.counts.append(count)
        self.data += b"".join(self._buffers)[:count]


@pytest.mark.parametrize("kind", KINDS)
def test_a_receiver_gets_every_byte_once(kind):
    collector = Collector(2, 3)
    feed(kind(b"0123456789ab"), collector.buffers, collector.received)
    assert collector.counts == [5, 5, 2]
    assert collector.data == b"0123456789ab"


def test_nothing_is_fed_from_empty_data():
    collector = Collector(2)
    feed(b"", collector.buffers, collector.received)
    assert collector.counts == []
