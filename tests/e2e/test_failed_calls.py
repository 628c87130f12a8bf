"""What a call that fails leaves behind: nothing that a later call stumbles over.

Also: the memory of a frame and its copies.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

import lenslink
from lenslink import Device, Frame, FrameStatus
from lenslink.deadline import Deadline
from lenslink.errors import DeviceError, Timeout, UsageError
from lenslink.transports.base import Transport
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import HEADER, Header
from lenslink_protocol.params import REQUEST_RETRY_MS

pytestmark = pytest.mark.usefixtures("only_sim")

SMALL = "sim:?scene=ramp&width=64&height=64"
# 18 MB a frame: far more than the sockets between the module and the host can hold.
LARGE = "sim:?scene=ramp&width=4096&height=3072"
PATIENCE_S = 60.0


class InterruptedTransport:
    """A transport that raises one exception during the next capture, and otherwise works.

    The exception comes once the module has begun to answer the CAPTURE request. No byte is lost.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._error: type[BaseException] | None = None
        self._is_capturing = False
        self._is_due = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise *error* during the next capture."""
        self._error = error

    def send(self, data: bytes, deadline: Deadline) -> None:
        header = Header._make(HEADER.unpack_from(data)[1:])
        if self._error is not None and header.type == MessageType.CAPTURE:
            self._is_capturing = True
        self._inner.send(data, deadline)

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if self._error is not None and self._is_due:
            error, self._error = self._error, None
            raise error("the capture ends here")
        count = self._inner.receive_into(buffers, seconds)
        self._is_due = self._is_capturing and count > 0
        return count


@contextlib.contextmanager
def interruptible(url: str) -> Iterator[tuple[Device, InterruptedTransport]]:
    """Open the module at *url* behind an :class:`InterruptedTransport`."""
    transports: list[InterruptedTransport] = []

    def wrap(inner: Transport) -> Transport:
        transports.append(InterruptedTransport(inner))
        return transports[0]

    with lenslink.open(url, wrap=wrap, timeout=PATIENCE_S) as device:
        yield device, transports[0]


# A capture ends early for either reason, and leaves the module in the same state.
INTERRUPTS = [Timeout, KeyboardInterrupt]


# --- arguments ------------------------------------------------------------------------------------


def test_a_setting_that_the_protocol_cannot_carry_is_a_usage_error() -> None:
    settings = ({"exposure_us": -1}, {"gain_milli": 2**32}, {"exposure_us": 8000.5})
    with lenslink.open(SMALL) as device:
        for setting in settings:
            with pytest.raises(UsageError):
                device.capture(**setting)


def test_a_refused_setting_does_not_disturb_later_requests() -> None:
    with lenslink.open(SMALL) as device:
        with pytest.raises(UsageError):
            device.capture(exposure_us=-1)
        # The repeat time of the refused request passes.
        time.sleep(1.25 * REQUEST_RETRY_MS / 1000)
        device.flush()
        with device.capture() as frame:
            assert frame.status is FrameStatus.COMPLETE


# --- frames ---------------------------------------------------------------------------------------


def replaced(frame: Frame) -> Frame:
    return dataclasses.replace(frame, black=(200.0,) * 4)


@pytest.mark.parametrize("duplicate", [replaced, copy.copy])
def test_releasing_a_frame_and_its_copy_frees_their_buffer_once(
    duplicate: Callable[[Frame], Frame],
) -> None:
    with lenslink.open(SMALL) as device:
        with device.capture() as frame, duplicate(frame):
            pass
        first = device.capture(exposure_us=100)
        pixels = first.pixels.copy()
        second = device.capture(exposure_us=100_000)
        assert not np.shares_memory(first.packed, second.packed)
        assert np.array_equal(first.pixels, pixels)


# --- captures that end early ----------------------------------------------------------------------


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_a_capture_that_ended_early_does_not_block_the_next_one(
    interrupt: type[BaseException],
) -> None:
    with interruptible(LARGE) as (device, transport):
        transport.interrupt(interrupt)
        with pytest.raises(interrupt):
            device.capture(exposure_us=1000)
        with device.capture(exposure_us=2000) as frame:
            assert frame.status is FrameStatus.COMPLETE


def capture_when_idle(device: Device, exposure_us: int) -> Frame:
    """Capture a still, once the module has ended the one before."""
    deadline = Deadline(PATIENCE_S, "the still before")
    while True:
        try:
            return device.capture(exposure_us=exposure_us)
        except DeviceError:
            deadline.check()
            time.sleep(0.01)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_a_capture_never_returns_the_still_of_an_earlier_request(
    interrupt: type[BaseException],
) -> None:
    with interruptible(SMALL) as (device, transport):
        transport.interrupt(interrupt)
        with pytest.raises(interrupt):
            device.capture(exposure_us=1000)
        exposures = (2000, 3000, 4000)
        stills = [capture_when_idle(device, exposure_us) for exposure_us in exposures]
        assert tuple(still.exposure_us for still in stills) == exposures
