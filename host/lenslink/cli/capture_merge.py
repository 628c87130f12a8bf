"""The options ``--hdr``, ``--burst``, ``--zoom`` and ``--denoise``: several frames, one picture.

The picture is computed by :mod:`lenslink_isp`, which registers it under the entry point group
``lenslink.merges``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from lenslink.errors import MissingExtra, UsageError
from lenslink.settings import LIMITS, Settings
from lenslink_protocol.params import MAX_BRACKET

if TYPE_CHECKING:
    from lenslink import Device, Frame
    from lenslink.image_files.opcodes import Corrections

    _Steps = click.ParamType[tuple[float, ...]]
else:
    _Steps = click.ParamType  # generic only in newer versions of click

DEFAULT_STEPS = (-3.0, 0.0, 3.0)
_MOST_EV = 10
_DEFAULT_EXPOSURE_US = 10_000
ZOOM_FRAMES = 8
"""Frames of --zoom, unless --burst says otherwise."""


class FrameMerge(Protocol):
    """What an entry point of ``lenslink.merges`` makes.

    The factory ``raw`` takes the keyword ``is_denoised``: whether noise is taken out of the result.
    The factory ``zoom`` takes ``factor``: which part of the frames' sides is left out.
    """

    shares: tuple[float, ...]
    reference: int

    def check_output(self, path: Path, force: bool) -> None:
        """Raise the error that :meth:`save` would raise."""

    def add_frames(self, frames: Sequence[Frame]) -> None:
        """Merge the frames of the capture; a single frame stays as it is, but for its noise."""

    def save(self, path: Path, force: bool, corrections: Corrections | None) -> int:
        """Write the merge; return the file's size in bytes."""


class HdrSteps(_Steps):
    """``-3,0,3``: the exposures of a bracket, in EV from the exposure of the picture."""

    name = "ev,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the steps; fail for text, for one step alone, and beyond 10 EV."""
        if isinstance(value, tuple):
            return value
        try:
            steps = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of EV, such as -3,0,3", param, ctx)
        if not 2 <= len(steps) <= MAX_BRACKET:
            self.fail(f"{value!r} must have 2 to {MAX_BRACKET} steps", param, ctx)
        if not all(abs(step) <= _MOST_EV for step in steps):
            self.fail(f"{value!r}: a step is from -{_MOST_EV} to {_MOST_EV} EV", param, ctx)
        return steps


def load_merge(option: str, *, is_denoised: bool = False) -> FrameMerge:
    """Return the merge that is installed, for the option of this name.

    Raises:
        MissingExtra: none is installed, or a package that it needs is missing.
    """
    merge: FrameMerge = _load_factory("raw", option)(is_denoised=is_denoised)
    return merge


def load_zoom(factor: float) -> FrameMerge:
    """Return what makes a zoomed picture of the middle of the frames: 1 / *factor* of each side.

    Raises:
        MissingExtra: none is installed, or a package that it needs is missing.
    """
    zoom: FrameMerge = _load_factory("zoom", "--zoom")(factor=factor)
    return zoom


def _load_factory(name: str, option: str) -> Any:
    found = entry_points(group="lenslink.merges")
    if name not in found.names:
        raise MissingExtra(option, "isp")
    return found[name].load()


def make_hdr_bracket(
    device: Device, steps: tuple[float, ...], exposure_us: int | None
) -> list[Settings]:
    """Return the settings of each frame, within the module's range.

    Args:
        device: the module.
        steps: in EV.
        exposure_us: of step 0; None is the module's default.

    Raises:
        UsageError: the module's range leaves fewer than two different exposures.
    """
    control = device.controls.get("exposure_us")
    default = _DEFAULT_EXPOSURE_US if control is None else control.default
    least, most = LIMITS["exposure_us"]
    if control is not None:
        least, most = control.minimum, control.maximum
    base = exposure_us or default
    exposures = [min(max(round(base * 2.0**step), least), most) for step in steps]
    if len(set(exposures)) < 2:
        raise UsageError(f"--hdr: the module cannot vary an exposure of {base} us by these steps")
    return [Settings(exposure_us=each) for each in exposures]
