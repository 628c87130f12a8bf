"""Camera tests of exposure, gain and iris: settings are applied, and reported as applied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lenslink import Settings

from ..conformance.cases import Cases, Failed, NotClaimed, NotRun, check
from .camera_under_test import TOLERANCE, CameraTest, CameraUnderTest, check_value
from .shot import DARKEST, LEAST_PIXELS, Shot, compare_light

CASES: Cases[CameraTest] = Cases()

_IRIS_TOLERANCE = 0.1
"""Of brightness after a change of the iris: its stops are mechanical."""
_LOCK_TOLERANCE = 0.015
"""Of brightness between frames with the same settings."""
_LINEARITY_TOLERANCE = 0.01
"""Of the deviation from a straight line, as a part of its brightest point."""
_LOCKED_FRAMES = 8
_STREAM_INTERVAL_US = 50_000
_FRAMES_BEFORE = 3
_FRAMES_AFTER = 3
_MOST_FRAMES = 40


@CASES.add("exposure_is_applied")
def exposure_is_applied(camera: CameraUnderTest) -> str:
    """Exposures from 1/8 to 4 times that of the scene are reported within 4 %, and the picture
    becomes brighter as the reported exposures say, within 4 %.
    """
    camera.require("exposure_us")
    steps = [camera.scale(exposure=factor) for factor in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)]
    return _describe(steps, _check_steps([camera.capture(each) for each in steps], steps))


@CASES.add("gain_is_applied")
def gain_is_applied(camera: CameraUnderTest) -> str:
    """Gains up to 8 times the least are reported within 4 %, and the picture becomes brighter as
    the reported gains say, within 4 %.
    """
    control = camera.require("gain_milli")
    factors = [each for each in (1, 2, 4, 8) if each * control.minimum <= control.maximum]
    steps = [camera.scale(exposure=1 / 4, gain=factor) for factor in factors]
    return _describe(steps, _check_steps([camera.capture(each) for each in steps], steps))


@CASES.add("sensitivity_follows_in_a_burst")
def sensitivity_follows_in_a_burst(camera: CameraUnderTest) -> str:
    """In a burst whose frames have different gains, each frame reports its own gain within 4 % and
    is as bright as that says.
    """
    control = camera.require("gain_milli")
    factors = [each for each in (1, 2, 4) if each * control.minimum <= control.maximum]
    order = [factors[-1], factors[0], *factors[1:], factors[0]]
    steps = [camera.scale(exposure=1 / 4, gain=factor) for factor in order]
    return _describe(steps, _check_steps(camera.bracket(steps), steps))


@CASES.add("bracket_keeps_its_order")
def bracket_keeps_its_order(camera: CameraUnderTest) -> str:
    """The frames of an exposure bracket are consecutive frames of the sensor, in the order in which
    they were asked for, and each is as bright as its exposure says.
    """
    steps = [camera.scale(exposure=factor) for factor in (1 / 2, 1 / 8, 1, 1 / 4)]
    shots = camera.bracket(steps)
    numbers = [shot.metadata.number for shot in shots]
    gaps = [(after - before) & 0xFFFFFFFF for before, after in pairwise(numbers)]
    check(set(gaps) == {1}, f"the frames of a bracket have the numbers {numbers}")
    return _describe(steps, _check_steps(shots, steps))


@CASES.add("exposure_stays_locked")
def exposure_stays_locked(camera: CameraUnderTest) -> str:
    """Frames of a burst with the same settings report the same values and are equally bright,
    within 1.5 %.
    """
    shots = camera.bracket([camera.base] * _LOCKED_FRAMES)
    reported = {(shot.metadata.exposure_us, shot.metadata.gain_milli) for shot in shots}
    check(len(reported) == 1, f"equal settings were reported as {sorted(reported)}")
    light = [compare_light(shots[0], shot) for shot in shots]
    spread = max(light) - min(light)
    check(
        spread <= _LOCK_TOLERANCE,
        f"with equal settings the brightness varies by {spread:.1%}: the module changes it, "
        "or the light is not steady",
    )
    return f"{len(shots)} frames are equally bright within {spread:.2%}"


@CASES.add("change_comes_with_its_frame")
def change_comes_with_its_frame(camera: CameraUnderTest) -> str:
    """Settings that change while a stream runs take effect from the announced frame on: the frames
    before report and show the old ones, the others report and show the new ones.
    """
    old, new = camera.scale(exposure=1 / 2), camera.scale(exposure=1 / 4)
    stream = camera.start(old, _STREAM_INTERVAL_US)
    try:
        shots = [_take(camera, stream) for _ in range(_FRAMES_BEFORE)]
        first = camera.device.set(stream=stream, settings=new)
        # Numbers wrap at 32 bits.
        while (shots[-1].metadata.number - first - _FRAMES_AFTER) & 0xFFFFFFFF >= 1 << 31:
            check(
                len(shots) < _MOST_FRAMES,
                f"frame {first} was announced, and did not come in {_MOST_FRAMES} frames",
            )
            shots.append(_take(camera, stream))
    finally:
        camera.device.stop(stream)
    counts = [0, 0]
    for shot in shots:
        is_new = (shot.metadata.number - first) & 0xFFFFFFFF < 1 << 31
        counts[is_new] += 1
        asked = (new if is_new else old).exposure_us or 0
        reported = shot.metadata.exposure_us
        check(
            abs(reported / asked - 1) <= TOLERANCE,
            f"the change was announced for frame {first}, but frame {shot.metadata.number} "
            f"reports {reported} us instead of {asked}",
        )
        error = compare_light(shots[0], shot) / (shot.product / shots[0].product) - 1
        check(
            abs(error) <= TOLERANCE,
            f"the change was announced for frame {first}, but the brightness of frame "
            f"{shot.metadata.number} is {error:+.0%} from what it reports",
        )
    return f"{counts[0]} frames had the old settings, then {counts[1]} the new ones"


@CASES.add("iris_is_applied")
def iris_is_applied(camera: CameraUnderTest) -> str:
    """The picture becomes darker with the square of the reported f-number, within 10 %, once the
    module's gain map has evened out the light.
    """
    control = camera.require("aperture_milli")
    gain_map = camera.device.calibration.gain_map
    if gain_map is None or not camera.knows_its_lens:
        raise NotClaimed("the module has no calibration of its lens")
    left, top, width, height = camera.region
    x = (left + width / 2) / camera.mode.width
    y = (top + height / 2) / camera.mode.height
    wanted = [control.minimum * factor for factor in (1, 2, 4)]
    shots, light = [], []
    for aperture in (each for each in wanted if each <= control.maximum):
        # The exposure makes up for the iris, as far as the range of the exposure goes.
        factor = min((aperture / control.minimum) ** 2 / 8, 4.0)
        shot = camera.capture(camera.scale(exposure=factor, aperture_milli=aperture))
        check_value("aperture_milli", aperture, shot.metadata.aperture_milli)
        f_number = shot.metadata.aperture_milli / 1000
        gains = gain_map.at(f_number, shot.metadata.focus_mdpt)
        rows, columns = gains.shape
        shots.append(shot)
        light.append(shot.product / f_number**2 / gains[int(y * rows), int(x * columns)])
    if len(shots) < 2:
        raise NotClaimed("the range of the iris is less than two stops")
    # The iris changes what is sharp, so single pixels cannot be compared.
    means = [float(np.minimum(shot.signal, 1).mean()) for shot in shots]
    errors = [
        mean / means[0] / (expected / light[0]) - 1
        for mean, expected in zip(means[1:], light[1:], strict=True)
    ]
    worst = max(errors, key=abs)
    check(
        abs(worst) <= _IRIS_TOLERANCE,
        f"the brightness is {worst:+.0%} from what the reported f-numbers say",
    )
    numbers = ", ".join(f"f/{shot.metadata.aperture_milli / 1000:g}" for shot in shots)
    return f"{numbers}: brightness within {abs(worst):.1%}"


@CASES.add("response_is_linear")
def response_is_linear(camera: CameraUnderTest) -> str:
    """The bright pixels of the scene grow with the exposure along a straight line, within 1 % of
    the brightest step.
    """
    factors = np.array([0.1, 0.25, 0.4, 0.6, 0.8, 1.0, 1.2, 1.35])
    steps = [camera.scale(exposure=float(factor)) for factor in factors]
    shots = [camera.capture(each) for each in steps]
    brightest = shots[-1].signal
    level = float(np.percentile(brightest, 99))
    is_bright = (brightest > 0.7 * level) & (brightest < min(1.2 * level, 0.93))
    if int(is_bright.sum()) < LEAST_PIXELS:
        raise NotRun("too few pixels of the scene are bright and not clipped")
    exposure = np.array([shot.product for shot in shots])
    light = np.array([float(shot.signal[is_bright].mean()) for shot in shots])
    line = np.polyfit(exposure, light, 1)
    errors = (light - np.polyval(line, exposure)) / light.max()
    worst = float(np.abs(errors).max())
    check(
        worst <= _LINEARITY_TOLERANCE,
        f"the response leaves a straight line by {worst:.1%} of its brightest point",
    )
    return f"from {light.min():.0%} to {light.max():.0%} of white: linear within {worst:.2%}"


def _take(camera: CameraUnderTest, stream: int) -> Shot:
    return Shot.take(camera.device.next_frame(stream=stream))


def _check_steps(shots: Sequence[Shot], steps: Sequence[Settings]) -> float:
    """Check what frames report and how bright they are; return the largest error of brightness."""
    for shot, step in zip(shots, steps, strict=True):
        check_value("exposure_us", step.exposure_us, shot.metadata.exposure_us)
        check_value("gain_milli", step.gain_milli, shot.metadata.gain_milli)
    ordered = sorted(shots, key=lambda shot: shot.product)
    worst = 0.0
    for darker, brighter in pairwise(ordered):
        if float(np.mean(darker.signal > DARKEST)) < DARKEST:
            continue  # so dark that its black level would decide
        expected = brighter.product / darker.product
        error = compare_light(darker, brighter) / expected - 1
        if abs(error) > TOLERANCE:
            raise Failed(
                f"the brightness changes by {error:+.0%} more than reported between "
                f"{_name(darker)} and {_name(brighter)}"
            )
        worst = max(worst, abs(error))
    return worst


def _name(shot: Shot) -> str:
    return f"{shot.metadata.exposure_us} us at gain {shot.metadata.gain_milli / 1000:g}"


def _describe(steps: Sequence[Settings], worst: float) -> str:
    exposures = sorted({step.exposure_us or 0 for step in steps})
    gains = sorted({(step.gain_milli or 0) / 1000 for step in steps})
    what = f"{exposures[0] / 1000:.3g} to {exposures[-1] / 1000:.3g} ms"
    if len(exposures) == 1:
        what = f"gain {gains[0]:g} to {gains[-1]:g}"
    return f"{len(steps)} frames, {what}: brightness within {worst:.1%}"
