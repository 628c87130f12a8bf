"""Camera tests of the lens: it comes back to the same focus, and autofocus succeeds."""

from __future__ import annotations

import importlib
from itertools import pairwise

import numpy as np

from lenslink.errors import MissingExtra
from lenslink_protocol.ids import ModeUse

from ..conformance.cases import Cases, Failed, NotClaimed, NotRun, check
from .camera_under_test import CameraTest, CameraUnderTest, Region
from .shot import Shot, measure_contrast, measure_difference

CASES: Cases[CameraTest] = Cases()

_SHARP_PX = 2.0
"""Blur in pixels of the still that counts as sharp."""
_PLACES = 5
"""Positions around the sharpest focus, of which the test takes that where focus changes most."""
_REACH = 1 / 14
"""How far they reach, as a part of the focus range."""
_WAY = 0.2
"""Part of the range that the lens goes away before it comes back."""
_STEP_PX = 8.0
"""Blur in pixels of the still of the step that the others are compared with."""
_LEAST_CHANGE = 1.0
"""Square of the difference that the step must make, in units of the noise."""
_POINTS = ((0.5, 0.5), (0.65, 0.6))
_LEAST_CONTRAST = 1.5
"""How much sharper a thing must be at its focus than elsewhere, so that it has a focus at all."""
_BESIDE_PX = 12.0
_NEARLY = 0.97
_FOCUS_S = 30.0


@CASES.add("focus_is_repeatable")
def focus_is_repeatable(camera: CameraUnderTest) -> str:
    """The lens comes back to a focus from both sides, and the pictures differ by less than those of
    a focus that is 2 pixels of blur away.
    """
    control = camera.require("focus_mdpt")
    px_per_mdpt = _find_still_px(camera)
    step = max(1, round(_STEP_PX / px_per_mdpt))
    span = control.maximum - control.minimum
    way = round(_WAY * span)

    def focus(position: int, start: int) -> Shot:
        _take(camera, start)
        return _take(camera, position)

    sharpest = camera.base.focus_mdpt or 0
    low = max(control.minimum, sharpest - round(_REACH * span))
    high = min(control.maximum - step, sharpest + round(_REACH * span))
    changes = []
    _take(camera, low - way)
    for place in np.linspace(low, high, _PLACES):
        # The lens comes to each of them from the far side.
        position = round(place)
        before, after = _take(camera, position), _take(camera, position + step)
        changes.append((measure_difference(before, after) - 1, position))
    change, position = max(changes, key=lambda each: each[0])
    if change < _LEAST_CHANGE:
        raise NotRun("the scene is flat: a change of focus does not show in it")
    from_far = focus(position, position - way)
    reported = []
    worst = 0.0
    for start in (position + way, position - way, position + way):
        shot = focus(position, start)
        reported.append(shot.metadata.focus_mdpt)
        more = max(measure_difference(from_far, shot) - 1, 0.0)
        worst = max(worst, _STEP_PX * (more / change) ** 0.5)
    off = max(abs(each - position) for each in reported) * px_per_mdpt
    check(
        off <= _SHARP_PX,
        f"asked for focus_mdpt={position}, the frames report {sorted(set(reported))}",
    )
    check(
        worst <= _SHARP_PX,
        f"the focus that the lens comes back to is {worst:.1f} pixels of blur away",
    )
    return f"at {position / 1000:g} dioptres: back within {worst:.1f} pixels of blur"


@CASES.add("autofocus_succeeds")
def autofocus_succeeds(camera: CameraUnderTest) -> str:
    """Autofocus succeeds at two points, from either end of the range, unless there is nothing to
    see; and the picture is sharper at its focus than beside that.
    """
    control = camera.require("focus_mdpt")
    px_per_mdpt = _find_still_px(camera)
    if not camera.has_regions:
        raise NotClaimed("autofocus needs a module that reads out regions")
    try:
        tap = importlib.import_module("lenslink_isp.focus.tap")
    except ImportError:
        raise NotRun(str(MissingExtra("autofocus", "isp"))) from None
    found = []
    for (x, y), start in zip(_POINTS, (control.minimum, control.maximum), strict=True):
        region = tap.find_region(camera.mode, x, y)
        _take(camera, start)
        result = tap.focus_at(camera.device, x, y, timeout=_FOCUS_S)
        if result.state.value == "reached":
            _check_sharpest(camera, result.focus_mdpt, round(_BESIDE_PX / px_per_mdpt), region)
            found.append(result.focus_mdpt)
        elif _has_focus(camera, region):
            raise Failed(f"autofocus failed at {x:g}, {y:g}, where there is something to see")
    if not found:
        raise NotRun("the scene is flat at both points: nothing there can be made sharp")
    places = " and ".join(f"{each / 1000:.2f}" for each in found)
    return f"sharp at {places} dioptres"


def _find_still_px(camera: CameraUnderTest) -> float:
    """Return the blur in pixels of the still for a milli-dioptre, with the iris wide open.

    Raises:
        NotClaimed: the module does not say.
    """
    blur, optics = camera.device.calibration.blur, camera.device.manifest.optics
    if blur is None or optics is None:
        raise NotClaimed("the module has no calibration of its blur: nothing is known of its lens")
    control = camera.require("focus_mdpt")
    middle = (control.minimum + control.maximum) / 2
    sensor_px = blur.at(optics.aperture_milli / 1000, middle) / 1000
    still = camera.device.manifest.find_mode_for(ModeUse.STILL)
    return sensor_px * still.width / camera.device.manifest.sensor.width


def _take(camera: CameraUnderTest, position: int, region: Region | None = None) -> Shot:
    """Take a frame once the lens stands at *position*, or at the end of its range before that."""
    control = camera.device.controls["focus_mdpt"]
    focus = min(max(position, control.minimum), control.maximum)
    return camera.capture_at_rest(camera.scale(focus_mdpt=focus), region=region)


def _has_focus(camera: CameraUnderTest, region: Region) -> bool:
    """Return True if the region is sharper at some focus than at others."""
    control = camera.device.controls["focus_mdpt"]
    positions = np.linspace(control.minimum, control.maximum, 9)
    found = [measure_contrast(_take(camera, round(each), region)) for each in positions]
    return max(found) > _LEAST_CONTRAST * min(found)


def _check_sharpest(camera: CameraUnderTest, position: int, step: int, region: Region) -> None:
    """Check that the picture is sharper at *position* than *step* milli-dioptres beside it."""
    control = camera.device.controls["focus_mdpt"]
    places = [position - step, position, position + step]
    places = [each for each in places if control.minimum <= each <= control.maximum]
    contrast = {each: measure_contrast(_take(camera, each, region)) for each in places}
    for one, other in pairwise(places):
        beside = other if one == position else one
        check(
            contrast[position] >= _NEARLY * contrast[beside],
            f"autofocus ended at {position} milli-dioptres, but {beside} is sharper",
        )
