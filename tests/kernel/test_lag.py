"""A reader that lags behind Linux' cdc_acm, and bytes that the kernel loses meanwhile.

Linux 6.1 lets a tty's buffer grow to 640 KiB, and stops reading from the board when the reader's
4 KiB are full. With these boards it lost no byte by itself, whatever the lag and the window (up to
8 MiB). So the test makes the kernel lose bytes: it flushes the tty's buffer.
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
    """A transport whose reader pauses now and then.

    With *loses_bytes*, the kernel's buffer is then flushed; ``flush_count`` counts how often.
    """

    private = False
    note: str | None = None

    def __init__(self, inner: Transport, loses_bytes: bool) -> None:
        self.window: int | None = inner.window
        self.loses_bytes = loses_bytes
        self.flush_count = 0
        self.max_held = 0
        self._inner = inner
        self._reads = 0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._reads += 1
        if self._reads % EVERY == 0:
            # This is not a wait for an event: the test is about the lag.
            time.sleep(LAG_S)
            held = self._inner._port.in_waiting
            self.max_held = max(self.max_held, held)
            if self.loses_bytes and held:
                termios.tcflush(self._inner._port.fileno(), termios.TCIFLUSH)
                self.flush_count += 1
        return self._inner.receive_into(buffers, seconds)

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._inner.send(data, deadline)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.usefixtures("over_serial")
@pytest.mark.parametrize("loses", [False, True], ids=["kept", "flushed"])
def test_a_lagging_reader_gets_right_pixels(
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
                        # The pixels that the mask names are right; the others are zero.
                        assert frame.received_fraction < 1
                        np.testing.assert_array_equal(
                            frame.pixels, np.where(frame.mask, expected, 0)
                        )
            made[0].loses_bytes = False
        lost = device.stats.lost_packets
    [lagging] = made
    request.node.user_properties.append(
        (
            f"a reader that lags, bytes {request.node.callspec.id}",
            f"{whole} of {FRAMES} frames whole, {lagging.flush_count} flushes, "
            f"{lost} packets lost, {lagging.max_held} bytes held at most",
        )
    )
    assert lagging.max_held, "the reader did not lag"
    if loses:
        assert lagging.flush_count and lost > 0
    else:
        assert (lost, whole) == (0, FRAMES)
