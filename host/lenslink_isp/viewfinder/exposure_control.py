"""Exposure and gain of the preview: each is automatic, or as the user set it.

This class computes only. :mod:`.camera_session` gives it the statistics of frames and sends the
settings that it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lenslink.errors import UsageError
from lenslink.frame import FrameMetadata
from lenslink.module_controls import Control
from lenslink.settings import Settings
from lenslink_isp.metering.auto_exposure import (
    AutoExposure,
    ExposureLimits,
    ExposureState,
    Metering,
)
from lenslink_isp.metering.statistics import Statistics

from .hdr_exposures import Exposure

LONGEST_AUTO_US: Final = 33_000
"""The longest automatic exposure: a longer one would make the preview slow."""
MOST_COMPENSATION_EV: Final = 3.0


class ExposureControl:
    """Chooses exposure and gain for the next frame.

    >>> gain = Control("gain_milli", "1/1000", 1000, 64_000, 1, 1000)
    >>> control = ExposureControl({"gain_milli": gain})
    >>> control.is_automatic
    {'gain_milli': True}
    >>> control.set_manual("gain_milli", 4000).gain_milli
    4000
    >>> control.is_automatic
    {'gain_milli': False}
    """

    def __init__(self, controls: Mapping[str, Control]) -> None:
        self.is_automatic = {name: True for name in _NAMES if name in controls}
        """For each of the two that the module has: True if it is automatic."""
        self._ranges = {
            name: (controls[name].minimum, controls[name].maximum) for name in self.is_automatic
        }
        if "exposure_us" in self._ranges:
            shortest, longest = self._ranges["exposure_us"]
            longest = min(longest, max(shortest, LONGEST_AUTO_US))
            self._ranges["exposure_us"] = shortest, longest
        self._manual: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._metering = AutoExposure(self._make_limits())

    @property
    def state(self) -> ExposureState:
        """Whether the exposure still changes; LOCKED if nothing is automatic."""
        return self._metering.state if any(self.is_automatic.values()) else ExposureState.LOCKED

    @property
    def compensation_ev(self) -> float:
        """How much brighter than mid-grey the picture shall be."""
        return self._metering.compensation_ev

    @compensation_ev.setter
    def compensation_ev(self, ev: float) -> None:
        if not abs(ev) <= MOST_COMPENSATION_EV:
            raise UsageError(f"ev={ev:g} must be from -{MOST_COMPENSATION_EV:g} to 3")
        self._metering.compensation_ev = ev

    def set_manual(self, name: str, value: int) -> Settings:
        """Take *value* for ``exposure_us`` or ``gain_milli``, and return it as settings."""
        settings = make_setting(name, value)
        self.is_automatic[name] = False
        self._manual[name] = value
        self._metering.limits = self._make_limits()
        return settings

    def set_automatic(self, name: str) -> None:
        """Let ``exposure_us`` or ``gain_milli`` follow the scene again.

        Raises:
            UsageError: the module has no such control.
        """
        if name not in self.is_automatic:
            raise UsageError(f"{name} cannot be automatic: the module has no such control")
        self.is_automatic[name] = True
        self._metering.limits = self._make_limits()

    def meter_spot(self, x: float, y: float) -> None:
        """Expose for a point of the sensor, as parts of its width and height."""
        self._metering.metering = Metering.SPOT
        self._metering.spot = x, y

    def meter_all(self) -> None:
        """Expose for the whole picture."""
        self._metering.metering = Metering.MATRIX

    def update(self, statistics: Statistics, frame: FrameMetadata) -> Settings:
        """Return what has to change for the next frame. No field is set if nothing has to."""
        if not any(self.is_automatic.values()):
            return Settings()
        chosen = self._metering.update(statistics, frame.exposure_us, frame.gain_milli)
        wanted = dict(zip(_NAMES, chosen, strict=True))
        before, self._wanted = self._wanted, wanted
        if frame.is_adjusted and wanted == before:
            # The module does not have these values. It took the nearest.
            return Settings()
        changed: dict[str, Any] = {
            name: wanted[name]
            for name, is_automatic in self.is_automatic.items()
            if is_automatic and wanted[name] != getattr(frame, name)
        }
        return Settings(**changed)

    def update_middle(
        self, statistics: Statistics, frame: FrameMetadata, middle: Exposure
    ) -> Exposure:
        """Return the exposure that a preview without HDR would have.

        Args:
            statistics: of a frame of an HDR preview.
            frame: that frame, which has another exposure than *middle*.
            middle: what the HDR preview stands for now.
        """
        if not any(self.is_automatic.values()):
            return middle
        # What a frame with the middle exposure would have seen, if it could not saturate.
        ratio = middle.product / max(Exposure.of(frame).product, 1)
        seen = replace(statistics, zones=statistics.zones * ratio)
        return Exposure(*self._metering.update(seen, middle.exposure_us, middle.gain_milli))

    def _make_limits(self) -> ExposureLimits:
        """Return the ranges of the automatic values. A manual value leaves no choice."""
        ranges = {"exposure_us": (1, 1), "gain_milli": (1000, 1000)} | self._ranges
        for name, value in self._manual.items():
            if not self.is_automatic[name]:
                ranges[name] = value, value
        return ExposureLimits(*ranges["exposure_us"], *ranges["gain_milli"])


_NAMES: Final = ("exposure_us", "gain_milli")


def make_setting(name: str, value: int) -> Settings:
    """Return settings with one value; raise UsageError if it is out of range."""
    changes: dict[str, Any] = {name: value}
    return Settings(**changes)
