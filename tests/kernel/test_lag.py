"""A reader that lags behind Linux' cdc_acm, and bytes that are lost in the kernel meanwhile.

Linux 6.1 has a tty's buffer grow to 640 KiB and stops asking the board once the reader's 4 KiB are
full: with these boards, no lag and no window, up to 8 MiB, made it lose anything by itself. What a
kernel that does lose leaves behind is made by having it throw away what it holds.
"""

from __future__ import annotations

import itertools
import termios
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

FRAMES = 20
PATIENCE_S = 30.0
LAG_S = 0.1
EVERY = 20


class Lagging:
    """A transport whose reader does something else for a while, now and then.

    Where it *loses*, the kernel then throws away what it holds; ``thrown`` counts how often.
    """

    private = False
    note: str | None = None

    def __init__(self, inner: Transport, loses: bool) -> None:
        self.window: int | None = inner.window
        self.loses = loses
        self.thrown = 0
        self.held = 0
        self._inner = inner
        self._reads = 0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._reads += 1
        if self._reads % EVERY == 0:
            # Not a wait for something: the lag is what is tested.
            time.sleep(LAG_S)
            held = self._inner._port.in_waiting
            self.held = max(self.held, held)
            if self.loses and held:
                termios.tcflush(self._inner._port.fileno(), termios.TCIFLUSH)
                self.thrown += 1
        return self._inner.receive_into(buffers, seconds)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._inner.send(data, deadline)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.usefixtures("over_serial")
@pytest.mark.parametrize("loses", [False, True], ids=["kept", "thrown away"])
def test_a_reader_that_lags(
    url: str, shown: Shown, loses: bool, request: pytest.FixtureRequest
) -> None:
    made: list[Lagging] = []

    def wrap(transport: Transport) -> Lagging:
        made.append(Lagging(transport, loses))
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
                        assert frame.received_fraction < 1
                        np.testing.assert_array_equal(
                            frame.pixels, np.where(frame.mask, expected, 0)
                        )
            made[0].loses = False
        lost = device.stats.lost_packets
    [lagging] = made
    request.node.user_properties.append(
        (
            f"a reader that lags, bytes {request.node.callspec.id}",
            f"{whole} of {FRAMES} frames whole, {lagging.thrown} times thrown away, "
            f"{lost} packets lost, {lagging.held} bytes held at most",
        )
    )
    assert lagging.held, "it did not lag"
    if loses:
        assert lagging.thrown and lost > 0
    else:
        assert (lost, whole) == (0, FRAMES)
