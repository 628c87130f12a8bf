"""HDR preview: each frame of a stream with alternating exposures, merged with the one before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenslink_isp.develop.local_tone import LocalTone, ToneCurve
from lenslink_isp.develop.preview import Preview
from lenslink_isp.raw_image import RawImage

from .aligned_frame import move_whole_cells
from .alignment import Aligner
from .robust_merge import RobustMerge
from .scene_light import SceneLight, check_alike, find_exposures, measure_light

_CALM = 0.2
"""How much of the curve's change is taken up by each frame, so that brightness does not jump."""
_EXPOSURE_STEP = 0.05
"""Exposures that differ by a smaller part count as the same."""


class HdrPreview:
    """Makes a picture of each frame and the one before, and maps its tones locally.

    The newest frame is the reference: what moves is where that frame shows it. Where it is
    saturated, the frame before shows what it can. Use one object for each thread.

    >>> import lenslink
    >>> preview = HdrPreview()
    >>> with lenslink.open("sim:?width=64&height=64&scene=edges") as module:
    ...     for exposure_us in (1000, 8000, 1000):
    ...         with module.capture(exposure_us=exposure_us) as frame:
    ...             picture = preview.develop(RawImage.from_frame(frame))
    >>> picture.shape, picture.dtype
    ((64, 64, 3), dtype('uint8'))
    """

    def __init__(self) -> None:
        self._preview = Preview()
        self._before: RawImage | None = None
        self._curve: ToneCurve | None = None

    def develop(self, raw: RawImage, *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return an sRGB picture, (H, W, 3) uint8.

        The first frame, and the first one of another size, is developed alone. The frame may be
        released afterwards.

        Args:
            raw: the newest frame.
            out: memory for the picture; None makes it.

        Raises:
            UsageError: the frame says nothing of its exposure or its noise, or *out* has another
                shape.
        """
        before = self._before
        if before is not None and (before.mosaic.shape, before.cfa) != (raw.mosaic.shape, raw.cfa):
            before, self._curve = None, None
        merged = _merge_pair(raw, before)
        # The memory of a frame returns to the driver.
        self._before = replace(raw, mosaic=raw.mosaic.copy())
        tone = LocalTone(merged)
        found = tone.find_curve()
        self._curve = found if self._curve is None else self._curve.blend(found, _CALM)
        light = merged.mosaic * tone.make_gain(self._curve)
        return self._preview.develop(replace(merged, mosaic=light, baseline_exposure=0.0), out=out)


def _merge_pair(raw: RawImage, before: RawImage | None) -> RawImage:
    """Return the light of *raw*, merged with the frame before, as a RAW whose white is 1."""
    frames = [raw] if before is None else [raw, before]
    if before is not None:
        check_alike(frames)
    exposures = find_exposures(frames)
    reference = measure_light(raw, exposures[0])
    light = reference.light
    if before is not None and max(exposures) > 1 + _EXPOSURE_STEP:
        light = _merge_light(reference, measure_light(before, exposures[1]))
    # A frame alone has the same white as a pair, so that the curve need not jump.
    return replace(raw, mosaic=light, black=(0.0, 0.0, 0.0, 0.0), white=1.0)


def _merge_light(reference: SceneLight, other: SceneLight) -> NDArray[np.float32]:
    merge = RobustMerge(reference)
    merge.add(move_whole_cells(other, Aligner(reference, finest=4).find_shifts(other)))
    light, _ = merge.finish()
    return np.minimum(light, 1, out=light)
