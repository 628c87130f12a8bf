"""HDR preview: each frame of a stream with alternating exposures, merged with an older one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenslink_isp.develop.color import make_gains
from lenslink_isp.develop.local_tone import LocalTone, ToneCurve
from lenslink_isp.develop.preview import Preview
from lenslink_isp.develop.tone import FULL_SCALE
from lenslink_isp.raw_image import RawImage

from .pair_merge import merge_pair
from .scene_light import find_exposures, list_bands, measure_light

_Words = NDArray[np.uint16]

_NO_BLACK = (0.0, 0.0, 0.0, 0.0)
_CALM = 0.2
"""How much of the curve's change is taken up by each frame, so that brightness does not jump."""
_OLDEST = 4
"""A frame that is more frames old than this is not merged any more."""
_EXPOSURE_STEP = 0.05
"""Exposures that differ by a smaller part count as the same."""


class HdrPreview:
    """Makes a picture of each frame and an older one of another exposure, with local tones.

    The newest frame is the reference: what moves is where that frame shows it. Where it is
    saturated, the older frame shows what it can. Exposures need not alternate strictly, because a
    viewer that takes the newest frame leaves frames out. Use one object for each thread.

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
        # Memory for the light of the two frames, and for the picture before it is developed.
        self._light: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._older: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._words: _Words = np.empty((0, 0), np.uint16)
        self._last: RawImage | None = None
        self._other: RawImage | None = None
        self._other_age = 0
        self._curve: ToneCurve | None = None

    def develop(
        self,
        raw: RawImage,
        *,
        exposure_ev: float = 0.0,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Return an sRGB picture, (H, W, 3) uint8.

        Without an older frame of the same size and of another exposure, the frame is developed
        alone. The frame may be released afterwards.

        Args:
            raw: the newest frame.
            exposure_ev: how much brighter than usual the picture becomes.
            out: memory for the picture; None makes it.

        Raises:
            UsageError: the frame says nothing of its exposure or its noise, or *out* has another
                shape.
        """
        self._remember(raw)
        frames = [raw] if self._other is None else [raw, self._other]
        exposures = find_exposures(frames)
        if self._light.shape != raw.mosaic.shape:
            self._light = np.empty(raw.mosaic.shape, np.float32)
            self._older = np.empty(raw.mosaic.shape, np.float32)
            self._words = np.empty(raw.mosaic.shape, np.uint16)
        reference = measure_light(raw, exposures[0], out=self._light)
        if self._other is not None:
            older = measure_light(self._other, exposures[1], out=self._older)
            colours = make_gains(raw.neutral)
            merge_pair(reference, older, [colours["RGB".index(each)] for each in raw.cfa])
        merged = replace(raw, mosaic=self._light, black=_NO_BLACK, white=1.0, baseline_exposure=0.0)
        tone = LocalTone(merged)
        curve = self._choose_curve(tone.find_curve(), raw, exposures[0])
        _apply_gain(self._light, tone.make_cell_gain(curve), self._words)
        bright = replace(merged, mosaic=self._words, white=float(FULL_SCALE))
        return self._preview.develop(bright, exposure_ev=exposure_ev, out=out)

    def _remember(self, raw: RawImage) -> None:
        """Keep a copy of *raw*, and find the newest older frame of another exposure."""
        last, self._other_age = self._last, self._other_age + 1
        if last is not None and (last.mosaic.shape, last.cfa) != (raw.mosaic.shape, raw.cfa):
            last = self._other = self._curve = None
        if last is not None and _is_other_exposure(raw, last):
            if self._other is None:
                # Two frames know more of the range than one: there is no reason to wait.
                self._curve = None
            self._other, self._other_age = last, 1
        elif self._other_age > _OLDEST:
            self._other = None
        # The memory of a frame returns to the driver.
        self._last = replace(raw, mosaic=raw.mosaic.copy())

    def _choose_curve(self, found: ToneCurve, raw: RawImage, exposure: float) -> ToneCurve:
        """Return a curve near the one before. The light of 1 may change between two pictures."""
        unit = float(np.log2((raw.sensitivity or 1.0) / exposure))
        in_scene = replace(found, middle=found.middle - unit)
        before = self._curve or in_scene
        self._curve = before.blend(in_scene, _CALM)
        return replace(self._curve, middle=self._curve.middle + unit)


def _is_other_exposure(raw: RawImage, other: RawImage) -> bool:
    return max(find_exposures([raw, other])) > 1 + _EXPOSURE_STEP


def _apply_gain(light: NDArray[np.float32], gain: NDArray[np.float32], words: _Words) -> None:
    """Write light times gain into *words*: 1 is FULL_SCALE. The gain is that of each cell."""
    for rows in list_bands(len(light)):
        factor = gain[rows.start // 2 : rows.stop // 2] * np.float32(FULL_SCALE)
        factor = np.repeat(factor, 2, axis=1)
        for row in (0, 1):
            bright = light[rows][row::2] * factor
            words[rows][row::2] = np.clip(bright, 0, FULL_SCALE, out=bright)
