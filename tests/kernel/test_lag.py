"""A reader that lags behind Linux' cdc_acm, which then throws bytes away without a word."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import pytest

import lenslink
from lenslink import FrameStatus
from lenslink.deadline import Deadline
from lenslink.transports.base import Transport

Shown = Callable[[lenslink.Frame], np.ndarray]

FRAMES = 30
PATIENCE_S = 30.0
LAG_S = 0.15
EVERY = 20
# More than the 64 KiB that the tty holds, and more than a driver would ever grant.
TOO_MUCH = 512 << 10


class Lagging:
    """A transport that reads nothing for a while, now and then, and asks for as much as it likes.

    ``held`` is the most that waited in the kernel after such a while.
    """

    private = False
    note: str | None = None

    def __init__(self, inner: Transport, window: int) -> None:
        self.window: int | None = window
        self.held = 0
        self._inner = inner
        self._reads = 0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._reads += 1
        if self._reads % EVERY == 0:
            # Not a wait for something: the lag is what is tested.
            time.sleep(LAG_S)
            self.held = max(self.held, self._inner._port.in_waiting)
        return self._inner.receive_into(buffers, seconds)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._inner.send(data, deadline)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.usefixtures("over_serial")
@pytest.mark.parametrize("window", [None, TOO_MUCH], ids=["the driver's window", "a wide one"])
def test_a_reader_that_lags(
    url: str, shown: Shown, window: int | None, request: pytest.FixtureRequest
) -> None:
    made: list[Lagging] = []

    def wrap(transport: Transport) -> Lagging:
        made.append(Lagging(transport, transport.window if window is None else window))
        return made[0]

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
                        mask = frame.mask
                        np.testing.assert_array_equal(frame.pixels, np.where(mask, expected, 0))
        stats = device.stats
    lost = stats.lost_packets
    text = f"{whole} of {FRAMES} frames whole, {lost} packets lost, {made[0].held} bytes held"
    request.node.user_properties.append((request.node.callspec.id, text))
    if window is None:
        # It asks for no more than the tty holds: nothing can be lost.
        assert (lost, whole) == (0, FRAMES)
    else:
        assert lost > 0, "the kernel has lost nothing: this has shown nothing"
