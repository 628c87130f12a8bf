"""How good and how fast merges are, against the plant's truth: ``lenslink bench hdr``.

The scenes are those of :mod:`.merge_scenes`, on seeds that were not used to choose constants. CPU
time is that of this process on one core, the best of several runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.settings import Settings
from lenslink_isp.merge.alignment import Aligner
from lenslink_isp.merge.bracket_merge import merge_bracket
from lenslink_isp.merge.burst_merge import merge_burst
from lenslink_isp.merge.hdr_preview import HdrPreview
from lenslink_isp.merge.scene_light import measure_light
from lenslink_isp.raw_image import RawImage

from ..plant.scene import SceneOptions
from .document import format_machine, format_table
from .machine_info import describe_machine
from .merge_scenes import HELD_OUT_SEEDS, MergeScene, RangeChart, make_moving_scene
from .slanted_edge import find_edge, measure_mtf50

SCHEMA = "lenslink.bench.hdr/1"

Report = Callable[[str], None]
Floats = NDArray[np.float32]
Result = dict[str, Any]

_PREVIEW = 1280, 960
_SMALL = 640, 480
_STILL = 4096, 3072
_STEPS_EV = 3
_FOCUS_MDPT = 1200
_CHART_MDPT = 1000
_SWINGS = (50, 150, 500)
"""Ways of the moving plane in thousandths of the field's width, there and back in 2 s."""
_SIGMAS = 3
_FLAT = 0.02
_EDGE_BOX = 112, 140
_ROUNDS = 3


def measure_all(report: Report) -> Result:
    """Return all figures, and the targets with what was reached.

    Args:
        report: called with what is measured next.
    """
    report("dynamic range")
    result: Result = {"schema": SCHEMA, "machine": describe_machine(), "range": measure_range()}
    report("ghosts")
    result["ghosts"] = [
        measure_ghosts(seed, swing) for seed in HELD_OUT_SEEDS[:4] for swing in _SWINGS
    ]
    report("bursts")
    result["bursts"] = [measure_burst(seed) for seed in HELD_OUT_SEEDS[:2]]
    report("speed")
    result["speed"] = measure_speed()
    report("HDR preview")
    result["preview"] = measure_preview()
    result["targets"] = list_targets(result)
    return result


def list_targets(result: Result) -> list[Result]:
    """Return each target with the value that was reached."""
    ghosts = max(each["share_beyond"] for each in result["ghosts"])
    bursts, speed = result["bursts"], result["speed"]
    return [
        _target("dynamic range, stops", result["range"]["stops"], 16, at_most=False),
        _target("dynamic range below theory, stops", result["range"]["below_theory"], 0.3),
        _target("noise off its NoiseProfile, longest frame", result["range"]["profile_off"], 0.2),
        _target(f"pixels beyond {_SIGMAS} sigma on the path, worst", ghosts, 0.01),
        _target("bracket of 3 x 12.6 MPx, CPU-ms", speed["bracket_cpu_ms"], 400),
        _target("burst of 8 x 12.6 MPx, CPU-s", speed["burst_cpu_s"], 2.5),
        _target(
            "noise of a burst down by",
            min(e["noise_down"] for e in bursts), 2.5, at_most=False,
        ),
        _target(
            "MTF50 of a burst over that of its reference",
            min(e["mtf50_ratio"] for e in bursts), 0.97, at_most=False,
        ),
        _target("registration error p95, px", max(e["shift_error_p95_px"] for e in bursts), 0.1),
        _target("HDR preview, frames/s", result["preview"]["frames_per_s"], 15, at_most=False),
    ]  # fmt: skip


def make_bracket(shortest_us: int, focus_mdpt: int, frames: int = 3) -> list[Settings]:
    """Return the settings of a bracket, shortest exposure first."""
    return [
        Settings(shortest_us << (_STEPS_EV * number), 1000, focus_mdpt) for number in range(frames)
    ]


def measure_range(size: tuple[int, int] = _SMALL) -> Result:
    """Return the dynamic range of a bracket of three: from saturation down to a SNR of 1.

    The theory is the range of one frame plus the ratio of the exposures. Noise is the error against
    the truth, with the fixed patterns of the sensor.
    """
    bracket = make_bracket(500, _FOCUS_MDPT)
    chart = RangeChart(20, bracket[0], size)
    light = chart.find_light()
    frames = [chart.take(each, number) for number, each in enumerate(bracket)]
    merged = merge_bracket(frames)
    single = measure_light(frames[0], 1.0).light
    ratio = math.log2(bracket[-1].exposure_us / bracket[0].exposure_us)  # type: ignore[operator]
    theory = _predict_range(chart) + ratio
    stops = _find_range(merged.raw.mosaic, light)
    slope, offset = merged.raw.noise_profile or (0.0, 0.0)
    # Below half of what saturates the longest frame. There the sensor's PRNU is small.
    inside = light < 2.0 ** (-ratio - 3)
    error = np.square(merged.raw.mosaic - light)[inside].mean()
    model = (slope * light + offset)[inside].mean()
    return {
        "frames": len(bracket),
        "step_ev": _STEPS_EV,
        "scene_stops": math.log2(float(light.max() / light.min())),
        "stops": stops,
        "theory_stops": theory,
        "below_theory": theory - stops,
        "one_frame_stops": _find_range(single, light),
        "profile_off": abs(math.sqrt(float(error / model)) - 1),
    }


def measure_ghosts(seed: int, swing: int, size: tuple[int, int] = _SMALL) -> Result:
    """Return how many pixels a moving target leaves wrong, on its path in all three frames."""
    bracket = make_bracket(500, _FOCUS_MDPT)
    scene = make_moving_scene(seed, size, swing=swing, shake=0)
    merged = merge_bracket([scene.take(each, number) for number, each in enumerate(bracket)])
    exposure = 2.0**_STEPS_EV
    truth = scene.find_light(bracket[1], 1) / np.float32(exposure)
    sigma = np.sqrt(merged.variance + scene.find_pattern_variance(bracket[0], truth))
    path = np.zeros(truth.shape, np.bool_)
    for number, each in enumerate(bracket):
        path |= scene.find_target(each, number)
    # What saturates every frame is known by none.
    path &= truth < 1
    beyond = np.abs(merged.raw.mosaic - truth) > _SIGMAS * sigma
    return {
        "seed": seed,
        "swing": swing,
        "path": float(path.mean()),
        "share_beyond": float(beyond[path].mean()),
        "shares": merged.shares,
    }


def measure_burst(seed: int, size: tuple[int, int] = _PREVIEW) -> Result:
    """Return what a hand-held burst of eight gains on edges, and how well it is aligned."""
    width, height = size
    settings = Settings(4000, 1000, _CHART_MDPT)
    scene = MergeScene(
        SceneOptions("edges", width=width, height=height, seed=seed, shake=40, defects="off")
    )
    frames = [scene.take(settings, number) for number in range(8)]
    merged = merge_burst(frames)
    truth = scene.find_light(settings, 0)
    reference = measure_light(frames[0], 1.0)
    errors = []
    aligner = Aligner(reference)
    for number in range(1, len(frames)):
        found = aligner.find_shifts(measure_light(frames[number], 1.0))
        wanted = scene.find_shift(settings, number) - scene.find_shift(settings, 0)
        errors.append(np.hypot(found[..., 0] - wanted[0], found[..., 1] - wanted[1]))
    before, after = (
        _find_block_noise(each - truth, truth) for each in (reference.light, merged.raw.mosaic)
    )
    box, green = _find_edge_box(size)
    line = find_edge(truth[box], green)
    mtf50 = [
        measure_mtf50(each[box], green, line)
        for each in (truth, reference.light, merged.raw.mosaic)
    ]
    return {
        "seed": seed,
        "frames": len(frames),
        "noise_down": float(np.median(before / after)),
        "mtf50_truth": mtf50[0],
        "mtf50_reference": mtf50[1],
        "mtf50_merged": mtf50[2],
        "mtf50_ratio": mtf50[2] / mtf50[1],
        "shift_error_p95_px": float(np.percentile(errors, 95)),
        "shares": merged.shares,
    }


def measure_speed() -> Result:
    """Return the CPU time of merges of 12.6 megapixels. Frames of the preview's size are tiled."""
    bracket = make_bracket(500, _FOCUS_MDPT)
    scene = make_moving_scene(HELD_OUT_SEEDS[0], _PREVIEW, swing=0, shake=0)
    frames = [_enlarge(scene.take(each, number)) for number, each in enumerate(bracket)]
    held = make_moving_scene(HELD_OUT_SEEDS[0], _PREVIEW, swing=0, shake=40)
    # Two shifted frames do: each takes as long to align as a new one.
    pair = [_enlarge(held.take(bracket[1], number)) for number in range(2)]
    burst = pair[:1] + pair[1:] * 7
    return {
        "megapixels": frames[0].mosaic.size / 1e6,
        "bracket_cpu_ms": 1000 * _time(lambda: merge_bracket(frames), _ROUNDS),
        "burst_cpu_s": _time(lambda: merge_burst(burst), 1),
    }


def measure_preview(pictures: int = 20) -> Result:
    """Return the rate of the HDR preview at 1280 x 960, from frames that are there already."""
    bracket = make_bracket(1000, _FOCUS_MDPT, 2)
    scene = make_moving_scene(HELD_OUT_SEEDS[0], _PREVIEW, swing=150, shake=40)
    frames = [scene.take(bracket[number % 2], number) for number in range(4)]
    preview = HdrPreview()
    picture = preview.develop(frames[0])
    start, cpu = time.monotonic(), time.process_time()
    for number in range(1, pictures + 1):
        preview.develop(frames[number % len(frames)], out=picture)
    seconds, cpu_s = time.monotonic() - start, time.process_time() - cpu
    return {
        "width": _PREVIEW[0],
        "height": _PREVIEW[1],
        "frames_per_s": pictures / seconds,
        "cpu_ms": 1000 * cpu_s / pictures,
    }


def format_summary(result: Result) -> list[str]:
    """Return the lines that the command prints."""
    found = result["range"]
    lines = [
        f"bracket of {found['frames']} frames, {found['step_ev']} EV apart: "
        f"{found['stops']:.2f} stops, theory {found['theory_stops']:.2f}, "
        f"one frame {found['one_frame_stops']:.2f}"
    ]
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "NOT MET"
        value = f"{each['value']:.3g}"
        lines.append(f"{verdict:8} {each['name']}: {value}, {sign} {each['bound']:g}")
    lines.append(
        f"held-out seeds {HELD_OUT_SEEDS[0]} to {HELD_OUT_SEEDS[3]}; HDR preview "
        f"{result['preview']['cpu_ms']:.0f} CPU-ms a frame"
    )
    return lines


def format_part(result: Result) -> str:
    """Return the part of BENCHMARKS.md."""
    found = result["range"]
    lines = ["## Merges (`lenslink bench hdr`)", "", *format_machine(result["machine"]), ""]
    lines += [
        "Merges of the simulated camera's frames against its truth, on scenes that were not",
        f"used to choose constants (seeds {HELD_OUT_SEEDS[0]} to {HELD_OUT_SEEDS[3]}).",
        "CPU time is that of one core. A busy machine makes frames a second worse.",
        f"One frame alone has {found['one_frame_stops']:.2f} stops.",
        "",
    ]
    rows = [
        (each["name"], f"{each['value']:.3g}",
         f"{'at most' if each['at_most'] else 'at least'} {each['bound']:g}")
        for each in result["targets"]
    ]  # fmt: skip
    return "\n".join([*lines, *format_table(("", "figure", "goal"), rows)])


def _target(name: str, value: float, bound: float, *, at_most: bool = True) -> Result:
    met = value <= bound if at_most else value >= bound
    return {"name": name, "value": value, "bound": bound, "at_most": at_most, "met": met}


def _predict_range(chart: RangeChart) -> float:
    """Return the stops of one frame: from saturation to where noise equals the signal."""
    slope, offset = chart.find_noise()
    # x**2 = slope * x + offset
    least = (slope + math.sqrt(slope**2 + 4 * offset)) / 2
    return -math.log2(least)


def _find_range(measured: Floats | NDArray[np.uint16], light: Floats) -> float:
    """Return the stops from saturation at 1 down to where the error equals the light."""
    error = np.square(np.asarray(measured, np.float64) - light)
    levels = np.unique(light)[::-1]
    noise = [math.sqrt(error[light == level].mean()) for level in levels]
    ratios = np.log2(levels / np.array(noise))
    # Saturated patches have no noise to speak of, so the search begins in the dark.
    last = int(np.flatnonzero(ratios > 0)[-1])
    if last + 1 == len(levels):
        return -math.log2(levels[last])
    share = ratios[last] / (ratios[last] - ratios[last + 1])
    stops = -np.log2(levels)
    return float(stops[last] + share * (stops[last + 1] - stops[last]))


def _find_block_noise(error: Floats, truth: Floats) -> NDArray[np.float64]:
    """Return the standard deviation of *error* in each block of 8 x 8 green pixels that is flat."""

    def cut(plane: Floats) -> NDArray[np.float64]:
        high, wide = (side // 16 for side in plane.shape)
        green = plane[0 : 16 * high : 2, 1 : 16 * wide : 2].astype(np.float64)
        blocks = green.reshape(high, 8, wide, 8).transpose(0, 2, 1, 3)
        return np.asarray(blocks.reshape(high * wide, 64))

    wanted = cut(truth)
    flat = np.ptp(wanted, axis=1) < _FLAT * wanted.mean(axis=1)
    return np.asarray(cut(error)[flat].std(axis=1))


def _find_edge_box(size: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return where the right edge of the square right of the centre is, and its green pixels."""
    width, height = size
    pitch = width // 4
    high, wide = _EDGE_BOX
    left = (width // 2 + round(pitch * 0.79) - wide // 2) // 2 * 2
    top = (height // 2 - high // 2) // 2 * 2
    green = np.zeros((high, wide), np.bool_)
    green[0::2, 1::2] = green[1::2, 0::2] = True
    return np.s_[top : top + high, left : left + wide], green


def _enlarge(raw: RawImage) -> RawImage:
    width, height = _STILL
    high, wide = raw.mosaic.shape
    tiles = np.tile(raw.mosaic, (-(-height // high), -(-width // wide)))
    return replace(raw, mosaic=np.ascontiguousarray(tiles[:height, :width]))


def _time(call: Callable[[], object], rounds: int) -> float:
    """Return the least CPU time of a call in seconds, on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        times = []
        for _ in range(rounds):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
    return min(times)
