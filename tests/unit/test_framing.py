"""The host's receiver, a lane at a time: places, sequences, stalls, and how it goes on."""

from __future__ import annotations

from collections import Counter

import pytest

from lenslink_protocol.framing import VERSION, Receiver, encode_packet
from lenslink_protocol.ids import MessageType, Reject
from lenslink_protocol.messages import HEADER, MAGIC
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD, STALL_MS

NONCE = 0x12345678
STALL_S = STALL_MS / 1000


def packet(sequence, payload=b"payload", kind=MessageType.LOG, **other):
    return encode_packet(kind, payload, **{"nonce": NONCE, "sequence": sequence, **other})


class Sink:
    """Keeps what comes; ``memory`` is where tiles go."""

    def __init__(self):
        self.out = []
        self.headers = []
        self.memory = None
        self.asked = []

    def place(self, header):
        self.asked.append(header.sequence)
        return self.memory

    def packet(self, header, payload, in_place):
        self.headers.append(header)
        self.out.append((header.sequence, bytes(payload), in_place))


class Lane:
    def __init__(self, **options):
        self.sink = Sink()
        self.rejects = Counter()
        self.receiver = Receiver(self.sink, NONCE, self.rejects, **options)

    def feed(self, *pieces, now=0.0):
        for piece in pieces:
            self.receiver.feed(piece, now)
        return [sequence for sequence, _, _ in self.sink.out]


def test_a_packet_is_its_header_and_its_payload():
    data = packet(7, b"abc", frame=9, stream=1, place=(1, 2, 3, 4), flags=5)
    assert len(data) == HEADER_BYTES + 3
    lane = Lane()
    assert lane.feed(data) == [7]
    (header,) = lane.sink.headers
    assert header[:11] == (VERSION, MessageType.LOG, 5, 1, NONCE, 7, 9, 1, 2, 3, 4)
    assert header.length == 3
    assert lane.sink.out == [(7, b"abc", False)]


def test_sequences_are_sent_modulo_two_to_the_32():
    assert HEADER.unpack_from(packet(1 << 32))[6] == 0


def test_the_buffers_are_header_first_then_payload_and_the_next_header():
    lane = Lane()
    receiver = lane.receiver
    assert [len(buffer) for buffer in receiver.buffers()] == [HEADER_BYTES]
    data = packet(1, b"0123456789")
    receiver.feed(data[:15], 0)
    assert [len(buffer) for buffer in receiver.buffers()] == [HEADER_BYTES - 15]
    receiver.feed(data[15:44], 0)
    assert [len(buffer) for buffer in receiver.buffers()] == [6, HEADER_BYTES]


def test_payload_and_next_header_in_one_read():
    lane = Lane()
    data = packet(1, b"0123456789") + packet(2, b"")
    lane.receiver.feed(data[:HEADER_BYTES], 0)
    rest = data[HEADER_BYTES:]
    payload, head = lane.receiver.buffers()
    payload[:] = rest[:10]
    head[:] = rest[10:]
    lane.receiver.received(len(rest), 0)
    assert [item[:2] for item in lane.sink.out] == [(1, b"0123456789"), (2, b"")]


@pytest.mark.parametrize("beyond", range(1, HEADER_BYTES))
def test_payload_and_a_part_of_the_next_header(beyond):
    lane = Lane()
    first, second = packet(1, b"0123456789"), packet(2)
    lane.receiver.feed(first[:HEADER_BYTES], 0)
    payload, head = lane.receiver.buffers()
    payload[:] = first[HEADER_BYTES:]
    head[:beyond] = second[:beyond]
    lane.receiver.received(10 + beyond, 0)
    assert lane.feed(second[beyond:]) == [1, 2]


def test_a_tile_goes_where_its_sink_places_it():
    lane = Lane()
    memory = bytearray(b"\xee" * 8)
    lane.sink.memory = memoryview(memory)[2:6]
    data = packet(1, b"tile", MessageType.TILE)
    lane.feed(data[:-1])
    assert bytes(memory) == b"\xee\xeetil\xee\xee\xee", "as it comes"
    lane.feed(data[-1:])
    assert bytes(memory) == b"\xee\xeetile\xee\xee"
    assert lane.sink.out == [(1, b"tile", True)]


def test_only_tiles_of_this_session_are_placed():
    lane = Lane()
    lane.sink.memory = memoryview(bytearray(7))
    lane.feed(packet(1))
    lane.feed(packet(2, kind=MessageType.TILE, nonce=1))
    lane.feed(packet(1, kind=MessageType.TILE))
    assert lane.sink.asked == []
    assert lane.rejects == {Reject.NONCE: 1, Reject.SEQUENCE: 1}


def test_a_damaged_tile_in_place_is_found_in_what_it_wrote():
    """What ran into a tile's memory is searched there."""
    lane = Lane()
    cut = packet(1, bytes(60), MessageType.TILE)[:-50]
    lane.sink.memory = memoryview(bytearray(60))
    assert lane.feed(cut + packet(2, b"x") + packet(3) + packet(4)) == [2, 3, 4]
    assert lane.rejects == {Reject.PAYLOAD_CRC: 1, Reject.NOISE: 1}


def test_sequences():
    lane = Lane()
    assert lane.receiver.last_sequence is None
    assert lane.feed(packet(5), packet(5), packet(6), packet(4), packet(9)) == [5, 6, 9]
    assert lane.rejects == {Reject.SEQUENCE: 2}
    assert lane.receiver.last_sequence == 9
    assert lane.receiver.lost == 2


def test_any_first_sequence_will_do():
    assert Lane().feed(packet(0xFFFFFFFF), packet(0)) == [0xFFFFFFFF, 0]


def test_half_of_all_sequences_is_the_past():
    lane = Lane()
    assert lane.feed(packet(0), packet(0x80000000), packet(0x7FFFFFFF)) == [0, 0x7FFFFFFF]
    assert lane.rejects == {Reject.SEQUENCE: 1}
    assert lane.receiver.lost == 0x7FFFFFFE


def test_versions():
    lane = Lane()
    assert lane.feed(packet(1, version=0x1F), packet(2, version=0x20), packet(3)) == [1, 3]
    assert lane.rejects[Reject.VERSION] == 1


@pytest.mark.parametrize(
    ("kind", "length", "accepted"),
    [
        (MessageType.LOG, MAX_CONTROL, True),
        (MessageType.LOG, MAX_CONTROL + 1, False),
        (MessageType.TILE, 5000, True),
        (MessageType.TILE, 5001, False),
        (0xE5, MAX_CONTROL + 1, False),
    ],
)
def test_lengths(kind, length, accepted):
    lane = Lane(max_payload=5000)
    expected = [1, 2] if accepted else [2]
    assert lane.feed(packet(1, bytes(length), kind), packet(2)) == expected
    assert lane.rejects[Reject.LENGTH] == (not accepted)


def test_the_longest_tile():
    lane = Lane()
    data = packet(1, bytes(MAX_PAYLOAD), MessageType.TILE)
    assert lane.feed(data) == [1]


def test_a_stalled_header_is_searched():
    lane = Lane()
    whole = packet(2)
    lane.feed(packet(1)[:10] + whole[:20])
    lane.receiver.poll(STALL_S - 0.001)
    assert not lane.rejects
    lane.receiver.poll(STALL_S)
    assert lane.rejects[Reject.STALL] == 2, "the one that had begun behind it had stopped as long"
    assert lane.receiver.in_sync
    assert lane.feed(whole[20:] + packet(3), now=STALL_S) == [3]


def test_a_stalled_payload_is_searched():
    lane = Lane()
    lane.feed(packet(1, bytes(300))[:50] + packet(2) + packet(3))
    lane.receiver.poll(STALL_S)
    assert lane.feed() == [2, 3]
    assert lane.rejects[Reject.STALL] == 1


def test_progress_is_no_stall():
    lane = Lane()
    for place, byte in enumerate(packet(1)):
        now = place * (STALL_S - 0.001)
        lane.receiver.poll(now)
        lane.receiver.feed(bytes([byte]), now)
    assert [item[0] for item in lane.sink.out] == [1]
    assert not lane.rejects


def test_time_that_nobody_listened_is_no_stall():
    lane = Lane()
    data = packet(1)
    lane.feed(data[:50])
    lane.feed(data[:30][50:])
    lane.receiver.resume(100.0)
    lane.receiver.poll(100.0 + STALL_S - 0.001)
    assert not lane.rejects
    assert lane.feed(data[50:], now=100.0) == [1]


def test_silence_between_packets_is_no_stall():
    lane = Lane()
    lane.feed(packet(1))
    lane.receiver.poll(1000.0)
    assert not lane.rejects
    assert not lane.receiver.inside
    assert lane.feed(packet(2)) == [1, 2]


def test_an_end_that_begins_like_a_magic_is_noise_in_the_end():
    lane = Lane()
    lane.feed(packet(1) + b"some noise, more of it than a header has" + MAGIC[:3])
    assert lane.receiver.inside
    lane.receiver.poll(STALL_S)
    assert not lane.receiver.inside
    assert lane.receiver.in_sync
    assert lane.feed(packet(2)) == [1, 2]
    assert set(lane.rejects) == {Reject.NOISE}


def test_behind_a_false_beginning_another_one_is_found():
    """A magic that is none, then the beginning of a packet, then a pause, then the rest."""
    lane = Lane()
    data = packet(2)
    lane.feed(packet(1) + bytes(HEADER_BYTES) + MAGIC + data[:20])
    lane.receiver.poll(STALL_S - 0.001)
    assert lane.feed(data[20:], now=STALL_S) == [1, 2]


def test_behind_noise_a_truncated_packet_costs_no_other():
    """What it swallowed of the next one is searched ahead of that one's rest."""
    for missing in (1, 3, 30):
        lane = Lane()
        cut = packet(1, bytes(30))[:-missing]
        assert lane.feed(bytes(HEADER_BYTES) + cut + packet(2) + packet(3)) == [2, 3]


def test_in_sync():
    lane = Lane()
    assert lane.receiver.in_sync
    lane.feed(bytes(HEADER_BYTES))
    assert not lane.receiver.in_sync
    lane.feed(packet(1))
    assert lane.receiver.in_sync


@pytest.mark.parametrize("damaged", [1, 5, 20, 100])
def test_damage_in_many_packets_in_a_row_costs_no_other(damaged):
    lane = Lane()
    data = b""
    for sequence in range(damaged):
        bad = bytearray(packet(sequence, bytes(100)))
        bad[50] = 1
        data += bytes(bad)
    assert lane.feed(data + packet(damaged) + packet(damaged + 1)) == [damaged, damaged + 1]
    assert lane.rejects[Reject.PAYLOAD_CRC] == damaged


def test_settled_is_what_is_inside_no_more():
    lane = Lane()
    data = packet(5, bytes(100))
    lane.feed(packet(4), data[:60])
    assert lane.receiver.last_sequence == 5
    assert lane.receiver.settled_sequence == 4
    lane.feed(data[60:])
    assert lane.receiver.settled_sequence == 5
    bad = bytearray(packet(6, bytes(100)))
    bad[-1] = 1
    lane.feed(bytes(bad))
    assert lane.receiver.settled_sequence == 6
