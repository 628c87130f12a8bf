"""Test the handle of a device on libusb with a fake libusb; the kernel's tests have a real one."""

from __future__ import annotations

import errno
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import usb1
from helpers.slowdown import patience

from lenslink.transports import usb_handle
from lenslink.transports.usb_handle import LibusbHandle

PATIENCE_S = patience(10.0)


class FakeLibusb:
    """A context of libusb with one device, number 7 of bus 1."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.configuration = 1
        self.events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.transfers: list[FakeTransfer] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if self.error is not None and not name.startswith("get"):
                raise self.error
            return {"getBusNumber": 1, "getDeviceAddress": 7, "getDeviceSpeed": 3}.get(name, self)

        return call

    def getDeviceIterator(self, skip_on_error: bool) -> list[FakeLibusb]:  # noqa: N802
        return [self]

    def iterConfigurations(self) -> Iterator[FakeLibusb]:  # noqa: N802
        return iter([self])

    def getConfigurationValue(self) -> int:  # noqa: N802
        return 5

    def getConfiguration(self) -> int:  # noqa: N802
        return self.configuration

    def getTransfer(self) -> FakeTransfer:  # noqa: N802
        self.transfers.append(FakeTransfer())
        return self.transfers[-1]

    def handleEvents(self) -> None:  # noqa: N802
        if event := self.events.get():
            event()

    def interruptEventHandler(self) -> None:  # noqa: N802
        self.events.put(None)


class FakeTransfer:
    status, length = 0, 0
    is_submitted = False

    def setBulk(  # noqa: N802
        self, endpoint: int, memory: bytearray, callback: Callable[[Any], None], timeout: int
    ) -> None:
        assert not timeout
        self.memory, self.callback = memory, callback

    def submit(self) -> None:
        self.is_submitted = True

    def cancel(self) -> None:
        raise usb1.USBErrorNotFound

    def getActualLength(self) -> int:  # noqa: N802
        return self.length

    def getStatus(self) -> int:  # noqa: N802
        return self.status


@pytest.fixture
def libusb(monkeypatch: pytest.MonkeyPatch) -> FakeLibusb:
    fake = FakeLibusb()
    monkeypatch.setattr(usb_handle, "_open_context", lambda: fake)
    return fake


@pytest.fixture
def handle(libusb: FakeLibusb) -> Iterator[LibusbHandle]:
    opened = LibusbHandle(1, 7)
    yield opened
    libusb.error = None
    opened.close()
    assert not opened._events.is_alive()


def test_a_device_that_has_gone_is_not_found(libusb: FakeLibusb) -> None:
    with pytest.raises(OSError) as caught:
        LibusbHandle(1, 8)
    assert caught.value.errno == errno.ENODEV and ("close",) in libusb.calls


def test_the_libusb_of_the_package_has_no_device_here() -> None:
    with pytest.raises(OSError) as caught:
        LibusbHandle(255, 127)
    assert caught.value.errno == errno.ENODEV


def test_a_device_is_configured_only_if_it_is_not(handle: LibusbHandle, libusb: FakeLibusb) -> None:
    assert handle.speed == 3
    handle.claim(2)
    assert ("claimInterface", 2) in libusb.calls and ("setConfiguration", 5) not in libusb.calls
    libusb.configuration = 0
    handle.claim(2)
    assert ("setConfiguration", 5) in libusb.calls


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (usb1.USBErrorIO, errno.EIO),
        (usb1.USBErrorAccess, errno.EACCES),
        (usb1.USBErrorNoDevice, errno.ENODEV),
        (usb1.USBErrorBusy, errno.EBUSY),
        (usb1.USBErrorPipe, errno.EPIPE),
        (usb1.USBErrorOther, errno.EPROTO),
    ],
)
def test_the_errors_of_libusb_are_those_of_the_system(
    handle: LibusbHandle, libusb: FakeLibusb, error: type[usb1.USBError], code: int
) -> None:
    libusb.error = error()
    for call in (
        lambda: handle.claim(2),
        lambda: handle.write(3, memoryview(b"x"), 10),
        lambda: handle.clear_halt(0x81),
        lambda: handle.halt(0x81),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == code


def test_bytes_that_went_before_the_limit_are_counted(
    handle: LibusbHandle, libusb: FakeLibusb
) -> None:
    error = usb1.USBErrorTimeout()
    error.transferred = 64
    libusb.error = error
    assert handle.write(3, memoryview(bytes(100)), 10) == 64


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (usb1.TRANSFER_COMPLETED, 0),
        (usb1.TRANSFER_ERROR, errno.EIO),
        (usb1.TRANSFER_CANCELLED, errno.ECANCELED),
        (usb1.TRANSFER_STALL, errno.EPIPE),
        (usb1.TRANSFER_NO_DEVICE, errno.ENODEV),
        (usb1.TRANSFER_OVERFLOW, errno.EOVERFLOW),
    ],
)
def test_a_read_ends_with_its_bytes_and_an_errno(
    handle: LibusbHandle, libusb: FakeLibusb, status: int, code: int
) -> None:
    ends: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    read = handle.make_read(0x81, 512, lambda *end: ends.put(end))
    [transfer] = libusb.transfers
    read.submit()
    assert transfer.is_submitted
    transfer.memory[:3] = b"abc"
    transfer.status, transfer.length = status, 3
    libusb.events.put(lambda: transfer.callback(transfer))
    assert ends.get(timeout=PATIENCE_S) == (3, code)
    assert bytes(read.buffer[:3]) == b"abc"
    read.cancel()  # A read that has ended is not found, which is no error.


def test_events_that_fail_are_asked_for_again(handle: LibusbHandle, libusb: FakeLibusb) -> None:
    def fail(error: type[usb1.USBError]) -> None:
        raise error

    done: queue.SimpleQueue[bool] = queue.SimpleQueue()
    libusb.events.put(lambda: fail(usb1.USBErrorInterrupted))
    libusb.events.put(lambda: fail(usb1.USBErrorOther))
    libusb.events.put(lambda: done.put(True))
    assert done.get(timeout=PATIENCE_S)


def test_a_closed_handle_is_an_error_and_not_a_crash(libusb: FakeLibusb) -> None:
    """A generator that is left open calls stop() when the program ends."""
    handle = LibusbHandle(1, 7)
    handle.close()
    for call in (lambda: handle.write(3, memoryview(b"x"), 10), lambda: handle.halt(0x81)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENODEV
    handle.close()
