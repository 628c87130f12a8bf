"""What ``lenslink bench link`` makes of a module's frames, its clock and its line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lenslink import Device, UsageError
from lenslink.stats import Stats
from lenslink.transports.base import Line, Reading
from lenslink.transports.usb_lanes import LINES
from lenslink_hil.benchmark import document, link_rate
from lenslink_hil.benchmark.link_rate import Effort
from lenslink_hil.plant.patterns import make_pattern
from lenslink_protocol.ids import PixelFormat

WIDTH, HEIGHT = 16, 8
FRAME_BYTES = 2 * WIDTH * HEIGHT
OVERHEAD = 100
FRAME_S = 0.25
EMULATED = Line("strict", 1_216_000, image_sha256="ab" * 32)


class Frame(contextlib.AbstractContextManager["Frame"]):
    width, height, bits, cfa = WIDTH, HEIGHT, 12, "RGGB"

    def __init__(self, pixels: Any, mask: Any, number: int) -> None:
        self.pixels, self.mask, self.number = pixels, mask, number

    def __exit__(self, *_: object) -> None:
        pass


class Module:
    """A device of which a frame comes every quarter of a second of its clock."""

    url = "test:"
    manifest = SimpleNamespace(model="M", serial="S", firmware="F")
    session_info = SimpleNamespace(lanes=2)

    def __init__(
        self, line: Line, clock: str = "wall", busy: float | None = None, spoilt: int | None = None
    ) -> None:
        self.line = line
        self._clock, self._busy, self._spoilt = clock, busy, spoilt
        self._frames = 0
        self.closed = False

    def find_mode(self, name: str | None, use: object) -> Any:
        del use
        return SimpleNamespace(name=name, binning=2 if name == "binned" else 1)

    def configuration(self) -> Any:
        code = PixelFormat.RG12p if self._asked["packing"] == "lsb" else PixelFormat.RG12
        tile = self._asked["tile_bytes"] or 64
        return SimpleNamespace(tile_bytes=tile, frame_bytes=FRAME_BYTES, pixel_format=code)

    def stream(self, mode: str | None, **asked: Any) -> Iterator[Any]:
        del mode
        self._asked = asked
        try:
            while True:
                self._frames += 1
                yield self._frame(self._frames)
        finally:
            self.closed = True

    def _frame(self, number: int) -> Any:
        settings = {"bits": 12, "cfa": "RGGB", "seed": 3}
        pixels = make_pattern("prbs", WIDTH, HEIGHT, frame_number=number, **settings).copy()
        mask = np.ones(pixels.shape, bool)
        if number == self._spoilt:
            pixels[2, 3] ^= 1
            # What did not come is said to be missing, and is no error.
            pixels[0, 0], mask[0, 0] = 0, False
        return Frame(pixels, mask, number)

    @property
    def stats(self) -> Stats:
        count = self._frames
        return Stats(
            bytes=FRAME_BYTES * count, complete=count, incomplete=0, lost_packets=0, discards={},
            first_tile_ms=1.0, wire_bytes=1000 + (FRAME_BYTES + OVERHEAD) * count,
        )  # fmt: skip

    def read_clock(self) -> Reading:
        seconds = 100 + FRAME_S * self._frames
        busy = None if self._busy is None else self._busy * seconds
        return Reading(seconds, self._clock, busy)


def measure(module: Module, effort: Effort, say: Callable[..., None] | None = None) -> Any:
    made: Any = module
    device: Device = made
    result = link_rate.measure(device, effort, say or (lambda text: text() and None))
    assert module.closed
    return {**result, "url": module.url}


def test_rates_are_of_the_links_own_clock_and_from_the_first_frame_on() -> None:
    result = measure(Module(EMULATED, "emulated", 0.75), Effort(frames=10))
    assert (result["frames"], result["seconds"]) == (10, 2.5)
    assert result["pixel_bytes_per_s"] == FRAME_BYTES / FRAME_S
    assert result["wire_bytes_per_s"] == (FRAME_BYTES + OVERHEAD) / FRAME_S
    assert result["of_ceiling"] == result["wire_bytes_per_s"] / 1_216_000
    assert (result["clock"], result["bus"], result["lanes"]) == ("emulated", "strict", 2)
    assert result["cpu_busy"] == pytest.approx(0.75)
    assert result["image_sha256"] == "ab" * 32
    assert any("(emulated time)" in line for line in link_rate.format_summary(result))


def test_a_duration_is_of_that_clock_too() -> None:
    assert measure(Module(Line()), Effort(seconds=3.0))["frames"] == 12
    assert measure(Module(Line()), Effort(seconds=0.001))["frames"] == link_rate.FRAMES_AT_LEAST


def test_what_is_not_known_is_null() -> None:
    result = measure(Module(Line()), Effort(frames=2))
    unknown = ("bus", "ceiling_bytes_per_s", "of_ceiling", "cpu_busy", "image_sha256", "checked")
    assert [result[key] for key in unknown] == [None] * len(unknown)
    assert "ceiling unknown" in next(link_rate.format_summary(result))


def test_the_encoding_is_the_modules_answer() -> None:
    result = measure(Module(Line()), Effort(packing="lsb", tile_bytes=32, frames=2))
    assert (result["encoding"], result["tile_bytes"]) == ("RG12p", 32)


@pytest.mark.parametrize(("spoilt", "wrong"), [(None, 0), (1, 1), (4, 1), (7, 0)])
def test_every_pixel_that_came_is_compared(spoilt: int | None, wrong: int) -> None:
    """Of the first frame too, which the rate leaves out; frame 7 is beyond the last."""
    module = Module(Line(), spoilt=spoilt)
    result = measure(module, Effort(frames=5, check="prbs", seed=3))
    assert result["wrong_pixels"] == wrong
    assert any(("WRONG" in line) == bool(wrong) for line in link_rate.format_summary(result))


def test_another_seed_is_another_pattern() -> None:
    assert measure(Module(Line()), Effort(frames=2, check="prbs", seed=4))["wrong_pixels"] > 300


def test_pixels_that_are_means_are_not_checked() -> None:
    module = Module(Line())
    with pytest.raises(UsageError, match="binned"):
        link_rate.measure(module, Effort("binned", check="prbs"), lambda _: None)  # type: ignore[arg-type]


def test_the_report_has_a_part_of_its_own(tmp_path: Any) -> None:
    path = tmp_path / "B.md"
    result = measure(Module(replace(EMULATED, bus="ideal")), Effort(frames=3))
    document.write_part(path, "host", "## Host")
    for _ in range(2):
        document.write_part(path, "link", link_rate.format_link(result))
    parts = document.read_parts(path)
    assert parts["host"].strip() == "## Host"
    assert "ideal" in parts["link"]
    assert path.read_text().count("## One link") == 1


def test_what_usb_carries() -> None:
    full, high, *faster = (LINES[speed] for speed in sorted(LINES))
    assert (full.bus, full.ceiling) == ("full", 1_216_000)
    assert (high.bus, high.ceiling) == ("high", 53_248_000)
    assert [each.bus for each in faster] == ["super", "super+"]
