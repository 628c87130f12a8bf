"""Packets out of streams that are cut anyhow and damaged anyhow, on the host and on the module."""

from __future__ import annotations

import binascii
import tracemalloc
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensfw import framing
from lenslink_protocol.framing import Receiver, encode_packet
from lenslink_protocol.ids import DiscardReason, MessageType
from lenslink_protocol.messages import MAGIC
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, STALL_MS

NONCE = 0x0BADF00D
STALE = 0x0DDBA115


@dataclass(frozen=True)
class Packet:
    """What was sent, and its bytes."""

    kind: int
    sequence: int
    payload: bytes
    data: bytes


def packets(kinds: st.SearchStrategy[int], first: st.SearchStrategy[int]):
    """Packets in order of their sequence, with nasty payloads."""
    stale = encode_packet(MessageType.LOG, b"old", nonce=STALE, sequence=7)
    old = encode_packet(MessageType.LOG, b"old", nonce=NONCE, sequence=0xFFFF0000)
    nasty = st.sampled_from([MAGIC, MAGIC[:3], stale, stale[:40], stale[:20], old, b"\x8a", b""])
    payload = st.lists(nasty | st.binary(max_size=60), max_size=4).map(b"".join)

    def number(drawn):
        start, pairs = drawn
        made = []
        for at, (kind, body) in enumerate(pairs):
            sequence = (start + at) & 0xFFFFFFFF
            data = encode_packet(kind, body, nonce=NONCE, sequence=sequence)
            made.append(Packet(kind, sequence, body, data))
        return made

    pairs = st.lists(st.tuples(kinds, payload), min_size=1, max_size=10)
    return st.tuples(first, pairs).map(number)


ANY = packets(
    st.sampled_from([MessageType.TILE, MessageType.LOG, 0xE0]), st.sampled_from([0, 5, 0xFFFFFFFA])
)
CUTS = st.lists(st.integers(1, 90), min_size=1, max_size=20)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    """*data* in pieces of those lengths, again and again."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        length = cuts[turn % len(cuts)]
        pieces.append(data[at : at + length])
        at += length
        turn += 1
    return pieces


class Frame:
    """A sink that places tiles in its own memory, as a frame does, or not."""

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place
        self.out: list[tuple[int, int, bytes]] = []

    def reserve_buffer(self, header):
        return memoryview(bytearray(b"\xee" * header.length)) if self.in_place else None

    def on_packet(self, header, payload, in_place):
        assert in_place == (self.in_place and header.type == MessageType.TILE)
        self.out.append((header.type, header.sequence, bytes(payload)))


def on_host(pieces: list[bytes], in_place: bool = True):
    """What comes out of a host's receiver, the silence afterwards included."""
    sink, discards = Frame(in_place), Counter[DiscardReason]()
    receiver = Receiver(sink, NONCE, discards)
    for piece in pieces:
        receiver.feed(piece, 0.0)
    now = 0.0
    for _ in range(10000):
        if not receiver.is_inside_packet:
            break
        now += STALL_MS / 1000
        receiver.poll(now)
    assert not receiver.is_inside_packet, "it gives up in the end"
    return sink.out, discards


def on_module(pieces: list[bytes]):
    """The same of a module's receiver."""
    discards: dict[str, int] = {}
    receiver = framing.Receiver(discards)
    out = []
    now = 0

    def take():
        while (found := receiver.parse_packet(now)) is not None:
            out.append((found[0][2], found[0][6], bytes(found[1])))

    for piece in pieces:
        rest = piece
        while rest:
            space = receiver.get_space()
            assert len(space)
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            receiver.add_received(count, now)
            rest = rest[count:]
            take()
    for _ in range(2500):
        now += STALL_MS * 1000
        take()
    return out, discards


def expected(sent: list[Packet]):
    return [(packet.kind, packet.sequence, packet.payload) for packet in sent]


@given(ANY, CUTS, st.booleans())
def test_the_host_receives_packets_however_their_bytes_are_cut(sent, cuts, in_place):
    data = b"".join(packet.data for packet in sent)
    out, discards = on_host(chunks(data, cuts), in_place)
    assert out == expected(sent)
    assert not discards


@given(ANY, CUTS)
def test_the_module_receives_packets_however_their_bytes_are_cut(sent, cuts):
    data = b"".join(packet.data for packet in sent)
    out, discards = on_module(chunks(data, cuts))
    assert out == expected(sent)
    assert not discards


@dataclass(frozen=True)
class Damage:
    """What happens to the bytes [start, start + length)."""

    what: str
    start: int
    length: int
    filling: bytes


def damages(first: int, size: int):
    return st.builds(
        Damage,
        st.sampled_from(["flip", "delete", "insert", "duplicate"]),
        st.integers(first, size - 1),
        st.integers(1, 70),
        st.binary(min_size=1, max_size=50) | st.sampled_from([MAGIC, MAGIC[:2]]),
    )


@st.composite
def damaged_streams(draw):
    """(packets, the stream as it arrives, which of them damage touched)."""
    sent = draw(ANY.filter(lambda packets: len(packets) > 1))
    data = b"".join(packet.data for packet in sent)
    # Before the first packet of a session none is old: it arrives.
    plan = draw(st.lists(damages(len(sent[0].data), len(data)), min_size=1, max_size=3))
    touched = set()
    bounds = []
    at = 0
    for packet in sent:
        bounds.append((at, at + len(packet.data)))
        at += len(packet.data)
    # Each byte of the stream as it becomes; damage in the order of its places does not overlap.
    out, at = bytearray(), 0
    for damage in sorted(plan, key=lambda d: d.start):
        if damage.start < at:
            continue
        end = min(damage.start + damage.length, len(data))
        out += data[at : damage.start]
        span = data[damage.start : end]
        first, last = damage.start, end
        if damage.what == "flip":
            out += bytes(byte ^ (damage.filling[0] or 1) for byte in span)
        elif damage.what == "insert":
            out += damage.filling + span
            last = first
        elif damage.what == "duplicate":
            out += span + span
            first = last
        at = end
        for number, (begin, stop) in enumerate(bounds):
            if first == last:  # between two bytes
                if begin < first < stop:
                    touched.add(number)
            elif first < stop and begin < last:
                touched.add(number)
    out += data[at:]
    return sent, bytes(out), touched


def check_damaged(stream, out, discards):
    sent, data, touched = stream
    whole = expected(sent)
    # Nothing comes out that was not sent, nothing twice, nothing out of order.
    remaining = iter(whole)
    for item in out:
        assert item in remaining, "not sent, or not in this order"
    for number, item in enumerate(whole):
        if number not in touched and number - 1 not in touched:
            assert item in out, number
    # What arrived and was not used is counted.
    used = b"".join(packet.data for packet, item in zip(sent, whole, strict=True) if item in out)
    if used == data:
        assert not discards
    elif not data.startswith(used) or len(data) > len(used) + 3:
        # Three bytes at the very end may become a magic yet.
        assert sum(discards.values())


@given(damaged_streams(), CUTS, st.booleans())
def test_damage_costs_the_host_only_the_packets_that_it_touches(stream, cuts, in_place):
    out, discards = on_host(chunks(stream[1], cuts), in_place)
    check_damaged(stream, out, discards)


@given(damaged_streams(), CUTS)
def test_damage_costs_the_module_only_the_packets_that_it_touches(stream, cuts):
    out, discards = on_module(chunks(stream[1], cuts))
    # The module's receiver leaves nonces and sequences to its link.
    ghosts = {(MessageType.LOG, 7, b"old"), (MessageType.LOG, 0xFFFF0000, b"old")}
    seen: set[int] = set()
    fresh = []
    for item in out:
        late = any((item[1] - other) & 0xFFFFFFFF >= 1 << 31 for other in seen)
        if item in ghosts or item[1] in seen or late:
            discards["by the link"] = 1
        else:
            fresh.append(item)
            seen.add(item[1])
    check_damaged(stream, fresh, discards)


@given(damaged_streams(), CUTS)
def test_both_interpreters_receive_the_same(twin, stream, cuts):
    pieces = chunks(stream[1], cuts)
    out, discards = on_module(pieces)
    theirs, their_discards = twin.ask("receive", [piece.hex() for piece in pieces], 0)
    assert [[kind, number, payload.hex()] for kind, number, payload in out] == theirs
    assert discards == their_discards


@given(st.binary(max_size=400), CUTS)
def test_arbitrary_bytes_are_no_packet(data, cuts):
    assert on_host(chunks(data, cuts))[0] == []
    assert on_module(chunks(data, cuts))[0] == []


@pytest.mark.parametrize("announced", [60000, 65536])
def test_the_hosts_memory_is_bounded(announced):
    """A hostile module: sound headers of payloads that are more of the same, and never sound."""
    head = encode_packet(MessageType.TILE, b"", nonce=NONCE, sequence=1)[:32]
    evil = b"".join(
        seal(head[:12] + number.to_bytes(4, "little") + head[16:28], announced)
        for number in range(1, 800)
    )
    sink, discards = Frame(in_place=False), Counter[DiscardReason]()
    receiver = Receiver(sink, NONCE, discards, max_payload=65536)
    tracemalloc.start()
    try:
        for _ in range(20):
            for piece in chunks(evil, [4096]):
                receiver.feed(piece, 0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.out == []
    assert discards[DiscardReason.PAYLOAD_CRC] > 5
    # Payload, backlog and a copy of each on the way.
    assert peak < 8 * 65536


def seal(start: bytes, length: int) -> bytes:
    """A header with that length and a payload CRC that nothing has."""
    body = start + length.to_bytes(4, "little") + b"\xde\xad\xbe\xef"
    assert len(body) == HEADER_BYTES - 4
    return body + binascii.crc32(body).to_bytes(4, "little")


def test_a_module_keeps_no_more_than_two_packets():
    receiver = framing.Receiver({})
    assert len(receiver.get_space()) == 2 * (HEADER_BYTES + MAX_CONTROL)
