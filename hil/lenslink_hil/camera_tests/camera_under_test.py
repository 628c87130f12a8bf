"""The module under test: its exposure for the scene, and the frames that a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenslink import PREVIEW, ROI, Device, Settings
from lenslink.module_controls import Control
from lenslink_protocol.ids import ModeUse

from ..conformance.cases import Failed, NotClaimed, NotRun
from .shot import Shot, measure_contrast

REGION_PX = 256
"""Side of the region that most tests read, in pixels of the preview: a slow link can carry it."""
LONGEST_US = 100_000
"""The longest exposure that a test takes, with room for its multiples."""
_TARGET = 0.6
"""The scene is exposed so that its bright pixels are at this part of the way to white."""
_BRIGHT = 99.0
"""Percentile of the pixels that are called bright: a lamp or a hot pixel must not decide."""
_CLIPPED = 0.95
_STEPS = 10
_FOCUSES = 9
TOLERANCE = 0.04
"""How far a setting may be from what was asked for, and brightness from the setting: 4 %, as in
Android's Camera ITS."""
Region = tuple[int, int, int, int]


class CameraUnderTest:
    """A module, and how it sees the scene in front of it.

    Args:
        device: an open module on which no stream runs.
        flicker_hz: the frequency at which the light flickers, if that is known.
    """

    def __init__(self, device: Device, flicker_hz: float | None = None) -> None:
        self.device = device
        self.flicker_hz = flicker_hz
        self.mode = device.manifest.find_mode_for(ModeUse.PREVIEW)
        self._base: Settings | None = None
        self._why_not: str | None = None

    @property
    def has_regions(self) -> bool:
        """Whether the module can read out a region alone."""
        return {"roi_x", "roi_y"} <= self.device.controls.keys()

    @property
    def region(self) -> Region:
        """The middle of the preview: left, top, width and height, all even."""
        width, height = min(REGION_PX, self.mode.width), min(REGION_PX, self.mode.height)
        left, top = (self.mode.width - width) // 4 * 2, (self.mode.height - height) // 4 * 2
        return left, top, width // 2 * 2, height // 2 * 2

    def require(self, name: str) -> Control:
        """Return a control.

        Raises:
            NotClaimed: the module does not have it, or its value is fixed.
        """
        control = self.device.controls.get(name)
        if control is None or control.minimum == control.maximum:
            raise NotClaimed(f"the module has no control {name}")
        return control

    @property
    def base(self) -> Settings:
        """The settings for the scene: the widest iris, the sharpest of a few focuses, the least
        gain, and the exposure that puts bright pixels at _TARGET.

        Settings that a call leaves out keep their values. So this names each that the module has.

        Raises:
            NotRun: the scene is too dark or too bright for that.
        """
        if self._why_not is not None:
            raise NotRun(self._why_not)
        if self._base is None:
            try:
                self._base = self._find_base()
            except NotRun as reason:
                # The next test would find the same.
                self._why_not = str(reason)
                raise
        return self._base

    def _find_base(self) -> Settings:
        found = self._expose(self._choose_first())
        focus = self.device.controls.get("focus_mdpt")
        if focus is None or not self.knows_its_lens:
            return found
        step = (focus.maximum - focus.minimum) / (_FOCUSES - 1)
        found = self._find_sharpest(found, np.linspace(focus.minimum, focus.maximum, _FOCUSES))
        beside = (found.focus_mdpt or 0) + step * np.array([-2, -1, 0, 1, 2]) / 3
        found = self._find_sharpest(found, np.clip(beside, focus.minimum, focus.maximum))
        return self._expose(found)

    def _find_sharpest(self, settings: Settings, positions: NDArray[np.float64]) -> Settings:
        """Return *settings* with the focus of *positions* at which the scene has most contrast."""
        tried = [replace(settings, focus_mdpt=round(each)) for each in positions]
        contrast = [measure_contrast(self.capture_at_rest(each)) for each in tried]
        return tried[int(np.argmax(contrast))]

    @property
    def knows_its_lens(self) -> bool:
        """Whether the module has calibrations of its lens. Otherwise nothing says that a change of
        focus or iris shows in the picture.
        """
        calibration = self.device.calibration
        return calibration.blur is not None and calibration.gain_map is not None

    def _choose_first(self) -> Settings:
        """Return the settings before anything is known of the scene."""
        exposure = self.require("exposure_us")
        controls = self.device.controls
        values: dict[str, Any] = {
            name: controls[name].minimum for name in ("gain_milli", "aperture_milli")
            if name in controls
        }  # fmt: skip
        if "focus_mdpt" in controls:
            values |= {"focus_mdpt": controls["focus_mdpt"].minimum, "settled": True}
        first = min(max(exposure.default, exposure.minimum), exposure.maximum, LONGEST_US)
        return Settings(exposure_us=first, **values)

    def _expose(self, settings: Settings) -> Settings:
        """Return *settings* with the exposure that puts bright pixels at _TARGET."""
        control = self.require("exposure_us")
        longest = min(control.maximum, LONGEST_US)
        exposure_us = settings.exposure_us or 1
        bright = 0.0
        for _ in range(_STEPS):
            settings = replace(settings, exposure_us=exposure_us)
            shot = self.capture(settings)
            bright = max(float(np.percentile(shot.signal, _BRIGHT)), 1e-3)
            if abs(bright - _TARGET) < _TARGET / 10:
                return settings
            # Clipped pixels hide how bright they are.
            change = 0.25 if bright > _CLIPPED else _TARGET / bright
            found = min(max(round(exposure_us * change), control.minimum), longest)
            if found == exposure_us:
                break
            exposure_us = found
        if bright > _TARGET:
            raise NotRun(f"the scene is too bright for exposures of {exposure_us} us")
        raise NotRun(
            f"the scene is too dark: its bright pixels reach {bright:.0%} of white "
            f"in {exposure_us / 1000:g} ms"
        )

    def scale(self, exposure: float = 1.0, gain: float = 1.0, **more: int) -> Settings:
        """Return the base settings with exposure and gain times these factors.

        Raises:
            NotRun: a value is out of the module's range.
        """
        changes: dict[str, Any] = dict(more)
        for name, factor in (("exposure_us", exposure), ("gain_milli", gain)):
            control, value = self.device.controls.get(name), getattr(self.base, name)
            if control is None or value is None:
                continue
            changes[name] = round(value * factor)
            if not control.minimum <= changes[name] <= control.maximum:
                raise NotRun(f"the scene needs {name}={changes[name]}, which the module cannot do")
        return replace(self.base, **changes)

    def capture(self, settings: Settings, *, region: Region | None = None) -> Shot:
        """Take one frame of the region in the middle, or of another region."""
        wanted = region or self.region
        if self.has_regions:
            return Shot.take(self.device.capture(self.mode.name, roi=wanted, settings=settings))
        return self._cut(Shot.take(self.device.capture(self.mode.name, settings=settings)), wanted)

    def capture_at_rest(self, settings: Settings, *, region: Region | None = None) -> Shot:
        """Take a frame some time after the lens has moved.

        How soon the lens rests is no matter of these tests. So the first frame is thrown away.
        """
        self.capture(settings, region=region)
        return self.capture(settings, region=region)

    def bracket(self, frames: Sequence[Settings]) -> list[Shot]:
        """Take consecutive frames, each with settings of its own."""
        if self.has_regions:
            taken = self.device.capture(self.mode.name, roi=self.region, frames=frames)
            return [Shot.take(frame) for frame in taken]
        taken = self.device.capture(self.mode.name, frames=frames)
        return [self._cut(Shot.take(frame), self.region) for frame in taken]

    def start(self, settings: Settings, interval_us: int) -> int:
        """Start a stream of the region, or of the preview, and return its number."""
        if self.has_regions:
            self.device.start(
                self.mode.name,
                roi=self.region,
                settings=settings,
                interval_us=interval_us,
            )
            return ROI
        self.device.start(self.mode.name, settings=settings, interval_us=interval_us)
        return PREVIEW

    def _cut(self, shot: Shot, region: Region) -> Shot:
        left, top, width, height = region
        pixels = shot.pixels[top : top + height, left : left + width]
        return Shot(pixels, shot.metadata, shot.cfa)


def check_value(name: str, asked: int | None, reported: int) -> float:
    """Return how far *reported* is from what was asked for, as a part of it.

    Raises:
        Failed: it is further away than TOLERANCE.
    """
    if asked is None:
        return 0.0
    error = reported / asked - 1
    if abs(error) > TOLERANCE:
        raise Failed(f"asked for {name}={asked}, the frame reports {reported}")
    return abs(error)


CameraTest = Callable[[CameraUnderTest], str]
"""A test. It returns its figures, or raises an exception of :mod:`..conformance.cases`."""
