"""The host's receiver, a lane at a time: places, sequences, stalls, and how it goes on."""

from __future__ import annotations

import pytest
from helpers.framing_harness import NONCE, TILE, Lane, packet

from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import DiscardReason, MessageType
from lenslink_protocol.messages import HEADER, MAGIC
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_PAYLOAD, STALL_MS

STALL_S = STALL_MS / 1000


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
    assert [len(buffer) for buffer in receiver.get_buffers()] == [HEADER_BYTES]
    data = packet(1, b"0123456789")
    receiver.feed(data[:15], 0)
    assert [len(buffer) for buffer in receiver.get_buffers()] == [HEADER_BYTES - 15]
    receiver.feed(data[15:44], 0)
    assert [len(buffer) for buffer in receiver.get_buffers()] == [6, HEADER_BYTES]


def test_payload_and_next_header_in_one_read():
    lane = Lane()
    data = packet(1, b"0123456789") + packet(2, b"")
    lane.receiver.feed(data[:HEADER_BYTES], 0)
    rest = data[HEADER_BYTES:]
    payload, head = lane.receiver.get_buffers()
    payload[:] = rest[:10]
    head[:] = rest[10:]
    lane.receiver.on_received(len(rest), 0)
    assert [item[:2] for item in lane.sink.out] == [(1, b"0123456789"), (2, b"")]


@pytest.mark.parametrize("beyond", range(1, HEADER_BYTES))
def test_payload_and_a_part_of_the_next_header(beyond):
    lane = Lane()
    first, second = packet(1, b"0123456789"), packet(2)
    lane.receiver.feed(first[:HEADER_BYTES], 0)
    payload, head = lane.receiver.get_buffers()
    payload[:] = first[HEADER_BYTES:]
    head[:beyond] = second[:beyond]
    lane.receiver.on_received(10 + beyond, 0)
    assert lane.feed(second[beyond:]) == [1, 2]


def test_a_tile_goes_into_the_memory_that_its_sink_reserves():
    lane = Lane()
    memory = bytearray(b"\xee" * 8)
    lane.sink.memory = memoryview(memory)[2:6]
    data = packet(1, b"tile", MessageType.TILE)
    lane.feed(data[:-1])
    assert bytes(memory) == b"\xee\xeetil\xee\xee\xee", "as it comes"
    lane.feed(data[-1:])
    assert bytes(memory) == b"\xee\xeetile\xee\xee"
    assert lane.sink.out == [(1, b"tile", True)]


def test_memory_is_reserved_for_tiles_of_this_session_only():
    lane = Lane()
    lane.sink.memory = memoryview(bytearray(7))
    lane.feed(packet(1))
    lane.feed(packet(2, kind=MessageType.TILE, nonce=1))
    lane.feed(packet(1, kind=MessageType.TILE))
    assert lane.sink.asked == []
    assert lane.discards == {DiscardReason.NONCE: 1, DiscardReason.SEQUENCE: 1}


def test_a_packet_inside_a_damaged_tile_in_place_is_found():
    """What ran into a tile's memory is searched there."""
    lane = Lane()
    cut = packet(1, bytes(60), MessageType.TILE)[:-50]
    lane.sink.memory = memoryview(bytearray(60))
    assert lane.feed(cut + packet(2, b"x") + packet(3) + packet(4)) == [2, 3, 4]
    assert lane.discards == {DiscardReason.PAYLOAD_CRC: 1, DiscardReason.NOISE: 1}


def test_old_and_repeated_sequences_are_discarded():
    lane = Lane()
    assert lane.receiver.last_sequence is None
    assert lane.feed(packet(5), packet(5), packet(6), packet(4), packet(9)) == [5, 6, 9]
    assert lane.discards == {DiscardReason.SEQUENCE: 2}
    assert lane.receiver.last_sequence == 9
    assert lane.receiver.lost_packets == 2


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
def test_a_length_is_accepted_up_to_its_bound(kind, length, accepted):
    lane = Lane(max_payload=5000)
    expected = [1, 2] if accepted else [2]
    assert lane.feed(packet(1, bytes(length), kind), packet(2)) == expected
    assert lane.discards[DiscardReason.LENGTH] == (not accepted)


def test_the_longest_tile_is_accepted():
    lane = Lane()
    data = packet(1, bytes(MAX_PAYLOAD), MessageType.TILE)
    assert lane.feed(data) == [1]


def test_a_stalled_header_is_searched():
    lane = Lane()
    whole = packet(2)
    lane.feed(packet(1)[:10] + whole[:20])
    lane.receiver.poll(STALL_S - 0.001)
    assert not lane.discards
    lane.receiver.poll(STALL_S)
    assert lane.discards[DiscardReason.STALL] == 2, (
        "the one that had begun behind it had stopped as long"
    )
    assert lane.receiver.is_in_sync
    assert lane.feed(whole[20:] + packet(3), now=STALL_S) == [3]


def test_a_stalled_payload_is_searched():
    lane = Lane()
    lane.feed(packet(1, bytes(300))[:50] + packet(2) + packet(3))
    lane.receiver.poll(STALL_S)
    assert lane.feed() == [2, 3]
    assert lane.discards[DiscardReason.STALL] == 1


def test_a_slow_packet_does_not_stall():
    lane = Lane()
    for place, byte in enumerate(packet(1)):
        now = place * (STALL_S - 0.001)
        lane.receiver.poll(now)
        lane.receiver.feed(bytes([byte]), now)
    assert [item[0] for item in lane.sink.out] == [1]
    assert not lane.discards


def test_time_in_which_nobody_received_is_no_stall():
    lane = Lane()
    data = packet(1)
    lane.feed(data[:50])
    lane.feed(data[:30][50:])
    lane.receiver.shift_timers(100.0)
    lane.receiver.poll(100.0 + STALL_S - 0.001)
    assert not lane.discards
    assert lane.feed(data[50:], now=100.0) == [1]


def test_silence_between_packets_is_no_stall():
    lane = Lane()
    lane.feed(packet(1))
    lane.receiver.poll(1000.0)
    assert not lane.discards
    assert not lane.receiver.is_inside_packet
    assert lane.feed(packet(2)) == [1, 2]


def test_a_partial_magic_at_the_end_of_noise_is_noise():
    lane = Lane()
    lane.feed(packet(1) + b"some noise, more of it than a header has" + MAGIC[:3])
    assert lane.receiver.is_inside_packet
    lane.receiver.poll(STALL_S)
    assert not lane.receiver.is_inside_packet
    assert lane.receiver.is_in_sync
    assert lane.feed(packet(2)) == [1, 2]
    assert set(lane.discards) == {DiscardReason.NOISE}


def test_a_packet_behind_a_false_magic_is_found():
    """A magic that is none, then the beginning of a packet, then a pause, then the rest."""
    lane = Lane()
    data = packet(2)
    lane.feed(packet(1) + bytes(HEADER_BYTES) + MAGIC + data[:20])
    lane.receiver.poll(STALL_S - 0.001)
    assert lane.feed(data[20:], now=STALL_S) == [1, 2]


def test_a_truncated_packet_behind_noise_costs_no_other_packet():
    """What it swallowed of the next one is searched ahead of that one's rest."""
    for missing in (1, 3, 30):
        lane = Lane()
        cut = packet(1, bytes(30))[:-missing]
        assert lane.feed(bytes(HEADER_BYTES) + cut + packet(2) + packet(3)) == [2, 3]


def test_a_receiver_is_in_sync_until_damage_and_again_after_a_packet():
    lane = Lane()
    assert lane.receiver.is_in_sync
    lane.feed(bytes(HEADER_BYTES))
    assert not lane.receiver.is_in_sync
    lane.feed(packet(1))
    assert lane.receiver.is_in_sync


@pytest.mark.parametrize("damaged", [1, 5, 20, 100])
def test_damage_in_many_packets_in_a_row_costs_no_other_packet(damaged):
    lane = Lane()
    data = b""
    for sequence in range(damaged):
        bad = bytearray(packet(sequence, bytes(100)))
        bad[50] = 1
        data += bytes(bad)
    assert lane.feed(data + packet(damaged) + packet(damaged + 1)) == [damaged, damaged + 1]
    assert lane.discards[DiscardReason.PAYLOAD_CRC] == damaged


def test_a_packet_is_settled_once_it_has_ended():
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


@pytest.mark.parametrize("size", [1, 7, 39, 40, 41, 1000])
def test_packets_arrive_whole_however_their_bytes_are_cut(size):
    lane = Lane(bytearray(100))
    payloads = [b"", b"x", bytes(range(90)), b"tail"]
    data = b"".join(packet(n, p, TILE) for n, p in enumerate(payloads))
    for at in range(0, len(data), size):
        lane.receiver.feed(data[at : at + size], 1.0)
    assert lane.payloads == payloads
    assert all(got[2] for got in lane.sink.out)
    assert not any(lane.discards.values())
    assert lane.receiver.is_in_sync
    assert not lane.receiver.is_inside_packet
    assert (lane.receiver.last_sequence, lane.receiver.settled_sequence) == (3, 3)
    assert lane.receiver.lost_packets == 0


def test_a_receiver_is_inside_a_packet_from_its_first_byte_to_its_last():
    lane = Lane()
    data = packet(0, b"ab")
    for byte in data[:-1]:
        lane.feed(bytes([byte]))
        assert lane.receiver.is_inside_packet
    lane.feed(data[-1:])
    assert not lane.receiver.is_inside_packet


def test_a_tile_without_reserved_memory_is_received_into_scratch_memory():
    lane = Lane(max_payload=1 << 16)
    long = bytes(range(256)) * 20
    lane.feed(packet(0, long, TILE) + packet(1, b"short", TILE))
    assert [got[1:] for got in lane.sink.out] == [(long, False), (b"short", False)]


def test_another_minor_version_is_accepted_and_another_major_is_not():
    lane = Lane()
    lane.feed(packet(0, b"", version=0x1F))
    assert len(lane.sink.out) == 1
    lane.feed(packet(1, b"", version=0x20))
    assert len(lane.sink.out) == 1
    assert lane.discards[DiscardReason.VERSION] == 1
    assert not lane.receiver.is_in_sync
    assert lane.feed(packet(2)) == [0, 2]


@pytest.mark.parametrize(
    ("step", "taken"),
    [(0, False), (1, True), ((1 << 31) - 1, True), (1 << 31, False), (-1, False)],
)
@pytest.mark.parametrize("first", [0, 5, 0xFFFFFFFF])
def test_a_sequence_is_new_if_it_is_less_than_half_of_all_ahead(first, step, taken):
    lane = Lane()
    lane.feed(packet(first, b"") + packet((first + step) & 0xFFFFFFFF, b""))
    assert len(lane.sink.out) == 1 + taken
    assert lane.discards[DiscardReason.SEQUENCE] == (not taken)
    assert lane.receiver.lost_packets == (step - 1 if taken else 0)
    assert lane.receiver.last_sequence == ((first + step) & 0xFFFFFFFF if taken else first)


def test_a_packet_with_another_nonce_is_discarded_and_moves_no_sequence():
    lane = Lane()
    lane.feed(packet(7, b"", nonce=NONCE ^ 1))
    assert not lane.sink.out
    assert lane.receiver.last_sequence is None
    assert +lane.discards == {DiscardReason.NONCE: 1}


def test_a_damaged_payload_costs_that_packet_only():
    lane = Lane()
    data = bytearray(packet(0, b"payload") + packet(1, b"next"))
    data[HEADER_BYTES] ^= 1
    lane.feed(data)
    assert lane.payloads == [b"next"]
    assert +lane.discards == {DiscardReason.PAYLOAD_CRC: 1, DiscardReason.NOISE: 1}
    assert lane.receiver.is_in_sync


def test_a_packet_inside_a_damaged_payload_is_found():
    lane = Lane()
    inner = packet(9, b"inner")
    outer = bytearray(packet(8, inner + b"rest"))
    outer[-1] ^= 1
    lane.feed(outer)
    assert lane.payloads == [b"inner"]
    assert lane.discards[DiscardReason.PAYLOAD_CRC] == 1


def test_neither_magics_in_noise_nor_a_damaged_header_hide_the_next_packet():
    lane = Lane()
    bad = bytearray(packet(0, b""))
    bad[20] ^= 1
    lane.feed(b"\x8aLL" + b"\x8aLLK" + bytes(bad) + packet(1, b"good"))
    assert lane.payloads == [b"good"]
    assert lane.discards[DiscardReason.HEADER_CRC] == 2
    assert lane.receiver.is_in_sync


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_magic_may_be_cut_at_the_end_of_noise(keep):
    lane = Lane()
    good = packet(0, b"good")
    lane.feed(bytes(50) + good[:keep])
    assert lane.receiver.is_inside_packet
    assert not lane.receiver.is_in_sync
    lane.feed(good[keep:])
    assert lane.payloads == [b"good"]
    assert lane.receiver.is_in_sync


@pytest.mark.parametrize("cut", [4, 20, 39, 40, 41, 45])
def test_a_stall_gives_up_a_packet_under_way_once(cut):
    lane = Lane()
    lane.receiver.feed(packet(0, b"payload")[:cut], 1.0)
    lane.receiver.poll(1.0 + STALL_S - 0.001)
    assert not any(lane.discards.values())
    lane.receiver.poll(1.0 + STALL_S)
    assert lane.discards[DiscardReason.STALL] == 1
    lane.receiver.poll(1.0 + STALL_S)
    assert lane.discards[DiscardReason.STALL] == 1
    lane.receiver.feed(packet(1, b"next"), 2.0)
    assert lane.payloads == [b"next"]
    assert lane.receiver.is_in_sync


def test_time_away_postpones_a_stall_to_the_millisecond():
    lane = Lane()
    lane.receiver.feed(packet(0, b"payload")[:-1], 1.0)
    lane.receiver.shift_timers(10.0)
    lane.receiver.poll(11.2)
    assert not lane.discards[DiscardReason.STALL]
    lane.receiver.poll(11.25)
    assert lane.discards[DiscardReason.STALL] == 1


def test_a_partial_magic_at_the_end_of_noise_is_given_up_after_a_stall():
    lane = Lane()
    lane.receiver.feed(bytes(60) + b"\x8aLL", 1.0)
    before = lane.discards[DiscardReason.NOISE]
    lane.receiver.poll(1.25)
    assert lane.discards[DiscardReason.NOISE] == before + 1
    assert lane.receiver.is_in_sync
    assert not lane.receiver.is_inside_packet


def test_a_receiver_is_in_place_while_it_receives_into_reserved_memory():
    lane = Lane(bytearray(64))
    assert lane.receiver.is_in_place is False
    data = packet(0, b"abcd", TILE)
    lane.feed(data[:42])
    assert lane.receiver.is_in_place is True
    lane.feed(data[42:])
    assert lane.receiver.is_in_place is False


def test_headers_inside_a_stalled_packet_stall_with_it():
    """A fuzzer found that each header inside a stalled packet waited for a stall of its own."""
    lane = Lane()
    nested = [packet(sequence, bytes(1000), 0x60)[:HEADER_BYTES] for sequence in range(4)]
    lane.feed(b"".join(nested))
    lane.receiver.poll(STALL_S)
    assert not lane.receiver.is_inside_packet
    assert lane.discards == {DiscardReason.STALL: 4}
