"""A still between previews over a line that loses nothing and is slow, as a serial port may be.

On virtual time, with a serial port's window: what has not come yet is asked for again and again,
and no answer may make a frame incomplete of which every tile is still to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from helpers import module_world

from lenslink.receive.assembly import Assembly
from lenslink.transports.serial import WINDOW
from lenslink_hil import virtual_time
from lenslink_hil.virtual_time import InstantPorts, Line, VirtualLinks
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Accepted, Capture, Configure, Configured

PREVIEW, STILL = 0, 1
SIZES = {1: (128, 96), 2: (256, 192)}
STILLS = 2
PATIENCE_S = 60.0


def picture(number: int, mode: int) -> bytes:
    width, height = SIZES[mode]
    pixels = np.arange(width * height, dtype=np.uint32) * 13 + number * 517 + mode
    return (pixels & 0xFFF).astype("<u2").tobytes()


class Channel(InstantPorts):
    """A way into the sensor of its own."""

    def request_rows(self, number: int, mode: int, *_: Any) -> None:
        self._rows = memoryview(picture(number, mode))


class TwoChannels(InstantPorts):
    """A sensor that reads the preview and the still at once, as the simulated module's does."""

    def __init__(self, *_: Any) -> None:
        super().__init__(bytes)
        self.channels = [Channel(bytes), Channel(bytes)]


def configuration() -> Mapping[str, Any]:
    made = module_world.configuration(tile_bytes=4096, in_flight=3, held=5)
    modes = [
        module_world.mode(1, *SIZES[1], ["preview"]),
        module_world.mode(2, *SIZES[2], ["still"]),
    ]
    made["sensor"] |= {"width": 256, "height": 192, "modes": modes}
    return made


class SerialHarness(VirtualLinks):
    """With a serial port's window, one lane, and a preview that runs."""

    def __init__(self, rate: float, latency_s: float) -> None:
        super().__init__(configuration(), bytes, Line(rate, latency_s), Line(rate, latency_s))
        self.link = Link(0x5EED5EED, self.frames, self.discards, 1, WINDOW)
        while not self.module.is_attached():
            self._step()
        assert self.open()
        self.start(PREVIEW, 1)

    def next(self, stream: int) -> Assembly:
        finished = self.frames.finished_frames

        def found() -> Assembly | None:
            return next((each for each in finished if each.stream == stream), None)

        assert self.run(lambda: found() is not None, PATIENCE_S)
        frame = found()
        assert frame is not None
        finished.remove(frame)
        return frame

    def capture(self) -> Assembly:
        answer = self.call(Configure(STILL, 0, 2, 0, 0))
        assert isinstance(answer, Configured)
        self.configurations[STILL] = answer
        assert isinstance(self.call(Capture(STILL, 1)), Accepted)
        return self.next(STILL)


def assert_whole(frame: Assembly, mode: int) -> None:
    assert frame.is_intact, frame.missing_ranges
    assert frame.buffer.tobytes() == picture(frame.number, mode)


@pytest.mark.parametrize("latency_ms", [1, 20, 100, 200])
@pytest.mark.parametrize("rate", [30e3, 100e3, 500e3, 2e6])
def test_stills_between_previews_are_complete_on_a_slow_line(
    rate: float, latency_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_time, "InstantPorts", TwoChannels)
    bench = SerialHarness(rate, latency_ms / 1000)
    for _ in range(STILLS):
        assert_whole(bench.next(PREVIEW), 1)
        assert_whole(bench.capture(), 2)
    assert bench.link.lost_packets == 0
