"""Auto white balance: the neutral of a frame.

Lamps and daylight lie near a curve that is known for the sensor. What is grey shows the light's
colour. Two kinds of evidence say where on the curve the light is:

* edges: the difference of two neighbouring zones. A colour that dominates a picture cancels in it,
  and the strongest differences are those of bright things beside dark ones, which often are grey
  (the grey-edge hypothesis of van de Weijer, Gevers and Gijsenij, IEEE Transactions on Image
  Processing 16(9), 2007).
* zones: the mean of a zone, which counts little. It decides where there are no edges.

Each has a cost at every temperature. It grows slowly with the distance, so that coloured things do
not decide. The winner may leave the curve a little, towards the edges that it made grey.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .illuminants import IlluminantCurve
from .statistics import Statistics

Doubles = NDArray[np.float64]

_DARKEST, _BRIGHTEST = 0.004, 0.95
_REACH = 0.08
"""Distance, as a difference of logarithms, from which on the cost grows slowly."""
_OFF_CURVE = 0.03
"""How far a neutral may leave the curve."""
_EDGE_SHARE = 0.9
"""Part of many edges in the cost; the rest is that of the zones."""
_FEW_EDGES = 4
"""So many edges have half of that part: one or two may be noise of a flat picture."""
_LEAST_EDGE = 0.05
"""Difference of each colour, as a part of its mean, from which on two zones have an edge, not
noise."""
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
    zones = statistics.zones
    is_good = (zones.min(-1) > _DARKEST) & (zones.max(-1) < _BRIGHTEST)
    is_good &= statistics.clipped == 0
    if int(is_good.sum()) < _LEAST_ZONES:
        return None
    grey = zones[is_good]
    edges = _find_edges(zones, is_good)
    edge_share = _EDGE_SHARE * len(edges) / (len(edges) + _FEW_EDGES)
    evidence = [(_find_chroma(grey), _weigh(grey), 1 - edge_share)]
    if len(edges):
        evidence.append((_find_chroma(edges), _weigh(edges), edge_share))
    cost = np.zeros(len(curve.chroma))
    for chroma, weights, share in evidence:
        squares = ((chroma[None] - curve.chroma[:, None]) ** 2).sum(-1)
        cost += share * (np.log1p(squares / _REACH**2) @ weights)
    point = curve.chroma[int(np.argmin(cost))]
    # What is nearly grey says how far the light is from the curve.
    chroma, weights, _ = max(evidence, key=lambda each: each[2])
    weights = weights / (1 + ((chroma - point) ** 2).sum(1) / _REACH**2)
    offset = np.average(chroma - point, axis=0, weights=weights)
    length = float(np.hypot(*offset))
    return np.asarray(point + offset * min(1.0, _OFF_CURVE / max(length, 1e-9)))


def _find_edges(zones: Doubles, is_good: NDArray[np.bool_]) -> Doubles:
    """Return the differences of neighbouring zones, (N, 3), in which all colours are positive."""
    down = (zones[1:] - zones[:-1])[is_good[1:] & is_good[:-1]]
    across = (zones[:, 1:] - zones[:, :-1])[is_good[:, 1:] & is_good[:, :-1]]
    found = np.concatenate([down, across])
    found = found * np.sign(found[:, 1:2])
    least = _LEAST_EDGE * zones[is_good].mean(0)
    return np.asarray(found[(found > least).all(1)])


def _find_chroma(light: Doubles) -> Doubles:
    """Return the logarithms of red and blue over green, (N, 2)."""
    logs = np.log(light)
    return np.asarray(logs[:, [0, 2]] - logs[:, [1]])


def _weigh(light: Doubles) -> Doubles:
    """Return weights, which add up to 1: bright things and strong edges are grey most often."""
    squares = light[:, 1] ** 2
    return np.asarray(squares / squares.sum())
