"""How long the host searches what a hostile module sends, and what a stall leaves: to the byte.

The bounds are made small here; what they are for is held by tests/property/test_hostile_module.py.
"""

from __future__ import annotations

from collections import Counter

import pytest
import test_mutants_host as lab

from lenslink_protocol import framing
from lenslink_protocol.ids import Reject
from lenslink_protocol.messages import MAGIC
from lenslink_protocol.params import HEADER_BYTES, STALL_MS

SEARCH, REFUSAL = 200, 35
STALL = STALL_MS / 1000
# The shortest of packets: it fits into the smallest payloads below.
EMPTY = lab.packet(lab.LOG, b"", 90)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "_SEARCH_BYTES", SEARCH)
    monkeypatch.setattr(framing, "_REFUSAL_BYTES", REFUSAL)


def damaged(payload: bytes, sequence: int) -> bytes:
    """A packet whose header holds and whose payload does not."""
    packet = bytearray(lab.packet(lab.TILE, bytes(len(payload)), sequence))
    packet[HEADER_BYTES:] = payload
    return bytes(packet)


def padded(inner: bytes, size: int) -> bytes:
    return inner + b"." * (size - len(inner))


def made() -> tuple[framing.Receiver, lab.Kept, Counter[Reject]]:
    return lab.receiver(None)


@pytest.mark.parametrize(("size", "found"), [(SEARCH, 1), (SEARCH + 1, 0)])
def test_a_payload_is_searched_up_to_the_bound(size, found):
    receiver, sink, rejects = made()
    receiver.feed(damaged(padded(EMPTY, size), 1), 0.0)
    assert len(sink.got) == found
    assert rejects == {Reject.PAYLOAD_CRC: 1, Reject.NOISE: 1}
    assert not receiver.inside


def spent(receiver: framing.Receiver) -> None:
    """Nothing may be searched again but for what is received from now on."""
    receiver.feed(damaged(b"." * (SEARCH + 1), 1), 0.0)


def refused(receiver: framing.Receiver) -> None:
    """The same, by magics that are none."""
    receiver.feed(damaged(MAGIC * 15, 1), 0.0)


@pytest.mark.parametrize("spend", [spent, refused])
@pytest.mark.parametrize(("size", "found"), [(HEADER_BYTES, 1), (HEADER_BYTES + 1, 0)])
def test_what_is_received_may_be_searched_again_once(spend, size, found):
    receiver, sink, _ = made()
    spend(receiver)
    # Received: its header and payload. Searched again: the payload, and what is in it.
    inner = damaged(padded(EMPTY, size), 3)
    receiver.feed(damaged(inner, 2), 0.0)
    assert len(sink.got) == found


def test_magics_that_are_none_use_the_bound_up():
    receiver, _, rejects = made()
    refused(receiver)
    # The payload takes 60 of the bytes, which leaves four refusals: with the fifth it is dropped.
    # Noise is what was dropped so, and what stood between the magics.
    assert rejects == {Reject.PAYLOAD_CRC: 1, Reject.HEADER_CRC: 5, Reject.NOISE: 2}
    assert not receiver.inside


def test_what_is_searched_for_the_first_time_costs_nothing():
    receiver, sink, rejects = made()
    receiver.feed(b"." * HEADER_BYTES, 0.0)
    assert not receiver.in_sync
    false = padded(MAGIC, HEADER_BYTES)
    receiver.feed(false * 20 + EMPTY, 0.0)
    assert len(sink.got) == 1
    assert rejects == {Reject.HEADER_CRC: 20, Reject.NOISE: 2}


def test_what_is_searched_again_comes_before_what_follows_it():
    receiver, sink, _ = made()
    first, second = lab.packet(lab.LOG, b"1", 91), lab.packet(lab.LOG, b"2", 92)
    receiver.feed(lab.packet(lab.LOG, b"", 0), 0.0)
    # Out of sync, so that all of it is in the backlog at once.
    receiver.feed(b"." * HEADER_BYTES, 0.0)
    receiver.feed(damaged(first, 90) + second, 0.0)
    assert [got[1] for got in sink.got] == [b"", b"1", b"2"]


def test_a_stall_is_after_its_time_and_not_before():
    receiver, _, rejects = made()
    receiver.feed(lab.packet(lab.LOG, b"payload")[:-1], 0.0)
    receiver.poll(STALL - 0.0001)
    assert not rejects
    receiver.poll(STALL)
    assert rejects == {Reject.STALL: 1, Reject.NOISE: 1}


def test_a_stalled_end_with_two_beginnings_is_given_up_whole():
    receiver, _, rejects = made()
    receiver.feed(b"." * HEADER_BYTES, 0.0)
    receiver.feed(padded(MAGIC, 14) + padded(MAGIC, 9), 0.0)
    rejects.clear()
    receiver.poll(STALL)
    assert rejects == {Reject.STALL: 2, Reject.NOISE: 2}
    assert not receiver.inside
    assert receiver.in_sync


def test_a_beginning_behind_one_byte_of_noise_stalls_as_one():
    receiver, _, rejects = made()
    receiver.feed(b"." + EMPTY[:20], 0.0)
    receiver.poll(STALL)
    assert rejects == {Reject.STALL: 2, Reject.NOISE: 1}


def test_a_damaged_header_is_searched_at_once():
    receiver, _, rejects = made()
    receiver.feed(padded(MAGIC, HEADER_BYTES), 0.0)
    assert rejects == {Reject.HEADER_CRC: 1, Reject.NOISE: 1}
    assert not receiver.inside


def test_a_packet_that_stalled_is_settled():
    receiver, _, _ = made()
    receiver.feed(lab.packet(lab.LOG, b"", 0) + lab.packet(lab.LOG, b"payload", 1)[:-1], 0.0)
    assert (receiver.last_sequence, receiver.settled_sequence) == (1, 0)
    receiver.poll(STALL)
    assert (receiver.last_sequence, receiver.settled_sequence) == (1, 1)


def test_packets_that_were_received_elsewhere_count_as_received():
    receiver, sink, rejects = made()
    assert receiver.header is None
    receiver.feed(lab.packet(lab.LOG, b"", 0xFFFFFFFE), 0.0)
    receiver.passed(3, 3 * HEADER_BYTES, 5.0)
    assert (receiver.last_sequence, receiver.settled_sequence, receiver.lost) == (1, 1, 0)
    # Time is counted from then.
    receiver.feed(lab.packet(lab.LOG, b"x", 2)[:-1], 5.0)
    assert receiver.header is not None
    receiver.feed(b"x", 5.0)
    assert receiver.header is None
    assert len(sink.got) == 2
    assert not rejects


def test_time_passes_with_packets_that_were_received_elsewhere():
    receiver, _, rejects = made()
    receiver.feed(lab.packet(lab.LOG, b"", 0), 0.0)
    receiver.feed(lab.packet(lab.LOG, b"", 1)[:5], 0.0)
    receiver.passed(1, HEADER_BYTES, 5.0)
    receiver.poll(5.0 + STALL - 0.001)
    assert not rejects


@pytest.mark.parametrize(("count", "found"), [(39, 0), (40, 1), (SEARCH, 1)])
def test_packets_that_were_received_elsewhere_may_be_searched_for_as_long(count, found):
    receiver, sink, _ = made()
    spent(receiver)
    receiver.passed(1, count, 0.0)
    # What is received for it, its header, is of use as well; at most SEARCH in all.
    receiver.feed(damaged(damaged(padded(EMPTY, 80), 4), 3), 0.0)
    assert len(sink.got) == found


def test_a_payload_is_sound_once_its_bytes_are_there():
    receiver, sink, rejects = made()
    assert receiver.sound is False
    data = lab.packet(lab.LOG, b"payload", 0)
    receiver.feed(data[:HEADER_BYTES], 0.0)
    assert receiver.sound is False
    buffer = receiver.buffers()[0]
    buffer[:] = data[HEADER_BYTES:]
    assert receiver.sound is True
    # Whoever has looked need not have it looked at again.
    receiver.received(len(buffer), 0.0, checked=True)
    assert [got[1] for got in sink.got] == [b"payload"]
    assert not rejects


@pytest.mark.parametrize("checked", [True, False])
def test_a_payload_that_is_said_to_be_sound_is_not_checked(checked):
    receiver, sink, rejects = made()
    receiver.feed(damaged(b"payload", 0)[:HEADER_BYTES], 0.0)
    buffer = receiver.buffers()[0]
    buffer[:] = b"payload"
    receiver.received(len(buffer), 0.0, checked)
    assert len(sink.got) == checked
    assert rejects[Reject.PAYLOAD_CRC] == (not checked)
