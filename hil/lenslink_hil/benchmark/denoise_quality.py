"""How good and how fast the RAW denoiser is: ``lenslink bench denoise``.

Twelve crops of photographs become RAW with the noise of five ISOs. The denoiser was not trained on
these photographs, but the stages of its training were chosen with a look at these figures. The peer
is BM3D, the best known method without training. Its licence forbids commercial use, so LensLink
does not call it. Its figures were measured once, as BM3D_HOW says, on the same crops and the same
noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.srgb import decode_srgb, encode_srgb
from lenslink_isp.denoise.network import Network, OpenCvNetwork, load_network
from lenslink_isp.denoise.raw_denoiser import denoise_raw
from lenslink_isp.raw_image import RawImage

from .document import format_machine, format_table
from .machine_info import describe_machine

SCHEMA = "lenslink.bench.denoise/1"

Report = Callable[[str], None]
Floats = NDArray[np.float32]
Result = dict[str, Any]

CROPS = Path(__file__).parent / "denoise_crops" / "crops.png"
SIDE = 192
"""Of a crop, in pixels. The file has three rows of four crops."""
BLACK, WHITE = 256, 4095
RED, BLUE = 0.5, 0.625
"""The sensor's answer to white in red and blue. Green is 1."""
EXPOSURE = 0.9
SEED = 100
SHOT = {550: 1e-3, 2200: 4e-3, 6600: 1.2e-2}
"""S of the noise for each ISO. The noise is that of a phone, the Pixel 4: of its read noise, see
:func:`find_read`."""
QUIET_SHOT = {25: 4.5e-5, 100: 1.8e-4}
"""Two ISOs more, at which the denoiser must not harm the picture."""
BM3D = {550: (40.70, 32.56), 2200: (33.47, 26.55), 6600: (28.07, 19.97)}
"""Raw and sRGB PSNR of BM3D in dB: the mean of the twelve crops."""
BM3D_HOW = (
    "bm3d 4.0.3 on the four planes after the Anscombe transform, rotated to one mean and three "
    "differences; inverse with the offset 1/4"
)
_GOALS_DB = {
    ("raw", 550): -0.3,
    ("raw", 2200): 0.0,
    ("sRGB", 2200): 0.0,
    ("raw", 6600): 0.0,
    ("sRGB", 6600): 1.5,
}
"""How much better than BM3D the denoiser must be."""
_SPEED_SIZE = 1536, 2048
_ROUNDS = 3


def find_read(shot: float) -> float:
    """Return O of the noise, for S: that of the Pixel 4."""
    return 3.19e-6 * (shot / 1.807e-4) ** 2


def load_crops() -> list[Floats]:
    """Return the crops as clean mosaics, (192, 192), RGGB, 0 black and 1 white."""
    sheet = cv2.imdecode(np.fromfile(CROPS, np.uint8), cv2.IMREAD_COLOR_RGB)
    light = np.asarray(decode_srgb(np.asarray(sheet) / 255) * EXPOSURE, np.float32)
    mosaic = light[..., 1].copy()
    mosaic[0::2, 0::2] = light[0::2, 0::2, 0] * RED
    mosaic[1::2, 1::2] = light[1::2, 1::2, 2] * BLUE
    high, wide = mosaic.shape
    return [
        np.ascontiguousarray(mosaic[top : top + SIDE, left : left + SIDE])
        for top in range(0, high, SIDE)
        for left in range(0, wide, SIDE)
    ]


def add_noise(clean: Floats, shot: float, seed: int) -> RawImage:
    """Return what the sensor makes of a clean mosaic: noise, black level, 12 bits."""
    random = np.random.default_rng(seed)
    read = find_read(shot)
    noisy = random.poisson(clean / shot) * shot + random.normal(0, math.sqrt(read), clean.shape)
    words = np.clip(np.round(noisy * (WHITE - BLACK) + BLACK), 0, WHITE).astype(np.uint16)
    return RawImage(
        words, "RGGB", (float(BLACK),) * 4, float(WHITE), np.eye(3), (RED, 1.0, BLUE), (shot, read)
    )


def develop_plainly(mosaic: Floats) -> Floats:
    """Return sRGB, (H, W, 3), of a mosaic: white balance and an edge-aware demosaicing of OpenCV.

    The figures of BM3D hold for this development, so it is apart from that of ``lenslink develop``.
    """
    balanced = mosaic.copy()
    balanced[0::2, 0::2] /= RED
    balanced[1::2, 1::2] /= BLUE
    words = np.round(np.clip(balanced, 0, 1) * 65535).astype(np.uint16)
    linear = cv2.cvtColor(words, cv2.COLOR_BayerRGGB2RGB_EA)
    return np.asarray(encode_srgb(linear / 65535), np.float32)


def find_psnr(picture: Floats, truth: Floats) -> float:
    """Return the peak signal-to-noise ratio in dB, for a peak of 1."""
    error = np.clip(picture, 0, 1).astype(np.float64) - np.clip(truth, 0, 1)
    return float(-10 * np.log10(np.mean(error**2)))


def measure_crop(clean: Floats, shot: float, seed: int, network: Network) -> Result:
    """Return raw and sRGB PSNR of one crop, before and after."""
    raw = add_noise(clean, shot, seed)
    before = ((raw.mosaic - np.float32(BLACK)) / np.float32(WHITE - BLACK)).astype(np.float32)
    after = np.asarray(denoise_raw(raw, network=network).mosaic, np.float32)
    truth = develop_plainly(clean)
    return {
        "raw_before": find_psnr(before, clean),
        "raw": find_psnr(after, clean),
        "srgb_before": find_psnr(develop_plainly(before), truth),
        "srgb": find_psnr(develop_plainly(after), truth),
    }


def measure_iso(iso: int, shot: float, network: Network) -> Result:
    """Return the mean over the crops, and the least gain of a crop."""
    crops = [
        measure_crop(clean, shot, SEED + number, network)
        for number, clean in enumerate(load_crops())
    ]
    mean = {name: float(np.mean([crop[name] for crop in crops])) for name in crops[0]}
    gains = [crop[name] - crop[f"{name}_before"] for crop in crops for name in ("raw", "srgb")]
    return {"iso": iso, "shot": shot, **mean, "least_gain": min(gains), "crops": crops}


def measure_speed(network: Network) -> Result:
    """Return the CPU time for a megapixel on one thread, the best of several runs."""
    clean = np.full(_SPEED_SIZE, 0.3, np.float32)
    raw = add_noise(clean, SHOT[2200], SEED)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    times = []
    try:
        for _ in range(_ROUNDS):
            start = time.process_time()
            denoise_raw(raw, network=network)
            times.append(time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
    return {"network": network.name, "cpu_s_per_mpx": min(times) / clean.size * 1e6}


def measure_all(report: Report) -> Result:
    """Return all figures, and the targets with what was reached.

    Args:
        report: called with what is measured next.
    """
    network = load_network()
    result: Result = {"schema": SCHEMA, "machine": describe_machine(), "isos": []}
    for iso, shot in {**QUIET_SHOT, **SHOT}.items():
        report(f"ISO {iso}")
        result["isos"].append(measure_iso(iso, shot, network))
    report("speed")
    # OpenCV is always there.
    result["speed"] = measure_speed(OpenCvNetwork())
    result["bm3d"] = {"how": BM3D_HOW, "psnr": {str(iso): pair for iso, pair in BM3D.items()}}
    result["targets"] = list_targets(result)
    return result


def list_targets(result: Result) -> list[Result]:
    """Return each target with the value that was reached."""
    found = []
    for each in result["isos"]:
        if each["iso"] not in BM3D:
            continue
        raw, srgb = BM3D[each["iso"]]
        for kind, value in (("raw", each["raw"] - raw), ("sRGB", each["srgb"] - srgb)):
            goal = _GOALS_DB.get((kind, each["iso"]))
            if goal is not None:
                name = f"{kind} PSNR at ISO {each['iso']} over BM3D, dB"
                found.append(_target(name, value, goal))
    least = min(each["least_gain"] for each in result["isos"])
    found.append(_target("least gain of a crop over its input, dB", least, 0.0))
    speed = result["speed"]
    name = f"CPU-s for a megapixel, on {speed['network']}"
    found.append(_target(name, speed["cpu_s_per_mpx"], 0.25, at_most=True))
    return found


def format_summary(result: Result) -> list[str]:
    """Return the lines that the command prints."""
    lines = [
        f"ISO {each['iso']:5}: raw {each['raw_before']:.2f} -> {each['raw']:.2f} dB, "
        f"sRGB {each['srgb_before']:.2f} -> {each['srgb']:.2f} dB{_format_peer(each['iso'])}"
        for each in result["isos"]
    ]
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "NOT MET"
        lines.append(f"{verdict:8} {each['name']}: {each['value']:.2f}, {sign} {each['bound']:g}")
    lines.append("twelve crops of three held-out photographs; BM3D was measured once")
    return lines


def format_part(result: Result) -> str:
    """Return the part of BENCHMARKS.md."""
    lines = ["## The denoiser (`lenslink bench denoise`)", "", *format_machine(result["machine"])]
    lines += [
        "",
        "PSNR in dB, the mean of twelve crops of three photographs that were not trained on",
        "([crops](hil/lenslink_hil/benchmark/denoise_crops/README.md)). The noise is a phone's.",
        "What the training shows, such as blur, was chosen with a look at their figures.",
        "BM3D's figures were measured once: its licence forbids commercial use.",
        "",
    ]
    rows = []
    for each in result["isos"]:
        peer = BM3D.get(each["iso"])
        raw, srgb = ("", "") if peer is None else (f"{value:.2f}" for value in peer)
        rows.append(
            (
                f"ISO {each['iso']}",
                f"{each['raw_before']:.2f}",
                f"{each['raw']:.2f}",
                raw,
                f"{each['srgb_before']:.2f}",
                f"{each['srgb']:.2f}",
                srgb,
            )
        )
    header = ("", "raw, input", "denoised", "BM3D", "sRGB, input", "denoised", "BM3D")
    lines += format_table(header, rows)
    goals = [
        (
            each["name"],
            f"{each['value']:.2f}",
            f"{'at most' if each['at_most'] else 'at least'} {each['bound']:g}",
            "met" if each["met"] else "**not met**",
        )
        for each in result["targets"]
    ]
    return "\n".join([*lines, *format_table(("", "figure", "goal", ""), goals)])


def _format_peer(iso: int) -> str:
    if iso not in BM3D:
        return ""
    raw, srgb = BM3D[iso]
    return f"; BM3D {raw:.2f} and {srgb:.2f} dB"


def _target(name: str, value: float, bound: float, *, at_most: bool = False) -> Result:
    met = value <= bound if at_most else value >= bound
    return {"name": name, "value": value, "bound": bound, "at_most": at_most, "met": met}
