"""Where a board's transfers meet a host's: packets, short ones, halts, resets, unlinks."""

from __future__ import annotations

import random
import struct

import pytest
from helpers.usb_device import DEVICE, IN, OUT, Harness, configuration, endpoint

from lenslink_hil.usbip.cable import HEADER, RECORD, Kind, record
from lenslink_hil.usbip.descriptors import Malformed
from lenslink_hil.usbip.device import Board
from lenslink_hil.usbip.protocol import ECONNRESET, ENODEV, ENOENT, EOVERFLOW, EPIPE, EREMOTEIO

GET_STATUS, CLEAR_FEATURE, SET_FEATURE, GET_DESCRIPTOR = 0, 1, 3, 6


def done(bench: Harness) -> list[int]:
    """Bytes of each transfer of the board that has ended."""
    return [value for kind, _, _, value, _ in bench.heard() if kind == Kind.DONE]


@pytest.mark.parametrize("packet", [64, 512])
@pytest.mark.parametrize("length", [1, 511, 512, 513, 1024, 65023, 65024])
def test_a_transfer_of_any_length_arrives(packet: int, length: int) -> None:
    bench = Harness(packet)
    data = random.Random(length).randbytes(length)
    bench.heard()
    number = bench.read(1 << 17)
    bench.arm(data)
    if length % packet == 0:
        # No packet was short: the host goes on to wait.
        assert bench.ended == []
        bench.arm(b"")
    assert bench.ended == [(number, 0, data)]
    assert done(bench) == ([length] if length % packet else [length, 0])


@pytest.mark.parametrize("packet", [64, 512])
def test_a_host_that_reads_in_pieces(packet: int) -> None:
    bench = Harness(packet)
    data = random.Random(1).randbytes(3 * packet + 5)
    bench.arm(data)
    assert done(bench)[-1:] != [len(data)]
    for _ in range(2):
        bench.read(2 * packet)
    assert [got for _, _, got in bench.ended] == [data[: 2 * packet], data[2 * packet :]]
    assert done(bench) == [len(data)]


def test_several_transfers_of_the_board_fill_one_of_the_host() -> None:
    bench = Harness()
    number = bench.read(256)
    for value in range(4):
        bench.arm(bytes([value]) * 64)
    assert bench.ended == [(number, 0, bytes([0]) * 64 + b"\1" * 64 + b"\2" * 64 + b"\3" * 64)]


def test_a_packet_that_is_longer_than_the_buffer_overflows() -> None:
    bench = Harness()
    bench.arm(b"x" * 100)
    first, second = bench.read(32), bench.read(64)
    assert bench.ended == [(first, -EOVERFLOW, b""), (second, 0, b"x" * 36)]


def test_a_host_that_wants_all_or_an_error() -> None:
    """Linux' URB_SHORT_NOT_OK."""
    bench = Harness()
    first, second = bench.read(128, 1), bench.read(3, 1)
    bench.arm(b"abc")
    bench.arm(b"def")
    assert bench.ended == [(first, -EREMOTEIO, b"abc"), (second, 0, b"def")]


def test_nothing_moves_for_a_host_that_does_not_read() -> None:
    bench = Harness()
    bench.heard()
    bench.arm(b"x" * 1000)
    assert bench.heard() == [] and bench.ended == []


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 511, 512, 513, 1024])
def test_what_the_host_writes(length: int) -> None:
    """It ends with a short packet; one that fills its last packet is heard with an empty one."""
    bench = Harness()
    bench.heard()
    data = random.Random(length).randbytes(length)
    number = bench.write(data)
    assert bench.ended == []
    bench.listen(1088)
    assert bench.ended == [(number, 0, data)]
    if length and length % 64 == 0:
        assert bench.heard() == []
        bench.write(b"")
    kind, address, _, value, got = bench.heard()[0]
    assert (kind, address, value, got) == (Kind.DONE, OUT, length, data)


def test_an_empty_packet_by_linux_own_flag() -> None:
    bench = Harness()
    bench.heard()
    bench.write(b"y" * 128, 0x40)
    bench.listen(1088)
    assert [(each[3], each[4]) for each in bench.heard()] == [(128, b"y" * 128)]
    assert len(bench.ended) == 1


def test_a_long_write_fills_several_transfers_of_the_board() -> None:
    bench = Harness()
    bench.heard()
    number = bench.write(b"z" * 150)
    for _ in range(2):
        bench.listen(64)
    assert bench.ended == []
    bench.listen(64)
    assert [each[3] for each in bench.heard()] == [64, 64, 22]
    assert bench.ended == [(number, 0, b"z" * 150)]


def test_unlink_of_what_has_not_moved() -> None:
    bench = Harness()
    first, second = bench.read(64), bench.read(64)
    assert bench.board.unlink(first) == -ECONNRESET
    bench.arm(b"a")
    assert bench.ended == [(second, 0, b"a")]
    # Too late, or never known.
    assert bench.board.unlink(second) == 0
    assert bench.board.unlink(99) == 0


def test_unlink_of_what_has_moved_in_part_keeps_the_bytes() -> None:
    bench = Harness()
    number = bench.read(4096)
    bench.arm(b"a" * 64)
    assert bench.ended == []
    assert bench.board.unlink(number) == 0
    assert bench.ended == [(number, 0, b"a" * 64)]
    number = bench.write(b"b" * 300)
    bench.listen(64)
    assert bench.board.unlink(number) == 0
    assert bench.ended[-1] == (number, 0, b"b" * 64)


def test_a_halt_ends_what_waits_and_drops_what_is_armed() -> None:
    bench = Harness()
    number, old = bench.read(64), bench.generation
    bench.heard()
    assert bench.control(0x02, SET_FEATURE, 0, IN) == (0, b"")
    assert (number, -EPIPE, b"") in bench.ended
    assert [each[:2] + each[3:4] for each in bench.heard()] == [(Kind.HALT, IN, 1)]
    assert bench.control(0x82, GET_STATUS, 0, IN, 2) == (0, b"\1\0")
    assert bench.read(64) == bench.ended[-1][0] and bench.ended[-1][1] == -EPIPE
    assert bench.control(0x02, CLEAR_FEATURE, 0, IN) == (0, b"")
    assert bench.control(0x82, GET_STATUS, 0, IN, 2) == (0, b"\0\0")
    bench.ended.clear()
    # Armed before the board knew.
    bench.arm(b"old", old)
    number = bench.read(64)
    assert bench.ended == []
    bench.arm(b"new")
    assert bench.ended == [(number, 0, b"new")]


def test_the_board_may_halt_too() -> None:
    bench = Harness()
    bench.board.received(Kind.STALL, IN, bench.generation, 1, b"")
    bench.read(64)
    assert bench.ended[-1][1] == -EPIPE
    bench.board.received(Kind.STALL, IN, bench.generation, 0, b"")
    bench.arm(b"a")
    bench.read(64)
    assert bench.ended[-1][1:] == (0, b"a")


def test_a_reset_ends_everything_and_unconfigures() -> None:
    bench = Harness()
    old = bench.generation
    number = bench.read(64)
    bench.heard()
    assert bench.control(0x23, SET_FEATURE, 4, 0) == (0, b"")
    assert (number, -ECONNRESET, b"") in bench.ended
    assert [each[0] for each in bench.heard()] == [Kind.RESET]
    assert bench.control(0x80, 8, 0, 0, 1) == (0, b"\0")
    bench.read(64)
    assert bench.ended[-1][1] == -ENOENT
    bench.control(0x00, 9, 1, 0)
    assert [each[0] for each in bench.heard()] == [Kind.OPEN]
    bench.arm(b"old", old)
    number = bench.read(64)
    assert bench.ended[-1][1] == 0 and bench.ended[-1][0] != number


def test_configured_again_is_anew() -> None:
    bench = Harness()
    bench.heard()
    number, old = bench.read(64), bench.generation
    bench.control(0x00, 9, 1, 0)
    assert (number, -ECONNRESET, b"") in bench.ended
    assert [each[0] for each in bench.heard()] == [Kind.RESET, Kind.OPEN]
    assert bench.generation != old


def test_standard_requests() -> None:
    bench = Harness()
    whole = configuration()
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0100, 0, 255) == (0, DEVICE)
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0200, 0, 9) == (0, whole[:9])
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0200, 0, 512) == (0, whole)
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0300, 0, 255) == (0, b"\4\3\x09\4")
    serial = bytes((6, 3)) + "S1".encode("utf-16-le")
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0303, 0x0409, 255) == (0, serial)
    assert bench.control(0x80, 8, 0, 0, 1) == (0, b"\1")
    assert bench.control(0x80, GET_STATUS, 0, 0, 2) == (0, b"\0\0")
    assert bench.control(0x81, GET_STATUS, 0, 0, 2) == (0, b"\0\0")
    assert bench.control(0x81, 10, 0, 0, 1) == (0, b"\0")
    assert bench.control(0x01, 11, 0, 0) == (0, b"")


@pytest.mark.parametrize(
    "setup",
    [
        (0x80, GET_DESCRIPTOR, 0x0302, 0, 255),  # no such string
        (0x80, GET_DESCRIPTOR, 0x0600, 0, 10),  # device qualifier: full speed only
        (0x80, GET_DESCRIPTOR, 0x0F00, 0, 5),  # BOS
        (0x80, GET_DESCRIPTOR, 0x0201, 0, 9),  # no second configuration
        (0x00, 9, 2, 0),  # nor its value
        (0x01, 11, 1, 0),  # no second setting
        (0x81, 10, 0, 5, 1),  # no such interface
        (0x82, GET_STATUS, 0, 0x85, 2),  # no such endpoint
        (0x02, SET_FEATURE, 0, 0x85),
        (0x02, SET_FEATURE, 1, IN),  # no such feature
        (0xC0, 1, 0, 0, 4),  # vendor requests never reach Python
        (0xA0, 1, 0, 0, 4),  # nor do class requests to the device
    ],
)
def test_what_is_refused(setup: tuple[int, ...]) -> None:
    assert Harness().control(*setup) == (-EPIPE, b"")  # type: ignore[arg-type]


def test_class_requests_are_the_boards() -> None:
    bench = Harness()
    bench.heard()
    assert bench.control(0x21, 0x20, 0, 0, b"1234567") is None
    # One after the other: the second waits for the first.
    assert bench.control(0xA1, 0x21, 0, 0, 7) is None
    [(kind, _, generation, _, payload)] = bench.heard()
    assert kind == Kind.CONTROL
    assert payload == struct.pack("<BBHHH", 0x21, 0x20, 0, 0, 7) + b"1234567"
    bench.board.received(Kind.REPLY, 0, generation, 1, b"")
    assert bench.ended[-1][1] == 0
    assert bench.heard()[0][4] == struct.pack("<BBHHH", 0xA1, 0x21, 0, 0, 7)
    bench.board.received(Kind.REPLY, 0, generation, 1, b"7654321 and more")
    assert bench.ended[-1][1:] == (0, b"7654321")
    bench.control(0x21, 0x99, 0, 0)
    bench.board.received(Kind.REPLY, 0, generation, 0, b"")
    assert bench.ended[-1][1] == -EPIPE


def test_an_answer_from_before_a_reset_is_none() -> None:
    bench = Harness()
    bench.control(0xA1, 0x21, 0, 0, 7)
    old = bench.heard()[-1][2]
    bench.board.reset()
    assert bench.ended[-1][1] == -ECONNRESET
    count = len(bench.ended)
    bench.board.received(Kind.REPLY, 0, old, 1, b"late")
    assert len(bench.ended) == count


def test_an_unlinked_request_leaves_its_answer_to_nobody() -> None:
    bench = Harness()
    bench.control(0xA1, 0x21, 0, 0, 7)
    generation = bench.heard()[-1][2]
    assert bench.board.unlink(bench.seqnum) == -ECONNRESET
    assert bench.control(0xA1, 0x21, 0, 0, 7) is None
    count = len(bench.ended)
    bench.board.received(Kind.REPLY, 0, generation, 1, b"first")
    assert len(bench.ended) == count
    bench.board.received(Kind.REPLY, 0, generation, 1, b"second")
    assert bench.ended[-1][1:] == (0, b"second")


def test_a_bus_with_a_rate() -> None:
    """On virtual time: what is taken in a second is the rate, whatever the timers' delay."""
    bench = Harness(64, 100_000.0)
    chance = random.Random(3)
    now, moved = 0.0, 0
    while now < 1.0:
        bench.arm(bytes(64 * 30))
        bench.read(64 * 30)
        due = bench.board.run(now)
        assert due is None or due > now
        moved = sum(len(got) for _, status, got in bench.ended if not status)
        now = (due or now) + chance.random() * 0.004
    assert moved == pytest.approx(100_000, rel=0.1)


def test_records_are_as_defined() -> None:
    data = record(Kind.DONE, 0x83, 65535, 1024, b"abc")
    parsed = RECORD.parse(data)
    assert parsed.header.kind == Kind.DONE and parsed.payload == b"abc"
    assert (parsed.header.generation, parsed.header.value) == (65535, 1024)
    assert HEADER.build(parsed.header) == data[: HEADER.sizeof()]


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        DEVICE,
        DEVICE[:17] + b"\2" + configuration(),  # two configurations
        DEVICE + configuration()[:-1],
        DEVICE + configuration(100),  # bulk packets of 100 bytes
        DEVICE + configuration(64, endpoint(IN, 64)),  # twice the same endpoint
        DEVICE + configuration(64, endpoint(0x80, 64)),
        DEVICE + configuration(64, endpoint(0x84, 0, 3)),
        DEVICE + configuration(64, b"\0\0\0"),
        DEVICE + configuration(64, b"\x09\x05\x84"),
        DEVICE + struct.pack("<BBHBBBBB", 9, 2, 65535, 1, 1, 0, 0x80, 125),
    ],
)
def test_descriptors_that_no_host_would_take(blob: bytes) -> None:
    with pytest.raises(Malformed):
        Board(lambda _: None).received(Kind.ATTACH, 0, 0, 2, blob)


@pytest.mark.parametrize("speed", [0, 1, 5])
def test_speeds_that_there_are_not(speed: int) -> None:
    with pytest.raises(Malformed):
        Board(lambda _: None).received(Kind.ATTACH, 0, 0, speed, DEVICE + configuration())


def test_attached_twice() -> None:
    with pytest.raises(Malformed):
        Harness().board.received(Kind.ATTACH, 0, 0, 2, DEVICE + configuration())


def test_a_board_that_is_not_attached_has_no_endpoints() -> None:
    bench = Harness()
    bench.board.received(Kind.DETACH, 0, 0, 0, b"")
    bench.read(64)
    assert bench.ended[-1][1] == -ENODEV
    assert bench.control(0x80, GET_DESCRIPTOR, 0x0100, 0, 18) == (-ENODEV, b"")


def test_a_record_of_no_kind() -> None:
    with pytest.raises(Malformed):
        Harness().board.received(77, 0, 0, 0, b"")
