"""Define the controls of a camera, and check settings lists.

:data:`CONTROLS` is the table of SPEC.md, section 5.2. A settings list is the tail of Capture and
StartStream. It has an entry for each value that a host sets::

    >>> data = encode_settings([Setting(ControlId.EXPOSURE, EVERY_FRAME, 10_000)])
    >>> data.hex(" ")
    '01 00 ff ff 10 27 00 00'
    >>> read_settings(data, 1)
    [Setting(control=1, frame=65535, value=10000)]

The driver, the conformance kit and the firmware's tests use this module. The firmware itself reads
the entries in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from .ids import ControlId
from .messages import SETTING, Malformed
from .params import EVERY_FRAME, MAX_BRACKET, MAX_SETTING, MAX_SETTINGS


@dataclass(frozen=True, slots=True)
class Control:
    """A row of the table of controls."""

    id: ControlId
    unit: str
    is_per_frame: bool
    is_adjusted: bool
    """The module applies the nearest value to one out of range. Otherwise it refuses the value."""
    reported_by: str
    """The field of FrameStart that states the value applied, or ""."""


CONTROLS: Final = (
    Control(ControlId.EXPOSURE, "us", True, True, "exposure_us"),
    Control(ControlId.GAIN, "1/1000", True, True, "gain_milli"),
    Control(ControlId.FOCUS, "milli-dioptre", True, True, "focus_mdpt"),
    Control(ControlId.APERTURE, "f-number, 1/1000", True, True, "aperture_milli"),
    Control(ControlId.SETTLED, "0 or 1", True, False, ""),
    Control(ControlId.ROI_X, "pixel", True, True, "crop_x"),
    Control(ControlId.ROI_Y, "pixel", True, True, "crop_y"),
)


class Setting(NamedTuple):
    """One entry of a settings list. ``control`` is a number, because a peer may send any."""

    control: int
    frame: int
    """The frame of the Capture, counted from 0, or :data:`.params.EVERY_FRAME`."""
    value: int


def encode_settings(settings: Iterable[Setting]) -> bytes:
    """Return the bytes of a settings list. Nothing is checked."""
    return b"".join(SETTING.pack(*each) for each in settings)


def read_settings(data: bytes, frames: int) -> list[Setting]:
    """Return the entries of a settings list.

    Args:
        data: The tail of the message.
        frames: The number of frames of a Capture; 0 for another message.

    Raises:
        Malformed: The list breaks a rule that holds for every module.
    """
    if len(data) % SETTING.size:
        raise Malformed(f"a settings list of {len(data)} bytes ends inside an entry")
    settings = [Setting._make(each) for each in SETTING.iter_unpack(data)]
    if len(settings) > MAX_SETTINGS:
        raise Malformed(f"{len(settings)} settings, more than {MAX_SETTINGS}")
    places = [each[:2] for each in settings]
    for setting in settings:
        name = f"control {setting.control}"
        if places.count(setting[:2]) > 1:
            raise Malformed(f"{name} is set twice for frame {setting.frame}")
        if not -MAX_SETTING <= setting.value <= MAX_SETTING:
            raise Malformed(f"{name}: the value {setting.value} is out of range")
        if setting.frame == EVERY_FRAME:
            continue
        if setting.frame >= frames:
            raise Malformed(f"{name} is set for frame {setting.frame} of {frames}")
        if frames > MAX_BRACKET:
            raise Malformed(f"{name} is set for one frame of {frames}, more than {MAX_BRACKET}")
    return settings
