"""A RAW picture of floating-point numbers, which no sensor has sent: the result of a merge.

:func:`.dng.write_dng` writes it like a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.frame import ColorCalibration, Identity
from lenslink_protocol.messages import OpticsEntry


@dataclass(frozen=True, eq=False)
class FloatRaw:
    """A mosaic of linear light with what a DNG says about it. Black is 0, and white is 1.

    >>> FloatRaw(
    ...     pixels=np.zeros((64, 96), np.float32), cfa="RGGB", orientation=1, color=color,
    ...     identity=Identity("Maker", "Model", "1", ""), caption="a merge of 3 frames",
    ... ).active_area  # doctest: +SKIP
    (0, 0, 64, 96)
    """

    pixels: NDArray[np.float32]
    """(H, W)."""
    cfa: str
    orientation: int
    color: ColorCalibration
    identity: Identity
    caption: str
    """One ASCII line that says what the picture is."""
    noise_profile: tuple[float, float] | None = None
    """S and O: of a signal x from 0 to 1, the variance is S * x + O."""
    baseline_exposure: float = 0.0
    """How much brighter the picture must be developed, in EV."""
    exposure_us: int = 0
    gain_milli: int = 0
    focus_mdpt: int = 0
    aperture_milli: int = 0
    optics: OpticsEntry | None = None

    @property
    def black(self) -> tuple[float, float, float, float]:
        """Black levels of the four pixels of ``cfa``."""
        return 0.0, 0.0, 0.0, 0.0

    @property
    def white(self) -> int:
        """The saturated value."""
        return 1

    @property
    def active_area(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right: all pixels see light."""
        return 0, 0, self.height, self.width

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels a row."""
        return int(self.pixels.shape[1])
