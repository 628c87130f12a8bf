"""The result of a merge: a RAW picture of linear light, with the variance of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lenslink_isp.raw_image import RawImage

from .robust_merge import RobustMerge

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MergedRaw:
    """A merged picture."""

    raw: RawImage
    """The picture: float32, black is 0, and white is 1. Its noise profile is that of the pixels
    that all frames agree on, as far as no frame is saturated."""
    variance: Floats
    """(H, W): variance of each pixel's noise, in the square of the picture's unit."""
    shares: tuple[float, ...]
    """How much of each frame was used, from 0 to 1; 1 for the reference frame."""
    reference: int
    """Number of the reference frame, from 0: it says where everything is."""

    @property
    def caption(self) -> str:
        """One ASCII line that says what the picture is."""
        return f"LensLink merge of {len(self.shares)} frames"


def make_merged(
    frames: Sequence[RawImage],
    reference: int,
    merge: RobustMerge,
    shares: Sequence[float],
    *,
    noise_profile: tuple[float, float],
    baseline_exposure: float = 0.0,
) -> MergedRaw:
    """Return the result of *merge* in the colours of the reference frame.

    *baseline_exposure* is added to that of the reference, in EV.
    """
    light, variance = merge.finish()
    base = frames[reference]
    raw = replace(
        base,
        mosaic=np.minimum(light, 1, out=light),
        black=(0.0, 0.0, 0.0, 0.0),
        white=1.0,
        noise_profile=noise_profile,
        baseline_exposure=base.baseline_exposure + baseline_exposure,
    )
    return MergedRaw(raw, variance, tuple(shares), reference)


def combine_profiles(frames: Sequence[RawImage], exposures: Sequence[float]) -> tuple[float, float]:
    """Return S and O of the merge of all frames, for light that saturates none of them.

    The merged variance is 1 / sum(1 / variance). A line through it at black, and at the light that
    saturates the most exposed frame, is within a few per cent of it.
    """

    def find_variance(light: float) -> float:
        parts = []
        for frame, exposure in zip(frames, exposures, strict=True):
            slope, offset = frame.noise_profile or (0.0, 0.0)
            parts.append(exposure**2 / (slope * light * exposure + offset))
        return 1 / sum(parts)

    brightest = 1 / max(exposures)
    dark = find_variance(0)
    return (find_variance(brightest) - dark) / brightest, dark
