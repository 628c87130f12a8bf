"""Auto white balance: the neutral of a frame.

Lamps and daylight lie near a curve that is known for the sensor. Each zone of a frame that might be
grey votes for the temperatures at which it would be grey. A zone that is far from grey everywhere
is a coloured thing, and does not count more than that. The winner may leave the curve a little,
towards the zones that it made grey.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .illuminants import IlluminantCurve
from .statistics import Statistics

_DARKEST, _BRIGHTEST = 0.004, 0.95
_REACH = 0.12
"""Distance, as a difference of logarithms, from which a zone is not grey."""
_OFF_CURVE = 0.06
"""How far a neutral may leave the curve."""
_LEAST_ZONES = 16
_SMOOTHING = 0.5
"""Part of the way to a new neutral that one frame goes, so that a passing thing changes little."""
_JUMP = 0.1
"""A change of the light that is larger than this is followed at once."""


class AutoWhiteBalance:
    """Follows the white balance of a stream.

    >>> import numpy as np
    >>> from .illuminants import make_measured_curve
    >>> curve = make_measured_curve([(2850, (0.8, 1, 0.4)), (6500, (0.5, 1, 0.7))])
    >>> AutoWhiteBalance(curve).neutral  # doctest: +ELLIPSIS
    (0.5..., 1.0, 0.6...)
    """

    def __init__(self, curve: IlluminantCurve) -> None:
        self._curve = curve
        middle = int(np.argmin(np.abs(curve.kelvin - 5500)))
        self._chroma: NDArray[np.float64] = curve.chroma[middle].copy()
        self._is_first = True
        self.is_locked = False
        """True keeps the neutral as it is."""

    @property
    def neutral(self) -> tuple[float, float, float]:
        """The sensor's answer to white: red, green (1) and blue."""
        red, blue = np.exp(self._chroma)
        return float(red), 1.0, float(blue)

    @property
    def kelvin(self) -> float:
        """The colour temperature on the curve that is nearest to the neutral."""
        distance = ((self._curve.chroma - self._chroma) ** 2).sum(1)
        return float(self._curve.kelvin[int(np.argmin(distance))])

    def update(self, statistics: Statistics) -> tuple[float, float, float]:
        """Return the neutral after one more frame."""
        found = None if self.is_locked else estimate(statistics, self._curve)
        if found is not None:
            step = found - self._chroma
            is_jump = self._is_first or float(np.abs(step).max()) > _JUMP
            self._chroma = self._chroma + (step if is_jump else _SMOOTHING * step)
            self._is_first = False
        return self.neutral


def estimate(statistics: Statistics, curve: IlluminantCurve) -> NDArray[np.float64] | None:
    """Return the neutral of one frame, (2,), as logarithms of red and blue over green.

    None means that too few zones are neither dark nor clipped.
    """
    zones = statistics.zones.reshape(-1, 3)
    is_good = (zones.min(1) > _DARKEST) & (zones.max(1) < _BRIGHTEST)
    is_good &= statistics.clipped.reshape(-1) == 0
    if int(is_good.sum()) < _LEAST_ZONES:
        return None
    logs = np.log(zones[is_good])
    chroma = logs[:, [0, 2]] - logs[:, [1]]
    # Bright zones are grey more often than dark ones.
    weights = np.sqrt(zones[is_good][:, 1])
    difference = chroma[None] - curve.chroma[:, None]
    votes = np.minimum((difference**2).sum(-1), _REACH**2)
    cost = (votes * weights).sum(1)
    best = int(np.argmin(cost))
    point = curve.chroma[best]
    # The zones that are nearly grey say how far the light is from the curve.
    near = votes[best] < _REACH**2
    if near.any():
        offset = np.average(chroma[near] - point, axis=0, weights=weights[near])
        length = float(np.hypot(*offset))
        point = point + offset * min(1.0, _OFF_CURVE / max(length, 1e-9))
    return np.asarray(point)
