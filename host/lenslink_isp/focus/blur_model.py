"""How defocus weakens fine detail.

A lens blurs a point at another depth to a disc. The disc's diameter is proportional to the
difference of the depths in dioptres. Its transfer function is ``2 J1(z) / z`` with ``z = pi *
diameter * frequency``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenslink.errors import UsageError

_LARGEST_PRODUCT = 200.0
_ENTRIES = 32768
_NODES = 1023


@dataclass(frozen=True, slots=True)
class BlurModel:
    """The blur of a lens at one aperture, in the pixels of one readout mode.

    >>> BlurModel(px_per_mdpt=0.065).find_diameter_px(1000, 2000)
    65.0
    """

    px_per_mdpt: float
    """Diameter of the blur disc for one milli-dioptre of defocus."""

    def __post_init__(self) -> None:
        if not self.px_per_mdpt > 0:
            raise UsageError(f"px_per_mdpt is {self.px_per_mdpt}, it must be positive")

    def find_diameter_px(self, focus_mdpt: float, depth_mdpt: float) -> float:
        """Return the diameter of the blur disc of a thing at *depth_mdpt*."""
        return abs(focus_mdpt - depth_mdpt) * self.px_per_mdpt

    def find_power(
        self, focus_mdpt: float, depths_mdpt: NDArray[np.float64], frequencies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the part of the power at *frequencies* that blur leaves, (depths, frequencies).

        Frequencies are in cycles a pixel. The lens stands at *focus_mdpt*.
        """
        diameters = np.abs(depths_mdpt - focus_mdpt) * self.px_per_mdpt
        return find_disc_transfer(np.outer(diameters, frequencies)) ** 2


def find_disc_transfer(product: ArrayLike) -> NDArray[np.float64]:
    """Return the transfer function of a disc, by the product of its diameter and the frequency.

    >>> find_disc_transfer([0.0, 1.2197]).round(3).tolist()
    [1.0, 0.0]
    """
    return np.asarray(np.interp(np.asarray(product), *_tabulate(), right=0.0))


@lru_cache(maxsize=1)
def _tabulate() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return products and the transfer function. It takes a moment, so it is done once.

    The transfer function of a disc is the Fourier transform of its projection, a half ellipse. The
    Chebyshev nodes of the second kind carry that weight. They are symmetric and so is the cosine,
    so half of them is enough.
    """
    products = np.linspace(0, _LARGEST_PRODUCT, _ENTRIES)
    angles = np.arange(1, _NODES + 1) * np.pi / (_NODES + 1)
    # The middle node is at 0, where the cosine is 1.
    transfer = np.full(_ENTRIES, 2 / (_NODES + 1))
    for angle in angles[: _NODES // 2]:
        share = np.sin(angle) ** 2 * 4 / (_NODES + 1)
        transfer += share * np.cos(np.pi * products * np.cos(angle))
    return products, transfer
