"""Test the USB driver's errors with a fake device that fails on demand."""

from __future__ import annotations

import errno
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import usb.core
from helpers.slowdown import patience

from lenslink.deadline import Deadline
from lenslink.errors import (
    Ambiguous,
    DeviceBusy,
    Disconnected,
    LensLinkError,
    NotFound,
    ProtocolError,
    RigError,
    Timeout,
    VersionMismatch,
)
from lenslink.transports import usb as usb_transport
from lenslink.transports.base import Line
from lenslink.transports.usb import UsbModule, UsbOpener, choose_module, open_module
from lenslink.transports.usb_handle import OnReadEnd
from lenslink.transports.usb_lanes import UsbTransport
from lenslink.transports.usb_reads import READ_BYTES, READS
from lenslink.url import parse_url

OUT, IN = 0x03, 0x83
VENDOR = (0xFF, 0x4C, 0x4B)
PATIENCE_S = patience(10.0)


def endpoint(address: int, packet: int = 64, kind: int = 2) -> SimpleNamespace:
    return SimpleNamespace(bEndpointAddress=address, bmAttributes=kind, wMaxPacketSize=packet)


class Interface(list[Any]):
    bInterfaceNumber = 2  # noqa: N815 - pyusb's names


class FakeDevice:
    """A fake of pyusb's device, of its backend, and of the open handle.

    ``answers`` holds the results of reads by address: bytes, or an errno. Without one, a read
    waits.
    """

    idVendor, idProduct, bcdDevice = 0x2E8A, 0x0005, 0x0100  # noqa: N815 - pyusb's names
    speed: int | None = 2

    def __init__(
        self, serial_number: str | None = "S1", port_numbers: tuple[int, ...] | None = None
    ) -> None:
        self.serial_number = serial_number
        self.port_numbers = port_numbers
        self.bus, self.address = 1, 1
        self.answers: dict[int, list[bytes | int]] = {}
        self.written: list[bytes] = []
        self.write_error: int | None = None
        self.takes: int | None = None
        self.opening_error: int | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.is_disposed = False
        self.is_closed = False
        self.interrupts = False
        """A read that has an answer interrupts the main thread before it ends."""
        self.reads: dict[int, list[FakeRead]] = {}
        self.backend = self
        self._ctx = self
        self._lock = threading.RLock()

    # What pyusb's backend has.
    def open_handle(self, device: object) -> FakeDevice:
        assert device is self
        return self

    def dispose(self, device: object) -> None:
        self.is_disposed = True

    # What the open handle has.
    def claim(self, number: int) -> None:
        self.calls.append(("claim", number))
        if self.opening_error is not None:
            raise usb.core.USBError("opening", -1, self.opening_error)

    def close(self) -> None:
        assert not any(self.reads.values()), "closed below reads in flight"
        self.is_closed = True

    def halt(self, address: int) -> None:
        self.calls.append(("halt", address))

    def clear_halt(self, address: int) -> None:
        self.calls.append(("clear", address))

    def make_read(self, address: int, size: int, on_end: OnReadEnd) -> FakeRead:
        return FakeRead(self, address, size, on_end)

    def submit(self, read: FakeRead) -> None:
        with self._lock:
            self.reads.setdefault(read.address, []).append(read)
        self.deliver(read.address)

    def cancel(self, read: FakeRead) -> None:
        with self._lock:
            if read in self.reads.get(read.address, []):
                self.reads[read.address].remove(read)
                read.end(b"", errno.ECANCELED)

    def answer(self, *answers: bytes | int, address: int = IN) -> None:
        with self._lock:
            self.answers.setdefault(address, []).extend(answers)
        self.deliver(address)

    def deliver(self, address: int) -> None:
        with self._lock:
            answers, reads = self.answers.get(address, []), self.reads.get(address, [])
            while answers and reads:
                answer, read = answers.pop(0), reads.pop(0)
                if self.interrupts:
                    self.interrupts = False
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.01)  # The main thread raises within this time.
                is_error = isinstance(answer, int)
                read.end(b"" if is_error else bytes(answer), int(answer) if is_error else 0)

    def write(self, address: int, data: bytes, limit: int) -> int:
        assert address == OUT and limit > 0
        if self.write_error is not None:
            code, self.write_error = self.write_error, None
            raise usb.core.USBError("failed", -1, code)
        if self.takes is not None:
            time.sleep(limit / 1000)
            raise usb.core.USBTimeoutError("timeout", -7, errno.ETIMEDOUT)
        self.written.append(bytes(data))
        return len(data)


class FakeRead:
    def __init__(self, device: FakeDevice, address: int, size: int, on_end: OnReadEnd) -> None:
        self.address = address
        self.buffer = memoryview(bytearray(size))
        self._device = device
        self._on_end = on_end

    def submit(self) -> None:
        self._device.submit(self)

    def cancel(self) -> None:
        self._device.cancel(self)

    def end(self, data: bytes, code: int) -> None:
        self.buffer[: len(data)] = data
        self._on_end(len(data), code)


_opened: list[UsbTransport] = []


@pytest.fixture(autouse=True)
def close_transports() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def transport(device: FakeDevice, lanes: int = 1) -> UsbTransport:
    link = UsbTransport(device, OUT, 64, [IN + number for number in range(lanes)])
    _opened.append(link)
    return link


def test_the_speed_that_was_negotiated_bounds_the_rate() -> None:
    lines = {
        2: Line("full", 1_216_000),
        3: Line("high", 53_248_000),
        # As where the system does not say.
        None: Line(),
    }
    for speed, line in lines.items():
        device = FakeDevice()
        device.speed = speed
        assert transport(device).line == line


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)


def memory(*sizes: int) -> list[memoryview]:
    return [memoryview(bytearray(size)) for size in sizes]


def test_one_read_is_delivered_in_slices() -> None:
    device = FakeDevice()
    device.answer(b"abcdefgh", b"i")
    link = transport(device)
    first = memory(2, 3)
    assert link.receive_into(first, 1) == 5
    assert b"".join(first) == b"abcde"
    second = memory(8)
    assert link.receive_into(second, 1) == 3 and bytes(second[0][:3]) == b"fgh"
    assert link.receive_into(second, 1) == 1
    assert READ_BYTES % 512 == 0


def test_a_lane_holds_no_more_bytes_than_its_reads() -> None:
    device = FakeDevice()
    link = transport(device)
    device.answer(*[b"ab"] * (READS + 2))
    assert link.ready(PATIENCE_S) == [0]
    wait_until(lambda: len(device.answers[IN]) == 2)
    assert not device.reads[IN]
    for _ in range(READS + 2):
        assert link.receive_into(memory(2), PATIENCE_S) == 2


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, also where a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("lanes", [1, 3])
def test_an_interrupt_when_a_read_ends_loses_no_bytes(lanes: int) -> None:
    device = FakeDevice()
    link = transport(device, lanes)
    device.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        device.answer(b"abc", b"de")
        link.receive_into(memory(8), PATIENCE_S)
        time.sleep(PATIENCE_S)
    device.answer()
    view = memory(8)
    assert link.receive_into(view, PATIENCE_S) == 3 and bytes(view[0][:3]) == b"abc"
    assert link.receive_into(view, PATIENCE_S) == 2 and bytes(view[0][:2]) == b"de"


def test_a_read_that_an_interrupted_call_has_emptied_is_submitted_again() -> None:
    """An interrupt may come when the bytes are taken and the read is not returned."""
    device = FakeDevice()
    link = transport(device)
    device.answer(*[b"a"] * READS)
    wait_until(lambda: not device.answers[IN])
    for read in link._lanes[0]._reads:
        read.taken = read.length
    assert link.receive_into(memory(1), 0) == 0
    device.answer(*[b"b"] * READS)
    for _ in range(READS):
        assert link.receive_into(memory(1), PATIENCE_S) == 1


def test_a_transport_that_nobody_has_closes_its_device() -> None:
    """An interrupt may come when a transport has been made and before its caller has it."""
    device = FakeDevice()
    UsbTransport(device, OUT, 64, [IN, IN + 1])
    gc.collect()
    wait_until(lambda: device.is_closed)
    wait_until(lambda: not any(each.name == "usb reads" for each in threading.enumerate()))


def test_silence_is_no_error() -> None:
    link = transport(FakeDevice())
    began = time.monotonic()
    assert link.receive_into(memory(8), 0.03) == 0
    assert 0.02 < time.monotonic() - began < PATIENCE_S
    assert link.receive_into(memory(8), 0) == 0


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("code", [errno.ENODEV, errno.EIO, errno.EPROTO])
def test_a_failed_read_disconnects(code: int, lanes: int) -> None:
    device = FakeDevice()
    link = transport(device, lanes)
    device.answer(code)
    began = time.monotonic()
    with pytest.raises(Disconnected):
        for _ in range(100):
            link.receive_into(memory(8), PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S, "waited, where it had been told"
    with pytest.raises(Disconnected):
        link.send(b"x", Deadline(1))
    link.close()
    assert device.is_closed


def test_a_halted_endpoint_is_cleared_and_read_on() -> None:
    device = FakeDevice()
    device.answer(errno.EPIPE, b"after")
    link = transport(device)
    assert link.receive_into(memory(8), PATIENCE_S) == 5
    assert ("clear", IN) in device.calls


def test_an_endpoint_that_stays_halted_disconnects() -> None:
    device = FakeDevice()
    device.answer(*[errno.EPIPE] * 9 * READS)
    link = transport(device)
    with pytest.raises(Disconnected):
        for _ in range(9):
            link.receive_into(memory(8), 1)


def test_lanes_are_received_separately() -> None:
    device = FakeDevice()
    link = transport(device, 3)
    try:
        assert link.ready(0.01) == []
        device.answer(b"one", address=IN + 1)
        device.answer(b"two", address=IN + 2)
        found: dict[int, bytes] = {}
        end = time.monotonic() + 5
        while len(found) < 2 and time.monotonic() < end:
            for lane in link.ready(1):
                view = memory(8)
                count = link.receive_lane_into(lane, view)
                assert count
                found[lane] = bytes(view[0][:count])
        assert found == {1: b"one", 2: b"two"}
        assert link.receive_lane_into(1, memory(8)) == 0
    finally:
        link.close()
    assert not [each for each in threading.enumerate() if each.name == "usb reads"]


def test_the_end_of_a_lane_is_reported_once_and_its_endpoint_halted() -> None:
    device = FakeDevice()
    link = transport(device, 2)
    try:
        device.answer(errno.EOVERFLOW, address=IN + 1)
        assert link.ready(5) == [1]
        assert link.receive_lane_into(1, memory(8)) is None
        assert ("halt", IN + 1) in device.calls
        assert link.ready(0.01) == [] and link.receive_lane_into(1, memory(8)) == 0
        device.answer(b"lane 0 goes on")
        assert link.receive_into(memory(20), 5) == 14
    finally:
        link.close()


def test_a_full_last_packet_is_followed_by_an_empty_one() -> None:
    device = FakeDevice()
    link = transport(device)
    for length in (63, 64, 65, 128):
        link.send(bytes(length), Deadline(1))
    assert [len(each) for each in device.written] == [63, 64, 0, 65, 128, 0]


def test_sending_times_out_when_the_module_takes_nothing() -> None:
    device = FakeDevice()
    device.takes = 0
    with pytest.raises(Timeout, match="took no bytes"):
        transport(device).send(b"x", Deadline(0.05))


def test_a_halted_out_endpoint_is_cleared() -> None:
    device = FakeDevice()
    device.write_error = errno.EPIPE
    transport(device).send(b"x", Deadline(1))
    assert device.written == [b"x"] and ("clear", OUT) in device.calls


# --- opening --------------------------------------------------------------------------------------


def found(device: FakeDevice, *addresses: int) -> UsbModule:
    return UsbModule(device, Interface(endpoint(each) for each in addresses or (OUT, IN, IN + 1)))


def test_every_endpoint_is_cleared_and_none_is_halted() -> None:
    device = FakeDevice()
    open_module(found(device), "usb:", 1).close()
    assert not [each for each in threading.enumerate() if each.name == "usb reads"]
    assert device.calls == [
        ("claim", 2), ("clear", OUT), ("clear", IN)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (
            errno.EACCES,
            NotFound,
            r'no permission for 2e8a:0005; type: echo .*idVendor}=="2e8a".*ID_MM_DEVICE_IGNORE',
        ),
        (errno.EBUSY, DeviceBusy, "in use by another program"),
        (errno.ENODEV, Disconnected, "went away while it was opened"),
        (errno.EIO, Disconnected, "went away while it was opened"),
        (errno.ENOMEM, RigError, "opening"),
    ],
)
def test_errors_while_opening(code: int, kind: type[LensLinkError], words: str) -> None:
    device = FakeDevice()
    device.opening_error = code
    with pytest.raises(kind, match=words) as caught:
        open_module(found(device), "usb:")
    assert device.is_closed and "\n" not in str(caught.value)


def test_another_major_version_is_refused() -> None:
    device = FakeDevice()
    device.bcdDevice = 0x0200
    with pytest.raises(VersionMismatch, match="version 2, not 1"):
        open_module(found(device), "usb:")


@pytest.mark.parametrize("addresses", [(OUT,), (IN,), (OUT, OUT + 1, IN)])
def test_an_interface_with_other_endpoints_is_refused(addresses: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="bulk OUT"):
        open_module(found(FakeDevice(), *addresses), "usb:")


# --- serial numbers -------------------------------------------------------------------------------


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``plug(device, ...)`` makes these the modules on USB."""

    def plugged(*devices: FakeDevice) -> None:
        monkeypatch.setattr(usb_transport, "load_libusb", object)
        monkeypatch.setattr(
            usb_transport, "find_modules", lambda backend: iter([found(each) for each in devices])
        )

    return plugged


def test_a_module_is_listed_under_its_serial_number(plug: Callable[..., None]) -> None:
    plug(FakeDevice("S1"))
    [listed] = UsbOpener().devices()
    assert (listed.url, listed.serial) == ("usb:S1", "S1")
    assert choose_module(None, "S1", "usb:S1").serial() == "S1"


def test_a_module_without_a_serial_number_is_listed_under_its_bus_path(
    plug: Callable[..., None],
) -> None:
    plug(FakeDevice(None, (2, 3)))
    [listed] = UsbOpener().devices()
    assert (listed.url, listed.serial) == ("usb:1-2.3", None)
    assert choose_module(None, "1-2.3", listed.url).serial() is None


def test_a_module_without_a_serial_number_and_bus_path_is_listed_without_a_name(
    plug: Callable[..., None],
) -> None:
    plug(FakeDevice(None))
    [listed] = UsbOpener().devices()
    assert (listed.url, listed.serial) == ("usb:", None)


def test_no_serial_number_matches_a_module_without_one(plug: Callable[..., None]) -> None:
    plug(FakeDevice(None))
    with pytest.raises(NotFound, match="no module on USB has this serial number or bus path"):
        choose_module(None, "None", "usb:None")


def test_modules_with_one_serial_number_are_told_apart_by_their_bus_paths(
    plug: Callable[..., None],
) -> None:
    first, second = FakeDevice("S1", (2,)), FakeDevice("S1", (3,))
    third = FakeDevice("S2", (4,))
    second.address, third.address = 2, 3
    plug(first, second, third)
    listed = UsbOpener().devices()
    assert [device.url for device in listed] == ["usb:1-2", "usb:1-3", "usb:S2"]
    with pytest.raises(Ambiguous, match=r"2 modules on USB; name one: usb:1-2, usb:1-3$"):
        choose_module(None, "S1", "usb:S1")
    assert first.is_disposed and second.is_disposed
    assert choose_module(None, "1-3", "usb:1-3").device is second


def test_a_bus_path_is_the_same_after_a_replug(plug: Callable[..., None]) -> None:
    device = FakeDevice(None, (2, 3))
    plug(device)
    opener = UsbOpener()
    [before] = opener.devices()
    device.address = 9
    assert opener.devices() == [before]


def test_a_serial_number_is_escaped_in_the_url(plug: Callable[..., None]) -> None:
    plug(FakeDevice("a?b%20"))
    [listed] = UsbOpener().devices()
    assert parse_url(listed.url, ("usb",)).path == "a?b%20"
