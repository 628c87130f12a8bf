"""A small line of a figure over time, as SVG inside a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WIDTH: Final = 80
HEIGHT: Final = 18


def draw_sparkline(values: Sequence[float]) -> str:
    """Return the line through *values*, with a dot at the last one; "" for fewer than two values.

    The lowest value is at the bottom, and the highest at the top. The page sets the size in pixels.

    >>> draw_sparkline([1.0, 3.0])
    '<svg><polyline points="0,18 80,0"/><circle cx=80 cy=0 r=2 /></svg>'
    """
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    step = WIDTH / (len(values) - 1)
    points = [
        (round(index * step), round(HEIGHT * (high - value) / span))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    x, y = points[-1]
    return f'<svg><polyline points="{line}"/><circle cx={x} cy={y} r=2 /></svg>'
