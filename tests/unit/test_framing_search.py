"""How far the host's receiver searches what a hostile module sends, and what a stall leaves.

The bounds are made small here. tests/property/test_hostile_module.py holds what they are for.
"""

from __future__ import annotations

import pytest
from helpers.framing_harness import TILE, Lane, packet

from lenslink_protocol import framing
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.messages import MAGIC
from lenslink_protocol.params import HEADER_BYTES, STALL_MS

SEARCH, REFUSAL = 200, 35
STALL = STALL_MS / 1000
# The shortest packet. It fits into the smallest payloads below.
EMPTY = packet(90, b"")


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "_SEARCH_BYTES", SEARCH)
    monkeypatch.setattr(framing, "_REFUSAL_BYTES", REFUSAL)


def damaged(payload: bytes, sequence: int) -> bytes:
    """A packet whose header holds and whose payload does not."""
    data = bytearray(packet(sequence, bytes(len(payload)), TILE))
    data[HEADER_BYTES:] = payload
    return bytes(data)


def padded(inner: bytes, size: int) -> bytes:
    return inner + b"." * (size - len(inner))


@pytest.mark.parametrize(("size", "found"), [(SEARCH, 1), (SEARCH + 1, 0)])
def test_a_damaged_payload_is_searched_up_to_the_bound(size, found):
    lane = Lane()
    lane.feed(damaged(padded(EMPTY, size), 1))
    assert len(lane.sink.out) == found
    assert lane.discards == {DiscardReason.PAYLOAD_CRC: 1, DiscardReason.NOISE: 1}
    assert not lane.receiver.is_inside_packet


def spend(lane: Lane) -> None:
    """Use the bound up: nothing but bytes received from now on may be searched again."""
    lane.feed(damaged(b"." * (SEARCH + 1), 1))


def refuse(lane: Lane) -> None:
    """Use the bound up with magics that begin no packet."""
    lane.feed(damaged(MAGIC * 15, 1))


@pytest.mark.parametrize("use_up", [spend, refuse])
@pytest.mark.parametrize(("size", "found"), [(HEADER_BYTES, 1), (HEADER_BYTES + 1, 0)])
def test_each_received_byte_may_be_searched_again_once(use_up, size, found):
    lane = Lane()
    use_up(lane)
    # Its header and payload were received. The payload and what is in it are searched again.
    inner = damaged(padded(EMPTY, size), 3)
    lane.feed(damaged(inner, 2))
    assert len(lane.sink.out) == found


def test_magics_that_begin_no_packet_use_the_bound_up():
    lane = Lane()
    refuse(lane)
    # The payload takes 60 of the bytes, which leaves four refusals. With the fifth it is dropped.
    # The noise is the dropped rest, and the bytes between the magics.
    assert lane.discards == {
        DiscardReason.PAYLOAD_CRC: 1,
        DiscardReason.HEADER_CRC: 5,
        DiscardReason.NOISE: 2,
    }
    assert not lane.receiver.is_inside_packet


def test_the_first_search_of_a_byte_costs_nothing():
    lane = Lane()
    lane.feed(b"." * HEADER_BYTES)
    assert not lane.receiver.is_in_sync
    false = padded(MAGIC, HEADER_BYTES)
    lane.feed(false * 20 + EMPTY)
    assert len(lane.sink.out) == 1
    assert lane.discards == {DiscardReason.HEADER_CRC: 20, DiscardReason.NOISE: 2}


def test_a_packet_found_in_a_damaged_payload_comes_before_the_next_packet():
    lane = Lane()
    first, second = packet(91, b"1"), packet(92, b"2")
    lane.feed(packet(0, b""))
    # Out of sync, so that all of it is in the backlog at once.
    lane.feed(b"." * HEADER_BYTES)
    lane.feed(damaged(first, 90) + second)
    assert lane.payloads == [b"", b"1", b"2"]


def test_a_stall_is_found_at_its_time_and_not_before():
    lane = Lane()
    lane.feed(packet(0, b"payload")[:-1])
    lane.receiver.poll(STALL - 0.0001)
    assert not lane.discards
    lane.receiver.poll(STALL)
    assert lane.discards == {DiscardReason.STALL: 1, DiscardReason.NOISE: 1}


def test_two_stalled_packets_are_given_up_at_once():
    lane = Lane()
    lane.feed(b"." * HEADER_BYTES)
    lane.feed(padded(MAGIC, 14) + padded(MAGIC, 9))
    lane.discards.clear()
    lane.receiver.poll(STALL)
    assert lane.discards == {DiscardReason.STALL: 2, DiscardReason.NOISE: 2}
    assert not lane.receiver.is_inside_packet
    assert lane.receiver.is_in_sync


def test_a_packet_that_begins_behind_one_byte_of_noise_stalls():
    lane = Lane()
    lane.feed(b"." + EMPTY[:20])
    lane.receiver.poll(STALL)
    # Noise before the packet, and the rest of the packet once its first byte is given up.
    assert lane.discards == {DiscardReason.STALL: 1, DiscardReason.NOISE: 2}


@pytest.mark.parametrize(
    ("beginning", "stalls"), [(MAGIC[:1], 0), (MAGIC[:3], 0), (MAGIC, 1), (EMPTY[:20], 1)]
)
def test_a_packet_has_begun_with_its_whole_magic_in_sync_as_in_a_search(beginning, stalls):
    """Whether a receiver is in sync depends on how the bytes were cut. Its counters must not."""
    in_sync, searching = Lane(), Lane()
    in_sync.feed(beginning)
    searching.feed(b"." * HEADER_BYTES)
    searching.feed(beginning)
    assert (in_sync.receiver.is_in_sync, searching.receiver.is_in_sync) == (True, False)
    for lane in (in_sync, searching):
        lane.receiver.poll(STALL)
        assert lane.discards[DiscardReason.STALL] == stalls
        assert lane.discards[DiscardReason.NOISE] > 0
        assert not lane.receiver.is_inside_packet


def test_a_damaged_header_is_searched_at_once():
    lane = Lane()
    lane.feed(padded(MAGIC, HEADER_BYTES))
    assert lane.discards == {DiscardReason.HEADER_CRC: 1, DiscardReason.NOISE: 1}
    assert not lane.receiver.is_inside_packet


def test_a_stalled_packet_is_settled():
    lane = Lane()
    lane.feed(packet(0, b"") + packet(1, b"payload")[:-1])
    assert (lane.receiver.last_sequence, lane.receiver.settled_sequence) == (1, 0)
    lane.receiver.poll(STALL)
    assert (lane.receiver.last_sequence, lane.receiver.settled_sequence) == (1, 1)


def test_recorded_packets_advance_the_sequence():
    lane = Lane()
    assert lane.receiver.header is None
    lane.feed(packet(0xFFFFFFFE, b""))
    lane.receiver.record_packets(3, 3 * HEADER_BYTES, 5.0)
    assert (lane.receiver.last_sequence, lane.receiver.settled_sequence) == (1, 1)
    assert lane.receiver.lost_packets == 0
    # Time is counted from then.
    lane.receiver.feed(packet(2, b"x")[:-1], 5.0)
    assert lane.receiver.header is not None
    lane.receiver.feed(b"x", 5.0)
    assert lane.receiver.header is None
    assert len(lane.sink.out) == 2
    assert not lane.discards


def test_recorded_packets_restart_the_stall_timer():
    lane = Lane()
    lane.feed(packet(0, b""))
    lane.feed(packet(1, b"")[:5])
    lane.receiver.record_packets(1, HEADER_BYTES, 5.0)
    lane.receiver.poll(5.0 + STALL - 0.001)
    assert not lane.discards


@pytest.mark.parametrize(("count", "found"), [(39, 0), (40, 1), (SEARCH, 1)])
def test_recorded_packets_refill_the_search_budget(count, found):
    lane = Lane()
    spend(lane)
    lane.receiver.record_packets(1, count, 0.0)
    # The 40 bytes of this packet's own header add to *count*, up to SEARCH in all.
    lane.feed(damaged(damaged(padded(EMPTY, 80), 4), 3))
    assert len(lane.sink.out) == found


def test_a_payload_is_sound_once_its_bytes_have_arrived():
    lane = Lane()
    assert lane.receiver.is_payload_sound is False
    data = packet(0, b"payload")
    lane.feed(data[:HEADER_BYTES])
    assert lane.receiver.is_payload_sound is False
    buffer = lane.receiver.get_buffers()[0]
    buffer[:] = data[HEADER_BYTES:]
    assert lane.receiver.is_payload_sound is True
    # A caller that has checked the payload says so, and it is not checked again.
    lane.receiver.on_received(len(buffer), 0.0, is_sound=True)
    assert lane.payloads == [b"payload"]
    assert not lane.discards


@pytest.mark.parametrize("checked", [True, False])
def test_a_payload_declared_sound_is_not_checked(checked):
    lane = Lane()
    lane.feed(damaged(b"payload", 0)[:HEADER_BYTES])
    buffer = lane.receiver.get_buffers()[0]
    buffer[:] = b"payload"
    lane.receiver.on_received(len(buffer), 0.0, checked)
    assert len(lane.sink.out) == checked
    assert lane.discards[DiscardReason.PAYLOAD_CRC] == (not checked)
