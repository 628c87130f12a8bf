"""Depth from defocus: how far away the things in a region are, from frames that are not sharp.

Every frame of a region was taken at a known position of the lens. For a thing at depth D, the model
says how much of each band of spatial frequencies each frame must have lost. The thing's own
spectrum is unknown, but it is the same in all frames. So the likelihood of D follows from the
energies of the bands (after Subbarao and Wei, "Depth from defocus and rapid autofocusing", CVPR
1992).

A region is cut into blocks, because it may show things at different depths. Blocks vote.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

from .blur_model import BlurModel

Plane = NDArray[np.float64]

BLOCK = 64
"""Side of a block, in pixels of the green plane."""
_STEP = 32
_BANDS = 12
_LOWEST = 1.5
_SCATTER = 0.35
"""Weight of a band's samples: neighbouring frequencies under a window are not independent."""
_ROUNDS = 4


def find_green(raw: RawImage) -> tuple[Plane, float]:
    """Return the green plane, (H / 2, W / 2), from 0 to 1, and the variance of its noise.

    It is the mean of both greens of each 2 x 2 pixels, so its pixels are twice as wide.
    """
    places = [place for place in range(4) if raw.cfa[place] == "G"]
    planes = [
        (raw.mosaic[place // 2 :: 2, place % 2 :: 2] - raw.black[place])
        / (raw.white - raw.black[place])
        for place in places
    ]
    plane = np.asarray((planes[0] + planes[1]) / 2, np.float64)
    slope, offset = raw.noise_profile or (0.0, 0.0)
    return plane, (slope * max(float(plane.mean()), 0.0) + offset) / 2


@dataclass(frozen=True, slots=True)
class Vote:
    """What the blocks of a region say.

    Attributes:
        depth_mdpt: the depth that won.
        share: part of the region's detail that is at this depth, 0 to 1.
        certainty: how much better this depth explains the frames than others do; natural logarithm.
        blocks: (N,) bool: the blocks that are at this depth.
    """

    depth_mdpt: float
    share: float
    certainty: float
    blocks: NDArray[np.bool_]


@dataclass
class DefocusEstimator:
    """Collects frames of one region and tells its depth.

    Attributes:
        model: blur in pixels of the green plane.
        depths_mdpt: (D,) the depths that are possible, in rising order.
    """

    model: BlurModel
    depths_mdpt: Plane
    _energies: list[NDArray[np.float64]] = field(default_factory=list)
    _powers: list[NDArray[np.float64]] = field(default_factory=list)
    _noises: list[float] = field(default_factory=list)
    _counts: NDArray[np.float64] | None = None

    def add(self, focus_mdpt: float, plane: Plane, variance: float) -> None:
        """Add a frame: the green plane that was taken at *focus_mdpt*, and its noise."""
        energies, noise, counts, frequencies = _measure_bands(plane, variance)
        self._energies.append(energies)
        self._noises.append(noise)
        self._counts = counts
        self._powers.append(self.model.find_power(focus_mdpt, self.depths_mdpt, frequencies))

    def vote(self, near_mdpt: float, *, nearest: bool = False) -> Vote:
        """Return the depth of the largest thing, or of the nearest one.

        Args:
            near_mdpt: depths within this distance are the same thing.
            nearest: choose the nearest of those that fill a quarter of the largest one's share.
        """
        likelihood = self._find_likelihood()
        best = likelihood.max(1, keepdims=True)
        spread = best[:, 0] - np.median(likelihood, axis=1)
        # A block without detail knows nothing, and has no say.
        weights = np.minimum(spread, 50.0)
        chances = np.exp(likelihood - best)
        chances /= chances.sum(1, keepdims=True)
        votes = _smooth((weights[:, None] * chances).sum(0), self.depths_mdpt, near_mdpt)
        winner = int(np.argmax(votes))
        if nearest:
            winner = int(np.flatnonzero(_find_peaks(votes) & (votes >= votes[winner] / 4))[-1])
        own = np.abs(self.depths_mdpt[likelihood.argmax(1)] - self.depths_mdpt[winner])
        blocks = own <= near_mdpt
        if not blocks.any():
            blocks[int(own.argmin())] = True
        joint = likelihood[blocks].sum(0)
        inside = np.abs(self.depths_mdpt - self.depths_mdpt[winner]) <= near_mdpt
        place = int(np.argmax(np.where(inside, joint, -np.inf)))
        return Vote(
            depth_mdpt=float(self.depths_mdpt[place]),
            share=float(weights[blocks].sum() / max(weights.sum(), 1e-9)),
            certainty=float(joint[place] - np.median(joint)),
            blocks=np.asarray(blocks),
        )

    def _find_likelihood(self) -> NDArray[np.float64]:
        """Return the log likelihood of each depth, for each block, shape (blocks, depths)."""
        energies = np.stack(self._energies, 1)[:, None]  # block, 1, frame, band
        powers = np.stack(self._powers, 1)[None]  # 1, depth, frame, band
        noises = np.array(self._noises)[None, None, :, None]
        signal = np.maximum(energies - noises, 0) * powers
        spectrum = signal.sum(2) / np.maximum((powers * powers).sum(2), 1e-12)
        for _ in range(_ROUNDS):
            expected = np.maximum(spectrum, 1e-12)[:, :, None] * powers + noises
            weight = powers / expected**2
            spectrum = ((energies - noises) * weight).sum(2) / np.maximum(
                (powers * weight).sum(2), 1e-30
            )
        expected = np.maximum(spectrum, 1e-12)[:, :, None] * powers + noises
        assert self._counts is not None
        misfit = energies / expected + np.log(expected)
        return np.asarray(-_SCATTER * (misfit * self._counts).sum((2, 3)))


def _measure_bands(
    plane: Plane, variance: float
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the energy of each block and band, the noise in it, samples and frequency of a band.

    Energies are relative to the square of the mean, so that a change of the exposure cancels.
    """
    side = min(BLOCK, *plane.shape)
    window = np.hanning(side)[:, None] * np.hanning(side)[None]
    edges = np.geomspace(_LOWEST, side / 2, _BANDS + 1) / side
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    band = np.digitize(radius, edges) - 1
    inside = (band >= 0) & (band < _BANDS)
    counts = np.bincount(band[inside], minlength=_BANDS).astype(float)
    mean = max(float(plane.mean()), 1e-4)
    rows = []
    for top in range(0, plane.shape[0] - side + 1, _STEP):
        for left in range(0, plane.shape[1] - side + 1, _STEP):
            block = plane[top : top + side, left : left + side]
            power = np.abs(np.fft.rfft2((block - block.mean()) * window)) ** 2
            sums = np.bincount(band[inside], power[inside], minlength=_BANDS)
            rows.append(sums / np.maximum(counts, 1) / mean**2)
    noise = max(variance, 1e-9) * float((window**2).sum()) / mean**2
    return np.array(rows), noise, counts, np.sqrt(edges[:-1] * edges[1:])


def _smooth(values: Plane, depths: Plane, width: float) -> Plane:
    """Return *values* over *depths*, blurred by a Gaussian of *width*."""
    step = float(depths[1] - depths[0])
    # A kernel that is wider than all depths would make the result longer than them.
    reach = min(max(1, round(2 * width / step)), (len(values) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    return np.asarray(np.convolve(values, kernel / kernel.sum(), "same"))


def _find_peaks(values: Plane) -> NDArray[np.bool_]:
    """Return where *values* are not lower than both neighbours."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    return (values >= padded[:-2]) & (values >= padded[2:])
