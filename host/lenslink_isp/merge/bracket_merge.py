"""Merge frames of different exposures to one RAW picture of a wide range."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenslink_isp.raw_image import RawImage

from .aligned_frame import move_whole_cells
from .alignment import Aligner
from .merged_raw import MergedRaw, combine_profiles, make_merged
from .robust_merge import RobustMerge
from .scene_light import check_alike, find_exposures, measure_light


def merge_bracket(frames: Sequence[RawImage], *, align: bool = True) -> MergedRaw:
    """Merge a bracket of exposures.

    The reference is the frame in the middle of the exposures: what moves is where this frame shows
    it. White is the light that saturates the least exposed frame. BaselineExposure lets the
    picture be developed as bright as the reference.

    Args:
        frames: 2 to 16 frames of one sensor, in any order.
        align: False for frames from a tripod, which saves a quarter of the time.

    Raises:
        UsageError: too few or too many frames; their sizes or colour filters differ; or a frame
            does not say its exposure or its noise.

    >>> import lenslink
    >>> steps = [lenslink.Settings(exposure_us=us) for us in (1000, 8000)]
    >>> with lenslink.open("sim:?width=64&height=64&scene=edges") as module:
    ...     taken = module.capture(frames=steps)
    ...     merged = merge_bracket([RawImage.from_frame(frame) for frame in taken])
    >>> merged.raw.mosaic.dtype, merged.raw.baseline_exposure
    (dtype('float32'), 3.0)
    """
    check_alike(frames)
    exposures = find_exposures(frames)
    order = sorted(range(len(frames)), key=exposures.__getitem__)
    # Of an even number, the longer one of the two in the middle: it has less noise.
    middle = order[len(order) // 2]
    reference = measure_light(frames[middle], exposures[middle])
    # The nearest whole cell is enough: where edges then differ, the reference alone counts.
    aligner = Aligner(reference, finest=4) if align else None
    merge = RobustMerge(reference)
    shares = [1.0] * len(frames)
    for index in order:
        if index == middle:
            continue
        frame = measure_light(frames[index], exposures[index])
        if aligner is not None:
            frame = move_whole_cells(frame, aligner.find_shifts(frame))
        shares[index] = float(merge.add(frame).mean())
    return make_merged(
        frames,
        middle,
        merge,
        shares,
        noise_profile=combine_profiles(frames, exposures),
        baseline_exposure=math.log2(exposures[middle]),
    )
