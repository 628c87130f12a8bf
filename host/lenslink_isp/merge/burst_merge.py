"""Merge frames of one exposure, taken by hand, to one RAW picture with less noise."""

from __future__ import annotations

from collections.abc import Sequence

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

from .aligned_frame import move_frame
from .alignment import Aligner
from .merged_raw import MergedRaw, combine_profiles, make_merged
from .robust_merge import RobustMerge
from .scene_light import check_alike, find_exposures, measure_light


def merge_burst(frames: Sequence[RawImage], *, reference: int = 0) -> MergedRaw:
    """Merge a burst. The exposures may differ, but the range stays that of the reference frame.

    Args:
        frames: 2 to 16 frames of one sensor.
        reference: number of the frame that says where everything is.

    Raises:
        UsageError: too few or too many frames; their sizes or colour filters differ; a frame does
            not say its exposure or its noise; or *reference* is no frame.

    >>> import lenslink
    >>> with lenslink.open("sim:?width=64&height=64&scene=edges") as module:
    ...     taken = module.capture(frames=[lenslink.Settings()] * 4)
    ...     merged = merge_burst([RawImage.from_frame(frame) for frame in taken])
    >>> merged.raw.mosaic.shape, len(merged.shares)
    ((64, 64), 4)
    """
    check_alike(frames)
    if not 0 <= reference < len(frames):
        raise UsageError(f"reference is {reference}, there are {len(frames)} frames")
    exposures = find_exposures(frames)
    exposures = [each / exposures[reference] for each in exposures]
    base = measure_light(frames[reference], 1.0)
    aligner, merge = Aligner(base), RobustMerge(base)
    shares = [1.0] * len(frames)
    for index, raw in enumerate(frames):
        if index == reference:
            continue
        frame = measure_light(raw, exposures[index])
        frame, gain = move_frame(frame, aligner.find_shifts(frame))
        shares[index] = float(merge.add(frame, gain).mean())
    return make_merged(
        frames, reference, merge, shares, noise_profile=combine_profiles(frames, exposures)
    )
