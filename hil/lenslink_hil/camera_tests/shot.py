"""A frame as the camera tests use it, and how the light of two frames is compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lenslink import Frame, FrameStatus
from lenslink.frame import FrameMetadata

from ..conformance.cases import Failed, NotRun

Floats = NDArray[np.float32]

DARKEST, BRIGHTEST = 0.05, 0.9
"""Parts of the way from black to white between which a pixel tells how bright it is."""
LEAST_PIXELS = 256
_LARGEST_NOISE = 6.0
"""Standard deviations of the noise beyond which a difference counts as this much: a pixel that is
defective or on a moving edge must not decide."""


@dataclass(frozen=True)
class Shot:
    """The pixels of a frame, and what the module reported of it."""

    pixels: NDArray[np.uint16]
    """(H, W): digital numbers."""
    metadata: FrameMetadata
    cfa: str

    @classmethod
    def take(cls, frame: Frame) -> Shot:
        """Return a copy of *frame*, and release the frame.

        Raises:
            NotRun: pixels of the frame are missing.
            Failed: the frame reports a white level that is not above its black level.
        """
        with frame:
            if frame.status is not FrameStatus.COMPLETE:
                raise NotRun(f"frame {frame.number} arrived incomplete: the link loses packets")
            if not max(frame.black) < frame.white:
                raise Failed(f"black level {max(frame.black):g}, white level {frame.white}")
            return cls(frame.pixels.copy(), frame.metadata, frame.cfa)

    @cached_property
    def signal(self) -> Floats:
        """(H, W): light, 0 at the black level and 1 at the white level."""
        found = self.pixels.astype(np.float32)
        for place, black in enumerate(self.metadata.black):
            site = get_site(place)
            found[site] = (found[site] - black) / (self.metadata.white - black)
        return found

    @property
    def product(self) -> float:
        """The reported exposure in microseconds times the reported gain in thousandths."""
        return float(self.metadata.exposure_us) * self.metadata.gain_milli


def get_site(place: int) -> tuple[slice, slice]:
    """Return the pixels of one place of the colour filter: 0 to 3, row by row."""
    return np.s_[place // 2 :: 2, place % 2 :: 2]


def compare_light(first: Shot, second: Shot) -> float:
    """Return how many times as bright as *first* the frame *second* is.

    Only pixels that are neither dark nor clipped in the brighter frame count.

    Raises:
        NotRun: there are too few of them.
    """
    brighter = max(first, second, key=lambda shot: float(shot.signal.mean())).signal
    is_usable = (brighter > DARKEST) & (brighter < BRIGHTEST)
    if int(is_usable.sum()) < LEAST_PIXELS:
        raise NotRun("too few pixels of the scene are neither dark nor clipped")
    light = [float(shot.signal[is_usable].mean()) for shot in (first, second)]
    return light[1] / max(light[0], 1e-9)


def measure_contrast(shot: Shot) -> float:
    """Return the mean square of the differences between neighbours in one green plane."""
    green = shot.signal[get_site(shot.cfa.index("G"))]
    across, down = np.diff(green, axis=1), np.diff(green, axis=0)
    return float((across**2).mean() + (down**2).mean())


def predict_noise(shot: Shot, signal: Floats) -> Floats:
    """Return the variance of each pixel by the reported noise profile.

    Raises:
        NotRun: the frame reports no noise profile.
    """
    profile = shot.metadata.noise_profile
    if profile is None:
        raise NotRun("the frames report no noise profile")
    return np.asarray(profile[0] * np.maximum(signal, 0) + profile[1], np.float32)


def measure_difference(first: Shot, second: Shot) -> float:
    """Return the mean square of the difference of two equal frames, in units of their noise.

    It is 1 if nothing but noise differs.

    Raises:
        NotRun: the frames report no noise profile, or too few pixels are not clipped.
    """
    mean = np.asarray((first.signal + second.signal) / 2, np.float32)
    is_usable = mean < BRIGHTEST
    if int(is_usable.sum()) < LEAST_PIXELS:
        raise NotRun("too few pixels of the scene are not clipped")
    noise = 2 * predict_noise(first, mean)[is_usable]
    square = (first.signal - second.signal)[is_usable] ** 2
    return float(np.minimum(square / noise, _LARGEST_NOISE**2).mean())
