"""Merge frames in the way that suits their exposures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lenslink_isp.raw_image import RawImage

from .bracket_merge import merge_bracket
from .burst_merge import merge_burst
from .merged_raw import MergedRaw
from .scene_light import check_alike, find_exposures

_BRACKET = 1.4
"""Frames are a bracket if the longest exposure is so many times the shortest, half an EV."""


def is_bracket(frames: Sequence[RawImage]) -> bool:
    """Return True if the frames differ in exposure by half an EV or more.

    Raises:
        UsageError: the exposure of a frame is not known.
    """
    return max(find_exposures(frames)) >= _BRACKET


def merge_frames(frames: Sequence[RawImage]) -> MergedRaw:
    """Merge frames of different exposures as a bracket, and those of one exposure as a burst.

    Frames that say nothing of their exposure count as a burst if none of them does.

    Raises:
        UsageError: as :func:`.bracket_merge.merge_bracket`.

    >>> merge_frames([open_raw(f"photo-{number}.dng") for number in (1, 2, 3)])  # doctest: +SKIP
    """
    check_alike(frames)
    if all(frame.sensitivity is None for frame in frames):
        frames = [replace(frame, sensitivity=1.0) for frame in frames]
    return merge_bracket(frames) if is_bracket(frames) else merge_burst(frames)
