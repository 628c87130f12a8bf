"""Transfers between pyusb and MicroPython, through the server and the stand-in for USBDevice.

Our backend connects pyusb to the server. In the guest of make test-kernel a kernel does.
"""

from __future__ import annotations

import array
import contextlib
import random
import time
from collections.abc import Iterator

import pytest
import usb.core
from helpers.echo_board import IN, OUT, WAIT_MS, Bus, EchoBoard

from lenslink_hil.usbip.backend import UsbIpBackend

SHORT_MS = 50
LENGTHS = [1, 63, 64, 65, 511, 512, 513, 1024, 4095, 65023]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with contextlib.closing(Bus(tmp_path_factory.mktemp("bus"))) as made:
        yield made


@pytest.fixture(params=[2, 3], ids=["full speed", "high speed"])
def board(request: pytest.FixtureRequest, bus: Bus, through_kernel: bool) -> Iterator[EchoBoard]:
    with contextlib.closing(EchoBoard(bus, request.param, through_kernel)) as made:
        yield made


def test_the_descriptors_are_those_of_the_board(board: EchoBoard) -> None:
    device = board.device
    assert device.serial_number == "ECHO" and device.manufacturer == "MicroPython"
    kinds = [(each.bInterfaceClass, each.bNumEndpoints) for each in device[0]]
    assert kinds == [(2, 1), (10, 2), (0xFF, 2)]
    assert device.get_active_configuration().bConfigurationValue == 1


def test_transfers_of_any_length_arrive(board: EchoBoard) -> None:
    packet = 512 if board.device.speed == 3 else 64
    for length in LENGTHS:
        data = random.Random(length).randbytes(length)
        assert board.write(data) == length
        if length % packet == 0:
            # After whole packets, an empty packet ends the transfer.
            board.write(b"")
            assert board.read(length) == data
        else:
            assert board.read() == data, length


def test_the_longest_transfer_arrives(board: EchoBoard) -> None:
    data = random.Random(1).randbytes(65024)
    board.write(data)
    assert board.read(65024) == data


def test_an_empty_transfer_arrives(board: EchoBoard) -> None:
    board.write(b"")
    assert board.read() == b""


def test_a_host_may_read_in_pieces(board: EchoBoard) -> None:
    data = random.Random(2).randbytes(5000)
    board.write(data)
    found = b""
    while len(found) < len(data):
        found += board.read(1024)
    assert found == data


def test_a_timeout_leaves_no_transfer_behind(board: EchoBoard) -> None:
    start = time.monotonic()
    with pytest.raises(usb.core.USBTimeoutError) as caught:
        board.read(64, SHORT_MS)
    assert caught.value.errno == 110 and time.monotonic() - start < WAIT_MS / 1000
    board.write(b"after")
    assert board.read() == b"after"


def test_bytes_received_before_a_timeout_are_not_lost(board: EchoBoard) -> None:
    """Whole packets do not end a read: the read ends by its timeout, and returns them."""
    board.write(b"x" * 1024)
    board.write(b"")
    assert board.read(1 << 17, SHORT_MS) == b"x" * 1024


def test_a_host_that_never_reads(board: EchoBoard) -> None:
    """The board holds one transfer and takes no more; it goes on once the host reads."""
    board.write(b"first")
    with pytest.raises(usb.core.USBTimeoutError):
        board.device.write(OUT, b"second", SHORT_MS)
    assert board.read() == b"first"
    board.write(b"third")
    assert board.read() == b"third"


def test_a_halted_endpoint_stalls_until_cleared(board: EchoBoard) -> None:
    board.device.ctrl_transfer(0x02, 3, 0, IN)
    assert list(board.device.ctrl_transfer(0x82, 0, 0, IN, 2)) == [1, 0]
    with pytest.raises(usb.core.USBError) as caught:
        board.read(64)
    assert caught.value.errno == 32
    board.device.clear_halt(IN)
    board.write(b"again")
    assert board.read() == b"again"


def test_setting_and_clearing_a_halt_drops_the_transfer_in_flight(board: EchoBoard) -> None:
    board.write(b"old")
    for address in (OUT, IN):
        board.device.ctrl_transfer(0x02, 3, 0, address)
        board.device.clear_halt(address)
    board.write(b"new")
    assert board.read() == b"new"


def test_it_recovers_from_a_reset_in_the_middle_of_a_transfer(
    board: EchoBoard, through_kernel: bool
) -> None:
    board.write(b"y" * 3000)
    assert board.read(512) == b"y" * 512
    board.device.reset()
    # A kernel configures the device again after a reset.
    if not through_kernel:
        board.device.set_configuration()
    board.write(b"new")
    assert board.read() == b"new"


def test_the_serial_port_answers_class_requests(board: EchoBoard, through_kernel: bool) -> None:
    if through_kernel:
        # Linux' cdc_acm holds the interface.
        with pytest.raises(usb.core.USBError) as caught:
            board.device.ctrl_transfer(0x21, 0x20, 0, 0, b"\x80\x25\0\0\0\0\x08")
        assert caught.value.errno == 16
        board.device.detach_kernel_driver(0)
    board.device.ctrl_transfer(0x21, 0x20, 0, 0, b"\x80\x25\0\0\0\0\x08")
    assert bytes(board.device.ctrl_transfer(0xA1, 0x21, 0, 0, 7)) == b"\x80\x25\0\0\0\0\x08"
    with pytest.raises(usb.core.USBError) as caught:
        board.device.ctrl_transfer(0x21, 0x55, 0, 0)
    assert caught.value.errno == 32


def test_a_second_host_is_refused(board: EchoBoard) -> None:
    other = usb.core.find(backend=UsbIpBackend(board.address, 5))
    with pytest.raises(usb.core.USBError) as caught:
        other.set_configuration()
    assert caught.value.errno == 16


def test_a_board_that_loses_its_supply_is_gone(board: EchoBoard) -> None:
    buffer = array.array("B", bytes(64))
    board.firmware.kill()
    with pytest.raises(usb.core.USBError) as caught:
        board.device.read(IN, buffer, WAIT_MS)
    # Not a timeout (110). test_usb_boards.py measures how soon the error comes.
    assert caught.value.errno == 19
    with pytest.raises(usb.core.USBError):
        board.device.write(OUT, b"x", WAIT_MS)


@pytest.mark.timeout(60)
def test_random_transfers_arrive(board: EchoBoard, seed: int) -> None:
    chance = random.Random(seed)
    packet = 512 if board.device.speed == 3 else 64
    for _ in range(60):
        length = chance.choice([chance.randrange(2000), chance.randrange(65024)])
        data = chance.randbytes(length)
        board.write(data)
        if length % packet == 0 and length:
            board.write(b"")
        found = b""
        while len(found) < length:
            found += board.read(chance.choice([512, 1024, 1 << 16]), 200)
        assert found == data, (seed, length)
        if length % packet == 0:
            with contextlib.suppress(usb.core.USBTimeoutError):
                assert board.read(512, 1) == b""
