"""Faults do what their plan says, on virtual and on real time, and the same each time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from helpers.slowdown import patience
from helpers.virtual_sessions import FaultHarness

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected
from lenslink_hil.faults.fault_plan import (
    DAMAGE,
    Damage,
    Direction,
    Fault,
    FaultPlan,
    Kind,
    Plug,
    random_plan,
)
from lenslink_hil.faults.faulty_link import FaultyTransport, faulty_lines
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.params import HEADER_BYTES

UP, DOWN = Direction.UP, Direction.DOWN


def packet(number: int, size: int = 20) -> bytes:
    return encode_packet(0xE0, bytes([number]) * size, nonce=1, sequence=number)


PACKETS = [packet(number) for number in range(4)]
STREAM = b"".join(PACKETS)
SIZE = len(PACKETS[0])


def carried(*faults: Fault, chunk: int = len(STREAM)) -> tuple[Damage, list[bytes]]:
    damage = Damage(faults)
    pieces = []
    for at in range(0, len(STREAM), chunk):
        pieces += [bytes(piece.data) for piece in damage.feed(STREAM[at : at + chunk])]
    return damage, pieces


CASES = [
    ((), STREAM, set()),
    ((Fault(Kind.DROP, UP, 5, count=3),), STREAM[:5] + STREAM[8:], {0}),
    ((Fault(Kind.DROP, UP, 0, packet=1),), STREAM[:SIZE] + STREAM[2 * SIZE :], {1}),
    ((Fault(Kind.DROP, UP, SIZE - 1, count=2),), STREAM[: SIZE - 1] + STREAM[SIZE + 1 :], {0, 1}),
    ((Fault(Kind.TRUNCATE, UP, 50, packet=2),), STREAM[: 2 * SIZE + 50] + STREAM[3 * SIZE :], {2}),
    (
        (Fault(Kind.FLIP, UP, 7, packet=3, mask=0x81),),
        STREAM[: 3 * SIZE + 7] + bytes([STREAM[3 * SIZE + 7] ^ 0x81]) + STREAM[3 * SIZE + 8 :],
        {3},
    ),
    ((Fault(Kind.INSERT, UP, SIZE, data="0102"),), STREAM[:SIZE] + b"\1\2" + STREAM[SIZE:], set()),
    ((Fault(Kind.INSERT, UP, 9, data="ff"),), STREAM[:9] + b"\xff" + STREAM[9:], {0}),
    (
        (Fault(Kind.DUPLICATE, UP, 0, packet=1),),
        STREAM[: 2 * SIZE] + PACKETS[1] + STREAM[2 * SIZE :],
        set(),
    ),
    (
        (Fault(Kind.DUPLICATE, UP, 10, count=5),),
        STREAM[:15] + STREAM[10:15] + STREAM[15:],
        {0},
    ),
    ((Fault(Kind.UNPLUG, UP, 61),), STREAM[:61], set()),
    ((Fault(Kind.CUT, UP, 0, packet=2),), STREAM[: 2 * SIZE], set()),
    # Beyond its packet's end it does not happen; the next one does not move.
    (
        (Fault(Kind.FLIP, UP, 99, packet=0), Fault(Kind.DROP, UP, 0, packet=3)),
        STREAM[: 3 * SIZE],
        {3},
    ),
    # What one removes moves no other.
    (
        (Fault(Kind.DROP, UP, 0, packet=0), Fault(Kind.FLIP, UP, SIZE, mask=255)),
        bytes([STREAM[SIZE] ^ 255]) + STREAM[SIZE + 1 :],
        {0, 1},
    ),
]


@pytest.mark.parametrize("chunk", [1, 7, HEADER_BYTES, SIZE, len(STREAM)])
@pytest.mark.parametrize(("faults", "arrives", "touched"), CASES)
def test_what_arrives(
    faults: tuple[Fault, ...], arrives: bytes, touched: set[int], chunk: int
) -> None:
    damage, pieces = carried(*faults, chunk=chunk)
    assert b"".join(pieces) == arrives
    assert damage.damaged_packets == touched


def test_split_and_stall_change_no_byte() -> None:
    damage, pieces = carried(Fault(Kind.SPLIT, UP, 3), Fault(Kind.STALL, UP, 61, seconds=1))
    assert [len(piece) for piece in pieces] == [3, 58, len(STREAM) - 61]
    assert b"".join(pieces) == STREAM
    assert not damage.damaged_packets
    assert damage.stalled_packets == {1}
    stalled = Damage([Fault(Kind.STALL, UP, 0, seconds=1)]).feed(STREAM)
    assert [piece.pause for piece in stalled] == [1]


def test_a_plan_is_what_it_prints() -> None:
    for seed in range(200):
        plan = random_plan(seed, (20, 5), kinds=(*DAMAGE, *Kind))
        assert FaultPlan.from_json(plan.to_json()) == plan
        assert random_plan(seed, (20, 5), kinds=(*DAMAGE, *Kind)) == plan


@pytest.mark.parametrize(
    "text", ["", "{}", '{"seed": 1, "faults": [{"kind": "no", "direction": "up", "at": 1}]}']
)
def test_no_plan(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        FaultPlan.from_json(text)


def test_a_session_fails_the_same_way_twice() -> None:
    plan = random_plan(7, (20, 8), most=6)
    assert FaultHarness().session(plan) == FaultHarness().session(plan)


def test_rate_latency_and_stall_on_virtual_time() -> None:
    plan = FaultPlan(
        (
            Fault(Kind.RATE, UP, 0, packet=1, rate=SIZE),
            Fault(Kind.RATE, UP, 0, packet=2),
            Fault(Kind.LATENCY, UP, 0, packet=2, seconds=5),
            Fault(Kind.STALL, UP, 0, packet=3, seconds=10),
        )
    )
    up, _ = faulty_lines(plan, SIZE * 1e6, 0.5)
    arrivals = [at for each in PACKETS for at, _ in up.carry(each, 0.0)]
    assert arrivals == pytest.approx([0.5, 1.5, 6.5, 16.5], abs=1e-3)


def test_an_unplugged_line_is_dead_both_ways() -> None:
    up, down = faulty_lines(FaultPlan((Fault(Kind.UNPLUG, UP, 10),)), 1e6, 0)
    assert down.carry(b"before", 0)
    assert b"".join(data for _, data in up.carry(PACKETS[0], 0)) == PACKETS[0][:10]
    assert up.plug.is_pulled
    assert not down.carry(b"after", 1)
    assert not up.carry(PACKETS[1], 1)


def test_a_cut_lane_leaves_the_others() -> None:
    plug = Plug()
    plan = FaultPlan((Fault(Kind.CUT, UP, 0, lane=1),))
    (one, _), (two, two_down) = (faulty_lines(plan, 1e6, 0, lane, plug) for lane in (0, 1))
    assert not two.carry(PACKETS[0], 0)
    assert not two_down.carry(PACKETS[0], 0)
    assert one.carry(PACKETS[0], 0)


class Recorder:
    """A transport that hands out what it was given to."""

    private = True
    note = None

    def __init__(self, incoming: bytes) -> None:
        self.incoming = incoming
        self.sent = b""
        self.closed = False

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if self.closed:
            raise Disconnected("closed")
        if not self.incoming:
            time.sleep(seconds)
            return 0
        part, self.incoming = self.incoming[: len(buffers[0])], self.incoming[len(buffers[0]) :]
        buffers[0][: len(part)] = part
        return len(part)

    def send(self, data: bytes, deadline: Deadline) -> None:
        assert deadline.remaining() > 0
        self.sent += data

    def close(self) -> None:
        self.closed = True


def read(transport: FaultyTransport, seconds: float = 0.0) -> bytes:
    buffers = [memoryview(bytearray(30)), memoryview(bytearray(HEADER_BYTES))]
    count = transport.receive_into(buffers, seconds)
    return b"".join(buffers)[:count]


def test_a_transport_with_faults() -> None:
    plan = FaultPlan(
        (
            Fault(Kind.DROP, UP, 0, packet=1),
            Fault(Kind.SPLIT, UP, 5, packet=2),
            Fault(Kind.STALL, UP, 0, packet=3, seconds=0.05),
            Fault(Kind.UNPLUG, UP, 50, packet=3),
            Fault(Kind.FLIP, DOWN, 0, mask=255),
            Fault(Kind.STALL, DOWN, 0, packet=1, seconds=0.02),
        )
    )
    inner = Recorder(STREAM)
    transport = FaultyTransport(inner, plan)
    began = time.monotonic()
    transport.send(PACKETS[0], Deadline(1))
    transport.send(PACKETS[1], Deadline(1))
    assert inner.sent == bytes([PACKETS[0][0] ^ 255]) + PACKETS[0][1:]
    got = []
    while sum(map(len, got)) < 2 * SIZE + 50:
        got.append(read(transport, 0.5))
        assert time.monotonic() - began < patience(0.5)
    assert time.monotonic() - began > 0.05
    assert b"".join(got) == PACKETS[0] + PACKETS[2] + PACKETS[3][:50]
    # Where it was split, two reads; a piece is never joined with the next.
    assert SIZE + 5 in [sum(map(len, got[:n])) for n in range(len(got))]
    assert inner.sent[SIZE:] == PACKETS[1]
    for _ in range(2):
        with pytest.raises(Disconnected, match="unplugged"):
            read(transport, 1)
    with pytest.raises(Disconnected):
        transport.send(b"more", Deadline(1))
    assert inner.closed


def test_a_transport_without_faults_waits_no_longer_than_it_was_told() -> None:
    transport = FaultyTransport(Recorder(b""), FaultPlan())
    began = time.monotonic()
    assert read(transport, 0.02) == b""
    assert time.monotonic() - began < patience(0.2)
    transport.close()
    with pytest.raises(Disconnected):
        read(transport)


def test_unplugged_on_the_way_down() -> None:
    inner = Recorder(b"")
    transport = FaultyTransport(inner, FaultPlan((Fault(Kind.UNPLUG, DOWN, 60, packet=1),)))
    transport.send(PACKETS[0], Deadline(1))
    transport.send(PACKETS[1][:10], Deadline(1))
    transport.send(PACKETS[1][10:], Deadline(1))
    # After the last byte of that packet nothing is left that could be byte 60 of it.
    assert inner.sent == PACKETS[0] + PACKETS[1]
    transport = FaultyTransport(inner, FaultPlan((Fault(Kind.UNPLUG, DOWN, 59, packet=1),)))
    with pytest.raises(Disconnected):
        transport.send(PACKETS[0] + PACKETS[1], Deadline(1))
