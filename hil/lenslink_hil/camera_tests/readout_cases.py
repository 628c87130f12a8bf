"""Camera tests of the readout: black level, noise, the times of frames and rows, regions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenslink import Settings

from ..conformance.cases import Cases, NotClaimed, NotRun, check
from .camera_under_test import TOLERANCE, CameraTest, CameraUnderTest
from .shot import BRIGHTEST, Shot, get_site, measure_difference, predict_noise

CASES: Cases[CameraTest] = Cases()

_BLACK_TOLERANCE = 0.001
"""Of the black level, as a part of the way to white; and half a digital number at least."""
_SURE = 4.0
"""Standard errors of a measured level that are always allowed."""
_NOISE_TOLERANCE = 0.2
"""Of the variance. Android's ITS allows as much."""
_NOISE_BINS = (0.0, 0.05, 0.2, BRIGHTEST)
_LEAST_BIN = 500
_LARGEST_NOISE = 6.0
_INTERVAL_US = 200_000
"""The shortest frame interval that is tested."""
_TIMED_FRAMES = 9
_TIMED_TRIES = 3
_JITTER = 0.03
"""Of the frame interval."""
_ON_TIME = 0.25
"""Part of the frames that must be on time. A busy machine delays most frames of its module."""
_FLICKER_FRAMES = 12
_FLICKER_GAIN = 4
_LEAST_CYCLES = 0.8
"""Bands over the picture that must be seen to measure their distance."""
_LEAST_BANDS = 0.5
"""Part of what differs between the rows of frames that the bands must explain."""
_SAME = 1.5
"""Square of the difference of two equal pictures, in units of their noise."""
_SHIFTED = 3.0
"""The same of a picture and one that is shifted by two pixels, from which on a shift shows."""

Doubles = NDArray[np.float64]


@CASES.add("black_level_is_right")
def black_level_is_right(camera: CameraUnderTest) -> str:
    """Without light the pixels have the reported black level, within 0.1 % of the way to white, at
    the least gain and at 8 times that. The level is extrapolated from two exposures.
    """
    control = camera.device.controls.get("gain_milli")
    gains = [1.0]
    if control is not None and 8 * control.minimum <= control.maximum:
        gains.append(8.0)
    worst = 0.0
    for gain in gains:
        half = camera.capture(camera.scale(exposure=1 / 8 / gain, gain=gain))
        full = camera.capture(camera.scale(exposure=1 / 4 / gain, gain=gain))
        share = half.product / full.product
        check(share < 1, "an exposure twice as long is not reported as longer")
        is_usable = full.signal < BRIGHTEST
        for place, black in enumerate(half.metadata.black):
            site = get_site(place)
            usable = is_usable[site]
            values = [shot.pixels[site][usable].astype(float) for shot in (half, full)]
            if values[0].size < _LEAST_BIN:
                raise NotRun("too few pixels of the scene are not clipped")
            # The line through both exposures, at exposure 0.
            found = (values[0] - share * values[1]) / (1 - share)
            error = float(found.mean()) - black
            span = half.metadata.white - black
            noise = sum(
                weight**2 * float(predict_noise(shot, shot.signal[site][usable]).mean())
                for shot, weight in ((half, 1 / (1 - share)), (full, share / (1 - share)))
            )
            allowed = max(0.5, _BLACK_TOLERANCE * span)
            allowed += _SURE * span * float(np.sqrt(noise / found.size))
            check(
                abs(error) <= allowed,
                f"at gain {gain:g} the black level of place {place} is {black + error:.1f}, "
                f"and {black:g} is reported",
            )
            worst = max(worst, abs(error) / span)
    return (
        f"black level within {worst:.3%} of white at gain {' and '.join(f'{g:g}' for g in gains)}"
    )


@CASES.add("noise_is_as_reported")
def noise_is_as_reported(camera: CameraUnderTest) -> str:
    """The variance between two equal frames is that of the reported noise profile, within 20 %, in
    dark, middle and bright pixels, at the least gain and at 4 times that.
    """
    control = camera.device.controls.get("gain_milli")
    found = []
    for gain in (1.0, 4.0):
        if gain > 1 and (control is None or gain * control.minimum > control.maximum):
            continue
        settings = camera.scale(exposure=1 / gain, gain=gain)
        first, second = camera.bracket([settings, settings])
        if first.metadata.noise_profile is None:
            raise NotClaimed("the frames report no noise profile")
        mean = np.asarray((first.signal + second.signal) / 2, np.float32)
        square = (first.signal - second.signal) ** 2 / 2
        expected = predict_noise(first, mean)
        square = np.minimum(square, _LARGEST_NOISE**2 * expected)
        for low, high in pairwise(_NOISE_BINS):
            part = (mean > low) & (mean <= high)
            if int(part.sum()) >= _LEAST_BIN:
                found.append((float(square[part].mean() / expected[part].mean()), gain, low, high))
    if not found:
        raise NotRun("too few pixels of the scene are not clipped")
    ratio, gain, low, high = max(found, key=lambda each: abs(np.log(each[0])))
    check(
        abs(ratio - 1) <= _NOISE_TOLERANCE,
        f"between {low:.0%} and {high:.0%} of white at gain {gain:g}, the variance is {ratio:.2f} "
        "times what the noise profile says",
    )
    return f"{len(found)} ranges of light: variance {ratio:.2f} times the noise profile at worst"


@CASES.add("frames_keep_their_interval")
def frames_keep_their_interval(camera: CameraUnderTest) -> str:
    """Frames of a stream come at the interval that was asked for: a quarter of them within 3 %,
    none that much early; and each reports the time since the frame before. Three tries, because a
    simulated module is late where its machine is busy.
    """
    worst = ""
    settings = camera.scale(exposure=1 / 8)
    # A slow link must have the time to carry a frame.
    times = [shot.metadata.timestamp_us for shot in camera.bracket([settings] * 3)]
    interval_us = max(_INTERVAL_US, 2 * max(np.diff(times).tolist()))
    for _ in range(_TIMED_TRIES):
        stamps, reported, numbers = _time_frames(camera, settings, interval_us)
        steps = np.diff(stamps)
        check(
            np.abs(steps - reported[1:]).max() <= 1,
            "the reported intervals are not the differences of the timestamps",
        )
        check(np.all(np.diff(numbers) == 1), f"the stream lost frames: {numbers}")
        errors = steps / interval_us - 1
        near = float(np.quantile(np.abs(errors), _ON_TIME))
        if near <= _JITTER and errors.min() >= -_JITTER:
            return (
                f"{len(steps)} intervals of {interval_us / 1000:g} ms: a quarter within {near:.2%}"
            )
        worst = (
            f"intervals of {interval_us / 1000:g} ms are off by {near:.1%} in a quarter, "
            f"by {errors.min():+.1%} to {errors.max():+.1%} at worst"
        )
    check(False, worst)
    return worst


@CASES.add("row_time_is_right")
def row_time_is_right(camera: CameraUnderTest) -> str:
    """The reported time from row to row, times the rows, is not longer than the longest time
    between two frames. In flickering light of a known frequency, the distance of the bands gives
    the row time, within 4 %. The frames are taken up to three times: on a busy machine a simulated
    module is late with a frame, and the interval behind it is short.
    """
    mode = camera.mode
    short = camera.scale(exposure=1 / 8)
    longest_ms = 0.0
    for _ in range(_TIMED_TRIES):
        shots = [Shot.take(each) for each in camera.device.capture(mode.name, frames=[short] * 3)]
        row_ns = shots[0].metadata.row_time_ns
        if not row_ns:
            raise NotClaimed("the frames report no row time")
        times = np.array([shot.metadata.timestamp_us for shot in shots], float)
        longest_ms = max(longest_ms, np.diff(times).max() / 1000)
        readout_ms = row_ns * mode.height / 1e6
        if readout_ms <= longest_ms * (1 + TOLERANCE):
            break
    check(
        readout_ms <= longest_ms * (1 + TOLERANCE),
        f"{mode.height} rows of {row_ns} ns take {readout_ms:.1f} ms, but frames follow each other "
        f"in {longest_ms:.1f} ms",
    )
    if camera.flicker_hz is None:
        return f"{row_ns / 1000:.3g} us a row: {readout_ms:.3g} ms a frame fit into its interval"
    found_ns = _measure_row_time(camera, camera.flicker_hz)
    error = row_ns / found_ns - 1
    check(
        abs(error) <= TOLERANCE,
        f"the bands of the light show {found_ns:.0f} ns a row, and {row_ns} ns are reported",
    )
    return f"the bands of the light show {found_ns / 1000:.4g} us a row: within {abs(error):.1%}"


@CASES.add("region_is_part_of_the_frame")
def region_is_part_of_the_frame(camera: CameraUnderTest) -> str:
    """A region that is read out alone has the pixels of that region of the whole frame, and reports
    where it was.
    """
    if not camera.has_regions:
        raise NotClaimed("the module cannot read out a region")
    mode = camera.mode
    left, top, width, height = camera.region
    width, height = width // 4 * 2, height // 4 * 2
    # Not in the very middle, where a wrong sign does not show.
    left, top = left + width // 4 * 2 + 2, top + height // 8 * 2
    settings = camera.scale(exposure=1.0)
    whole = Shot.take(camera.device.capture(mode.name, settings=settings))
    part = camera.capture(settings, region=(left, top, width, height))
    where = part.metadata.crop_x, part.metadata.crop_y
    check(where == (left, top), f"asked for a region at {left}, {top}; the frame reports {where}")
    check(
        part.pixels.shape == (height, width),
        f"asked for a region of {width} x {height} pixels; the frame has {part.pixels.shape[::-1]}",
    )
    if measure_difference(part, _cut(whole, left + 2, top, part)) < _SHIFTED:
        raise NotRun("the scene is flat: a region in the wrong place would not show")
    square = measure_difference(part, _cut(whole, left, top, part))
    check(
        square <= _SAME,
        f"the region differs from that part of the frame by {square**0.5:.1f} times the noise",
    )
    return f"{width} x {height} pixels differ by {square**0.5:.2f} times the noise"


def _time_frames(
    camera: CameraUnderTest, settings: Settings, interval_us: int
) -> tuple[Doubles, Doubles, list[int]]:
    """Return timestamps, reported intervals (us) and numbers of the frames of a stream."""
    stream = camera.start(settings, interval_us)
    found = []
    try:
        # The first frame ends what ran before.
        Shot.take(camera.device.next_frame(stream=stream))
        for _ in range(_TIMED_FRAMES):
            found += [Shot.take(camera.device.next_frame(stream=stream)).metadata]
    finally:
        camera.device.stop(stream)
    times = np.array([each.timestamp_us for each in found], float)
    reported = np.array([each.interval_us for each in found], float)
    return times, reported, [each.number for each in found]


def _measure_row_time(camera: CameraUnderTest, flicker_hz: float) -> float:
    """Return the nanoseconds from row to row, from the bands of flickering light.

    Raises:
        NotRun: the light does not flicker, or the picture has too few bands.
    """
    settings = _make_flicker_settings(camera, flicker_hz)
    rows = []
    for _ in range(_FLICKER_FRAMES):
        shot = Shot.take(camera.device.capture(camera.mode.name, settings=settings))
        rows.append(np.minimum(shot.signal, BRIGHTEST).mean(1, dtype=np.float64))
    light = np.array(rows)
    light = light / np.maximum(light.mean(0), 1e-6) - 1
    light -= light.mean(1, keepdims=True)
    place = np.arange(light.shape[1])
    best, explained = 0.0, 0.0
    for cycles in np.geomspace(_LEAST_CYCLES, light.shape[1] / 8, 1200):
        turn = 2 * np.pi * cycles * place / light.shape[1]
        waves = np.stack([np.cos(turn), np.sin(turn), np.ones_like(turn)], 1)
        left = light.T - waves @ np.linalg.lstsq(waves, light.T, rcond=None)[0]
        part = 1 - float((left**2).sum() / max((light**2).sum(), 1e-12))
        if part > explained:
            best, explained = float(cycles), part
    if explained < _LEAST_BANDS:
        raise NotRun(
            f"the light shows no bands of {flicker_hz:g} Hz, or less than {_LEAST_CYCLES:g} of them"
        )
    return float(best / light.shape[1] / flicker_hz * 1e9)


def _make_flicker_settings(camera: CameraUnderTest, flicker_hz: float) -> Settings:
    """Return settings whose exposure is at most half a period of the flicker."""
    exposure_us = camera.base.exposure_us or 1
    factor = min(1 / 2, 5e5 / flicker_hz / exposure_us)
    control = camera.device.controls.get("gain_milli")
    most = 1.0 if control is None else control.maximum / control.minimum
    return camera.scale(exposure=factor, gain=min(_FLICKER_GAIN, most, 1 / factor / 2) or 1.0)


def _cut(whole: Shot, left: int, top: int, like: Shot) -> Shot:
    """Return the part of a frame that has the size of another one."""
    height, width = like.pixels.shape
    pixels = whole.pixels[top : top + height, left : left + width]
    return Shot(pixels, whole.metadata, whole.cfa)
