"""Where the pixels of a frame lie in the zoomed picture.

The alignment says where each pixel of the reference is found in a frame. Here the question is the
other way round. The shifts change slowly, so a few steps find the answer.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink_isp.merge.alignment import TILE
from lenslink_isp.merge.scene_light import as_floats

Floats = NDArray[np.float32]

_STEPS = 2
"""Steps of the inversion: an error of the shift changes the next one by a hundredth of itself."""


def find_places(shifts: Floats, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Return where the reference sees what pixels of a frame see: columns and rows.

    Args:
        shifts: (rows, columns, 2), as :meth:`.alignment.Aligner.find_shifts` returns them.
        columns: of the frame's pixels, (H, W).
        rows: the same for rows.

    >>> shifts = np.full((2, 2, 2), 0.25, np.float32)
    >>> x, y = np.meshgrid(np.arange(3, dtype=np.float32), np.arange(2, dtype=np.float32))
    >>> find_places(shifts, x, y)[0].tolist()[0]
    [-0.25, 0.75, 1.75]
    """
    right, down = shifts[..., 0], shifts[..., 1]
    found = columns, rows
    for _ in range(_STEPS):
        # A tile's shift is that of its centre.
        across, along = ((each + np.float32(0.5)) / TILE - np.float32(0.5) for each in found)
        moved = [
            as_floats(
                cv2.remap(each, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            )
            for each in (np.ascontiguousarray(right), np.ascontiguousarray(down))
        ]
        found = columns - moved[0], rows - moved[1]
    return found
