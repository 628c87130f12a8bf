"""A small ISP in a process of its own: auto exposure, then autofocus by contrast.

It reads the preview from a frame ring, and answers through the control socket beside it::

    python small_isp.py NAME

At the end it prints the focus that it has set, in milli-dioptres.
"""

from __future__ import annotations

import math
import sys

import numpy as np

import lenslink

TARGET = 0.18
"""The mean of the green pixels, from black (0) to white (1)."""
NEAREST_MDPT = 3200


def read_green(reader: lenslink.FrameRingReader, first: int) -> np.ndarray:
    """Return the green pixels of frame *first* or a later one, once the lens stands still."""
    for frame in reader:
        if frame.number >= first and not frame.is_moving:
            start = frame.cfa.index("G")
            green = frame.pixels[start // 2 :: 2, start % 2 :: 2].astype(np.float64)
            return (green - frame.black[start]) / (frame.white - frame.black[start])
    raise SystemExit("the ring has ended")


def expose(client: lenslink.ModuleClient, reader: lenslink.FrameRingReader) -> None:
    """Choose the exposure, in a few frames."""
    exposure_us = 10_000.0
    for _ in range(12):
        first = client.set(exposure_us=round(exposure_us))
        green = read_green(reader, first)
        # Where pixels are clipped, the mean says too little.
        is_clipped = np.mean(green > 0.95) > 0.01
        factor = 0.25 if is_clipped else min(8.0, TARGET / max(float(green.mean()), 1e-3))
        exposure_us = min(max(exposure_us * factor, 20), 200_000)
        if abs(math.log2(factor)) < 0.05:
            return


def focus(client: lenslink.ModuleClient, reader: lenslink.FrameRingReader) -> int:
    """Focus on the middle of the picture, and return the focus in milli-dioptres."""
    known: dict[int, float] = {}

    def measure(mdpt: int) -> float:
        """Return the contrast of the middle at a focus."""
        mdpt = min(max(mdpt, 0), NEAREST_MDPT)
        if mdpt not in known:
            first = client.set(focus_mdpt=mdpt)
            green = read_green(reader, first)
            height, width = green.shape
            middle = green[height // 4 : -height // 4, width // 4 : -width // 4]
            known[mdpt] = float(np.square(np.diff(middle, axis=1)).mean() / middle.mean() ** 2)
        return known[mdpt]

    # Look everywhere first: far from the focus, the contrast says nothing about the direction.
    step = 400
    best = max(range(0, NEAREST_MDPT + 1, step), key=measure)
    # Then close in on the best position.
    while step > 25:
        step //= 2
        best = max((best - step, best, best + step), key=measure)
    # The contrast is a parabola near its peak.
    before, peak, after = measure(best - step), measure(best), measure(best + step)
    bend = before - 2 * peak + after
    if bend < 0:
        best += round(step * (before - after) / (2 * bend))
    read_green(reader, client.set(focus_mdpt=best))
    return best


if __name__ == "__main__":
    name = sys.argv[1]
    with (
        lenslink.ModuleClient(name, wait=20) as owner,
        lenslink.FrameRingReader(name) as preview,
    ):
        expose(owner, preview)
        print(focus(owner, preview))
