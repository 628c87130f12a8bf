"""Exposures of the HDR preview: each frame has another one than the frame before.

States and transitions::

    OFF          --turn_on(middle)---> ALTERNATING
    ALTERNATING  --turn_off()--------> OFF           the frames have the middle exposure again
    ALTERNATING  --turn_on(middle)---> ALTERNATING   around another middle

The middle is what the preview has without HDR: the automatic exposure, or the user's. One frame has
STEP_EV less than the other, and the middle lies between both. This class computes only.
:mod:`.camera_session` sends the settings that it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lenslink.errors import UsageError
from lenslink.frame import FrameMetadata
from lenslink.module_controls import Control
from lenslink.settings import Settings
from lenslink_isp.metering.auto_exposure import ExposureLimits

STEP_EV: Final = 3.0
"""From the shorter exposure to the longer one: two frames then overlap in nine stops."""
_SAME: Final = 0.05
"""A module may apply a value that differs by this part."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """An exposure time and a gain.

    >>> Exposure(10_000, 2000).product
    20000000
    """

    exposure_us: int
    gain_milli: int

    @classmethod
    def of(cls, frame: FrameMetadata) -> Exposure:
        """Return what was applied to a frame."""
        return cls(frame.exposure_us, frame.gain_milli)

    @property
    def product(self) -> int:
        """Exposure time times gain."""
        return self.exposure_us * self.gain_milli


class HdrExposures:
    """Chooses the exposure of the next frame while HDR is on.

    >>> exposure = Control("exposure_us", "us", 10, 60_000_000, 1, 10_000)
    >>> gain = Control("gain_milli", "1/1000", 1000, 64_000, 1, 1000)
    >>> hdr = HdrExposures({"exposure_us": exposure, "gain_milli": gain}, 33_000)
    >>> hdr.turn_on(Exposure(8000, 1000))
    >>> [hdr.choose_next().exposure_us for _ in range(3)]
    [2828, 22627, 2828]
    >>> hdr.turn_off()
    Settings(exposure_us=8000, gain_milli=1000, focus_mdpt=None, aperture_milli=None, ...)
    """

    def __init__(self, controls: Mapping[str, Control], longest_us: int) -> None:
        """Make it, without HDR.

        Args:
            controls: of the module.
            longest_us: the longest exposure that keeps the preview fast, in us.
        """
        self._exposure, self._gain = controls.get("exposure_us"), controls.get("gain_milli")
        self._longest_us = longest_us
        self._middle: Exposure | None = None
        self._shorter = self._longer = Exposure(1, 1000)
        self._is_longer_next = False

    @property
    def is_on(self) -> bool:
        """True while exposures alternate."""
        return self._middle is not None

    @property
    def middle(self) -> Exposure | None:
        """What the preview has without HDR; None if HDR is off."""
        return self._middle

    def turn_on(self, middle: Exposure) -> None:
        """Alternate around *middle* from the next frame on.

        Raises:
            UsageError: the exposure of the module cannot be set.
        """
        if self._exposure is None:
            raise UsageError("HDR needs a module whose exposure can be set")
        limits = self._make_limits(self._exposure, middle)
        half = 2 ** (STEP_EV / 2)
        self._shorter = Exposure(*limits.choose(middle.product / half))
        self._longer = Exposure(*limits.choose(middle.product * half))
        self._middle = middle

    def turn_off(self) -> Settings:
        """Return the settings that the preview has without HDR; none if HDR is off."""
        middle, self._middle = self._middle, None
        return Settings() if middle is None else self._make_settings(middle)

    def choose_next(self) -> Settings:
        """Return the settings of the next frame: the shorter and the longer exposure in turn."""
        chosen = self._longer if self._is_longer_next else self._shorter
        self._is_longer_next = not self._is_longer_next
        return self._make_settings(chosen)

    def is_shorter(self, frame: FrameMetadata) -> bool:
        """Return True if a frame has the shorter exposure of the present middle.

        The longer one may be saturated, so it tells less of the light.
        """
        return abs(Exposure.of(frame).product / self._shorter.product - 1) <= _SAME

    def show_middle(self, frame: FrameMetadata) -> FrameMetadata:
        """Return a frame's data with the exposure that a picture of two frames stands for."""
        if self._middle is None:
            return frame
        return frame._replace(
            exposure_us=self._middle.exposure_us, gain_milli=self._middle.gain_milli
        )

    def _make_limits(self, exposure: Control, middle: Exposure) -> ExposureLimits:
        """Return the ranges. A middle beyond them is the user's own, and widens them."""
        longest = max(min(exposure.maximum, self._longest_us), middle.exposure_us)
        gain = self._gain
        least, most = (middle.gain_milli,) * 2 if gain is None else (gain.minimum, gain.maximum)
        return ExposureLimits(exposure.minimum, longest, least, most)

    def _make_settings(self, chosen: Exposure) -> Settings:
        settings = Settings(exposure_us=chosen.exposure_us, gain_milli=chosen.gain_milli)
        return settings if self._gain is not None else replace(settings, gain_milli=None)
