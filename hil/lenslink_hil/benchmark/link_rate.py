"""The rate of one link: ``lenslink bench link``, on any module that can be opened.

The measurement counts the bytes of a stream from the end of the first frame on. It names the clock,
and the share of the most that the line can carry. If the module shows a known pattern, every pixel
that arrived is compared with the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from lenslink import Device, Frame, UsageError
from lenslink_protocol.ids import ModeUse, PixelFormat

from ..plant.patterns import make_pattern
from .document import format_machine, format_table
from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.link/2"
FRAMES_AT_LEAST: Final = 2

Say = Callable[[Callable[[], str]], None]
"""Shows a line of progress if a terminal watches and the last line is old enough."""


@dataclass(frozen=True, slots=True)
class Effort:
    """The settings of a measurement, and how long it takes.

    A measurement ends after *frames*, or after *seconds* of the link's clock and two frames.
    """

    mode: str | None = None
    packing: str | None = None
    tile_bytes: int = 0
    frames: int | None = None
    seconds: float = 5.0
    check: str | None = None
    """The pattern that the module shows. None: pixels are not compared."""
    seed: int = 0


def measure(device: Device, effort: Effort, say: Say) -> dict[str, Any]:
    """Measure and return what ``--json`` prints, without the URL. Raise what a stream raises."""
    _check_mode(device, effort)
    frames = device.stream(
        effort.mode, packing=effort.packing, tile_bytes=effort.tile_bytes or None
    )
    wrong = 0
    with closing(frames):
        with next(frames) as first:
            wrong += _count_wrong(first, effort)
        plan = device.configuration()
        assert plan is not None
        before, began = device.stats, device.read_clock()
        now, count = began, 0
        for frame in frames:
            now, count = device.read_clock(), count + 1
            after = device.stats
            with frame:
                wrong += _count_wrong(frame, effort)
            passed = now.seconds - began.seconds
            say(partial("bench: {} frames in {:.1f} s ...".format, count, passed))
            enough = passed >= effort.seconds if effort.frames is None else count >= effort.frames
            if enough and count >= FRAMES_AT_LEAST and passed > 0:
                break
    wire = (after.wire_bytes - before.wire_bytes) / passed
    line = device.line
    busy = None
    if now.busy_s is not None and began.busy_s is not None:
        busy = (now.busy_s - began.busy_s) / passed
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "model": device.manifest.model,
        "serial": device.manifest.serial,
        "firmware": device.manifest.firmware,
        "image_sha256": line.image_sha256,
        "bus": line.bus,
        "lanes": device.session_info.lanes,
        "tile_bytes": plan.tile_bytes,
        "frame_bytes": plan.frame_bytes,
        "encoding": PixelFormat(plan.pixel_format).name,
        "clock": now.clock,
        "seconds": passed,
        "frames": count,
        "incomplete": after.incomplete,
        "lost_packets": after.lost_packets,
        "discards": dict(after.discards),
        "wire_bytes_per_s": wire,
        "pixel_bytes_per_s": (after.bytes - before.bytes) / passed,
        "ceiling_bytes_per_s": line.ceiling,
        "of_ceiling": None if line.ceiling is None else wire / line.ceiling,
        "cpu_busy": busy,
        "checked": effort.check,
        "wrong_pixels": wrong,
    }


def _check_mode(device: Device, effort: Effort) -> None:
    """Raise UsageError for a binned mode, whose pixels no pattern predicts."""
    if effort.check is None:
        return
    mode = device.find_mode(effort.mode, ModeUse.PREVIEW)
    if mode.binning != 1:
        raise UsageError(
            f"--check: mode '{mode.name}' is binned, so its pixels cannot be predicted"
        )


def _count_wrong(frame: Frame, effort: Effort) -> int:
    """Return how many of the pixels that arrived differ from the pattern."""
    if effort.check is None:
        return 0
    expected = make_pattern(
        effort.check, frame.width, frame.height, bits=frame.bits, cfa=frame.cfa,
        seed=effort.seed, frame_number=frame.number,
    )  # fmt: skip
    return int(np.count_nonzero((frame.pixels != expected) & frame.mask))


def format_summary(result: dict[str, Any]) -> Iterator[str]:
    """Yield the result as lines for people."""
    clock = " (emulated time)" if result["clock"] == "emulated" else ""
    yield f"wire       {result['wire_bytes_per_s']:,.0f} B/s{clock}{_format_share(result)}"
    yield f"pixels     {result['pixel_bytes_per_s']:,.0f} B/s as {result['encoding']}"
    yield (
        f"link       {result['lanes']} lane{'s' * (result['lanes'] > 1)}, tiles of "
        f"{result['tile_bytes']:,} bytes, bus: {result['bus'] or 'unknown'}"
    )
    yield (
        f"frames     {result['frames']} in {result['seconds']:.2f} s{clock}, "
        f"{result['incomplete']} incomplete, {sum(result['discards'].values())} discards"
    )
    if result["cpu_busy"] is not None:
        yield f"processor  {result['cpu_busy']:.0%} busy"
    if result["image_sha256"] is not None:
        yield f"image      sha256 {result['image_sha256']}"
    if result["checked"] is not None:
        verdict = f"{result['wrong_pixels']} WRONG" if result["wrong_pixels"] else "every one right"
        yield f"checked    pixels against '{result['checked']}': {verdict}"


def format_link(result: dict[str, Any]) -> str:
    """Return the part of BENCHMARKS.md."""
    rows = [tuple(line.split(None, 1)) for line in format_summary(result)]
    lines = ["## One link", "", *format_machine(result["machine"]), ""]
    lines.append(f"`{result['url']}`: {result['model']} {result['serial']}, {result['firmware']}.")
    return "\n".join([*lines, "", *format_table(("", "figure"), rows)])


def _format_share(result: dict[str, Any]) -> str:
    share = result["of_ceiling"]
    if share is None:
        return ", ceiling unknown"
    return f" of {result['ceiling_bytes_per_s']:,}: {share:.3f}"
