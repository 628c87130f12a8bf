"""Auto exposure: exposure time and gain for the next frame.

Each frame says what exposed it. So its light divided by its exposure is the brightness of the
scene, and the next exposure follows in one step. Only clipped pixels hide how bright they are. The
estimate for them continues the histogram beyond saturation. It is careful: a scene is rarely darker
than it, so the exposure comes down without falling below its target.

States and transitions::

    SEARCHING --(within TOLERANCE_EV of the target)--> CONVERGED
    CONVERGED --(more than DEAD_BAND_EV away)--------> SEARCHING
    any       --lock()--> LOCKED --unlock()----------> SEARCHING
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError

from .statistics import LEVELS, ZONES, Statistics

MID_GREY = 0.18
"""The mean light that a frame is exposed for."""
TOLERANCE_EV = 0.1
DEAD_BAND_EV = 0.15
"""How far a converged exposure may drift before it is changed. Noise must not make it flicker."""
_HIGHLIGHT_LEVEL = 0.9
"""Highlight priority puts the brightest pixels at this light."""
_HIGHLIGHT_PART = 0.001
"""The part of the pixels that may be brighter."""
_CLIPPED_LIGHT = 3.5
"""The light, in units of saturation, that is assumed for a scene that is clipped everywhere."""
_CLIPPED_POWER = 4
"""How slowly that assumption grows with the clipped part. On photographs, 4 never makes the picture
darker than its target by more than 0.2 EV."""
_TAIL_LEVELS = int(0.6 * LEVELS), int(0.94 * LEVELS)
"""Bins of the histogram whose pixels say how many are a little brighter than saturation."""
_TAIL_SHARE = 0.6
"""The part of the histogram's continuation that is believed while little is clipped. Chosen on
photographs: none becomes darker than its target by more than 0.2 EV because of it."""
_CLIPPED_LEVEL = math.ceil(0.98 * LEVELS)
"""The first bin of clipped pixels."""
_DARKEST = 1e-4


class Metering(enum.Enum):
    """Which part of the picture decides.

    >>> Metering("spot")
    <Metering.SPOT: 'spot'>
    """

    MATRIX = "matrix"
    """All of it; the middle counts more."""
    SPOT = "spot"
    """The area around a point."""
    HIGHLIGHTS = "highlights"
    """The brightest pixels: at most 0.1 % of them are clipped."""


class ExposureState(enum.Enum):
    """State of an :class:`AutoExposure`."""

    SEARCHING = "searching"
    CONVERGED = "converged"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class ExposureLimits:
    """What a module can do, and what the user wants.

    >>> ExposureLimits(longest_us=33_000).choose(50_000_000)
    (33000, 1515)
    """

    shortest_us: int = 10
    longest_us: int = 33_000
    least_gain_milli: int = 1000
    most_gain_milli: int = 64_000
    flicker_us: int = 0
    """Period of the lamps' flicker: 10000 for a mains of 50 Hz, 8333 for 60 Hz; 0 for none. Longer
    exposures are whole multiples of it."""

    def __post_init__(self) -> None:
        if not 0 < self.shortest_us <= self.longest_us:
            raise UsageError(
                f"exposure from {self.shortest_us} to {self.longest_us} us is no range"
            )
        if not 0 < self.least_gain_milli <= self.most_gain_milli:
            raise UsageError(
                f"gain from {self.least_gain_milli} to {self.most_gain_milli} is no range"
            )

    def choose(self, product: float) -> tuple[int, int]:
        """Return exposure (us) and gain (1/1000) whose product is nearest to *product*.

        A long exposure has less noise than a high gain, so gain comes last.
        """
        exposure = product / self.least_gain_milli
        exposure = min(max(exposure, self.shortest_us), self.longest_us)
        if 0 < self.flicker_us <= exposure:
            exposure = exposure // self.flicker_us * self.flicker_us
        whole = max(self.shortest_us, round(exposure))
        gain = round(product / whole)
        return whole, min(max(gain, self.least_gain_milli), self.most_gain_milli)


class AutoExposure:
    """Finds the exposure for a scene, frame by frame.

    >>> auto = AutoExposure(ExposureLimits())
    >>> auto.state
    <ExposureState.SEARCHING: 'searching'>
    """

    def __init__(self, limits: ExposureLimits, metering: Metering = Metering.MATRIX) -> None:
        self.limits = limits
        self.metering = metering
        self.compensation_ev = 0.0
        """How much brighter than mid-grey the picture shall be."""
        self.spot = (0.5, 0.5)
        """Middle of the spot, across and down, 0 to 1."""
        self._state = ExposureState.SEARCHING
        self._settings: tuple[int, int] | None = None

    @property
    def state(self) -> ExposureState:
        """Whether the exposure still changes."""
        return self._state

    def lock(self) -> None:
        """Keep the exposure as it is."""
        self._state = ExposureState.LOCKED

    def unlock(self) -> None:
        """Follow the scene again."""
        if self._state is ExposureState.LOCKED:
            self._state = ExposureState.SEARCHING

    def update(self, statistics: Statistics, exposure_us: int, gain_milli: int) -> tuple[int, int]:
        """Return exposure (us) and gain (1/1000) for the next frame.

        Args:
            statistics: of a frame.
            exposure_us: what the module applied to that frame, not what it was asked for.
            gain_milli: the same.
        """
        error_ev = self._find_error(statistics)
        if self._settings is None:
            self._settings = exposure_us, gain_milli
        if self._state is ExposureState.LOCKED:
            return self._settings
        band = DEAD_BAND_EV if self._state is ExposureState.CONVERGED else TOLERANCE_EV / 2
        if abs(error_ev) > band:
            wanted = self.limits.choose(exposure_us * gain_milli * 2.0**error_ev)
            self._settings = wanted
        is_near = abs(error_ev) <= max(band, TOLERANCE_EV)
        self._state = ExposureState.CONVERGED if is_near else ExposureState.SEARCHING
        return self._settings

    def _find_error(self, statistics: Statistics) -> float:
        """Return by how many EV the frame is too dark."""
        if self.metering is Metering.HIGHLIGHTS:
            light, target = _find_highlight(statistics), _HIGHLIGHT_LEVEL
        else:
            light = _find_light(statistics, self.make_weights())
            target = MID_GREY
        return math.log2(target / max(light, _DARKEST)) + self.compensation_ev

    def make_weights(self) -> NDArray[np.float64]:
        """Return the weight of each zone; all add up to 1."""
        centre = (np.arange(ZONES) + 0.5) / ZONES
        x, y = self.spot if self.metering is Metering.SPOT else (0.5, 0.5)
        width = 0.05 if self.metering is Metering.SPOT else 0.4
        distance = (centre[None] - x) ** 2 + (centre[:, None] - y) ** 2
        weights = np.exp(-distance / (2 * width**2))
        return np.asarray(weights / weights.sum())


def _find_light(statistics: Statistics, weights: NDArray[np.float64]) -> float:
    """Return the mean light of the scene, in units of saturation; more than 1 if it is clipped."""
    zones = statistics.zones
    green = float((weights * zones[..., 1]).sum())
    clipped = float((weights * statistics.clipped).sum())
    # What a clipped pixel has beyond saturation, on average.
    most = _CLIPPED_LIGHT - 1
    excess = max(
        most * clipped ** (_CLIPPED_POWER - 1),
        min(_TAIL_SHARE * math.sqrt(1 - clipped) * _find_tail(statistics), most * clipped),
    )
    return green + excess * clipped


def _find_tail(statistics: Statistics) -> float:
    """Return by how much clipped pixels exceed saturation if the histogram goes on as it ends.

    Bright pixels become fewer with their light, as an exponential function does. Its mean beyond
    saturation is the part that is clipped over the density below saturation.
    """
    first, last = _TAIL_LEVELS
    density = statistics.histogram[first:last].sum() * LEVELS / (last - first)
    return float(statistics.histogram[_CLIPPED_LEVEL:].sum() / max(density, 1))


def _find_highlight(statistics: Statistics) -> float:
    """Return the light that only _HIGHLIGHT_PART of the pixels exceed."""
    cumulated = np.cumsum(statistics.histogram[::-1])
    allowed = _HIGHLIGHT_PART * cumulated[-1]
    brighter = int(np.searchsorted(cumulated, allowed, side="right"))
    if brighter == 0:
        # The last bin alone holds more: how far the highlights go beyond it is unknown.
        part = statistics.histogram[-1] / cumulated[-1]
        return 1.0 + (_CLIPPED_LIGHT - 1) * math.sqrt(float(part))
    return (LEVELS - brighter) / LEVELS
