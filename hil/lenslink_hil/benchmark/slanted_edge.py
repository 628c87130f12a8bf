"""The MTF50 of a slanted edge, after ISO 12233: the frequency at which contrast has halved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BIN_PX = 0.25


def find_half(values: NDArray[Any], frequencies: NDArray[Any], level: float = 0.5) -> float:
    """Return where a falling curve first crosses one half, or another *level*.

    It is the last frequency if the curve stays above.
    """
    found = np.flatnonzero(values < level)
    if not found.size:
        return float(frequencies[-1])
    below = int(found[0])
    high, low = values[below - 1], values[below]
    share = (high - level) / (high - low)
    step = frequencies[below] - frequencies[below - 1]
    return float(frequencies[below - 1] + share * step)


def find_edge(image: NDArray[Any], is_used: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the column of a nearly vertical edge: its slope over rows, and its place in row 0.

    Args:
        image: flat-fielded pixels, (H, W): bright on the left or on the right.
        is_used: True for the pixels of the colour to measure.
    """
    rows, columns = np.nonzero(is_used)
    values = _normalize(image, rows, columns)
    places = []
    for row in np.unique(rows):
        mine = rows == row
        # The mean place of the steps: what lies above the middle, counted from the right.
        spacing = round((np.ptp(columns[mine]) + 1) / np.count_nonzero(mine))
        places.append((row, columns[mine].max() + 1 - spacing * values[mine].sum()))
    down, across = np.array(places, np.float64).T
    slope, start = np.polyfit(down, across, 1)
    return float(slope), float(start)


def measure_mtf50(
    image: NDArray[Any], is_used: NDArray[np.bool_], edge: tuple[float, float] | None = None
) -> float:
    """Return the MTF50 of a nearly vertical edge in cycles a pixel.

    Args:
        image: flat-fielded pixels, (H, W): bright on the left or on the right.
        is_used: True for the pixels of the colour to measure.
        edge: where the edge is, as :func:`find_edge` returns it; None looks for it. In a noisy
            image it is found badly, and the MTF50 is then too low.

    >>> columns = np.arange(80) + 0.1 * np.arange(60)[:, None]
    >>> edge = np.clip((columns - 43) / 4 + 0.5, 0, 1)
    >>> round(measure_mtf50(edge, np.ones(edge.shape, bool)), 2)
    0.15
    """
    curve, frequencies = measure_mtf(image, is_used, edge)
    return find_half(curve, frequencies)


def measure_mtf(
    image: NDArray[Any], is_used: NDArray[np.bool_], edge: tuple[float, float] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the contrast of each frequency, 1 at 0, and the frequencies below 1 cycle a pixel.

    The arguments are those of :func:`measure_mtf50`.
    """
    profile = _find_profile(image, is_used, edge)
    line = np.diff(profile)
    line *= np.hanning(len(line)) ** 0.05  # the ends are flat; this only closes them
    spectrum = np.abs(np.fft.rfft(line, 16 * len(line)))
    frequencies = np.fft.rfftfreq(16 * len(line), _BIN_PX)
    curve = spectrum / spectrum[0]
    # A bin and a difference are boxes of one bin's width.
    seen = frequencies < 1
    return curve[seen] / np.sinc(frequencies[seen] * _BIN_PX) ** 2, frequencies[seen]


def measure_overshoot(
    image: NDArray[Any], is_used: NDArray[np.bool_], edge: tuple[float, float] | None = None
) -> float:
    """Return by how much the edge's profile exceeds its ends, as a part of its step.

    The arguments are those of :func:`measure_mtf50`.
    """
    profile = _find_profile(image, is_used, edge)
    ends = len(profile) // 5
    low, high = np.sort([profile[:ends].mean(), profile[-ends:].mean()])
    return float(max(profile.max() - high, low - profile.min()) / (high - low))


def _find_profile(
    image: NDArray[Any], is_used: NDArray[np.bool_], edge: tuple[float, float] | None
) -> NDArray[Any]:
    """Return the edge's profile across, in steps of _BIN_PX."""
    rows, columns = np.nonzero(is_used)
    values = _normalize(image, rows, columns)
    slope, start = find_edge(image, is_used) if edge is None else edge
    distance = (columns - start - slope * rows) / math.hypot(1, slope)
    low_end, high_end = -0.45 * np.ptp(columns), 0.45 * np.ptp(columns)
    bins = np.arange(low_end, high_end, _BIN_PX)
    number = np.digitize(distance, bins)
    return np.array(
        [values[number == each].mean() for each in range(1, len(bins)) if (number == each).any()]
    )


def _normalize(
    image: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[Any]:
    """Return pixels from 0 to 1, bright on the right."""
    values = image[rows, columns]
    low, high = np.percentile(values, [3, 97])
    values = (values - low) / (high - low)
    if values[columns < columns.mean()].mean() > 0.5:
        values = 1 - values
    return np.asarray(values)
