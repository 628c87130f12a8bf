"""The virtual device: where a board's transfers meet a host's, with halts, resets and unlinks."""

from __future__ import annotations

import random
import struct

import pytest
from helpers.usb_device import DEVICE, IN, OUT, Harness, configuration, endpoint

from lenslink_hil.usbip.cable import HEADER, RECORD, Kind, build_record
from lenslink_hil.usbip.descriptors import Malformed
from lenslink_hil.usbip.device import VirtualDevice
from lenslink_hil.usbip.endpoint import EndpointState
from lenslink_hil.usbip.protocol import ECONNRESET, ENODEV, ENOENT, EOVERFLOW, EPIPE, EREMOTEIO

GET_STATUS, CLEAR_FEATURE, SET_FEATURE, GET_DESCRIPTOR = 0, 1, 3, 6


def done_lengths(harness: Harness) -> list[int]:
    """Return the length of each transfer of the board that is done."""
    return [value for kind, _, _, value, _ in harness.take_records() if kind == Kind.DONE]


@pytest.mark.parametrize("packet", [64, 512])
@pytest.mark.parametrize("length", [1, 511, 512, 513, 1024, 65023, 65024])
def test_a_transfer_of_any_length_arrives(packet: int, length: int) -> None:
    harness = Harness(packet)
    data = random.Random(length).randbytes(length)
    harness.take_records()
    number = harness.read(1 << 17)
    harness.arm(data)
    if length % packet == 0:
        # No packet was short, so the host waits for more.
        assert harness.completions == []
        harness.arm(b"")
    assert harness.completions == [(number, 0, data)]
    assert done_lengths(harness) == ([length] if length % packet else [length, 0])


@pytest.mark.parametrize("packet", [64, 512])
def test_a_host_may_read_in_pieces(packet: int) -> None:
    harness = Harness(packet)
    data = random.Random(1).randbytes(3 * packet + 5)
    harness.arm(data)
    assert done_lengths(harness)[-1:] != [len(data)]
    for _ in range(2):
        harness.read(2 * packet)
    assert [got for _, _, got in harness.completions] == [data[: 2 * packet], data[2 * packet :]]
    assert done_lengths(harness) == [len(data)]


def test_several_transfers_of_the_board_fill_one_of_the_host() -> None:
    harness = Harness()
    number = harness.read(256)
    for value in range(4):
        harness.arm(bytes([value]) * 64)
    assert harness.completions == [
        (number, 0, bytes([0]) * 64 + b"\1" * 64 + b"\2" * 64 + b"\3" * 64)
    ]


def test_a_packet_that_is_longer_than_the_buffer_overflows() -> None:
    harness = Harness()
    harness.arm(b"x" * 100)
    first, second = harness.read(32), harness.read(64)
    assert harness.completions == [(first, -EOVERFLOW, b""), (second, 0, b"x" * 36)]


def test_a_short_read_is_an_error_if_the_host_says_so() -> None:
    """Linux' URB_SHORT_NOT_OK."""
    harness = Harness()
    first, second = harness.read(128, 1), harness.read(3, 1)
    harness.arm(b"abc")
    harness.arm(b"def")
    assert harness.completions == [(first, -EREMOTEIO, b"abc"), (second, 0, b"def")]


def test_nothing_moves_for_a_host_that_does_not_read() -> None:
    harness = Harness()
    harness.take_records()
    harness.arm(b"x" * 1000)
    assert harness.take_records() == [] and harness.completions == []


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 511, 512, 513, 1024])
def test_a_write_of_any_length_arrives(length: int) -> None:
    """A write that fills its last packet ends the board's transfer only with an empty packet."""
    harness = Harness()
    harness.take_records()
    data = random.Random(length).randbytes(length)
    number = harness.write(data)
    assert harness.completions == []
    harness.listen(1088)
    assert harness.completions == [(number, 0, data)]
    if length and length % 64 == 0:
        assert harness.take_records() == []
        harness.write(b"")
    kind, address, _, value, got = harness.take_records()[0]
    assert (kind, address, value, got) == (Kind.DONE, OUT, length, data)


def test_linux_zero_packet_flag_appends_an_empty_packet() -> None:
    harness = Harness()
    harness.take_records()
    harness.write(b"y" * 128, 0x40)
    harness.listen(1088)
    assert [(each[3], each[4]) for each in harness.take_records()] == [(128, b"y" * 128)]
    assert len(harness.completions) == 1


def test_a_long_write_fills_several_transfers_of_the_board() -> None:
    harness = Harness()
    harness.take_records()
    number = harness.write(b"z" * 150)
    for _ in range(2):
        harness.listen(64)
    assert harness.completions == []
    harness.listen(64)
    assert [each[3] for each in harness.take_records()] == [64, 64, 22]
    assert harness.completions == [(number, 0, b"z" * 150)]


def test_unlinking_a_transfer_that_has_not_moved() -> None:
    harness = Harness()
    first, second = harness.read(64), harness.read(64)
    assert harness.device.unlink(first) == -ECONNRESET
    harness.arm(b"a")
    assert harness.completions == [(second, 0, b"a")]
    # The URB has ended, or never existed.
    assert harness.device.unlink(second) == 0
    assert harness.device.unlink(99) == 0


def test_unlinking_a_transfer_keeps_the_bytes_that_have_moved() -> None:
    harness = Harness()
    number = harness.read(4096)
    harness.arm(b"a" * 64)
    assert harness.completions == []
    assert harness.device.unlink(number) == 0
    assert harness.completions == [(number, 0, b"a" * 64)]
    number = harness.write(b"b" * 300)
    harness.listen(64)
    assert harness.device.unlink(number) == 0
    assert harness.completions[-1] == (number, 0, b"b" * 64)


def test_a_halt_ends_the_urbs_and_drops_what_the_board_armed() -> None:
    harness = Harness()
    number, old = harness.read(64), harness.generation
    harness.take_records()
    assert harness.control(0x02, SET_FEATURE, 0, IN) == (0, b"")
    assert (number, -EPIPE, b"") in harness.completions
    assert [each[:2] + each[3:4] for each in harness.take_records()] == [(Kind.HALT, IN, 1)]
    assert harness.control(0x82, GET_STATUS, 0, IN, 2) == (0, b"\1\0")
    assert harness.read(64) == harness.completions[-1][0] and harness.completions[-1][1] == -EPIPE
    assert harness.control(0x02, CLEAR_FEATURE, 0, IN) == (0, b"")
    assert harness.control(0x82, GET_STATUS, 0, IN, 2) == (0, b"\0\0")
    harness.completions.clear()
    # The board armed this before it knew of the halt.
    harness.arm(b"old", old)
    number = harness.read(64)
    assert harness.completions == []
    harness.arm(b"new")
    assert harness.completions == [(number, 0, b"new")]


def test_the_states_of_an_endpoint() -> None:
    """The transition table of Endpoint, row by row."""
    harness = Harness()
    endpoint = harness.device.endpoints[IN]
    assert endpoint.state is EndpointState.IDLE
    harness.arm(b"a")
    assert endpoint.state is EndpointState.BOARD_READY
    harness.read(64)
    assert endpoint.state is EndpointState.IDLE
    harness.read(256)
    assert endpoint.state is EndpointState.HOST_WAITING
    harness.device.handle_record(Kind.ARM, IN, harness.generation, 0, b"x" * 64)
    assert endpoint.state is EndpointState.MOVING
    harness.device.move_packets(0.0)
    assert endpoint.state is EndpointState.HOST_WAITING
    endpoint.halt()
    assert endpoint.state is EndpointState.HALTED
    harness.arm(b"ignored")
    harness.read(64)
    assert harness.completions[-1][1] == -EPIPE
    endpoint.clear_halt()
    assert endpoint.state is EndpointState.IDLE


def test_the_board_can_halt_an_endpoint() -> None:
    harness = Harness()
    harness.device.handle_record(Kind.STALL, IN, harness.generation, 1, b"")
    harness.read(64)
    assert harness.completions[-1][1] == -EPIPE
    harness.device.handle_record(Kind.STALL, IN, harness.generation, 0, b"")
    harness.arm(b"a")
    harness.read(64)
    assert harness.completions[-1][1:] == (0, b"a")


def test_a_reset_ends_everything_and_unconfigures() -> None:
    harness = Harness()
    old = harness.generation
    number = harness.read(64)
    harness.take_records()
    assert harness.control(0x23, SET_FEATURE, 4, 0) == (0, b"")
    assert (number, -ECONNRESET, b"") in harness.completions
    assert [each[0] for each in harness.take_records()] == [Kind.RESET]
    assert harness.control(0x80, 8, 0, 0, 1) == (0, b"\0")
    harness.read(64)
    assert harness.completions[-1][1] == -ENOENT
    harness.control(0x00, 9, 1, 0)
    assert [each[0] for each in harness.take_records()] == [Kind.OPEN]
    harness.arm(b"old", old)
    number = harness.read(64)
    assert harness.completions[-1][1] == 0 and harness.completions[-1][0] != number


def test_a_second_configuration_makes_new_endpoints() -> None:
    harness = Harness()
    harness.take_records()
    number, old = harness.read(64), harness.generation
    harness.control(0x00, 9, 1, 0)
    assert (number, -ECONNRESET, b"") in harness.completions
    assert [each[0] for each in harness.take_records()] == [Kind.RESET, Kind.OPEN]
    assert harness.generation != old


def test_standard_requests_are_answered() -> None:
    harness = Harness()
    whole = configuration()
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0100, 0, 255) == (0, DEVICE)
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0200, 0, 9) == (0, whole[:9])
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0200, 0, 512) == (0, whole)
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0300, 0, 255) == (0, b"\4\3\x09\4")
    serial = bytes((6, 3)) + "S1".encode("utf-16-le")
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0303, 0x0409, 255) == (0, serial)
    assert harness.control(0x80, 8, 0, 0, 1) == (0, b"\1")
    assert harness.control(0x80, GET_STATUS, 0, 0, 2) == (0, b"\0\0")
    assert harness.control(0x81, GET_STATUS, 0, 0, 2) == (0, b"\0\0")
    assert harness.control(0x81, 10, 0, 0, 1) == (0, b"\0")
    assert harness.control(0x01, 11, 0, 0) == (0, b"")


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
def test_requests_that_stall(setup: tuple[int, ...]) -> None:
    assert Harness().control(*setup) == (-EPIPE, b"")  # type: ignore[arg-type]


def test_the_board_answers_class_requests() -> None:
    harness = Harness()
    harness.take_records()
    assert harness.control(0x21, 0x20, 0, 0, b"1234567") is None
    # The second request waits for the first one's answer.
    assert harness.control(0xA1, 0x21, 0, 0, 7) is None
    [(kind, _, generation, _, payload)] = harness.take_records()
    assert kind == Kind.CONTROL
    assert payload == struct.pack("<BBHHH", 0x21, 0x20, 0, 0, 7) + b"1234567"
    harness.device.handle_record(Kind.REPLY, 0, generation, 1, b"")
    assert harness.completions[-1][1] == 0
    assert harness.take_records()[0][4] == struct.pack("<BBHHH", 0xA1, 0x21, 0, 0, 7)
    harness.device.handle_record(Kind.REPLY, 0, generation, 1, b"7654321 and more")
    assert harness.completions[-1][1:] == (0, b"7654321")
    harness.control(0x21, 0x99, 0, 0)
    harness.device.handle_record(Kind.REPLY, 0, generation, 0, b"")
    assert harness.completions[-1][1] == -EPIPE


def test_a_reply_from_before_a_reset_is_ignored() -> None:
    harness = Harness()
    harness.control(0xA1, 0x21, 0, 0, 7)
    old = harness.take_records()[-1][2]
    harness.device.reset()
    assert harness.completions[-1][1] == -ECONNRESET
    count = len(harness.completions)
    harness.device.handle_record(Kind.REPLY, 0, old, 1, b"late")
    assert len(harness.completions) == count


def test_the_reply_to_an_unlinked_request_is_discarded() -> None:
    harness = Harness()
    harness.control(0xA1, 0x21, 0, 0, 7)
    generation = harness.take_records()[-1][2]
    assert harness.device.unlink(harness.seqnum) == -ECONNRESET
    assert harness.control(0xA1, 0x21, 0, 0, 7) is None
    count = len(harness.completions)
    harness.device.handle_record(Kind.REPLY, 0, generation, 1, b"first")
    assert len(harness.completions) == count
    harness.device.handle_record(Kind.REPLY, 0, generation, 1, b"second")
    assert harness.completions[-1][1:] == (0, b"second")


def test_a_bounded_bus_keeps_its_rate() -> None:
    """In one second of virtual time it moves that many bytes, however late the timers are."""
    harness = Harness(64, 100_000.0)
    chance = random.Random(3)
    now, moved = 0.0, 0
    while now < 1.0:
        harness.arm(bytes(64 * 30))
        harness.read(64 * 30)
        due = harness.device.move_packets(now)
        assert due is None or due > now
        moved = sum(len(got) for _, status, got in harness.completions if not status)
        now = (due or now) + chance.random() * 0.004
    assert moved == pytest.approx(100_000, rel=0.1)


def test_records_match_their_definition() -> None:
    data = build_record(Kind.DONE, 0x83, 65535, 1024, b"abc")
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
def test_descriptors_that_a_host_would_refuse(blob: bytes) -> None:
    with pytest.raises(Malformed):
        VirtualDevice(lambda _: None).handle_record(Kind.ATTACH, 0, 0, 2, blob)


@pytest.mark.parametrize("speed", [0, 1, 5])
def test_a_board_with_an_unknown_speed_is_refused(speed: int) -> None:
    with pytest.raises(Malformed):
        VirtualDevice(lambda _: None).handle_record(
            Kind.ATTACH, 0, 0, speed, DEVICE + configuration()
        )


def test_a_board_cannot_attach_twice() -> None:
    with pytest.raises(Malformed):
        Harness().device.handle_record(Kind.ATTACH, 0, 0, 2, DEVICE + configuration())


def test_a_detached_board_has_no_endpoints() -> None:
    harness = Harness()
    harness.device.handle_record(Kind.DETACH, 0, 0, 0, b"")
    harness.read(64)
    assert harness.completions[-1][1] == -ENODEV
    assert harness.control(0x80, GET_DESCRIPTOR, 0x0100, 0, 18) == (-ENODEV, b"")


def test_a_record_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Malformed):
        Harness().device.handle_record(77, 0, 0, 0, b"")
