"""A textured thing out of focus, for tests of autofocus: seeded, and drawn in milliseconds.

Blur is that of a disc. The plant draws defocus as wave optics; tests use it where the difference
matters.
"""

from __future__ import annotations

import numpy as np
from scipy.special import j1

from lenslink_isp.focus.auto_focus import FocusLimits, FocusRequest, Readout
from lenslink_isp.raw_image import RawImage

PREVIEW_PX_PER_MDPT = 0.0648
"""A lens of 35 mm at f/1.4, and a preview of 1280 pixels."""
STILL_PX_PER_MDPT = 0.207
LIMITS = FocusLimits(0, 3300, PREVIEW_PX_PER_MDPT, STILL_PX_PER_MDPT)
SHOT_NOISE, READ_NOISE = 2e-4, 3e-7

_SIDE = 256
_PADDED = 512


class DefocusScene:
    """Things at one or two depths behind a region of 256 x 256 pixels.

    Args:
        depths_mdpt: one depth, or two: the first fills *share* of the region.
        seed: of texture and noise.
        light: mean light, 0 to 1.
        detail: contrast of the texture; 0 is flat.
        share: part of the region's width that the first depth fills.
    """

    def __init__(self, depths_mdpt, seed, *, light=0.2, detail=0.5, share=0.7, noise=1.0):
        self._depths = np.atleast_1d(depths_mdpt)
        self._random = np.random.default_rng(seed)
        self._light, self._noise = light, noise
        rows = np.fft.fftfreq(_PADDED)[:, None]
        columns = np.fft.rfftfreq(_PADDED)[None]
        self._radius = np.hypot(rows, columns)
        self._edge = round(_SIDE * share) + (_PADDED - _SIDE) // 2
        self._spectra = {}
        for readout in Readout:
            # Natural pictures have a power that falls with the square of the frequency.
            for place in range(len(self._depths)):
                white = self._random.normal(size=(_PADDED, _PADDED))
                spectrum = np.fft.rfft2(white) / np.maximum(self._radius, 1 / _PADDED)
                picture = np.fft.irfft2(spectrum)
                scale = detail / picture.std()
                self._spectra[readout, place] = spectrum * scale

    def shoot(self, request: FocusRequest) -> RawImage:
        """Return the frame of a request, as 12 bits of RGGB."""
        is_preview = request.readout is Readout.PREVIEW
        per_mdpt = PREVIEW_PX_PER_MDPT if is_preview else STILL_PX_PER_MDPT
        pictures = []
        for place, depth in enumerate(self._depths):
            product = np.pi * self._radius * abs(request.focus_mdpt - depth) * per_mdpt
            safe = np.maximum(product, 1e-9)
            lens = np.where(product < 1e-6, 1.0, 2 * j1(safe) / safe)
            blurred = np.fft.irfft2(self._spectra[request.readout, place] * lens)
            pictures.append(np.exp(np.clip(blurred, -3, 3)))
        light = pictures[0]
        if len(pictures) == 2:
            light = np.where(np.arange(_PADDED)[None] < self._edge, pictures[0], pictures[1])
        border = (_PADDED - _SIDE) // 2
        light = self._light * light[border : border + _SIDE, border : border + _SIDE]
        slope, offset = self._noise * SHOT_NOISE, self._noise**2 * READ_NOISE
        light = light + self._random.normal(size=light.shape) * np.sqrt(slope * light + offset)
        pixels = np.clip(np.round(light * 3839 + 256), 0, 4095).astype(np.uint16)
        return RawImage(
            pixels, "RGGB", (256.0,) * 4, 4095.0, np.eye(3), (1.0, 1.0, 1.0), (slope, offset)
        )
