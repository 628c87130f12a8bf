"""The steps of a zoom in numpy: slow, and written to be read. Fast ones are compared with these.

Planes are float64, (H, W), of perceptual values. Samples are pixels of the sensor: their columns
and rows count in pixels of the picture, and (0, 0) is the centre of its first pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def predict(plane: Floats, columns: Floats, rows: Floats) -> Floats:
    """Return what pixels of the sensor read: the mean of the 2 x 2 pixels that each covers.

    A pixel of the picture is a square of even light. Beyond its edge, the picture is mirrored.
    """
    border = 4
    padded = np.pad(plane, border, mode="reflect")
    found = np.zeros(columns.shape)
    for place in np.ndindex(columns.shape):
        # The sensor's pixel goes from 1 to the left of its centre to 1 to the right.
        x, y = columns[place] + border, rows[place] + border
        left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
        right, down = x - 0.5 - left, y - 0.5 - top
        across = np.array([1 - right, 1, right]) / 2
        along = np.array([1 - down, 1, down]) / 2
        found[place] = along @ padded[top : top + 3, left : left + 3] @ across
    return found


def spread(values: Floats, columns: Floats, rows: Floats, shape: tuple[int, int]) -> Floats:
    """Return the sums of samples at the pixels around them: a nearer pixel gets more."""
    total = np.zeros(shape)
    for place in np.ndindex(values.shape):
        for y in range(shape[0]):
            down = 1 - abs(rows[place] - y)
            if down <= 0:
                continue
            for x in range(shape[1]):
                right = 1 - abs(columns[place] - x)
                if right > 0:
                    total[y, x] += down * right * values[place]
    return total


def blur(plane: Floats, sigma: float) -> Floats:
    """Return a plane after a Gaussian filter of eight sigmas' breadth or more."""
    reach = int(np.ceil(4 * sigma)) + 1
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        size = plane.shape[axis]
        width = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        padded = np.pad(plane, width, mode="reflect")
        plane = sum(
            weight * np.take(padded, range(step, step + size), axis)
            for step, weight in enumerate(weights)
        )
    return plane


def refine(
    planes: Floats,
    samples: list[tuple[Floats, Floats, Floats, Floats]],
    sigmas: tuple[float, float] = (0.45, 1.6),
    least: float = 0.05,
) -> Floats:
    """Return three planes, (3, H, W), one step nearer to what the frames have seen.

    Args:
        planes: red, green and blue.
        samples: of each colour: values, columns, rows and weights.
        sigmas: over which errors are averaged: of all colours together, and of one.
        least: weight of "no error".
    """
    shape = (planes.shape[1], planes.shape[2])
    errors, counts = [], []
    for plane, (values, columns, rows, weights) in zip(planes, samples, strict=True):
        error = values - np.minimum(predict(plane, columns, rows), 1)
        errors.append(spread(error * weights, columns, rows, shape))
        counts.append(spread(weights, columns, rows, shape))
    fine, broad = sigmas
    grey = blur(np.sum(errors, axis=0), fine) / (blur(np.sum(counts, axis=0), fine) + least)
    smooth = blur(grey, broad)
    return np.array(
        [
            plane + grey + blur(error, broad) / (blur(count, broad) + least) - smooth
            for plane, error, count in zip(planes, errors, counts, strict=True)
        ]
    )


def sharpen_detail(plane: Floats, variance: Floats, amount: float, sigma: float = 1.4) -> Floats:
    """Return a plane whose detail is kept where its mean square exceeds the noise, and stronger.

    Args:
        plane: one colour.
        variance: of the noise in the detail at each pixel, (H, W).
        amount: how much of the detail is added again.
        sigma: of the blur that separates detail.
    """
    base = blur(plane, sigma)
    detail = plane - base
    padded = np.pad(detail**2, 3, mode="reflect")
    energy = np.lib.stride_tricks.sliding_window_view(padded, (7, 7)).mean(axis=(2, 3))
    gain = np.maximum(0, 1 - variance / np.maximum(energy, 1e-12))
    return np.asarray(base + (1 + amount) * gain * detail)


def weigh_cells(errors: Floats, expected: Floats) -> Floats:
    """Return the weight of each cell, (H, W), 0 to 1: whether a frame agrees with the reference.

    Args:
        errors: (4, H, W): what a cell's pixels read, minus what was predicted.
        expected: (H, W): their mean square by noise and by a small shift.
    """

    def average(values: Floats) -> Floats:
        padded = np.pad(values, 1, mode="reflect")
        return np.asarray(
            np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(2, 3))
        )

    squares, means = average((errors**2).mean(axis=0)), average(errors.mean(axis=0))
    # The window's errors are as good as twelve that are independent.
    ratio = np.maximum(squares, 12 * means**2) / average(expected)
    weights = np.clip((3.0 - ratio) / 1.5, 0, 1)
    # Nothing lies beyond the frame, so only cells inside count for the least weight.
    padded = np.pad(weights, 2, constant_values=1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).min(axis=(2, 3)))
