"""Tap to focus: make the module sharp at a point of its picture.

This joins the search of :mod:`.auto_focus` with a module: it takes the frames that the search asks
for. They are regions alone, so a slow link is no obstacle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Unpack

from lenslink.errors import Timeout, UsageError
from lenslink.frame import Frame
from lenslink.module_calibration import ModuleCalibration
from lenslink.module_controls import Control
from lenslink.settings import CaptureArguments
from lenslink_isp.raw_image import RawImage
from lenslink_protocol.ids import ModeUse
from lenslink_protocol.manifest import Manifest, Mode

from .auto_focus import AutoFocus, FocusLimits, FocusRequest, FocusState, Readout

_log = logging.getLogger(__name__)

REGION_PX = 256
"""Side of the region, in pixels of each mode."""


class FocusModule(Protocol):
    """What the search needs of a module. A :class:`lenslink.Device` has all of it."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def controls(self) -> Mapping[str, Control]: ...
    @property
    def calibration(self) -> ModuleCalibration: ...
    def capture(
        self,
        mode: str | None = None,
        *,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame: ...


@dataclass(frozen=True, slots=True)
class FocusResult:
    """How a search ended."""

    state: FocusState
    """REACHED or FAILED."""
    focus_mdpt: int
    """The focus that was found, in milli-dioptres; the best guess if the search failed."""
    evaluations: int
    """Frames that were used."""
    seconds: float
    blur_px: float
    """Blur of the last frame in pixels of the still mode, as far as the search knows."""


def focus_at(
    module: FocusModule,
    x: float,
    y: float,
    *,
    prefer_nearest: bool = False,
    timeout: float = 30.0,
) -> FocusResult:
    """Find the focus that makes a point of the picture sharp.

    The search opens the iris, where the blur is largest. It leaves the lens at its last frame: give
    ``focus_mdpt`` of the result to the next still or stream.

    Args:
        module: an open module with a focus motor. No stream of regions may run.
        x: the point, as a part of the picture's width: 0 is left, 1 is right.
        y: the same of the height: 0 is the top.
        prefer_nearest: if there are two things, take the nearer one, not the larger one.
        timeout: seconds.

    Raises:
        UsageError: a value is out of range; or the module has no focus motor, or no calibration of
            its blur.
        Timeout: the search took too long.

    >>> with lenslink.open("sim:?scene=planes&seed=3") as module:  # doctest: +SKIP
    ...     focus_at(module, 0.5, 0.5).state
    <FocusState.REACHED: 'reached'>
    """
    for name, value in (("x", x), ("y", y)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name}={value:g} is not in the picture: it must be from 0 to 1")
    modes = {
        Readout.PREVIEW: module.manifest.find_mode_for(ModeUse.PREVIEW),
        Readout.STILL: module.manifest.find_mode_for(ModeUse.STILL),
    }
    limits = find_limits(module, modes)
    end = time.monotonic() + timeout
    start = time.monotonic()
    search = AutoFocus(limits, prefer_nearest=prefer_nearest)
    request: FocusRequest | None = search.begin()
    optics = module.manifest.optics
    has_iris = optics is not None and "aperture_milli" in module.controls
    wide_open = optics.aperture_milli if has_iris and optics is not None else None
    position = 0
    while request is not None:
        left = end - time.monotonic()
        if left <= 0:
            raise Timeout(f"the focus search took longer than {timeout:g} s")
        mode = modes[request.readout]
        with module.capture(
            mode.name,
            roi=find_region(mode, x, y),
            focus_mdpt=round(request.focus_mdpt),
            aperture_milli=wide_open,
            settled=True,
            timeout=left,
        ) as frame:
            position = frame.focus_mdpt
            _log.debug(
                "%s: %s asked for %.1f, the lens stands at %d%s",
                search.state.value, mode.name, request.focus_mdpt, position,
                ", moving" if frame.is_moving else "",
            )  # fmt: skip
            request = search.update(RawImage.from_frame(frame), float(frame.focus_mdpt))
    blur = abs(position - search.position_mdpt) * limits.still_px_per_mdpt
    return FocusResult(
        search.state, round(search.position_mdpt), search.evaluations,
        time.monotonic() - start, blur,
    )  # fmt: skip


def find_limits(module: FocusModule, modes: dict[Readout, Mode]) -> FocusLimits:
    """Return the lens' range and blur.

    Raises:
        UsageError: the module has no focus motor, or no calibration of its blur.
    """
    control = module.controls.get("focus_mdpt")
    if control is None:
        raise UsageError("the module has no focus motor")
    blur = module.calibration.blur
    if blur is None:
        raise UsageError("the module has no calibration of its blur")
    optics = module.manifest.optics
    if optics is None:
        raise UsageError("the module does not state its f-number")
    middle = (control.minimum + control.maximum) / 2
    sensor_px_per_mdpt = blur.at(optics.aperture_milli / 1000, middle) / 1000
    width = module.manifest.sensor.width
    return FocusLimits(
        control.minimum,
        control.maximum,
        sensor_px_per_mdpt * modes[Readout.PREVIEW].width / width,
        sensor_px_per_mdpt * modes[Readout.STILL].width / width,
    )


def find_region(mode: Mode, x: float, y: float) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the region around a point, inside the mode and even."""
    width, height = min(REGION_PX, mode.width), min(REGION_PX, mode.height)
    left = min(max(0, round(x * mode.width - width / 2)), mode.width - width)
    top = min(max(0, round(y * mode.height - height / 2)), mode.height - height)
    return left // 2 * 2, top // 2 * 2, width, height
