"""The fast path, for each frame of a stream: the stages of :mod:`.reference` on OpenCV.

All steps work on 16-bit integers, because OpenCV has vector code for them. Black level, white
balance and colour matrix are one affine step behind the demosaicing. So saturated pixels must be
clipped before it: each colour at the value that its gain turns into white. A table of 65,536
entries maps the tones. Indexing a table with numpy takes four times as long as all steps together.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink_isp.raw_image import RawImage

from .color import make_gains, make_srgb_matrix
from .tone import FULL_SCALE, make_tone_table

_BAYER_TO_RGB = {
    "RGGB": cv2.COLOR_BayerRGGB2RGB,
    "GRBG": cv2.COLOR_BayerGRBG2RGB,
    "GBRG": cv2.COLOR_BayerGBRG2RGB,
    "BGGR": cv2.COLOR_BayerBGGR2RGB,
}


class Preview:
    """Develops frames of one size, and reuses its memory.

    Use one object for each thread. Levels and colours are those of each frame, so a change of the
    white balance needs nothing.

    >>> import lenslink
    >>> preview = Preview()
    >>> with lenslink.open("sim:?width=64&height=64") as module, module.capture() as frame:
    ...     picture = preview.develop(RawImage.from_frame(frame))
    >>> picture.shape, picture.dtype
    ((64, 64, 3), dtype('uint8'))
    """

    def __init__(self) -> None:
        self._words: NDArray[np.uint16] = np.empty((0, 0), np.uint16)
        self._camera: NDArray[np.uint16] = np.empty((0, 0, 3), np.uint16)
        self._linear: NDArray[np.uint16] = np.empty((0, 0, 3), np.uint16)
        self._sites = _SiteTables()

    def develop(
        self,
        raw: RawImage,
        *,
        exposure_ev: float = 0.0,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Return an sRGB picture, (H, W, 3) uint8.

        Args:
            raw: the frame.
            exposure_ev: how much brighter than the sensor's white the picture becomes.
            out: memory for the picture, (H, W, 3) uint8; None makes it.

        Raises:
            UsageError: *out* has another shape, or the colours make no sense.
        """
        shape = raw.mosaic.shape
        if out is not None and (out.shape != (*shape, 3) or out.dtype != np.uint8):
            raise UsageError(f"out must be {(*shape, 3)} uint8, not {out.shape} {out.dtype}")
        if self._words.shape != shape:
            self._words = np.empty(shape, np.uint16)
            self._camera = np.empty((*shape, 3), np.uint16)
            self._linear = np.empty((*shape, 3), np.uint16)
        gains = make_gains(raw.neutral)
        scale = _fill_words(raw, self._words)
        self._sites.prepare(raw, gains, scale)
        if self._sites.offsets is not None:
            np.add(self._words, self._sites.offsets, out=self._words)
        np.minimum(self._words, self._sites.limits, out=self._words)
        cv2.cvtColor(self._words, _BAYER_TO_RGB[raw.cfa], self._camera)
        cv2.transform(self._camera, _make_affine(raw, gains, scale), self._linear)
        table = make_tone_table(exposure_ev + raw.baseline_exposure)
        return _as_array(cv2.LUT(self._linear, table, out))


class _SiteTables:
    """Words for each pixel, (H, W) uint16, kept while levels and white balance stay the same."""

    def __init__(self) -> None:
        self.limits: NDArray[np.uint16] = np.empty((0, 0), np.uint16)
        """The word that is white after the balance."""
        self.offsets: NDArray[np.uint16] | None = None
        """What lifts each black level to the highest one of its colour; None if they are equal."""
        self._key: tuple[object, ...] = ()

    def prepare(self, raw: RawImage, gains: tuple[float, float, float], scale: float) -> None:
        """Make the tables for *raw*, unless they are there."""
        key = (raw.mosaic.shape, raw.cfa, raw.black, raw.white, gains, scale)
        if key == self._key:
            return
        limits, offsets = np.empty((2, 2)), np.empty((2, 2))
        for place, colour in enumerate(raw.cfa):
            cell = divmod(place, 2)
            highest = _find_black(raw, colour)
            span = (raw.white - raw.black[place]) / gains["RGB".index(colour)]
            limits[cell] = (highest + span) * scale
            offsets[cell] = (highest - raw.black[place]) * scale
        self.limits = _tile(limits, raw.mosaic.shape)
        self.offsets = _tile(offsets, raw.mosaic.shape) if offsets.any() else None
        self._key = key


def _tile(cell: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return the 2 x 2 *cell* repeated to *shape*, rounded to words."""
    words = np.rint(np.clip(cell, 0, FULL_SCALE)).astype(np.uint16)
    return np.tile(words, (shape[0] // 2, shape[1] // 2))


def _find_black(raw: RawImage, colour: str) -> float:
    """Return the highest black level of a colour. The two greens may differ."""
    return max(raw.black[place] for place in range(4) if raw.cfa[place] == colour)


def _fill_words(raw: RawImage, words: NDArray[np.uint16]) -> float:
    """Write the mosaic into *words*, scaled up to 16 bits; return the scale.

    Demosaicing rounds to whole words. Scaling keeps that below a step of the 8-bit picture.
    """
    if raw.mosaic.dtype == np.uint16:
        # A file may hold pixels above its white level. Room is left for the offsets too.
        spread = max(raw.black) - min(raw.black)
        largest = max(raw.white + spread, float(raw.mosaic.max()))
        factor = np.uint16(FULL_SCALE // largest)
        # Multiplying is three times as fast as shifting.
        np.multiply(raw.mosaic, factor, out=words)
        return float(factor)
    scale = FULL_SCALE / raw.white
    np.multiply(np.clip(raw.mosaic, 0, raw.white), scale, out=words, casting="unsafe")
    return scale


def _make_affine(
    raw: RawImage, gains: tuple[float, float, float], scale: float
) -> NDArray[np.float32]:
    """Return the matrix from words of the camera's colours to linear sRGB, (3, 4)."""
    matrix = make_srgb_matrix(raw.camera_from_xyz, raw.neutral)
    affine = np.zeros((3, 4))
    for channel, colour in enumerate("RGB"):
        black = _find_black(raw, colour)
        gain = gains[channel] * FULL_SCALE / (raw.white - black)
        affine[:, channel] = matrix[:, channel] * gain / scale
        affine[:, 3] -= matrix[:, channel] * gain * black
    return affine.astype(np.float32)


def _as_array(array: Any) -> NDArray[np.uint8]:
    """Return OpenCV's result with its type."""
    return np.asarray(array, np.uint8)
