"""Autofocus: which frame to take next, and when the search has ended.

The caller takes the frames: of a preview, of a region alone, or of a simulation. States::

    IDLE       --begin()-->  COARSE
    COARSE     preview's resolution, any depth      --(depth is stable)-->  FINE
    FINE       the still's resolution, near it      --(depth is stable)-->  VERIFYING
    VERIFYING  sharper than beside it?              --yes--> REACHED, --no--> SEARCHING
    SEARCHING  contrast, by golden section          --(sharpest found)--> REACHED
    any        --(nothing to see, or too many frames)--> FAILED
    any        --cancel()--> IDLE

The names of the last states are those of V4L2's AUTO_FOCUS_STATUS.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

from .blur_model import BlurModel
from .defocus import DefocusEstimator, find_green

_COARSE_STEP_MDPT = 4.0
_FINE_STEP_MDPT = 0.5
_FINE_REACH_MDPT = 90.0
_COARSE_STABLE_PX = 0.4
"""The coarse depth is stable if it moves by less than this blur of the preview."""
_FINE_STABLE_PX = 0.6
"""The fine depth is stable if it moves by less than this blur of the still."""
_LEAST_CERTAINTY = 12.0
_MOST_EVALUATIONS = 24
_MOST_COARSE = 9
"""Where there is something to see, the coarse depth is stable by then."""
_BEYOND_MDPT = 1500.0
"""Depths this much nearer than the lens reaches are considered, to tell what is too near."""
_LEAST_RISE = 1.2
"""How much sharper the end of a search by contrast must be than its ends."""
_NEARLY = 0.95
"""A frame is as sharp as another from this part of its contrast on: the rest is noise."""
_GOLDEN = 0.618034


class FocusState(enum.Enum):
    """State of an :class:`AutoFocus`."""

    IDLE = "idle"
    COARSE = "coarse"
    FINE = "fine"
    VERIFYING = "verifying"
    SEARCHING = "searching"
    REACHED = "reached"
    FAILED = "failed"


class Readout(enum.Enum):
    """Which resolution the next frame shall have."""

    PREVIEW = "preview"
    STILL = "still"


@dataclass(frozen=True, slots=True)
class FocusRequest:
    """The next frame of a search."""

    focus_mdpt: float
    readout: Readout


@dataclass(frozen=True, slots=True)
class FocusLimits:
    """The lens: its range, and its blur in both resolutions.

    >>> FocusLimits(0, 3300, preview_px_per_mdpt=0.065, still_px_per_mdpt=0.21).farthest_mdpt
    0
    """

    farthest_mdpt: float
    nearest_mdpt: float
    preview_px_per_mdpt: float
    """Diameter of the blur disc in pixels of the preview, for one milli-dioptre of defocus."""
    still_px_per_mdpt: float

    def __post_init__(self) -> None:
        if not self.farthest_mdpt < self.nearest_mdpt:
            raise UsageError(
                f"focus from {self.farthest_mdpt:g} to {self.nearest_mdpt:g} milli-dioptres "
                "is no range"
            )


class AutoFocus:
    """One search for the focus of a region.

    Call :meth:`begin`, take the frame that it asks for, hand it to :meth:`update`, and go on until
    that returns None. Then :attr:`state` is REACHED or FAILED, and :attr:`position_mdpt` is where
    the lens belongs.

    >>> search = AutoFocus(FocusLimits(0, 3300, 0.065, 0.21))
    >>> search.begin()
    FocusRequest(focus_mdpt=1188.0, readout=<Readout.PREVIEW: 'preview'>)
    """

    def __init__(self, limits: FocusLimits, *, prefer_nearest: bool = False) -> None:
        self._limits, self._prefer_nearest = limits, prefer_nearest
        self._state = FocusState.IDLE
        self._estimator: DefocusEstimator | None = None
        self._plan: list[float] = []
        self._contrasts: dict[float, float] = {}
        self._search: _GoldenSection | None = None
        self.position_mdpt = limits.farthest_mdpt
        """The best position that is known."""
        self.evaluations = 0
        """Frames that were used."""

    @property
    def state(self) -> FocusState:
        """Where the search stands."""
        return self._state

    def begin(self) -> FocusRequest:
        """Start a search and return its first frame."""
        low, high = self._limits.farthest_mdpt, self._limits.nearest_mdpt
        self._state = FocusState.COARSE
        self.evaluations = 0
        self._contrasts, self._search = {}, None
        depths = np.arange(low, high + _BEYOND_MDPT, _COARSE_STEP_MDPT)
        # Green pixels are two pixels wide.
        model = BlurModel(self._limits.preview_px_per_mdpt / 2)
        self._estimator = DefocusEstimator(model, depths)
        self._plan = [low + 0.36 * (high - low), low + 0.67 * (high - low)]
        return self._ask(self._plan.pop(0))

    def cancel(self) -> None:
        """End the search: the focus ring moved, or the module was detached."""
        self._state = FocusState.IDLE

    def update(self, raw: RawImage, focus_mdpt: float) -> FocusRequest | None:
        """Use a frame; return the next one, or None if the search has ended.

        Args:
            raw: the region, in the resolution that was asked for.
            focus_mdpt: where the lens stood in the middle of the exposure, as the frame says.

        Raises:
            UsageError: no search is under way.
        """
        if self._state in (FocusState.IDLE, FocusState.REACHED, FocusState.FAILED):
            raise UsageError(f"no search is under way: it is {self._state.value}")
        self.evaluations += 1
        plane, variance = find_green(raw)
        if self._state in (FocusState.VERIFYING, FocusState.SEARCHING):
            return self._judge(focus_mdpt, find_contrast(plane, variance))
        if self._state is FocusState.FINE:
            self._contrasts[focus_mdpt] = find_contrast(plane, variance)
        assert self._estimator is not None
        self._estimator.add(focus_mdpt, plane, variance)
        if self._plan:
            return self._ask(self._plan.pop(0))
        return self._move_on()

    def _move_on(self) -> FocusRequest | None:
        """Ask the estimator where the region is, and go there or to the next state."""
        assert self._estimator is not None
        is_fine = self._state is FocusState.FINE
        limits = self._limits
        per_mdpt = limits.still_px_per_mdpt if is_fine else limits.preview_px_per_mdpt
        near = (2.0 if is_fine else 3.0) / per_mdpt
        vote = self._estimator.vote(near, nearest=self._prefer_nearest and not is_fine)
        moved = abs(vote.depth_mdpt - self.position_mdpt) * per_mdpt
        self.position_mdpt = vote.depth_mdpt
        is_new = self.evaluations <= 2
        stable = _FINE_STABLE_PX if is_fine else _COARSE_STABLE_PX
        most = _MOST_EVALUATIONS if is_fine else _MOST_COARSE
        if is_new or moved > stable:
            if self.evaluations >= most:
                return self._end(FocusState.FAILED)
            return self._ask(min(self.position_mdpt, limits.nearest_mdpt))
        is_too_near = vote.depth_mdpt > limits.nearest_mdpt + near
        if is_too_near or vote.certainty < _LEAST_CERTAINTY:
            return self._end(FocusState.FAILED)
        self.position_mdpt = min(vote.depth_mdpt, limits.nearest_mdpt)
        return self._verify() if is_fine else self._refine()

    def _refine(self) -> FocusRequest:
        """Go on near the coarse depth, in the still's resolution."""
        self._state = FocusState.FINE
        low = max(self._limits.farthest_mdpt, self.position_mdpt - _FINE_REACH_MDPT)
        high = min(self._limits.nearest_mdpt, self.position_mdpt + _FINE_REACH_MDPT)
        model = BlurModel(self._limits.still_px_per_mdpt / 2)
        depths = np.arange(low, high + _FINE_STEP_MDPT, _FINE_STEP_MDPT)
        self._estimator = DefocusEstimator(model, depths)
        aside = 3.0 / self._limits.still_px_per_mdpt
        self._plan = [min(high, self.position_mdpt + aside)]
        return self._ask(max(low, self.position_mdpt - aside))

    def _verify(self) -> FocusRequest | None:
        """Compare the contrast at the end with those of the frames beside it."""
        self._state = FocusState.VERIFYING
        near = 0.5 / self._limits.still_px_per_mdpt
        for focus, contrast in self._contrasts.items():
            if abs(focus - self.position_mdpt) <= near:
                # The last frame stands where the search has ended.
                return self._judge(focus, contrast)
        return self._ask(self.position_mdpt)

    def _judge(self, focus_mdpt: float, contrast: float) -> FocusRequest | None:
        """Accept the position, or go on with a search by contrast."""
        if self._search is None:
            sharpest = max(self._contrasts, key=lambda each: self._contrasts[each])
            if contrast > 0 and contrast >= _NEARLY * self._contrasts[sharpest]:
                return self._end(FocusState.REACHED)
            self._state = FocusState.SEARCHING
            # The peak is on the side of the sharpest frame.
            reach = 12.0 / self._limits.still_px_per_mdpt
            low = max(self._limits.farthest_mdpt, sharpest - reach)
            high = min(self._limits.nearest_mdpt, sharpest + reach)
            tolerance = 1.0 / self._limits.still_px_per_mdpt
            self._search = _GoldenSection(low, high, tolerance)
            return self._ask(self._search.next())
        self._search.add(contrast)
        if self.evaluations >= _MOST_EVALUATIONS:
            return self._end(FocusState.FAILED)
        if not self._search.is_done:
            return self._ask(self._search.next())
        self.position_mdpt = self._search.best
        if self._search.has_peak:
            return self._end(FocusState.REACHED)
        following = self._search.follow(self._limits.farthest_mdpt, self._limits.nearest_mdpt)
        if following is None:
            return self._end(FocusState.FAILED)
        self._search = following
        return self._ask(following.next())

    def _ask(self, focus_mdpt: float) -> FocusRequest:
        is_coarse = self._state is FocusState.COARSE
        readout = Readout.PREVIEW if is_coarse else Readout.STILL
        return FocusRequest(round(float(focus_mdpt), 1), readout)

    def _end(self, state: FocusState) -> FocusRequest | None:
        """End the search: there is no next frame."""
        self._state = state
        return None


class _GoldenSection:
    """Finds the maximum between two positions."""

    def __init__(self, low: float, high: float, tolerance: float) -> None:
        self._low, self._high, self._tolerance = low, high, tolerance
        self._ends = low, high
        self._known: list[tuple[float, float]] = []
        self._asked = high - _GOLDEN * (high - low)
        self._inner: tuple[float, float] | None = None
        self._all: list[float] = []

    @property
    def is_done(self) -> bool:
        """Whether the position is known."""
        return self._high - self._low <= self._tolerance

    @property
    def best(self) -> float:
        """The position with the most contrast."""
        return (self._low + self._high) / 2 if self._inner is None else self._inner[0]

    @property
    def has_peak(self) -> bool:
        """Whether the position is clearly sharper than others, and inside of the search."""
        is_inside = min(abs(self.best - end) for end in self._ends) > 2 * self._tolerance
        return is_inside and max(self._all) > _LEAST_RISE * min(self._all) > 0

    def follow(self, farthest: float, nearest: float) -> _GoldenSection | None:
        """Return a wider search beyond the end that is sharpest; None if there is no such end."""
        low, high = self._ends
        is_high = high - self.best < self.best - low
        wide = 4 * (high - low)
        low, high = (self.best, self.best + wide) if is_high else (self.best - wide, self.best)
        low, high = max(farthest, low), min(nearest, high)
        rises = max(self._all) > _LEAST_RISE * min(self._all) > 0
        if not rises or high - low <= 2 * self._tolerance:
            return None
        return _GoldenSection(low, high, self._tolerance)

    def next(self) -> float:
        """Return the position to look at."""
        return self._asked

    def add(self, contrast: float) -> None:
        """Tell the contrast at the position that was asked for."""
        self._all.append(contrast)
        here = self._asked, contrast
        if self._inner is None:
            self._inner = here
        else:
            left, right = sorted((self._inner, here))
            if left[1] >= right[1]:
                self._high, self._inner = right[0], left
            else:
                self._low, self._inner = left[0], right
        middle = self._inner[0]
        if middle - self._low > self._high - middle:
            self._asked = self._low + (self._high - middle)
            self._asked = min(self._asked, middle - 0.01)
        else:
            self._asked = self._high - (middle - self._low)
            self._asked = max(self._asked, middle + 0.01)


def find_contrast(plane: NDArray[np.float64], variance: float) -> float:
    """Return how much detail a plane has, without the noise's part; 0 for a flat one.

    The mean square of differences between pixels two apart, relative to the mean's square.
    """
    across, down = plane[:, 2:] - plane[:, :-2], plane[2:] - plane[:-2]
    energy = float((across**2).mean() + (down**2).mean()) - 4 * variance
    # What is left must be beyond the chance of the noise, and of a noise that is stated too low.
    chance = 4 * variance * (0.1 + 6 / np.sqrt(plane.size))
    if energy <= chance:
        return 0.0
    return energy / max(float(plane.mean()), 1e-4) ** 2
