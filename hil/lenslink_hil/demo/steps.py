"""The steps of the demo. Each asks a module for frames, and returns pictures and figures.

The scene is three photographs at three depths: stars behind, an astronaut in front of them, and a
cat nearest to the lens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lenslink import Device, ProtocolError, Settings
from lenslink.cli.frame_counts import FrameCounts
from lenslink.cli.values import format_discards
from lenslink.errors import DeviceError
from lenslink_isp import RawImage
from lenslink_isp.denoise.raw_denoiser import denoise_raw
from lenslink_isp.develop.still import StillSettings, ToneMapping, develop_still
from lenslink_isp.focus.auto_focus import FocusState
from lenslink_isp.focus.tap import focus_at
from lenslink_isp.merge.merge_frames import merge_frames
from lenslink_isp.metering.auto_exposure import (
    AutoExposure,
    ExposureLimits,
    ExposureState,
    Metering,
)
from lenslink_isp.metering.statistics import measure
from lenslink_isp.viewfinder.picture_maker import make_white_balance
from lenslink_protocol.ids import ContactState, EventKind, ModeUse

from .measures import Part, measure_clipped, measure_noise, measure_sharpness

SCENE: Final = "sim:?scene=hubble,astronaut,chelsea&depth=300,1000,2000&seed=3"
"""URL of the module in front of the scene."""
HAND_HELD: Final = SCENE + "&shake=20"
"""The same with a hand that shakes."""
WARM_SCENE: Final = "sim:?scene=coffee&depth=1000&seed=3&kelvin=2850"
"""URL of a module in front of a white cup in the light of a bulb."""
WARM_MDPT: Final = 1000

FAR_POINT, NEAR_POINT = (0.25, 0.52), (0.75, 0.52)
"""Where the astronaut and the cat are, across and down."""
FAR_PART: Final[Part] = (0.1, 0.26, 0.4, 0.76)
NEAR_PART: Final[Part] = (0.6, 0.26, 0.9, 0.76)
WALL_PART: Final[Part] = (0.09, 0.26, 0.16, 0.36)
"""The wall behind the astronaut. It has no detail while the lens is focused on the cat."""
EYE_PART: Final[Part] = (0.59, 0.26, 0.89, 0.56)
"""An eye of the cat, to show it larger."""

STEP_EV: Final = 6
MOST_FRAMES: Final = 60
"""Auto exposure that needs more frames has failed."""
BRACKET_EV: Final = 3
BURST_FRAMES: Final = 8
BURST_GAIN: Final = 48

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """Two pictures of a step."""

    title: str
    before: Rgb
    after: Rgb
    """sRGB, both of one shape (H, W, 3)."""
    before_label: str
    after_label: str
    figures: str
    """What was measured, as one sentence or two."""
    detail: Part | None = None
    """The part that shows the difference best; None is the whole picture."""


@dataclass(frozen=True, slots=True)
class Foci:
    """Where the two subjects are sharp, in milli-dioptres."""

    far: int
    near: int
    frames: int
    """Frames that the search for the nearer subject took."""
    seconds: float
    """How long that search took."""


def describe_contacts(device: Device, seconds: float) -> str:
    """Return what the module says of its contacts and supply. *seconds* is how long opening took.

    Raises:
        ProtocolError: the module does not say that it is attached.
    """
    contacts = device.newest_events.get(EventKind.CONTACTS)
    if contacts is None or contacts.value & 0xFF != ContactState.ATTACHED:
        raise ProtocolError("the module does not report that its contacts are closed")
    power = device.power
    return (
        f"the contacts closed after {contacts.counter} bounces, the supply is at "
        f"{power.supply_mv} mV, the module answered after {seconds:.1f} s"
    )


def find_foci(device: Device) -> Foci:
    """Focus on the astronaut, then tap on the nearer cat.

    Raises:
        DeviceError: a search failed.
    """
    far, near = (focus_at(device, *point) for point in (FAR_POINT, NEAR_POINT))
    for found, name in ((far, "farther"), (near, "nearer")):
        if found.state is not FocusState.REACHED:
            raise DeviceError(f"the focus on the {name} subject was not found")
    return Foci(far.focus_mdpt, near.focus_mdpt, near.evaluations, near.seconds)


def run_preview(
    device: Device, focus_mdpt: int, seconds: float, show: Callable[[Callable[[], str]], None]
) -> tuple[int, str]:
    """Stream the preview while auto exposure works.

    Args:
        device: the module.
        focus_mdpt: the focus.
        seconds: how long to stream, from the first frame on.
        show: shows a line while the stream runs.

    Returns:
        The exposure in us at a gain of 1, and what was measured.

    Raises:
        DeviceError: auto exposure did not settle.
    """
    counts = FrameCounts()
    counts.start(device)
    auto = _make_auto_exposure(device)
    first_s: float | None = None
    with closing(device.stream(focus_mdpt=focus_mdpt)) as frames:
        for frame in frames:
            with frame:
                counts.count(frame)
                applied = frame.exposure_us, frame.gain_milli
                wanted = auto.update(measure(RawImage.from_frame(frame)), *applied)
            if first_s is None:
                first_s = counts.seconds
            passed_s = counts.seconds - first_s
            show(counts.format_live)
            is_settled = auto.state is ExposureState.CONVERGED
            if passed_s >= seconds and (is_settled or counts.frames >= MOST_FRAMES):
                break
            if wanted != applied:
                device.set(exposure_us=wanted[0], gain_milli=wanted[1])
    if not is_settled:
        raise DeviceError("auto exposure did not settle during the preview")
    exposure_us = round(wanted[0] * wanted[1] / 1000)
    mode = device.find_mode(None, ModeUse.PREVIEW)
    return exposure_us, (
        f"{mode.width} x {mode.height}, {counts.frames} frames, "
        f"{(counts.frames - 1) / passed_s:.0f} a second, "
        f"{format_discards(counts.discards)}, exposure {_format_ms(exposure_us)}"
    )


def compare_foci(device: Device, exposure_us: int, foci: Foci) -> Pair:
    """Show the picture before and after the tap on the nearer subject."""
    pictures: list[Rgb] = []
    sharpness: list[float] = []
    for focus in (foci.far, foci.near):
        settings = Settings(exposure_us=exposure_us, gain_milli=1000, focus_mdpt=focus)
        with _capture(device, settings) as (raw,):
            pictures.append(develop_still(raw))
            sharpness.append(measure_sharpness(raw, NEAR_PART))
    return Pair(
        "Tap to focus",
        pictures[0],
        pictures[1],
        f"Before: the farther subject is sharp, {_format_distance(foci.far)}",
        f"After a tap on the nearer one, {_format_distance(foci.near)}",
        f"The search took {foci.frames} frames and {foci.seconds:.1f} s. The nearer subject became "
        f"{sharpness[1] / sharpness[0]:.1f} times as sharp.",
    )


def follow_a_step(device: Device, exposure_us: int, foci: Foci) -> Pair:
    """Start a preview that is 6 EV too dark, and let auto exposure correct it.

    Raises:
        DeviceError: auto exposure did not settle within 60 frames.
    """
    auto = _make_auto_exposure(device)
    start = Settings(
        exposure_us=max(1, exposure_us >> STEP_EV),
        gain_milli=1000,
        focus_mdpt=foci.far,
        settled=True,
    )
    frames = device.stream(settings=start)
    with closing(frames):
        with next(frames) as frame:
            raw = RawImage.from_frame(frame)
            before = develop_still(raw)
            dark = applied = frame.exposure_us, frame.gain_milli
            wanted = auto.update(measure(raw), *applied)
        count = 0
        while auto.state is not ExposureState.CONVERGED:
            if count == MOST_FRAMES:
                raise DeviceError("auto exposure did not settle")
            if wanted != applied:
                device.set(exposure_us=wanted[0], gain_milli=wanted[1])
            with next(frames) as frame:
                count += 1
                raw = RawImage.from_frame(frame)
                after = develop_still(raw)
                applied = frame.exposure_us, frame.gain_milli
                wanted = auto.update(measure(raw), *applied)
    rise_ev = math.log2(applied[0] * applied[1] / (dark[0] * dark[1]))
    return Pair(
        "Auto exposure",
        before,
        after,
        f"Before: the first frame, {_format_ms(dark[0])}",
        f"After {count} frames, {_format_ms(applied[0])}",
        f"The preview starts {STEP_EV} EV too dark. {count} frames later its exposure is "
        f"{rise_ev:.1f} EV longer. The brightest parts stay below white.",
    )


def merge_bracket(device: Device, exposure_us: int, foci: Foci) -> Pair:
    """Merge three exposures, and show the result beside the longest of them."""
    exposures = [max(1, round(exposure_us * 2.0**ev)) for ev in (-BRACKET_EV, 0, BRACKET_EV)]
    settings = [
        Settings(exposure_us=each, gain_milli=1000, focus_mdpt=foci.far) for each in exposures
    ]
    with _capture(device, *settings) as raws:
        longest = develop_still(raws[-1])
        start = time.monotonic()
        merged = merge_frames(raws).raw
        seconds = time.monotonic() - start
        clipped = [100 * measure_clipped(each) for each in (raws[-1], merged)]
    after = develop_still(merged, StillSettings(tone=ToneMapping.LOCAL))
    return Pair(
        "HDR",
        longest,
        after,
        f"The longest exposure alone, {_format_ms(exposures[-1])}",
        f"Three exposures, {BRACKET_EV} EV apart, merged",
        f"{clipped[0]:.0f} % of the pixels are clipped in the longest exposure, {clipped[1]:.1f} % "
        f"in the merge. The merge took {1000 * seconds:.0f} ms. Tones are mapped locally.",
    )


def merge_burst(device: Device, exposure_us: int, foci: Foci) -> Pair:
    """Merge frames with a high gain, and show the result beside the first of them."""
    settings = _make_dim_settings(exposure_us, foci)
    with _capture(device, *[settings] * BURST_FRAMES) as raws:
        start = time.monotonic()
        merged = merge_frames(raws).raw
        seconds = time.monotonic() - start
        noise = [measure_noise(each, WALL_PART) for each in (raws[0], merged)]
        pictures = [develop_still(each) for each in (raws[0], merged)]
    return Pair(
        "Burst",
        pictures[0],
        pictures[1],
        f"One frame at ISO {100 * BURST_GAIN}, {_format_ms(settings.exposure_us or 0)}",
        f"{BURST_FRAMES} such frames, held by hand, aligned and merged",
        f"Noise is {noise[0] / noise[1]:.1f} times lower: {100 * noise[0]:.2f} % of white before, "
        f"{100 * noise[1]:.2f} % after. The merge took {1000 * seconds:.0f} ms.",
        EYE_PART,
    )


def denoise_frame(device: Device, exposure_us: int, foci: Foci) -> Pair:
    """Take the noise out of a single frame with a high gain."""
    settings = _make_dim_settings(exposure_us, foci)
    with _capture(device, settings) as (raw,):
        start = time.monotonic()
        calm = denoise_raw(raw)
        seconds = time.monotonic() - start
        noise = [measure_noise(each, WALL_PART) for each in (raw, calm)]
        pictures = [develop_still(each) for each in (raw, calm)]
    return Pair(
        "Noise reduction",
        pictures[0],
        pictures[1],
        f"One frame at ISO {100 * BURST_GAIN}, {_format_ms(settings.exposure_us or 0)}",
        "The same frame, its RAW denoised by a small network",
        f"Noise is {noise[0] / noise[1]:.1f} times lower where nothing has detail. "
        f"The network took {1000 * seconds:.0f} ms.",
        EYE_PART,
    )


def balance_white(device: Device) -> Pair:
    """Find the colour of a bulb's light from one frame.

    Raises:
        ProtocolError: the module does not describe its colours.
    """
    with device.capture(focus_mdpt=WARM_MDPT) as frame:
        raw = RawImage.from_frame(frame)
        balance = make_white_balance(frame.color)
        if balance is None:
            raise ProtocolError("the module does not describe the colours of its sensor")
        neutral = balance.update(measure(raw))
        pictures = [develop_still(each) for each in (raw, replace(raw, neutral=neutral))]
    return Pair(
        "White balance",
        pictures[0],
        pictures[1],
        "Light of a bulb, 2850 K, developed as daylight",
        f"Automatic white balance: {balance.kelvin:.0f} K",
        f"One frame is enough: the light was taken for {balance.kelvin:.0f} K. It has 2850 K.",
    )


def _make_dim_settings(exposure_us: int, foci: Foci) -> Settings:
    """Return the settings of a frame that got little light, on the nearer subject."""
    return Settings(
        exposure_us=max(1, exposure_us // BURST_GAIN),
        gain_milli=1000 * BURST_GAIN,
        focus_mdpt=foci.near,
    )


def _format_ms(us: int) -> str:
    return f"{us / 1000:.3g} ms"


def _format_distance(mdpt: int) -> str:
    return f"{1000 / mdpt:.2f} m" if mdpt else "infinity"


def _make_auto_exposure(device: Device) -> AutoExposure:
    limits = ExposureLimits(most_gain_milli=device.controls["gain_milli"].maximum)
    return AutoExposure(limits, Metering.HIGHLIGHTS)


@contextmanager
def _capture(device: Device, *settings: Settings) -> Iterator[list[RawImage]]:
    """Yield one RAW picture for each of the settings. Their memory is free afterwards."""
    frames = device.capture(frames=list(settings))
    try:
        yield [RawImage.from_frame(frame) for frame in frames]
    finally:
        for frame in frames:
            frame.release()
