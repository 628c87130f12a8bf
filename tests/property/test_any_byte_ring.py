"""For all sizes of writes and reads, the bytes leave the byte ring as they entered it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lenslink.transports.byte_ring import LINE_BYTES, ByteRingReader, ByteRingWriter

SIZES = [1, 2, 16, 64]
STEPS = st.lists(
    st.tuples(st.integers(0, 150), st.lists(st.integers(0, 40), max_size=6)), max_size=40
)


@given(st.sampled_from(SIZES), STEPS, st.booleans())
def test_bytes_come_out_as_they_went_in(size, steps, in_place):
    words = memoryview(bytearray(2 * LINE_BYTES))
    data = memoryview(bytearray(size))
    lines = words[:LINE_BYTES], words[LINE_BYTES:]
    writer = ByteRingWriter(data, *lines)
    reader = ByteRingReader(data, *reversed(lines))
    stream = memoryview(bytes(index * 89 % 251 for index in range(8000)))
    sent = 0
    came = bytearray()
    for length, buffers in steps:
        piece = stream[sent : sent + length]
        if in_place:
            for room in writer.get_views():
                count = min(len(room), len(piece))
                room[:count] = piece[:count]
                writer.commit(count)
                sent += count
                piece = piece[count:]
        else:
            sent += writer.write(piece)[0]
        assert writer.count_free() == size - (sent - len(came))
        parts = [bytearray(part) for part in buffers]
        count = reader.read_into([memoryview(part) for part in parts])
        assert count == min(sent - len(came), sum(buffers))
        reader.consume(count)
        came += b"".join(parts)[:count]
    came += b"".join(bytes(view) for view in reader.get_views())
    assert came == stream[:sent]
