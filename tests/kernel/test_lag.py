"""A reader that lags behind Linux' cdc_acm, which then throws bytes away without a word."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import lenslink
from lenslink import FrameStatus
from lenslink.deadline import Deadline
from lenslink.transports.base import Transport
from lenslink_hil.kernel import bench

Shown = Callable[[lenslink.Frame], np.ndarray]

FRAMES = 12
PATIENCE_S = 30.0
LAG_S = 0.15
EVERY = 20
# More than the 64 KiB that the tty holds, and more than a driver would ever grant.
TOO_MUCH = 512 << 10


class Lagging:
    """A transport that reads nothing for a while, now and then, and grants what it likes."""

    private = False
    note: str | None = None

    def __init__(self, inner: Transport, window: int) -> None:
        self.window: int | None = window
        self._inner = inner
        self._reads = 0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._reads += 1
        if self._reads % EVERY == 0:
            # Not a wait for something: the lag is what is tested.
            time.sleep(LAG_S)
        return self._inner.receive_into(buffers, seconds)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._inner.send(data, deadline)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.usefixtures("over_serial")
def test_a_reader_that_lags(url: str, shown: Shown, request: pytest.FixtureRequest) -> None:
    """The driver asks for no more than the tty holds: nothing can be lost."""
    frames, lost = under_lag(url, shown, None)
    request.node.user_properties.append(("a reader that lags", f"{frames} frames whole"))
    assert (frames, lost) == (FRAMES, 0)


@pytest.mark.usefixtures("over_serial")
def test_a_reader_that_lags_and_asks_for_too_much(
    slot: bench.Slot, shown: Shown, request: pytest.FixtureRequest
) -> None:
    url = slot.restart({"scene": "prbs", "width": 640, "height": 480})
    with before_everything_else("vhci"):
        frames, lost = under_lag(url, shown, TOO_MUCH)
    text = f"{frames} of {FRAMES} frames whole, {lost} packets lost in the kernel"
    request.node.user_properties.append(("a reader that lags and asks for too much", text))
    assert lost > 0, "the kernel has lost nothing: this has shown nothing"


@contextmanager
def before_everything_else(name: str) -> Iterator[None]:
    """The kernel's threads of that name come before others, as a controller's interrupts do."""
    found = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/comm")
        if path.read_text(encoding="ascii", errors="replace").startswith(name)
    ]
    assert found
    for pid in found:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        for pid in found:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def under_lag(url: str, shown: Shown, window: int | None) -> tuple[int, int]:
    """Frames that were whole, and packets that were lost; every pixel is what it should be."""

    def wrap(transport: Transport) -> Lagging:
        return Lagging(transport, transport.window if window is None else window)

    whole = 0
    with lenslink.open(url, timeout=PATIENCE_S, wrap=wrap) as device:
        with closing(device.stream("full")) as frames:
            for frame in itertools.islice(frames, FRAMES):
                with frame:
                    expected = shown(frame)
                    if frame.status is FrameStatus.COMPLETE:
                        np.testing.assert_array_equal(frame.pixels, expected)
                        whole += 1
                    else:
                        # What is said to be there is right, and what is not is not made up.
                        assert frame.coverage < 1
                        np.testing.assert_array_equal(
                            frame.pixels, np.where(frame.mask, expected, 0)
                        )
        return whole, device.stats.lost_packets
