"""How good and how fast the zoom is, against known scenes: ``lenslink bench zoom``.

Every figure compares a zoom of eight frames with one frame: its first one, demosaiced by ``lenslink
develop``, enlarged by bicubic interpolation, and sharpened by as much. A second peer merges the
eight frames first (``lenslink merge``), so it has as little noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.srgb import decode_srgb, encode_srgb
from lenslink_isp.develop.still import StillSettings, develop_still
from lenslink_isp.merge.burst_merge import merge_burst
from lenslink_isp.raw_image import RawImage
from lenslink_isp.zoom.detail import SIGMA
from lenslink_isp.zoom.zoom_burst import FACTOR, SHARPNESS, zoom_burst

from . import zoom_scenes
from .document import format_machine, format_table
from .machine_info import describe_machine
from .slanted_edge import find_half, measure_mtf, measure_overshoot

SCHEMA = "lenslink.bench.zoom/1"

Report = Callable[[str], None]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Result = dict[str, Any]

SHOTS = {110: 2e-4, 550: 1e-3, 2200: 4e-3}
"""S of the noise for each ISO: that of a phone, see :mod:`.denoise_quality`."""
_GOAL_ISO = 550
_FRAMES = 8
_SEED = 300
_BORDER = 8
_QUIET = 5e-5
_EDGES = 8
"""Bursts of the edge. What a burst resolves depends on where the hand was."""
_NYQUIST = 0.5
"""In cycles a pixel of the picture. A response above it is no resolution."""
_MOST_SHARPNESS = 4.0
_BAND = 0.2, 0.4
"""Frequencies of the star at which false detail is measured, in cycles a pixel of the sensor. One
frame resolves them too."""
_SQUARE = 48
"""Side of the square that moves, in pixels of the scene."""
_STILL = 2048, 1536


def measure_all(report: Report, scenes: Sequence[int] = range(12)) -> Result:
    """Return all figures, and the targets with what was reached.

    Args:
        report: called with what is measured next.
        scenes: numbers of the photographs' crops.
    """
    result: Result = {"schema": SCHEMA, "machine": describe_machine(), "isos": []}
    for iso, shot in SHOTS.items():
        report(f"ISO {iso}")
        result["isos"].append(measure_iso(iso, shot, scenes))
    report("edge and star")
    result["edges"] = [measure_edge(_SEED + number) for number in range(_EDGES)]
    result["star"] = measure_star()
    report("moving things")
    result["motion"] = [measure_motion(number) for number in scenes]
    report("speed")
    result["speed"] = measure_speed()
    result["targets"] = list_targets(result)
    return result


def list_targets(result: Result) -> list[Result]:
    """Return each target with the value that was reached."""
    (iso,) = [each for each in result["isos"] if each["iso"] == _GOAL_ISO]
    least = min(each["zoom"] - each["one"] for each in iso["scenes"])
    star = result["star"]
    mtf10, mtf50 = (
        float(np.mean([each[name] for each in result["edges"]]))
        for name in ("mtf10_ratio", "mtf50_ratio")
    )
    motion = [each["zoom"] - each["one"] for each in result["motion"]]
    return [
        _target(f"PSNR over one frame at ISO {_GOAL_ISO}, dB", iso["zoom"] - iso["one"], 1.5),
        _target("the same, worst scene, dB", least, 0.0),
        _target("MTF10 over one frame, equal overshoot", mtf10, 1.25),
        _target("MTF50 over one frame, equal overshoot", mtf50, 1.0),
        _target("false detail over that of one frame", star["zoom"] / star["one"], 1.0, True),
        _target("PSNR where a thing moves over one frame, dB", float(np.mean(motion)), 0.0),
        _target("the same, worst scene, dB", min(motion), -0.5),
        _target("eight frames of 3 MPx to 12 MPx, CPU-s", result["speed"]["cpu_s"], 15, True),
    ]


def enlarge(raw: RawImage, sharpness: float) -> Pixels:
    """Return the peer's picture: one RAW, developed, enlarged and sharpened."""
    picture = develop_still(raw, StillSettings(sharpness=0)).astype(np.float32)
    large = cv2.resize(picture, None, fx=FACTOR, fy=FACTOR, interpolation=cv2.INTER_CUBIC)
    blurred = cv2.GaussianBlur(large, (0, 0), SIGMA)
    return np.asarray(np.clip(np.round(large + sharpness * (large - blurred)), 0, 255), np.uint8)


def measure_iso(iso: int, shot: float, numbers: Sequence[int]) -> Result:
    """Return the PSNR in sRGB of the zoom and of its peers, of each crop and their mean."""
    found = []
    scenes = zoom_scenes.load_scenes()
    for number in numbers:
        scene = scenes[number]
        frames = zoom_scenes.take_burst([scene] * _FRAMES, shot, _SEED + number)
        zoomed = zoom_burst(frames)
        found.append(
            {
                "one": find_psnr(enlarge(frames[0], SHARPNESS), scene),
                "merged": find_psnr(enlarge(merge_burst(frames).raw, SHARPNESS), scene),
                "zoom": find_psnr(zoomed.picture, scene),
                "share": float(np.mean(zoomed.shares)),
            }
        )
    mean = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    return {"iso": iso, "shot": shot, **mean, "scenes": found}


def measure_edge(seed: int) -> Result:
    """Return MTF10 and MTF50 of a slanted edge, in cycles a pixel of the sensor.

    The zoom is not sharpened. The one frame is, until its edge overshoots as much. *seed* is that
    of the hand.
    """
    scene, part, edge = zoom_scenes.make_square()
    frames = zoom_scenes.take_burst([scene] * _FRAMES, _QUIET, seed)

    def read(picture: Pixels) -> Result:
        return _read_edge(np.asarray(decode_srgb(picture[part][..., 1] / 255)), edge)

    zoomed = read(zoom_burst(frames, settings=StillSettings(sharpness=0)).picture)
    low, high = 0.0, _MOST_SHARPNESS
    for _ in range(12):
        amount = (low + high) / 2
        is_weak = read(enlarge(frames[0], amount))["overshoot"] < zoomed["overshoot"]
        low, high = (amount, high) if is_weak else (low, amount)
    one = read(enlarge(frames[0], amount))
    return {
        "seed": seed,
        "zoom": zoomed,
        "one": {**one, "sharpness": amount},
        "mtf10_ratio": zoomed["mtf10"] / one["mtf10"],
        "mtf50_ratio": zoomed["mtf50"] / one["mtf50"],
    }


def measure_star() -> Result:
    """Return how strong false detail is, as a part of the true one: aliases, ringing, noise.

    It is measured where one frame resolves the star. Also the contrast beyond its Nyquist limit.
    """
    scene, frequency = zoom_scenes.make_star()
    frames = zoom_scenes.take_burst([scene] * _FRAMES, SHOTS[110], _SEED)
    inside = (frequency > _BAND[0]) & (frequency < _BAND[1])
    beyond = (frequency > 0.5) & (frequency < 0.6)
    result: Result = {}
    for name, picture in (
        ("one", enlarge(frames[0], SHARPNESS)),
        ("zoom", zoom_burst(frames).picture),
    ):
        light = np.asarray(decode_srgb(picture[..., 1] / 255))
        contrast, false = _split_detail(light[inside], scene[..., 1][inside])
        result[name] = false / contrast
        result[f"{name}_contrast_beyond"] = _split_detail(
            light[beyond], scene[..., 1][beyond]
        )[0]  # fmt: skip
    return result


def measure_motion(number: int) -> Result:
    """Return the PSNR on the path of a square that moves over a crop."""
    scenes = zoom_scenes.load_scenes()
    scene, other = scenes[number], scenes[(number + 5) % len(scenes)]
    path = np.zeros(scene.shape[:2], np.bool_)
    top = (scene.shape[0] - _SQUARE) // 2
    moving = []
    for step in range(_FRAMES):
        left = 20 + 13 * step
        inside = np.s_[top : top + _SQUARE, left : left + _SQUARE]
        moving.append(scene.copy())
        moving[-1][inside] = other[top : top + _SQUARE, 70 : 70 + _SQUARE]
        path[inside] = True
    frames = zoom_scenes.take_burst(moving, SHOTS[110], _SEED + number)
    zoomed = zoom_burst(frames)
    return {
        "scene": number,
        "one": find_psnr(enlarge(frames[0], SHARPNESS), moving[0], path),
        "zoom": find_psnr(zoomed.picture, moving[0], path),
        "shares": zoomed.shares,
    }


def measure_speed() -> Result:
    """Return the CPU time of a zoom of eight frames, on one thread. Little noise takes longest."""
    scene = zoom_scenes.load_scenes()[0]
    width, height = _STILL
    frames = []
    for frame in zoom_scenes.take_burst([scene] * _FRAMES, _QUIET, _SEED):
        high, wide = frame.mosaic.shape
        tiled = np.tile(frame.mosaic, (-(-height // high), -(-width // wide)))
        frames.append(replace(frame, mosaic=np.ascontiguousarray(tiled[:height, :width])))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        start = time.process_time()
        zoomed = zoom_burst(frames)
        seconds = time.process_time() - start
    finally:
        cv2.setNumThreads(threads)
    return {
        "megapixels_in": width * height / 1e6,
        "megapixels_out": zoomed.picture.size / 3e6,
        "cpu_s": seconds,
    }


def find_psnr(picture: Pixels, scene: Floats, part: NDArray[np.bool_] | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB against the scene in sRGB, but for its border."""
    error = picture / 255 - encode_srgb(scene)
    inside = np.s_[_BORDER:-_BORDER, _BORDER:-_BORDER]
    error = error[inside if part is None else part]
    return float(-10 * np.log10(np.square(error).mean()))


def format_summary(result: Result) -> list[str]:
    """Return the lines that the command prints."""
    lines = [
        f"ISO {each['iso']:4}: one frame {each['one']:.2f} dB, merged {each['merged']:.2f} dB, "
        f"zoom {each['zoom']:.2f} dB"
        for each in result["isos"]
    ]
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "NOT MET"
        lines.append(f"{verdict:8} {each['name']}: {each['value']:.3g}, {sign} {each['bound']:g}")
    star = result["star"]
    lines.append(
        f"contrast of the star at 0.5 to 0.6 cycles a pixel: one frame "
        f"{star['one_contrast_beyond']:.2f}, zoom {star['zoom_contrast_beyond']:.2f}"
    )
    lines.append("twelve crops of three held-out photographs; noise of a phone")
    return lines


def format_part(result: Result) -> str:
    """Return the part of BENCHMARKS.md."""
    lines = ["## The zoom (`lenslink bench zoom`)", "", *format_machine(result["machine"])]
    lines += [
        "",
        "Eight frames against one frame: developed, enlarged (bicubic), and sharpened alike. PSNR",
        "in dB, in sRGB, the mean of twelve crops of three photographs. What counts as motion",
        "and the number of steps were chosen with a look at them. Merged is the burst after",
        "`lenslink merge`, enlarged. The noise is a phone's. MTF is that of a slanted edge, the",
        "mean of eight bursts. CPU time is that of one core.",
        "",
    ]
    rows = [
        (f"ISO {each['iso']}", *(f"{each[name]:.2f}" for name in ("one", "merged", "zoom")))
        for each in result["isos"]
    ]
    lines += format_table(("", "one frame", "merged", "zoom"), rows)
    goals = [
        (
            each["name"],
            f"{each['value']:.3g}",
            f"{'at most' if each['at_most'] else 'at least'} {each['bound']:g}",
            "met" if each["met"] else "**not met**",
        )
        for each in result["targets"]
    ]
    return "\n".join([*lines, *format_table(("", "figure", "goal", ""), goals)])


def _target(name: str, value: float, bound: float, at_most: bool = False) -> Result:
    met = value <= bound if at_most else value >= bound
    return {"name": name, "value": value, "bound": bound, "at_most": at_most, "met": met}


def _read_edge(light: NDArray[Any], edge: tuple[float, float]) -> Result:
    """Return MTF50 and MTF10, in cycles a pixel of the sensor, and overshoot of an edge."""
    used = np.ones(light.shape, np.bool_)
    curve, frequencies = measure_mtf(light, used, edge)
    return {
        **{
            name: FACTOR * min(find_half(curve, frequencies, level), _NYQUIST)
            for name, level in (("mtf50", 0.5), ("mtf10", 0.1))
        },
        "overshoot": measure_overshoot(light, used, edge),
    }


def _split_detail(light: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float]:
    """Return the contrast of the true detail in *light*, and the size of everything else.

    Both are parts of the truth's own detail.
    """
    wanted, found = truth - truth.mean(), light - light.mean()
    contrast = float(found @ wanted / (wanted @ wanted))
    return contrast, float((found - contrast * wanted).std() / wanted.std())
